//! Payments: money is held, taken and given back through a provider, and every cent is in a double-entry ledger.

pub mod client;
