//! The shop: five services behind a gateway, their pages, and the promises they keep.
//!
//! Arrows point down, and `tests/it/architecture.rs` enforces it:
//!
//! ```text
//! app → {gateway web services sandbox} → saga → {http storage bus cache resilience telemetry} → vocabulary
//! ```
//!
//! Start reading at [`vocabulary`] for the words, at [`services`] for a service's shape, at `app` for how they
//! become a running shop.

pub mod app;
pub mod bus;
pub mod cache;
pub mod capabilities;
pub mod client;
pub mod config;
pub mod external_metrics;
pub mod gateway;
pub mod http;
pub mod manifest;
pub mod resilience;
pub mod saga;
pub mod sandbox;
pub mod secrets;
pub mod services;
pub mod storage;
pub mod telemetry;
pub mod testing;
pub mod verify;
pub mod vocabulary;
pub mod web;
