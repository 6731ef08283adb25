//! The shop in pieces: every service a process of its own, on a PostgreSQL of the shop's own.

mod failover;
mod life;
pub(crate) mod replicas;
pub(crate) mod shop;
