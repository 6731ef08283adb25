//! The one way to a stream. Results go to stdout in the format that was asked for, talk goes to stderr.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use platform::vocabulary::Env;
use serde_json::{Value, json};

use super::stamp::Stamp;
use super::{Body, Format, Paint, Report, Terminal};
use crate::failure::{Diagnosis, Exit};

/// An error is told in at most this many lines, without its picture.
const ERROR_LINES: usize = 8;

/// Writes what commands found and say.
#[derive(Debug)]
pub struct Printer {
    format: Format,
    terminal: Terminal,
    quiet: bool,
    command: String,
    environment: String,
    run: String,
    stamp: Stamp,
    warnings: Mutex<Vec<String>>,
}

impl Printer {
    /// A printer for the run `run` of `command` on `environment`.
    #[must_use]
    pub fn new(format: Format, terminal: Terminal, quiet: bool) -> Self {
        Self {
            format,
            terminal,
            quiet,
            command: "shopctl".into(),
            environment: "local".into(),
            run: String::new(),
            stamp: Stamp::new(Env::system()),
            warnings: Mutex::default(),
        }
    }

    /// Names what the envelope speaks of: the command's words, the environment, the run's id.
    #[must_use]
    pub fn about(mut self, command: &str, environment: &str, run: String) -> Self {
        self.command = command.replace(' ', ".");
        self.environment = environment.to_owned();
        self.run = run;
        self
    }

    /// The run's id.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The format of stdout.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// What the streams can show.
    #[must_use]
    pub fn terminal(&self) -> Terminal {
        self.terminal
    }

    /// Talk is wanted: not `--quiet`.
    #[must_use]
    pub fn is_talkative(&self) -> bool {
        !self.quiet
    }

    /// Paint for stdout.
    #[must_use]
    pub fn paint(&self) -> Paint {
        Paint::new(self.terminal.color_out)
    }

    /// Paint for stderr.
    #[must_use]
    pub fn paint_err(&self) -> Paint {
        Paint::new(self.terminal.color_err)
    }

    /// Prints a result, whole.
    ///
    /// # Errors
    /// When stdout cannot be written; a reader that went away is not an error.
    pub fn report(&self, report: &Report) -> io::Result<()> {
        if self.format == Format::Ndjson && report.is_last_event {
            return self.event(&report.last_event());
        }
        let text = match self.format {
            Format::Text => self.text(&report.body),
            Format::Json => {
                let exit = report.exit_code();
                pretty(&self.envelope(exit == Exit::Ok, exit, &report.data, &[]))
            }
            Format::Ndjson => ndjson(&report.data),
            Format::Csv => report.table().map_or_else(|| self.text(&report.body), |table| table.to_csv()),
            Format::Md => report.table().map_or_else(|| self.text(&report.body), |table| table.to_markdown()),
        };
        self.data(&text)?;
        match &report.last_line {
            Some(line) if self.format == Format::Text => self.say(line),
            _ => {}
        }
        Ok(())
    }

    /// One event of `-o ndjson`, with what every event has; nothing in any other format.
    ///
    /// # Errors
    /// When stdout cannot be written; a reader that went away is not an error.
    pub fn event(&self, event: &Value) -> io::Result<()> {
        if self.format != Format::Ndjson {
            return Ok(());
        }
        self.stamp.on(event, &self.run, &self.environment, |event| self.data(&format!("{event}\n")))
    }

    /// Writes `text` to stdout as it stands.
    ///
    /// # Errors
    /// When stdout cannot be written; a reader that went away is not an error.
    pub fn data(&self, text: &str) -> io::Result<()> {
        write_all(&mut io::stdout().lock(), text)
    }

    /// A line of talk.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            self.talk(&format!("{line}\n"));
        }
    }

    /// A line that deserves a look; it is in the envelope too.
    pub fn warn(&self, warning: &str) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning.to_owned());
        let mark = self.paint_err().yellow("warning:");
        self.talk(&format!("{mark} {warning}\n"));
    }

    /// Talk as it stands, also when quiet.
    pub fn talk(&self, text: &str) {
        // Nobody is left to tell when stderr is gone.
        write_all(&mut io::stderr().lock(), text).ok();
    }

    /// Tells what went wrong: to a person on stderr, to a script in the envelope or as an event.
    pub fn failure(&self, found: &Diagnosis) {
        let errors = [found.to_json()];
        if self.format == Format::Json {
            self.data(&pretty(&self.envelope(false, found.exit, &Value::Null, &errors))).ok();
        }
        self.event(&json!({"event": "failed", "exit": found.exit.code(), "errors": errors})).ok();
        self.talk(&self.failure_text(found));
    }

    fn failure_text(&self, found: &Diagnosis) -> String {
        let paint = self.paint_err();
        let mut lines = vec![format!("{} {}", paint.red("error:"), found.message)];
        let hint = found.hint.as_ref().map(|hint| format!("{} {hint}", paint.cyan("hint:")));
        let room = ERROR_LINES - 1 - hint.iter().len() * 2;
        for cause in found.causes.iter().flat_map(|cause| cause.lines()).take(room) {
            lines.push(format!("{} {cause}", paint.faint("caused by:")));
        }
        if let Some(picture) = &found.picture {
            lines.push(picture.trim_end().to_owned());
        }
        if let Some(hint) = hint {
            lines.extend([String::new(), hint]);
        }
        lines.join("\n") + "\n"
    }

    fn envelope(&self, ok: bool, exit: Exit, data: &Value, errors: &[Value]) -> Value {
        json!({
            "schema": format!("shopctl/v1/{}", self.command),
            "run": self.run,
            "env": self.environment,
            "ok": ok,
            "exit": exit.code(),
            "data": data,
            "warnings": *self.warnings.lock().unwrap_or_else(PoisonError::into_inner),
            "errors": errors,
        })
    }

    fn text(&self, body: &Body) -> String {
        match body {
            Body::Nothing => String::new(),
            Body::Text(text) => text.clone(),
            Body::Table(table) => table.draw(self.terminal.columns),
            Body::Facts(facts) => {
                let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
                let line = |(name, value): &(String, String)| {
                    let gap = " ".repeat(width - name.chars().count());
                    let is_address = value.starts_with("http://") || value.starts_with("https://");
                    let value = if is_address { self.paint().cyan(value) } else { value.clone() };
                    format!("{}{gap}  {value}\n", self.paint().bold(name))
                };
                facts.iter().map(line).collect()
            }
        }
    }
}

fn pretty(document: &Value) -> String {
    format!("{document:#}\n")
}

/// A list is a line per item; anything else is one line.
fn ndjson(data: &Value) -> String {
    match data {
        Value::Array(items) => items.iter().map(|item| format!("{item}\n")).collect(),
        other => format!("{other}\n"),
    }
}

fn write_all(stream: &mut impl Write, text: &str) -> io::Result<()> {
    match stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use crate::output::terminal::{ColorChoice, Surroundings, resolve};

    fn printer() -> Printer {
        let terminal = resolve(ColorChoice::Never, false, &Surroundings::default());
        Printer::new(Format::Text, terminal, false).about("bench start", "local", "r1".into())
    }

    #[test]
    fn an_error_fits_in_eight_lines() {
        let mut error = anyhow::anyhow!("cause 0");
        for n in 1..20 {
            error = error.context(format!("cause {n}"));
        }
        let found = Diagnosis::of(&error.context(Failure::new(Exit::Preflight, "E-X", "no").hint("try")));
        let text = printer().failure_text(&found);
        assert!(text.lines().count() <= ERROR_LINES, "{text}");
        assert!(text.ends_with("hint: try\n"), "{text}");
    }

    #[test]
    fn facts_line_up() {
        let report = Report::facts(Value::Null, [("a", "1"), ("long", "2")]);
        assert_eq!(printer().text(&report.body), "a     1\nlong  2\n");
    }

    #[test]
    fn the_envelope_has_its_eight_fields_and_the_warnings() {
        let printer = printer();
        printer.warnings.lock().unwrap().push("careful".into());
        let envelope = printer.envelope(true, Exit::Ok, &json!({"n": 1}), &[]);
        let keys: Vec<&String> = envelope.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["data", "env", "errors", "exit", "ok", "run", "schema", "warnings"]);
        assert_eq!(envelope["schema"], "shopctl/v1/bench.start");
        assert_eq!(envelope["warnings"], json!(["careful"]));
    }
}
