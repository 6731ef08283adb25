//! The figures of the admin's first page, read from the projection.

use std::collections::HashMap;
use std::time::Duration;

use super::orders::Orders;
use super::saga_log;
use super::status::Status;
use super::views::word;
use super::wire::{Dashboard, Minute, StatusCount};
use crate::http::Problem;
use crate::storage::{Row, StorageError};
use crate::vocabulary::{Money, Timestamp, clock};

const MINUTES: i64 = 60;
const MINUTE_US: i64 = 60_000_000;

/// Orders and money of the last day, and the last hour minute by minute.
pub(super) async fn figures(orders: &Orders) -> Result<Dashboard, Problem> {
    let now = orders.env.now();
    let day = ago(now, Duration::from_secs(24 * 3600));
    let sql = "SELECT status, COUNT(*) AS many, CAST(COALESCE(SUM(captured), 0) AS BIGINT) AS captured, \
               CAST(COALESCE(SUM(refunded), 0) AS BIGINT) AS refunded FROM order_orders WHERE id >= $1 GROUP BY status";
    let rows = orders.db.read(sql, vec![first_id(day).into()]).await?;
    let mut orders_by_status = Vec::new();
    let (mut orders_24h, mut captured, mut refunded) = (0, 0, 0);
    for row in &rows {
        let status: Status = word(row, "status")?;
        let many: i64 = row.get("many")?;
        if !matches!(status, Status::Cancelled | Status::Rejected | Status::Expired) && status.is_settled() {
            orders_24h += many;
        }
        captured += row.get::<i64>("captured")?;
        refunded += row.get::<i64>("refunded")?;
        orders_by_status.push(StatusCount { status, orders: many });
    }
    orders_by_status.sort_by_key(|count| count.status);
    let (sagas_in_flight, sagas_stuck) = saga_log().counts(&orders.db).await?;
    let currency = orders.config.currency;
    Ok(Dashboard {
        currency,
        minutes: minutes(orders, now).await?,
        orders_by_status,
        orders_24h,
        revenue_24h: Money::new(captured, currency),
        refunded_24h: Money::new(refunded, currency),
        sagas_in_flight,
        sagas_stuck,
    })
}

async fn minutes(orders: &Orders, now: Timestamp) -> Result<Vec<Minute>, StorageError> {
    let last = now.as_microsecond() / MINUTE_US;
    let first = last - MINUTES + 1;
    let from = minute(first);
    let sql = "SELECT placed_at, captured FROM order_orders WHERE id >= $1";
    let rows = orders.db.read(sql, vec![first_id(from).into()]).await?;
    let mut counted: HashMap<i64, (i64, i64)> = HashMap::new();
    for row in &rows {
        let (at, captured) = placed(row)?;
        let counted = counted.entry(at.as_microsecond() / MINUTE_US).or_default();
        counted.0 += 1;
        counted.1 += captured;
    }
    let minutes = (first..=last).map(|number| {
        let (orders, revenue) = counted.get(&number).copied().unwrap_or_default();
        Minute { at: minute(number), orders, revenue }
    });
    Ok(minutes.collect())
}

fn placed(row: &Row) -> Result<(Timestamp, i64), StorageError> {
    Ok((row.get("placed_at")?, row.get("captured")?))
}

fn minute(number: i64) -> Timestamp {
    Timestamp::from_microsecond(number * MINUTE_US).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn ago(now: Timestamp, by: Duration) -> Timestamp {
    let before = clock::since(Timestamp::UNIX_EPOCH, now).saturating_sub(by);
    clock::add(Timestamp::UNIX_EPOCH, before)
}

/// The smallest id of an order placed at `at` or later: ids sort by time.
fn first_id(at: Timestamp) -> uuid::Uuid {
    let ms = u64::try_from(at.as_millisecond()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(ms, &[0; 10]).into_uuid()
}
