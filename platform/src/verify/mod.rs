//! Whether the shop keeps its promises.
//!
//! * [`journal`]: what clients were promised, written down by the clients.

pub mod journal;
