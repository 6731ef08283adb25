//! What the pods of the shop write, as one log in the order of time.
//!
//! ```text
//! line    bytes of a log cut into lines, none of them longer than is sensible
//! source  the log of one container: taken up again where it broke off, until the container has ended
//! merge   the lines of many sources in the order of time, with one line of each in memory
//! ```

mod line;
mod merge;
mod source;

use std::sync::Arc;

use serde_json::Value;

pub use line::Line;
pub use merge::Merge;
pub use source::{Begin, Source};

use super::api::Api;
use super::object::Object;
use super::readiness::containers;

/// One life of a container: after a restart it is another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// The pod.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
    /// The container.
    pub container: String,
    /// Which of its lives.
    pub restarts: u64,
}

/// The lives of the containers of `pod` that have a log: those of now, or those before the last restart.
#[must_use]
pub fn lives(pod: &Object, is_previous: bool) -> Vec<Life> {
    let life = |name: &str, restarts| Life {
        pod: pod.name().to_owned(),
        uid: pod.uid().unwrap_or_default().to_owned(),
        container: name.to_owned(),
        restarts,
    };
    let all = containers(pod);
    if is_previous {
        return all
            .filter(|one| one.ended_before().is_some())
            .map(|one| life(one.name(), one.restarts().saturating_sub(1)))
            .collect();
    }
    // One that waits to be started again still has the log of the life that ended.
    let has_begun = |state: Option<&str>| matches!(state, Some("running" | "terminated"));
    all.filter(|one| has_begun(one.state()) || one.ended_before().is_some())
        .map(|one| life(one.name(), one.restarts()))
        .collect()
}

/// Whether the life is still going on, as its pod says.
async fn goes_on(api: &Arc<Api>, namespace: &str, life: &Life) -> bool {
    // Whoever cannot be asked now is asked again by trying to read on.
    let Ok(pod) = api.get(("v1", "Pod"), namespace, &life.pod).await else { return true };
    pod.is_some_and(|pod| {
        let is_same = pod.uid() == Some(&life.uid);
        is_same
            && containers(&pod).any(|one| {
                one.name() == life.container
                    && one.restarts() == life.restarts
                    && one.state() == Some("running")
            })
    })
}

/// Whether `pod` is one of the shop's, and of `service` when one is named.
#[must_use]
pub fn is_wanted(pod: &Object, service: Option<&str>) -> bool {
    let labels = pod.at("/metadata/labels").and_then(Value::as_object);
    let is = |name: &str, value: &str| labels.is_some_and(|labels| labels.get(name) == Some(&value.into()));
    is("app.kubernetes.io/part-of", "shop")
        && service.is_none_or(|service| is("app.kubernetes.io/name", service))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: &Value) -> Object {
        Object::new(json!({
            "apiVersion": "v1", "kind": "Pod", "status": {"containerStatuses": [status]},
            "metadata": {"name": "order-a-1", "uid": "u", "labels": {
                "app.kubernetes.io/part-of": "shop", "app.kubernetes.io/name": "order",
            }},
        }))
        .unwrap()
    }

    #[test]
    fn only_what_has_begun_has_a_log() {
        let waiting = json!({"name": "shopd", "restartCount": 0, "state": {"waiting": {}}});
        let ended = json!({"name": "shopd", "restartCount": 2, "state": {"waiting": {}},
            "lastState": {"terminated": {"exitCode": 1}}});
        let running = json!({"name": "shopd", "restartCount": 0, "state": {"running": {}}});
        let restarts = |pod: &Object, is_previous| {
            lives(pod, is_previous).into_iter().map(|life| life.restarts).collect::<Vec<_>>()
        };
        assert_eq!(restarts(&pod(&running), false), [0]);
        assert_eq!(restarts(&pod(&running), true), [0; 0]);
        assert_eq!(restarts(&pod(&waiting), false), [0; 0]);
        assert_eq!(restarts(&pod(&ended), false), [2]);
        assert_eq!(restarts(&pod(&ended), true), [1]);
    }

    #[test]
    fn a_service_has_its_own_pods_and_no_others() {
        let order = pod(&json!({}));
        assert!(is_wanted(&order, None) && is_wanted(&order, Some("order")));
        assert!(!is_wanted(&order, Some("orde")));
    }
}
