//! A span: one piece of work of one service, with a beginning, an end, and what came of it.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{SpanId, TraceId, parse_traceparent};
use crate::http::Context;
use crate::http::context::traceparent;
use crate::telemetry::{Scope, Telemetry, redaction};
use crate::vocabulary::{OrderId, Timestamp};

/// The most characters of an attribute's value.
const VALUE_CHARS_MAX: usize = 200;

/// What a span is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A request that is answered.
    Server,
    /// A request to somebody else: the payment provider, a mail server.
    Client,
    /// A message that is handled.
    Consumer,
    /// Anything else.
    Internal,
}

/// What may be told of a span. The list is closed so that nothing secret gets in by the way; values are cleaned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// The HTTP method.
    Method,
    /// The route's template.
    Route,
    /// The HTTP status.
    Status,
    /// The problem's code.
    Code,
    /// The queue a message came from.
    Queue,
    /// The event's kind.
    Event,
    /// How many messages or rows.
    Count,
    /// The saga's step.
    Step,
    /// What came of it.
    Outcome,
    /// Which try it was.
    Attempt,
    /// The operation asked of the provider.
    Operation,
    /// The notification's channel.
    Channel,
    /// Why it failed.
    Reason,
}

impl Attribute {
    /// The attribute's name, as OpenTelemetry has it where it has one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Method => "http.request.method",
            Self::Route => "http.route",
            Self::Status => "http.response.status_code",
            Self::Code => "shop.problem_code",
            Self::Queue => "messaging.destination.name",
            Self::Event => "shop.event",
            Self::Count => "shop.count",
            Self::Step => "shop.step",
            Self::Outcome => "shop.outcome",
            Self::Attempt => "shop.attempt",
            Self::Operation => "shop.operation",
            Self::Channel => "shop.channel",
            Self::Reason => "shop.reason",
        }
    }
}

/// Which work a span is: words of the code, or words that were put together once and are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// Words of the code.
    Words(&'static str),
    /// Words that were put together.
    Made(Arc<str>),
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Words(words) => words,
            Self::Made(made) => made,
        }
    }
}

impl From<&'static str> for Name {
    fn from(words: &'static str) -> Self {
        Self::Words(words)
    }
}

impl From<String> for Name {
    fn from(made: String) -> Self {
        Self::Made(made.into())
    }
}

impl From<Arc<str>> for Name {
    fn from(made: Arc<str>) -> Self {
        Self::Made(made)
    }
}

/// A finished span.
#[derive(Clone, Debug)]
pub struct SpanRecord {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// The span that caused it, here or elsewhere.
    pub parent_id: Option<SpanId>,
    /// Whose work.
    pub service: &'static str,
    /// What kind of work.
    pub kind: SpanKind,
    /// Which work: `GET /v1/orders/{id}`, `saga authorize`.
    pub name: Name,
    /// The request it was done for.
    pub request_id: Arc<str>,
    /// The order it was about.
    pub order_id: Option<OrderId>,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// Whether it failed.
    pub failed: bool,
    /// What else is known.
    pub attributes: Vec<(Attribute, Cow<'static, str>)>,
}

/// Work that is being done. It ends, and is recorded, when it is dropped.
#[derive(Debug)]
pub struct Span {
    telemetry: Telemetry,
    scope: Scope,
    context: Context,
    began: Instant,
    /// No span of the same trace is around it in this task: its end decides whether the trace is kept.
    is_outermost: bool,
    /// Taken when it ends.
    record: Option<SpanRecord>,
}

impl Span {
    pub(super) fn start(
        telemetry: Telemetry,
        service: &'static str,
        kind: SpanKind,
        name: Name,
        parent: &Context,
    ) -> Self {
        let env = &telemetry.inner.env;
        let span_id: SpanId = env.bytes();
        let (trace_id, parent_id) = match parse_traceparent(&parent.traceparent) {
            Some((trace, span)) => (trace, Some(span)),
            None => (env.bytes(), None),
        };
        let mut context = parent.clone();
        context.traceparent = traceparent(&trace_id, &span_id);
        let is_outermost =
            Scope::with_current(|scope| scope.trace_id() != context.trace_id()).unwrap_or(true);
        let record = SpanRecord {
            trace_id,
            span_id,
            parent_id,
            service,
            kind,
            name,
            request_id: Arc::clone(&context.request_id),
            order_id: None,
            started_at: env.now(),
            took: Duration::ZERO,
            failed: false,
            attributes: Vec::new(),
        };
        let scope = Scope::new(service, &context);
        Self { scope, context, began: Instant::now(), is_outermost, record: Some(record), telemetry }
    }

    /// The context for whatever is called as part of this work.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The scope of this work's log lines.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Runs `work` in this span's scope. Does not end the span. Box what is large: it is moved on its way in.
    pub fn run<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        self.scope.clone().run(work)
    }

    /// Names the order that the work is about.
    pub fn note_order(&self, order_id: OrderId) {
        self.scope.note_order(order_id);
    }

    /// Adds a word that the code itself says.
    pub fn word(&mut self, attribute: Attribute, value: &'static str) {
        self.push(attribute, Cow::Borrowed(value));
    }

    /// Adds a value, cleaned of secrets and cut.
    pub fn attribute(&mut self, attribute: Attribute, value: impl Display) {
        let text = value.to_string();
        let text = redaction::clean(&text);
        let cut = text.char_indices().nth(VALUE_CHARS_MAX).map_or(text.len(), |(at, _)| at);
        self.push(attribute, Cow::Owned(text[..cut].to_owned()));
    }

    fn push(&mut self, attribute: Attribute, value: Cow<'static, str>) {
        if let Some(record) = &mut self.record {
            record.attributes.push((attribute, value));
        }
    }

    /// Says that the work failed, and why.
    pub fn fail(&mut self, reason: impl Display) {
        self.attribute(Attribute::Reason, reason);
        self.mark_failed();
    }

    /// Says that the work failed.
    pub(crate) fn mark_failed(&mut self) {
        if let Some(record) = &mut self.record {
            record.failed = true;
        }
    }

    /// How long it has taken until now.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.took = self.began.elapsed();
            record.order_id = self.scope.order_id();
            self.telemetry.inner.traces.finish(record, self.is_outermost);
        }
    }
}
