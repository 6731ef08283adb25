//! The whole shop away: what goes, in which order, and what is kept. The plan is pure; [`Removal::carry_out`] follows it.
//!
//! The public face goes first, so that nothing new comes in while the rest is finished; the database goes after those that
//! write to it. Each wave is waited for, since an object that has gone from the list may still have pods that drain.

use std::time::Duration;

use tokio::time::Instant;

use super::api::{Api, ApiError};
use super::applyset::is_kept;
use super::object::Object;

/// How often it is looked whether something has gone.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Kinds that bring work in, or make pods anew.
const WAYS_IN: &[&str] = &["APIService", "Ingress", "HorizontalPodAutoscaler", "Job", "CronJob"];
/// The StatefulSets of the chart that have a volume. Their claims carry no mark of the shop but their names.
pub const WITH_VOLUMES: &[&str] = &["postgresql", "fakepay"];

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Removal {
    /// What goes, one wave after the other.
    pub waves: Vec<Vec<Object>>,
    /// What stays.
    pub kept: Vec<Object>,
}

/// Why it is not done.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// The cluster refused or did not answer.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Something is still there.
    #[error("{object} is still there after {seconds} s{}", held_by(finalizers))]
    Late {
        /// What.
        object: String,
        /// How long was waited.
        seconds: u64,
        /// Who holds it.
        finalizers: Vec<String>,
    },
    /// Somebody asked to stop.
    #[error("stopped")]
    Stopped,
}

fn held_by(finalizers: &[String]) -> String {
    if finalizers.is_empty() { String::new() } else { format!(": held by {}", finalizers.join(", ")) }
}

impl Removal {
    /// Of `members` everything goes, and of `claims` nothing; with `with_volumes` also the claims, and what says that it is
    /// to be kept.
    #[must_use]
    pub fn plan(members: Vec<Object>, claims: Vec<Object>, with_volumes: bool) -> Self {
        let (kept, gone): (Vec<_>, Vec<_>) =
            members.into_iter().chain(claims).partition(|object| !with_volumes && is_kept(object));
        let mut waves: [Vec<Object>; 6] = Default::default();
        for object in gone {
            waves[wave(&object)].push(object);
        }
        for wave in &mut waves {
            super::object::sort(wave);
            wave.reverse();
        }
        Self { waves: waves.into_iter().filter(|wave| !wave.is_empty()).collect(), kept }
    }

    /// How many objects go.
    #[must_use]
    pub fn count(&self) -> usize {
        self.waves.iter().map(Vec::len).sum()
    }

    /// Takes everything away, and waits until it has gone. What was begun can be gone on with by planning again.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer; when something stays for longer than `at_most`; when `is_stopped`.
    pub async fn carry_out(
        &self,
        api: &Api,
        at_most: Duration,
        is_stopped: &dyn Fn() -> bool,
        tell: &dyn Fn(&Object),
    ) -> Result<(), RemovalError> {
        let began = Instant::now();
        for wave in &self.waves {
            for object in wave {
                if is_stopped() {
                    return Err(RemovalError::Stopped);
                }
                delete(api, object).await?;
                tell(object);
            }
            for object in wave {
                until_gone(api, object, began, at_most, is_stopped).await?;
            }
        }
        Ok(())
    }
}

/// Its wave.
fn wave(object: &Object) -> usize {
    let is_gateway = object.label("app.kubernetes.io/name") == Some("gateway");
    match object.kind() {
        kind if WAYS_IN.contains(&kind) => 0,
        "Deployment" if is_gateway => 1,
        "Deployment" | "DaemonSet" => 2,
        "StatefulSet" => 3,
        "PersistentVolumeClaim" => 5,
        _ => 4,
    }
}

/// Whether `claim` is of a volume of the shop.
#[must_use]
pub fn is_claim_of_shop(claim: &Object) -> bool {
    WITH_VOLUMES.iter().any(|name| {
        let is_numbered = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
        claim.label("app.kubernetes.io/name") == Some(name)
            && claim.name().strip_prefix(&format!("data-{name}-")).is_some_and(is_numbered)
    })
}

async fn delete(api: &Api, object: &Object) -> Result<(), ApiError> {
    let kind = (object.api_version(), object.kind());
    match api.delete(kind, &object.key().namespace, object.name(), object.uid()).await {
        // Another one of that name: the next plan finds it, if it is ours.
        Err(error) if error.is_conflict() => Ok(()),
        answer => answer,
    }
}

async fn until_gone(
    api: &Api,
    object: &Object,
    began: Instant,
    at_most: Duration,
    is_stopped: &dyn Fn() -> bool,
) -> Result<(), RemovalError> {
    let kind = (object.api_version(), object.kind());
    loop {
        let live = api.get(kind, &object.key().namespace, object.name()).await?;
        let Some(live) = live.filter(|live| live.uid() == object.uid()) else { return Ok(()) };
        if is_stopped() {
            return Err(RemovalError::Stopped);
        }
        if began.elapsed() >= at_most {
            let finalizers = live.at("/metadata/finalizers").and_then(|all| all.as_array());
            let finalizers = finalizers.into_iter().flatten().filter_map(|one| one.as_str());
            return Err(RemovalError::Late {
                object: object.key().to_string(),
                seconds: at_most.as_secs(),
                finalizers: finalizers.map(str::to_owned).collect(),
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, name: &str, annotations: serde_json::Value) -> Object {
        let service = name.split('-').next().unwrap();
        let labels = json!({"app.kubernetes.io/name": service});
        let metadata = json!({"name": name, "labels": labels, "annotations": annotations});
        Object::new(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata})).unwrap()
    }

    fn shop() -> Vec<Object> {
        let keep = json!({"shopctl.dev/prune": "keep"});
        vec![
            object("NetworkPolicy", "order", json!({})),
            object("Secret", "shop-secrets", keep),
            object("ConfigMap", "order-a", json!({})),
            object("Service", "order", json!({})),
            object("Deployment", "gateway-a", json!({})),
            object("Deployment", "order-a", json!({})),
            object("HorizontalPodAutoscaler", "order-a", json!({})),
            object("StatefulSet", "postgresql", json!({})),
            object("Job", "prepare-1", json!({})),
        ]
    }

    fn claim() -> Object {
        let mut claim = object("PersistentVolumeClaim", "data-postgresql-0", json!({}));
        claim.value_mut()["metadata"]["labels"] = json!({"app.kubernetes.io/name": "postgresql"});
        claim
    }

    fn told(removal: &Removal) -> Vec<String> {
        let names =
            |wave: &Vec<Object>| wave.iter().map(|one| one.key().to_string()).collect::<Vec<_>>().join(" ");
        removal.waves.iter().map(names).collect()
    }

    #[test]
    fn the_public_face_goes_first_and_the_data_after_those_that_write_them() {
        let removal = Removal::plan(shop(), vec![claim()], false);
        assert_eq!(
            told(&removal),
            [
                "Job/prepare-1 HorizontalPodAutoscaler/order-a",
                "Deployment/gateway-a",
                "Deployment/order-a",
                "StatefulSet/postgresql",
                "Service/order ConfigMap/order-a NetworkPolicy/order",
            ]
        );
        let kept: Vec<&str> = removal.kept.iter().map(Object::name).collect();
        assert_eq!(kept, ["shop-secrets", "data-postgresql-0"]);
    }

    #[test]
    fn with_the_volumes_nothing_is_kept_and_they_go_last() {
        let removal = Removal::plan(shop(), vec![claim()], true);
        assert_eq!(removal.count(), 10);
        assert_eq!(removal.kept, []);
        assert_eq!(told(&removal).last().unwrap(), "PersistentVolumeClaim/data-postgresql-0");
    }

    #[test]
    fn a_claim_is_the_shops_by_its_label_and_its_name() {
        assert!(is_claim_of_shop(&claim()));
        let mut other = claim();
        other.value_mut()["metadata"]["labels"] = json!({"app.kubernetes.io/name": "order"});
        assert!(!is_claim_of_shop(&other));
        assert!(!is_claim_of_shop(&object("PersistentVolumeClaim", "data-postgresql-0-backup", json!({}))));
    }
}
