//! The shop in pieces: every service a process of its own, on a PostgreSQL of the shop's own.

mod failover;
mod life;
mod replicas;
mod shop;
