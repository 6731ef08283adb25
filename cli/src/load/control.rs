//! What may be changed about a load while it runs: paused, multiplied, stopped, given more to do.
//!
//! Workers read it at every arrival, so it is a few atomics and a watch that nobody waits for on the hot path.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::watch;

use super::schedule::{Piece, Schedule};

/// The handle on a load that runs. Clones hold the same load.
#[derive(Clone, Debug)]
pub struct Control {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    is_paused: AtomicBool,
    /// Somebody has paused or multiplied the load: it is not the one that was planned any more.
    was_changed: AtomicBool,
    stopped_at: OnceLock<Instant>,
    /// The bits of a factor.
    factor: AtomicU64,
    plan: watch::Sender<Plan>,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The level at each moment.
    pub(super) schedule: Arc<Schedule>,
    /// Whether the schedule may grow: its end is not yet the end of the load.
    pub(super) may_grow: bool,
    /// Nothing more is to be started.
    pub(super) is_stopped: bool,
}

impl Control {
    /// The handle on a load that follows `schedule`.
    pub(super) fn new(schedule: Schedule, may_grow: bool) -> Self {
        let (plan, _) = watch::channel(Plan { schedule: Arc::new(schedule), may_grow, is_stopped: false });
        let factor = AtomicU64::new(1.0_f64.to_bits());
        Self {
            shared: Arc::new(Shared {
                is_paused: AtomicBool::new(false),
                was_changed: AtomicBool::new(false),
                stopped_at: OnceLock::new(),
                factor,
                plan,
            }),
        }
    }

    /// Whether arrivals are held back.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.shared.is_paused.load(Ordering::Relaxed)
    }

    /// Holds arrivals back, or lets them come again. Arrivals of a pause are not made up for.
    pub fn pause(&self, is_paused: bool) {
        self.shared.was_changed.store(true, Ordering::Relaxed);
        self.shared.is_paused.store(is_paused, Ordering::Relaxed);
    }

    /// What the load is multiplied with.
    #[must_use]
    pub fn factor(&self) -> f64 {
        f64::from_bits(self.shared.factor.load(Ordering::Relaxed))
    }

    /// Multiplies the load of an open model by `factor`, from 0.01 to 1000. A closed model has as many users as were
    /// planned.
    pub fn multiply(&self, factor: f64) {
        let factor = if factor.is_finite() { factor.clamp(0.01, 1000.0) } else { 1.0 };
        self.shared.was_changed.store(true, Ordering::Relaxed);
        self.shared.factor.store(factor.to_bits(), Ordering::Relaxed);
    }

    /// Whether somebody has paused or multiplied the load.
    pub(super) fn was_changed(&self) -> bool {
        self.shared.was_changed.load(Ordering::Relaxed)
    }

    /// When somebody stopped the load.
    pub(super) fn stopped_at(&self) -> Option<Instant> {
        self.shared.stopped_at.get().copied()
    }

    /// Starts nothing more. The answers that are under way are waited for.
    pub fn stop(&self) {
        self.shared.stopped_at.get_or_init(Instant::now);
        self.shared.plan.send_if_modified(|plan| !std::mem::replace(&mut plan.is_stopped, true));
    }

    /// Whether nothing more is to be started.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.plan.borrow().is_stopped
    }

    /// Adds a piece at the end of the schedule.
    pub(super) fn add(&self, piece: Piece) {
        self.shared.plan.send_modify(|plan| Arc::make_mut(&mut plan.schedule).push(piece));
    }

    /// The schedule ends where it ends now.
    pub(super) fn finish(&self) {
        self.shared.plan.send_modify(|plan| plan.may_grow = false);
    }

    /// The plan, and news of it.
    pub(super) fn plan(&self) -> watch::Receiver<Plan> {
        self.shared.plan.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_is_a_number_that_makes_sense() {
        let control = Control::new(Schedule::default(), false);
        for (asked, held) in [(2.0, 2.0), (0.0, 0.01), (f64::NAN, 1.0), (f64::INFINITY, 1.0), (1e9, 1000.0)] {
            control.multiply(asked);
            assert_eq!(control.factor(), held, "{asked}");
        }
    }

    #[test]
    fn a_stop_is_told_once() {
        let control = Control::new(Schedule::default(), false);
        let mut news = control.plan();
        control.stop();
        assert!(news.has_changed().unwrap() && news.borrow_and_update().is_stopped);
        control.stop();
        assert!(!news.has_changed().unwrap());
        assert!(control.stopped_at().is_some() && !control.was_changed());
    }
}
