//! Carts, prices, checkout and orders.
//!
//! `order_events` is the truth, `order_orders` a projection of it that can be rebuilt and compared. What must happen
//! with the siblings (stock held, money moved) is carried by sagas, so that nothing is forgotten when a process dies.

pub mod client;
pub mod status;
pub mod wire;
