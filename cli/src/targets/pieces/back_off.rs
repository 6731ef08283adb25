//! How long to wait before a process that ended is started again.

use std::time::Duration;

/// Whoever lived this long was well: the next end is a first one again.
const WELL_AFTER: Duration = Duration::from_secs(10);
/// The wait after the second early end in a row; it doubles from there.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);
/// So many early ends in a row are a loop.
const LOOP: u32 = 5;

/// Counts the early ends of one seat.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    early_ends: u32,
}

impl BackOff {
    /// The wait after an end of a process that had `lived` so long: none after a first one.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        self.early_ends = if lived >= WELL_AFTER { 1 } else { self.early_ends.saturating_add(1) };
        match self.early_ends {
            1 => Duration::ZERO,
            ends => FIRST.saturating_mul(1 << (ends - 2).min(16)).min(LONGEST),
        }
    }

    /// Whether it ends again and again.
    pub(super) fn is_loop(&self) -> bool {
        self.early_ends >= LOOP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_end_costs_no_wait_and_a_loop_waits_longer_and_longer() {
        let mut back_off = BackOff::default();
        let early = Duration::from_secs(1);
        let waits: Vec<u128> = (0..10).map(|_| back_off.after(early).as_millis()).collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert!(back_off.is_loop());
        assert_eq!(back_off.after(WELL_AFTER), Duration::ZERO);
        assert!(!back_off.is_loop());
    }
}
