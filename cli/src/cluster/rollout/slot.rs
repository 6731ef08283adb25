//! The two slots of a service, and what its Service selects.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the two Deployments of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// `<service>-a`.
    A,
    /// `<service>-b`.
    B,
}

impl Slot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// As the label `shopctl.dev/slot` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a Service selects. The selector is one map that is always written whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Selector {
    /// The pods of one slot: the service's name and the slot.
    Narrow(Slot),
    /// The pods of both: the service's name alone.
    Wide,
}

impl Selector {
    /// Whether it selects the pods of `slot`.
    #[must_use]
    pub fn selects(self, slot: Slot) -> bool {
        match self {
            Self::Narrow(only) => only == slot,
            Self::Wide => true,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Narrow(slot) => write!(f, "slot {slot}"),
            Self::Wide => f.write_str("both slots"),
        }
    }
}

/// One of something for each slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerSlot<T> {
    /// For slot a.
    pub a: T,
    /// For slot b.
    pub b: T,
}

impl<T> PerSlot<T> {
    /// That of `slot`.
    #[must_use]
    pub fn of(&self, slot: Slot) -> &T {
        match slot {
            Slot::A => &self.a,
            Slot::B => &self.b,
        }
    }

    /// That of `slot`, to be changed.
    pub fn of_mut(&mut self, slot: Slot) -> &mut T {
        match slot {
            Slot::A => &mut self.a,
            Slot::B => &mut self.b,
        }
    }
}
