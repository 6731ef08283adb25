//! The product service: the catalogue, and the stock.

pub mod client;
mod wire;
