//! Does what is asked of the provider: intent, call, outcome.
//!
//! An act runs to its end whether or not its caller still waits, so a caller that goes away leaves nothing half done.
//! Whatever interrupts it (this process dies, storage fails, the provider says nothing) leaves an attempt that is
//! open, and the resolver replays it as it was.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::client::{PaymentResult, PaymentStatus};
use super::flights::{Boarding, Flights, Landing, Seat, landed};
use super::gate::{Gates, Pass, Turned};
use super::model::{Ask, Attempt, AttemptState, Decision, Operation, Record, Settlement, decide, settle};
use super::provider::{Provider, ProviderAnswer};
use super::store::{CHANGE_PAYMENT, END_ATTEMPT, Known, NEW_ATTEMPT, NEW_PAYMENT, Store};
use crate::http::{Code, Context, Problem};
use crate::resilience::deadline::time_left;
use crate::resilience::retry::{Backoff, RetryBudget};
use crate::storage::StorageError;
use crate::telemetry::{Scope, Telemetry};
use crate::vocabulary::{Env, Money, OrderId, clock};

/// How often an ask looks at the tables again because somebody else changed them.
const LOOKS_MAX: usize = 8;
/// Payments that are remembered between being held and being taken.
const FRESH_MAX: usize = 512;
/// What a caller waits beyond one provider call.
const GRACE: Duration = Duration::from_millis(500);
/// Pauses between replays of an unknown act.
pub(super) const REPLAYS: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
/// After an act became unknown the resolver looks often for so long.
const HOT: Duration = Duration::from_secs(10);

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Cashier {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) gates: Gates,
    /// For callers who ask again while an answer is missing. The resolver finds out in any case, at a pace of its own.
    retries: RetryBudget,
    pub(super) flights: Flights,
    pub(super) env: Env,
    pub(super) telemetry: Telemetry,
    pub(super) timeout: Duration,
    /// Until when (microseconds) the resolver looks often.
    pub(super) hot_until_us: AtomicI64,
    /// What was just held, so that taking it a moment later needs no look at the tables. What is stale here is found
    /// out by the tables' guards.
    fresh: Mutex<HashMap<OrderId, Known>>,
}

/// How an attempt at the provider ended, for whoever goes on from there.
pub(super) enum Ended {
    /// With this, written down.
    Known(PaymentResult),
    /// Not known, or it did not even begin.
    Open(PaymentResult),
    /// Somebody else changed the payment meanwhile: look again.
    Moved,
}

impl Cashier {
    pub(super) fn new(
        store: Store,
        provider: Arc<dyn Provider>,
        timeout: Duration,
        env: Env,
        telemetry: Telemetry,
    ) -> Self {
        let gates = Gates::new(&*provider, timeout, &env);
        let flights = Flights::default();
        let (hot_until_us, fresh) = (AtomicI64::new(0), Mutex::default());
        let retries = RetryBudget::new(&env);
        let inner =
            Inner { store, provider, gates, retries, flights, env, telemetry, timeout, hot_until_us, fresh };
        Self { inner: Arc::new(inner) }
    }

    /// Does what is asked, or says what came of it before. Answers by the caller's deadline in any case; what is not
    /// known by then goes on without the caller.
    pub(super) async fn act(&self, context: &Context, ask: Ask) -> Landing {
        let cap = self.inner.timeout + GRACE;
        let patience = time_left(context.deadline, self.inner.env.now(), cap);
        match tokio::time::timeout(patience, self.act_in_turn(context, ask)).await {
            Ok(landing) => landing,
            Err(_) => Ok(unknown("the provider has not answered yet")),
        }
    }

    async fn act_in_turn(&self, context: &Context, ask: Ask) -> Landing {
        loop {
            let flight = match self.inner.flights.board(ask.order_id, &ask.key) {
                Boarding::Mine(seat) => {
                    let flight = seat.listen();
                    let (this, request_id) = (self.clone(), context.request_id.to_string());
                    let scope = Scope::new("payment", context);
                    scope.note_order(ask.order_id);
                    // Boxed: the whole act is ten kilobytes, and on its way into a task it is moved four times.
                    tokio::spawn(scope.run(Box::pin(async move {
                        let landing = this.perform(&ask, Some(request_id), &seat).await;
                        seat.land(landing);
                    })));
                    flight
                }
                Boarding::Twin(flight) => flight,
                Boarding::Busy(flight) => {
                    landed(flight).await;
                    continue;
                }
            };
            return landed(flight).await.unwrap_or_else(|| Ok(unknown("the act ended without a word")));
        }
    }

    /// One act, from what is known to its outcome.
    async fn perform(&self, ask: &Ask, request_id: Option<String>, seat: &Seat) -> Landing {
        let mut entered = None;
        // Nearly always an authorisation is the first thing that is heard of an order: begin without a look.
        if ask.operation == Operation::Authorize {
            match self.inner.gates.enter(ask.operation).await {
                Ok(pass) => match self.begin_unseen(ask, request_id.clone()).await? {
                    Some((record, attempt)) => match self.call(&record, &attempt, false, pass, seat).await {
                        Ended::Known(result) | Ended::Open(result) => return Ok(result),
                        Ended::Moved => {}
                    },
                    None => entered = Some(Ok(pass)),
                },
                Err(turned) => entered = Some(Err(turned)),
            }
        }
        for _ in 0..LOOKS_MAX {
            let known = match self.take_fresh(ask.order_id) {
                Some(known) => Some(known),
                None => self.inner.store.known(ask.order_id).await?,
            };
            let pair = known.as_ref().map(|known| (&known.record, known.attempts.as_slice()));
            let step = match (decide(ask, pair), known) {
                (Decision::Answer(result), _) => return Ok(result),
                (Decision::KeyReused, _) => return Err(key_reused(&ask.key)),
                (Decision::WrongCurrency(currency), _) => {
                    let message = format!("the payment is not in {currency}");
                    return Err(Problem::invalid("/amount/currency", message));
                }
                (Decision::Tombstone, known) => self.let_go_unheld(ask, known).await?,
                (Decision::After(place), Some(known)) => {
                    let gone = self.replay(&known, place, entered.take(), seat).await;
                    match gone {
                        Ended::Open(_) => return Ok(PaymentResult::Unavailable { retry_after_ms: 500 }),
                        Ended::Known(_) | Ended::Moved => None,
                    }
                }
                (Decision::Replay(place), Some(known)) => {
                    ended(self.replay(&known, place, entered.take(), seat).await)
                }
                (Decision::Send(place), Some(known)) => {
                    let pass = match self.pass(entered.take(), ask.operation).await {
                        Ok(pass) => pass,
                        Err(turned) => return Ok(unavailable(turned)),
                    };
                    ended(self.send_after_all(&known, place, pass, seat).await?)
                }
                (Decision::Begin(intent), Some(known)) => {
                    let pass = match self.pass(entered.take(), ask.operation).await {
                        Ok(pass) => pass,
                        Err(turned) => return Ok(unavailable(turned)),
                    };
                    let attempt = self.attempt(&known.record, intent, request_id.clone());
                    match self.inner.store.begin_attempt(&known.record, &attempt).await {
                        Ok(record) => ended(self.call(&record, &attempt, false, pass, seat).await),
                        Err(error) if is_race(&error) => None,
                        Err(error) => return Err(error.into()),
                    }
                }
                (Decision::Begin(_), None) => match entered.take() {
                    Some(Err(turned)) => return Ok(unavailable(turned)),
                    // Somebody made the payment and it is gone again: nobody does that.
                    _ => return Ok(unknown("the payment could not be made")),
                },
                (Decision::After(_) | Decision::Replay(_) | Decision::Send(_), None) => None,
            };
            if let Some(result) = step {
                return Ok(result);
            }
        }
        Ok(unknown("the payment keeps changing"))
    }

    /// The payment and its first attempt in one go; `None` when the order has a payment already.
    async fn begin_unseen(
        &self,
        ask: &Ask,
        request_id: Option<String>,
    ) -> Result<Option<(Record, Attempt)>, Problem> {
        let Decision::Begin(intent) = decide(ask, None) else { return Ok(None) };
        let amount = ask.amount.unwrap_or(Money::zero(crate::vocabulary::Currency::USD));
        let record = self.new_record(ask.order_id, amount, PaymentStatus::Pending);
        let attempt = self.attempt(&record, intent, request_id);
        match self.inner.store.begin_payment(&record, &attempt).await {
            Ok(()) => Ok(Some((record, attempt))),
            Err(error) if is_race(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn new_record(&self, order_id: OrderId, amount: Money, status: PaymentStatus) -> Record {
        let now = self.inner.env.now();
        Record {
            id: self.inner.env.id(),
            order_id,
            amount,
            status,
            authorized: 0,
            captured: 0,
            refunded: 0,
            provider: self.inner.provider.name().to_owned(),
            reference: None,
            version: 1,
            told: 0,
            created_at: now,
            updated_at: now,
        }
    }

    fn attempt(&self, record: &Record, intent: super::model::Intent, request_id: Option<String>) -> Attempt {
        // The resolver leaves it alone while the call may still be under way.
        let patience = self.inner.timeout + Duration::from_secs(1);
        self.inner.store.attempt(record, intent, patience, request_id)
    }

    async fn let_go_unheld(&self, ask: &Ask, known: Option<Known>) -> Result<Option<PaymentResult>, Problem> {
        let currency = self.currency(known.as_ref());
        let written = match known {
            Some(known) => self.inner.store.void_unheld(&known.record).await,
            None => {
                let record = self.new_record(ask.order_id, Money::zero(currency), PaymentStatus::Voided);
                self.inner.store.insert_tombstone(&record).await
            }
        };
        match written {
            Ok(()) => Ok(Some(PaymentResult::Voided { amount: Money::zero(currency) })),
            Err(error) if is_race(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn currency(&self, known: Option<&Known>) -> crate::vocabulary::Currency {
        known.map_or(crate::vocabulary::Currency::USD, |known| known.record.amount.currency)
    }

    async fn pass(
        &self,
        entered: Option<Result<Pass, Turned>>,
        operation: Operation,
    ) -> Result<Pass, Turned> {
        match entered {
            Some(entered) => entered,
            None => self.inner.gates.enter(operation).await,
        }
    }

    /// Sends an attempt again, exactly as it was.
    async fn replay(
        &self,
        known: &Known,
        place: usize,
        entered: Option<Result<Pass, Turned>>,
        seat: &Seat,
    ) -> Ended {
        let Some(attempt) = known.attempts.get(place) else { return Ended::Moved };
        if attempt.state == AttemptState::Lookup {
            return Ended::Open(unknown("the provider failed; its books are being read"));
        }
        if !self.inner.retries.take() {
            self.look_soon();
            return Ended::Open(unknown("it is being found out; enough others ask the provider again"));
        }
        let entered = entered.filter(|_| attempt.operation == Operation::Authorize);
        match self.pass(entered, attempt.operation).await {
            Ok(pass) => self.call(&known.record, attempt, true, pass, seat).await,
            Err(_) => Ended::Open(unknown("the provider does not answer")),
        }
    }

    async fn send_after_all(
        &self,
        known: &Known,
        place: usize,
        pass: Pass,
        seat: &Seat,
    ) -> Result<Ended, Problem> {
        let Some(attempt) = known.attempts.get(place) else { return Ok(Ended::Moved) };
        let next_at = self.inner.env.after(self.inner.timeout + Duration::from_secs(1));
        match self.inner.store.reopen(attempt, next_at).await {
            Ok(()) => Ok(self.call(&known.record, attempt, false, pass, seat).await),
            Err(error) if is_race(&error) => Ok(Ended::Moved),
            Err(error) => Err(error.into()),
        }
    }

    /// Calls the provider for an attempt whose intent is written, and writes the outcome. `may_have_left` says
    /// whether an earlier call of the same attempt may have reached it.
    pub(super) async fn call(
        &self,
        record: &Record,
        attempt: &Attempt,
        may_have_left: bool,
        pass: Pass,
        seat: &Seat,
    ) -> Ended {
        let request = attempt.request(record);
        let (env, operation) = (&self.inner.env, attempt.operation.as_str());
        env.reach(|| format!("provider.{operation}.before")).await;
        let answer = tokio::select! {
            answer = pass.call(self.inner.provider.execute(&request)) => answer,
            // A webhook was faster: the call need not be waited for.
            landing = landed(seat.listen()) => {
                return match landing {
                    Some(Ok(result)) => Ended::Known(result),
                    _ => Ended::Moved,
                };
            }
        };
        let is_lost = env.reach(|| format!("provider.{operation}.after")).await;
        let answer = if is_lost {
            ProviderAnswer::Unknown { reason: "the answer was lost".to_owned(), reached: true }
        } else {
            answer
        };
        let ended = self.conclude(record, attempt, &answer, may_have_left, seat.is_awaited()).await;
        if matches!(ended, Ended::Known(_)) {
            self.inner.retries.succeeded();
        }
        env.reach(|| format!("provider.{operation}.recorded")).await;
        ended
    }

    /// Writes what an answer means. `is_awaited`: the caller hears it, so no event is needed.
    pub(super) async fn conclude(
        &self,
        record: &Record,
        attempt: &Attempt,
        answer: &ProviderAnswer,
        may_have_left: bool,
        is_awaited: bool,
    ) -> Ended {
        let meters = self.inner.telemetry.meters();
        meters.payment_attempt(attempt.operation.as_str(), word(answer));
        let Some(settlement) = settle(record, attempt, answer, may_have_left) else {
            return self.still_unknown(attempt, answer).await;
        };
        if settlement.state == AttemptState::Lookup {
            self.look_soon();
        }
        match self.inner.store.settle(record, attempt, &settlement, !is_awaited).await {
            Ok(after) => {
                note(record, attempt, &settlement);
                self.keep_fresh(after, attempt, &settlement);
                let Settlement { result, follow_up, .. } = settlement;
                if follow_up.is_some() {
                    self.look_soon();
                }
                if result.is_final() { Ended::Known(result) } else { Ended::Open(result) }
            }
            Err(error) if is_race(&error) => Ended::Moved,
            Err(error) => {
                tracing::error!(%error, order_id = %record.order_id, "an outcome could not be written, it will be asked for again");
                self.look_soon();
                Ended::Open(unknown("the outcome could not be written"))
            }
        }
    }

    async fn still_unknown(&self, attempt: &Attempt, answer: &ProviderAnswer) -> Ended {
        let (ProviderAnswer::Unknown { reason, .. } | ProviderAnswer::NotBegun { reason, .. }) = answer
        else {
            return Ended::Moved;
        };
        tracing::warn!(
            operation = attempt.operation.as_str(),
            reason,
            "the outcome of a provider call is not known"
        );
        let tries = u32::try_from(attempt.tries).unwrap_or(u32::MAX);
        let next_at = clock::add(self.inner.env.now(), REPLAYS.pause(tries, &self.inner.env));
        if let Err(error) = self.inner.store.postpone(attempt, next_at).await {
            tracing::warn!(%error, "a replay could not be brought forward, it comes later");
        }
        self.look_soon();
        Ended::Open(unknown(reason))
    }

    fn keep_fresh(&self, record: Record, attempt: &Attempt, settlement: &Settlement) {
        if record.status != PaymentStatus::Authorized || attempt.n != 1 {
            return;
        }
        let outcome = Some(settlement.result.clone());
        let attempt = Attempt { state: settlement.state, outcome, ..attempt.clone() };
        let mut fresh = self.inner.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        // Orders that were held and never taken: none is missed, each costs its next act one look.
        if fresh.len() >= FRESH_MAX {
            fresh.clear();
        }
        fresh.insert(record.order_id, Known { record, attempts: vec![attempt] });
    }

    fn take_fresh(&self, order_id: OrderId) -> Option<Known> {
        self.inner.fresh.lock().unwrap_or_else(PoisonError::into_inner).remove(&order_id)
    }

    /// There is work for the resolver.
    pub(super) fn look_soon(&self) {
        let until = self.inner.env.after(HOT).as_microsecond();
        self.inner.hot_until_us.store(until, Ordering::Relaxed);
    }
}

fn note(record: &Record, attempt: &Attempt, settlement: &Settlement) {
    let operation = attempt.operation.as_str();
    let order_id = record.order_id;
    match &settlement.result {
        PaymentResult::Declined { code, .. } => {
            tracing::info!(%order_id, operation, code, "the provider declined");
        }
        PaymentResult::Unknown { reason } => {
            tracing::warn!(%order_id, operation, reason, "the provider failed, its books will be read");
        }
        PaymentResult::Unavailable { .. } => {
            tracing::warn!(%order_id, operation, "the provider was not reached, nothing happened");
        }
        _ => tracing::debug!(%order_id, operation, "the provider did it"),
    }
}

fn ended(ended: Ended) -> Option<PaymentResult> {
    match ended {
        Ended::Known(result) | Ended::Open(result) => Some(result),
        Ended::Moved => None,
    }
}

fn word(answer: &ProviderAnswer) -> &'static str {
    match answer {
        ProviderAnswer::Done(_) => "done",
        ProviderAnswer::Declined { .. } => "declined",
        ProviderAnswer::NotBegun { .. } => "not_begun",
        ProviderAnswer::Unknown { .. } => "unknown",
        ProviderAnswer::FailedForGood { .. } => "failed",
    }
}

pub(super) fn unknown(reason: impl Into<String>) -> PaymentResult {
    PaymentResult::Unknown { reason: reason.into() }
}

fn unavailable(turned: Turned) -> PaymentResult {
    let ms = u64::try_from(turned.retry_after.as_millis()).unwrap_or(u64::MAX);
    PaymentResult::Unavailable { retry_after_ms: ms.max(1) }
}

fn key_reused(key: &str) -> Problem {
    Problem::new(Code::IdempotencyKeyReused, format!("the key `{key}` was used for another act"))
}

/// Somebody else was faster: nothing was written, and a look at the tables shows what is true now.
pub(super) fn is_race(error: &StorageError) -> bool {
    [NEW_PAYMENT, NEW_ATTEMPT, END_ATTEMPT, CHANGE_PAYMENT]
        .into_iter()
        .any(|name| error.is_expectation(name) || error.is_conflict(name))
        || error.is_conflict(crate::bus::outbox::OUTBOX)
}
