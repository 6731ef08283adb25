//! What keeps new pods from getting ready, told by looking at them again and again: how long to be patient with what may
//! pass, and what never passes.
//!
//! Time is our own: since when something is so is the moment at which it was first seen, never what a clock in the
//! cluster says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use platform::vocabulary::{Timestamp, clock};
use serde::{Deserialize, Serialize};

use super::conditions::condition;
use super::containers::{Container, containers};
use super::events::Event;
use super::sight::{Sight, new_pods, picture, refusals, unstartable, wanted};
use super::status::status;
use crate::cluster::object::Object;

/// Looks that are closer to each other than this are one: a watch can bring the same moment twice.
const ONE_LOOK: Duration = Duration::from_secs(1);
/// So many looks must agree before it is held against the pods.
const LOOKS: u32 = 2;
/// Events by which an autoscaler of nodes says that a node is coming: the cluster autoscaler's, and Karpenter's.
const NODE_IS_COMING: &[&str] = &["TriggeredScaleUp", "Nominated"];

/// How patient to be.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Restarts that are forgiven, times the pods that are wanted: a dependency may start later.
    pub restarts_per_replica: u32,
    /// How long pods may find no node.
    pub unschedulable: Duration,
    /// How long, when a node is coming.
    pub unschedulable_with_node_coming: Duration,
    /// How long nothing may change.
    pub stalled: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            restarts_per_replica: 1,
            unschedulable: Duration::from_secs(15),
            unschedulable_with_node_coming: Duration::from_secs(300),
            stalled: Duration::from_secs(240),
        }
    }
}

/// What kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TroubleKind {
    /// The namespace's Pod Security standard refuses the pods.
    PodSecurity,
    /// A quota is used up.
    Quota,
    /// An image cannot be pulled.
    ImagePull,
    /// A container cannot be made: a Secret or a ConfigMap is missing, or an option makes no sense.
    ContainerConfig,
    /// Containers end more often than is forgiven.
    CrashLoop,
    /// Pods find no node.
    Unschedulable,
    /// Nothing changes any more, and it is not done.
    Stalled,
}

/// A reason not to wait any longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Its kind.
    pub kind: TroubleKind,
    /// The object that shows it, as `Pod/order-b-7d9f-x2x`; empty when there is none.
    pub object: String,
    /// What the cluster says.
    pub message: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.object.is_empty() {
            write!(f, "{}: ", self.object)?;
        }
        f.write_str(&self.message)
    }
}

/// Remembers what was seen, for one new set of pods. A new set gets a new one.
#[derive(Debug)]
pub struct Troubles {
    budget: Budget,
    suspected: BTreeMap<(TroubleKind, String), Suspicion>,
    unscheduled_since: Option<Timestamp>,
    node_is_coming: bool,
    last: Option<(BTreeSet<String>, Timestamp)>,
}

#[derive(Clone, Copy, Debug)]
struct Suspicion {
    looks: u32,
    last: Timestamp,
}

impl Default for Troubles {
    fn default() -> Self {
        Self::new(Budget::default())
    }
}

impl Troubles {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            suspected: BTreeMap::new(),
            unscheduled_since: None,
            node_is_coming: false,
            last: None,
        }
    }

    /// Takes in what is to be seen at `now`, and says what is held against the pods, if anything is. Call it whenever
    /// something changed, and every few seconds besides, since patience ends while nothing changes.
    pub fn observe(&mut self, sight: &Sight<'_>, now: Timestamp) -> Option<Trouble> {
        let pods = new_pods(sight);
        let suspects = refusals(sight).into_iter().chain(pods.iter().flat_map(|pod| unstartable(pod)));
        let confirmed = self.confirm(suspects.collect(), now);
        confirmed
            .or_else(|| self.crashes(sight, &pods))
            .or_else(|| self.unscheduled(sight, &pods, now))
            .or_else(|| self.stall(sight, &pods, now))
    }

    /// The gravest of `suspects` that was there at enough looks in a row.
    fn confirm(&mut self, suspects: Vec<Trouble>, now: Timestamp) -> Option<Trouble> {
        let is_named = |kind, object: &String| {
            suspects.iter().any(|trouble| trouble.kind == kind && trouble.object == *object)
        };
        self.suspected.retain(|(kind, object), _| is_named(*kind, object));
        let mut confirmed: Option<Trouble> = None;
        for trouble in suspects {
            let first = Suspicion { looks: 0, last: Timestamp::MIN };
            let suspicion = self.suspected.entry((trouble.kind, trouble.object.clone())).or_insert(first);
            if suspicion.looks == 0 || clock::since(suspicion.last, now) >= ONE_LOOK {
                suspicion.looks += 1;
                suspicion.last = now;
            }
            let is_gravest = confirmed.as_ref().is_none_or(|other| trouble.kind < other.kind);
            if suspicion.looks >= LOOKS && is_gravest {
                confirmed = Some(trouble);
            }
        }
        confirmed
    }

    fn crashes(&self, sight: &Sight<'_>, pods: &[&Object]) -> Option<Trouble> {
        let forgiven = u64::from(self.budget.restarts_per_replica) * wanted(sight.owner?);
        let restarts: u64 = pods.iter().flat_map(|pod| containers(pod)).map(Container::restarts).sum();
        if restarts <= forgiven {
            return None;
        }
        pods.iter().find_map(|pod| {
            let container =
                containers(pod).find(|container| container.waits_for() == Some("CrashLoopBackOff"))?;
            let ended = match container.ended_before() {
                Some(end) if end.reason.is_empty() => format!(" with exit code {}", end.code),
                Some(end) => format!(" with exit code {} ({})", end.code, end.reason),
                None => String::new(),
            };
            let message = format!("container {} ended{ended}; {restarts} restarts so far", container.name());
            Some(Trouble { kind: TroubleKind::CrashLoop, object: pod.key().to_string(), message })
        })
    }

    fn unscheduled(&mut self, sight: &Sight<'_>, pods: &[&Object], now: Timestamp) -> Option<Trouble> {
        let homeless = pods.iter().find_map(|pod| {
            let scheduled = condition(pod, "PodScheduled").filter(|scheduled| scheduled.is_false())?;
            (scheduled.reason() == "Unschedulable").then_some((*pod, scheduled.told()))
        });
        let Some((pod, message)) = homeless else {
            (self.unscheduled_since, self.node_is_coming) = (None, false);
            return None;
        };
        let uids: BTreeSet<&str> = pods.iter().filter_map(|pod| pod.uid()).collect();
        self.node_is_coming |= sight
            .events
            .iter()
            .filter_map(Event::of)
            .any(|event| NODE_IS_COMING.contains(&event.reason()) && uids.contains(event.about()));
        let since = *self.unscheduled_since.get_or_insert(now);
        let patience = if self.node_is_coming {
            self.budget.unschedulable_with_node_coming
        } else {
            self.budget.unschedulable
        };
        (clock::since(since, now) >= patience).then(|| Trouble {
            kind: TroubleKind::Unschedulable,
            object: pod.key().to_string(),
            message: message.to_owned(),
        })
    }

    fn stall(&mut self, sight: &Sight<'_>, pods: &[&Object], now: Timestamp) -> Option<Trouble> {
        // A Job that works may work for long, and has a deadline of its own.
        let is_at_work = |owner: &Object| {
            owner.kind() == "Job" && pods.iter().any(|pod| pod.text("/status/phase") == Some("Running"))
        };
        if sight.owner.is_some_and(|owner| status(owner, None).is_current() || is_at_work(owner)) {
            self.last = None;
            return None;
        }
        let picture = picture(sight, pods);
        match &self.last {
            Some((last, since)) if *last == picture => {
                let quiet = clock::since(*since, now);
                (quiet >= self.budget.stalled).then(|| Trouble {
                    kind: TroubleKind::Stalled,
                    object: sight.owner.map(|owner| owner.key().to_string()).unwrap_or_default(),
                    message: format!("nothing has changed for {} s", quiet.as_secs()),
                })
            }
            _ => {
                self.last = Some((picture, now));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const HASH: &str = "7d9f";

    fn at(seconds: u64) -> Timestamp {
        clock::add(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
    }

    fn replica_set(replicas: u32, status: &Value) -> Object {
        Object::new(json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": "order-b-7d9f", "uid": "r1", "generation": 1, "labels": {"pod-template-hash": HASH},
            },
            "spec": {"replicas": replicas}, "status": status,
        }))
        .unwrap()
    }

    fn pod(name: &str, hash: &str, owner: &str, status: &Value) -> Object {
        Object::new(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "uid": name, "labels": {"pod-template-hash": hash},
                "ownerReferences": [{"kind": "ReplicaSet", "uid": owner}],
            },
            "status": status,
        }))
        .unwrap()
    }

    fn new_pod(status: &Value) -> Object {
        pod("order-b-7d9f-1", HASH, "r1", status)
    }

    fn waits(reason: &str, restarts: u32) -> Value {
        json!({"phase": "Pending", "containerStatuses": [{
            "name": "shopd", "restartCount": restarts,
            "state": {"waiting": {"reason": reason, "message": "because"}},
            "lastState": {"terminated": {"exitCode": 6, "reason": "Error"}},
        }]})
    }

    fn homeless() -> Value {
        json!({"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/2 nodes are available: 2 Insufficient cpu.",
        }]})
    }

    fn event(reason: &str, about: &str) -> Object {
        Object::new(json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("{about}.{reason}")},
            "involvedObject": {"kind": "Pod", "uid": about}, "reason": reason,
        }))
        .unwrap()
    }

    /// A replica set with what it made, seen at several moments.
    struct Watched {
        troubles: Troubles,
        owner: Object,
        pods: Vec<Object>,
        events: Vec<Object>,
    }

    impl Watched {
        fn new(replicas: u32, pods: Vec<Object>) -> Self {
            let owner = replica_set(replicas, &json!({"observedGeneration": 1}));
            Self { troubles: Troubles::default(), owner, pods, events: Vec::new() }
        }

        fn at(&mut self, seconds: u64) -> Option<Trouble> {
            let sight = Sight { owner: Some(&self.owner), pods: &self.pods, events: &self.events };
            self.troubles.observe(&sight, at(seconds))
        }

        fn kind_at(&mut self, seconds: u64) -> Option<TroubleKind> {
            self.at(seconds).map(|trouble| trouble.kind)
        }
    }

    #[test]
    fn what_cannot_start_is_held_against_it_at_the_second_look() {
        let image = Some(TroubleKind::ImagePull);
        let config = Some(TroubleKind::ContainerConfig);
        let cases = [
            ("ErrImagePull", image),
            ("ImagePullBackOff", image),
            ("InvalidImageName", image),
            ("ErrImageNeverPull", image),
            ("CreateContainerConfigError", config),
            ("CreateContainerError", config),
            ("ContainerCreating", None),
            ("PodInitializing", None),
        ];
        for (reason, expected) in cases {
            let mut watched = Watched::new(1, vec![new_pod(&waits(reason, 0))]);
            assert_eq!(watched.kind_at(0), None, "{reason}");
            assert_eq!(watched.kind_at(1), expected, "{reason}");
        }
    }

    #[test]
    fn a_node_that_has_not_heard_of_a_configuration_yet_tries_again() {
        let mut status = waits("CreateContainerConfigError", 0);
        status["containerStatuses"][0]["state"]["waiting"]["message"] =
            "failed to sync configmap cache: timed out waiting for the condition".into();
        let mut watched = Watched::new(1, vec![new_pod(&status)]);
        assert_eq!((watched.kind_at(0), watched.kind_at(1)), (None, None));
    }

    #[test]
    fn the_same_moment_seen_twice_is_one_look_and_a_recovery_is_forgotten() {
        let mut watched = Watched::new(1, vec![new_pod(&waits("ErrImagePull", 0))]);
        assert_eq!(watched.at(0), None);
        assert_eq!(watched.at(0), None);
        watched.pods = vec![new_pod(&json!({"phase": "Running"}))];
        assert_eq!(watched.at(5), None);
        watched.pods = vec![new_pod(&waits("ErrImagePull", 0))];
        assert_eq!(watched.at(10), None);
        // It goes on under another name, and is the same trouble.
        watched.pods = vec![new_pod(&waits("ImagePullBackOff", 0))];
        let trouble = watched.at(15).unwrap();
        assert_eq!(trouble.to_string(), "Pod/order-b-7d9f-1: container shopd: ImagePullBackOff: because");
    }

    #[test]
    fn pods_of_another_version_or_on_their_way_out_are_not_held_against_the_new_ones() {
        let mut leaving = new_pod(&waits("ImagePullBackOff", 0));
        leaving.value_mut()["metadata"]["deletionTimestamp"] = json!("2026-11-30T10:00:00Z");
        let old = pod("order-b-5c5c-1", "5c5c", "r0", &waits("ImagePullBackOff", 9));
        let strange = pod("order-b-5c5c-2", "5c5c", "r1", &waits("CrashLoopBackOff", 9));
        let mut watched = Watched::new(1, vec![leaving, old, strange]);
        for second in 0..10 {
            assert_eq!(watched.at(second), None);
        }
    }

    #[test]
    fn a_restart_for_each_replica_is_forgiven() {
        let looping = |name: &str, restarts| pod(name, HASH, "r1", &waits("CrashLoopBackOff", restarts));
        assert_eq!(Watched::new(1, vec![looping("p1", 1)]).at(0), None);
        assert_eq!(Watched::new(2, vec![looping("p1", 1), looping("p2", 1)]).at(0), None);
        let mut watched = Watched::new(2, vec![looping("p1", 1), looping("p2", 2)]);
        let trouble = watched.at(0).unwrap();
        assert_eq!(trouble.kind, TroubleKind::CrashLoop);
        assert_eq!(trouble.message, "container shopd ended with exit code 6 (Error); 3 restarts so far");
        // They have restarted often, and run now.
        let mut running = looping("p1", 5);
        running.value_mut()["status"]["containerStatuses"][0]["state"] = json!({"running": {}});
        assert_eq!(Watched::new(1, vec![running]).at(0), None);
    }

    #[test]
    fn a_pod_without_a_node_is_given_a_while_and_longer_when_a_node_is_coming() {
        let unschedulable = Some(TroubleKind::Unschedulable);
        let mut watched = Watched::new(1, vec![new_pod(&homeless())]);
        assert_eq!((watched.kind_at(100), watched.kind_at(114)), (None, None));
        assert_eq!(watched.kind_at(115), unschedulable);

        for reason in ["TriggeredScaleUp", "Nominated"] {
            let mut watched = Watched::new(1, vec![new_pod(&homeless())]);
            assert_eq!(watched.kind_at(0), None);
            watched.events = vec![event(reason, "order-b-7d9f-1")];
            assert_eq!(watched.kind_at(15), None);
            // Events are kept for a while only.
            watched.events.clear();
            assert_eq!(watched.kind_at(200), None);
            assert_eq!(watched.kind_at(300), unschedulable);
        }

        let mut watched = Watched::new(1, vec![new_pod(&homeless())]);
        watched.events = vec![event("NotTriggerScaleUp", "order-b-7d9f-1"), event("Nominated", "another")];
        assert_eq!((watched.kind_at(0), watched.kind_at(15)), (None, unschedulable));

        let mut watched = Watched::new(1, vec![new_pod(&homeless())]);
        assert_eq!(watched.at(0), None);
        watched.pods = vec![new_pod(&json!({"phase": "Pending"}))];
        assert_eq!(watched.at(10), None);
        watched.pods = vec![new_pod(&homeless())];
        assert_eq!((watched.kind_at(20), watched.kind_at(34)), (None, None));
    }

    fn refused(message: &str) -> Watched {
        let status = json!({"observedGeneration": 1, "conditions": [{
            "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message,
        }]});
        Watched { owner: replica_set(2, &status), ..Watched::new(2, Vec::new()) }
    }

    #[test]
    fn pods_that_may_not_be_made_are_told_by_their_replica_set() {
        let quota = "pods \"order-b-7d9f-1\" is forbidden: exceeded quota: shop, requested: pods=1, used: pods=9, \
                     limited: pods=9";
        let demands = "pods \"x\" is forbidden: failed quota: shop: must specify requests.cpu for: shopd";
        let security =
            "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true";
        let cases = [
            (quota, Some(TroubleKind::Quota)),
            (demands, Some(TroubleKind::Quota)),
            (security, Some(TroubleKind::PodSecurity)),
            ("pods \"x\" is forbidden: error looking up service account shop/order", None),
        ];
        for (message, expected) in cases {
            let mut watched = refused(message);
            assert_eq!((watched.kind_at(0), watched.kind_at(1)), (None, expected), "{message}");
        }
    }

    #[test]
    fn a_quota_that_pods_on_their_way_out_still_use_may_be_free_in_a_moment() {
        let mut watched = refused("pods \"x\" is forbidden: exceeded quota: shop");
        let mut leaving = pod("order-a-1", "5c5c", "r0", &json!({}));
        leaving.value_mut()["metadata"]["deletionTimestamp"] = json!("2026-11-30T10:00:00Z");
        watched.pods = vec![leaving];
        assert_eq!((watched.kind_at(0), watched.kind_at(5)), (None, None));
        watched.pods.clear();
        assert_eq!((watched.kind_at(10), watched.kind_at(15)), (None, Some(TroubleKind::Quota)));
    }

    #[test]
    fn nothing_that_changes_for_long_is_a_stall_and_a_warning_that_repeats_is_no_change() {
        let unready =
            json!({"phase": "Running", "containerStatuses": [{"name": "shopd", "state": {"running": {}}}]});
        let mut watched = Watched::new(1, vec![new_pod(&unready)]);
        assert_eq!(watched.at(0), None);
        watched.events = vec![event("Unhealthy", "order-b-7d9f-1")];
        assert_eq!(watched.at(100), None, "the first warning is news");
        let mut again = event("Unhealthy", "order-b-7d9f-1");
        again.value_mut()["count"] = json!(40);
        watched.events = vec![again];
        assert_eq!(watched.at(339), None);
        let trouble = watched.at(340).unwrap();
        assert_eq!(trouble.to_string(), "ReplicaSet/order-b-7d9f: nothing has changed for 240 s");
        watched.pods = vec![new_pod(&waits("CrashLoopBackOff", 1))];
        assert_eq!(watched.at(341), None);
    }

    #[test]
    fn what_is_done_or_at_work_does_not_stall_and_what_never_appears_does() {
        let mut done = Watched::new(1, Vec::new());
        done.owner = replica_set(
            1,
            &json!({
                "observedGeneration": 1, "replicas": 1, "fullyLabeledReplicas": 1, "availableReplicas": 1,
                "readyReplicas": 1,
            }),
        );
        assert_eq!((done.at(0), done.at(1000)), (None, None));
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "prepare", "uid": "r1", "generation": 1},
        });
        let mut working = Watched::new(1, vec![new_pod(&json!({"phase": "Running"}))]);
        working.owner = Object::new(job).unwrap();
        assert_eq!((working.at(0), working.at(1000)), (None, None));
        let nothing = Sight { owner: None, pods: &[], events: &[] };
        let mut troubles = Troubles::default();
        assert_eq!(troubles.observe(&nothing, at(0)), None);
        let trouble = troubles.observe(&nothing, at(240)).unwrap();
        assert_eq!(trouble.to_string(), "nothing has changed for 240 s");
    }
}
