//! Finds out what became of acts whose outcome is not known, whether or not anybody asks: replays them as they were,
//! reads the provider's books where replaying is no use, probes a provider that was down, and tells when it is back.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cashier::{Cashier, Ended, REPLAYS, is_race};
use super::flights::{Boarding, Seat};
use super::gate::Gate;
use super::model::{Attempt, AttemptState, Operation, Record, supersede};
use super::provider::{Found, ProviderRequest};
use crate::resilience::breaker::{BreakerState, CallHealth};
use crate::storage::StorageError;
use crate::vocabulary::{OrderId, Timestamp, clock};

/// Attempts taken up at once.
const TAKEN_MAX: usize = 64;
/// How often it looks while there is work, and while there is none.
const OFTEN: Duration = Duration::from_millis(100);
const SELDOM: Duration = Duration::from_secs(1);
const PROBE_EVERY: Duration = Duration::from_millis(200);
const HELD_EVERY: Duration = Duration::from_secs(2);
/// By how much the provider's clock may differ from ours.
const CLOCK_SKEW: Duration = Duration::from_secs(30);
/// An attempt that is unknown after so many tries is an alarm.
const TRIES_ALARM: i64 = 20;

impl Cashier {
    /// Resolves until told to stop; what is under way ends.
    pub(super) async fn resolve(self, stop: CancellationToken) {
        loop {
            let busy = match self.resolve_due().await {
                Ok(taken) => taken == TAKEN_MAX,
                Err(error) => {
                    tracing::warn!(%error, "unknown payments could not be read, will try again");
                    false
                }
            };
            let hot = self.inner.hot_until_us.load(Ordering::Relaxed) > self.inner.env.now().as_microsecond();
            let pause = match (busy, hot) {
                (true, _) => Duration::ZERO,
                (false, true) => OFTEN,
                (false, false) => SELDOM,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One round: everything that is due, at most [`TAKEN_MAX`]. Answers how many were taken up.
    pub(super) async fn resolve_due(&self) -> Result<usize, StorageError> {
        let due = self.inner.store.due(TAKEN_MAX).await?;
        if due.is_empty() {
            return Ok(0);
        }
        self.look_soon();
        let (lookups, open): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|(_, attempt)| attempt.state == AttemptState::Lookup);
        let mut replays = JoinSet::new();
        for (order_id, attempt) in open {
            let this = self.clone();
            replays.spawn(async move { this.take_up(order_id, &attempt).await });
        }
        let mut taken = self.look_up(lookups).await?;
        while let Some(replayed) = replays.join_next().await {
            taken += usize::from(replayed.unwrap_or(false));
        }
        Ok(taken)
    }

    /// Replays one attempt; answers whether the provider was asked.
    async fn take_up(&self, order_id: OrderId, attempt: &Attempt) -> bool {
        let Boarding::Mine(seat) = self.inner.flights.board(order_id, &attempt.act_key) else { return false };
        let Ok(pass) = self.inner.gates.enter(attempt.operation).await else { return false };
        let Some((record, attempt)) = self.claim(order_id, attempt).await else { return false };
        if attempt.tries >= TRIES_ALARM {
            tracing::error!(%order_id, tries = attempt.tries, operation = attempt.operation.as_str(), "a payment stays unknown: look at the provider's books");
        }
        self.finish(&record, &attempt, pass, seat).await;
        true
    }

    async fn finish(&self, record: &Record, attempt: &Attempt, pass: super::gate::Pass, seat: Seat) {
        match self.call(record, attempt, true, pass, &seat).await {
            Ended::Known(result) | Ended::Open(result) => seat.land(Ok(result)),
            Ended::Moved => {}
        }
    }

    /// The attempt as it is now, claimed for one more try.
    async fn claim(&self, order_id: OrderId, attempt: &Attempt) -> Option<(Record, Attempt)> {
        let tries = u32::try_from(attempt.tries).unwrap_or(u32::MAX);
        let patience = self.inner.timeout + REPLAYS.pause(tries, &self.inner.env);
        let next_at = self.inner.env.after(patience);
        match self.inner.store.take_up(attempt, next_at).await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                tracing::warn!(%error, "an unknown payment could not be taken up");
                return None;
            }
        }
        let known = self.inner.store.known(order_id).await.ok()??;
        let current = known.attempts.into_iter().find(|current| current.id == attempt.id)?;
        current.state.is_unknown().then_some((known.record, current))
    }

    /// Reads the provider's books for attempts whose replay says nothing: one walk serves them all.
    async fn look_up(&self, due: Vec<(OrderId, Attempt)>) -> Result<usize, StorageError> {
        let mut sought = Vec::with_capacity(due.len());
        for (order_id, attempt) in due {
            let Boarding::Mine(seat) = self.inner.flights.board(order_id, &attempt.act_key) else { continue };
            if let Some((record, attempt)) = self.claim(order_id, &attempt).await {
                sought.push((record, attempt, seat));
            }
        }
        if sought.is_empty() || self.inner.gates.enter(Operation::Capture).await.is_err() {
            return Ok(0);
        }
        let requests: Vec<ProviderRequest> =
            sought.iter().map(|(record, attempt, _)| attempt.request(record)).collect();
        let since = sought.iter().map(|(_, attempt, _)| self.begun_before(attempt)).min();
        let found = match self.inner.provider.find(&requests, since.unwrap_or(Timestamp::MIN)).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the provider's books could not be read, will try again");
                return Ok(0);
            }
        };
        let taken = sought.len();
        let mut ends = JoinSet::new();
        for ((record, attempt, seat), found) in sought.into_iter().zip(found) {
            let this = self.clone();
            ends.spawn(async move { this.go_on(&record, &attempt, found, seat).await });
        }
        while let Some(ended) = ends.join_next().await {
            if let Ok(Err(error)) = ended {
                tracing::warn!(%error, "a payment could not go on, will try again");
            }
        }
        Ok(taken)
    }

    /// A time on the provider's clock before which the attempt was not begun.
    fn begun_before(&self, attempt: &Attempt) -> Timestamp {
        let earlier = |at: Timestamp, by: Duration| {
            let us = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
            Timestamp::from_microsecond(at.as_microsecond().saturating_sub(us)).unwrap_or(Timestamp::MIN)
        };
        match attempt.failed_at {
            // The provider said when it failed; it began at most as long before as we have known the attempt.
            Some(failed_at) => {
                let age = clock::since(attempt.created_at, self.inner.env.now());
                earlier(failed_at, age + Duration::from_secs(1))
            }
            None => earlier(attempt.created_at, CLOCK_SKEW),
        }
    }

    async fn go_on(
        &self,
        record: &Record,
        attempt: &Attempt,
        found: Found,
        seat: Seat,
    ) -> Result<(), StorageError> {
        match found {
            Found::Happened(answer) => {
                match self.conclude(record, attempt, &answer, true, seat.is_awaited()).await {
                    Ended::Known(result) | Ended::Open(result) => seat.land(Ok(result)),
                    Ended::Moved => {}
                }
            }
            Found::Nothing => {
                let n = attempt.n + 1;
                let next = match self.inner.store.supersede(record, attempt, supersede(attempt, n)).await {
                    Ok(next) => next,
                    Err(error) if is_race(&error) => return Ok(()),
                    Err(error) => return Err(error),
                };
                if let Ok(pass) = self.inner.gates.enter(next.operation).await {
                    self.finish(record, &next, pass, seat).await;
                }
            }
        }
        Ok(())
    }

    /// Asks a provider that was down whether it is back, so that a shop without customers finds out too.
    pub(super) async fn probe(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PROBE_EVERY) => {}
            }
            for gate in self.inner.gates.all() {
                self.probe_gate(gate).await;
            }
        }
    }

    async fn probe_gate(&self, gate: &Gate) {
        let snapshot = gate.breaker.snapshot();
        self.inner.telemetry.meters().breaker(gate.breaker.name(), snapshot.state);
        if snapshot.state == BreakerState::Closed || snapshot.held.is_some() {
            return;
        }
        while let Ok(permit) = gate.breaker.try_acquire() {
            let answered = self.inner.provider.ping().await;
            permit.end(if answered.is_ok() { CallHealth::Answered } else { CallHealth::Unreachable });
            if answered.is_err() || gate.breaker.snapshot().state == BreakerState::Closed {
                return;
            }
        }
    }

    /// Tells the shop that the provider went down and came back, and hurries what waited for it.
    pub(super) async fn watch_breakers(self, stop: CancellationToken) {
        let mut watches = JoinSet::new();
        for gate in self.inner.gates.all() {
            watches.spawn(self.clone().watch_breaker(gate.clone(), stop.clone()));
        }
        watches.join_all().await;
    }

    async fn watch_breaker(self, gate: Gate, stop: CancellationToken) {
        let mut changes = gate.breaker.changes();
        let mut is_down = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            let state = *changes.borrow_and_update();
            self.inner.telemetry.meters().breaker(gate.breaker.name(), state);
            let kind = match (is_down, state) {
                (false, BreakerState::Open) => "provider_down",
                (true, BreakerState::Closed) => "provider_recovered",
                _ => continue,
            };
            is_down = state != BreakerState::Closed;
            self.announce(kind, gate.breaker.name(), &stop).await;
        }
    }

    /// The word must get out: orders wait for it. Tries until it does.
    async fn announce(&self, kind: &'static str, breaker: &str, stop: &CancellationToken) {
        for attempt in 0.. {
            let mut told = self.inner.store.tell_of_provider(kind, breaker).await;
            if kind == "provider_recovered" && told.is_ok() {
                self.look_soon();
                told = self.inner.store.hurry().await;
            }
            let Err(error) = told else { return };
            tracing::warn!(%error, kind, "the provider's state could not be told, will try again");
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(REPLAYS.pause(attempt, &self.inner.env)) => {}
            }
        }
    }

    /// Follows the breakers that a person holds open, also in another process.
    pub(super) async fn follow_held(self, stop: CancellationToken) {
        loop {
            match self.inner.store.held_breakers().await {
                Ok(held) => self.hold(&held),
                Err(error) => tracing::warn!(%error, "the breakers' settings could not be read"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(HELD_EVERY) => {}
            }
        }
    }

    fn hold(&self, held: &[(String, String)]) {
        for gate in self.inner.gates.all() {
            let wanted = held.iter().find(|(name, _)| name == gate.breaker.name()).map(|(_, reason)| reason);
            match (wanted, gate.breaker.snapshot().held) {
                (Some(reason), None) => gate.breaker.hold_open(reason),
                (None, Some(_)) => gate.breaker.close(),
                _ => {}
            }
        }
    }
}
