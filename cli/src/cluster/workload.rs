//! What a person changes of a service that runs: how many pods it has, and that they start anew.
//!
//! Each is applied by itself and under a name of its own. A deploy names neither field, so it sees no drift and undoes
//! neither; an autoscaler takes the number over without a dispute.

use platform::vocabulary::Timestamp;
use serde_json::json;

use super::api::{Api, ApiError, Applying, Kind};
use super::object::Object;

/// The kind.
pub const DEPLOYMENT: Kind<'static> = ("apps/v1", "Deployment");
/// What scales one by itself.
pub const AUTOSCALER: Kind<'static> = ("autoscaling/v2", "HorizontalPodAutoscaler");
/// Who owns the number of pods, which no render names.
const SCALER: &str = "shopctl-scale";
/// Who owns the moment of the last restart.
const RESTARTER: &str = "shopctl-restart";
/// The moment of the last restart, where every tool writes it.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// The Deployment `name` is to have `replicas` pods. Answers the generation that says so.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn scale(api: &Api, namespace: &str, name: &str, replicas: u32) -> Result<Option<i64>, ApiError> {
    let value = json!({
        "apiVersion": DEPLOYMENT.0,
        "kind": DEPLOYMENT.1,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas},
    });
    apply(api, value, SCALER).await
}

/// The pods of the Deployment `name` are to be made anew, as its strategy has it. Answers the generation that says so.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn restart(api: &Api, namespace: &str, name: &str, at: Timestamp) -> Result<Option<i64>, ApiError> {
    let value = json!({
        "apiVersion": DEPLOYMENT.0,
        "kind": DEPLOYMENT.1,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: at.to_string()}}}},
    });
    apply(api, value, RESTARTER).await
}

async fn apply(api: &Api, value: serde_json::Value, manager: &str) -> Result<Option<i64>, ApiError> {
    let object = Object::new(value).expect("it has all that an object has");
    let applied = api.apply(&object, Applying { manager, is_dry: false, takes_over: true }).await?;
    Ok(applied.number("/metadata/generation"))
}
