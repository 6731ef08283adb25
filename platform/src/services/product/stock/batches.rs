//! The batches that move units: a state, a balance per SKU, a ledger line per SKU.

use crate::services::product::model::MovementKind;
use crate::services::product::store::LOCATION;
use crate::services::product::wire::{Line, ReservationState};
use crate::storage::{Batch, Expect, Value};
use crate::vocabulary::{OrderId, Timestamp};

/// Names of statements, as they come back from a batch that was refused.
pub(super) const RESERVATION: &str = "reservation";
pub(super) const LEDGER: &str = "ledger";

/// Before a SKU in the name of the statement that changes its balance.
pub(super) const SKU: &str = "sku:";
pub(super) const RESERVE: &str =
    "UPDATE product_stock SET reserved = reserved + $1, movements = movements + 1
 WHERE sku = $2 AND location = $3 AND on_hand - reserved >= $1";
pub(super) const GIVE_BACK: &str =
    "UPDATE product_stock SET reserved = reserved - $1, movements = movements + 1
 WHERE sku = $2 AND location = $3";
pub(super) const TAKE: &str =
    "UPDATE product_stock SET on_hand = on_hand - $1, reserved = reserved - $1, movements = movements + 1
 WHERE sku = $2 AND location = $3";
pub(super) const PUT_BACK: &str = "UPDATE product_stock SET on_hand = on_hand + $1, movements = movements + 1
 WHERE sku = $2 AND location = $3";

/// Ends a reservation and moves its units: given back, or taken off the shelf.
pub(super) fn closing(order_id: OrderId, state: ReservationState, lines: &[Line], now: Timestamp) -> Batch {
    let (change, kind, condition) = match state {
        ReservationState::Committed => (TAKE, MovementKind::Commit, "state IN ('held', 'pinned')"),
        ReservationState::Expired => (GIVE_BACK, MovementKind::Expire, "state = 'held' AND expires_at <= $2"),
        _ => (GIVE_BACK, MovementKind::Release, "state IN ('held', 'pinned')"),
    };
    let mut batch = Batch::new();
    batch.one(
        RESERVATION,
        format!(
            "UPDATE product_reservations SET state = $3, expires_at = NULL, changed_at = $2
             WHERE order_id = $1 AND {condition}"
        ),
        vec![order_id.into(), now.into(), state.as_str().into()],
    );
    balance(&mut batch, change, lines);
    ledger(&mut batch, kind, Some(order_id), "close", "", lines, now);
    batch
}

/// One conditional update per SKU, named by it.
pub(in crate::services::product) fn balance(batch: &mut Batch, change: &'static str, lines: &[Line]) {
    for line in lines {
        let params = vec![line.quantity.into(), line.sku.as_str().into(), LOCATION.into()];
        batch.one(format!("{SKU}{}", line.sku), change, params);
    }
}

/// One ledger line per SKU, all in one statement, each taking its number and balance from the row just changed.
pub(in crate::services::product) fn ledger(
    batch: &mut Batch,
    kind: MovementKind,
    order_id: Option<OrderId>,
    act: &str,
    reason: &str,
    lines: &[Line],
    at: Timestamp,
) {
    if lines.is_empty() {
        return;
    }
    let (on_hand, reserved) = kind.signs();
    let mut params: Vec<Value> = vec![
        kind.as_str().into(),
        order_id.into(),
        act.into(),
        reason.into(),
        at.into(),
        LOCATION.into(),
        on_hand.into(),
        reserved.into(),
    ];
    // A list of values to join with would be a table of its own to SQLite, made anew at every run.
    let (mut skus, mut moved) = (String::new(), String::new());
    for line in lines {
        params.push(line.sku.as_str().into());
        params.push(line.quantity.into());
        let (sku, quantity) = (params.len() - 1, params.len());
        let comma = if skus.is_empty() { "" } else { ", " };
        skus.push_str(&format!("{comma}${sku}"));
        moved.push_str(&format!(" WHEN ${sku} THEN CAST(${quantity} AS BIGINT)"));
    }
    batch.push(
        LEDGER,
        Expect::Rows(lines.len() as u64),
        format!(
            "INSERT INTO product_movements (sku, location, seq, kind, on_hand_delta, reserved_delta,
               on_hand_after, reserved_after, order_id, act, reason, at)
             SELECT sku, location, movements, $1, CASE sku{moved} END * $7, CASE sku{moved} END * $8,
               on_hand, reserved, $2, $3, $4, $5
             FROM product_stock WHERE sku IN ({skus}) AND location = $6"
        ),
        params,
    );
}
