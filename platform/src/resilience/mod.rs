//! How the shop bears the failures of others: one file per means.

pub mod retry;
