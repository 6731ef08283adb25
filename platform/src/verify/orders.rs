//! Orders from their events: V12 and V13. The events are the truth, so each order is told anew from them, by the order
//! service's own rules, and laid beside its projection.
//!
//! All orders are told once, page by page, for both checks, and the events are searched for secrets on the way (V19):
//! they are most of what the shop has written.

use super::ground::{Ground, Keys, Range};
use super::secrets;
use super::tally::Tally;
use crate::services::order::replay::{Broken, Replay};
use crate::storage::{Db, Row, StorageError, Value};
use crate::vocabulary::{OrderId, Timestamp};

/// Orders of one page: a few thousand events, a few megabytes.
const PAGE: u32 = 500;
/// How many differing columns one order is told with.
const COLUMNS_TOLD: usize = 4;

/// What came of telling every order anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Replayed {
    v12: Tally,
    v13: Tally,
    secrets: Tally,
}

/// V12: events are numbered without a gap, and tell what the projection says.
pub(super) async fn v12(ground: &Ground) -> Result<Tally, StorageError> {
    Ok(replayed(ground).await?.v12.clone())
}

/// V13: only allowed transitions happened.
pub(super) async fn v13(ground: &Ground) -> Result<Tally, StorageError> {
    Ok(replayed(ground).await?.v13.clone())
}

/// What the events hold of secrets.
pub(super) async fn secrets(ground: &Ground) -> Result<Tally, StorageError> {
    Ok(replayed(ground).await?.secrets.clone())
}

pub(super) async fn replayed(ground: &Ground) -> Result<&Replayed, StorageError> {
    ground.replayed.get_or_try_init(|| replay(ground)).await
}

async fn replay(ground: &Ground) -> Result<Replayed, StorageError> {
    let mut replayed = Replayed::default();
    let mut ranges = ground.ranges(Keys::of("order_orders", "id", PAGE)).await?.into_iter();
    let fetch = |range: Option<Range>| range.map(|range| tokio::spawn(fetch(ground.db.clone(), range)));
    let mut next = fetch(ranges.next());
    while let Some(page) = next {
        let page = page.await.map_err(|error| StorageError::Unavailable(error.to_string()))??;
        // The engine reads the next page while this one is told.
        next = fetch(ranges.next());
        replayed.page(&page)?;
    }
    Ok(replayed)
}

/// The orders of a range with all that belongs to them, each sorted by the order.
struct Page {
    orders: Vec<Row>,
    lines: Vec<Row>,
    events: Vec<Row>,
}

/// The projection first: whatever it says, its events are there by then.
async fn fetch(db: Db, (after, end): Range) -> Result<Page, StorageError> {
    let range = || vec![after.into(), end.into()];
    let orders = "SELECT * FROM order_orders WHERE id > $1 AND id <= $2 ORDER BY id";
    let orders = db.read(orders, range()).await?;
    let lines =
        "SELECT order_id, sku, title, quantity, unit_price, discount, tax, line_total FROM order_lines
                 WHERE order_id > $1 AND order_id <= $2 ORDER BY order_id, n";
    let lines = db.read(lines, range()).await?;
    let events = "SELECT order_id, seq, type, data, at FROM order_events
                  WHERE order_id > $1 AND order_id <= $2 ORDER BY order_id, seq";
    let events = db.read(events, range()).await?;
    Ok(Page { orders, lines, events })
}

impl Replayed {
    fn page(&mut self, page: &Page) -> Result<(), StorageError> {
        let (mut lines, mut events) = (page.lines.as_slice(), page.events.as_slice());
        for row in &page.orders {
            let id: OrderId = row.get("id")?;
            for stray in before(&mut events, id)? {
                self.stray(stray)?;
            }
            let (lines, events) = (of(&mut lines, id)?, of(&mut events, id)?);
            self.order(id, row, lines, events)?;
        }
        for stray in events {
            self.stray(stray)?;
        }
        Ok(())
    }

    /// An event of an order that has no projection.
    fn stray(&mut self, row: &Row) -> Result<(), StorageError> {
        let (id, seq): (OrderId, i64) = (row.get("order_id")?, row.get("seq")?);
        self.v12.saw(1);
        self.search(id, seq, row);
        self.v12.suspect(id.to_string(), format!("event {seq} belongs to an order that is not there"));
        Ok(())
    }

    fn order(&mut self, id: OrderId, row: &Row, lines: &[Row], events: &[Row]) -> Result<(), StorageError> {
        self.v12.saw(1);
        self.v12.count("events", events.len() as u64);
        self.v13.saw(events.len() as u64);
        let version: i64 = row.get("version")?;
        let mut replay = Replay::new(id);
        let mut broken = None;
        let mut compared = false;
        for event in events {
            let (seq, at): (i64, Timestamp) = (event.get("seq")?, event.get("at")?);
            let kind: String = event.get("type")?;
            let data = cell(event, "data");
            self.search(id, seq, event);
            if let Err(why) = replay.take(seq, &kind, data, at) {
                broken = Some(why);
                break;
            }
            // On a running shop events may have been added since the projection was read.
            if seq == version {
                self.compare(id, &replay, row, lines)?;
                compared = true;
            }
        }
        match broken {
            Some(why) if why.is_transition() => self.v13.suspect(id.to_string(), why.to_string()),
            Some(why @ (Broken::Unreadable(..) | Broken::OutOfPlace(..))) => {
                self.v12.suspect(id.to_string(), why.to_string());
            }
            _ if !compared => {
                let what = format!("has {} events, its projection speaks of {version}", replay.seq());
                self.v12.suspect_kind(id.to_string(), "events are missing", what);
            }
            _ if replay.seq() > version => {
                let what = format!("event {} is not in its projection, which ends at {version}", version + 1);
                self.v12.suspect(id.to_string(), what);
            }
            _ => {}
        }
        Ok(())
    }

    fn compare(
        &mut self,
        id: OrderId,
        replay: &Replay,
        row: &Row,
        lines: &[Row],
    ) -> Result<(), StorageError> {
        let differences = replay.differences(row)?;
        if !differences.is_empty() {
            let told: Vec<String> = differences
                .iter()
                .take(COLUMNS_TOLD)
                .map(|(column, stored, told)| format!("{column} is `{stored}`, its events tell `{told}`"))
                .collect();
            self.v12.suspect(id.to_string(), told.join("; "));
        } else if !replay.has_lines(&lines.iter().collect::<Vec<_>>())? {
            self.v12.suspect(id.to_string(), "its lines are not those that were bought");
        }
        Ok(())
    }

    fn search(&mut self, id: OrderId, seq: i64, row: &Row) {
        secrets::search_value(&mut self.secrets, cell(row, "data"), || {
            format!("order_events {id} number {seq}")
        });
    }
}

fn cell<'row>(row: &'row Row, column: &str) -> &'row Value {
    const NOTHING: &Value = &Value::Null(crate::storage::Kind::Json);
    let at = row.columns.iter().position(|name| name == column);
    at.and_then(|at| row.values.get(at)).unwrap_or(NOTHING)
}

/// Takes the rows of `order` off the front of `rows`.
fn of<'rows>(rows: &mut &'rows [Row], order: OrderId) -> Result<&'rows [Row], StorageError> {
    let mut count = 0;
    while let Some(row) = rows.get(count)
        && row.get::<OrderId>("order_id")? == order
    {
        count += 1;
    }
    let (taken, rest) = rows.split_at(count);
    *rows = rest;
    Ok(taken)
}

/// Takes the rows of orders before `order` off the front of `rows`.
fn before<'rows>(rows: &mut &'rows [Row], order: OrderId) -> Result<&'rows [Row], StorageError> {
    let mut count = 0;
    while let Some(row) = rows.get(count)
        && row.get::<OrderId>("order_id")? < order
    {
        count += 1;
    }
    let (taken, rest) = rows.split_at(count);
    *rows = rest;
    Ok(taken)
}
