//! Orders as clients read them, from the projection; and the projection beside the events it was made from.

use std::collections::HashMap;

use uuid::Uuid;

use super::status::Status;
use super::store::{self, ReplayError};
use super::wire::{Address, Difference, Order, OrderEvent, OrderLine};
use crate::storage::{Batch, Db, Row, StorageError, Value};
use crate::vocabulary::{Currency, Money, OrderId, UserId};

/// An order, and whose it is.
pub(super) struct Owned {
    pub(super) order: Order,
    pub(super) user_id: Option<UserId>,
    /// The number of the last event that [`Self::order`] shows.
    pub(super) version: i64,
}

/// Which orders a list shows.
#[derive(Default)]
pub(super) struct ListQuery {
    pub(super) user_id: Option<UserId>,
    pub(super) status: Option<Status>,
    pub(super) text: Option<String>,
    pub(super) before: Option<Uuid>,
}

pub(super) async fn one(db: &Db, id: OrderId) -> Result<Option<Owned>, StorageError> {
    let rows = db.read("SELECT * FROM order_orders WHERE id = $1", vec![id.into()]).await?;
    Ok(with_lines(db, rows).await?.into_iter().next())
}

/// The latest orders first; ids sort by time, so the cursor is the last id shown.
pub(super) async fn list(db: &Db, query: &ListQuery, limit: usize) -> Result<Vec<Owned>, StorageError> {
    let mut params: Vec<Value> = vec![i64::try_from(limit).unwrap_or(i64::MAX).into()];
    let mut conditions: Vec<String> = Vec::new();
    let mut push = |condition: &str, value: Value| {
        params.push(value);
        conditions.push(condition.replace('?', &format!("${}", params.len())));
    };
    if let Some(user) = query.user_id {
        push("user_id = ?", user.into());
    }
    if let Some(status) = query.status {
        push("status = ?", status.as_str().into());
    }
    if let Some(before) = query.before {
        push("id < ?", before.into());
    }
    if let Some(text) = query.text.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        if let Ok(id) = text.parse::<Uuid>() {
            push("id = ?", id.into());
        } else if text.contains('@') {
            push("LOWER(email) LIKE ? ESCAPE '!'", begins_with(&text.to_lowercase()).into());
        } else {
            push("number LIKE ? ESCAPE '!'", begins_with(&text.to_uppercase()).into());
        }
    }
    let only =
        if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    let sql = format!("SELECT * FROM order_orders {only} ORDER BY id DESC LIMIT $1");
    let rows = db.read(&sql, params).await?;
    with_lines(db, rows).await
}

fn begins_with(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 1);
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

async fn with_lines(db: &Db, rows: Vec<Row>) -> Result<Vec<Owned>, StorageError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids = rows.iter().map(|row| row.get::<OrderId>("id")).collect::<Result<Vec<_>, _>>()?;
    let places = (1..=ids.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT * FROM order_lines WHERE order_id IN ({places}) ORDER BY order_id, n");
    let mut lines: HashMap<OrderId, Vec<Row>> = HashMap::new();
    for line in db.read(&sql, ids.iter().map(|id| Value::from(*id)).collect()).await? {
        lines.entry(line.get("order_id")?).or_default().push(line);
    }
    rows.iter().zip(ids).map(|(row, id)| order(row, lines.get(&id).map_or(&[], Vec::as_slice))).collect()
}

fn order(row: &Row, lines: &[Row]) -> Result<Owned, StorageError> {
    let currency: Currency = row.get("currency")?;
    let money = |row: &Row, column: &str| Ok::<_, StorageError>(Money::new(row.get(column)?, currency));
    let lines = lines.iter().map(|line| {
        Ok(OrderLine {
            sku: line.get("sku")?,
            title: line.get("title")?,
            quantity: line.get("quantity")?,
            unit_price: money(line, "unit_price")?,
            discount: money(line, "discount")?,
            tax: money(line, "tax")?,
            line_total: money(line, "line_total")?,
        })
    });
    let address: serde_json::Value = row.get("shipping_address")?;
    let shipping_address: Address = serde_json::from_value(address)
        .map_err(|error| StorageError::Invalid(format!("a stored address cannot be read: {error}")))?;
    Ok(Owned {
        user_id: row.get("user_id")?,
        version: row.get("version")?,
        order: Order {
            id: row.get("id")?,
            number: row.get("number")?,
            status: word(row, "status")?,
            payment_status: word(row, "payment_status")?,
            fulfilment_status: word(row, "fulfilment_status")?,
            lines: lines.collect::<Result<_, StorageError>>()?,
            subtotal: money(row, "subtotal")?,
            discount: money(row, "discount")?,
            tax: money(row, "tax")?,
            shipping: money(row, "shipping")?,
            total: money(row, "total")?,
            refunded: money(row, "refunded")?,
            email: row.get("email")?,
            shipping_address,
            placed_at: row.get("placed_at")?,
            updated_at: row.get("updated_at")?,
            promotion: row.get("promotion")?,
            tracking: row.get("tracking")?,
            held_until: row.get("held_until")?,
            reason: row.get("reason")?,
            access_token: None,
        },
    })
}

/// A column that holds one of the status words.
pub(super) fn word<T: std::str::FromStr<Err = String>>(row: &Row, column: &str) -> Result<T, StorageError> {
    row.get::<String>(column)?.parse().map_err(StorageError::Invalid)
}

/// What happened to an order after event number `after`.
pub(super) async fn events(db: &Db, id: OrderId, after: i64) -> Result<Vec<OrderEvent>, StorageError> {
    let sql =
        "SELECT seq, type, data, actor, at FROM order_events WHERE order_id = $1 AND seq > $2 ORDER BY seq";
    let rows = db.read(sql, vec![id.into(), after.into()]).await?;
    rows.iter()
        .map(|row| {
            Ok(OrderEvent {
                seq: row.get("seq")?,
                kind: row.get("type")?,
                at: row.get("at")?,
                actor: row.get("actor")?,
                data: row.get("data")?,
            })
        })
        .collect()
}

/// What a rebuild found and, unless it was a dry run, mended.
pub(super) struct Comparison {
    pub(super) order: Order,
    pub(super) differences: Vec<Difference>,
}

/// Replays an order's events and compares them with its projection; with `write`, writes what differs, provided that
/// nothing was appended meanwhile.
pub(super) async fn rebuild(db: &Db, id: OrderId, write: bool) -> Result<Option<Comparison>, ReplayError> {
    let Some(order) = store::load(db, id).await? else { return Ok(None) };
    let Some(row) = db.read_one("SELECT * FROM order_orders WHERE id = $1", vec![id.into()]).await? else {
        return Ok(None);
    };
    let columns = [order.fixed_columns(), order.moving_columns()].concat();
    let mut differences = Vec::new();
    let mut mended = Vec::new();
    for (column, replayed) in columns {
        let stored = cell(&row, column, &replayed)?;
        if stored != replayed {
            differences.push(Difference {
                field: column.to_owned(),
                stored: show(&stored),
                replayed: show(&replayed),
            });
            mended.push((column, replayed));
        }
    }
    if write && !mended.is_empty() {
        let mut params: Vec<Value> = vec![id.into(), order.state.seq.into()];
        let sets = mended.into_iter().map(|(column, value)| {
            params.push(value);
            format!("{column} = ${}", params.len())
        });
        let sets = sets.collect::<Vec<_>>().join(", ");
        let sql = format!(
            "UPDATE order_orders SET {sets} WHERE id = $1 \
             AND (SELECT MAX(seq) FROM order_events WHERE order_id = $1) = $2"
        );
        let mut batch = Batch::new();
        batch.one(store::MOVED, sql, params);
        db.write(batch).await?;
    }
    Ok(Some(Comparison { order: order.view(), differences }))
}

/// The stored cell, in the kind of the value it is compared with.
pub(super) fn cell(row: &Row, column: &str, like: &Value) -> Result<Value, StorageError> {
    use crate::storage::Kind;
    Ok(match like.kind() {
        Kind::Bool => row.get::<Option<bool>>(column)?.into(),
        Kind::Int => row.get::<Option<i64>>(column)?.into(),
        Kind::Text => row.get::<Option<String>>(column)?.into(),
        Kind::Bytes => row.get::<Option<Vec<u8>>>(column)?.into(),
        Kind::Uuid => row.get::<Option<Uuid>>(column)?.into(),
        Kind::Time => row.get::<Option<crate::vocabulary::Timestamp>>(column)?.into(),
        Kind::Json => row.get::<Option<serde_json::Value>>(column)?.into(),
    })
}

pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null(_) => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Text(text) | Value::Json(text) => text.clone(),
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Value::Uuid(uuid) => uuid.to_string(),
        Value::Time(at) => at.to_string(),
    }
}
