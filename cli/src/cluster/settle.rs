//! Waits until workloads are what was asked for, or says why they will not be.

use std::time::Duration;

use platform::vocabulary::{Env, Timestamp};

use super::mirror::Mirror;
use super::object::{Key, Object};
use super::readiness::{Sight, Status, Troubles, new_replica_set, status};

/// How long to wait for a change at most: patience ends while nothing changes.
const TICK: Duration = Duration::from_secs(1);

/// A workload that is waited for.
#[derive(Clone, Debug)]
pub struct Awaited {
    /// Which.
    pub key: Key,
    /// The generation in the answer to our own change of it: whatever is older shows the world before it.
    pub generation: Option<i64>,
}

/// How the wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// All are what was asked for.
    Well,
    /// One of them will not get there by waiting.
    Hopeless {
        /// Which.
        object: Key,
        /// What is held against it.
        why: String,
    },
    /// Time is over.
    Late {
        /// The first that is not there yet.
        object: Key,
        /// How far it is.
        why: String,
    },
    /// Somebody asked to stop.
    Stopped,
}

/// How to wait.
pub struct Patience<'a> {
    /// At most so long.
    pub at_most: Duration,
    /// Whether somebody asked to stop.
    pub is_stopped: &'a dyn Fn() -> bool,
    /// Hears what is waited for, whenever that changes.
    pub tell: &'a dyn Fn(&Key, &str),
}

/// Waits until all of `awaited` are what was asked for, as `mirror` shows them.
pub async fn settle(mirror: &mut Mirror, env: &Env, awaited: &[Awaited], patience: &Patience<'_>) -> Settled {
    let began = tokio::time::Instant::now();
    let mut watch = Watch::new(awaited);
    let mut said = String::new();
    loop {
        if (patience.is_stopped)() {
            return Settled::Stopped;
        }
        let now = env.now();
        match mirror.look(|objects| watch.look(objects.values(), now)) {
            Seen::Well => return Settled::Well,
            Seen::Hopeless { object, why } => return Settled::Hopeless { object, why },
            Seen::OnTheWay { object, why } => {
                if began.elapsed() >= patience.at_most {
                    return Settled::Late { object, why };
                }
                let line = format!("{object}: {why}");
                if line != said {
                    (patience.tell)(&object, &why);
                    said = line;
                }
            }
        }
        mirror.changed(TICK).await;
    }
}

/// What is to be seen at one moment.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Well,
    Hopeless { object: Key, why: String },
    OnTheWay { object: Key, why: String },
}

/// Remembers, for each workload, what is held against its new pods.
struct Watch<'a> {
    all: Vec<(&'a Awaited, Troubles)>,
}

impl<'a> Watch<'a> {
    fn new(awaited: &'a [Awaited]) -> Self {
        Self { all: awaited.iter().map(|one| (one, Troubles::default())).collect() }
    }

    fn look<'o>(&mut self, objects: impl Iterator<Item = &'o Object> + Clone, now: Timestamp) -> Seen {
        let of_kind =
            |kind: &str| objects.clone().filter(|one| one.kind() == kind).cloned().collect::<Vec<_>>();
        let (pods, events) = (of_kind("Pod"), of_kind("Event"));
        let mut waits = None;
        for (awaited, troubles) in &mut self.all {
            let object = awaited.key.clone();
            let Some(live) = objects.clone().find(|one| *one.key() == object) else {
                waits.get_or_insert((object, "it is not there".to_owned()));
                continue;
            };
            let why = match status(live, awaited.generation) {
                Status::Current => continue,
                Status::Failed { why } => return Seen::Hopeless { object, why },
                waiting => waiting.to_string(),
            };
            let owner = match live.kind() {
                "Deployment" => new_replica_set(live, objects.clone()),
                _ => Some(live),
            };
            let sight = Sight { owner, pods: &pods, events: &events };
            if let Some(trouble) = troubles.observe(&sight, now) {
                return Seen::Hopeless { object, why: trouble.to_string() };
            }
            waits.get_or_insert((object, why));
        }
        waits.map_or(Seen::Well, |(object, why)| Seen::OnTheWay { object, why })
    }
}

#[cfg(test)]
mod tests {
    use platform::vocabulary::clock;
    use serde_json::{Value, json};

    use super::*;

    fn object(kind: &str, name: &str, rest: &Value) -> Object {
        let version = if kind == "Pod" { "v1" } else { "apps/v1" };
        let mut value = json!({
            "apiVersion": version, "kind": kind,
            "metadata": {"name": name, "namespace": "shop", "uid": name, "generation": 2},
        });
        for (field, part) in rest.as_object().unwrap() {
            value[field] = part.clone();
        }
        Object::new(value).unwrap()
    }

    fn deployment(ready: u32) -> Object {
        let mut object = object(
            "Deployment",
            "order-a",
            &json!({
                "spec": {"replicas": 2},
                "status": {
                    "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": ready,
                    "availableReplicas": ready, "conditions": [
                        {"type": "Available", "status": "True"},
                        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
                    ],
                },
            }),
        );
        object.value_mut()["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "7"});
        object
    }

    fn replica_set() -> Object {
        let mut set = object(
            "ReplicaSet",
            "order-a-1",
            &json!({"spec": {"replicas": 2}, "status": {"observedGeneration": 2}}),
        );
        let metadata = &mut set.value_mut()["metadata"];
        metadata["annotations"] = json!({"deployment.kubernetes.io/revision": "7"});
        metadata["labels"] = json!({"pod-template-hash": "1"});
        metadata["ownerReferences"] = json!([{"kind": "Deployment", "uid": "order-a"}]);
        set
    }

    fn pod_that_cannot_start() -> Object {
        let waits = json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}});
        let mut pod = object(
            "Pod",
            "order-a-1-x",
            &json!({"status": {"phase": "Pending", "containerStatuses": [{"name": "shopd", "state": waits}]}}),
        );
        let metadata = &mut pod.value_mut()["metadata"];
        metadata["labels"] = json!({"pod-template-hash": "1"});
        metadata["ownerReferences"] = json!([{"kind": "ReplicaSet", "uid": "order-a-1"}]);
        pod
    }

    fn at(seconds: u64) -> Timestamp {
        clock::add(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
    }

    fn order(generation: i64) -> Vec<Awaited> {
        vec![Awaited { key: deployment(0).key().clone(), generation: Some(generation) }]
    }

    #[test]
    fn what_is_older_than_our_own_change_does_not_count() {
        let all = [deployment(2)];
        assert_eq!(Watch::new(&order(2)).look(all.iter(), at(0)), Seen::Well);
        assert!(matches!(Watch::new(&order(3)).look(all.iter(), at(0)), Seen::OnTheWay { .. }));
    }

    #[test]
    fn what_is_not_there_is_waited_for() {
        let why = "it is not there".to_owned();
        let object = deployment(0).key().clone();
        assert_eq!(Watch::new(&order(2)).look([].iter(), at(0)), Seen::OnTheWay { object, why });
    }

    #[test]
    fn pods_that_cannot_start_end_the_wait_at_the_second_look() {
        let all = [deployment(1), replica_set(), pod_that_cannot_start()];
        let awaited = order(2);
        let mut watch = Watch::new(&awaited);
        assert!(matches!(watch.look(all.iter(), at(0)), Seen::OnTheWay { .. }));
        let Seen::Hopeless { object, why } = watch.look(all.iter(), at(5)) else { panic!("it is hopeless") };
        assert_eq!(object.to_string(), "Deployment/order-a");
        assert!(why.contains("no such image"), "{why}");
    }
}
