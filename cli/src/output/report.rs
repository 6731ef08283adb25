//! What a command found, as a value: the printer decides how it looks.

use serde_json::{Value, json};

use super::Table;
use crate::failure::Exit;

/// What a person reads of a report.
#[derive(Clone, Debug, Default)]
pub enum Body {
    /// Nothing beyond the last line.
    #[default]
    Nothing,
    /// Running text, as it stands.
    Text(String),
    /// Names with their values, one a line.
    Facts(Vec<(String, String)>),
    /// Rows and columns.
    Table(Table),
}

/// The result of a command.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The whole result, for scripts.
    pub data: Value,
    /// The same for people.
    pub body: Body,
    /// The outcome and the next command: the last line a person sees, on stderr.
    pub last_line: Option<String>,
    /// Whether it ends a row of events: `-o ndjson` tells it as one of them.
    pub(super) is_last_event: bool,
    exit: Option<Exit>,
}

impl Report {
    /// A report of `data` that a person reads as `body`.
    #[must_use]
    pub fn new(data: Value, body: Body) -> Self {
        Self { data, body, last_line: None, is_last_event: false, exit: None }
    }

    /// Names with their values.
    #[must_use]
    pub fn facts<N: Into<String>, V: Into<String>>(
        data: Value,
        facts: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let facts = facts.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self::new(data, Body::Facts(facts))
    }

    /// The outcome and the next command.
    #[must_use]
    pub fn last_line(mut self, line: impl Into<String>) -> Self {
        self.last_line = Some(line.into());
        self
    }

    /// Tells it as the last event of `-o ndjson`, after those that were told while the command went on.
    #[must_use]
    pub fn after_events(mut self) -> Self {
        self.is_last_event = true;
        self
    }

    /// The data as an event.
    pub(super) fn last_event(&self) -> Value {
        let mut event = if self.data.is_object() { self.data.clone() } else { json!({"data": self.data}) };
        event["event"] = "summary".into();
        event["exit"] = self.exit_code().code().into();
        event
    }

    /// Ends the command with `exit` instead of ok: a verdict that is a result, not an error.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = Some(exit);
        self
    }

    /// How the command ends.
    #[must_use]
    pub fn exit_code(&self) -> Exit {
        self.exit.unwrap_or(Exit::Ok)
    }

    /// The rows of the report: the table, or the facts as a table of two columns.
    #[must_use]
    pub fn table(&self) -> Option<Table> {
        match &self.body {
            Body::Table(table) => Some(table.clone()),
            Body::Facts(facts) => {
                let mut table = Table::new(["name", "value"]);
                for (name, value) in facts {
                    table.row([name.clone(), value.clone()]);
                }
                Some(table)
            }
            Body::Nothing | Body::Text(_) => None,
        }
    }
}
