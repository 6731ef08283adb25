//! The provider's webhooks: believed, stored, answered, and only then thought about.
//!
//! Nearly all of them say what is known already, so they are stored in groups, and those that add nothing are marked
//! as processed in the same batch. The rest wait in the table until they can be made sense of: one that is early for
//! its payment is not dropped.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::cashier::Cashier;
use super::client::PaymentStatus;
use super::model::{AttemptState, Operation, Record};
use super::provider::{Notice, ProviderAnswer, Snapshot, Stage};
use super::store::Known;
use super::store::rows::record_of;
use crate::resilience::retry::Backoff;
use crate::storage::{Batch, StorageError, Value, places};
use crate::vocabulary::{OrderId, clock};

/// Webhooks stored at once.
const GROUP_MAX: usize = 64;
/// How long webhooks gather. Nobody waits for them, and the outcome that most of them tell of is being written.
const GATHER: Duration = Duration::from_millis(10);
const WAITING_MAX: usize = 1024;
const POLL: Duration = Duration::from_secs(1);
const AGAIN: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(3600));
/// One that nobody could make sense of for so many tries (about a week) is given up, loudly.
const TRIES_MAX: i64 = 180;
/// How long processed ones are remembered, so that a late twin is known.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
const SWEEP_EVERY: Duration = Duration::from_secs(300);

/// One that was believed and waits to be stored.
pub(super) struct Received {
    pub(super) notice: Notice,
    pub(super) raw: String,
    pub(super) stored: oneshot::Sender<Result<(), StorageError>>,
}

/// The way in for webhooks. Cheap to clone.
#[derive(Clone)]
pub(super) struct Letterbox {
    letters: mpsc::Sender<Received>,
}

impl Letterbox {
    /// The way in, and what empties it.
    pub(super) fn new() -> (Self, mpsc::Receiver<Received>) {
        let (letters, received) = mpsc::channel(WAITING_MAX);
        (Self { letters }, received)
    }

    /// Answers once the webhook is stored.
    pub(super) async fn store(&self, notice: Notice, raw: String) -> Result<(), StorageError> {
        let (stored, answer) = oneshot::channel();
        let closed = || StorageError::Unavailable("webhooks are not taken any more".to_owned());
        self.letters.send(Received { notice, raw, stored }).await.map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// Stores and processes until told to stop.
pub(super) async fn run(cashier: Cashier, letters: mpsc::Receiver<Received>, stop: CancellationToken) {
    let news = Arc::new(Notify::new());
    tokio::join!(
        store_all(&cashier, letters, &news, &stop),
        process_all(&cashier, &news, &stop),
        sweep(&cashier, &stop),
    );
}

async fn store_all(
    cashier: &Cashier,
    mut letters: mpsc::Receiver<Received>,
    news: &Notify,
    stop: &CancellationToken,
) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    loop {
        let first = tokio::select! {
            first = letters.recv() => first,
            () = stop.cancelled() => return,
        };
        let Some(first) = first else { return };
        group.push(first);
        tokio::time::sleep(GATHER).await;
        while group.len() < GROUP_MAX
            && let Ok(next) = letters.try_recv()
        {
            group.push(next);
        }
        let outcome = cashier.store_webhooks(&group).await;
        if matches!(outcome, Ok(more) if more > 0) {
            news.notify_one();
        }
        for received in group.drain(..) {
            // The provider may have gone; it will send again what it did not hear was stored.
            received.stored.send(outcome.clone().map(drop)).ok();
        }
    }
}

async fn process_all(cashier: &Cashier, news: &Notify, stop: &CancellationToken) {
    loop {
        match cashier.process_webhooks().await {
            Ok(GROUP_MAX) => continue,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "webhooks could not be processed, will try again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = news.notified() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

async fn sweep(cashier: &Cashier, stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        if let Err(error) = cashier.forget_webhooks().await {
            tracing::warn!(%error, "old webhooks could not be forgotten");
        }
    }
}

impl Cashier {
    /// Stores a group in one batch; answers how many of them must be thought about.
    async fn store_webhooks(&self, group: &[Received]) -> Result<usize, StorageError> {
        let store = &self.inner.store;
        let orders: HashSet<OrderId> = group.iter().filter_map(|received| received.notice.order_id).collect();
        let records = self.records(orders).await?;
        let now = self.inner.env.now();
        let mut seen = HashSet::new();
        let mut rows: Vec<Vec<Value>> = Vec::with_capacity(group.len());
        let mut more = 0;
        for received in group {
            let notice = &received.notice;
            if !seen.insert(notice.event_id.as_str()) {
                continue;
            }
            let record = notice.order_id.and_then(|order_id| records.get(&order_id));
            let known = record.is_some_and(|record| adds_nothing(record, notice));
            more += usize::from(!known);
            rows.push(vec![
                notice.event_id.as_str().into(),
                notice.kind.as_str().into(),
                (!known).then(|| received.raw.clone()).into(),
                now.into(),
                known.then_some(now).into(),
                0i64.into(),
                now.into(),
            ]);
        }
        let mut batch = Batch::new();
        batch.insert_many(
            "INSERT INTO payment_webhooks (event_id, kind, raw, received_at, processed_at, tries, next_at)",
            rows,
            "ON CONFLICT (event_id) DO NOTHING",
        );
        store.db.write(batch).await?;
        Ok(more)
    }

    async fn records(&self, orders: HashSet<OrderId>) -> Result<HashMap<OrderId, Record>, StorageError> {
        let mut records = HashMap::with_capacity(orders.len());
        if orders.is_empty() {
            return Ok(records);
        }
        // Few lengths, so that few statements are prepared: the list is filled up with its first.
        let mut wanted: Vec<OrderId> = orders.into_iter().collect();
        let length = [1, 4, 16, 64].into_iter().find(|length| *length >= wanted.len()).unwrap_or(GROUP_MAX);
        wanted.resize(length, wanted[0]);
        let sql = format!("SELECT * FROM payments WHERE order_id IN ({})", places(1, length));
        let params = wanted.into_iter().map(Value::from).collect();
        for row in self.inner.store.db.read(&sql, params).await? {
            let record = record_of(&row)?;
            records.insert(record.order_id, record);
        }
        Ok(records)
    }

    /// Thinks about what is stored and due; answers how many there were.
    async fn process_webhooks(&self) -> Result<usize, StorageError> {
        let limit = i64::try_from(GROUP_MAX).unwrap_or(64);
        let rows = self
            .inner
            .store
            .db
            .read(
                "SELECT event_id, raw, tries FROM payment_webhooks
                 WHERE processed_at IS NULL AND next_at <= $1 ORDER BY next_at LIMIT $2",
                vec![self.inner.env.now().into(), limit.into()],
            )
            .await?;
        let mut batch = Batch::new();
        for row in &rows {
            let (event_id, tries): (String, i64) = (row.get("event_id")?, row.get("tries")?);
            let raw = row.get::<Option<String>>("raw")?.unwrap_or_default();
            let processed = match self.inner.provider.read(raw.as_bytes()) {
                Ok(notice) => self.process(&notice).await?,
                Err(error) => {
                    tracing::error!(%error, event_id, "a stored webhook cannot be read any more");
                    true
                }
            };
            let now = self.inner.env.now();
            if processed || tries >= TRIES_MAX {
                if !processed {
                    tracing::error!(event_id, "a webhook about a payment that nobody knows is given up");
                }
                batch.run(
                    "UPDATE payment_webhooks SET processed_at = $2, raw = NULL WHERE event_id = $1",
                    vec![event_id.into(), now.into()],
                );
            } else {
                let attempt = u32::try_from(tries).unwrap_or(u32::MAX);
                let next_at = clock::add(now, AGAIN.pause(attempt, &self.inner.env));
                batch.run(
                    "UPDATE payment_webhooks SET tries = tries + 1, next_at = $2 WHERE event_id = $1",
                    vec![event_id.into(), next_at.into()],
                );
            }
        }
        self.inner.store.db.write(batch).await?;
        Ok(rows.len())
    }

    /// Whether the webhook needs no more thought.
    async fn process(&self, notice: &Notice) -> Result<bool, StorageError> {
        // An event about nothing of ours.
        let Some(order_id) = notice.order_id else { return Ok(true) };
        let Some(known) = self.inner.store.known(order_id).await? else { return Ok(false) };
        if adds_nothing(&known.record, notice) {
            return Ok(true);
        }
        let Some(attempt) = known.attempts.iter().find(|attempt| attempt.state.is_unknown()) else {
            return self.process_stray(&known, notice).await;
        };
        if let Some(answer) = notice.snapshot.as_ref().and_then(|snapshot| proof(attempt.operation, snapshot))
        {
            let ended = self.conclude(&known.record, attempt, &answer, true, false).await;
            if let super::cashier::Ended::Known(result) = ended {
                self.inner.flights.tell(order_id, &attempt.act_key, &result);
                return Ok(true);
            }
            return Ok(false);
        }
        // It says that something happened, not that our act did: ask now, instead of later.
        self.inner.store.postpone(attempt, self.inner.env.now()).await?;
        self.look_soon();
        Ok(true)
    }

    /// Money is held for an order that does not want it: let it go.
    async fn process_stray(&self, known: &Known, notice: &Notice) -> Result<bool, StorageError> {
        let Some(snapshot) = &notice.snapshot else { return Ok(true) };
        let unwanted = matches!(known.record.status, PaymentStatus::Failed | PaymentStatus::Voided)
            || known.record.reference.as_deref().is_some_and(|reference| reference != snapshot.reference);
        let handled = known.attempts.iter().any(|attempt| {
            attempt.operation == Operation::Void
                && attempt.state == AttemptState::Done
                && attempt.reference.as_deref() == Some(&snapshot.reference)
        });
        if handled || snapshot.stage != Stage::Held || !unwanted {
            if snapshot.stage == Stage::Taken {
                tracing::error!(order_id = %known.record.order_id, "the provider took money that the books do not have: reconcile");
            }
            return Ok(true);
        }
        tracing::warn!(order_id = %known.record.order_id, "money is held that nobody wants, it is let go");
        let intent = super::model::Intent {
            n: known.attempts.last().map_or(1, |attempt| attempt.n + 1),
            operation: Operation::Void,
            act_key: format!("stray:{}", snapshot.reference),
            idem_key: format!("stray:{}", snapshot.reference),
            amount: snapshot.held,
            payment_method: None,
            reference: Some(snapshot.reference.clone()),
        };
        let attempt = self.inner.store.attempt(&known.record, intent, Duration::ZERO, None);
        match self.inner.store.begin_attempt(&known.record, &attempt).await {
            Ok(_) => {
                self.look_soon();
                Ok(true)
            }
            Err(error) if super::cashier::is_race(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn forget_webhooks(&self) -> Result<(), StorageError> {
        let now = self.inner.env.now();
        let us = i64::try_from(KEPT.as_micros()).unwrap_or(i64::MAX);
        let before = crate::vocabulary::Timestamp::from_microsecond(now.as_microsecond().saturating_sub(us));
        let mut batch = Batch::new();
        batch.run(
            "DELETE FROM payment_webhooks WHERE processed_at < $1",
            vec![before.unwrap_or(crate::vocabulary::Timestamp::UNIX_EPOCH).into()],
        );
        self.inner.store.db.write(batch).await.map(drop)
    }
}

/// Whether the payment's books already have what the webhook tells.
fn adds_nothing(record: &Record, notice: &Notice) -> bool {
    use PaymentStatus::{Authorized, Captured, Failed, PartiallyRefunded, Refunded, Voided};
    if let Some(refunded) = notice.refunded {
        return record.refunded >= refunded;
    }
    let Some(snapshot) = &notice.snapshot else { return true };
    let ours = record.reference.as_deref() == Some(&snapshot.reference);
    match snapshot.stage {
        Stage::Held => {
            ours && matches!(record.status, Authorized | Captured | PartiallyRefunded | Refunded | Voided)
        }
        Stage::Taken => ours && matches!(record.status, Captured | PartiallyRefunded | Refunded),
        Stage::Canceled => matches!(record.status, Voided | Failed),
        Stage::Waiting => record.status != PaymentStatus::Pending,
    }
}

/// What a snapshot proves about an open act. Only what cannot be undone later proves anything, since webhooks may be
/// late.
fn proof(operation: Operation, snapshot: &Snapshot) -> Option<ProviderAnswer> {
    match (operation, snapshot.stage) {
        (Operation::Authorize, Stage::Held)
        | (Operation::Capture, Stage::Taken)
        | (Operation::Void, Stage::Canceled) => Some(ProviderAnswer::Done(snapshot.clone())),
        (Operation::Authorize, Stage::Waiting) => {
            let (code, message) = snapshot.declined.clone()?;
            Some(ProviderAnswer::Declined { code, message, reference: Some(snapshot.reference.clone()) })
        }
        _ => None,
    }
}
