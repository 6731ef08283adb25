//! V17: one order for each key, and every acknowledged order is there.
//!
//! What was acknowledged only the clients know: a shop that lost an order lost its own memory of it too. So without a
//! journal of a client's the verdict is unknown.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::ground::Ground;
use super::journal::{Acknowledged, JournalError, Reader};
use super::tally::Tally;
use crate::storage::{StorageError, Value};
use crate::vocabulary::{Timestamp, clock};

/// Orders of one query.
const AT_ONCE: usize = 128;
/// For how long a key names the same order.
const KEY_LIFE_S: u64 = 24 * 3600;

/// V17.
pub(super) async fn v17(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = Tally::default();
    twins(ground, &mut tally).await?;
    dangling(ground, &mut tally).await?;
    let elsewhere = &ground.beside.journals_elsewhere;
    if !elsewhere.is_empty() {
        let shops: BTreeSet<&str> = elsewhere.iter().map(|(_, shop)| shop.as_str()).collect();
        let shops = shops.into_iter().collect::<Vec<_>>().join(", ");
        tally.left_out.push(format!(
            "{} journals of other runs were not compared: they speak of {shops}",
            elsewhere.len()
        ));
    }
    if ground.beside.journals.is_empty() {
        tally.blind(
            "there is no journal of acknowledged orders, and what the shop forgot only a client remembers",
        );
        return Ok(tally);
    }
    for path in &ground.beside.journals {
        let mut reader = match Reader::open(path) {
            Ok(reader) => reader,
            Err(error) => {
                tally.blind(error.to_string());
                continue;
            }
        };
        let mut page = Vec::with_capacity(AT_ONCE);
        let outcome: Result<(), JournalError> = loop {
            match reader.next() {
                Some(Ok(order)) => page.push(order),
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            }
            if page.len() == AT_ONCE {
                acknowledged(ground, &page, &mut tally).await?;
                page.clear();
            }
        };
        acknowledged(ground, &page, &mut tally).await?;
        tally.count("torn lines", reader.torn());
        if let Err(error) = outcome {
            tally.blind(error.to_string());
        }
    }
    Ok(tally)
}

/// Two orders under one key, while it named one order.
async fn twins(ground: &Ground, tally: &mut Tally) -> Result<(), StorageError> {
    let checkouts = "SELECT COUNT(*) AS n FROM order_sagas WHERE kind = 'checkout'";
    tally.saw(ground.number(checkouts, vec![]).await?);
    let shared = "SELECT params ->> 'scope' AS scope, params ->> 'key' AS key FROM order_sagas
                  WHERE kind = 'checkout' AND params ->> 'scope' IS NOT NULL
                  GROUP BY params ->> 'scope', params ->> 'key' HAVING COUNT(*) > 1 ORDER BY 1, 2";
    let of_key = "SELECT subject, created_at FROM order_sagas
                  WHERE kind = 'checkout' AND params ->> 'scope' = $1 AND params ->> 'key' = $2 ORDER BY created_at, id";
    for row in ground.rows(shared, vec![]).await? {
        let (scope, key): (String, String) = (row.get("scope")?, row.get("key")?);
        let mut before: Option<(Uuid, Timestamp)> = None;
        for row in ground.rows(of_key, vec![scope.as_str().into(), key.as_str().into()]).await? {
            let (order, at): (Uuid, Timestamp) = (row.get("subject")?, row.get("created_at")?);
            if let Some((first, placed)) = before
                && clock::since(placed, at).as_secs() < KEY_LIFE_S
            {
                let what = format!("was placed under the key of {first}: `{key}` of {scope}");
                tally.suspect(order.to_string(), what);
            }
            before = Some((order, at));
        }
    }
    Ok(())
}

/// A key that names an order which is not there.
async fn dangling(ground: &Ground, tally: &mut Tally) -> Result<(), StorageError> {
    let sql = "SELECT i.scope, i.key, i.order_id, COALESCE(i.status, 0) AS status FROM order_idempotency i
               WHERE NOT EXISTS (SELECT 1 FROM order_orders o WHERE o.id = i.order_id) ORDER BY i.order_id";
    for row in ground.rows(sql, vec![]).await? {
        let (scope, key): (String, String) = (row.get("scope")?, row.get("key")?);
        let what = match row.get::<i64>("status")? {
            0 => format!("is not there, and the key `{key}` of {scope} names it"),
            status => {
                format!("is not there, and {status} was answered for it under the key `{key}` of {scope}")
            }
        };
        tally.suspect(row.get::<Uuid>("order_id")?.to_string(), what);
    }
    Ok(())
}

/// Looks for the orders that a client was promised.
async fn acknowledged(ground: &Ground, page: &[Acknowledged], tally: &mut Tally) -> Result<(), StorageError> {
    if page.is_empty() {
        return Ok(());
    }
    tally.saw(page.len() as u64);
    tally.count("acknowledged", page.len() as u64);
    // One length, so that one statement is prepared: the list is filled up with its last.
    let places = (1..=AT_ONCE).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT o.id, s.params ->> 'scope' AS scope, s.params ->> 'key' AS key
         FROM order_orders o LEFT JOIN order_sagas s ON s.id = o.id WHERE o.id IN ({places})"
    );
    let ids = page.iter().map(|order| order.order_id.uuid());
    let last = page.last().map(|order| order.order_id.uuid()).unwrap_or_default();
    let params: Vec<Value> = ids.chain(std::iter::repeat(last)).take(AT_ONCE).map(Value::from).collect();
    let mut found = BTreeMap::new();
    for row in ground.rows(&sql, params).await? {
        let key = (row.get::<Option<String>>("scope")?, row.get::<Option<String>>("key")?);
        found.insert(row.get::<Uuid>("id")?, key);
    }
    for order in page {
        let id = order.order_id;
        match found.get(&id.uuid()) {
            None => {
                tally.count("lost", 1);
                let what = format!("was acknowledged with {} at {} and is not there", order.status, order.at);
                tally.suspect(id.to_string(), what);
            }
            Some((Some(scope), Some(key))) if (scope, key) != (&order.scope, &order.key) => {
                let what = format!(
                    "was acknowledged under `{}` of {} and was placed under `{key}` of {scope}",
                    order.key, order.scope
                );
                tally.suspect(id.to_string(), what);
            }
            Some(_) => {}
        }
    }
    Ok(())
}
