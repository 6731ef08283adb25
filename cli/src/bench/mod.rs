//! Measuring the shop on this machine: how soon it sells, how little it takes, how fast it takes orders.
//!
//! Every measurement starts a shop of its own in a process of its own, on a folder that is removed afterwards,
//! and drives it over loopback HTTP as any client would. Nothing is simulated: an order is a whole saga, and
//! its answer comes after the data is on the disk.
//!
//! # Adding one
//! A file that takes a [`Ground`] and returns a report, and a word in `commands/bench.rs`.

mod buyer;
pub mod checkout;
mod ground;
pub mod memory;
mod process;
pub mod start;

pub use ground::Ground;
