//! Whether the process lives (`/healthz`) and whether it should be given work (`/readyz`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};

use super::{METRICS_CONTENT_TYPE, Telemetry};
use crate::http::Json;

/// How long a check may take before it counts as failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The named checks of this process, and whether it is up at all: not before everything is mounted, and not any
/// more once it was told to stop.
#[derive(Default)]
pub struct Health {
    is_up: AtomicBool,
    /// Why this process will not get well again by itself.
    broken: OnceLock<String>,
    checks: Mutex<Vec<(&'static str, Check)>>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").field("is_up", &self.is_up).finish_non_exhaustive()
    }
}

/// What one check answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The check's name: `storage`.
    pub name: String,
    /// Whether it passed.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What `/readyz` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// `ready`, or `not_ready`.
    pub status: String,
    /// Every check.
    pub checks: Vec<CheckReport>,
}

impl Readiness {
    /// Whether work may be given to this process.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status == "ready"
    }
}

impl Health {
    /// Adds a check. It runs on every `/readyz`, so it must be cheap; after one second it counts as failed. A second
    /// check of the same name replaces the first.
    pub fn register<F>(&self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.retain(|(known, _)| *known != name);
        checks.push((name, Arc::new(move || Box::pin(check()))));
    }

    /// Says that the process serves from now on, or that it is about to stop.
    pub fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::SeqCst);
    }

    /// Says that a part of this process ended that nothing here starts again: it is not ready from now on, and
    /// `/healthz` asks whoever runs it for a new one. The first reason stays.
    pub fn give_up(&self, reason: String) {
        self.set_up(false);
        self.broken.set(reason).ok();
    }

    /// Runs every check, all at once.
    pub async fn readiness(&self) -> Readiness {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut reports = join_all(checks.into_iter().map(|(name, check)| report(name, check))).await;
        let why = || self.broken.get().map_or("starting or stopping", String::as_str).to_owned();
        let reason = (!self.is_up.load(Ordering::SeqCst)).then(why);
        reports.insert(0, CheckReport { name: "up".to_owned(), ok: reason.is_none(), reason });
        let status = if reports.iter().all(|report| report.ok) { "ready" } else { "not_ready" };
        Readiness { status: status.to_owned(), checks: reports }
    }
}

async fn report(name: &'static str, check: Check) -> CheckReport {
    let outcome = match tokio::time::timeout(CHECK_TIMEOUT, check()).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {} ms", CHECK_TIMEOUT.as_millis())),
    };
    CheckReport { name: name.to_owned(), ok: outcome.is_ok(), reason: outcome.err() }
}

impl Telemetry {
    /// `/healthz` and `/readyz`, for every process and the gateway.
    pub fn health_routes(&self) -> Router {
        let telemetry = self.clone();
        let ready = move || async move {
            let readiness = telemetry.health().readiness().await;
            let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, Json(readiness)).into_response()
        };
        let telemetry = self.clone();
        let alive = move || async move { alive(telemetry.health()) };
        Router::new().route("/healthz", get(alive)).route("/readyz", get(ready))
    }

    /// `/metrics`, for a listener that the public does not reach unless told so.
    pub fn metrics_route(&self) -> Router {
        let telemetry = self.clone();
        let metrics = move || async move { metrics(&telemetry) };
        Router::new().route("/metrics", get(metrics))
    }
}

fn alive(health: &Health) -> Response {
    match health.broken.get() {
        None => Json(serde_json::json!({ "status": "ok" })).into_response(),
        Some(reason) => {
            let told = Json(serde_json::json!({ "status": "broken", "reason": reason }));
            (StatusCode::SERVICE_UNAVAILABLE, told).into_response()
        }
    }
}

fn metrics(telemetry: &Telemetry) -> Response {
    ([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], telemetry.metrics_text()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_means_up_and_every_check_passed_in_time() {
        let health = Health::default();
        assert!(!health.readiness().await.is_ready());
        health.set_up(true);
        health.register("storage", || async { Ok(()) });
        assert!(health.readiness().await.is_ready());
        health.register("bus", std::future::pending);
        let readiness = health.readiness().await;
        assert!(!readiness.is_ready());
        let failed: Vec<_> = readiness.checks.iter().filter(|check| !check.ok).collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].reason.as_deref(), Some("no answer within 1000 ms"));
        health.register("bus", || async { Ok(()) });
        assert!(health.readiness().await.is_ready(), "a later check of the same name replaces the first");
    }

    #[tokio::test]
    async fn a_process_that_lost_a_part_asks_to_be_replaced_and_one_that_stops_does_not() {
        let health = Health::default();
        health.set_up(true);
        health.set_up(false);
        assert_eq!(alive(&health).status(), StatusCode::OK, "to stop is no reason to be killed");
        health.set_up(true);
        health.give_up("the job `order-sagas` ended".to_owned());
        assert_eq!(alive(&health).status(), StatusCode::SERVICE_UNAVAILABLE);
        let readiness = health.readiness().await;
        assert_eq!(readiness.checks[0].reason.as_deref(), Some("the job `order-sagas` ended"));
    }
}
