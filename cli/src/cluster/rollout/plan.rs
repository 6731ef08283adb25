//! What a release is to do. Decided before it begins, kept in its state, and never changed while it runs.

use serde::{Deserialize, Serialize};

use super::gates::Gates;

/// What a release of one service is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The service.
    pub service: String,
    /// The revision that is brought out. No other run ever has the same number.
    pub revision: u64,
    /// The revision that is live before; none for the first release, which is always a rolling one.
    pub previous: Option<u64>,
    /// How.
    pub strategy: Strategy,
    /// How many pods the service is to have; none when an autoscaler says so.
    pub replicas: Option<u32>,
    /// How many of them may be missing: of the pods that a slot needs, so many need not be ready before it serves alone.
    pub max_unavailable: u32,
    /// Whether tables are to be brought up to date first.
    pub prepare: bool,
    /// What is to hold while the new revision serves, before it is called released.
    pub bake: Gates,
    /// How long each part may take.
    pub limits: Limits,
}

impl Plan {
    /// Whether an autoscaler decides on the number of pods.
    #[must_use]
    pub fn is_autoscaled(&self) -> bool {
        self.replicas.is_none()
    }

    pub(super) fn blue_green(&self) -> Option<&BlueGreen> {
        match &self.strategy {
            Strategy::BlueGreen(blue_green) => Some(blue_green),
            Strategy::Rolling => None,
        }
    }
}

/// How a new revision takes the place of the old one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Pod by pod, in the slot that is live.
    Rolling,
    /// In the slot that is idle, and then all at once.
    BlueGreen(BlueGreen),
}

/// The settings of a blue-green release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlueGreen {
    /// How many pods it has while nobody but the preview Service reaches it; none means as many as it will need.
    pub preview_replicas: Option<u32>,
    /// What is to hold before a customer reaches it.
    pub preview: Gates,
    /// Who says that customers may reach it.
    pub promote: Promote,
    /// How the Service goes from one slot to the other.
    pub cutover: Cutover,
    /// How long a slot that no longer serves keeps its pods, so that whoever still sends to them is answered.
    pub scale_down_delay_seconds: u32,
    /// How long the old slot keeps its pods after a release, so that it can be undone in an instant.
    pub keep_warm_seconds: u32,
}

impl Default for BlueGreen {
    fn default() -> Self {
        Self {
            preview_replicas: None,
            preview: Gates::none(),
            promote: Promote::Auto,
            cutover: Cutover::default(),
            scale_down_delay_seconds: 30,
            keep_warm_seconds: 0,
        }
    }
}

/// Who says that customers may reach the new revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promote {
    /// The gates of the preview.
    #[default]
    Auto,
    /// A person, by [`Verb::Promote`](super::Verb::Promote).
    Manual,
}

/// How the Service goes from one slot to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cutover {
    /// Both serve for so long, so that whoever sends requests has heard of the new pods before the old ones go. 15 s are
    /// enough inside a cluster; a load balancer that has pods as its targets needs 90 s.
    Overlap {
        /// Both serve for so long.
        seconds: u32,
    },
    /// Never both: for revisions that must not serve together. Requests may be lost.
    Strict,
}

impl Default for Cutover {
    fn default() -> Self {
        Self::Overlap { seconds: 15 }
    }
}

/// How long each part may take. What takes longer on the way forward is turned back; on the way back it is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bringing tables up to date.
    pub prepare_seconds: u32,
    /// Pods getting ready, or ending.
    pub ready_seconds: u32,
    /// The Service going from one slot to the other, besides the time that both serve on purpose.
    pub switch_seconds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { prepare_seconds: 1800, ready_seconds: 600, switch_seconds: 300 }
    }
}
