//! Reads a TOML file that people write, and says where it is wrong: the line, what stands there, what was meant.

use std::ops::Range;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource};
use serde::de::DeserializeOwned;

use crate::failure::{Exit, Failure, nearest};

/// What a file is called in messages, and where its reader can look it up.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The stable code of a mistake in it.
    pub code: &'static str,
    /// What to do when nothing is near to what stands there.
    pub hint: &'static str,
}

/// Reads `text`, which stands in the file called `name`.
///
/// # Errors
/// The first mistake, with its line, a picture, and the nearest key where a key is not known.
pub fn read<T: DeserializeOwned>(name: &str, text: &str, kind: Kind) -> Result<T, Failure> {
    toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let line = line_of(text, span.start);
        let unknown = unknown_key(error.message());
        let message = match &unknown {
            Some((key, _)) => format!("{name}:{line}: unknown key `{key}`"),
            None => format!("{name}:{line}: {}", error.message().lines().next().unwrap_or("")),
        };
        let near = unknown.as_ref().and_then(|(key, known)| nearest(key, known.iter().map(String::as_str)));
        let hint = match (near, &unknown) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Some((_, known))) => format!("known here: {}", known.join(", ")),
            (None, None) => kind.hint.to_owned(),
        };
        let label = if unknown.is_some() { "unknown key" } else { "here" };
        Failure::new(Exit::Config, kind.code, message)
            .hint(hint)
            .object(name)
            .picture(draw(name, text, span, label))
    })
}

/// The key that nobody knows and those that are known, out of the message of the parser.
fn unknown_key(message: &str) -> Option<(String, Vec<String>)> {
    if !message.starts_with("unknown field") {
        return None;
    }
    let mut words = message.split('`').skip(1).step_by(2).map(str::to_owned);
    let key = words.next()?;
    Some((key, words.collect()))
}

/// The line that the byte at `offset` stands in, counted from 1.
#[must_use]
pub fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn draw(name: &str, text: &str, span: Range<usize>, label: &str) -> String {
    let problem = MietteDiagnostic::new("the file cannot be read")
        .with_label(LabeledSpan::new_with_span(Some(label.to_owned()), span));
    let report = miette::Report::new(problem).with_source_code(NamedSource::new(name, text.to_owned()));
    let mut drawn = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_context_lines(1);
    // A picture that cannot be drawn is left out: the message above it says the same.
    handler.render_report(&mut drawn, report.as_ref()).ok();
    let picture: Vec<&str> = drawn.lines().skip_while(|line| !line.contains('╭')).collect();
    picture.join("\n")
}
