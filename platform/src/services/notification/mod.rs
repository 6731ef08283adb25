//! Notifications: what happened in the shop, told to the people it concerns, once.

pub mod client;
