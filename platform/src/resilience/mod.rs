//! How the shop bears the failures of others: one file per means.
//!
//! A call out goes through them in this order: [`deadline`] (is anybody still waiting), [`breaker`] (is the other side
//! alive), [`bulkhead`] (how many may wait for it at once); [`retry`] says when to try again.

pub mod breaker;
pub mod bulkhead;
pub mod deadline;
pub mod limiter;
pub mod retry;
