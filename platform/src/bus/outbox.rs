//! The transactional outbox: an event is written in the batch that makes it true, and a relay publishes it afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Bus;
use super::waiting::{Pause, SWEEP_ROWS, sweep_every};
use crate::storage::{Batch, JsonText, Row, StorageError, Value};
use crate::vocabulary::{Event, Timestamp, Topic, clock};

/// The most events that one batch publishes.
const PUBLISH_MAX: usize = 100;
/// How long a relay lets events gather after it was woken: nobody waits for an event, and fuller batches cost less.
const GATHER: Duration = Duration::from_millis(4);
/// How often a relay looks without being woken: another process may have written.
const POLL: Duration = Duration::from_secs(1);
/// How long published rows stay readable.
const KEEP_PUBLISHED: Duration = Duration::from_secs(3600);
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The DDL of a service's `<service>_outbox` and `<service>_inbox`, the same for all services: a literal for a
/// [`crate::storage::Migration`]'s `sql`.
#[macro_export]
macro_rules! message_tables {
    ($service:literal) => {
        concat!(
            "CREATE TABLE ",
            $service,
            "_outbox (
  id uuid NOT NULL PRIMARY KEY,
  topic text NOT NULL,
  kind text NOT NULL,
  aggregate uuid NOT NULL,
  aggregate_seq bigint NOT NULL,
  request_id text,
  traceparent text,
  payload jsonb NOT NULL,
  at timestamptz NOT NULL,
  published_at timestamptz,
  UNIQUE (topic, aggregate, aggregate_seq)
);
CREATE INDEX ",
            $service,
            "_outbox_unpublished ON ",
            $service,
            "_outbox (at, aggregate_seq) WHERE published_at IS NULL;
CREATE TABLE ",
            $service,
            "_inbox (
  consumer text NOT NULL,
  event_id uuid NOT NULL,
  handled_at timestamptz NOT NULL,
  PRIMARY KEY (consumer, event_id)
);
"
        )
    };
}

/// The name of the statement that appends: it conflicts when the aggregate has an event with that number.
pub const OUTBOX: &str = "outbox";

/// Adds `event` to `batch` as a row of `table` (`"order_outbox"`). After the batch is written, call [`Bus::wake`].
/// A second event with the same place in its aggregate is a conflict named [`OUTBOX`].
pub fn append(batch: &mut Batch, table: &'static str, event: &Event) {
    batch.one(
        OUTBOX,
        format!(
            "INSERT INTO {table} (id, topic, kind, aggregate, aggregate_seq, request_id, traceparent, payload, at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        ),
        vec![
            event.id.into(),
            event.topic.as_str().into(),
            event.kind.as_str().into(),
            event.aggregate.into(),
            event.aggregate_seq.into(),
            event.request_id.clone().into(),
            event.traceparent.clone().into(),
            JsonText::of(&event.data).into(),
            event.at.into(),
        ],
    );
}

const HEADS: &str = "WHERE aggregate_seq = first_seq";

struct Round {
    published: usize,
    /// Whether another round would find something at once.
    more: bool,
}

/// A row of an outbox on its way out. The topic stays text: a row that another binary wrote must not stop the relay.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The event's id.
    pub id: Uuid,
    /// The topic's name.
    pub topic: String,
    /// The event's kind.
    pub kind: String,
    /// Whom it happened to.
    pub aggregate: Uuid,
    /// Its place among the aggregate's events.
    pub aggregate_seq: i64,
    /// The event as JSON.
    pub body: JsonText,
}

/// A [`crate::vocabulary::Event`] as it is told: its facts pass through as they were written.
#[derive(serde::Serialize)]
struct Told<'row> {
    id: Uuid,
    topic: &'row str,
    kind: &'row str,
    aggregate: Uuid,
    aggregate_seq: i64,
    at: Timestamp,
    request_id: Option<String>,
    traceparent: Option<String>,
    data: &'row serde_json::value::RawValue,
}

impl Outgoing {
    fn from_row(row: &Row) -> Result<Self, StorageError> {
        let id: Uuid = row.get("id")?;
        let topic: String = row.get("topic")?;
        let kind: String = row.get("kind")?;
        let aggregate: Uuid = row.get("aggregate")?;
        let aggregate_seq: i64 = row.get("aggregate_seq")?;
        let JsonText(data) = row.get("payload")?;
        let body = JsonText::of(&Told {
            id,
            topic: &topic,
            kind: &kind,
            aggregate,
            aggregate_seq,
            at: row.get("at")?,
            request_id: row.get("request_id")?,
            traceparent: row.get("traceparent")?,
            data: serde_json::from_str(&data)
                .map_err(|error| StorageError::Invalid(format!("event {id} holds no JSON: {error}")))?,
        });
        Ok(Self { id, topic, kind, aggregate, aggregate_seq, body })
    }
}

/// Publishes a service's outbox, each aggregate strictly in order. Two relays of one service (two replicas) are safe:
/// the rows are marked in the batch that publishes them, and the second to mark writes nothing.
#[derive(Clone, Debug)]
pub struct Relay {
    bus: Bus,
    topic: Option<Topic>,
    table: &'static str,
}

impl Relay {
    /// The relay of `table` (`"order_outbox"`), woken by [`Bus::wake`] with the topic of the table's service.
    #[must_use]
    pub fn new(bus: &Bus, table: &'static str) -> Self {
        bus.know_outbox(table);
        let topic =
            Topic::ALL.into_iter().find(|topic| table.strip_suffix("_outbox") == Some(topic.as_str()));
        Self { bus: bus.clone(), topic, table }
    }

    /// Works until `stop` is cancelled, then publishes what is left and returns.
    pub async fn run(self, stop: CancellationToken) {
        let sweeping = sweep_every(SWEEP_EVERY, self.bus.db(), &stop, || self.sweep());
        tokio::join!(self.publish_until(&stop), sweeping);
        if let Err(error) = self.drain().await {
            self.tell(&error);
        }
    }

    async fn publish_until(&self, stop: &CancellationToken) {
        let mut pause = Pause::new();
        while !stop.is_cancelled() {
            let round = match self.publish_due().await {
                Ok(round) => round,
                Err(error) => {
                    self.tell(&error);
                    pause.after_failure(self.bus.env(), stop).await;
                    continue;
                }
            };
            pause.after_success();
            if round.more {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.bus.outbox_woken(self.topic) => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Publishes everything that waits now; answers how many events that were.
    pub async fn drain(&self) -> Result<usize, StorageError> {
        let mut published = 0;
        loop {
            let round = self.publish_due().await?;
            published += round.published;
            if !round.more && round.published == 0 {
                return Ok(published);
            }
        }
    }

    /// The age of the oldest event that is not published yet; zero when none waits.
    pub async fn lag(&self) -> Result<Duration, StorageError> {
        Ok(waiting(&self.bus, self.table).await?.oldest)
    }

    fn tell(&self, error: &StorageError) {
        tracing::warn!(table = self.table, %error, "could not publish events, will try again");
    }

    async fn publish_due(&self) -> Result<Round, StorageError> {
        let rows = self.unpublished("").await?;
        let full = rows.len() == PUBLISH_MAX;
        let mut due = unbroken_runs(rows);
        if due.is_empty() && full {
            // Every event at hand waits for an elder that a faster clock put behind them.
            due = unbroken_runs(self.unpublished(HEADS).await?);
        }
        if due.is_empty() {
            return Ok(Round { published: 0, more: false });
        }
        let published = due.len();
        let env = self.bus.env();
        env.reach(|| format!("outbox.{}.before", self.table)).await;
        match self.bus.publish(self.table, due).await {
            Ok(()) => {
                env.reach(|| format!("outbox.{}.recorded", self.table)).await;
                Ok(Round { published, more: full })
            }
            // A twin was faster: what it published is marked, and the rest is still there.
            Err(error) if error.is_expectation(super::MARK) => Ok(Round { published: 0, more: true }),
            Err(error) => Err(error),
        }
    }

    /// Unpublished events, oldest first, each with the number of its aggregate's first unpublished one.
    async fn unpublished(&self, only: &str) -> Result<Vec<(i64, Outgoing)>, StorageError> {
        let table = self.table;
        let sql = format!(
            "SELECT * FROM (
               SELECT o.id, o.topic, o.kind, o.aggregate, o.aggregate_seq, o.request_id, o.traceparent, o.payload,
                      o.at, (SELECT MIN(e.aggregate_seq) FROM {table} e WHERE e.topic = o.topic
                               AND e.aggregate = o.aggregate AND e.published_at IS NULL) AS first_seq
               FROM {table} o WHERE o.published_at IS NULL) AS unpublished
             {only} ORDER BY at, aggregate_seq LIMIT $1"
        );
        let rows = self.bus.db().read(&sql, vec![Value::Int(PUBLISH_MAX as i64)]).await?;
        rows.iter().map(|row| Ok((row.get("first_seq")?, Outgoing::from_row(row)?))).collect()
    }

    fn sweep(&self) -> Batch {
        let table = self.table;
        let mut batch = Batch::new();
        batch.run(
            format!(
                "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE id < $1
                 AND published_at IS NOT NULL ORDER BY id LIMIT $2)"
            ),
            vec![earliest_id(self.bus.env().now(), KEEP_PUBLISHED).into(), SWEEP_ROWS.into()],
        );
        batch
    }
}

/// Rows sort by time, and clocks differ: so this keeps of each aggregate only the events from its first unpublished one on, up to the first gap.
fn unbroken_runs(due: Vec<(i64, Outgoing)>) -> Vec<Outgoing> {
    let mut next: BTreeMap<(String, Uuid), i64> = BTreeMap::new();
    let mut due = due;
    due.sort_by_key(|(_, event)| event.aggregate_seq);
    due.into_iter()
        .filter_map(|(first, event)| {
            let next = next.entry((event.topic.clone(), event.aggregate)).or_insert(first);
            (event.aggregate_seq == *next).then(|| {
                *next += 1;
                event
            })
        })
        .collect()
}

/// The smallest UUIDv7 made `ago` before `now`: ids sort by time, so the primary key finds what is old.
pub(super) fn earliest_id(now: Timestamp, ago: Duration) -> Uuid {
    let us = now.as_microsecond().saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX));
    uuid::Builder::from_unix_timestamp_millis(u64::try_from(us / 1000).unwrap_or(0), &[0; 10]).into_uuid()
}

/// What waits in one outbox.
#[derive(Clone, Debug)]
pub struct OutboxHealth {
    /// The table.
    pub table: &'static str,
    /// Events that are not published yet.
    pub waiting: i64,
    /// The age of the oldest of them; zero when none waits.
    pub oldest: Duration,
}

pub(super) async fn waiting(bus: &Bus, table: &'static str) -> Result<OutboxHealth, StorageError> {
    let sql =
        format!("SELECT COUNT(*) AS waiting, MIN(at) AS oldest FROM {table} WHERE published_at IS NULL");
    let row = bus.db().read_one(&sql, vec![]).await?;
    let row = row.ok_or_else(|| StorageError::Invalid("an aggregate answered no row".to_owned()))?;
    let oldest: Option<Timestamp> = row.get("oldest")?;
    let oldest = oldest.map_or(Duration::ZERO, |at| clock::since(at, bus.env().now()));
    Ok(OutboxHealth { table, waiting: row.get("waiting")?, oldest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(aggregate: u128, seq: i64) -> Outgoing {
        Outgoing {
            id: Uuid::from_u128(aggregate * 100 + seq.unsigned_abs() as u128),
            topic: "order".to_owned(),
            kind: "order_placed".to_owned(),
            aggregate: Uuid::from_u128(aggregate),
            aggregate_seq: seq,
            body: JsonText("{}".to_owned()),
        }
    }

    #[test]
    fn an_event_whose_elder_is_not_at_hand_waits() {
        let due =
            vec![(1, event(7, 2)), (4, event(8, 4)), (1, event(7, 1)), (4, event(8, 6)), (3, event(9, 5))];
        let taken: Vec<(u128, i64)> =
            unbroken_runs(due).iter().map(|event| (event.aggregate.as_u128(), event.aggregate_seq)).collect();
        assert_eq!(taken, [(7, 1), (7, 2), (8, 4)]);
    }
}
