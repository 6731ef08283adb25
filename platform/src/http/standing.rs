//! What every process answers about itself, whatever it runs: `/healthz`, `/readyz`, `/metrics`, `/version`,
//! `/openapi.json`.

use axum::Router;
use axum::http::header;
use axum::routing::{MethodRouter, get};
use bytes::Bytes;

use super::Json;
use crate::telemetry::Telemetry;

/// The paths.
pub const PATHS: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/version", "/openapi.json"];

/// A service's description as an answer.
pub fn described_by(document: &utoipa::openapi::OpenApi) -> MethodRouter {
    let json = Bytes::from(serde_json::to_vec(document).unwrap_or_default());
    get(|| async move { ([(header::CONTENT_TYPE, "application/json")], json) })
}

/// The routes of a process called `name`; `description` answers `/openapi.json`. `/metrics` is left out where the
/// public reaches the listener.
pub fn routes(
    name: &'static str,
    telemetry: &Telemetry,
    has_metrics: bool,
    description: MethodRouter,
) -> Router {
    let version = move || async move {
        Json(serde_json::json!({ "name": name, "version": env!("CARGO_PKG_VERSION"), "api": ["v1"] }))
    };
    let router =
        telemetry.health_routes().route("/version", get(version)).route("/openapi.json", description);
    if has_metrics { router.merge(telemetry.metrics_route()) } else { router }
}
