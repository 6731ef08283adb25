//! The newest log lines, in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::vocabulary::{OrderId, Timestamp};

/// Lines that are remembered.
const LINES_MAX: usize = 1000;
/// Bytes of text that are remembered.
const BYTES_MAX: usize = 512 * 1024;

/// A log line.
#[derive(Clone, Debug)]
pub struct LogRecord {
    /// When.
    pub at: Timestamp,
    /// `error`, `warn`, `info`, `debug`, `trace`.
    pub level: String,
    /// What happened.
    pub message: String,
    /// The service at work.
    pub service: Option<String>,
    /// The request.
    pub request_id: Option<String>,
    /// The trace.
    pub trace_id: Option<String>,
    /// The order.
    pub order_id: Option<String>,
    /// The whole line, a JSON object.
    pub line: Arc<str>,
}

/// What to look for; every field that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    /// The request.
    pub request_id: Option<String>,
    /// The trace.
    pub trace_id: Option<String>,
    /// The order.
    pub order_id: Option<OrderId>,
    /// The service.
    pub service: Option<String>,
    /// Only warnings and errors.
    pub notable: bool,
    /// At most this many.
    pub limit: usize,
}

/// Oldest first.
#[derive(Debug, Default)]
pub(super) struct LogRing {
    records: VecDeque<LogRecord>,
    bytes: usize,
}

impl LogRing {
    pub(super) fn push(&mut self, record: LogRecord) {
        self.bytes += record.line.len();
        self.records.push_back(record);
        while self.records.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.records.pop_front() else { return };
            self.bytes -= oldest.line.len();
        }
    }

    pub(super) fn find(&self, query: &LogQuery) -> Vec<LogRecord> {
        self.records.iter().rev().filter(|record| query.matches(record)).take(query.limit).cloned().collect()
    }
}

impl LogQuery {
    fn matches(&self, record: &LogRecord) -> bool {
        let agrees = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        agrees(&self.request_id, &record.request_id)
            && agrees(&self.trace_id, &record.trace_id)
            && agrees(&self.service, &record.service)
            && self.order_id.is_none_or(|order| record.order_id == Some(order.to_string()))
            && (!self.notable || matches!(record.level.as_str(), "warn" | "error"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_in_lines_and_in_bytes() {
        let record = |bytes: usize, level: &str| LogRecord {
            at: Timestamp::UNIX_EPOCH,
            level: level.to_owned(),
            message: String::new(),
            service: None,
            request_id: None,
            trace_id: None,
            order_id: None,
            line: "x".repeat(bytes).into(),
        };
        let mut ring = LogRing::default();
        (0..3000).for_each(|_| ring.push(record(10, "info")));
        assert_eq!((ring.records.len(), ring.bytes), (LINES_MAX, LINES_MAX * 10));
        (0..100).for_each(|_| ring.push(record(100_000, "error")));
        assert!(ring.bytes <= BYTES_MAX);
        let query = LogQuery { notable: true, limit: 3, ..LogQuery::default() };
        assert_eq!(ring.find(&query).len(), 3);
    }
}
