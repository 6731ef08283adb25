//! Messages: V14, V15, V16 and V18. What was told arrives, once.

use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use super::ground::{Ground, Keys};
use super::tally::Tally;
use crate::bus::QueueSpec;
use crate::services::SERVICES;
use crate::storage::{Row, StorageError, Value};
use crate::vocabulary::Timestamp;

/// Rows of one query.
const PAGE: u32 = 10_000;
/// Published rows are kept for an hour, so among younger ones nothing may be missing.
const SURELY_KEPT: Duration = Duration::from_secs(30 * 60);

/// Every outbox.
fn outboxes() -> impl Iterator<Item = &'static str> {
    SERVICES.iter().filter_map(|service| service.outbox)
}

/// Every queue, with the table that remembers what its consumer handled.
fn queues() -> impl Iterator<Item = (QueueSpec, String)> {
    SERVICES.iter().flat_map(|service| {
        service.queues.iter().map(|queue| (*queue, format!("{}_inbox", service.manifest.name)))
    })
}

/// V14: every outbox row is published soon, in its aggregate's order, and what was published arrived somewhere.
pub(super) async fn v14(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = Tally::default();
    for table in outboxes() {
        tally.saw(ground.size(table).await?);
        let late = format!(
            "SELECT id, kind, at FROM {table} WHERE published_at IS NULL AND at < $1 ORDER BY at, id"
        );
        for row in ground.rows(&late, vec![ground.overdue().into()]).await? {
            let (id, kind, at): (Uuid, String, Timestamp) =
                (row.get("id")?, row.get("kind")?, row.get("at")?);
            tally.suspect(id.to_string(), format!("`{kind}` of {at} is not published ({table})"));
        }
        let overtaken = format!(
            "SELECT late.id, late.kind, late.aggregate, late.aggregate_seq FROM {table} late
             WHERE late.published_at IS NULL AND EXISTS (
               SELECT 1 FROM {table} later WHERE later.topic = late.topic AND later.aggregate = late.aggregate
                 AND later.aggregate_seq > late.aggregate_seq AND later.published_at IS NOT NULL)
             ORDER BY late.id"
        );
        for row in ground.rows(&overtaken, vec![]).await? {
            let (id, kind): (Uuid, String) = (row.get("id")?, row.get("kind")?);
            let (aggregate, seq): (Uuid, i64) = (row.get("aggregate")?, row.get("aggregate_seq")?);
            let what =
                format!("`{kind}`, number {seq} of {aggregate}, was overtaken by a later one ({table})");
            tally.suspect(id.to_string(), what);
        }
        holes(ground, table, &mut tally).await?;
        nowhere(ground, table, &mut tally).await?;
    }
    Ok(tally)
}

/// Events of an aggregate are numbered without a gap; a missing number was never told.
async fn holes(ground: &Ground, table: &str, tally: &mut Tally) -> Result<(), StorageError> {
    let topic = format!("topic = '{}'", table.trim_end_matches("_outbox"));
    let sql = format!(
        "SELECT topic, aggregate, MIN(aggregate_seq) AS first, MAX(aggregate_seq) AS last, COUNT(*) AS events
         FROM {table} WHERE {topic} AND aggregate > $1 AND aggregate <= $2
         GROUP BY topic, aggregate HAVING COUNT(*) <> MAX(aggregate_seq) - MIN(aggregate_seq) + 1 AND MIN(at) > $3
         ORDER BY aggregate"
    );
    let kept = Value::from(ground.ago(SURELY_KEPT));
    let mut take = |row: &Row| {
        let number = |column: &str| row.get::<i64>(column);
        let what = format!(
            "has {} events between number {} and {} ({table})",
            number("events")?,
            number("first")?,
            number("last")?
        );
        tally.suspect_kind(row.get::<Uuid>("aggregate")?.to_string(), "hole", what);
        Ok(())
    };
    ground.each(Keys::of(table, "aggregate", PAGE).only(&topic), &sql, &[kept], &mut take).await
}

/// What was published waits in every queue that hears it, was handled there, or died there.
async fn nowhere(ground: &Ground, table: &str, tally: &mut Tally) -> Result<(), StorageError> {
    for (queue, inbox) in queues() {
        let Some(wanted) = heard(&queue, table) else { continue };
        let sql = format!(
            "SELECT o.id, o.kind FROM {table} o
             WHERE o.id > $1 AND o.id <= $2 AND o.published_at IS NOT NULL AND o.at > $3 {wanted}
               AND NOT EXISTS (SELECT 1 FROM {inbox} i WHERE i.consumer = $4 AND i.event_id = o.id)
               AND NOT EXISTS (SELECT 1 FROM bus_dead_letters d WHERE d.event_id = o.id AND d.queue = $4)
             ORDER BY o.id"
        );
        let mut missing = Vec::new();
        let mut take = |row: &Row| {
            missing.push((row.get::<Uuid>("id")?, row.get::<String>("kind")?));
            Ok(())
        };
        let params = [ground.ago(SURELY_KEPT).into(), queue.name.into()];
        ground.each(Keys::of(table, "id", PAGE), &sql, &params, &mut take).await?;
        if missing.is_empty() {
            continue;
        }
        // After the inbox, not before: what was handled meanwhile left the queue for the inbox.
        let waiting = waiting(ground, queue.name).await?;
        for (id, kind) in missing {
            if !waiting.contains(&id) && !is_handled(ground, &inbox, queue.name, id).await? {
                let what = format!("`{kind}` was published and never reached the queue `{}`", queue.name);
                tally.suspect(id.to_string(), what);
            }
        }
    }
    Ok(())
}

/// The condition that picks what `queue` hears from `table`; none when it hears nothing of it.
fn heard(queue: &QueueSpec, table: &str) -> Option<String> {
    let topic = table.strip_suffix("_outbox")?;
    if !queue.topics.iter().any(|known| known.as_str() == topic) {
        return None;
    }
    // Names of kinds are our own words.
    let kinds: Vec<String> = queue.kinds.iter().map(|kind| format!("'{kind}'")).collect();
    Some(if kinds.is_empty() { String::new() } else { format!("AND o.kind IN ({})", kinds.join(", ")) })
}

async fn waiting(ground: &Ground, queue: &str) -> Result<BTreeSet<Uuid>, StorageError> {
    let sql = "SELECT event_id FROM bus_messages WHERE id > $1 AND id <= $2 AND queue = $3";
    let mut waiting = BTreeSet::new();
    let mut take = |row: &Row| {
        waiting.insert(row.get::<Uuid>("event_id")?);
        Ok(())
    };
    ground.each(Keys::of("bus_messages", "id", PAGE), sql, &[queue.into()], &mut take).await?;
    Ok(waiting)
}

async fn is_handled(ground: &Ground, inbox: &str, queue: &str, event: Uuid) -> Result<bool, StorageError> {
    let sql = format!("SELECT COUNT(*) AS n FROM {inbox} WHERE consumer = $1 AND event_id = $2");
    Ok(ground.number(&sql, vec![queue.into(), event.into()]).await? > 0)
}

/// V15: nothing is done twice for one event, and no act of stock or money twice for one order.
pub(super) async fn v15(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = Tally::default();
    for (queue, inbox) in queues() {
        tally.saw(ground.size(&inbox).await?);
        let consumer = format!("consumer = '{}'", queue.name);
        let sql = format!(
            "SELECT consumer, event_id, COUNT(*) AS times FROM {inbox}
             WHERE {consumer} AND event_id > $1 AND event_id <= $2
             GROUP BY consumer, event_id HAVING COUNT(*) > 1 ORDER BY event_id"
        );
        let mut take = |row: &Row| {
            let times: i64 = row.get("times")?;
            let what = format!("was handled {times} times by `{}`", queue.name);
            tally.suspect(row.get::<Uuid>("event_id")?.to_string(), what);
            Ok(())
        };
        ground.each(Keys::of(&inbox, "event_id", PAGE).only(&consumer), &sql, &[], &mut take).await?;
    }
    let stock = "
        SELECT order_id, act, sku, COUNT(*) AS times FROM product_movements
        WHERE order_id > $1 AND order_id <= $2
        GROUP BY order_id, act, sku, location HAVING COUNT(*) > 1 ORDER BY order_id";
    let mut of_stock = |row: &Row| {
        let (act, sku, times): (String, String, i64) = (row.get("act")?, row.get("sku")?, row.get("times")?);
        tally.suspect(
            row.get::<Uuid>("order_id")?.to_string(),
            format!("`{act}` of {sku} was done {times} times"),
        );
        Ok(())
    };
    ground.each(Keys::of("product_reservations", "order_id", PAGE), stock, &[], &mut of_stock).await?;
    // A second capture is V10's.
    let money = "
        SELECT p.order_id, a.act_key, COUNT(*) AS times FROM payment_attempts a JOIN payments p ON p.id = a.payment_id
        WHERE a.payment_id > $1 AND a.payment_id <= $2 AND a.state = 'done' AND a.operation <> 'capture'
        GROUP BY p.order_id, a.act_key HAVING COUNT(*) > 1 ORDER BY p.order_id";
    let mut of_money = |row: &Row| {
        let (key, times): (String, i64) = (row.get("act_key")?, row.get("times")?);
        tally.suspect(row.get::<Uuid>("order_id")?.to_string(), format!("`{key}` was done {times} times"));
        Ok(())
    };
    ground.each(Keys::of("payments", "id", PAGE), money, &[], &mut of_money).await?;
    Ok(tally)
}

/// V16: every dead letter says whose it is and why it died, and is dead only once.
pub(super) async fn v16(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = Tally { nothing_is_fine: true, ..Tally::default() };
    tally.saw(ground.size("bus_dead_letters").await?);
    tally.count(
        "discarded",
        ground
            .number("SELECT COUNT(*) AS n FROM bus_dead_letters WHERE discarded_at IS NOT NULL", vec![])
            .await?,
    );
    const LETTERS: Keys<'static> = Keys::of("bus_dead_letters", "id", PAGE);
    let known: Vec<&str> = queues().map(|(queue, _)| queue.name).collect();
    let words = "SELECT l.id, l.queue, l.reason, COALESCE(l.discard_reason, '') AS discard_reason,
                   CASE WHEN l.discarded_at IS NULL THEN 0 ELSE 1 END AS discarded,
                   CASE WHEN EXISTS (SELECT 1 FROM bus_messages m WHERE m.id = l.id) THEN 1 ELSE 0 END AS alive
                 FROM bus_dead_letters l WHERE l.id > $1 AND l.id <= $2 ORDER BY l.id";
    let mut of_letter = |row: &Row| {
        let id = row.get::<Uuid>("id")?.to_string();
        let (queue, reason): (String, String) = (row.get("queue")?, row.get("reason")?);
        let is_discarded = row.get::<i64>("discarded")? > 0;
        if !known.contains(&queue.as_str()) {
            tally.suspect(id, format!("died in `{queue}`, which no service consumes"));
        } else if reason.trim().is_empty() {
            tally.suspect(id, "nobody said why it died");
        } else if is_discarded && row.get::<String>("discard_reason")?.trim().is_empty() {
            tally.suspect(id, "was given up, and nobody said why");
        } else if row.get::<i64>("alive")? > 0 {
            tally.suspect(id, "is dead and waits in its queue");
        }
        Ok(())
    };
    ground.each(LETTERS, words, &[], &mut of_letter).await?;
    for (queue, inbox) in queues() {
        let handled = format!(
            "SELECT l.id, l.event_id FROM bus_dead_letters l WHERE l.id > $1 AND l.id <= $2 AND l.queue = $3
               AND l.discarded_at IS NULL
               AND EXISTS (SELECT 1 FROM {inbox} i WHERE i.consumer = $3 AND i.event_id = l.event_id)
             ORDER BY l.id"
        );
        let mut take = |row: &Row| {
            let event: Uuid = row.get("event_id")?;
            let what = format!("is dead, and its event {event} was handled by `{}`", queue.name);
            tally.suspect(row.get::<Uuid>("id")?.to_string(), what);
            Ok(())
        };
        ground.each(LETTERS, &handled, &[queue.name.into()], &mut take).await?;
    }
    Ok(tally)
}

/// V18: everybody is told exactly once.
pub(super) async fn v18(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = Tally::default();
    tally.saw(ground.size("notification_deliveries").await?);
    let told = Keys::of("notification_inbox", "event_id", PAGE).only("consumer = 'notification'");
    let twice = "
        SELECT event_id, channel, LOWER(recipient) AS recipient, COUNT(*) AS times FROM notification_deliveries
        WHERE event_id > $1 AND event_id <= $2
        GROUP BY event_id, channel, LOWER(recipient) HAVING COUNT(*) > 1 ORDER BY event_id";
    let mut of_twins = |row: &Row| {
        let (channel, times): (String, i64) = (row.get("channel")?, row.get("times")?);
        let what = format!("is told {times} times to the same recipient over `{channel}`");
        tally.suspect(row.get::<Uuid>("event_id")?.to_string(), what);
        Ok(())
    };
    ground.each(told, twice, &[], &mut of_twins).await?;
    let never = "
        SELECT i.event_id FROM notification_inbox i
        WHERE i.event_id > $1 AND i.event_id <= $2 AND i.consumer = 'notification'
          AND NOT EXISTS (SELECT 1 FROM notification_deliveries d WHERE d.event_id = i.event_id)
        ORDER BY i.event_id";
    let mut of_nobody = |row: &Row| {
        tally.suspect(row.get::<Uuid>("event_id")?.to_string(), "was handled, and nobody is told of it");
        Ok(())
    };
    ground.each(told, never, &[], &mut of_nobody).await?;
    Ok(tally)
}
