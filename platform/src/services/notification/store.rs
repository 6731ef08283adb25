//! Reads and batches over the `notification_*` tables.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value as Json;
use uuid::Uuid;

use super::client::{Delivery, DeliveryFilter, FailedAttempt, Preferences};
use super::model::{self, Message};
use crate::http::Context;
use crate::storage::{Batch, Db, Expect, Row, StorageError, Value, places};
use crate::vocabulary::{DeliveryId, Env, Event, EventId, OrderId, Timestamp, clock};

/// How long what was sent stays readable.
const KEEP_SENT: Duration = Duration::from_secs(90 * 24 * 3600);
const SWEEP_ROWS: i64 = 500;
/// The states that a delivery can be in.
pub(super) const STATES: [&str; 4] = ["pending", "sent", "skipped", "failed"];
const COLUMNS: &str = "id, event_id, order_id, channel, recipient, template, state, attempts, next_at, last_error, \
     redeliveries, created_at, sent_at";

/// A delivery that a worker holds.
#[derive(Clone, Debug)]
pub(super) struct Claimed {
    pub(super) id: DeliveryId,
    pub(super) event_id: EventId,
    pub(super) order_id: Option<OrderId>,
    pub(super) recipient: String,
    pub(super) template: String,
    pub(super) facts: Json,
    pub(super) request_id: Option<String>,
    pub(super) traceparent: Option<String>,
    /// This try included.
    pub(super) attempts: i64,
    /// Tries that failed, over all redeliveries.
    pub(super) failures: i64,
    pub(super) redeliveries: i64,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was handed over.
    Sent,
    /// The recipient does not want it.
    Skipped,
    /// Not now: again at `next_at`.
    Later { next_at: Timestamp, code: Option<i64>, reason: String, took: Duration },
    /// Never.
    Failed { code: Option<i64>, reason: String, took: Duration },
    /// The channel is away: it was not this delivery's try, and it waits until `next_at`.
    Untried { next_at: Timestamp, reason: Option<String> },
}

/// The effect of an event: one delivery per channel, unless it is there already.
pub(super) fn tell(
    env: &Env,
    event: &Event,
    message: &Message,
    recipient: &str,
    channels: &[&'static str],
) -> Batch {
    let now = env.now();
    let facts = model::facts(event);
    let row = |channel: &&'static str| {
        vec![
            env.id::<crate::vocabulary::ids::kind::Delivery>().into(),
            event.id.into(),
            (*channel).into(),
            recipient.into(),
            message.template.into(),
            facts.clone().into(),
            model::order_of(event).into(),
            event.request_id.clone().into(),
            event.traceparent.clone().into(),
            "pending".into(),
            now.into(),
            now.into(),
        ]
    };
    let mut batch = Batch::new();
    batch.insert_many(
        "INSERT INTO notification_deliveries (id, event_id, channel, recipient, template, facts, order_id, \
         request_id, traceparent, state, next_at, created_at)",
        channels.iter().map(row).collect(),
        "ON CONFLICT (event_id, channel, recipient) DO NOTHING",
    );
    batch
}

/// Takes up to `max` deliveries of `channel` that are due, for `lease`: nobody else gets them before that is over.
pub(super) async fn claim(
    db: &Db,
    env: &Env,
    channel: &'static str,
    max: usize,
    lease: Duration,
) -> Result<(Uuid, Vec<Claimed>), StorageError> {
    let (claim, now) = (env.uuid(), env.now());
    let rows = db
        .read(
            "SELECT id, event_id, order_id, recipient, template, facts, request_id, traceparent, attempts, failures, \
             redeliveries FROM notification_deliveries \
             WHERE channel = $1 AND state = 'pending' AND next_at <= $2 ORDER BY next_at LIMIT $3",
            vec![channel.into(), now.into(), Value::Int(i64::try_from(max).unwrap_or(i64::MAX))],
        )
        .await?;
    let mut claimed: Vec<Claimed> = rows.iter().map(claimed_row).collect::<Result<_, _>>()?;
    if claimed.is_empty() {
        return Ok((claim, claimed));
    }
    let ids: Vec<Uuid> = claimed.iter().map(|delivery| delivery.id.uuid()).collect();
    let (list, params) = in_list(4, &ids);
    let mut batch = Batch::new();
    batch.run(
        format!(
            "UPDATE notification_deliveries SET claim = $1, next_at = $2, attempts = attempts + 1 \
             WHERE state = 'pending' AND next_at <= $3 AND id IN ({list})"
        ),
        [vec![claim.into(), clock::add(now, lease).into(), now.into()], params].concat(),
    );
    let touched: u64 = db.write(batch).await?.iter().sum();
    if touched < ids.len() as u64 {
        // Another worker took some of them between the read and the claim.
        let (list, params) = in_list(2, &ids);
        let sql = format!("SELECT id FROM notification_deliveries WHERE claim = $1 AND id IN ({list})");
        let rows = db.read(&sql, [vec![claim.into()], params].concat()).await?;
        let ours: Vec<DeliveryId> = rows.iter().map(|row| row.get("id")).collect::<Result<_, _>>()?;
        claimed.retain(|delivery| ours.contains(&delivery.id));
    }
    Ok((claim, claimed))
}

fn claimed_row(row: &Row) -> Result<Claimed, StorageError> {
    Ok(Claimed {
        id: row.get("id")?,
        event_id: row.get("event_id")?,
        order_id: row.get("order_id")?,
        recipient: row.get("recipient")?,
        template: row.get("template")?,
        facts: row.get("facts")?,
        request_id: row.get("request_id")?,
        traceparent: row.get("traceparent")?,
        attempts: row.get::<i64>("attempts")? + 1,
        failures: row.get("failures")?,
        redeliveries: row.get("redeliveries")?,
    })
}

/// The name of the statement that notes what was sent: where a test lets the storage fail.
const SETTLE: &str = "notification_settle";

/// Writes what came of the tries under `claim`. A delivery whose claim was lost meanwhile is left to who has it.
pub(super) fn settle(now: Timestamp, claim: Uuid, ended: &[(&Claimed, Ended)]) -> Batch {
    let mut batch = Batch::new();
    for (state, wanted) in [("sent", Ended::Sent), ("skipped", Ended::Skipped)] {
        let ids: Vec<Uuid> = ended
            .iter()
            .filter(|(_, outcome)| *outcome == wanted)
            .map(|(delivery, _)| delivery.id.uuid())
            .collect();
        if !ids.is_empty() {
            let (list, params) = in_list(4, &ids);
            batch.push(
                SETTLE,
                Expect::Any,
                format!(
                    "UPDATE notification_deliveries SET state = $1, sent_at = $2, claim = NULL, last_error = NULL \
                     WHERE claim = $3 AND id IN ({list})"
                ),
                [vec![state.into(), now.into(), claim.into()], params].concat(),
            );
        }
    }
    for (delivery, outcome) in ended {
        settle_one(&mut batch, now, claim, delivery, outcome);
    }
    batch
}

fn settle_one(batch: &mut Batch, now: Timestamp, claim: Uuid, delivery: &Claimed, outcome: &Ended) {
    let (state, next_at, code, reason, took) = match outcome {
        Ended::Sent | Ended::Skipped => return,
        Ended::Later { next_at, code, reason, took } => ("pending", *next_at, code, reason, took),
        Ended::Failed { code, reason, took } => ("failed", now, code, reason, took),
        Ended::Untried { next_at, reason } => {
            batch.run(
                "UPDATE notification_deliveries SET next_at = $1, attempts = attempts - 1, claim = NULL, \
                 last_error = COALESCE($2, last_error) WHERE claim = $3 AND id = $4",
                vec![(*next_at).into(), reason.clone().into(), claim.into(), delivery.id.into()],
            );
            return;
        }
    };
    batch.run(
        "INSERT INTO notification_attempts (delivery_id, n, at, code, reason, took_ms) \
         SELECT id, failures + 1, $1, $2, $3, $4 FROM notification_deliveries WHERE claim = $5 AND id = $6",
        vec![
            now.into(),
            (*code).into(),
            reason.into(),
            Value::Int(i64::try_from(took.as_millis()).unwrap_or(i64::MAX)),
            claim.into(),
            delivery.id.into(),
        ],
    );
    batch.run(
        "UPDATE notification_deliveries SET state = $1, next_at = $2, failures = failures + 1, claim = NULL, \
         last_error = $3 WHERE claim = $4 AND id = $5",
        vec![state.into(), next_at.into(), reason.into(), claim.into(), delivery.id.into()],
    );
}

/// The preferences of those of `recipients` who have any.
pub(super) async fn preferences(
    db: &Db,
    recipients: &[&str],
) -> Result<HashMap<String, Preferences>, StorageError> {
    let mut wanted: Vec<&str> = recipients.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let Some(last) = wanted.last().copied() else { return Ok(HashMap::new()) };
    wanted.resize(padded(wanted.len()), last);
    let sql = format!(
        "SELECT recipient, locale, optional_mails FROM notification_preferences WHERE recipient IN ({})",
        places(1, wanted.len())
    );
    let rows = db.read(&sql, wanted.into_iter().map(Value::from).collect()).await?;
    rows.iter()
        .map(|row| {
            let preferences =
                Preferences { locale: row.get("locale")?, optional_mails: row.get("optional_mails")? };
            Ok((row.get("recipient")?, preferences))
        })
        .collect()
}

/// Remembers how `recipient` wants to be told.
pub(super) fn set_preferences(now: Timestamp, recipient: &str, preferences: &Preferences) -> Batch {
    let mut batch = Batch::new();
    batch.one(
        "preferences",
        "INSERT INTO notification_preferences (recipient, locale, optional_mails, updated_at) \
         VALUES ($1, $2, $3, $4) ON CONFLICT (recipient) DO UPDATE \
         SET locale = excluded.locale, optional_mails = excluded.optional_mails, updated_at = excluded.updated_at",
        vec![recipient.into(), preferences.locale.as_str().into(), preferences.optional_mails.into(), now.into()],
    );
    batch
}

/// Deliveries that `filter` names, newest first, older than `before`.
pub(super) async fn list(
    db: &Db,
    filter: &DeliveryFilter,
    before: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Delivery>, StorageError> {
    // The state is one of ours and stands in the text, so that the indexes of that state can serve.
    let state = filter.state.as_deref().and_then(|wanted| STATES.into_iter().find(|state| *state == wanted));
    let mut wheres = vec![state.map_or_else(|| "1 = 1".to_owned(), |state| format!("state = '{state}'"))];
    let mut params = Vec::new();
    let mut also = |column: &str, relation: &str, value: Option<Value>| {
        if let Some(value) = value {
            params.push(value);
            wheres.push(format!("{column} {relation} ${}", params.len()));
        }
    };
    also("channel", "=", filter.channel.as_deref().map(Value::from));
    also("recipient", "=", filter.recipient.as_deref().map(Value::from));
    also("order_id", "=", filter.order_id.map(Value::from));
    also("event_id", "=", filter.event_id.map(Value::from));
    also("id", "<", before.map(Value::from));
    params.push(Value::Int(i64::try_from(limit).unwrap_or(i64::MAX)));
    let sql = format!(
        "SELECT {COLUMNS} FROM notification_deliveries WHERE {} ORDER BY id DESC LIMIT ${}",
        wheres.join(" AND "),
        params.len()
    );
    db.read(&sql, params).await?.iter().map(delivery_row).collect()
}

/// One delivery.
pub(super) async fn get(db: &Db, id: DeliveryId) -> Result<Option<Delivery>, StorageError> {
    let sql = format!("SELECT {COLUMNS} FROM notification_deliveries WHERE id = $1");
    db.read_one(&sql, vec![id.into()]).await?.as_ref().map(delivery_row).transpose()
}

fn delivery_row(row: &Row) -> Result<Delivery, StorageError> {
    let state: String = row.get("state")?;
    let next_at: Timestamp = row.get("next_at")?;
    Ok(Delivery {
        id: row.get("id")?,
        event_id: row.get("event_id")?,
        order_id: row.get("order_id")?,
        channel: row.get("channel")?,
        recipient: row.get("recipient")?,
        template: row.get("template")?,
        next_at: (state == "pending").then_some(next_at),
        state,
        attempts: row.get("attempts")?,
        last_error: row.get("last_error")?,
        redeliveries: row.get("redeliveries")?,
        created_at: row.get("created_at")?,
        sent_at: row.get("sent_at")?,
    })
}

/// The tries of a delivery that failed, oldest first.
pub(super) async fn failed_attempts(db: &Db, id: DeliveryId) -> Result<Vec<FailedAttempt>, StorageError> {
    let sql =
        "SELECT n, at, code, reason, took_ms FROM notification_attempts WHERE delivery_id = $1 ORDER BY n";
    let attempt = |row: &Row| {
        Ok(FailedAttempt {
            n: row.get("n")?,
            at: row.get("at")?,
            code: row.get("code")?,
            reason: row.get("reason")?,
            took_ms: row.get("took_ms")?,
        })
    };
    db.read(sql, vec![id.into()]).await?.iter().map(attempt).collect()
}

/// The name of the statement that asks for a delivery again: it fails when the delivery has not ended.
pub(super) const REDELIVER: &str = "redeliver";

/// Makes a delivery that ended due again.
pub(super) fn redeliver(now: Timestamp, id: DeliveryId) -> Batch {
    let mut batch = Batch::new();
    batch.one(
        REDELIVER,
        "UPDATE notification_deliveries SET state = 'pending', attempts = 0, redeliveries = redeliveries + 1, \
         next_at = $1, claim = NULL WHERE id = $2 AND state <> 'pending'",
        vec![now.into(), id.into()],
    );
    batch
}

/// What staff did, for the audit log.
pub(super) struct Deed<'deed> {
    pub(super) action: &'static str,
    pub(super) subject: &'deed str,
    pub(super) before: Json,
    pub(super) after: Json,
}

/// Adds a deed to `batch`.
pub(super) fn audit(batch: &mut Batch, env: &Env, context: &Context, deed: Deed<'_>) {
    let actor = context.identity.as_ref().map_or("shop", |identity| identity.email.as_str());
    batch.one(
        "audit",
        "INSERT INTO notification_audit (id, at, actor, action, subject, before, after, request_id) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        vec![
            env.uuid().into(),
            env.now().into(),
            actor.into(),
            deed.action.into(),
            deed.subject.into(),
            deed.before.into(),
            deed.after.into(),
            (&*context.request_id).into(),
        ],
    );
}

/// Forgets some of what was sent long ago; answers whether there may be more.
pub(super) async fn sweep(db: &Db, now: Timestamp) -> Result<bool, StorageError> {
    let keep_us = i64::try_from(KEEP_SENT.as_micros()).unwrap_or(i64::MAX);
    let before_us = now.as_microsecond().saturating_sub(keep_us);
    let before = Timestamp::from_microsecond(before_us).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut batch = Batch::new();
    // Ids sort by the time they were made, so the primary key finds what is old.
    let oldest = uuid::Builder::from_unix_timestamp_millis(
        u64::try_from(before.as_millisecond()).unwrap_or(0),
        &[0; 10],
    )
    .into_uuid();
    batch.run(
        "DELETE FROM notification_deliveries WHERE id IN (SELECT id FROM notification_deliveries \
         WHERE id < $1 AND state IN ('sent', 'skipped') ORDER BY id LIMIT $2)",
        vec![oldest.into(), Value::Int(SWEEP_ROWS)],
    );
    Ok(db.write(batch).await?.iter().sum::<u64>() >= SWEEP_ROWS.unsigned_abs())
}

/// `$first, …` for `ids`, filled up with the last one to one of a few lengths, so that few statements are prepared.
fn in_list(first: usize, ids: &[Uuid]) -> (String, Vec<Value>) {
    let length = padded(ids.len());
    let last = ids.last().copied().unwrap_or_default();
    let filled = ids.iter().copied().chain(std::iter::repeat(last)).take(length).map(Value::from).collect();
    (places(first, length), filled)
}

fn padded(count: usize) -> usize {
    [1, 8, 32, 128, 256].into_iter().find(|length| *length >= count).unwrap_or(count)
}
