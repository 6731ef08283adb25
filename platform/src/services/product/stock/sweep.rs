//! Reservations whose time is over.

use futures_util::{StreamExt, stream};

use super::batches::{RESERVATION, closing};
use crate::bus::outbox;
use crate::http::Context;
use crate::services::product::OUTBOX;
use crate::services::product::store::Store;
use crate::services::product::wire::ReservationState;
use crate::storage::StorageError;
use crate::vocabulary::{Event, OrderId, Topic};

/// How many reservations one sweep gives back before it looks again.
const SWEEP_ROWS: i64 = 200;

/// How many of them at the same time: they share a commit where the engine groups them.
const SWEEP_AT_ONCE: usize = 16;

impl Store {
    /// Gives back what expired before now, and tells of each. Answers how many there were.
    pub(in crate::services::product) async fn sweep(&self, context: &Context) -> Result<u64, StorageError> {
        let mut swept = 0;
        loop {
            let due = self
                .db
                .read(
                    "SELECT order_id FROM product_reservations WHERE state = 'held' AND expires_at <= $1
                     ORDER BY expires_at LIMIT $2",
                    vec![self.env.now().into(), SWEEP_ROWS.into()],
                )
                .await?;
            let before = swept;
            let full = due.len() == usize::try_from(SWEEP_ROWS).unwrap_or(0);
            let orders = due.iter().map(|row| row.get("order_id")).collect::<Result<Vec<OrderId>, _>>()?;
            let mut ended = stream::iter(orders)
                .map(|order_id| async move { (order_id, self.expire(context, order_id).await) })
                .buffer_unordered(SWEEP_AT_ONCE);
            while let Some((order_id, outcome)) = ended.next().await {
                match outcome {
                    Ok(given_back) => swept += u64::from(given_back),
                    // The others must not wait for the one that cannot be ended.
                    Err(error) => tracing::warn!(%order_id, %error, "could not give back a reservation"),
                }
            }
            // A round that gave nothing back lost every race: the next tick looks again.
            if !full || swept == before {
                return Ok(swept);
            }
        }
    }

    /// Answers whether this call gave the units back; somebody else may have extended, pinned or swept meanwhile.
    async fn expire(&self, context: &Context, order_id: OrderId) -> Result<bool, StorageError> {
        let lines = self.stored_lines(order_id).await?;
        let now = self.env.now();
        let mut batch = closing(order_id, ReservationState::Expired, &lines, now);
        let event = Event {
            id: self.env.id(),
            topic: Topic::Product,
            kind: "stock_reservation_expired".to_owned(),
            aggregate: order_id.uuid(),
            // An order's reservation expires at most once, and nothing else of it is told.
            aggregate_seq: 1,
            at: now,
            request_id: Some(context.request_id.to_string()),
            traceparent: Some(context.traceparent.to_string()),
            data: serde_json::json!({ "order_id": order_id, "lines": lines }),
        };
        outbox::append(&mut batch, OUTBOX, &event);
        self.env.reach(|| "sweeper.reservations.before".to_owned()).await;
        match self.db.write(batch).await {
            Ok(_) => {
                self.env.reach(|| "sweeper.reservations.recorded".to_owned()).await;
                self.stock_changed(&lines);
                self.bus.wake(Topic::Product);
                tracing::info!(%order_id, "a reservation expired");
                Ok(true)
            }
            Err(error) if error.is_expectation(RESERVATION) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
