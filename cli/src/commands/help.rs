//! `shopctl help`: on a command, or on a topic that no single command owns.

use clap::Args;
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Exit, Failure, nearest};
use crate::output::{Body, Report, Table};

/// The topic of the exit codes.
const EXIT_CODES: &str = "exit-codes";

/// The words of `help`.
#[derive(Debug, Args)]
#[command(after_help = "Topics: exit-codes")]
pub struct HelpArgs {
    /// A command, or a topic
    #[arg(value_name = "WORD")]
    words: Vec<String>,
}

pub(super) fn run(args: &HelpArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    if args.words == [EXIT_CODES] {
        return Ok(exit_codes());
    }
    let mut tree = (context.tree)();
    tree.build();
    let mut command = find(&tree, &args.words)?.clone();
    let help = command.render_help();
    let painted = context.printer.terminal().color_out;
    let text = if painted { help.ansi().to_string() } else { help.to_string() };
    Ok(Report::new(json!({"help": help.to_string()}), Body::Text(text)))
}

/// The command behind `words`.
///
/// # Errors
/// When there is none, with the nearest that there is.
pub(super) fn find<'a>(tree: &'a clap::Command, words: &[String]) -> Result<&'a clap::Command, Failure> {
    words.iter().try_fold(tree, |command, word| {
        command.find_subcommand(word).ok_or_else(|| {
            let known = command.get_subcommands().map(clap::Command::get_name).chain([EXIT_CODES]);
            let hint = match nearest(word, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`shopctl --help` lists the commands".to_owned(),
            };
            Failure::new(Exit::Usage, "E-HELP", format!("there is no command or topic `{word}`")).hint(hint)
        })
    })
}

fn exit_codes() -> Report {
    let mut table = Table::new(["code", "name", "meaning"]);
    let mut items: Vec<Value> = Vec::new();
    for exit in Exit::ALL {
        table.row([&exit.code().to_string(), exit.name(), exit.meaning()]);
        items.push(json!({"code": exit.code(), "name": exit.name(), "meaning": exit.meaning()}));
    }
    Report::new(items.into(), Body::Table(table))
}
