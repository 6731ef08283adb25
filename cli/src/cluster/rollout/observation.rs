//! What is to be seen of a service at one moment.

use std::collections::BTreeSet;

use super::action::RevisionStatus;
use super::gates::Readings;
use super::slot::{PerSlot, Selector, Slot};
use crate::cluster::readiness::{Status, Trouble};

/// What is to be seen of a service at one moment, after all actions that were asked for before were answered.
///
/// `selector`, `slots` and the records are read from the API server itself, never from a cache: what is older than our
/// own last action would be taken for what became of it. Pods and endpoints may be a little old; nothing relies on them
/// but to wait longer.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The two slots.
    pub slots: PerSlot<SlotSeen>,
    /// What the EndpointSlices of the Service hold.
    pub endpoints: Vec<Endpoint>,
    /// What the Service selects; none when it is not there, or selects something else than its slots.
    pub selector: Option<Selector>,
    /// The Job that brings tables up to date for the revision of the plan; none when it is not there.
    pub prepare: Option<JobSeen>,
    /// The record of the revision of the plan; none when it is not there.
    pub record: Option<RevisionStatus>,
    /// The record of the revision before; none when it is not there.
    pub previous_record: Option<RevisionStatus>,
    /// The answer to the last [`CheckGates`](super::Action::CheckGates).
    pub readings: Option<Readings>,
    /// What an operator wants.
    pub command: Option<Command>,
    /// Whether the time that an operator gave the whole release is over. Time that it waits for a person does not count.
    pub deadline_passed: bool,
}

/// What is to be seen of one slot.
#[derive(Clone, Debug)]
pub struct SlotSeen {
    /// Whether its Deployment is there.
    pub exists: bool,
    /// The revision that its Deployment was applied with; none when that is not known.
    pub revision: Option<u64>,
    /// How many pods it is to have: `spec.replicas`.
    pub replicas: u32,
    /// How many it has, whatever their revision, without those on their way out.
    pub pods: u32,
    /// The ids of those that are ready.
    pub ready: BTreeSet<String>,
    /// How far its Deployment is, with the generation of our own last apply or scale of it.
    pub status: Status,
    /// What is held against its new pods.
    pub trouble: Option<Trouble>,
    /// Whether it has an autoscaler.
    pub is_autoscaled: bool,
}

impl Default for SlotSeen {
    fn default() -> Self {
        Self {
            exists: false,
            revision: None,
            replicas: 0,
            pods: 0,
            ready: BTreeSet::new(),
            status: Status::InProgress { why: "it is not there".to_owned() },
            trouble: None,
            is_autoscaled: false,
        }
    }
}

/// One endpoint of the Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The id of its pod: `targetRef.uid`.
    pub uid: String,
    /// The slot that the pod is of; none when the pod is not there any more.
    pub slot: Option<Slot>,
    /// Whether it is given requests.
    pub ready: bool,
}

/// What is to be seen of the Job that brings tables up to date.
#[derive(Clone, Debug)]
pub struct JobSeen {
    /// How far it is.
    pub status: Status,
    /// What is held against its pods.
    pub trouble: Option<Trouble>,
}

/// What an operator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Names it, so that it is heard once however often it is told. No other command has the same.
    pub id: String,
    /// Who says so.
    pub by: String,
    /// Why, when it was said.
    pub why: Option<String>,
    /// What.
    pub verb: Verb,
}

/// What an operator may want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Stay where it is, once both slots no longer serve at the same time. It still goes back by itself.
    Pause,
    /// Go on after a pause, or let customers reach the new revision when it waits for a person to say so.
    Promote,
    /// Go back, as long as it is not released.
    Abort,
    /// Go back, even when it is released, as long as the old slot has its pods.
    Undo,
}

impl Observation {
    /// How many pods of `slot` are given requests by the Service.
    pub(super) fn serving(&self, slot: Slot) -> usize {
        let all = self.endpoints.iter().filter(|endpoint| endpoint.ready && endpoint.slot == Some(slot));
        all.map(|endpoint| &endpoint.uid).collect::<BTreeSet<_>>().len()
    }

    /// How many ready pods of `slot` the Service gives no requests yet.
    pub(super) fn not_taken_up(&self, slot: Slot) -> usize {
        let is_in = |uid: &&String| self.endpoints.iter().any(|one| one.ready && one.uid == **uid);
        self.slots.of(slot).ready.iter().filter(|uid| !is_in(uid)).count()
    }

    /// Whether the Service gives requests to all ready pods of `slot`, and they are at least `count`.
    pub(super) fn has_taken_up(&self, slot: Slot, count: u32) -> bool {
        self.slots.of(slot).ready.len() >= count as usize && self.not_taken_up(slot) == 0
    }

    /// Whether the Service knows any pod of `slot`, ready or not.
    pub(super) fn knows(&self, slot: Slot) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.slot == Some(slot))
    }

    /// Whether the Service knows no pod of `slot` any more, and knows some of the other one: an empty list may be one that
    /// was not written yet.
    pub(super) fn has_let_go(&self, slot: Slot) -> bool {
        !self.knows(slot) && self.knows(slot.other())
    }
}
