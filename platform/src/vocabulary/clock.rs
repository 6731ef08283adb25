//! The one source of time. Everything that asks what time it is asks a [`Clock`], so that leases,
//! breakers and sagas can be driven by a test. This is the only file that reads the system clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A moment in UTC. Kept to the microsecond, which is what both engines store.
pub type Timestamp = jiff::Timestamp;

/// Tells the time: the system's, or one that a test moves by hand. Cheap to clone; clones share the time.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Microseconds since the epoch when the clock is manual.
    manual_us: Option<Arc<AtomicI64>>,
    /// Added to every reading: how a test or a fault switch skews the clock.
    offset_us: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self { manual_us: None, offset_us: Arc::default() }
    }

    /// A clock that stands at `start` until [`Clock::advance`] moves it.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self { manual_us: Some(Arc::new(AtomicI64::new(start.as_microsecond()))), offset_us: Arc::default() }
    }

    /// The time now, whole microseconds.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
    pub fn now(&self) -> Timestamp {
        let base = match &self.manual_us {
            Some(us) => us.load(Ordering::SeqCst),
            None => Timestamp::now().as_microsecond(),
        };
        let us = base.saturating_add(self.offset_us.load(Ordering::SeqCst));
        Timestamp::from_microsecond(us).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The time `after` from now.
    #[must_use]
    pub fn after(&self, after: Duration) -> Timestamp {
        add(self.now(), after)
    }

    /// Moves a manual clock forward. On the system's clock it skews forward by the same amount.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.manual_us.as_ref().unwrap_or(&self.offset_us).fetch_add(by, Ordering::SeqCst);
    }

    /// Skews every reading from now on by `by_us` microseconds; negative sets the clock back.
    pub fn skew(&self, by_us: i64) {
        self.offset_us.store(by_us, Ordering::SeqCst);
    }
}

/// `at` plus `by`, held at the calendar's end instead of overflowing.
#[must_use]
pub fn add(at: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(at.as_microsecond().saturating_add(by)).unwrap_or(Timestamp::MAX)
}

/// How long after `earlier` is `later`; zero when it is not later.
#[must_use]
pub fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    let us = later.as_microsecond().saturating_sub(earlier.as_microsecond());
    Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_still_until_it_is_moved() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let first = clock.now();
        clock.advance(Duration::from_secs(3));
        assert_eq!(since(first, clock.now()), Duration::from_secs(3));
        clock.skew(-1_000_000);
        assert_eq!(since(first, clock.now()), Duration::from_secs(2));
    }
}
