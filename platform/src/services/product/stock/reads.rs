//! What the tables say of the stock.

use std::sync::Arc;

use crate::services::product::store::{LOCATION, Store, in_list};
use crate::services::product::wire::{Line, ReservationState, StockLevel};
use crate::storage::{Row, StorageError, Value};
use crate::vocabulary::{OrderId, Timestamp};

/// An order's reservation as the table has it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) state: ReservationState,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) returns: i64,
}

impl Held {
    fn from_row(row: &Row) -> Result<Self, StorageError> {
        let state: String = row.get("state")?;
        let state = [
            ReservationState::Held,
            ReservationState::Pinned,
            ReservationState::Committed,
            ReservationState::Released,
            ReservationState::Expired,
        ]
        .into_iter()
        .find(|known| known.as_str() == state)
        .ok_or_else(|| StorageError::Invalid(format!("`{state}` is no state of a reservation")))?;
        Ok(Self { state, expires_at: row.get("expires_at")?, returns: row.get("returns")? })
    }
}

impl Store {
    /// How many units of `skus` there are; a SKU that is unknown has no level.
    pub(in crate::services::product) async fn levels(
        &self,
        skus: &[&str],
    ) -> Result<Vec<StockLevel>, StorageError> {
        let mut params = vec![Value::from(LOCATION)];
        let list = in_list(&mut params, skus.iter().map(|sku| Value::from(*sku)));
        let sql = format!(
            "SELECT sku, on_hand, reserved FROM product_stock WHERE location = $1 AND sku IN ({list})"
        );
        let rows = self.db.read(&sql, params).await?;
        rows.iter().map(|row| level(row, "on_hand", "reserved")).collect()
    }

    pub(super) async fn held(&self, order_id: OrderId) -> Result<Option<Held>, StorageError> {
        let sql = "SELECT state, expires_at, returns FROM product_reservations WHERE order_id = $1";
        let row = self.db.read_one(sql, vec![order_id.into()]).await?;
        row.as_ref().map(Held::from_row).transpose()
    }

    /// The lines that an order reserved; they never change, so they may come from memory. Empty when it never did.
    pub(super) async fn lines_of(&self, order_id: OrderId) -> Result<Arc<[Line]>, StorageError> {
        if let Some(lines) = self.remembered(order_id) {
            return Ok(lines);
        }
        let lines: Arc<[Line]> = self.stored_lines(order_id).await?.into();
        if !lines.is_empty() {
            self.remember(order_id, Arc::clone(&lines));
        }
        Ok(lines)
    }

    pub(super) async fn stored_lines(&self, order_id: OrderId) -> Result<Vec<Line>, StorageError> {
        let sql = "SELECT sku, reserved_delta FROM product_movements WHERE order_id = $1 AND act = 'reserve'";
        let rows = self.db.read(sql, vec![order_id.into()]).await?;
        let mut lines = rows
            .iter()
            .map(|row| Ok(Line { sku: row.get("sku")?, quantity: row.get("reserved_delta")? }))
            .collect::<Result<Vec<_>, StorageError>>()?;
        // In Rust's order, not in the database's: every batch must lock in one and the same.
        lines.sort_by(|one, two| one.sku.cmp(&two.sku));
        Ok(lines)
    }
}

/// The balance that `row` has in the columns `on_hand` and `reserved`.
pub(in crate::services::product) fn level(
    row: &Row,
    on_hand: &str,
    reserved: &str,
) -> Result<StockLevel, StorageError> {
    let (on_hand, reserved): (i64, i64) = (row.get(on_hand)?, row.get(reserved)?);
    Ok(StockLevel { sku: row.get("sku")?, on_hand, reserved, available: on_hand - reserved })
}
