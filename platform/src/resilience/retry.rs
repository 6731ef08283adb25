//! How long to wait before the next try: exponential, capped, with full jitter, so that those who failed together do
//! not come back together.

use std::time::Duration;

use crate::vocabulary::Env;

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
