//! Whether an object is what it should be. Pure: it reads objects as the cluster gave them, and never asks for one.
//!
//! [`status()`] looks at one object. What an object cannot tell of itself ([`Troubles`]: an image that cannot be pulled, a
//! pod that finds no node, nothing that moves) is told by its pods and their events over time.
//!
//! ```text
//! apply an object        -> the generation in the answer
//! each time it changes   -> status(object, Some(generation)), troubles.observe(...)
//! Current                -> it is what was applied
//! Failed, or a Trouble   -> waiting longer changes nothing
//! ```

mod claims;
mod conditions;
mod containers;
mod events;
mod lineage;
mod sight;
mod status;
mod surroundings;
mod troubles;
mod workloads;

pub use claims::awaits_first_consumer;
pub(in crate::cluster) use conditions::condition;
pub(in crate::cluster) use containers::{Container, Ended, containers};
pub(in crate::cluster) use events::Event;
pub(in crate::cluster) use lineage::is_owned_by;
pub use lineage::new_replica_set;
pub use sight::Sight;
pub(in crate::cluster) use sight::is_quota;
pub use status::{Circumstances, Status, status, status_under};
pub use troubles::{Budget, Trouble, TroubleKind, Troubles};
