//! The words a person types. The tree is derived; every command's own words stand in its file.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser};
use platform::vocabulary::Env;

use crate::commands::Command;
use crate::context::Context;
use crate::failure::{Diagnosis, Exit, Failure};
use crate::output::terminal::{Surroundings, resolve};
use crate::output::{ColorChoice, Format, Printer};

/// Runs a whole shop on this machine, shows it, and proves every number it claims.
#[derive(Debug, Parser)]
#[command(
    name = "shopctl",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    propagate_version = false,
    max_term_width = 100,
    after_help = "Every flag can also be set in the environment: --data-dir is SHOPCTL_DATA_DIR.\n\
                  Start with `shopctl up`; `shopctl help exit-codes` has the table of exit codes."
)]
pub struct Args {
    /// Environment of shop.toml; `local` is built in
    #[arg(
        short,
        long,
        global = true,
        value_name = "NAME",
        default_value = "local",
        help_heading = "Global options"
    )]
    env: String,
    /// Use this file instead of the first shop.toml upward
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// What stdout is: text, json, ndjson, csv or md
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        hide_possible_values = true,
        value_name = "FORMAT",
        default_value_t,
        help_heading = "Global options"
    )]
    output: Format,
    /// When to colour: auto, always or never
    #[arg(
        long,
        global = true,
        value_enum,
        hide_possible_values = true,
        value_name = "WHEN",
        default_value_t,
        help_heading = "Global options"
    )]
    color: ColorChoice,
    /// Say only what went wrong
    #[arg(short, long, global = true, help_heading = "Global options")]
    quiet: bool,
    /// Lines instead of bars, also on a terminal
    #[arg(long, global = true, help_heading = "Global options")]
    no_progress: bool,
    #[command(subcommand)]
    command: Command,
}

/// Flags that the configuration looks up in the environment itself, since it must know who said them.
const LOOKED_UP_BY_CONFIG: [&str; 2] = ["database-url", "allow-faults"];

/// The tree of words. Every flag gets its variable of the environment here, so that none can be forgotten.
#[must_use]
pub fn tree() -> clap::Command {
    with_variables(Args::command())
}

fn with_variables(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match arg.get_long() {
        Some(long) if !LOOKED_UP_BY_CONFIG.contains(&long) && long != "help" && long != "version" => {
            let variable = format!("SHOPCTL_{}", long.replace('-', "_").to_uppercase());
            arg.env(variable).hide_env(true)
        }
        _ => arg,
    });
    command.mut_subcommands(with_variables)
}

/// Understands the words, or tells why not and how the process ends. `--help` ends here too.
///
/// # Errors
/// The exit code, after help or the usage error was printed.
pub fn parse(words: &[OsString]) -> Result<Args, Exit> {
    let parsed = tree().try_get_matches_from(words).and_then(|matches| Args::from_arg_matches(&matches));
    parsed.map_err(|error| refuse(words, &error))
}

/// Prints what the parser says: help to stdout, a mistake to stderr, and into the envelope for scripts.
fn refuse(words: &[OsString], error: &clap::Error) -> Exit {
    let format = asked_format(words);
    let printer =
        Printer::new(format, resolve(asked_color(words), false, &Surroundings::of_process()), false);
    let is_mistake = error.use_stderr();
    let colored = if is_mistake { printer.terminal().color_err } else { printer.terminal().color_out };
    let text = if colored { error.render().ansi().to_string() } else { error.render().to_string() };
    if !is_mistake {
        printer.data(&text).ok();
        return Exit::Ok;
    }
    if matches!(format, Format::Json | Format::Ndjson) {
        let plain = error.render().to_string();
        let said = plain.lines().next().unwrap_or("bad arguments").trim_start_matches("error: ").to_owned();
        let failure = Failure::new(Exit::Usage, "E-USAGE", said).hint("shopctl --help");
        printer.failure(&Diagnosis::of(&failure.into()));
    } else {
        printer.talk(&text);
    }
    Exit::Usage
}

/// The format as far as it can be told from words that could not be parsed.
fn asked_format(words: &[OsString]) -> Format {
    match asked(words, &["-o", "--output"]).as_deref() {
        Some("json") => Format::Json,
        Some("ndjson") => Format::Ndjson,
        _ => Format::Text,
    }
}

fn asked_color(words: &[OsString]) -> ColorChoice {
    match asked(words, &["--color"]).as_deref() {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

/// The value of the last of these flags: `-o json`, `-ojson`, `--output=json`.
fn asked(words: &[OsString], flags: &[&str]) -> Option<String> {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let value = |at: usize| {
        flags.iter().find_map(|flag| {
            let rest = words[at].strip_prefix(flag)?;
            match rest {
                "" => words.get(at + 1).copied(),
                _ if flag.starts_with("--") => rest.strip_prefix('='),
                _ => Some(rest.trim_start_matches('=')),
            }
        })
    };
    (0..words.len()).rev().find_map(value).map(str::to_owned)
}

impl Args {
    /// The printer that these words ask for.
    #[must_use]
    pub fn printer(&self) -> Printer {
        let terminal = resolve(self.color, !self.no_progress, &Surroundings::of_process());
        Printer::new(self.output, terminal, self.quiet).about(
            &self.command.words(),
            &self.env,
            Env::system().uuid().to_string(),
        )
    }

    /// Runs the command.
    ///
    /// # Errors
    /// What the command could not do.
    pub fn run(self, printer: &Printer) -> anyhow::Result<Exit> {
        let context =
            Context { printer, env: Env::system(), environment: self.env, config_path: self.config, tree };
        self.command.run(&context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_tree_is_sound() {
        tree().debug_assert();
    }

    #[test]
    fn every_flag_has_a_variable() {
        fn check(command: &clap::Command) {
            for arg in command.get_arguments() {
                let Some(long) = arg.get_long() else { continue };
                let is_own = matches!(long, "help" | "version") || LOOKED_UP_BY_CONFIG.contains(&long);
                assert!(is_own || arg.get_env().is_some(), "--{long} has no variable");
            }
            command.get_subcommands().for_each(check);
        }
        check(&tree());
    }

    #[test]
    fn the_format_is_known_even_where_the_rest_is_not() {
        for line in ["shopctl nope -o json", "shopctl -ojson nope", "shopctl nope --output=json"] {
            assert_eq!(asked_format(&words(line)), Format::Json, "{line}");
        }
        assert_eq!(asked_format(&words("shopctl nope")), Format::Text);
    }
}
