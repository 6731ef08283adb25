//! Recent log lines, found by request, trace or order.

use askama::Template;
use axum::response::Response;
use serde::Deserialize;

use super::OPERATORS;
use super::traces::{Named, named};
use crate::http::{Problem, Query};
use crate::telemetry::{LogQuery, LogRecord};
use crate::web::page::{Page, Tone};
use crate::web::visit::Visit;

#[derive(Template)]
#[template(path = "operations/logs.html")]
struct LogsPage {
    page: Page,
    q: String,
    notable: bool,
    lines: Vec<LogRecord>,
}

/// What a browser may ask.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    notable: String,
}

/// How a level is meant.
pub(crate) fn level_tone(level: &str) -> Tone {
    match level {
        "error" => Tone::Bad,
        "warn" => Tone::Warn,
        "info" => Tone::Info,
        _ => Tone::Plain,
    }
}

/// `GET /operations/logs`
pub(super) async fn logs(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Problem> {
    visit.staff(OPERATORS)?;
    let notable = asked.notable == "true";
    let mut query = LogQuery { notable, limit: 60, ..LogQuery::default() };
    match named(&asked.q) {
        Named::Nothing => {}
        Named::Order(order) => query.order_id = Some(order),
        Named::Trace(trace) => query.trace_id = Some(trace),
        Named::Request(request) => query.request_id = Some(request),
    }
    let lines = visit.web.capabilities.telemetry.logs().find(&query);
    Ok(visit.show(&LogsPage { page: visit.page("Logs"), q: asked.q, notable, lines }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Timestamp;

    #[test]
    fn a_line_leads_to_the_traces_of_its_request() {
        let line = LogRecord {
            at: Timestamp::UNIX_EPOCH,
            level: "warn".into(),
            message: "the provider is slow".into(),
            service: Some("payment".into()),
            request_id: Some("req_1".into()),
            trace_id: None,
            order_id: None,
            line: "{}".into(),
        };
        let page = crate::web::page::tests::page("/operations/logs");
        let html = LogsPage { page, q: String::new(), notable: false, lines: vec![line] }.render().unwrap();
        assert!(html.contains("badge-warn") && html.contains("/operations/traces?q=req_1"));
        crate::web::page::tests::assert_is_well_made(&html);
    }
}
