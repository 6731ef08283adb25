//! Messages: topics fan out to queues, at least once, with visibility time-outs, receive counts and dead letters.

use std::time::Duration;

use crate::vocabulary::Topic;

/// A queue, the topics that it is subscribed to, and its patience.
#[derive(Clone, Copy, Debug)]
pub struct QueueSpec {
    /// Names the queue and its consumer: `notification`.
    pub name: &'static str,
    /// What it hears.
    pub topics: &'static [Topic],
    /// After so many receives a message goes to the dead letters.
    pub receives_max: i64,
    /// How long a received message stays hidden from others.
    pub visibility: Duration,
}

/// Topics and queues. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bus {}
