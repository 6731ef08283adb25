//! How long somebody still waits for an answer.

use std::time::Duration;

use crate::vocabulary::{Timestamp, clock};

/// The time left until `deadline`, at most `cap`; zero when it has passed. Without a deadline the whole `cap`.
#[must_use]
pub fn time_left(deadline: Option<Timestamp>, now: Timestamp, cap: Duration) -> Duration {
    deadline.map_or(cap, |deadline| clock::since(now, deadline).min(cap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_past_a_deadline() {
        let now = Timestamp::UNIX_EPOCH;
        let cap = Duration::from_secs(5);
        assert_eq!(time_left(None, now, cap), cap);
        assert_eq!(
            time_left(Some(clock::add(now, Duration::from_secs(2))), now, cap),
            Duration::from_secs(2)
        );
        assert_eq!(time_left(Some(clock::add(now, Duration::from_secs(9))), now, cap), cap);
        assert_eq!(time_left(Some(now), clock::add(now, cap), cap), Duration::ZERO);
    }
}
