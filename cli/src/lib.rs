//! `shopctl`: runs a whole e-commerce platform, shows it, measures it, and proves the numbers it claims.
//!
//! The way through the rooms is the way of a command: [`args`] parses the words, [`context`] gathers what every
//! command needs (configuration, printer, clock), [`commands`] has one file per verb, and the verb calls the
//! room that does the work: [`targets`] (where a shop can live), [`walkthroughs`] (stories that run),
//! [`load`] (many users at once, and a verdict), [`image`] (the shop as one small image), [`claims`] (numbers with the command that measures them),
//! [`bench`](mod@bench) (the measuring). [`cluster`] is how a shop lives on Kubernetes. Below all of them are
//! [`config`], [`output`], [`failure`], [`process`] and [`wire`], which know nothing of a shop.
//!
//! Arrows point down; `tests/it/architecture.rs` holds them.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod args;
pub mod bench;
pub mod claims;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod context;
pub mod failure;
pub mod image;
pub mod load;
pub mod output;
pub mod process;
pub mod targets;
pub mod walkthroughs;
pub mod wire;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};

use failure::{Diagnosis, Exit};

/// Parses, runs, and says how it ended. Nothing is opened before the words are understood.
#[must_use]
pub fn run(words: impl IntoIterator<Item = OsString>) -> Exit {
    let words: Vec<OsString> = words.into_iter().collect();
    let args = match args::parse(&words) {
        Ok(args) => args,
        Err(exit) => return exit,
    };
    let printer = args.printer();
    // A panic has told itself on stderr; the exit code is the table's, not the runtime's.
    let ended = catch_unwind(AssertUnwindSafe(|| args.run(&printer)));
    match ended.unwrap_or_else(|_| Err(anyhow::anyhow!("shopctl met a situation that nobody thought of"))) {
        Ok(exit) => exit,
        Err(error) => {
            let found = Diagnosis::of(&error);
            printer.failure(&found);
            found.exit
        }
    }
}
