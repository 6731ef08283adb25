//! Load: makes it, measures what the users felt, and says what it means.

pub mod latencies;
pub mod record;
