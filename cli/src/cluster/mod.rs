//! A shop on Kubernetes: what is to be there, how it gets there, whether it is well, and how one release follows another.
//!
//! ```text
//! chart      the same chart that helm renders, rendered here     -> objects
//! connect    which cluster, and whether it is the one that is meant
//! apply      objects onto the cluster; applyset: what is no longer among them goes
//! diff       what an apply would change; drift: what others changed
//! readiness  whether an object is what it should be; why: what keeps it from being so
//! lock       one deploy at a time; state: how far it is; revision: what was there before
//! rollout    one release after the other, without a moment in which nobody serves
//! ```

pub mod chart;
pub mod object;
