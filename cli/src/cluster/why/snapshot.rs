//! What was seen of a cluster at one moment.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cluster::object::{Key, Object};
use crate::cluster::readiness::{Event, is_owned_by};

/// What was seen of a cluster at one moment. What is not in it is not there, as far as [`why`](super::why()) can tell: a
/// snapshot without Nodes never blames a node.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Deployments, StatefulSets, DaemonSets, ReplicaSets, Pods, Jobs, Services, EndpointSlices, autoscalers, claims and
    /// Events of the namespace, and the Nodes.
    pub objects: Vec<Object>,
    /// The last lines of containers, as far as they were read.
    pub logs: BTreeMap<ContainerName, ContainerLogs>,
}

/// Names a container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerName {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container in it.
    pub container: String,
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.container, self.pod)
    }
}

/// The last lines that a container wrote, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerLogs {
    /// Since it was started.
    pub current: Vec<String>,
    /// Before it was started again.
    pub previous: Vec<String>,
}

impl Snapshot {
    pub(super) fn find(&self, key: &Key) -> Option<&Object> {
        self.objects.iter().find(|object| object.key() == key)
    }

    /// The object of `kind` with that name in the namespace of `beside`; a cluster's own objects have no namespace.
    pub(super) fn named(&self, kind: &str, name: &str, beside: &Object) -> Option<&Object> {
        self.of_kind(kind).find(|object| {
            let namespace = &object.key().namespace;
            object.name() == name && (namespace.is_empty() || *namespace == beside.key().namespace)
        })
    }

    pub(super) fn of_kind<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a Object> {
        self.objects.iter().filter(move |object| object.kind() == kind)
    }

    /// What `owner` made, of one kind, in the order of names.
    pub(super) fn made_by<'a>(&'a self, owner: &Object, kind: &str) -> Vec<&'a Object> {
        let Some(uid) = owner.uid() else { return Vec::new() };
        let mut all: Vec<_> = self.of_kind(kind).filter(|object| is_owned_by(object, uid)).collect();
        all.sort_by_key(|object| object.name());
        all
    }

    /// The newest event about `object` that `fits`.
    pub(super) fn newest_event(
        &self,
        object: &Object,
        fits: impl Fn(Event<'_>) -> bool,
    ) -> Option<Event<'_>> {
        let uid = object.uid()?;
        let about = self.of_kind("Event").filter_map(Event::of).filter(|event| event.about() == uid);
        about.filter(|event| fits(*event)).max_by_key(|event| event.last_seen())
    }
}
