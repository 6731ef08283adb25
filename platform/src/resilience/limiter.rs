//! A rate limiter: a token bucket per caller, in bounded memory, by the shop's clock.
//!
//! A bucket is one number, the time at which it would be full again (GCRA). Buckets that are full are forgotten, so
//! memory follows the callers of the last moments; when there are more of them than there is room for, the bucket
//! that has the most left is forgotten first, which never lets go of somebody who is over the limit.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::vocabulary::Clock;

const SHARDS: usize = 16;
/// How many buckets are looked at to find one to forget.
const SAMPLE: usize = 8;

/// So many requests within so long; all of them may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many requests; at least 1.
    pub requests: u32,
    /// Within how long.
    pub per: Duration,
}

impl Quota {
    /// `requests` a second.
    #[must_use]
    pub const fn per_second(requests: u32) -> Self {
        Self { requests, per: Duration::from_secs(1) }
    }

    /// `requests` a minute.
    #[must_use]
    pub const fn per_minute(requests: u32) -> Self {
        Self { requests, per: Duration::from_secs(60) }
    }

    fn window_us(self) -> i64 {
        i64::try_from(self.per.as_micros()).unwrap_or(i64::MAX / 4).clamp(1, i64::MAX / 4)
    }

    fn interval_us(self) -> i64 {
        (self.window_us() / i64::from(self.requests.max(1))).max(1)
    }
}

/// What a bucket answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may go on.
    pub is_allowed: bool,
    /// How many requests the quota has.
    pub limit: u32,
    /// How many of them are left now.
    pub remaining: u32,
    /// When all of them are there again.
    pub full_after: Duration,
    /// When the next one is there; zero when one is there now.
    pub next_after: Duration,
}

/// Buckets by caller.
#[derive(Debug)]
pub struct Limiter<K> {
    clock: Clock,
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<K, i64>>>,
    shard_max: usize,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// A limiter that remembers at most about `callers_max` callers.
    #[must_use]
    pub fn new(clock: Clock, callers_max: usize) -> Self {
        Self {
            clock,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_max: (callers_max / SHARDS).max(1),
        }
    }

    /// Takes one request of `caller` out of its bucket of `quota`, if there is one.
    pub fn take(&self, caller: K, quota: Quota) -> Decision {
        let now = self.clock.now().as_microsecond();
        let (window, interval) = (quota.window_us(), quota.interval_us());
        let shard = usize::try_from(self.hasher.hash_one(&caller) % SHARDS as u64).unwrap_or(0);
        let mut buckets = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not lock anybody out for longer than one window.
        let full_at = buckets.get(&caller).map_or(now, |at| (*at).clamp(now, now.saturating_add(window)));
        let after_this = full_at.saturating_add(interval);
        let is_allowed = after_this.saturating_sub(now) <= window;
        let full_at = if is_allowed { after_this } else { full_at };
        if is_allowed || buckets.contains_key(&caller) {
            if buckets.len() >= self.shard_max && !buckets.contains_key(&caller) {
                make_room(&mut buckets, now);
            }
            buckets.insert(caller, full_at);
        }
        let used = full_at - now;
        let wait = if window - used >= interval { 0 } else { interval - (window - used) };
        Decision {
            is_allowed,
            limit: quota.requests,
            remaining: u32::try_from((window - used) / interval).unwrap_or(0).min(quota.requests),
            full_after: micros(used),
            next_after: micros(wait),
        }
    }

    /// How many callers are remembered.
    #[must_use]
    pub fn callers(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}

fn micros(us: i64) -> Duration {
    Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

/// Forgets every full bucket; when none is full, the fullest of a few.
fn make_room<K: Hash + Eq + Clone>(buckets: &mut HashMap<K, i64>, now: i64) {
    let before = buckets.len();
    buckets.retain(|_, full_at| *full_at > now);
    if buckets.len() < before {
        return;
    }
    let fullest = buckets.iter().take(SAMPLE).min_by_key(|(_, full_at)| **full_at);
    if let Some(caller) = fullest.map(|(caller, _)| caller.clone()) {
        buckets.remove(&caller);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Timestamp;
    use proptest::prelude::*;

    fn limiter(callers_max: usize) -> (Clock, Limiter<u32>) {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        (clock.clone(), Limiter::new(clock, callers_max))
    }

    #[test]
    fn a_bucket_is_emptied_and_fills_again() {
        let (clock, limiter) = limiter(100);
        let quota = Quota::per_minute(5);
        let left: Vec<_> = (0..5).map(|_| limiter.take(1, quota).remaining).collect();
        assert_eq!(left, [4, 3, 2, 1, 0]);
        let refused = limiter.take(1, quota);
        assert_eq!((refused.is_allowed, refused.remaining, refused.limit), (false, 0, 5));
        assert_eq!((refused.next_after.as_secs(), refused.full_after.as_secs()), (12, 60));
        assert!(limiter.take(2, quota).is_allowed, "another caller has a bucket of its own");
        clock.advance(Duration::from_secs(12));
        assert!(limiter.take(1, quota).is_allowed);
        assert!(!limiter.take(1, quota).is_allowed);
        clock.advance(Duration::from_secs(60));
        assert_eq!(limiter.take(1, quota).remaining, 4);
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out_for_longer_than_a_window() {
        let (clock, limiter) = limiter(100);
        clock.advance(Duration::from_secs(100_000));
        while limiter.take(1, Quota::per_minute(5)).is_allowed {}
        clock.skew(-90_000_000_000);
        assert!(limiter.take(1, Quota::per_minute(5)).full_after <= Duration::from_secs(60));
        clock.advance(Duration::from_secs(60));
        assert!(limiter.take(1, Quota::per_minute(5)).is_allowed);
    }

    #[test]
    fn its_memory_is_bounded_and_who_is_over_the_limit_is_not_forgotten() {
        let (_, limiter) = limiter(64);
        let quota = Quota::per_minute(5);
        while limiter.take(0, quota).is_allowed {}
        for caller in 1..10_000 {
            limiter.take(caller, quota);
        }
        assert!(limiter.callers() <= 64, "{} callers", limiter.callers());
        assert!(!limiter.take(0, quota).is_allowed);
    }

    proptest! {
        #[test]
        fn no_more_pass_in_any_window_than_the_quota_and_what_refills(
            requests in 1u32..50, per_ms in 1u64..5_000, gaps_ms in prop::collection::vec(0u64..200, 1..200),
        ) {
            let (clock, limiter) = limiter(10);
            let quota = Quota { requests, per: Duration::from_millis(per_ms) };
            let (mut passed, mut elapsed_ms) = (0u64, 0u64);
            for gap in gaps_ms {
                clock.advance(Duration::from_millis(gap));
                elapsed_ms += gap;
                let decision = limiter.take(1, quota);
                passed += u64::from(decision.is_allowed);
                prop_assert!(decision.is_allowed || decision.next_after > Duration::ZERO);
                // Rounding of the interval to whole microseconds lets at most one in a hundred more through.
                let refilled = elapsed_ms * u64::from(requests) / per_ms;
                prop_assert!(passed <= u64::from(requests) + refilled + refilled / 50 + 1);
            }
        }
    }
}
