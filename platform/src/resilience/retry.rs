//! How long to wait before the next try: exponential, capped, with full jitter, so that those who failed together do
//! not come back together. And how often at all: a budget for those who ask again because somebody waits.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::vocabulary::{Env, Timestamp, clock};

/// Pauses that double from `base` up to `cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
}

impl Backoff {
    /// Doubles from `base`, never above `cap`.
    #[must_use]
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The longest pause after failed try number `attempt`, from 0.
    #[must_use]
    pub fn ceiling(&self, attempt: u32) -> Duration {
        self.base.saturating_mul(2u32.saturating_pow(attempt.min(30))).min(self.cap)
    }

    /// A pause after failed try number `attempt`, from 0: anything from a twentieth of the ceiling up to it. Never
    /// nothing at all, so that a stroke of luck is not a busy loop.
    #[must_use]
    pub fn pause(&self, attempt: u32, env: &Env) -> Duration {
        let ceiling = self.ceiling(attempt);
        env.jitter(ceiling).max(ceiling / 20)
    }
}

/// How many retries are allowed: a share of what succeeded lately, and a few in any case. When everything fails, the
/// retries of everybody do not keep the other side down.
#[derive(Debug)]
pub struct RetryBudget {
    env: Env,
    window: Mutex<Window>,
}

/// What happened in ten seconds.
#[derive(Debug)]
struct Window {
    began: Timestamp,
    successes_before: u64,
    successes: u64,
    retries: u64,
}

impl RetryBudget {
    /// The length of a window.
    pub const WINDOW: Duration = Duration::from_secs(10);
    /// One retry for so many successes.
    pub const SUCCESSES_PER_RETRY: u64 = 10;
    /// The retries of a window that need no success.
    pub const RETRIES_MIN: u64 = 10;

    /// A budget of which nothing is spent, by the time of `env`.
    #[must_use]
    pub fn new(env: &Env) -> Self {
        let window = Window { began: env.now(), successes_before: 0, successes: 0, retries: 0 };
        Self { env: env.clone(), window: Mutex::new(window) }
    }

    /// Something succeeded.
    pub fn succeeded(&self) {
        self.current().successes += 1;
    }

    /// Takes one retry, if there is one left. The successes of the window before count too, so that the budget is not
    /// empty whenever a window begins.
    #[must_use]
    pub fn take(&self) -> bool {
        let mut window = self.current();
        let successes = window.successes.max(window.successes_before);
        let is_left = window.retries < Self::RETRIES_MIN + successes / Self::SUCCESSES_PER_RETRY;
        window.retries += u64::from(is_left);
        is_left
    }

    fn current(&self) -> MutexGuard<'_, Window> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.env.now();
        let age = clock::since(window.began, now);
        // A clock that was set back begins a window too: nothing waits for the time to come again.
        if age >= Self::WINDOW || now < window.began {
            let successes_before = if age < 2 * Self::WINDOW { window.successes } else { 0 };
            *window = Window { began: now, successes_before, successes: 0, retries: 0 };
        }
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Clock;
    use proptest::prelude::*;

    fn spent(budget: &RetryBudget) -> u64 {
        std::iter::repeat_with(|| budget.take()).take_while(|left| *left).count() as u64
    }

    #[test]
    fn a_tenth_of_what_succeeded_may_be_retried_and_a_few_in_any_case() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let budget = RetryBudget::new(&Env::seeded(clock.clone(), 1));
        assert_eq!(spent(&budget), 10, "nothing succeeded");
        assert_eq!(spent(&budget), 0, "they are spent until the window is over");
        for _ in 0..200 {
            budget.succeeded();
        }
        assert_eq!(spent(&budget), 20);
        clock.advance(RetryBudget::WINDOW);
        assert_eq!(spent(&budget), 30, "the window before counts");
        clock.advance(RetryBudget::WINDOW);
        assert_eq!(spent(&budget), 10, "and no other");
        clock.skew(-100_000_000);
        assert_eq!(spent(&budget), 10, "a clock that is set back starts anew");
    }

    #[test]
    fn it_doubles_up_to_the_cap() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let ceilings: Vec<u128> = (0..6).map(|attempt| backoff.ceiling(attempt).as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.ceiling(u32::MAX), Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn a_pause_is_never_nothing_and_never_over_the_ceiling(attempt in 0u32..64) {
            let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(30));
            let pause = backoff.pause(attempt, &Env::system());
            prop_assert!(pause > Duration::ZERO && pause <= backoff.ceiling(attempt));
        }
    }
}
