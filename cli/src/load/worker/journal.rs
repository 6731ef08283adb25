//! The journal's lines, and what happens when it cannot be written.

use std::io;
use std::sync::{Mutex, PoisonError};

use platform::verify::journal::{Acknowledged, JournalWriter};
use platform::vocabulary::Timestamp;
use serde_json::Value;

/// Why the journal is not whole, shared by all workers.
#[derive(Debug, Default)]
pub(in super::super) struct JournalState {
    failure: Mutex<Option<String>>,
}

impl JournalState {
    /// Notes why; the first reason counts.
    pub(in super::super) fn failed(&self, error: &io::Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| error.to_string());
    }

    /// Why, when it is not whole.
    pub(in super::super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Appends one order.
pub(super) fn append(
    writer: &mut JournalWriter,
    order_id: &str,
    scope: &str,
    key: &str,
    status: u16,
    at: Timestamp,
) -> io::Result<()> {
    let order_id = serde_json::from_value(Value::from(order_id)).map_err(io::Error::other)?;
    writer.append(&Acknowledged { order_id, scope: scope.to_owned(), key: key.to_owned(), status, at })
}
