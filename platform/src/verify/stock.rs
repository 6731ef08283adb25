//! Stock: V1 to V5. Nothing is sold that is not there, and what an order was promised is its own.

use super::ground::{Ground, Keys};
use super::tally::Tally;
use crate::storage::{Row, StorageError};
use crate::vocabulary::{OrderId, Timestamp};

/// A SKU's rows are read by one statement, so they are seen at one moment, and what is broken in them is broken: no
/// second look, which on a busy SKU would find other numbers.
fn at_one_moment() -> Tally {
    Tally { is_certain: true, ..Tally::default() }
}

/// Orders of one query.
const PAGE: u32 = 5_000;
const ORDERS: Keys<'static> = Keys::of("order_orders", "id", PAGE);

/// A SKU with its place, when that is not the only one.
fn place(row: &Row) -> Result<String, StorageError> {
    let (sku, location): (String, String) = (row.get("sku")?, row.get("location")?);
    Ok(if location == "main" { sku } else { format!("{sku} at {location}") })
}

/// V1: per SKU and location `0 <= reserved <= on_hand`.
pub(super) async fn v1(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = at_one_moment();
    tally.saw(ground.size("product_stock").await?);
    let sql = "SELECT sku, location, on_hand, reserved FROM product_stock
               WHERE on_hand < 0 OR reserved < 0 OR reserved > on_hand ORDER BY sku, location";
    for row in ground.rows(sql, vec![]).await? {
        let (on_hand, reserved): (i64, i64) = (row.get("on_hand")?, row.get("reserved")?);
        tally.suspect(place(&row)?, format!("{reserved} reserved of {on_hand} on hand"));
    }
    Ok(tally)
}

/// V2: a stock row is the sum of its movements, and what is reserved the sum of active reservations.
pub(super) async fn v2(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = at_one_moment();
    tally.saw(ground.size("product_stock").await?);
    tally.count("movements", ground.size("product_movements").await?);
    let sql = "
        SELECT s.sku, s.location, s.on_hand, s.reserved, s.movements,
          COALESCE(m.on_hand, 0) AS moved_on_hand, COALESCE(m.reserved, 0) AS moved_reserved,
          COALESCE(m.movements, 0) AS moved_times, COALESCE(h.quantity, 0) AS held
        FROM product_stock s
        LEFT JOIN (SELECT sku, location, COUNT(*) AS movements, CAST(SUM(on_hand_delta) AS BIGINT) AS on_hand,
                     CAST(SUM(reserved_delta) AS BIGINT) AS reserved
                   FROM product_movements GROUP BY sku, location) m ON m.sku = s.sku AND m.location = s.location
        LEFT JOIN (SELECT sku, location, CAST(SUM(quantity) AS BIGINT) AS quantity FROM product_reservation_lines
                   WHERE state IN ('held', 'pinned') GROUP BY sku, location) h
          ON h.sku = s.sku AND h.location = s.location
        WHERE s.on_hand <> COALESCE(m.on_hand, 0) OR s.reserved <> COALESCE(m.reserved, 0)
          OR s.movements <> COALESCE(m.movements, 0) OR s.reserved <> COALESCE(h.quantity, 0)
        ORDER BY s.sku, s.location";
    for row in ground.rows(sql, vec![]).await? {
        let number = |column: &str| row.get::<i64>(column);
        let what = format!(
            "on hand {}, its movements come to {}; reserved {}, its movements come to {}, its active reservations to \
             {}; {} movements, {} are there",
            number("on_hand")?,
            number("moved_on_hand")?,
            number("reserved")?,
            number("moved_reserved")?,
            number("held")?,
            number("movements")?,
            number("moved_times")?,
        );
        tally.suspect(place(&row)?, what);
    }
    Ok(tally)
}

/// V3: units that left with orders are units that came in. A return counts only as far as the order took something.
pub(super) async fn v3(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = at_one_moment();
    tally.saw(ground.size("product_stock").await?);
    let sql = "
        SELECT * FROM (
          SELECT s.sku, s.location, COALESCE(i.units, 0) AS came_in,
            COALESCE(o.units, 0) - COALESCE(b.units, 0) AS went_out
          FROM product_stock s
          LEFT JOIN (SELECT sku, location, CAST(SUM(on_hand_delta) AS BIGINT) AS units FROM product_movements
                     WHERE kind IN ('receipt', 'adjust') GROUP BY sku, location) i
            ON i.sku = s.sku AND i.location = s.location
          LEFT JOIN (SELECT sku, location, CAST(-SUM(on_hand_delta) AS BIGINT) AS units FROM product_movements
                     WHERE kind = 'commit' GROUP BY sku, location) o ON o.sku = s.sku AND o.location = s.location
          LEFT JOIN (SELECT sku, location,
                       CAST(SUM(CASE WHEN returned > taken THEN taken ELSE returned END) AS BIGINT) AS units
                     FROM (SELECT order_id, sku, location,
                             SUM(CASE WHEN kind = 'return' THEN on_hand_delta ELSE 0 END) AS returned,
                             SUM(CASE WHEN kind = 'commit' THEN -on_hand_delta ELSE 0 END) AS taken
                           FROM product_movements
                           WHERE order_id IN (SELECT order_id FROM product_reservations WHERE returns > 0)
                           GROUP BY order_id, sku, location) AS per_order
                     GROUP BY sku, location) b ON b.sku = s.sku AND b.location = s.location) AS balance
        WHERE went_out > came_in ORDER BY sku, location";
    for row in ground.rows(sql, vec![]).await? {
        let (out, came): (i64, i64) = (row.get("went_out")?, row.get("came_in")?);
        tally.suspect(place(&row)?, format!("{out} units are out with orders, only {came} ever came in"));
    }
    Ok(tally)
}

/// V4: nothing is held beyond its time, or for an order that is over.
pub(super) async fn v4(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = Tally::default();
    tally.saw(ground.size("product_reservations").await?);
    let late =
        "SELECT order_id, expires_at FROM product_reservations WHERE state = 'held' AND expires_at < $1
                ORDER BY order_id";
    for row in ground.rows(late, vec![ground.overdue().into()]).await? {
        let (order, at): (OrderId, Timestamp) = (row.get("order_id")?, row.get("expires_at")?);
        tally
            .suspect(order.to_string(), format!("its reservation expired at {at} and still holds its units"));
    }
    let over = "SELECT r.order_id, r.state, o.status FROM product_reservations r JOIN order_orders o ON o.id = r.order_id
                WHERE r.state IN ('held', 'pinned') AND o.status IN ('closed', 'cancelled', 'rejected', 'expired')
                ORDER BY r.order_id";
    for row in ground.rows(over, vec![]).await? {
        let (order, state, status): (OrderId, String, String) =
            (row.get("order_id")?, row.get("state")?, row.get("status")?);
        tally.suspect(order.to_string(), format!("the order is {status} and its units are still {state}"));
    }
    Ok(tally)
}

/// V5: a confirmed order has exactly its quantities, pinned or taken; from packing on, taken.
pub(super) async fn v5(ground: &Ground) -> Result<Tally, StorageError> {
    const PAID: &str = "('confirmed', 'fulfilling', 'shipped', 'delivered', 'closed')";
    let mut tally = Tally::default();
    let count = format!("SELECT COUNT(*) AS n FROM order_orders WHERE status IN {PAID}");
    tally.saw(ground.number(&count, vec![]).await?);
    let state = "
        SELECT o.id, o.status, COALESCE(r.state, 'missing') AS state
        FROM order_orders o LEFT JOIN product_reservations r ON r.order_id = o.id
        WHERE o.id > $1 AND o.id <= $2 AND (
          (o.status = 'confirmed' AND COALESCE(r.state, 'missing') NOT IN ('pinned', 'committed'))
          OR (o.status IN ('fulfilling', 'shipped', 'delivered', 'closed')
              AND COALESCE(r.state, 'missing') <> 'committed'))
        ORDER BY o.id";
    let mut of_state = |row: &Row| {
        let (id, status, state): (OrderId, String, String) =
            (row.get("id")?, row.get("status")?, row.get("state")?);
        tally.suspect(id.to_string(), format!("the order is {status} and its reservation is {state}"));
        Ok(())
    };
    ground.each(ORDERS, state, &[], &mut of_state).await?;
    // `due` is what must have left the shelf: all of it once the reservation is committed.
    let quantities = format!(
        "SELECT id, sku, CAST(SUM(wanted) AS BIGINT) AS wanted, CAST(SUM(reserved) AS BIGINT) AS reserved,
           CAST(SUM(due) AS BIGINT) AS due, CAST(SUM(taken) AS BIGINT) AS taken
         FROM (
           SELECT o.id, l.sku, l.quantity AS wanted, 0 AS reserved,
             CASE WHEN r.state = 'committed' THEN l.quantity ELSE 0 END AS due, 0 AS taken
           FROM order_orders o JOIN order_lines l ON l.order_id = o.id
             JOIN product_reservations r ON r.order_id = o.id
           WHERE o.id > $1 AND o.id <= $2 AND o.status IN {PAID} AND r.state IN ('pinned', 'committed')
           UNION ALL
           SELECT o.id, m.sku, 0, CASE WHEN m.act = 'reserve' THEN m.reserved_delta ELSE 0 END,
             0, CASE WHEN m.act = 'close' THEN -m.on_hand_delta ELSE 0 END
           FROM order_orders o JOIN product_reservations r ON r.order_id = o.id
             JOIN product_movements m ON m.order_id = o.id
           WHERE o.id > $1 AND o.id <= $2 AND o.status IN {PAID} AND r.state IN ('pinned', 'committed')
         ) AS sides
         GROUP BY id, sku HAVING SUM(wanted) <> SUM(reserved) OR SUM(due) <> SUM(taken) ORDER BY id, sku"
    );
    let mut of_quantity = |row: &Row| {
        let (id, sku): (OrderId, String) = (row.get("id")?, row.get("sku")?);
        let number = |column: &str| row.get::<i64>(column);
        let what = format!(
            "{} of {sku} were ordered, {} reserved, {} taken",
            number("wanted")?,
            number("reserved")?,
            number("taken")?
        );
        tally.suspect(id.to_string(), what);
        Ok(())
    };
    ground.each(ORDERS, &quantities, &[], &mut of_quantity).await?;
    Ok(tally)
}
