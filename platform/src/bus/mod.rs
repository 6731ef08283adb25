//! Messages between services, with the semantics of SNS and SQS.
//!
//! A topic fans out to the queues that subscribe to it. Delivery is at least once and in no promised order: a message
//! that was received is invisible for a while, comes back when nobody acknowledged it, and becomes a dead letter after
//! too many receives. Events leave a service through its [`outbox`]; a consumer's effects, the inbox row that makes a
//! second delivery harmless, and the acknowledgement are one batch.
//!
//! ```text
//! batch { state, outbox row } ─▶ Relay ─▶ queue ─▶ consumer ─▶ batch { effects, inbox row, acknowledgement }
//!                                            └─ after N receives ─▶ dead letters ─▶ redrive | discard
//! ```
//!
//! # Adding one
//! A bus is one file that implements [`Transport`] and one constructor of [`Bus`]; the conformance suite
//! (`tests/it/buses.rs`) then runs on it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::storage::{Batch, Db, Migration, StorageError};
use crate::vocabulary::{Env, Topic};

pub mod consumer;
pub mod dead_letters;
pub mod embedded;
pub mod faults;
pub mod outbox;
mod waiting;

pub use consumer::HandleError;
pub use dead_letters::{DeadLetter, DeadLetterFilter, Redrive};
pub use faults::BusFaults;
pub use outbox::{OutboxHealth, Outgoing, Relay};

/// The tables of the embedded bus.
pub const MIGRATIONS: &[Migration] = &[Migration {
    service: "bus",
    version: 1,
    name: "queues",
    sql: include_str!("../../migrations/bus/0001_queues.sql"),
    sqlite: "",
    postgres: "",
}];

/// The name of the statement that marks outbox rows as published: it fails when another relay was faster.
pub const MARK: &str = "bus_mark";
/// The name of the statement that acknowledges: it fails when the claim was lost to another consumer.
pub const CLAIM: &str = "bus_claim";
/// The name of the statement that notes an event as handled: it conflicts when it already was.
pub const INBOX: &str = "bus_inbox";

/// A queue: who it is for, and how patient it is.
#[derive(Clone, Copy, Debug)]
pub struct QueueSpec {
    /// Its name, and the name of its consumer.
    pub name: &'static str,
    /// The topics whose events it gets.
    pub topics: &'static [Topic],
    /// Of these, only events of these kinds, unless empty: what a consumer would only pass over costs a write and
    /// a read each.
    pub kinds: &'static [&'static str],
    /// A message that was received this often without success becomes a dead letter.
    pub receives_max: i64,
    /// How long a received message stays invisible, and so how long handling it may take.
    pub visibility: Duration,
}

impl QueueSpec {
    /// Whether an event of `kind` on `topic` goes into this queue.
    #[must_use]
    pub fn hears(&self, topic: &str, kind: &str) -> bool {
        self.topics.iter().any(|known| known.as_str() == topic)
            && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }

    /// How long a message waits after its `receives`-th receive failed: doubles from a thirtieth of the visibility
    /// (1 s for 30 s) up to ten times the visibility.
    #[must_use]
    pub fn back_off(&self, receives: i64) -> Duration {
        let doublings = u32::try_from(receives.clamp(1, 12) - 1).unwrap_or(0);
        (self.visibility / 30 * 2u32.pow(doublings)).min(self.visibility * 10)
    }
}

/// One message as a consumer received it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub id: Uuid,
    /// Proves the claim; another receive makes it worthless.
    pub receipt: Uuid,
    /// The event's id, by which duplicates are known.
    pub event_id: Uuid,
    /// Whom it happened to.
    pub aggregate: Uuid,
    /// Its place among the aggregate's events.
    pub aggregate_seq: i64,
    /// How often it was received, this time included.
    pub receives: i64,
    /// The event as JSON; may be malformed.
    pub body: String,
}

/// What every bus does. Implementation: [`embedded`].
pub trait Transport: Send + Sync + 'static {
    /// Puts `events` into every queue that subscribes to their topics and marks them in `outbox`. Fails with the
    /// expectation [`MARK`] when another relay published one of them meanwhile. Answers the queues.
    fn publish(
        &self,
        outbox: &'static str,
        events: Vec<Outgoing>,
    ) -> BoxFuture<'_, Result<Vec<&'static str>, StorageError>>;
    /// Puts a body of any shape into a queue: how a test or a fault switch makes a poison message.
    fn inject(&self, queue: QueueSpec, body: serde_json::Value) -> BoxFuture<'_, Result<(), StorageError>>;
    /// Claims up to `max` messages that are due.
    fn receive(&self, queue: QueueSpec, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>, StorageError>>;
    /// Writes `effects`, an inbox row for each of `done` in `inbox`, and acknowledges them: all or nothing.
    fn settle(
        &self,
        queue: QueueSpec,
        inbox: &'static str,
        done: Vec<Delivery>,
        effects: Batch,
    ) -> BoxFuture<'_, Result<(), StorageError>>;
    /// Acknowledges messages whose events were handled before.
    fn acknowledge(&self, queue: QueueSpec, done: Vec<Delivery>) -> BoxFuture<'_, Result<(), StorageError>>;
    /// Makes a message visible again after `pause`.
    fn give_back(
        &self,
        queue: QueueSpec,
        delivery: Delivery,
        pause: Duration,
        reason: String,
    ) -> BoxFuture<'_, Result<(), StorageError>>;
    /// Moves a message to the dead letters.
    fn bury(
        &self,
        queue: QueueSpec,
        delivery: Delivery,
        reason: String,
    ) -> BoxFuture<'_, Result<(), StorageError>>;
    /// The dead letters that `filter` names, oldest first, from after `after` on.
    fn dead_letters(
        &self,
        filter: DeadLetterFilter,
        after: Option<Uuid>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeadLetter>, StorageError>>;
    /// Puts a dead letter back into its queue after `pause`; answers whether it was still dead.
    fn redrive(&self, letter: Uuid, pause: Duration) -> BoxFuture<'_, Result<bool, StorageError>>;
    /// Gives a dead letter up, with the reason; answers whether it was still dead.
    fn discard(&self, letter: Uuid, reason: String) -> BoxFuture<'_, Result<bool, StorageError>>;
    /// What waits in every queue.
    fn queues(&self) -> BoxFuture<'_, Result<Vec<QueueHealth>, StorageError>>;
}

/// What waits in one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueHealth {
    /// The queue.
    pub name: String,
    /// Messages that are not acknowledged.
    pub depth: i64,
    /// Those of them that a consumer holds, or that wait for another try.
    pub invisible: i64,
    /// The age of the oldest message; zero when there is none.
    pub oldest: Duration,
    /// Dead letters that were neither redriven nor discarded.
    pub dead: i64,
}

/// What the bus tells of itself, for metrics and the operations page.
#[derive(Clone, Debug)]
pub struct BusHealth {
    /// Every queue.
    pub queues: Vec<QueueHealth>,
    /// Every outbox whose relay runs in this process.
    pub outboxes: Vec<OutboxHealth>,
    /// What happened in this process since it started.
    pub counts: BusCounts,
}

/// Counts since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusCounts {
    /// Events that left an outbox.
    pub published: u64,
    /// Messages that were handled.
    pub handled: u64,
    /// Messages whose event had been handled before.
    pub duplicates: u64,
    /// Messages that were given back for another try.
    pub retried: u64,
    /// Messages that became dead letters.
    pub buried: u64,
}

#[derive(Debug, Default)]
struct Counters {
    published: AtomicU64,
    handled: AtomicU64,
    duplicates: AtomicU64,
    retried: AtomicU64,
    buried: AtomicU64,
}

struct Shared {
    transport: Arc<dyn Transport>,
    db: Db,
    env: Env,
    queues: Vec<(QueueSpec, Notify)>,
    outboxes_woken: [Notify; Topic::ALL.len()],
    outboxes: Mutex<Vec<&'static str>>,
    counters: Counters,
    faults: Arc<Mutex<BusFaults>>,
}

/// The shop's messages. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("db", &self.shared.db).finish_non_exhaustive()
    }
}

impl Bus {
    /// A bus that lives in `db`, beside the services' tables, with these queues. Needs [`MIGRATIONS`].
    #[must_use]
    pub fn embedded(db: Db, env: Env, queues: &[QueueSpec]) -> Self {
        let faults = Arc::default();
        let transport =
            embedded::Embedded::new(db.clone(), env.clone(), queues.to_vec(), Arc::clone(&faults));
        Self {
            shared: Arc::new(Shared {
                transport: Arc::new(transport),
                db,
                env,
                queues: queues.iter().map(|queue| (*queue, Notify::new())).collect(),
                outboxes_woken: Default::default(),
                outboxes: Mutex::default(),
                counters: Counters::default(),
                faults,
            }),
        }
    }

    /// Tells the relay of `topic` in this process that its outbox has news; call it after the commit. Forgetting it
    /// costs a second, nothing more.
    pub fn wake(&self, topic: Topic) {
        self.shared.outboxes_woken[topic as usize].notify_one();
    }

    /// Puts a body of any shape into `queue`: a poison message, for a test or a drill.
    pub async fn inject(&self, queue: &str, body: serde_json::Value) -> Result<(), StorageError> {
        let spec = self.queue(queue)?;
        self.transport().inject(spec, body).await?;
        self.wake_queue(spec.name);
        Ok(())
    }

    /// What waits where, and what was done.
    pub async fn health(&self) -> Result<BusHealth, StorageError> {
        let tables = self.lock_outboxes().clone();
        let mut outboxes = Vec::with_capacity(tables.len());
        for table in tables {
            outboxes.push(outbox::waiting(self, table).await?);
        }
        Ok(BusHealth { queues: self.transport().queues().await?, outboxes, counts: self.counts() })
    }

    /// Counts since the process started.
    #[must_use]
    pub fn counts(&self) -> BusCounts {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BusCounts {
            published: read(&counters.published),
            handled: read(&counters.handled),
            duplicates: read(&counters.duplicates),
            retried: read(&counters.retried),
            buried: read(&counters.buried),
        }
    }

    /// The faults that are switched on.
    #[must_use]
    pub fn faults(&self) -> BusFaults {
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Switches faults on, for what is published from now on; the default switches them off.
    pub fn set_faults(&self, faults: BusFaults) {
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    fn transport(&self) -> &dyn Transport {
        self.shared.transport.as_ref()
    }

    fn db(&self) -> &Db {
        &self.shared.db
    }

    fn env(&self) -> &Env {
        &self.shared.env
    }

    fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    fn queue(&self, name: &str) -> Result<QueueSpec, StorageError> {
        let known = self.shared.queues.iter().find(|(queue, _)| queue.name == name);
        known
            .map(|(queue, _)| *queue)
            .ok_or_else(|| StorageError::Invalid(format!("there is no queue `{name}`")))
    }

    async fn publish(&self, outbox: &'static str, events: Vec<Outgoing>) -> Result<(), StorageError> {
        let count = events.len() as u64;
        for queue in self.transport().publish(outbox, events).await? {
            self.wake_queue(queue);
        }
        self.counters().published.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    fn know_outbox(&self, table: &'static str) {
        let mut known = self.lock_outboxes();
        if !known.contains(&table) {
            known.push(table);
        }
    }

    fn lock_outboxes(&self) -> std::sync::MutexGuard<'_, Vec<&'static str>> {
        self.shared.outboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn outbox_woken(&self, topic: Option<Topic>) {
        match topic {
            Some(topic) => self.shared.outboxes_woken[topic as usize].notified().await,
            None => std::future::pending().await,
        }
    }

    fn wake_queue(&self, name: &str) {
        if let Some((_, woken)) = self.shared.queues.iter().find(|(queue, _)| queue.name == name) {
            woken.notify_one();
        }
    }

    async fn queue_woken(&self, name: &str) {
        match self.shared.queues.iter().find(|(queue, _)| queue.name == name) {
            Some((_, woken)) => woken.notified().await,
            None => std::future::pending().await,
        }
    }
}
