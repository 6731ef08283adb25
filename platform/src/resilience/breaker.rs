//! A circuit breaker: stops asking a side that does not answer, and finds out by few probes when it is back.
//!
//! The rules are in `Core`, which is told the time and knows no thread. [`Breaker`] is the core behind one mutex; a
//! [`Permit`] is the right to make one call, and gives itself back when it is dropped without a result.
//!
//! A decline or any other answer of business is a success: the other side is healthy.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::vocabulary::{Env, Timestamp, clock};

pub use crate::telemetry::BreakerState;

const BUCKETS: usize = 10;
const BUCKET_US: i64 = 1_000_000;

/// When a breaker opens, and how it comes back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerConfig {
    /// Fewer calls in the window than this prove nothing.
    pub calls_min: u32,
    /// Opens when this share of the window's calls failed or were slow.
    pub failure_ratio: f64,
    /// Opens after so many calls in a row that reached nobody.
    pub unreachable_max: u32,
    /// How long it stays open the first time.
    pub open_first: Duration,
    /// Each time it opens again without having closed it stays open twice as long, up to this.
    pub open_cap: Duration,
    /// Varies the time open by this share either way.
    pub jitter: f64,
    /// So many probes at most are under way while half-open, and so many successes close it.
    pub probes: usize,
    /// A probe that neither answers nor gives up loses its place after this.
    pub probe_lease: Duration,
}

impl BreakerConfig {
    /// For a payment provider whose calls take at most `timeout`: comes back fast, since every order waits for it.
    #[must_use]
    pub fn payment_provider(timeout: Duration) -> Self {
        Self {
            calls_min: 20,
            failure_ratio: 0.5,
            unreachable_max: 5,
            open_first: Duration::from_secs(1),
            open_cap: Duration::from_secs(3),
            jitter: 0.2,
            probes: 3,
            probe_lease: timeout * 2,
        }
    }
}

/// How a call ended, for the other side's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallHealth {
    /// It answered, whatever it said.
    Answered,
    /// It failed, or took too long.
    Failed,
    /// It could not be reached, or hung up without a word.
    Unreachable,
}

/// A call that was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticket {
    /// Results that come after the state changed say nothing about the new state.
    generation: u64,
    /// The probe, when half-open.
    probe: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Closed,
    Open {
        until: Timestamp,
        length: Duration,
    },
    HalfOpen {
        /// The probes under way and when they lose their place.
        probes: Vec<(u64, Timestamp)>,
        successes: usize,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    number: i64,
    calls: u32,
    failures: u32,
}

/// The rules, without threads or a clock of their own.
#[derive(Clone, Debug)]
struct Core {
    config: BreakerConfig,
    state: State,
    since: Timestamp,
    generation: u64,
    buckets: [Bucket; BUCKETS],
    unreachable_in_row: u32,
    openings_in_row: u32,
    probes_made: u64,
    opened_total: u64,
    /// A person holds it open, for this reason.
    held: Option<String>,
}

impl Core {
    fn new(config: BreakerConfig, now: Timestamp) -> Self {
        Self {
            config,
            state: State::Closed,
            since: now,
            generation: 0,
            buckets: [Bucket::default(); BUCKETS],
            unreachable_in_row: 0,
            openings_in_row: 0,
            probes_made: 0,
            opened_total: 0,
            held: None,
        }
    }

    /// Lets a call through, or says how long not to ask again.
    fn admit(&mut self, now: Timestamp) -> Result<Ticket, Duration> {
        if self.held.is_some() {
            return Err(self.config.open_cap);
        }
        if let State::Open { until, length } = &mut self.state {
            let left = clock::since(now, *until);
            // The clock was set back: nobody waits longer than was meant.
            if left > *length {
                *until = clock::add(now, *length);
            }
            if !left.is_zero() {
                return Err(left.min(*length));
            }
            self.enter(State::HalfOpen { probes: Vec::new(), successes: 0 }, now);
        }
        let generation = self.generation;
        let (most, lease) = (self.config.probes, self.config.probe_lease);
        match &mut self.state {
            State::HalfOpen { probes, successes } => {
                probes.retain(|(_, until)| {
                    let left = clock::since(now, *until);
                    !left.is_zero() && left <= lease
                });
                if probes.len() + *successes >= most {
                    return Err(self.config.open_first);
                }
                self.probes_made += 1;
                probes.push((self.probes_made, clock::add(now, lease)));
                Ok(Ticket { generation, probe: Some(self.probes_made) })
            }
            _ => Ok(Ticket { generation, probe: None }),
        }
    }

    /// Takes a result into account. `chance` (0 to 1) is the jitter, should it open.
    fn record(&mut self, ticket: Ticket, health: CallHealth, now: Timestamp, chance: f64) {
        if ticket.generation != self.generation {
            return;
        }
        match &mut self.state {
            State::Closed => {
                self.count(health, now);
                if self.is_broken(now) {
                    self.open(now, chance);
                }
            }
            State::HalfOpen { probes, successes } => {
                let before = probes.len();
                probes.retain(|(probe, _)| Some(*probe) != ticket.probe);
                if probes.len() == before {
                    return;
                }
                if health != CallHealth::Answered {
                    self.open(now, chance);
                    return;
                }
                *successes += 1;
                if *successes >= self.config.probes {
                    self.close(now);
                }
            }
            State::Open { .. } => {}
        }
    }

    /// A call that was let through ended without telling anything.
    fn give_back(&mut self, ticket: Ticket) {
        if let (State::HalfOpen { probes, .. }, true) =
            (&mut self.state, ticket.generation == self.generation)
        {
            probes.retain(|(probe, _)| Some(*probe) != ticket.probe);
        }
    }

    fn count(&mut self, health: CallHealth, now: Timestamp) {
        let number = now.as_microsecond().div_euclid(BUCKET_US);
        let slot = usize::try_from(number.rem_euclid(BUCKETS as i64)).unwrap_or(0);
        let bucket = &mut self.buckets[slot];
        if bucket.number != number {
            *bucket = Bucket { number, ..Bucket::default() };
        }
        bucket.calls += 1;
        bucket.failures += u32::from(health != CallHealth::Answered);
        let unreachable = health == CallHealth::Unreachable;
        self.unreachable_in_row = if unreachable { self.unreachable_in_row + 1 } else { 0 };
    }

    /// Calls and failures of the last ten seconds.
    fn window(&self, now: Timestamp) -> (u32, u32) {
        let newest = now.as_microsecond().div_euclid(BUCKET_US);
        let within = newest - (BUCKETS as i64 - 1)..=newest;
        let fresh = self.buckets.iter().filter(|bucket| within.contains(&bucket.number));
        fresh.fold((0, 0), |(calls, failures), bucket| (calls + bucket.calls, failures + bucket.failures))
    }

    fn is_broken(&self, now: Timestamp) -> bool {
        let (calls, failures) = self.window(now);
        let often = calls >= self.config.calls_min
            && f64::from(failures) >= f64::from(calls) * self.config.failure_ratio;
        often || self.unreachable_in_row >= self.config.unreachable_max
    }

    fn open(&mut self, now: Timestamp, chance: f64) {
        let doubled =
            self.config.open_first.saturating_mul(2u32.saturating_pow(self.openings_in_row.min(16)));
        let varied = 1.0 + self.config.jitter * (2.0 * chance.clamp(0.0, 1.0) - 1.0);
        let length = doubled.min(self.config.open_cap).mul_f64(varied);
        self.openings_in_row += 1;
        self.opened_total += 1;
        self.enter(State::Open { until: clock::add(now, length), length }, now);
    }

    fn close(&mut self, now: Timestamp) {
        self.openings_in_row = 0;
        self.unreachable_in_row = 0;
        self.buckets = [Bucket::default(); BUCKETS];
        self.enter(State::Closed, now);
    }

    fn enter(&mut self, state: State, now: Timestamp) {
        self.state = state;
        self.since = now;
        self.generation += 1;
    }

    fn hold(&mut self, reason: String, now: Timestamp) {
        if self.held.is_none() {
            self.since = now;
            self.generation += 1;
            self.opened_total += 1;
        }
        self.held = Some(reason);
    }

    fn let_go(&mut self, now: Timestamp) {
        self.held = None;
        self.close(now);
    }

    fn shown(&self) -> BreakerState {
        match (&self.held, &self.state) {
            (Some(_), _) | (None, State::Open { .. }) => BreakerState::Open,
            (None, State::HalfOpen { .. }) => BreakerState::HalfOpen,
            (None, State::Closed) => BreakerState::Closed,
        }
    }
}

/// The breaker is open: nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the breaker is open")]
pub struct BreakerOpen {
    /// When it is worth asking again.
    pub retry_after: Duration,
}

/// What a breaker tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerSnapshot {
    /// The state.
    pub state: BreakerState,
    /// Since when.
    pub since: Timestamp,
    /// When an open breaker lets the next probe through; absent when a person holds it.
    pub retry_at: Option<Timestamp>,
    /// Calls in the window.
    pub calls: u32,
    /// Those of them that failed or were slow.
    pub failures: u32,
    /// Why a person holds it open.
    pub held: Option<String>,
    /// How often it opened since it was made.
    pub opened_total: u64,
}

#[derive(Debug)]
struct Shared {
    env: Env,
    /// Not tokio's mutex: nothing is awaited while it is held.
    core: Mutex<Core>,
    changes: watch::Sender<BreakerState>,
}

/// A breaker in front of one other side. Cheap to clone; clones are the same breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    name: &'static str,
    shared: Arc<Shared>,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(name: &'static str, config: BreakerConfig, env: Env) -> Self {
        let core = Mutex::new(Core::new(config, env.now()));
        Self {
            name,
            shared: Arc::new(Shared { env, core, changes: watch::Sender::new(BreakerState::Closed) }),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The right to make one call, unless the other side is known to be down.
    pub fn try_acquire(&self) -> Result<Permit, BreakerOpen> {
        let now = self.shared.env.now();
        let admitted = self.change(|core| core.admit(now));
        match admitted {
            Ok(ticket) => Ok(Permit { breaker: self.clone(), ticket: Some(ticket) }),
            Err(retry_after) => Err(BreakerOpen { retry_after }),
        }
    }

    /// Holds it open until [`Breaker::close`], whatever the other side does.
    pub fn hold_open(&self, reason: &str) {
        let now = self.shared.env.now();
        self.change(|core| core.hold(reason.to_owned(), now));
    }

    /// Closes it, as if the other side had proven itself.
    pub fn close(&self) {
        let now = self.shared.env.now();
        self.change(|core| core.let_go(now));
    }

    /// What it tells of itself.
    #[must_use]
    pub fn snapshot(&self) -> BreakerSnapshot {
        let now = self.shared.env.now();
        let core = self.lock();
        let (calls, failures) = core.window(now);
        let retry_at = match (&core.held, &core.state) {
            (None, State::Open { until, .. }) => Some(*until),
            _ => None,
        };
        BreakerSnapshot {
            state: core.shown(),
            since: core.since,
            retry_at,
            calls,
            failures,
            held: core.held.clone(),
            opened_total: core.opened_total,
        }
    }

    /// The state, and every change of it from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<BreakerState> {
        self.shared.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.shared.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.lock();
        let answer = change(&mut core);
        let shown = core.shown();
        // Under the lock, so that two changes are told in the order in which they happened.
        let changed = self.shared.changes.send_if_modified(|told| {
            let differs = *told != shown;
            *told = shown;
            differs
        });
        drop(core);
        if changed {
            tracing::warn!(breaker = self.name, state = ?shown, "the breaker changed");
        }
        answer
    }
}

/// The right to make one call. Tell how it ended; dropped untold, it is given back and counts for nothing.
#[derive(Debug)]
pub struct Permit {
    breaker: Breaker,
    ticket: Option<Ticket>,
}

impl Permit {
    /// The call ended.
    pub fn end(mut self, health: CallHealth) {
        self.tell(health);
    }

    /// The call takes too long already: counts as failed now, whatever becomes of it.
    pub fn is_slow(&mut self) {
        self.tell(CallHealth::Failed);
    }

    fn tell(&mut self, health: CallHealth) {
        if let Some(ticket) = self.ticket.take() {
            let env = &self.breaker.shared.env;
            let (now, chance) = (env.now(), env.fraction());
            self.breaker.change(|core| core.record(ticket, health, now, chance));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.change(|core| core.give_back(ticket));
        }
    }
}

#[cfg(test)]
mod tests;
