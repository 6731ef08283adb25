//! Makes one JSON object of each event.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context as LayerContext;

use super::ring::{LogRecord, LogRing};
use super::writer::WriterQueue;
use crate::telemetry::{Scope, redaction};
use crate::vocabulary::Env;

/// The most bytes of one value.
const VALUE_BYTES_MAX: usize = 4096;
/// Libraries that talk much; only their warnings are logged.
const TALKERS: [&str; 8] =
    ["hyper", "h2", "rustls", "lettre", "tokio_postgres", "tokio_util", "tower", "mio"];

/// Turns events into lines. A callsite that is not severe enough costs nothing after its first time.
#[derive(Debug)]
pub struct LogLayer {
    env: Env,
    level: Level,
    ring: Arc<Mutex<LogRing>>,
    queue: Option<WriterQueue>,
    /// Which of the processes that share a log this is.
    process: Option<String>,
}

impl LogLayer {
    pub(super) fn new(env: Env, level: Level, ring: Arc<Mutex<LogRing>>, queue: Option<WriterQueue>) -> Self {
        Self { env, level, ring, queue, process: None }
    }

    pub(super) fn named(mut self, process: Option<String>) -> Self {
        self.process = process;
        self
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let root = metadata.target().split("::").next().unwrap_or_default();
        let most = if TALKERS.contains(&root) { self.level.min(Level::WARN) } else { self.level };
        metadata.is_event() && *metadata.level() <= most
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: LayerContext<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.level))
    }

    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        let mut seen = Fields::default();
        event.record(&mut seen);
        Scope::with_current(|scope| seen.complete(scope));
        let at = self.env.now();
        let level = word(*event.metadata().level());
        let mut line = String::with_capacity(192 + seen.message.len() + seen.rest.len());
        let _ = write!(line, "{{\"ts\":\"{at}\",\"level\":\"{level}\",\"message\":");
        push_text(&mut line, &seen.message);
        for (name, value) in [
            ("service", &seen.service),
            ("request_id", &seen.request_id),
            ("trace_id", &seen.trace_id),
            ("order_id", &seen.order_id),
            ("process", &self.process),
        ] {
            if let Some(value) = value {
                push_name(&mut line, name);
                push_text(&mut line, value);
            }
        }
        push_name(&mut line, "target");
        push_text(&mut line, event.metadata().target());
        line.push_str(&seen.rest);
        line.push('}');
        let line: Arc<str> = line.into();
        if let Some(queue) = &self.queue {
            queue.push(Arc::clone(&line));
        }
        let record = LogRecord {
            at,
            level: level.to_owned(),
            message: seen.message,
            service: seen.service,
            request_id: seen.request_id,
            trace_id: seen.trace_id,
            order_id: seen.order_id,
            line,
        };
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// What an event says, cleaned. The ids that an event names itself win over its scope's.
#[derive(Default)]
struct Fields {
    message: String,
    service: Option<String>,
    request_id: Option<String>,
    trace_id: Option<String>,
    order_id: Option<String>,
    /// All other fields: `,"name":value` each.
    rest: String,
}

impl Fields {
    fn complete(&mut self, scope: &Scope) {
        self.service.get_or_insert_with(|| scope.service().to_owned());
        self.request_id.get_or_insert_with(|| scope.request_id().to_string());
        self.trace_id.get_or_insert_with(|| scope.trace_id().to_owned());
        if self.order_id.is_none() {
            self.order_id = scope.order_id().map(|order| order.to_string());
        }
    }

    fn text(&mut self, field: &Field, text: &str) {
        let cleaned = redaction::clean(cut(text));
        match field.name() {
            "message" => self.message = cleaned.into_owned(),
            "service" => self.service = Some(cleaned.into_owned()),
            "request_id" => self.request_id = Some(cleaned.into_owned()),
            "trace_id" => self.trace_id = Some(cleaned.into_owned()),
            "order_id" => self.order_id = Some(cleaned.into_owned()),
            name => {
                push_name(&mut self.rest, name);
                push_text(&mut self.rest, &cleaned);
            }
        }
    }

    /// A field that is not shown, whatever it holds.
    fn is_hidden(&mut self, field: &Field) -> bool {
        let secret = redaction::is_secret_name(field.name());
        if secret {
            push_name(&mut self.rest, field.name());
            push_text(&mut self.rest, redaction::REDACTED);
        }
        secret
    }

    fn bare(&mut self, field: &Field, value: impl fmt::Display) {
        if !self.is_hidden(field) {
            push_name(&mut self.rest, field.name());
            let _ = write!(self.rest, "{value}");
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if !self.is_hidden(field) {
            self.text(field, value);
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if !self.is_hidden(field) {
            self.text(field, &format!("{value:?}"));
        }
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        if !self.is_hidden(field) {
            self.text(field, &value.to_string());
        }
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        let text = value.to_string();
        if redaction::findings(&text).is_empty() {
            self.bare(field, value);
        } else {
            self.text(field, &text);
        }
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.record_u64(field, value),
            Err(_) => self.bare(field, value),
        }
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.bare(field, value);
        } else {
            self.text(field, &value.to_string());
        }
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, value);
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(VALUE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Names are written in the code: they need no escapes.
fn push_name(line: &mut String, name: &str) {
    line.push_str(",\"");
    line.push_str(name);
    line.push_str("\":");
}

fn push_text(line: &mut String, text: &str) {
    line.push('"');
    for letter in text.chars() {
        match letter {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            control if u32::from(control) < 0x20 => {
                let _ = write!(line, "\\u{:04x}", u32::from(control));
            }
            other => line.push(other),
        }
    }
    line.push('"');
}
