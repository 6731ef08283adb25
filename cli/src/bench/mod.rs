//! Measuring the shop on this machine: how soon it sells, how little it takes, how fast it takes orders.
//!
//! Where there is an anchor it runs beside it in the same run, and the ratio counts.
//!
//! Every measurement of a shop starts a shop of its own in a process of its own, on a folder that is removed afterwards,
//! and drives it over loopback HTTP as any client would. Nothing is simulated: an order is a whole saga, and
//! its answer comes after the data is on the disk.
//!
//! # Adding one
//! A file that takes a [`Ground`] and returns a report, and a word in `commands/bench.rs`.

mod bare;
mod buyer;
pub mod catalogue;
pub mod checkout;
mod driver;
mod figures;
mod ground;
pub mod help;
pub mod load_engine;
pub mod memory;
pub mod outage;
pub mod postgres;
pub mod start;
pub mod verify;

pub use ground::Ground;
