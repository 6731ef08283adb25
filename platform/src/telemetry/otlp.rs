//! Hands kept traces to a collector: OTLP over HTTP with JSON, in batches, within a bounded queue.
//!
//! A collector that is away costs spans, never a request: a batch is tried three times, then dropped and counted
//! (`otlp_spans_dropped_total`).

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Telemetry;
use super::traces::{SpanKind, SpanRecord, hex};
use crate::http::HttpClient;
use crate::vocabulary::clock;

/// Spans that may wait.
const QUEUE_SPANS_MAX: usize = 4096;
/// Spans of one request.
const BATCH_SPANS_MAX: usize = 512;
/// How long a span may wait for others.
const BATCH_WAIT: Duration = Duration::from_secs(2);
/// How long a collector may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Tries per batch.
const TRIES: u32 = 3;

impl Telemetry {
    /// Exports the spans of kept traces to the collector at `url` (`http://collector:4318`) until `stop`, then what
    /// is left.
    pub async fn export(self, client: HttpClient, url: String, stop: CancellationToken) {
        let (sender, spans) = mpsc::channel(QUEUE_SPANS_MAX);
        let dropped = self.inner.traces.export_to(sender);
        let base = url.trim_end_matches('/');
        let path = if base.ends_with("/v1/traces") { "" } else { "/v1/traces" };
        let exporter = Exporter { telemetry: self, client, url: format!("{base}{path}"), dropped };
        exporter.run(spans, stop).await;
    }
}

struct Exporter {
    telemetry: Telemetry,
    client: HttpClient,
    url: String,
    dropped: Counter,
}

impl Exporter {
    async fn run(self, mut spans: mpsc::Receiver<Arc<SpanRecord>>, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                received = spans.recv_many(&mut batch, BATCH_SPANS_MAX) => {
                    if received == 0 {
                        return;
                    }
                }
                () = stop.cancelled() => break,
            }
            let full = self.fill(&mut batch, &mut spans);
            let stopped = tokio::select! {
                _ = tokio::time::timeout(BATCH_WAIT, full) => false,
                () = stop.cancelled() => true,
            };
            self.send(&mut batch, &stop).await;
            if stopped {
                break;
            }
        }
        spans.close();
        while spans.recv_many(&mut batch, BATCH_SPANS_MAX).await > 0 {
            self.send(&mut batch, &stop).await;
        }
    }

    async fn fill(&self, batch: &mut Vec<Arc<SpanRecord>>, spans: &mut mpsc::Receiver<Arc<SpanRecord>>) {
        while batch.len() < BATCH_SPANS_MAX {
            let room = BATCH_SPANS_MAX - batch.len();
            if spans.recv_many(batch, room).await == 0 {
                return;
            }
        }
    }

    /// Sends and empties `batch`. After `stop` there is one try.
    async fn send(&self, batch: &mut Vec<Arc<SpanRecord>>, stop: &CancellationToken) {
        let body = Bytes::from(document(batch).to_string());
        for attempt in 1..=TRIES {
            let reason = match self.post(body.clone()).await {
                Ok(()) => {
                    batch.clear();
                    return;
                }
                Err(reason) => reason,
            };
            if attempt == TRIES || stop.is_cancelled() {
                tracing::warn!(reason, spans = batch.len(), "traces were not exported");
                break;
            }
            let wait = self.telemetry.inner.env.jitter(Duration::from_millis(500) * attempt);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => {}
            }
        }
        self.dropped.inc_by(u64::try_from(batch.len()).unwrap_or(u64::MAX));
        batch.clear();
    }

    async fn post(&self, body: Bytes) -> Result<(), String> {
        let request = hyper::Request::post(&self.url)
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let answer = self.client.send(request, TIMEOUT).await.map_err(|error| error.to_string())?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(format!("the collector answered {}", answer.status()))
        }
    }
}

/// An `ExportTraceServiceRequest`: one resource per service.
fn document(spans: &[Arc<SpanRecord>]) -> Value {
    let mut services: Vec<&'static str> = spans.iter().map(|span| span.service).collect();
    services.sort_unstable();
    services.dedup();
    let resource = |service: &&'static str| {
        let own: Vec<_> =
            spans.iter().filter(|span| span.service == *service).map(|span| otlp(span)).collect();
        json!({
            "resource": { "attributes": [text("service.name", service)] },
            "scopeSpans": [{ "scope": { "name": "shop" }, "spans": own }],
        })
    };
    json!({ "resourceSpans": services.iter().map(resource).collect::<Vec<_>>() })
}

fn otlp(span: &SpanRecord) -> Value {
    let mut attributes = vec![text("shop.request_id", &span.request_id)];
    attributes.extend(span.order_id.map(|order| text("shop.order_id", &order.to_string())));
    attributes.extend(span.attributes.iter().map(|(name, value)| text(name.name(), value)));
    let kind = match span.kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Consumer => 5,
    };
    json!({
        "traceId": hex(&span.trace_id),
        "spanId": hex(&span.span_id),
        "parentSpanId": span.parent_id.map(|parent| hex(&parent)).unwrap_or_default(),
        "name": &*span.name,
        "kind": kind,
        "startTimeUnixNano": nanos(span.started_at),
        "endTimeUnixNano": nanos(clock::add(span.started_at, span.took)),
        "attributes": attributes,
        "status": { "code": if span.failed { 2 } else { 0 } },
    })
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// 64-bit numbers are strings in OTLP's JSON.
fn nanos(at: crate::vocabulary::Timestamp) -> String {
    let mut text = String::new();
    let _ = write!(text, "{}", at.as_nanosecond());
    text
}
