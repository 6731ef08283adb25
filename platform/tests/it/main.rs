//! The integration tests of the platform: one binary.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, also outside the function that carries the attribute"
)]

mod architecture;
mod buses;
mod crash_matrix;
mod engine_failures;
mod engines;
mod external_metrics;
mod fakepay;
mod gateway;
mod migrations;
mod notification;
mod notification_smtp;
mod order_abuse;
mod order_checkout;
mod order_crashes;
mod order_fakes;
mod order_reactions;
mod payment;
mod product;
mod product_catalogue;
mod product_staff;
mod saga_runner;
mod shop;
mod shopd;
mod shopd_health;
mod telemetry;
mod user;
mod verify;
mod web;
