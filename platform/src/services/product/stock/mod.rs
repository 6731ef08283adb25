//! Stock held for orders: reserve, extend, pin, commit, release, expire, restock.
//!
//! Every act on an order is one batch: the order's row changes its state, each SKU's balance changes under a
//! condition, and the ledger gets a line per SKU, numbered and balanced by the row it was taken from. SKUs come in
//! sorted order, so two orders never wait for each other crosswise. All or none: the batch's expectations see to it.
//!
//! Every act is idempotent by the order. Whoever did not hear the answer asks again; here, too, a batch whose fate is
//! unknown is simply written again.

mod batches;
mod reads;
mod returns;
mod sweep;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub(super) use batches::ledger;
use batches::{LEDGER, RESERVATION, RESERVE, SKU, balance, closing};
use reads::Held;
pub(super) use reads::level;

use super::model::{MovementKind, shortages, sum_lines};
use super::store::Store;
use super::wire::{Line, Reservation, ReservationState};
use crate::http::{Code, Problem};
use crate::storage::{Batch, StorageError};
use crate::vocabulary::{OrderId, Timestamp};

/// How often an act is tried again when storage failed, or when somebody else was faster.
const TRIES: u32 = 6;
/// The longest a reservation may be held without being pinned.
const TTL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// What to do after a batch was refused.
enum Refused {
    /// Its statement of that name: decide by what is there now.
    By(String),
    /// Storage failed, perhaps after the commit. Every act is idempotent: write it again.
    Again(StorageError),
}

impl Store {
    /// Holds `lines` for `order_id` during `ttl`: all of them or none.
    pub(super) async fn reserve(
        &self,
        order_id: OrderId,
        lines: &[Line],
        ttl: Duration,
    ) -> Result<Reservation, Problem> {
        let lines: Arc<[Line]> = sum_lines(lines)?.into();
        check_ttl(ttl)?;
        for attempt in 0..TRIES {
            let now = self.env.now();
            let expires_at = self.env.after(ttl);
            let mut batch = Batch::new();
            batch.one(
                RESERVATION,
                "INSERT INTO product_reservations (order_id, state, expires_at, created_at, changed_at)
                 VALUES ($1, 'held', $2, $3, $3)",
                vec![order_id.into(), expires_at.into(), now.into()],
            );
            balance(&mut batch, RESERVE, &lines);
            ledger(&mut batch, MovementKind::Reserve, Some(order_id), "reserve", "", &lines, now);
            match self.write(batch).await? {
                Ok(()) => {
                    self.stock_changed(&lines);
                    self.remember(order_id, Arc::clone(&lines));
                    return Ok(reservation(order_id, ReservationState::Held, Some(expires_at)));
                }
                Err(Refused::By(name)) if name == RESERVATION => {
                    // The order reserved before, or was told to let go before it could.
                    let Some(held) = self.held(order_id).await? else { continue };
                    return self.replay_reserve(order_id, &held, &lines).await;
                }
                Err(Refused::By(name)) => {
                    debug_assert!(name.starts_with(SKU), "only a balance can refuse, not `{name}`");
                    if let Some(problem) = self.shortage(&lines).await? {
                        return Err(problem);
                    }
                    // What was short a moment ago is there again: somebody gave units back.
                }
                Err(Refused::Again(error)) => self.before_another_try(attempt, error).await?,
            }
        }
        Err(too_contended())
    }

    /// Answers a reserve of an order that has a reservation: what stands, when it is for the same lines.
    async fn replay_reserve(
        &self,
        order_id: OrderId,
        held: &Held,
        lines: &[Line],
    ) -> Result<Reservation, Problem> {
        match held.state {
            ReservationState::Held | ReservationState::Pinned | ReservationState::Committed => {
                if *self.lines_of(order_id).await? == *lines {
                    // Whoever wrote it may not have lived to tell the cache.
                    self.stock_changed(lines);
                    Ok(reservation(order_id, held.state, held.expires_at))
                } else {
                    Err(conflict("reservation_differs", "the order holds stock for other lines"))
                }
            }
            ReservationState::Released | ReservationState::Expired => Err(gone(held.state)),
        }
    }

    /// The problem `out_of_stock`, or `unknown_sku`; none when by now there is enough.
    async fn shortage(&self, lines: &[Line]) -> Result<Option<Problem>, Problem> {
        let skus: Vec<&str> = lines.iter().map(|line| line.sku.as_str()).collect();
        let levels = self.levels(&skus).await?;
        match shortages(lines, &levels) {
            Ok(short) if short.is_empty() => Ok(None),
            Ok(short) => {
                self.telemetry.meters().stock_reservation_conflict();
                let named: Vec<&str> = short.iter().map(|item| item.sku.as_str()).collect();
                let detail = format!("there is not enough of {}", named.join(", "));
                let items = serde_json::to_value(&short).map_err(|error| Problem::internal(&error))?;
                Ok(Some(Problem::new(Code::OutOfStock, detail).with("items", items)))
            }
            Err(sku) => Ok(Some(unknown_sku(&sku))),
        }
    }

    /// Holds the stock for another `ttl` from now, if that is longer.
    pub(super) async fn extend(&self, order_id: OrderId, ttl: Duration) -> Result<Reservation, Problem> {
        check_ttl(ttl)?;
        for attempt in 0..TRIES {
            let Some(held) = self.held(order_id).await? else { return Err(missing()) };
            let expires_at = match (held.state, held.expires_at) {
                (ReservationState::Held, Some(before)) => before.max(self.env.after(ttl)),
                (ReservationState::Released | ReservationState::Expired, _) => return Err(gone(held.state)),
                (state, _) => return Ok(reservation(order_id, state, None)),
            };
            let mut batch = Batch::new();
            batch.one(
                RESERVATION,
                "UPDATE product_reservations SET changed_at = $3,
                   expires_at = CASE WHEN expires_at < $2 THEN $2 ELSE expires_at END
                 WHERE order_id = $1 AND state = 'held'",
                vec![order_id.into(), expires_at.into(), self.env.now().into()],
            );
            match self.write(batch).await? {
                Ok(()) => return Ok(reservation(order_id, ReservationState::Held, Some(expires_at))),
                // It changed its state since it was read.
                Err(Refused::By(_)) => {}
                Err(Refused::Again(error)) => self.before_another_try(attempt, error).await?,
            }
        }
        Err(too_contended())
    }

    /// Takes the expiry away. Whether it is too late is what the table says, not what a clock says: a reservation
    /// that nobody swept yet still holds its units, so it can still be pinned.
    pub(super) async fn pin(&self, order_id: OrderId) -> Result<Reservation, Problem> {
        for attempt in 0..TRIES {
            let mut batch = Batch::new();
            batch.one(
                RESERVATION,
                "UPDATE product_reservations SET state = 'pinned', expires_at = NULL, changed_at = $2
                 WHERE order_id = $1 AND state IN ('held', 'pinned')",
                vec![order_id.into(), self.env.now().into()],
            );
            match self.write(batch).await? {
                Ok(()) => return Ok(reservation(order_id, ReservationState::Pinned, None)),
                Err(Refused::By(_)) => {
                    if let Some(committed) = self.settled(order_id).await? {
                        return Ok(committed);
                    }
                }
                Err(Refused::Again(error)) => self.before_another_try(attempt, error).await?,
            }
        }
        Err(too_contended())
    }

    /// Why a pin or a commit was refused: the units were taken already (answered), or are no longer held (an error).
    /// Nothing when they are held after all: the act is worth another try.
    async fn settled(&self, order_id: OrderId) -> Result<Option<Reservation>, Problem> {
        match self.held(order_id).await?.map(|held| held.state) {
            Some(ReservationState::Committed) => {
                Ok(Some(reservation(order_id, ReservationState::Committed, None)))
            }
            Some(state @ (ReservationState::Released | ReservationState::Expired)) => Err(gone(state)),
            Some(ReservationState::Held | ReservationState::Pinned) => Ok(None),
            None => Err(missing()),
        }
    }

    /// Takes the held units off the shelf.
    pub(super) async fn commit(&self, order_id: OrderId) -> Result<Reservation, Problem> {
        for attempt in 0..TRIES {
            let lines = self.lines_of(order_id).await?;
            let closing = closing(order_id, ReservationState::Committed, &lines, self.env.now());
            match self.write(closing).await? {
                Ok(()) => {
                    self.forget(order_id);
                    return Ok(reservation(order_id, ReservationState::Committed, None));
                }
                Err(Refused::By(_)) => {
                    if let Some(committed) = self.settled(order_id).await? {
                        return Ok(committed);
                    }
                }
                Err(Refused::Again(error)) => self.before_another_try(attempt, error).await?,
            }
        }
        Err(too_contended())
    }

    /// Gives the held units back. An order that holds nothing yet is remembered as released, so that its own reserve,
    /// still on its way, cannot hold units for an order that is over.
    pub(super) async fn release(&self, order_id: OrderId) -> Result<Reservation, Problem> {
        for attempt in 0..TRIES {
            let lines = self.lines_of(order_id).await?;
            let now = self.env.now();
            let batch = if lines.is_empty() {
                let mut batch = Batch::new();
                batch.one(
                    RESERVATION,
                    "INSERT INTO product_reservations (order_id, state, created_at, changed_at)
                     VALUES ($1, 'released', $2, $2)",
                    vec![order_id.into(), now.into()],
                );
                batch
            } else {
                closing(order_id, ReservationState::Released, &lines, now)
            };
            match self.write(batch).await? {
                Ok(()) => {
                    self.stock_changed(&lines);
                    self.forget(order_id);
                    return Ok(reservation(order_id, ReservationState::Released, None));
                }
                Err(Refused::By(_)) => match self.held(order_id).await?.map(|held| held.state) {
                    Some(state @ (ReservationState::Released | ReservationState::Expired)) => {
                        self.stock_changed(&lines);
                        return Ok(reservation(order_id, state, None));
                    }
                    Some(ReservationState::Committed) => {
                        return Err(conflict(
                            "reservation_committed",
                            "the units have left the shelf: restock them",
                        ));
                    }
                    Some(ReservationState::Held | ReservationState::Pinned) | None => {}
                },
                Err(Refused::Again(error)) => self.before_another_try(attempt, error).await?,
            }
        }
        Err(too_contended())
    }

    /// Where the stock of an order stands.
    pub(super) async fn reservation_of(&self, order_id: OrderId) -> Result<Option<Reservation>, Problem> {
        let held = self.held(order_id).await?;
        Ok(held.map(|held| reservation(order_id, held.state, held.expires_at)))
    }

    async fn write(&self, batch: Batch) -> Result<Result<(), Refused>, Problem> {
        match self.db.write(batch).await {
            Ok(_) => Ok(Ok(())),
            Err(StorageError::Expectation { name, .. } | StorageError::Conflict { name, .. })
                if name != LEDGER =>
            {
                Ok(Err(Refused::By(name)))
            }
            Err(error @ (StorageError::Unavailable(_) | StorageError::Unknown(_))) => {
                Ok(Err(Refused::Again(error)))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn before_another_try(&self, attempt: u32, error: StorageError) -> Result<(), Problem> {
        if attempt + 1 >= TRIES.min(3) {
            return Err(error.into());
        }
        tokio::time::sleep(self.env.jitter(Duration::from_millis(20 << attempt))).await;
        Ok(())
    }
}

fn reservation(order_id: OrderId, state: ReservationState, expires_at: Option<Timestamp>) -> Reservation {
    Reservation { order_id, state, expires_at }
}

fn check_ttl(ttl: Duration) -> Result<(), Problem> {
    if (Duration::from_secs(1)..=TTL_MAX).contains(&ttl) {
        Ok(())
    } else {
        Err(Problem::invalid("/ttl_s", format!("ttl_s must be from 1 to {}", TTL_MAX.as_secs())))
    }
}

/// The problem that names a SKU which is not for sale here.
pub(super) fn unknown_sku(sku: &str) -> Problem {
    Problem::new(Code::UnknownSku, format!("there is no SKU `{sku}`")).with("sku", sku)
}

fn conflict(reason: &str, detail: &str) -> Problem {
    Problem::new(Code::Conflict, detail).with("reason", reason)
}

fn gone(state: ReservationState) -> Problem {
    match state {
        ReservationState::Expired => {
            conflict("reservation_expired", "the reservation expired and its units were given back")
        }
        _ => conflict("reservation_released", "the reservation was released"),
    }
}

fn missing() -> Problem {
    conflict("reservation_missing", "the order has not reserved anything")
}

fn too_contended() -> Problem {
    Problem::new(Code::Unavailable, "too many others changed the same stock, try again")
        .retry_after(Duration::from_secs(1))
}
