//! Everything a person or a script reads. stdout is data, stderr is talk.
//!
//! A command returns a [`Report`]: the data for scripts and the body for people. The [`Printer`] renders it
//! in the [`Format`] that was asked for, and is the only thing in this crate that writes to a stream.
//! What the streams can show is decided once, by the pure [`terminal::resolve`].

mod paint;
mod printer;
mod progress;
mod report;
mod screen;
mod stamp;
mod table;
pub mod terminal;

pub use paint::Paint;
pub use printer::Printer;
pub use progress::Progress;
pub use report::{Body, Report};
pub use screen::{Closing, Key, Screen};
pub use table::Table;
pub use terminal::{ColorChoice, Terminal};

/// The shape of what a command prints on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Words and tables for people.
    #[default]
    Text,
    /// One document with the whole result.
    Json,
    /// One event or row a line, as they happen.
    Ndjson,
    /// The table as comma-separated values.
    Csv,
    /// The table as Markdown.
    Md,
}
