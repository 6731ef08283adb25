//! What keeps something from being well: the way from what was asked about down to what is wrong, with what the cluster
//! says about it, what to do, and the last lines of the log. Pure: everything is read from a [`Snapshot`].
//!
//! ```text
//! list the objects of the namespace, and the nodes      -> Snapshot { objects, logs: none }
//! why(target, &snapshot)                                -> causes; some name a container
//! read the logs of those containers, previous ones too  -> Snapshot { objects, logs }
//! why(target, &snapshot)                                -> the same causes, with the lines
//! ```
//!
//! An empty answer means that nothing was found to be wrong, not that all is well.

mod advice;
mod cause;
mod explain;
mod pods;
mod scheduling;
mod snapshot;
mod surroundings;
mod workloads;

#[cfg(test)]
mod sample;

pub use cause::{Cause, Link, Reason};
pub use explain::why;
pub use snapshot::{ContainerLogs, ContainerName, Snapshot};
