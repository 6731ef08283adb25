//! The bus that lives in the shop's database, on either engine. Publishing and marking are one batch, and so are a
//! consumer's effects and its acknowledgement: an effect happens exactly once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::{
    BusFaults, CLAIM, DeadLetter, DeadLetterFilter, Delivery, INBOX, MARK, Outgoing, QueueHealth, QueueSpec,
    Transport,
};
use crate::storage::{Batch, Db, Expect, JsonText, Row, StorageError, Value, places};
use crate::vocabulary::{Env, clock};

pub(super) struct Embedded {
    db: Db,
    env: Env,
    queues: Vec<QueueSpec>,
    faults: Arc<Mutex<BusFaults>>,
}

const SEND: &str = "INSERT INTO bus_messages
  (id, queue, event_id, topic, kind, aggregate, aggregate_seq, body, sent_at, visible_at)";
const LETTER: &str = "id, queue, event_id, topic, kind, aggregate, aggregate_seq, body, sent_at";

impl Embedded {
    pub(super) fn new(db: Db, env: Env, queues: Vec<QueueSpec>, faults: Arc<Mutex<BusFaults>>) -> Self {
        Self { db, env, queues, faults }
    }

    fn message(&self, queue: &QueueSpec, event: &Outgoing, hidden: Duration) -> Vec<Value> {
        let now = self.env.now();
        vec![
            self.env.uuid().into(),
            queue.name.into(),
            event.id.into(),
            event.topic.as_str().into(),
            event.kind.as_str().into(),
            event.aggregate.into(),
            event.aggregate_seq.into(),
            event.body.clone().into(),
            now.into(),
            clock::add(now, hidden).into(),
        ]
    }

    async fn send(
        &self,
        outbox: &'static str,
        events: Vec<Outgoing>,
    ) -> Result<Vec<&'static str>, StorageError> {
        let faults = *self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let ids: Vec<Uuid> = events.iter().map(|event| event.id).collect();
        let mut batch = Batch::new();
        // First, so that a slower twin stops here, before it has written anything.
        let (list, mut params) = in_list(2, &ids);
        params.insert(0, self.env.now().into());
        batch.push(
            MARK,
            Expect::Rows(ids.len() as u64),
            format!("UPDATE {outbox} SET published_at = $1 WHERE published_at IS NULL AND id IN ({list})"),
            params,
        );
        let mut rows = Vec::new();
        let mut reached: Vec<&'static str> = Vec::new();
        for event in &events {
            for queue in &self.queues {
                if !queue.hears(&event.topic, &event.kind) {
                    continue;
                }
                for hidden in faults.copies(&self.env, queue.visibility) {
                    rows.push(self.message(queue, event, hidden));
                }
                if !reached.contains(&queue.name) {
                    reached.push(queue.name);
                }
            }
        }
        batch.insert_many(SEND, rows, "");
        self.db.write(batch).await?;
        Ok(reached)
    }

    async fn claim(&self, queue: QueueSpec, max: usize) -> Result<Vec<Delivery>, StorageError> {
        let receipt = self.env.uuid();
        let now = self.env.now();
        let rows = self
            .db
            .read(
                "SELECT id, event_id, aggregate, aggregate_seq, receives, body FROM bus_messages
                 WHERE queue = $1 AND visible_at <= $2 ORDER BY visible_at, aggregate_seq LIMIT $3",
                vec![queue.name.into(), now.into(), Value::Int(i64::try_from(max).unwrap_or(i64::MAX))],
            )
            .await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut seen: Vec<Delivery> =
            rows.iter().map(|row| delivery(row, receipt)).collect::<Result<_, StorageError>>()?;
        let ids: Vec<Uuid> = seen.iter().map(|delivery| delivery.id).collect();
        let (list, params) = in_list(4, &ids);
        let mut batch = Batch::new();
        batch.run(
            format!(
                "UPDATE bus_messages SET receipt = $1, visible_at = $2, receives = receives + 1
                 WHERE visible_at <= $3 AND id IN ({list})"
            ),
            [vec![receipt.into(), clock::add(now, queue.visibility).into(), now.into()], params].concat(),
        );
        let claimed: u64 = self.db.write(batch).await?.iter().sum();
        if claimed < ids.len() as u64 {
            // Another consumer took some of them between the read and the claim.
            let (list, params) = in_list(2, &ids);
            let sql = format!("SELECT id FROM bus_messages WHERE receipt = $1 AND id IN ({list})");
            let rows = self.db.read(&sql, [vec![receipt.into()], params].concat()).await?;
            let ours: Vec<Uuid> = rows.iter().map(|row| row.get("id")).collect::<Result<_, _>>()?;
            seen.retain(|delivery| ours.contains(&delivery.id));
        }
        Ok(seen)
    }

    async fn find(
        &self,
        filter: DeadLetterFilter,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StorageError> {
        let mut sql = format!(
            "SELECT {LETTER}, receives, redrives, reason, dead_at FROM bus_dead_letters WHERE discarded_at IS NULL"
        );
        let mut params = Vec::new();
        let mut also = |condition: &str, value: Value| {
            params.push(value);
            sql.push_str(&format!(" AND {condition} ${}", params.len()));
        };
        if let Some(after) = after {
            also("id >", after.into());
        }
        if let Some(queue) = &filter.queue {
            also("queue =", queue.into());
        }
        if let Some(kind) = &filter.kind {
            also("kind =", kind.into());
        }
        if !filter.ids.is_empty() {
            let (list, ids) = in_list(params.len() + 1, &filter.ids);
            sql.push_str(&format!(" AND id IN ({list})"));
            params.extend(ids);
        }
        params.push(Value::Int(i64::try_from(limit).unwrap_or(i64::MAX)));
        sql.push_str(&format!(" ORDER BY id LIMIT ${}", params.len()));
        self.db.read(&sql, params).await?.iter().map(letter).collect()
    }

    async fn depths(&self) -> Result<Vec<QueueHealth>, StorageError> {
        let now = self.env.now();
        let empty = |name: &str| QueueHealth {
            name: name.to_owned(),
            depth: 0,
            invisible: 0,
            oldest: Duration::ZERO,
            dead: 0,
        };
        let mut depths: BTreeMap<String, QueueHealth> =
            self.queues.iter().map(|queue| (queue.name.to_owned(), empty(queue.name))).collect();
        let waiting = self
            .db
            .read(
                "SELECT queue, COUNT(*) AS depth, MIN(sent_at) AS oldest,
                        CAST(SUM(CASE WHEN visible_at > $1 THEN 1 ELSE 0 END) AS BIGINT) AS invisible
                 FROM bus_messages GROUP BY queue",
                vec![now.into()],
            )
            .await?;
        for row in &waiting {
            let name: String = row.get("queue")?;
            let health = depths.entry(name.clone()).or_insert_with(|| empty(&name));
            health.depth = row.get("depth")?;
            health.invisible = row.get("invisible")?;
            health.oldest = clock::since(row.get("oldest")?, now);
        }
        let dead = self
            .db
            .read(
                "SELECT queue, COUNT(*) AS dead FROM bus_dead_letters WHERE discarded_at IS NULL GROUP BY queue",
                vec![],
            )
            .await?;
        for row in &dead {
            let name: String = row.get("queue")?;
            depths.entry(name.clone()).or_insert_with(|| empty(&name)).dead = row.get("dead")?;
        }
        Ok(depths.into_values().collect())
    }
}

impl Transport for Embedded {
    fn publish(
        &self,
        outbox: &'static str,
        events: Vec<Outgoing>,
    ) -> BoxFuture<'_, Result<Vec<&'static str>, StorageError>> {
        Box::pin(self.send(outbox, events))
    }

    fn inject(&self, queue: QueueSpec, body: serde_json::Value) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async move {
            let event = Outgoing {
                id: self.env.uuid(),
                topic: "injected".to_owned(),
                kind: "injected".to_owned(),
                aggregate: self.env.uuid(),
                aggregate_seq: 1,
                body: JsonText::of(&body),
            };
            let mut batch = Batch::new();
            batch.insert_many(SEND, vec![self.message(&queue, &event, Duration::ZERO)], "");
            self.db.write(batch).await.map(drop)
        })
    }

    fn receive(&self, queue: QueueSpec, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>, StorageError>> {
        Box::pin(self.claim(queue, max))
    }

    fn settle(
        &self,
        queue: QueueSpec,
        inbox: &'static str,
        done: Vec<Delivery>,
        effects: Batch,
    ) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async move {
            let now = self.env.now();
            let mut batch = Batch::new();
            // First, so that whoever lost the claim stops here.
            acknowledgement(&mut batch, &done, Expect::Rows);
            let rows =
                done.iter().map(|one| vec![queue.name.into(), one.event_id.into(), now.into()]).collect();
            let insert = format!("INSERT INTO {inbox} (consumer, event_id, handled_at)");
            batch.insert_rows(INBOX, &insert, rows, "");
            batch.append(effects);
            self.db.write(batch).await.map(drop)
        })
    }

    fn acknowledge(&self, _queue: QueueSpec, done: Vec<Delivery>) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async move {
            let mut batch = Batch::new();
            acknowledgement(&mut batch, &done, |_| Expect::Any);
            self.db.write(batch).await.map(drop)
        })
    }

    fn give_back(
        &self,
        _queue: QueueSpec,
        delivery: Delivery,
        pause: Duration,
        reason: String,
    ) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async move {
            let mut batch = Batch::new();
            batch.run(
                "UPDATE bus_messages SET visible_at = $1, last_error = $2, receipt = NULL
                 WHERE id = $3 AND receipt = $4",
                vec![
                    self.env.after(pause).into(),
                    reason.into(),
                    delivery.id.into(),
                    delivery.receipt.into(),
                ],
            );
            self.db.write(batch).await.map(drop)
        })
    }

    fn bury(
        &self,
        _queue: QueueSpec,
        delivery: Delivery,
        reason: String,
    ) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async move {
            let claim = || vec![delivery.id.into(), delivery.receipt.into()];
            let mut batch = Batch::new();
            batch.one(
                CLAIM,
                format!(
                    "INSERT INTO bus_dead_letters ({LETTER}, receives, redrives, reason, dead_at)
                     SELECT {LETTER}, receives, redrives, $3, $4 FROM bus_messages WHERE id = $1 AND receipt = $2"
                ),
                [claim(), vec![reason.into(), self.env.now().into()]].concat(),
            );
            batch.one(CLAIM, "DELETE FROM bus_messages WHERE id = $1 AND receipt = $2", claim());
            self.db.write(batch).await.map(drop)
        })
    }

    fn dead_letters(
        &self,
        filter: DeadLetterFilter,
        after: Option<Uuid>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeadLetter>, StorageError>> {
        Box::pin(self.find(filter, after, limit))
    }

    fn redrive(&self, letter: Uuid, pause: Duration) -> BoxFuture<'_, Result<bool, StorageError>> {
        Box::pin(async move {
            let mut batch = Batch::new();
            batch.one(
                "dead",
                format!(
                    "INSERT INTO bus_messages ({LETTER}, visible_at, receives, redrives)
                     SELECT {LETTER}, $2, 0, redrives + 1 FROM bus_dead_letters
                     WHERE id = $1 AND discarded_at IS NULL"
                ),
                vec![letter.into(), self.env.after(pause).into()],
            );
            batch.one("dead", "DELETE FROM bus_dead_letters WHERE id = $1", vec![letter.into()]);
            whether(self.db.write(batch).await)
        })
    }

    fn discard(&self, letter: Uuid, reason: String) -> BoxFuture<'_, Result<bool, StorageError>> {
        Box::pin(async move {
            let mut batch = Batch::new();
            batch.one(
                "dead",
                "UPDATE bus_dead_letters SET discarded_at = $2, discard_reason = $3
                 WHERE id = $1 AND discarded_at IS NULL",
                vec![letter.into(), self.env.now().into(), reason.into()],
            );
            whether(self.db.write(batch).await)
        })
    }

    fn queues(&self) -> BoxFuture<'_, Result<Vec<QueueHealth>, StorageError>> {
        Box::pin(self.depths())
    }
}

/// Whether the letter was still dead when the batch ran.
fn whether(outcome: Result<Vec<u64>, StorageError>) -> Result<bool, StorageError> {
    match outcome {
        Ok(_) => Ok(true),
        Err(error) if error.is_expectation("dead") || error.is_conflict("dead") => Ok(false),
        Err(error) => Err(error),
    }
}

fn acknowledgement(batch: &mut Batch, done: &[Delivery], expect: impl Fn(u64) -> Expect) {
    let Some(first) = done.first() else { return };
    let ids: Vec<Uuid> = done.iter().map(|delivery| delivery.id).collect();
    let (list, mut params) = in_list(2, &ids);
    params.insert(0, first.receipt.into());
    let sql = format!("DELETE FROM bus_messages WHERE receipt = $1 AND id IN ({list})");
    batch.push(CLAIM, expect(ids.len() as u64), sql, params);
}

fn delivery(row: &Row, receipt: Uuid) -> Result<Delivery, StorageError> {
    Ok(Delivery {
        id: row.get("id")?,
        receipt,
        event_id: row.get("event_id")?,
        aggregate: row.get("aggregate")?,
        aggregate_seq: row.get("aggregate_seq")?,
        receives: row.get::<i64>("receives")? + 1,
        body: row.get::<JsonText>("body")?.0,
    })
}

fn letter(row: &Row) -> Result<DeadLetter, StorageError> {
    Ok(DeadLetter {
        id: row.get("id")?,
        queue: row.get("queue")?,
        event_id: row.get("event_id")?,
        topic: row.get("topic")?,
        kind: row.get("kind")?,
        aggregate: row.get("aggregate")?,
        aggregate_seq: row.get("aggregate_seq")?,
        body: row.get("body")?,
        sent_at: row.get("sent_at")?,
        receives: row.get("receives")?,
        redrives: row.get("redrives")?,
        reason: row.get("reason")?,
        dead_at: row.get("dead_at")?,
    })
}

/// `$first, …` for `ids`, filled up with the last one to one of a few lengths, so that few statements are prepared.
pub(super) fn in_list(first: usize, ids: &[Uuid]) -> (String, Vec<Value>) {
    let length = [1, 4, 16, 64, 128].into_iter().find(|length| *length >= ids.len()).unwrap_or(ids.len());
    let last = ids.last().copied().unwrap_or_default();
    let filled = ids.iter().copied().chain(std::iter::repeat(last)).take(length).map(Value::from).collect();
    (places(first, length), filled)
}
