//! Load: makes it, measures what the users felt, and says what it means.

mod afterwards;
mod chance;
mod collector;
pub mod control;
mod course;
pub mod journeys;
pub mod latencies;
pub mod length;
mod line;
pub mod lines;
pub mod objective;
mod preflight;
mod prepare;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
mod schedule;
mod server_view;
pub mod step;
pub mod store;
mod supplies;
mod tally;
pub mod target;
mod verdict;
mod worker;
