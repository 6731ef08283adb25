//! Recent traces, found by request, trace or order, and one of them span by span.

use askama::Template;
use askama::filters::Safe;
use axum::response::Response;
use serde::Deserialize;

use super::OPERATORS;
use crate::http::{Path, Problem, Query};
use crate::telemetry::{TraceQuery, TraceSummary};
use crate::web::page::Page;
use crate::web::visit::Visit;

#[derive(Template)]
#[template(path = "operations/traces.html")]
struct Traces {
    page: Page,
    q: String,
    failed: bool,
    slowest: bool,
    traces: Vec<TraceSummary>,
}

#[derive(Template)]
#[template(path = "operations/trace.html")]
struct Trace {
    page: Page,
    trace: TraceSummary,
    spans: Vec<SpanRow>,
}

struct SpanRow {
    name: String,
    service: String,
    depth: usize,
    failed: bool,
    took_us: u64,
    attributes: Vec<(String, String)>,
    bar: Safe<String>,
}

/// What a browser may ask.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    failed: String,
    #[serde(default)]
    slowest: String,
}

/// What an id names, by its looks: an order, a trace, or else a request.
pub(super) enum Named {
    Nothing,
    Order(crate::vocabulary::OrderId),
    Trace(String),
    Request(String),
}

/// Reads what a person pasted.
pub(super) fn named(text: &str) -> Named {
    let text = text.trim();
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text {
        "" => Named::Nothing,
        text if is_hex => Named::Trace(text.to_ascii_lowercase()),
        text => match text.parse() {
            Ok(order) => Named::Order(order),
            Err(_) => Named::Request(text.to_owned()),
        },
    }
}

/// `GET /operations/traces`
pub(super) async fn list(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Problem> {
    visit.staff(OPERATORS)?;
    let (failed, slowest) = (asked.failed == "true", asked.slowest == "true");
    let mut query = TraceQuery { failed, slowest, limit: 50, ..TraceQuery::default() };
    match named(&asked.q) {
        Named::Nothing => {}
        Named::Order(order) => query.order_id = Some(order),
        Named::Trace(trace) => query.trace_id = Some(trace),
        Named::Request(request) => query.request_id = Some(request),
    }
    let traces = visit.web.capabilities.telemetry.traces().find(&query);
    let page = visit.page("Traces");
    Ok(visit.show(&Traces { page, q: asked.q, failed, slowest, traces }))
}

/// `GET /operations/traces/{trace_id}`
pub(super) async fn trace(visit: Visit, Path(trace_id): Path<String>) -> Result<Response, Problem> {
    visit.staff(OPERATORS)?;
    let query = TraceQuery { trace_id: Some(trace_id), limit: 1, ..TraceQuery::default() };
    let found = visit.web.capabilities.telemetry.traces().find(&query).pop();
    let trace = found.ok_or_else(|| Problem::not_found("trace"))?;
    Ok(visit.show(&draw(visit.page("Trace"), trace)))
}

fn draw(page: Page, trace: TraceSummary) -> Trace {
    let whole = trace.took_us.max(1);
    let spans = trace.spans.iter().map(|span| SpanRow {
        name: span.name.clone(),
        service: span.service.clone(),
        depth: span.depth.min(4),
        failed: span.failed,
        took_us: span.took_us,
        attributes: span.attributes.clone(),
        bar: bar(span.offset_us, span.took_us, whole, span.failed),
    });
    Trace { page, spans: spans.collect(), trace }
}

/// Where in the trace a span lies, in thousandths.
fn bar(offset_us: u64, took_us: u64, whole_us: u64, failed: bool) -> Safe<String> {
    let share = |us: u64| us.saturating_mul(1000) / whole_us;
    let begin = share(offset_us).min(995);
    let width = share(took_us).clamp(5, 1000 - begin);
    let class = if failed { " class=\"bad\"" } else { "" };
    Safe(format!(
        "<svg class=\"span-bar\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect class=\"track\" width=\"1000\" height=\"10\"/><rect{class} x=\"{begin}\" width=\"{width}\" height=\"10\"/></svg>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::traces::SpanSummary;
    use crate::vocabulary::Timestamp;

    #[test]
    fn an_id_is_known_by_its_looks() {
        assert!(matches!(named(" "), Named::Nothing));
        assert!(matches!(named("0194f0c0-0000-7000-8000-000000000001"), Named::Order(_)));
        assert!(
            matches!(named("4BF92F3577B34DA6A3CE929D0E0E4736"), Named::Trace(id) if id.starts_with("4bf9"))
        );
        assert!(matches!(named("req_01"), Named::Request(_)));
    }

    #[test]
    fn a_span_never_leaves_its_track() {
        assert!(bar(0, 10, 10, false).0.contains("x=\"0\" width=\"1000\""));
        assert!(bar(10, 0, 10, true).0.contains("x=\"995\" width=\"5\""));
        assert!(bar(u64::MAX, u64::MAX, 1, false).0.contains("x=\"995\""));
    }

    #[test]
    fn a_trace_is_drawn_span_by_span() {
        let span = SpanSummary {
            span_id: "1".into(),
            parent_id: None,
            depth: 9,
            service: "order".into(),
            name: "POST /v1/orders".into(),
            offset_us: 0,
            took_us: 2500,
            failed: true,
            attributes: vec![("status".into(), "500".into())],
        };
        let trace = TraceSummary {
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
            request_id: "req_1".into(),
            order_id: None,
            service: "gateway".into(),
            name: "POST /v1/orders".into(),
            started_at: Timestamp::UNIX_EPOCH,
            took_us: 2500,
            failed: true,
            spans: vec![span],
        };
        let html = draw(crate::web::page::tests::page("/operations/traces/4"), trace).render().unwrap();
        assert!(html.contains("depth-4") && html.contains("status=500") && html.contains("2.5 ms"));
        crate::web::page::tests::assert_is_well_made(&html);
    }
}
