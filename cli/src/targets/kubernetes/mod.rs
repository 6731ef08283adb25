//! A shop in a namespace of a Kubernetes cluster.

pub mod checks;
mod consent;
pub mod deploy;
pub mod drift;
pub mod evidence;
pub mod reach;
pub mod rendering;
mod told;

use platform::vocabulary::Env;

pub use consent::{Consent, Danger};

use crate::cluster::connect::{Cluster, Place};
use crate::cluster::object::Object;
use crate::config::KubernetesSettings;
use crate::failure::Failure;

/// Where the shop of `settings` lives.
#[must_use]
pub fn place(settings: &KubernetesSettings) -> Place {
    Place {
        environment: settings.environment.clone(),
        kubeconfig: settings.kubeconfig.clone(),
        context: settings.context.clone(),
        namespace: settings.namespace.clone(),
        cluster_uid: settings.cluster_uid.clone(),
    }
}

/// Connects to the cluster of `settings`, and makes sure that it is the one that is meant.
///
/// # Errors
/// When it cannot be reached, does not let us in, or is another one.
pub async fn connect(settings: &KubernetesSettings, env: &Env) -> Result<Cluster, Failure> {
    Cluster::connect(&place(settings), env).await
}

/// Makes the namespace of the shop, when it is not there.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn make_namespace(cluster: &Cluster) -> Result<(), Failure> {
    let name = cluster.namespace();
    let there = cluster.api.get(("v1", "Namespace"), "", name).await;
    if there.map_err(|error| cluster.refused(error, "look at the namespace"))?.is_some() {
        return Ok(());
    }
    let value = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {
                "app.kubernetes.io/managed-by": "shopctl",
                "pod-security.kubernetes.io/enforce": "restricted",
            },
        },
    });
    let namespace = Object::new(value).expect("it has all that an object has");
    match cluster.api.create(&namespace).await {
        // Somebody was faster.
        Err(error) if error.is_conflict() => Ok(()),
        made => made.map(drop).map_err(|error| cluster.refused(error, "make the namespace")),
    }
}
