//! Liveness: V20 and V21. Nothing is forgotten, and what is due gets done.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::ground::{Ground, Keys};
use super::tally::Tally;
use crate::storage::{Row, StorageError, Value};
use crate::vocabulary::{OrderId, Timestamp};

const ORDERS: Keys<'static> = Keys::of("order_orders", "id", 5_000);

/// V20: every order that is not settled has a saga that runs, is scheduled, or is stuck and told.
pub(super) async fn v20(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = Tally::default();
    tally.saw(ground.size("order_orders").await?);
    // What was refunded with its goods is confirmed, and its units are back on the shelf.
    let unsettled =
        "(o.status IN ('pending', 'reserved', 'authorizing', 'payment_queued', 'authorized', 'cancelling')
                      OR (o.status = 'confirmed' AND o.stock NOT IN ('committed', 'returned')))";
    let count = format!("SELECT COUNT(*) AS n FROM order_orders o WHERE {unsettled}");
    tally.count("unsettled", ground.number(&count, vec![]).await?);
    let sql = format!(
        "SELECT o.id, o.status FROM order_orders o WHERE o.id > $1 AND o.id <= $2 AND {unsettled}
           AND NOT EXISTS (
             SELECT 1 FROM order_sagas s WHERE s.subject = o.id AND (
               (s.state IN ('running', 'compensating') AND (s.next_at IS NOT NULL OR s.lease_until >= $3))
               OR (s.state = 'stuck' AND EXISTS (
                 SELECT 1 FROM order_events e WHERE e.order_id = o.id AND e.type = 'saga_stuck'))))
         ORDER BY o.id"
    );
    let mut forgotten = Vec::new();
    let mut take = |row: &Row| {
        forgotten.push((row.get::<OrderId>("id")?, row.get::<String>("status")?));
        Ok(())
    };
    // A worker that died holds its lease only so long.
    ground.each(ORDERS, &sql, &[ground.overdue().into()], &mut take).await?;
    for (id, status) in forgotten {
        let saga =
            "SELECT kind, state FROM order_sagas WHERE subject = $1 ORDER BY created_at DESC, id LIMIT 1";
        let row = ground.db.read_one(saga, vec![id.into()]).await?;
        let saga = match row {
            Some(row) => {
                format!("its {} saga is {}", row.get::<String>("kind")?, row.get::<String>("state")?)
            }
            None => "it has no saga".to_owned(),
        };
        tally.suspect(id.to_string(), format!("the order is {status} and nobody carries it on: {saga}"));
    }
    untold(ground, &mut tally).await?;
    Ok(tally)
}

/// A stuck saga waits for a person, who must have been told, however far its order is.
async fn untold(ground: &Ground, tally: &mut Tally) -> Result<(), StorageError> {
    let sql = "SELECT s.subject, s.kind, s.step FROM order_sagas s
               WHERE s.state = 'stuck' AND NOT EXISTS (
                 SELECT 1 FROM order_events e WHERE e.order_id = s.subject AND e.type = 'saga_stuck')
               ORDER BY s.subject, s.id";
    for row in ground.rows(sql, vec![]).await? {
        let (id, kind, step): (OrderId, String, String) =
            (row.get("subject")?, row.get("kind")?, row.get("step")?);
        let id = id.to_string();
        // An order that is not settled either is told of once.
        if !tally.suspicions.iter().any(|one| one.id == id) {
            tally.suspect(id, format!("its {kind} saga is stuck at {step} and nobody was told"));
        }
    }
    Ok(())
}

/// Something that is due: what it is, its query (`$1` is the moment before which it is overdue), and the word for it.
struct Due {
    what: &'static str,
    all: &'static str,
    overdue: &'static str,
}

const DUE: &[Due] = &[
    Due {
        what: "sagas",
        all: "SELECT COUNT(*) AS n FROM order_sagas",
        overdue:
            "SELECT subject AS id, next_at AS at, kind || ' saga at step ' || step AS what FROM order_sagas
                  WHERE state IN ('running', 'compensating') AND next_at < $1
                    AND (lease_until IS NULL OR lease_until < $1) ORDER BY id",
    },
    Due {
        what: "messages",
        all: "SELECT COUNT(*) AS n FROM bus_messages",
        overdue: "SELECT id, visible_at AS at, kind || ' in the queue ' || queue AS what FROM bus_messages
                  WHERE visible_at < $1 ORDER BY id",
    },
    Due {
        what: "payment attempts",
        all: "SELECT COUNT(*) AS n FROM payment_attempts WHERE state IN ('open', 'lookup')",
        overdue:
            "SELECT p.order_id AS id, a.next_at AS at, a.operation || ' whose outcome is not known' AS what
                  FROM payment_attempts a JOIN payments p ON p.id = a.payment_id
                  WHERE a.state IN ('open', 'lookup') AND a.next_at < $1 ORDER BY p.order_id",
    },
    Due {
        what: "deliveries",
        all: "SELECT COUNT(*) AS n FROM notification_deliveries WHERE state = 'pending'",
        overdue:
            "SELECT id, next_at AS at, template || ' over ' || channel AS what FROM notification_deliveries
                  WHERE state = 'pending' AND next_at < $1 ORDER BY id",
    },
];

/// V21: nothing that is due waits longer than the bound; sagas end, queues drain.
pub(super) async fn v21(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = Tally::default();
    let overdue = Value::from(ground.overdue());
    for due in DUE {
        tally.saw(ground.number(due.all, vec![]).await?);
        for row in ground.rows(due.overdue, vec![overdue.clone()]).await? {
            let (id, at, what): (Uuid, Timestamp, String) =
                (row.get("id")?, row.get("at")?, row.get("what")?);
            tally.count(due.what, 1);
            tally.suspect(id.to_string(), format!("{what} was due at {at} and nobody took it up"));
        }
    }
    let webhooks =
        "SELECT event_id, kind, next_at FROM payment_webhooks WHERE processed_at IS NULL AND next_at < $1
                    ORDER BY event_id";
    for row in ground.rows(webhooks, vec![overdue.clone()]).await? {
        let (id, kind, at): (String, String, Timestamp) =
            (row.get("event_id")?, row.get("kind")?, row.get("next_at")?);
        tally.count("webhooks", 1);
        tally.suspect(id, format!("the webhook {kind} was due at {at} and nobody took it up"));
    }
    past_deadline(ground, overdue, &mut tally).await?;
    let held = "SELECT name, reason FROM payment_breakers WHERE held_open ORDER BY name";
    for row in ground.rows(held, vec![]).await? {
        let (name, reason): (String, String) = (row.get("name")?, row.get("reason")?);
        tally.blind(format!(
            "the breaker {name} is held open by a person ({reason}), so payments cannot drain"
        ));
    }
    for name in open_breakers(ground.beside.texts_of("metrics")) {
        tally.blind(format!("the breaker {name} is open, so what waits for the provider cannot be done"));
    }
    Ok(tally)
}

/// Breakers that the metrics at hand call open. The shop asks a provider that was down again and again by itself, so
/// one that is open is one whose provider is still away.
fn open_breakers<'a>(metrics: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let lines = metrics.flat_map(str::lines);
    lines.filter_map(|line| line.strip_prefix("breaker_state{breaker=\"")?.strip_suffix("\"} 2")).collect()
}

/// A saga beyond its deadline still goes on. When the provider's answer is what it waits for, only the provider can
/// end it, and whether it answers is not in the data.
async fn past_deadline(ground: &Ground, overdue: Value, tally: &mut Tally) -> Result<(), StorageError> {
    let sql = "
        SELECT s.subject AS id, s.kind, s.step, s.deadline_at AS at,
          CASE WHEN o.payment_status IN ('queued', 'unknown') THEN 1 ELSE 0 END AS waits
        FROM order_sagas s JOIN order_orders o ON o.id = s.subject
        WHERE s.state IN ('running', 'compensating') AND s.deadline_at < $1 ORDER BY s.subject";
    let mut waiting = 0;
    for row in ground.rows(sql, vec![overdue]).await? {
        let (id, kind, step): (OrderId, String, String) =
            (row.get("id")?, row.get("kind")?, row.get("step")?);
        let at: Timestamp = row.get("at")?;
        if row.get::<i64>("waits")? > 0 {
            waiting += 1;
        } else {
            tally.suspect(
                id.to_string(),
                format!("its {kind} saga should have ended by {at} and is at {step}"),
            );
        }
    }
    if waiting > 0 {
        tally.blind(format!("{waiting} orders are past their deadline and wait for the provider's answer"));
    }
    Ok(())
}
