//! Units that left the shelf for an order and come back.

use super::batches::{PUT_BACK, RESERVATION, balance, ledger};
use super::{Refused, TRIES, conflict, missing, reservation, too_contended};
use crate::http::Problem;
use crate::services::product::model::{MovementKind, sum_lines};
use crate::services::product::store::Store;
use crate::services::product::wire::{Line, Reservation, ReservationState};
use crate::storage::{Batch, StorageError};
use crate::vocabulary::OrderId;

struct Returned {
    sku: String,
    outstanding: i64,
    by_this_act: i64,
}

impl Store {
    /// Puts committed units back on the shelf. `key` names the act.
    pub(in crate::services::product) async fn restock(
        &self,
        order_id: OrderId,
        lines: &[Line],
        key: &str,
    ) -> Result<Reservation, Problem> {
        let lines = sum_lines(lines)?;
        if !(1..=100).contains(&key.len()) {
            return Err(Problem::invalid("/key", "the key must be 1 to 100 characters"));
        }
        let act = format!("return:{key}");
        for attempt in 0..TRIES {
            let Some(held) = self.held(order_id).await? else { return Err(missing()) };
            if held.state != ReservationState::Committed {
                return Err(conflict(
                    "reservation_not_committed",
                    "no units of the order have left the shelf",
                ));
            }
            let moved = self.returned(order_id, &act).await?;
            if moved.iter().any(|line| line.by_this_act > 0) {
                let same = moved.iter().filter(|line| line.by_this_act > 0).count() == lines.len()
                    && lines.iter().all(|line| {
                        moved.iter().any(|back| back.sku == line.sku && back.by_this_act == line.quantity)
                    });
                let done = reservation(order_id, ReservationState::Committed, None);
                return if same {
                    Ok(done)
                } else {
                    Err(conflict("key_reused", "the key names another return"))
                };
            }
            for line in &lines {
                let left = moved.iter().find(|back| back.sku == line.sku).map_or(0, |back| back.outstanding);
                if line.quantity > left {
                    let detail = format!("only {left} of {} can come back from this order", line.sku);
                    return Err(conflict("returns_exceed", &detail));
                }
            }
            let now = self.env.now();
            let mut batch = Batch::new();
            batch.one(
                RESERVATION,
                "UPDATE product_reservations SET returns = returns + 1, changed_at = $3
                 WHERE order_id = $1 AND state = 'committed' AND returns = $2",
                vec![order_id.into(), held.returns.into(), now.into()],
            );
            balance(&mut batch, PUT_BACK, &lines);
            ledger(&mut batch, MovementKind::Return, Some(order_id), &act, key, &lines, now);
            match self.write(batch).await? {
                Ok(()) => {
                    self.stock_changed(&lines);
                    return Ok(reservation(order_id, ReservationState::Committed, None));
                }
                // Another return was faster: look again.
                Err(Refused::By(_)) => {}
                Err(Refused::Again(error)) => self.before_another_try(attempt, error).await?,
            }
        }
        Err(too_contended())
    }

    /// Per SKU of the order: what is still out, and what `act` brought back.
    async fn returned(&self, order_id: OrderId, act: &str) -> Result<Vec<Returned>, StorageError> {
        let sql = "SELECT sku, CAST(-SUM(on_hand_delta) AS BIGINT) AS outstanding,
               CAST(SUM(CASE WHEN act = $2 THEN on_hand_delta ELSE 0 END) AS BIGINT) AS by_this_act
             FROM product_movements WHERE order_id = $1 GROUP BY sku";
        let rows = self.db.read(sql, vec![order_id.into(), act.into()]).await?;
        rows.iter()
            .map(|row| {
                Ok(Returned {
                    sku: row.get("sku")?,
                    outstanding: row.get("outstanding")?,
                    by_this_act: row.get("by_this_act")?,
                })
            })
            .collect()
    }
}
