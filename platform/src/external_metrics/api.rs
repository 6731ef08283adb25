//! The API's paths, and who may ask for them.
//!
//! How the process is (`/healthz`, `/livez`, `/readyz`) is told to everybody, since a node has no certificate when it asks.
//! The OpenAPI document is there because the API server asks for one again and again; metrics have no schema to add to it.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use super::authority::Caller;
use super::figures::{Figures, Reading, Unread};
use super::quantity::quantity;
use super::selector::Selector;
use super::wire::{
    ApiGroup, ApiGroupList, ApiResourceList, ExternalMetricValue, ExternalMetricValueList, OpenApi, Status,
};
use crate::telemetry::Telemetry;
use crate::vocabulary::Timestamp;

/// What everybody may ask.
const OPEN_PATHS: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// What is answered.
pub(super) struct Answers {
    pub(super) figures: Figures,
    /// The namespace whose shop this is; none answers for any.
    pub(super) namespace: Option<String>,
}

/// All paths, counted by `telemetry`.
pub(super) fn router(answers: Answers, telemetry: &Telemetry) -> Router {
    let answers = Arc::new(answers);
    let router = Router::new()
        .route("/apis", get(|| async { Json(ApiGroupList::new()) }))
        .route("/apis/external.metrics.k8s.io", get(|| async { Json(ApiGroup::new()) }))
        .route("/apis/external.metrics.k8s.io/v1beta1", get(resources))
        .route("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}", get(values))
        .route("/openapi/v2", get(|| async { Json(OpenApi::new()) }))
        .with_state(answers)
        .merge(telemetry.health_routes())
        .route("/livez", get(|| async { "ok" }))
        .fallback(|request: Request| async move {
            Status::not_found(format!("there is nothing at {}", request.uri().path()))
        })
        .method_not_allowed_fallback(|request: Request| async move {
            Status::method_not_allowed(format!("{} is not for metrics", request.method()))
        });
    telemetry.observe("metrics", router).layer(middleware::from_fn(admit))
}

async fn admit(request: Request, next: Next) -> Response {
    let is_known = request.extensions().get() == Some(&Caller::Known);
    if is_known || OPEN_PATHS.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    Status::unauthorized("only the API server may ask, and it is known by its certificate").into_response()
}

async fn resources(State(answers): State<Arc<Answers>>) -> Json<ApiResourceList> {
    Json(ApiResourceList::of(answers.figures.metrics()))
}

/// What a request for values says beyond its path. Kubernetes' clients add words that mean nothing here.
#[derive(Deserialize)]
struct Asked {
    #[serde(default, rename = "labelSelector")]
    label_selector: String,
}

async fn values(
    State(answers): State<Arc<Answers>>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<ExternalMetricValueList>, Status> {
    let Path((namespace, metric)) = path.map_err(|error| Status::bad_request(error.body_text()))?;
    let Query(asked) = query.map_err(|error| Status::bad_request(error.body_text()))?;
    let selector = Selector::parse(&asked.label_selector)
        .map_err(|why| Status::bad_request(format!("labelSelector `{}`: {why}", asked.label_selector)))?;
    if let Some(own) = answers.namespace.as_ref().filter(|own| **own != namespace) {
        let why =
            format!("the metrics here are of the shop in the namespace `{own}`, not of one in `{namespace}`");
        return Err(Status::not_found(why));
    }
    match answers.figures.read(&metric, &selector).await {
        Ok(reading) => {
            let item = reading.map(|reading| item(&metric, reading)).transpose()?;
            Ok(Json(ExternalMetricValueList::of(item)))
        }
        Err(Unread::NoSuchMetric) => {
            let known = answers.figures.metrics().join(", ");
            Err(Status::not_found(format!("there is no metric `{metric}`; there are {known}")))
        }
        Err(Unread::Silence(why)) => Err(Status::unavailable(format!("`{metric}` could not be read: {why}"))),
    }
}

fn item(metric: &str, reading: Reading) -> Result<ExternalMetricValue, Status> {
    let Some(value) = quantity(reading.value) else {
        return Err(Status::internal(format!("`{metric}` is {}, which is no quantity", reading.value)));
    };
    Ok(ExternalMetricValue {
        metric_name: metric.to_owned(),
        metric_labels: reading.labels,
        timestamp: to_the_second(reading.at),
        value,
    })
}

/// As Kubernetes writes moments.
fn to_the_second(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}
