//! What the machine asks for, as values. Each says how things are to be, so that carrying it out twice is carrying it out
//! once.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::slot::{Selector, Slot};

/// Something to be done to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum Action {
    /// The record of the revision has this status. With [`RevisionStatus::Pending`] it is made when it is not there.
    MarkRevision {
        /// The revision.
        revision: u64,
        /// Its status.
        status: RevisionStatus,
    },
    /// The Job that brings tables up to date for the revision is there. One that is there already is left as it is.
    RunPrepareJob {
        /// The revision.
        revision: u64,
    },
    /// The slot's objects are those of the revision: its Deployment, what belongs to it, and the preview Service when the
    /// slot is idle. The service's own Service is left as it is, unless it is not there at all.
    ApplySlot {
        /// The slot.
        slot: Slot,
        /// The revision.
        revision: u64,
        /// How many pods; none leaves the number to the autoscaler, or as it is.
        replicas: Option<u32>,
    },
    /// The slot's Deployment is to have so many pods.
    Scale {
        /// The slot.
        slot: Slot,
        /// So many.
        replicas: u32,
    },
    /// The Service selects this.
    Select {
        /// The new selector, written whole.
        selector: Selector,
    },
    /// This slot has an autoscaler, and the other one has none. With none, neither has: while both slots serve, nobody
    /// else changes how many pods they have.
    Autoscale {
        /// The slot.
        slot: Option<Slot>,
    },
    /// The gates are read, and the next observation has the [`Readings`](super::Readings) of this round.
    CheckGates {
        /// The round.
        round: u32,
        /// Where the figures are to be read.
        place: Place,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MarkRevision { revision, status } => {
                write!(f, "mark revision {revision} as {}", status.name())
            }
            Self::RunPrepareJob { revision } => write!(f, "prepare the tables for revision {revision}"),
            Self::ApplySlot { slot, revision, replicas: None } => {
                write!(f, "apply revision {revision} to slot {slot}")
            }
            Self::ApplySlot { slot, revision, replicas: Some(replicas) } => {
                write!(f, "apply revision {revision} to slot {slot} with {}", Pods(*replicas))
            }
            Self::Scale { slot, replicas } => write!(f, "scale slot {slot} to {}", Pods(*replicas)),
            Self::Select { selector } => write!(f, "let the Service select {selector}"),
            Self::Autoscale { slot: Some(slot) } => write!(f, "give the autoscaler to slot {slot}"),
            Self::Autoscale { slot: None } => f.write_str("hold the autoscaler"),
            Self::CheckGates { round, place } => {
                write!(f, "check the gates of {} (round {round})", place.name())
            }
        }
    }
}

struct Pods(u32);

impl fmt::Display for Pods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pods = if self.0 == 1 { "pod" } else { "pods" };
        write!(f, "{} {pods}", self.0)
    }
}

/// Where the figures of the gates are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// At the preview Service, which no customer reaches.
    Preview,
    /// At the new pods, which customers reach.
    Service,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Preview => "the preview",
            Self::Service => "the service",
        }
    }
}

/// What is recorded of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevisionStatus {
    /// It is being brought out.
    Pending,
    /// It is live.
    Deployed,
    /// It was live, and another one took its place.
    Superseded,
    /// It never became live.
    Failed,
    /// It was live, and was undone.
    RolledBack,
}

impl RevisionStatus {
    /// As the label of the record has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Deployed => "deployed",
            Self::Superseded => "superseded",
            Self::Failed => "failed",
            Self::RolledBack => "rolled-back",
        }
    }
}

/// How a release ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// The new revision is live.
    Released,
    /// The old revision is live, as it was before.
    RolledBack {
        /// Why.
        reason: String,
    },
    /// It did not come about, and there is nothing to go back to, or nothing was begun.
    Failed {
        /// Why.
        reason: String,
    },
}
