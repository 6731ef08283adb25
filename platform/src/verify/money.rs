//! Money: V6, V7, V8, V10 and V11. What was charged is what was bought, once, and every cent is in the ledger.
//! (V9, the provider's side, is in `statement.rs`.)

use super::ground::{Ground, Keys};
use super::tally::Tally;
use crate::storage::{Row, StorageError};
use crate::vocabulary::OrderId;

/// Rows of one query.
const PAGE: u32 = 5_000;
const ORDERS: Keys<'static> = Keys::of("order_orders", "id", PAGE);
const PAYMENTS: Keys<'static> = Keys::of("payments", "id", PAGE);

/// V6: an order's totals are the sums of its lines, to the minor unit.
pub(super) async fn v6(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = Tally::default();
    tally.saw(ground.size("order_orders").await?);
    let sql = "
        SELECT o.id, o.subtotal, o.discount, o.tax, o.shipping, o.total,
          COALESCE(l.subtotal, 0) AS lines_subtotal, COALESCE(l.discount, 0) AS lines_discount,
          COALESCE(l.tax, 0) AS lines_tax, COALESCE(l.total, 0) AS lines_total
        FROM order_orders o
        LEFT JOIN (SELECT order_id, CAST(SUM(unit_price * quantity) AS BIGINT) AS subtotal,
                     CAST(SUM(discount) AS BIGINT) AS discount, CAST(SUM(tax) AS BIGINT) AS tax,
                     CAST(SUM(line_total) AS BIGINT) AS total
                   FROM order_lines WHERE order_id > $1 AND order_id <= $2 GROUP BY order_id) l ON l.order_id = o.id
        WHERE o.id > $1 AND o.id <= $2 AND (
          o.total <> COALESCE(l.total, 0) + o.shipping OR o.subtotal <> COALESCE(l.subtotal, 0)
          OR o.discount <> COALESCE(l.discount, 0) OR o.tax <> COALESCE(l.tax, 0))
        ORDER BY o.id";
    let mut take = |row: &Row| {
        let id: OrderId = row.get("id")?;
        let number = |column: &str| row.get::<i64>(column);
        let mut off = Vec::new();
        let goods = number("total")? - number("shipping")?;
        for (name, whole, lines) in [
            ("total less shipping", goods, number("lines_total")?),
            ("subtotal", number("subtotal")?, number("lines_subtotal")?),
            ("discount", number("discount")?, number("lines_discount")?),
            ("tax", number("tax")?, number("lines_tax")?),
        ] {
            if whole != lines {
                off.push(format!("{name} {whole}, its lines come to {lines}"));
            }
        }
        tally.suspect(id.to_string(), off.join("; "));
        Ok(())
    };
    ground.each(ORDERS, sql, &[], &mut take).await?;
    Ok(tally)
}

/// V7: nothing is taken that was not held, and nothing given back that was not taken.
pub(super) async fn v7(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = Tally::default();
    tally.saw(ground.size("payments").await?);
    let sql = "
        SELECT * FROM (
          SELECT p.id, p.order_id, p.authorized, p.captured, p.refunded,
            COALESCE((SELECT CAST(SUM(r.amount) AS BIGINT) FROM payment_refunds r
                      WHERE r.payment_id = p.id AND r.state = 'succeeded'), 0) AS refunds
          FROM payments p WHERE p.id > $1 AND p.id <= $2) AS standing
        WHERE captured > authorized OR refunded > captured OR refunded <> refunds ORDER BY id";
    let mut take = |row: &Row| {
        let order: OrderId = row.get("order_id")?;
        let number = |column: &str| row.get::<i64>(column);
        let what = format!(
            "authorized {}, captured {}, refunded {} in refunds of {}",
            number("authorized")?,
            number("captured")?,
            number("refunded")?,
            number("refunds")?
        );
        tally.suspect(order.to_string(), what);
        Ok(())
    };
    ground.each(PAYMENTS, sql, &[], &mut take).await?;
    Ok(tally)
}

/// V8: the ledger balances, and payments say what it says.
pub(super) async fn v8(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = Tally::default();
    tally.saw(ground.size("payment_ledger").await?);
    let balance = "
        SELECT tx_id, currency, CAST(SUM(debit) AS BIGINT) AS debit, CAST(SUM(credit) AS BIGINT) AS credit
        FROM payment_ledger WHERE payment_id > $1 AND payment_id <= $2
        GROUP BY tx_id, currency HAVING SUM(debit) <> SUM(credit) ORDER BY tx_id";
    let mut of_transaction = |row: &Row| {
        let (id, currency): (uuid::Uuid, String) = (row.get("tx_id")?, row.get("currency")?);
        let (debit, credit): (i64, i64) = (row.get("debit")?, row.get("credit")?);
        tally.suspect(
            id.to_string(),
            format!("the transaction debits {debit} and credits {credit} {currency}"),
        );
        Ok(())
    };
    ground.each(PAYMENTS, balance, &[], &mut of_transaction).await?;
    let derived = "
        SELECT p.id, p.order_id, p.captured, p.refunded, COALESCE(l.taken, 0) AS taken,
          COALESCE(l.given_back, 0) AS given_back
        FROM payments p
        LEFT JOIN (SELECT payment_id, CAST(SUM(debit) AS BIGINT) AS taken, CAST(SUM(credit) AS BIGINT) AS given_back
                   FROM payment_ledger
                   WHERE payment_id > $1 AND payment_id <= $2 AND account = 'provider_receivable'
                   GROUP BY payment_id) l ON l.payment_id = p.id
        WHERE p.id > $1 AND p.id <= $2
          AND (p.captured <> COALESCE(l.taken, 0) OR p.refunded <> COALESCE(l.given_back, 0))
        ORDER BY p.id";
    let mut of_payment = |row: &Row| {
        let order: OrderId = row.get("order_id")?;
        let number = |column: &str| row.get::<i64>(column);
        let what = format!(
            "captured {} and refunded {}, the ledger has {} and {}",
            number("captured")?,
            number("refunded")?,
            number("taken")?,
            number("given_back")?
        );
        tally.suspect(order.to_string(), what);
        Ok(())
    };
    ground.each(PAYMENTS, derived, &[], &mut of_payment).await?;
    Ok(tally)
}

/// V10: money is taken at most once for an order.
pub(super) async fn v10(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = Tally::default();
    tally.saw(ground.size("payments").await?);
    let sql = "
        SELECT p.order_id, COUNT(*) AS captures, CAST(SUM(a.amount) AS BIGINT) AS amount
        FROM payment_attempts a JOIN payments p ON p.id = a.payment_id
        WHERE a.payment_id > $1 AND a.payment_id <= $2 AND a.operation = 'capture' AND a.state = 'done'
        GROUP BY p.order_id HAVING COUNT(*) > 1 ORDER BY p.order_id";
    let mut take = |row: &Row| {
        let order: OrderId = row.get("order_id")?;
        let (captures, amount): (i64, i64) = (row.get("captures")?, row.get("amount")?);
        tally.suspect(order.to_string(), format!("{captures} captures succeeded, {amount} in all"));
        Ok(())
    };
    ground.each(PAYMENTS, sql, &[], &mut take).await?;
    Ok(tally)
}

/// V11: a confirmed order was paid in full; one that came to nothing has no money of the buyer's.
pub(super) async fn v11(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = Tally::default();
    let count =
        "SELECT COUNT(*) AS n FROM order_orders WHERE status IN ('confirmed', 'fulfilling', 'shipped',
                 'delivered', 'closed', 'cancelled', 'rejected', 'expired')";
    tally.saw(ground.number(count, vec![]).await?);
    let sql = "
        SELECT o.id, o.status, o.total, o.currency, COALESCE(p.status, 'none') AS payment,
          COALESCE(p.captured, 0) AS captured, COALESCE(p.refunded, 0) AS refunded,
          COALESCE(p.currency, o.currency) AS paid_in
        FROM order_orders o LEFT JOIN payments p ON p.order_id = o.id
        WHERE o.id > $1 AND o.id <= $2 AND (
          (o.status IN ('confirmed', 'fulfilling', 'shipped', 'delivered', 'closed')
            AND (o.total <> COALESCE(p.captured, 0) OR o.currency <> COALESCE(p.currency, o.currency)))
          OR (o.status IN ('cancelled', 'rejected', 'expired')
            AND (COALESCE(p.captured, 0) <> COALESCE(p.refunded, 0) OR COALESCE(p.status, 'none') = 'authorized')))
        ORDER BY o.id";
    let mut late = Vec::new();
    let mut take = |row: &Row| {
        let (id, status, payment): (OrderId, String, String) =
            (row.get("id")?, row.get("status")?, row.get("payment")?);
        let (currency, paid_in): (String, String) = (row.get("currency")?, row.get("paid_in")?);
        let number = |column: &str| row.get::<i64>(column);
        let what = format!(
            "the order is {status} over {} {currency}; its payment is {payment}, captured {}, refunded {} {paid_in}",
            number("total")?,
            number("captured")?,
            number("refunded")?
        );
        if matches!(status.as_str(), "cancelled" | "rejected" | "expired") {
            late.push((id, what));
        } else {
            tally.suspect(id.to_string(), what);
        }
        Ok(())
    };
    ground.each(ORDERS, sql, &[], &mut take).await?;
    for (id, what) in late {
        if is_being_sent_back(ground, id).await? {
            tally.count("being sent back", 1);
        } else {
            tally.suspect(id.to_string(), what);
        }
    }
    Ok(tally)
}

/// Money that moved after the order had ended goes back by a saga of its own, which an event begins. V21 watches that
/// it gets there; when that saga is stuck, nothing moves the money any more.
async fn is_being_sent_back(ground: &Ground, order: OrderId) -> Result<bool, StorageError> {
    let sql = "
        SELECT (SELECT COUNT(*) FROM order_sagas WHERE subject = $1 AND state IN ('running', 'compensating'))
          + (SELECT COUNT(*) FROM payment_attempts a JOIN payments p ON p.id = a.payment_id
             WHERE p.order_id = $1 AND a.state IN ('open', 'lookup'))
          + (SELECT COUNT(*) FROM payment_outbox WHERE aggregate = $1 AND published_at IS NULL)
          + (SELECT COUNT(*) FROM bus_messages WHERE aggregate = $1 AND queue = 'order') AS n";
    Ok(ground.number(sql, vec![order.into()]).await? > 0)
}
