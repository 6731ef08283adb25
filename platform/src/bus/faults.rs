//! Misbehaviour on request: what a real queue does rarely, done often. At-least-once still holds.

use std::time::Duration;

use crate::vocabulary::Env;

/// How often the bus misbehaves with what it publishes. Rates go from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BusFaults {
    /// Messages that are put twice into their queue.
    pub duplicate_rate: f64,
    /// Messages that become visible late.
    pub delay_rate: f64,
    /// The most that a delayed message is late; drawn evenly.
    pub delay: Duration,
    /// Messages that trade places with others of the next 50 ms, elders with juniors too.
    pub reorder_rate: f64,
    /// Messages whose first delivery is lost: they come after the visibility has passed.
    pub drop_rate: f64,
}

const REORDER_WINDOW: Duration = Duration::from_millis(50);

impl Default for BusFaults {
    fn default() -> Self {
        Self {
            duplicate_rate: 0.0,
            delay_rate: 0.0,
            delay: Duration::ZERO,
            reorder_rate: 0.0,
            drop_rate: 0.0,
        }
    }
}

impl BusFaults {
    /// How long each copy of a message stays hidden: one entry per copy.
    pub(super) fn copies(&self, env: &Env, visibility: Duration) -> Vec<Duration> {
        if *self == Self::default() {
            return vec![Duration::ZERO];
        }
        let copies = if env.fraction() < self.duplicate_rate { 2 } else { 1 };
        (0..copies).map(|_| self.hidden(env, visibility)).collect()
    }

    fn hidden(&self, env: &Env, visibility: Duration) -> Duration {
        let strikes = |rate: f64| rate > 0.0 && env.fraction() < rate;
        let mut hidden = Duration::ZERO;
        if strikes(self.reorder_rate) {
            hidden += env.jitter(REORDER_WINDOW);
        }
        if strikes(self.delay_rate) {
            hidden += env.jitter(self.delay);
        }
        if strikes(self.drop_rate) {
            hidden += visibility;
        }
        hidden
    }
}
