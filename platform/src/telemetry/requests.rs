//! What every request tells: rate, errors and duration by route, a span, and the scope of its log lines.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::Response;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::traces::Name;
use super::{Attribute, Span, SpanKind, Telemetry};
use crate::http::{Context, Problem};

/// Requests that take longer are logged.
const SLOW: Duration = Duration::from_secs(1);
/// The service whose requests come from outside: its numbers are the live chart's.
const EDGE: &str = "gateway";

impl Telemetry {
    /// Wraps every route of `service`. Whatever puts the [`Context`] into a request goes around this; handlers
    /// inside see the span's own context, so that their calls hang below it.
    pub fn observe(&self, service: &'static str, router: Router) -> Router {
        let telemetry = self.clone();
        router.layer(middleware::from_fn(move |request: Request, next: Next| {
            let telemetry = telemetry.clone();
            async move { telemetry.request(service, request, next).await }
        }))
    }

    /// The meters of one route of `service`, for GET.
    #[must_use]
    pub fn route_meter(&self, service: &'static str, route: Arc<str>) -> RouteMeter {
        RouteMeter {
            name: format!("GET {route}").into(),
            telemetry: self.clone(),
            service,
            route,
            ok: OnceLock::new(),
            not_modified: OnceLock::new(),
            duration: OnceLock::new(),
        }
    }

    /// Counts a request that was answered at the edge, and shows it on the live chart. The number of different
    /// `route`s is the caller's to bound.
    pub fn answered(&self, route: &Arc<str>, method: &Method, status: u16, took: Duration) {
        self.inner.meters.request(EDGE, route, method_label(method), status, took);
        self.show(status, took);
    }

    /// Shows a request that was answered at the edge on the live chart.
    pub fn show(&self, status: u16, took: Duration) {
        self.inner.live.request(self.inner.env.now(), took, status >= 500);
    }

    async fn request(&self, service: &'static str, mut request: Request, next: Next) -> Response {
        let began = Instant::now();
        let method = method_label(request.method());
        let route = route_label(&request);
        let mut span = request
            .extensions()
            .get::<Context>()
            .map(|context| self.start(service, SpanKind::Server, format!("{method} {route}"), context));
        let response = match &span {
            Some(span) => {
                request.extensions_mut().insert(span.context().clone());
                span.run(next.run(request)).await
            }
            None => next.run(request).await,
        };
        let took = began.elapsed();
        let status = response.status().as_u16();
        self.inner.meters.request(service, &route, method, status, took);
        if let Some(span) = &mut span {
            describe(span, &response, status);
            tell(span, method, &route, status, took);
        }
        response
    }
}

/// A route whose requests are so many that its meters are found once and kept. It counts GETs only.
#[derive(Debug)]
pub struct RouteMeter {
    telemetry: Telemetry,
    service: &'static str,
    route: Arc<str>,
    name: Name,
    ok: OnceLock<Counter>,
    not_modified: OnceLock<Counter>,
    duration: OnceLock<Histogram>,
}

impl RouteMeter {
    /// `GET` and the route: the name of its spans.
    #[must_use]
    pub fn name(&self) -> Name {
        self.name.clone()
    }

    /// Counts a request.
    pub fn answered(&self, status: u16, took: Duration) {
        let meters = &self.telemetry.inner.meters;
        let counter = |kept: &OnceLock<Counter>| {
            kept.get_or_init(|| meters.request_counter(self.service, &self.route, "GET", status)).inc();
        };
        match status {
            200 => counter(&self.ok),
            304 => counter(&self.not_modified),
            _ => return meters.request(self.service, &self.route, "GET", status, took),
        }
        let duration = || meters.request_duration(self.service, &self.route, "GET");
        self.duration.get_or_init(duration).observe(took.as_secs_f64());
    }
}

fn describe(span: &mut Span, response: &Response, status: u16) {
    if status >= 400 {
        span.attribute(Attribute::Status, status);
        if let Some(problem) = response.extensions().get::<Problem>() {
            span.attribute(Attribute::Code, problem.kind.trim_start_matches("about:blank#"));
        }
    }
    if status >= 500 {
        span.mark_failed();
    }
}

/// Requests that went well are told by metrics and traces; a line each would cost more than the request.
fn tell(span: &Span, method: &'static str, route: &str, status: u16, took: Duration) {
    let (scope, took_ms) = (span.scope(), took.as_secs_f64() * 1000.0);
    let service = scope.service();
    let request_id: &str = scope.request_id();
    if status >= 500 {
        tracing::warn!(
            service,
            request_id,
            trace_id = scope.trace_id(),
            method,
            route,
            status,
            took_ms,
            "request failed"
        );
    } else if took >= SLOW {
        tracing::warn!(
            service,
            request_id,
            trace_id = scope.trace_id(),
            method,
            route,
            status,
            took_ms,
            "request was slow"
        );
    } else {
        tracing::debug!(
            service,
            request_id,
            trace_id = scope.trace_id(),
            method,
            route,
            status,
            took_ms,
            "request"
        );
    }
}

/// The methods that there are; all others look the same, so that nobody can make labels by sending words.
pub(crate) fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The route's template; requests that no route takes look the same.
fn route_label(request: &Request) -> Arc<str> {
    static UNMATCHED: OnceLock<Arc<str>> = OnceLock::new();
    match request.extensions().get::<MatchedPath>() {
        Some(path) => path.as_str().into(),
        None => Arc::clone(UNMATCHED.get_or_init(|| "unmatched".into())),
    }
}
