//! The spans that are remembered, within a fixed budget, and the questions they answer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Attribute, SpanKind, SpanRecord, TraceId, hex};
use crate::vocabulary::{OrderId, Timestamp, clock};

/// Recent spans, whatever became of them.
const RECENT_SPANS_MAX: usize = 4096;
/// Spans of kept traces, for each of the two kinds of trace.
const KEPT_SPANS_MAX: usize = 2048;
/// The most spans of one trace.
const TRACE_SPANS_MAX: usize = 256;
/// Work that takes longer is slow.
const SLOW: Duration = Duration::from_millis(500);
/// Ordinary traces kept per second.
const ORDINARY_PER_SECOND: u32 = 10;
/// Failed and slow traces kept per second: a storm of failures needs no more witnesses.
const NOTABLE_PER_SECOND: u32 = 100;

/// Finished spans of this process.
#[derive(Debug)]
pub struct TraceStore {
    memory: Mutex<Memory>,
    exporter: OnceLock<mpsc::Sender<Arc<SpanRecord>>>,
    export_dropped: Counter,
}

/// What to look for; every field that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct TraceQuery {
    /// The trace's 32 hex digits.
    pub trace_id: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
    /// An order that any span of the trace is about.
    pub order_id: Option<OrderId>,
    /// Only failed ones.
    pub failed: bool,
    /// Slowest first instead of newest first.
    pub slowest: bool,
    /// At most this many.
    pub limit: usize,
}

/// A trace in one line, and its spans in the order in which they began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TraceSummary {
    /// The trace's 32 hex digits.
    pub trace_id: String,
    /// The request that began it.
    pub request_id: String,
    /// The order it is about.
    pub order_id: Option<OrderId>,
    /// The first span's service.
    pub service: String,
    /// The first span's name.
    pub name: String,
    /// When it began.
    pub started_at: Timestamp,
    /// From the first beginning to the last end.
    pub took_us: u64,
    /// Whether any span failed.
    pub failed: bool,
    /// Its spans.
    pub spans: Vec<SpanSummary>,
}

/// A span as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SpanSummary {
    /// The span's 16 hex digits.
    pub span_id: String,
    /// The span that caused it.
    pub parent_id: Option<String>,
    /// How many spans lie between it and the trace's first.
    pub depth: usize,
    /// Whose work.
    pub service: String,
    /// Which work.
    pub name: String,
    /// How long after the trace's beginning it began.
    pub offset_us: u64,
    /// How long it took.
    pub took_us: u64,
    /// Whether it failed.
    pub failed: bool,
    /// What else is known of it.
    pub attributes: Vec<(String, String)>,
}

#[derive(Debug, Default)]
struct Memory {
    /// In place, one after the other: a span that nobody keeps costs no memory of its own.
    recent: VecDeque<SpanRecord>,
    kept: HashMap<TraceId, Kept>,
    ordinary: Shelf,
    notable: Shelf,
    budget: Budget,
}

#[derive(Debug)]
struct Kept {
    is_notable: bool,
    spans: Vec<Arc<SpanRecord>>,
}

/// Kept traces of one kind, oldest first.
#[derive(Debug, Default)]
struct Shelf {
    traces: VecDeque<TraceId>,
    spans: usize,
}

#[derive(Debug, Default)]
struct Budget {
    second: i64,
    ordinary: u32,
    notable: u32,
}

impl Budget {
    fn allows(&mut self, second: i64, is_notable: bool) -> bool {
        if second != self.second {
            *self = Self { second, ordinary: 0, notable: 0 };
        }
        let (used, most) = if is_notable {
            (&mut self.notable, NOTABLE_PER_SECOND)
        } else {
            (&mut self.ordinary, ORDINARY_PER_SECOND)
        };
        let allowed = *used < most;
        *used += u32::from(allowed);
        allowed
    }
}

impl TraceStore {
    pub(in crate::telemetry) fn new(registry: &mut Registry) -> Self {
        let export_dropped = Counter::default();
        registry.register(
            "otlp_spans_dropped",
            "Spans that were not exported: the collector is away or slow",
            export_dropped.clone(),
        );
        Self { memory: Mutex::default(), exporter: OnceLock::new(), export_dropped }
    }

    /// Sends the spans of kept traces to `exporter` from now on; answers the counter of those it has no room for.
    pub(in crate::telemetry) fn export_to(&self, exporter: mpsc::Sender<Arc<SpanRecord>>) -> Counter {
        let _ = self.exporter.set(exporter);
        self.export_dropped.clone()
    }

    /// Remembers a finished span. `is_outermost` ends a piece of work: its trace is kept or left to the ring.
    pub(super) fn finish(&self, record: SpanRecord, is_outermost: bool) {
        let mut memory = self.memory();
        let kept = memory.finish(&record, is_outermost);
        let oldest = memory.push(record);
        // All threads come through here: what can be done outside is.
        drop(memory);
        drop(oldest);
        for span in kept {
            self.export(span);
        }
    }

    fn export(&self, span: Arc<SpanRecord>) {
        if let Some(exporter) = self.exporter.get()
            && exporter.try_send(span).is_err()
        {
            self.export_dropped.inc();
        }
    }

    /// The traces that `query` asks for, kept ones and what the ring still holds of others.
    #[must_use]
    pub fn find(&self, query: &TraceQuery) -> Vec<TraceSummary> {
        let memory = self.memory();
        let mut traces: HashMap<TraceId, Vec<Arc<SpanRecord>>> =
            memory.kept.iter().map(|(trace, kept)| (*trace, kept.spans.clone())).collect();
        for span in &memory.recent {
            if !memory.kept.contains_key(&span.trace_id) {
                traces.entry(span.trace_id).or_default().push(Arc::new(span.clone()));
            }
        }
        drop(memory);
        traces.retain(|trace, spans| query.matches(trace, spans));
        let mut found: Vec<_> = traces.into_iter().filter(|(_, spans)| !spans.is_empty()).collect();
        if query.slowest {
            found.sort_by_key(|(_, spans)| std::cmp::Reverse(duration(spans)));
        } else {
            found.sort_by_key(|(_, spans)| std::cmp::Reverse(spans.iter().map(|span| span.started_at).min()));
        }
        found.truncate(query.limit);
        found.into_iter().filter_map(|(_, spans)| summary(spans)).collect()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Puts a span into the ring; answers the one that had to go.
    fn push(&mut self, span: SpanRecord) -> Option<SpanRecord> {
        let oldest = if self.recent.len() == RECENT_SPANS_MAX { self.recent.pop_front() } else { None };
        self.recent.push_back(span);
        oldest
    }

    /// Answers the spans that are kept by the end of this one, for the exporter.
    fn finish(&mut self, span: &SpanRecord, is_outermost: bool) -> Vec<Arc<SpanRecord>> {
        let is_notable = span.failed || (span.took >= SLOW && span.kind != SpanKind::Client);
        if let Some(kept) = self.append(span, is_notable) {
            return vec![kept];
        }
        let ended_at_s = clock::add(span.started_at, span.took).as_second();
        if (is_outermost || is_notable) && self.budget.allows(ended_at_s, is_notable) {
            return self.keep(span, is_notable);
        }
        Vec::new()
    }

    /// Adds a span to its trace if that is kept already.
    fn append(&mut self, span: &SpanRecord, is_notable: bool) -> Option<Arc<SpanRecord>> {
        let kept = self.kept.get_mut(&span.trace_id)?;
        let appended = Arc::new(span.clone());
        if kept.spans.len() < TRACE_SPANS_MAX {
            kept.spans.push(Arc::clone(&appended));
            let shelf = if kept.is_notable { &mut self.notable } else { &mut self.ordinary };
            shelf.spans += 1;
        }
        if is_notable && !kept.is_notable {
            kept.is_notable = true;
            self.ordinary.spans -= kept.spans.len();
            self.notable.spans += kept.spans.len();
            self.notable.traces.push_back(span.trace_id);
        }
        self.make_room();
        Some(appended)
    }

    /// Keeps the trace of `last`, which is not in the ring yet.
    fn keep(&mut self, last: &SpanRecord, is_notable: bool) -> Vec<Arc<SpanRecord>> {
        let trace = last.trace_id;
        let before = self.recent.iter().rev().filter(|span| span.trace_id == trace);
        let mut spans: Vec<_> = std::iter::once(last)
            .chain(before)
            .take(TRACE_SPANS_MAX)
            .map(|span| Arc::new(span.clone()))
            .collect();
        spans.reverse();
        let shelf = if is_notable { &mut self.notable } else { &mut self.ordinary };
        shelf.spans += spans.len();
        shelf.traces.push_back(trace);
        self.kept.insert(trace, Kept { is_notable, spans: spans.clone() });
        self.make_room();
        spans
    }

    /// Forgets the oldest traces of a shelf that is over its budget. A trace that moved to the other shelf left its
    /// name behind on this one; it is passed over.
    fn make_room(&mut self) {
        for (shelf, is_notable) in [(&mut self.ordinary, false), (&mut self.notable, true)] {
            while shelf.spans > KEPT_SPANS_MAX {
                let Some(oldest) = shelf.traces.pop_front() else { break };
                if self.kept.get(&oldest).is_some_and(|kept| kept.is_notable == is_notable) {
                    let forgotten = self.kept.remove(&oldest).map_or(0, |kept| kept.spans.len());
                    shelf.spans -= forgotten;
                }
            }
        }
    }
}

impl TraceQuery {
    fn matches(&self, trace: &TraceId, spans: &[Arc<SpanRecord>]) -> bool {
        self.trace_id.as_ref().is_none_or(|wanted| *wanted == hex(trace))
            && self
                .request_id
                .as_ref()
                .is_none_or(|wanted| spans.iter().any(|span| *span.request_id == **wanted))
            && self.order_id.is_none_or(|wanted| spans.iter().any(|span| span.order_id == Some(wanted)))
            && (!self.failed || spans.iter().any(|span| span.failed))
    }
}

fn ends(spans: &[Arc<SpanRecord>]) -> Option<(Timestamp, Timestamp)> {
    let begin = spans.iter().map(|span| span.started_at).min()?;
    let end = spans.iter().map(|span| clock::add(span.started_at, span.took)).max()?;
    Some((begin, end))
}

fn duration(spans: &[Arc<SpanRecord>]) -> Duration {
    ends(spans).map_or(Duration::ZERO, |(begin, end)| clock::since(begin, end))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn summary(mut spans: Vec<Arc<SpanRecord>>) -> Option<TraceSummary> {
    spans.sort_by_key(|span| (span.started_at, std::cmp::Reverse(span.took)));
    let (begin, end) = ends(&spans)?;
    let first = Arc::clone(spans.first()?);
    let parents: HashMap<_, _> = spans.iter().map(|span| (span.span_id, span.parent_id)).collect();
    let depth = |span: &SpanRecord| {
        let mut depth = 0;
        let mut parent = span.parent_id;
        // Ids come from outside too, so a ring of parents is possible: no chain is longer than the trace.
        while let Some(known) = parent.and_then(|parent| parents.get(&parent)).filter(|_| depth < spans.len())
        {
            depth += 1;
            parent = *known;
        }
        depth
    };
    Some(TraceSummary {
        trace_id: hex(&first.trace_id),
        request_id: first.request_id.to_string(),
        order_id: spans.iter().find_map(|span| span.order_id),
        service: first.service.to_owned(),
        name: first.name.to_string(),
        started_at: begin,
        took_us: micros(clock::since(begin, end)),
        failed: spans.iter().any(|span| span.failed),
        spans: spans.iter().map(|span| shown(span, begin, depth(span))).collect(),
    })
}

fn shown(span: &SpanRecord, begin: Timestamp, depth: usize) -> SpanSummary {
    let attribute = |(name, value): &(Attribute, std::borrow::Cow<'static, str>)| {
        (name.name().to_owned(), value.clone().into_owned())
    };
    SpanSummary {
        span_id: hex(&span.span_id),
        parent_id: span.parent_id.map(|parent| hex(&parent)),
        depth,
        service: span.service.to_owned(),
        name: span.name.to_string(),
        offset_us: micros(clock::since(begin, span.started_at)),
        took_us: micros(span.took),
        failed: span.failed,
        attributes: span.attributes.iter().map(attribute).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(trace: u32, number: u8, began_ms: i64, took_ms: u64) -> SpanRecord {
        let mut trace_id = [0; 16];
        trace_id[..4].copy_from_slice(&trace.to_be_bytes());
        SpanRecord {
            trace_id,
            span_id: [number; 8],
            parent_id: number.checked_sub(1).filter(|parent| *parent > 0).map(|parent| [parent; 8]),
            service: "order",
            kind: SpanKind::Server,
            name: "POST /v1/orders".into(),
            request_id: format!("req_{trace}").into(),
            order_id: None,
            started_at: Timestamp::from_millisecond(began_ms).expect("a time"),
            took: Duration::from_millis(took_ms),
            failed: false,
            attributes: Vec::new(),
        }
    }

    fn store() -> TraceStore {
        TraceStore::new(&mut Registry::default())
    }

    fn all(store: &TraceStore) -> Vec<TraceSummary> {
        store.find(&TraceQuery { limit: usize::MAX, ..TraceQuery::default() })
    }

    #[test]
    fn a_trace_is_put_together_from_its_spans() {
        let store = store();
        store.finish(span(1, 2, 1010, 5), false);
        store.finish(span(1, 3, 1012, 1), false);
        store.finish(span(1, 1, 1000, 20), true);
        let found = store.find(&TraceQuery {
            request_id: Some("req_1".to_owned()),
            limit: 1,
            ..TraceQuery::default()
        });
        let trace = &found[0];
        assert_eq!((trace.took_us, trace.spans.len()), (20_000, 3));
        let shape: Vec<_> = trace.spans.iter().map(|span| (span.depth, span.offset_us)).collect();
        assert_eq!(shape, [(0, 0), (1, 10_000), (2, 12_000)]);
    }

    #[test]
    fn a_busy_second_keeps_a_sample_and_everything_that_failed() {
        let store = store();
        let (sender, mut exported) = mpsc::channel(10_000);
        store.export_to(sender);
        for trace in 1..=1000 {
            let mut record = span(trace, 1, 1000, 1);
            record.failed = trace % 100 == 0;
            store.finish(record, true);
        }
        let mut kept = HashMap::<bool, usize>::new();
        while let Ok(span) = exported.try_recv() {
            *kept.entry(span.failed).or_default() += 1;
        }
        assert_eq!(kept[&true], 10);
        assert_eq!(kept[&false], usize::try_from(ORDINARY_PER_SECOND).expect("small"));
        let failed = store.find(&TraceQuery { failed: true, limit: 100, ..TraceQuery::default() });
        assert_eq!(failed.len(), 10);
    }

    #[test]
    fn memory_is_bounded_and_failures_outlive_the_ordinary() {
        let store = store();
        let mut failure = span(1, 1, 0, 1);
        failure.failed = true;
        store.finish(failure, true);
        for trace in 2..100_000 {
            store.finish(span(trace, 1, i64::from(trace) * 50, 1), true);
        }
        let memory = store.memory();
        assert_eq!(memory.recent.len(), RECENT_SPANS_MAX);
        assert!(memory.kept.len() <= 2 * KEPT_SPANS_MAX && memory.ordinary.traces.len() <= KEPT_SPANS_MAX);
        drop(memory);
        let failed = store.find(&TraceQuery { failed: true, limit: 10, ..TraceQuery::default() });
        assert_eq!(failed.len(), 1);
    }

    #[test]
    fn a_late_failure_makes_a_kept_trace_notable() {
        let store = store();
        store.finish(span(1, 1, 0, 1), true);
        let mut late = span(1, 2, 10, 1);
        late.failed = true;
        store.finish(late, true);
        let memory = store.memory();
        assert_eq!((memory.ordinary.spans, memory.notable.spans), (0, 2));
        drop(memory);
        assert!(all(&store)[0].failed);
    }

    #[test]
    fn slowest_first_and_a_ring_of_parents_ends() {
        let store = store();
        store.finish(span(1, 1, 0, 10), true);
        store.finish(span(2, 1, 5, 300), true);
        let mut circular = span(3, 1, 9, 20);
        circular.parent_id = Some([1; 8]);
        store.finish(circular, true);
        let query = TraceQuery { slowest: true, limit: 2, ..TraceQuery::default() };
        let took: Vec<_> = store.find(&query).iter().map(|trace| trace.took_us).collect();
        assert_eq!(took, [300_000, 20_000]);
    }
}
