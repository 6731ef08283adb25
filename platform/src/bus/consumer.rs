//! The consumer's loop: receive, decide, write effect and acknowledgement together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::embedded::in_list;
use super::outbox::{OUTBOX, earliest_id};
use super::waiting::{Pause, SWEEP_ROWS, sweep_every};
use super::{Bus, CLAIM, Delivery, INBOX, QueueSpec};
use crate::storage::{Batch, StorageError};
use crate::vocabulary::{Event, Topic};

/// The most messages that one claim takes.
const RECEIVE_MAX: usize = 64;
/// The most handlers that run at once.
const HANDLERS_MAX: usize = 16;
/// How often a consumer looks without being woken: for what another process sent, and for what was delayed.
const POLL: Duration = Duration::from_millis(250);
/// How often a handler is asked again at once because the state it decided on had moved.
const FRESH_TRIES: usize = 3;
/// How long it is remembered that an event was handled.
const KEEP_HANDLED: Duration = Duration::from_secs(24 * 3600);
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Why an event could not be handled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// Not now: it comes back after a while, and becomes a dead letter after the queue's patience ends.
    #[error("{0}")]
    Retry(String),
    /// Never: it becomes a dead letter at once.
    #[error("{0}")]
    Poison(String),
}

impl HandleError {
    /// Not now, because of `why`.
    pub fn retry(why: impl Display) -> Self {
        Self::Retry(why.to_string())
    }

    /// Never, because of `why`.
    pub fn poison(why: impl Display) -> Self {
        Self::Poison(why.to_string())
    }
}

impl From<StorageError> for HandleError {
    fn from(error: StorageError) -> Self {
        Self::Retry(error.to_string())
    }
}

impl Bus {
    /// Consumes `queue` until `stop` is cancelled; what was received by then is finished first.
    ///
    /// `handler` reads what it needs and answers the effects of one event as a batch (empty when it does not care).
    /// The effects, a row in `inbox` (`"notification_inbox"`) and the acknowledgement are written together, so an
    /// event has its effects once, however often it is delivered. Events of different aggregates are handled at the
    /// same time, those of one aggregate one after the other; a handler that decides on what it read must expect it
    /// in its statements: when an expectation or a constraint refuses the effects, the handler is asked again.
    pub async fn consume<H, F>(
        &self,
        queue: &'static str,
        inbox: &'static str,
        stop: CancellationToken,
        handler: H,
    ) -> Result<(), StorageError>
    where
        H: Fn(Event) -> F + Send + Sync,
        F: Future<Output = Result<Batch, HandleError>> + Send,
    {
        let consumer = Consumer { bus: self, queue: self.queue(queue)?, inbox, handler };
        let sweeping = sweep_every(SWEEP_EVERY, self.db(), &stop, || consumer.sweep());
        tokio::join!(consumer.work_until(&stop), sweeping);
        Ok(())
    }

    /// Receives and handles what is due in `queue` now, once: [`Bus::consume`] without the loop, for tests and
    /// simulation. Answers how many messages it received.
    pub async fn consume_due<H, F>(
        &self,
        queue: &'static str,
        inbox: &'static str,
        handler: H,
    ) -> Result<usize, StorageError>
    where
        H: Fn(Event) -> F + Send + Sync,
        F: Future<Output = Result<Batch, HandleError>> + Send,
    {
        Consumer { bus: self, queue: self.queue(queue)?, inbox, handler }.round().await
    }
}

struct Consumer<'bus, H> {
    bus: &'bus Bus,
    queue: QueueSpec,
    inbox: &'static str,
    handler: H,
}

/// A message whose handler answered its effects.
struct Decided {
    delivery: Delivery,
    event: Event,
    effects: Batch,
}

impl<H, F> Consumer<'_, H>
where
    H: Fn(Event) -> F + Send + Sync,
    F: Future<Output = Result<Batch, HandleError>> + Send,
{
    async fn work_until(&self, stop: &CancellationToken) {
        let mut pause = Pause::new();
        while !stop.is_cancelled() {
            match self.round().await {
                Ok(received) => {
                    pause.after_success();
                    if received > 0 {
                        continue;
                    }
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = self.bus.queue_woken(self.queue.name) => {}
                        () = tokio::time::sleep(POLL) => {}
                    }
                }
                Err(error) => {
                    tracing::warn!(queue = self.queue.name, %error, "could not consume, will try again");
                    pause.after_failure(self.bus.env(), stop).await;
                }
            }
        }
    }

    async fn round(&self) -> Result<usize, StorageError> {
        let received = self.bus.transport().receive(self.queue, RECEIVE_MAX).await?;
        let count = received.len();
        if count > 0 {
            self.reach("received").await;
        }
        let mut events = Vec::with_capacity(count);
        for delivery in received {
            if delivery.receives > self.queue.receives_max {
                let reason = format!("received {} times and never answered", delivery.receives - 1);
                self.bury(delivery, reason).await?;
                continue;
            }
            match serde_json::from_str::<Event>(&delivery.body) {
                Ok(event) => events.push((delivery, event)),
                Err(error) => self.bury(delivery, format!("malformed event: {error}")).await?,
            }
        }
        let fresh = self.without_handled(events).await?;
        for turn in turns(fresh) {
            self.turn(turn).await?;
            self.reach("recorded").await;
        }
        Ok(count)
    }

    async fn reach(&self, phase: &str) {
        self.bus.env().reach(|| format!("consumer.{}.{phase}", self.queue.name)).await;
    }

    /// Acknowledges what was handled before, and answers the rest.
    async fn without_handled(
        &self,
        events: Vec<(Delivery, Event)>,
    ) -> Result<Vec<(Delivery, Event)>, StorageError> {
        if events.is_empty() {
            return Ok(events);
        }
        let ids: Vec<Uuid> = events.iter().map(|(delivery, _)| delivery.event_id).collect();
        let (list, params) = in_list(2, &ids);
        let sql = format!("SELECT event_id FROM {} WHERE consumer = $1 AND event_id IN ({list})", self.inbox);
        let rows = self.bus.db().read(&sql, [vec![self.queue.name.into()], params].concat()).await?;
        let handled: BTreeSet<Uuid> = rows.iter().map(|row| row.get("event_id")).collect::<Result<_, _>>()?;
        let (twice, fresh): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|(delivery, _)| handled.contains(&delivery.event_id));
        self.acknowledge(twice.into_iter().map(|(delivery, _)| delivery).collect()).await?;
        Ok(fresh)
    }

    /// Handles events of different aggregates at once, and writes what they decided in one batch if that goes.
    async fn turn(&self, events: Vec<(Delivery, Event)>) -> Result<(), StorageError> {
        let answers: Vec<_> = stream::iter(events)
            .map(|(delivery, event)| async move {
                let answer = self.handle(event.clone()).await;
                (delivery, event, answer)
            })
            .buffered(HANDLERS_MAX)
            .collect()
            .await;
        let mut decided = Vec::with_capacity(answers.len());
        for (delivery, event, answer) in answers {
            match answer {
                Ok(effects) => decided.push(Decided { delivery, event, effects }),
                Err(error) => self.refuse(delivery, error).await?,
            }
        }
        if !decided.is_empty() {
            self.reach("decided").await;
        }
        match decided.len() {
            0 => Ok(()),
            1 => self.settle_alone(decided).await,
            _ => {
                let deliveries = decided.iter().map(|one| one.delivery.clone()).collect::<Vec<_>>();
                let mut effects = Batch::new();
                for one in &decided {
                    effects.append(one.effects.clone());
                }
                let count = deliveries.len() as u64;
                let tells = tells(&effects);
                match self.bus.transport().settle(self.queue, self.inbox, deliveries, effects).await {
                    Ok(()) => {
                        self.handled(count, tells);
                        Ok(())
                    }
                    // One of them is at fault; alone, each stands or falls by itself. If they were written after
                    // all, the claims are gone, and nothing is written twice.
                    Err(_) => self.settle_alone(decided).await,
                }
            }
        }
    }

    async fn settle_alone(&self, decided: Vec<Decided>) -> Result<(), StorageError> {
        let outcomes: Vec<Result<(), StorageError>> =
            stream::iter(decided).map(|one| self.settle(one)).buffer_unordered(HANDLERS_MAX).collect().await;
        outcomes.into_iter().collect()
    }

    async fn settle(&self, decided: Decided) -> Result<(), StorageError> {
        let Decided { delivery, event, mut effects } = decided;
        let mut tries = 0;
        loop {
            let done = vec![delivery.clone()];
            let tells = tells(&effects);
            let outcome = self.bus.transport().settle(self.queue, self.inbox, done, effects).await;
            let Err(error) = outcome else {
                self.handled(1, tells);
                return Ok(());
            };
            if error.is_expectation(CLAIM) {
                // Handling took longer than the visibility: whoever has it now writes the effects.
                tracing::warn!(queue = self.queue.name, event = %event.id, "lost the claim on a message");
                return Ok(());
            }
            if error.is_conflict(INBOX) {
                return self.acknowledge(vec![delivery]).await;
            }
            tries += 1;
            // Also an outage counts as a failure of this message: it may be the cause, by a statement that takes
            // too long. When the storage is really away, it cannot be given back either, and that is told.
            if tries >= FRESH_TRIES || !is_stale(&error) {
                return self.refuse(delivery, HandleError::retry(error)).await;
            }
            match self.handle(event.clone()).await {
                Ok(fresh) => effects = fresh,
                Err(error) => return self.refuse(delivery, error).await,
            }
        }
    }

    async fn handle(&self, event: Event) -> Result<Batch, HandleError> {
        match tokio::time::timeout(self.queue.visibility, (self.handler)(event)).await {
            Ok(answer) => answer,
            Err(_) => Err(HandleError::retry("the handler took longer than the message stays claimed")),
        }
    }

    async fn refuse(&self, delivery: Delivery, error: HandleError) -> Result<(), StorageError> {
        match error {
            HandleError::Retry(reason) if delivery.receives < self.queue.receives_max => {
                let longest = self.queue.back_off(delivery.receives);
                let pause = longest / 2 + self.bus.env().jitter(longest / 2);
                tracing::debug!(queue = self.queue.name, event = %delivery.event_id, reason, "will try again");
                self.bus.transport().give_back(self.queue, delivery, pause, reason).await?;
                self.count(|counters| &counters.retried, 1);
                Ok(())
            }
            HandleError::Retry(reason) | HandleError::Poison(reason) => self.bury(delivery, reason).await,
        }
    }

    async fn bury(&self, delivery: Delivery, reason: String) -> Result<(), StorageError> {
        tracing::error!(queue = self.queue.name, event = %delivery.event_id, reason, "a message became a dead letter");
        match self.bus.transport().bury(self.queue, delivery, reason).await {
            Ok(()) => {
                self.count(|counters| &counters.buried, 1);
                Ok(())
            }
            Err(error) if error.is_expectation(CLAIM) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn acknowledge(&self, twice: Vec<Delivery>) -> Result<(), StorageError> {
        if twice.is_empty() {
            return Ok(());
        }
        let count = twice.len() as u64;
        self.bus.transport().acknowledge(self.queue, twice).await?;
        self.count(|counters| &counters.duplicates, count);
        Ok(())
    }

    /// Counts, and wakes the service's own relay when the effects tell others.
    fn handled(&self, count: u64, tells: bool) {
        self.count(|counters| &counters.handled, count);
        let service = self.inbox.trim_end_matches("_inbox");
        if tells && let Some(topic) = Topic::ALL.into_iter().find(|topic| topic.as_str() == service) {
            self.bus.wake(topic);
        }
    }

    fn count(&self, counter: impl Fn(&super::Counters) -> &std::sync::atomic::AtomicU64, by: u64) {
        counter(self.bus.counters()).fetch_add(by, std::sync::atomic::Ordering::Relaxed);
    }

    /// Forgets what was handled long ago, unless a copy of it waits or could be redriven.
    fn sweep(&self) -> Batch {
        let inbox = self.inbox;
        let mut batch = Batch::new();
        batch.run(
            format!(
                "DELETE FROM {inbox} WHERE consumer = $1 AND event_id IN (
                   SELECT i.event_id FROM {inbox} i WHERE i.consumer = $1 AND i.event_id < $2
                     AND i.event_id NOT IN (SELECT event_id FROM bus_dead_letters WHERE queue = $1)
                     AND i.event_id NOT IN (SELECT event_id FROM bus_messages WHERE queue = $1)
                   ORDER BY i.event_id LIMIT $3)"
            ),
            vec![
                self.queue.name.into(),
                earliest_id(self.bus.env().now(), KEEP_HANDLED).into(),
                SWEEP_ROWS.into(),
            ],
        );
        batch
    }
}

/// Whether a batch writes into an outbox.
fn tells(effects: &Batch) -> bool {
    effects.statements.iter().any(|statement| statement.name == OUTBOX)
}

/// Whether the handler decided on what is no longer so, and may decide otherwise now.
fn is_stale(error: &StorageError) -> bool {
    matches!(error, StorageError::Expectation { .. } | StorageError::Conflict { .. })
}

/// The first event of every aggregate, then the second of every aggregate, and so on.
fn turns(mut events: Vec<(Delivery, Event)>) -> Vec<Vec<(Delivery, Event)>> {
    events.sort_by_key(|(_, event)| event.aggregate_seq);
    let mut next: BTreeMap<Uuid, usize> = BTreeMap::new();
    let mut turns: Vec<Vec<(Delivery, Event)>> = Vec::new();
    for (delivery, event) in events {
        let turn = next.entry(event.aggregate).or_insert(0);
        if turns.len() == *turn {
            turns.push(Vec::new());
        }
        turns[*turn].push((delivery, event));
        *turn += 1;
    }
    turns
}
