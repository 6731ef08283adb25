//! The way to the server that may be written, shared by the pools of a process: whether it is known, and since when the
//! connections that there are deserve a second look.
//!
//! While nobody can be written, one caller looks for all, and those who need a connection wait: a failover is over in
//! a moment, and whoever waited for it never hears of it. An absence that lasts is told at once instead, and looked
//! into once a second.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as Turn, MutexGuard as Turned};

/// A connection that was not used for so long is asked before it is used.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// How long it may take to answer that.
const VOUCH_MAX: Duration = Duration::from_secs(1);
/// A connection is replaced at this age: whatever name or balancer led to it may lead elsewhere by now.
const LIFE: Duration = Duration::from_secs(5 * 60);
/// So often at most all connections are looked at again because of an error, and so often one is replaced for its age.
const AGAIN_EVERY: Duration = Duration::from_secs(1);
/// How long callers wait for a server that went away.
const WAITED_FOR: Duration = Duration::from_secs(5);
/// How often somebody looks for one that may be written, while callers wait.
const LOOK_EVERY: Duration = Duration::from_millis(60);

/// How patient and how wary a route is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    pub(super) idle_max: Duration,
    pub(super) vouch_max: Duration,
    pub(super) life: Duration,
    pub(super) again_every: Duration,
    pub(super) waited_for: Duration,
    pub(super) look_every: Duration,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            idle_max: IDLE_MAX,
            vouch_max: VOUCH_MAX,
            life: LIFE,
            again_every: AGAIN_EVERY,
            waited_for: WAITED_FOR,
            look_every: LOOK_EVERY,
        }
    }
}

/// Whether a connection may be used as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It was used a moment ago, and nothing went wrong since.
    Used,
    /// It must be asked whether it still leads to one that may be written.
    Ask,
    /// One of its age did not answer: it will not either.
    Gone,
}

/// What is known of the way. One for each engine.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) habits: Habits,
    /// Moments count from here, in microseconds; 0 is never.
    began: Instant,
    /// Connections that were handed out before are to be asked again.
    suspected_us: AtomicU64,
    /// When that begins anew, because of an error that came too soon after the last one.
    suspected_next_us: AtomicU64,
    /// Connections that were handed out before do not answer.
    silent_us: AtomicU64,
    /// The place in the list of hosts of the one that was written last.
    writer: AtomicUsize,
    absence: Mutex<Option<Absence>>,
    /// Whether there is one: this is asked for every lease.
    is_lost: AtomicBool,
    /// Whose turn it is to look.
    turn: Turn<()>,
    /// Whether there ever was a connection: a wrong address is told, not waited for.
    was_found: AtomicBool,
}

/// Since when nobody can be written.
#[derive(Clone, Debug)]
struct Absence {
    since: Instant,
    looked_at: Instant,
    looks: u32,
    why: String,
}

impl Route {
    pub(super) fn new(habits: Habits) -> Self {
        Self {
            habits,
            began: Instant::now(),
            suspected_us: AtomicU64::new(0),
            suspected_next_us: AtomicU64::new(0),
            silent_us: AtomicU64::new(0),
            writer: AtomicUsize::new(0),
            absence: Mutex::default(),
            is_lost: AtomicBool::new(false),
            turn: Turn::new(()),
            was_found: AtomicBool::new(false),
        }
    }

    fn moment(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// Whether a connection that was handed out last at `used` may be handed out `now`.
    pub(super) fn trust(&self, used: Instant, now: Instant) -> Trust {
        let (used_us, now_us) = (self.moment(used), self.moment(now));
        if used_us <= self.silent_us.load(Ordering::Relaxed) {
            return Trust::Gone;
        }
        let is_suspect = used_us <= self.suspected(now_us);
        if is_suspect || now.saturating_duration_since(used) >= self.habits.idle_max {
            return Trust::Ask;
        }
        Trust::Used
    }

    /// The moment before which whoever was handed out is suspect `now`.
    fn suspected(&self, now_us: u64) -> u64 {
        let known = self.suspected_us.load(Ordering::Relaxed);
        match self.suspected_next_us.load(Ordering::Relaxed) {
            next if next <= now_us => known.max(next),
            _ => known,
        }
    }

    /// Something went wrong that may concern every connection: each is asked before its next use. At most once in
    /// [`Habits::again_every`]; what comes sooner counts for the next time.
    pub(super) fn suspect(&self, now: Instant) {
        let now_us = self.moment(now);
        let pause = u64::try_from(self.habits.again_every.as_micros()).unwrap_or(u64::MAX);
        let known = self.suspected(now_us);
        let next = known.saturating_add(pause);
        if known == 0 || next <= now_us {
            self.suspected_us.store(now_us, Ordering::Relaxed);
        } else {
            self.suspected_us.store(known, Ordering::Relaxed);
            self.suspected_next_us.store(next, Ordering::Relaxed);
        }
    }

    /// A connection did not answer in time: no other one that is as old is waited for.
    pub(super) fn fell_silent(&self, now: Instant) {
        self.silent_us.fetch_max(self.moment(now), Ordering::Relaxed);
    }

    /// The host to try first: the one that was written last.
    pub(super) fn writer(&self) -> usize {
        self.writer.load(Ordering::Relaxed)
    }

    /// Whether a connection was ever made.
    pub(super) fn was_found(&self) -> bool {
        self.was_found.load(Ordering::Relaxed)
    }

    /// `host` may be written.
    pub(super) fn note_found(&self, host: usize) {
        self.writer.store(host, Ordering::Relaxed);
        self.was_found.store(true, Ordering::Relaxed);
        let mut absence = self.absence();
        self.is_lost.store(false, Ordering::Relaxed);
        if let Some(absence) = absence.take() {
            let away_ms = u64::try_from(absence.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(away_ms, looks = absence.looks, "PostgreSQL can be written again");
        }
    }

    /// Nobody can be written, and `why`.
    pub(super) fn note_lost(&self, why: &dyn std::fmt::Display) {
        let now = Instant::now();
        let mut absence = self.absence();
        self.is_lost.store(true, Ordering::Relaxed);
        let known = absence.get_or_insert_with(|| {
            tracing::warn!(%why, "no PostgreSQL that can be written answers");
            Absence { since: now, looked_at: now, looks: 0, why: String::new() }
        });
        known.looked_at = now;
        known.looks += 1;
        known.why = why.to_string();
    }

    fn absence(&self) -> std::sync::MutexGuard<'_, Option<Absence>> {
        self.absence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nobody can be written, while that is so.
    pub(super) fn why_lost(&self) -> Option<String> {
        self.absence().as_ref().map(|absence| absence.why.clone())
    }

    /// Whether nobody is known to be there.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Whether that lasts so long that nobody waits for its end any more.
    pub(super) fn lasts(&self) -> bool {
        self.absence().as_ref().is_some_and(|absence| absence.since.elapsed() >= self.habits.waited_for)
    }

    /// Why this caller is not even tried: the absence lasts, and somebody looked a moment ago. Of those who come when
    /// the next look is due, one is let through.
    pub(super) fn turned_away(&self) -> Option<String> {
        let mut absence = self.absence();
        let known = absence.as_mut()?;
        let now = Instant::now();
        if now.saturating_duration_since(known.since) < self.habits.waited_for {
            return None;
        }
        if now.saturating_duration_since(known.looked_at) < self.habits.again_every {
            return Some(known.why.clone());
        }
        known.looked_at = now;
        None
    }

    /// Waits for the turn to look.
    pub(super) async fn turn(&self) -> Turned<'_, ()> {
        self.turn.lock().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn who_was_used_a_moment_ago_is_trusted_and_who_was_idle_is_asked() {
        let route = Route::new(Habits::default());
        let used = route.began + SECOND;
        assert_eq!(route.trust(used, used + IDLE_MAX - MOMENT), Trust::Used);
        assert_eq!(route.trust(used, used + IDLE_MAX), Trust::Ask);
    }

    #[test]
    fn after_an_error_everybody_is_asked_once() {
        let route = Route::new(Habits::default());
        let error = route.began + SECOND;
        route.suspect(error);
        assert_eq!(route.trust(error - MOMENT, error + MOMENT), Trust::Ask);
        assert_eq!(route.trust(error + MOMENT, error + 2 * MOMENT), Trust::Used);
    }

    #[test]
    fn a_storm_of_errors_asks_everybody_once_a_second() {
        let route = Route::new(Habits::default());
        let first = route.began + SECOND;
        let asked = (0..2_500u32).filter(|ms| {
            let now = first + *ms * MOMENT;
            route.suspect(now);
            // A connection that is used every millisecond.
            route.trust(now - MOMENT / 2, now) == Trust::Ask
        });
        assert_eq!(asked.collect::<Vec<_>>(), [0, 1_000, 2_000]);
    }

    #[test]
    fn nobody_waits_for_a_connection_as_old_as_one_that_does_not_answer() {
        let route = Route::new(Habits::default());
        let silent = route.began + SECOND;
        route.fell_silent(silent);
        assert_eq!(route.trust(silent - MOMENT, silent + MOMENT), Trust::Gone);
        assert_eq!(route.trust(silent + MOMENT, silent + 2 * MOMENT), Trust::Used);
    }

    #[test]
    fn a_short_absence_is_waited_for_and_a_long_one_is_told_at_once_and_looked_into_now_and_then() {
        let habits = Habits {
            waited_for: Duration::ZERO,
            again_every: Duration::from_secs(3_600),
            ..Habits::default()
        };
        let route = Route::new(habits);
        assert_eq!(route.turned_away(), None);
        route.note_lost(&"gone");
        assert_eq!(route.turned_away(), Some("gone".to_owned()));
        let looks = Route::new(Habits { again_every: Duration::ZERO, ..habits });
        looks.note_lost(&"gone");
        assert_eq!(looks.turned_away(), None, "the next look is due");
        let waits = Route::new(Habits::default());
        waits.note_lost(&"gone");
        assert_eq!(waits.turned_away(), None);
        assert!(waits.is_lost() && !waits.lasts());
        waits.note_found(1);
        assert_eq!((waits.is_lost(), waits.writer()), (false, 1));
    }
}
