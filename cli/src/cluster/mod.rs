//! A shop on Kubernetes: what is to be there, how it gets there, whether it is well, and how one release follows another.
//!
//! ```text
//! chart      the same chart that helm renders, rendered here     -> objects
//! connect    which cluster, and whether it is the one that is meant
//! apply      objects onto the cluster; applyset: what is no longer among them goes
//! diff       what an apply would change; drift: what others changed; ownership: whose a field is
//! readiness  whether an object is what it should be; why: what keeps it from being so
//! lock       one deploy at a time; state: how far it is; revision: what was there before
//! overview   how the whole shop is; happenings: what was reported of it; logs: what its pods wrote
//! workload   pods more or fewer, or anew; settle: until they are well; removal: the whole shop away
//! forward    ports of this machine that lead to the shop's pods
//! rollout    one release after the other, without a moment in which nobody serves; release: the same, on a cluster
//! ```

pub mod api;
pub mod apply;
pub mod applyset;
pub mod chart;
pub mod connect;
pub mod diff;
pub mod drift;
pub mod forward;
pub mod happenings;
pub mod lock;
pub mod logs;
pub mod mirror;
pub mod object;
pub mod overview;
pub mod ownership;
pub mod packed;
pub mod process;
pub mod readiness;
pub mod release;
pub mod removal;
pub mod revision;
pub mod rollout;
pub mod settle;
pub mod state;
pub mod why;
pub mod workload;

/// Whose the fields are that we apply.
pub const MANAGER: &str = "shopctl";
/// The label that says which set an object is a member of.
pub const PART_OF: &str = "applyset.kubernetes.io/part-of";
