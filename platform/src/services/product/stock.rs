//! Stock held for orders: reserve, extend, pin, commit, release, expire, restock.
//!
//! Every act on an order is one batch: the order's row changes its state, each SKU's balance changes under a
//! condition, and the ledger gets a line per SKU, numbered and balanced by the row it was taken from. SKUs come in
//! sorted order, so two orders never wait for each other crosswise. All or none: the batch's expectations see to it.
//!
//! Every act is idempotent by the order. Whoever did not hear the answer asks again; here, too, a batch whose fate is
//! unknown is simply written again.

use std::sync::Arc;
use std::time::Duration;

use super::model::{MovementKind, shortages, sum_lines};
use super::store::{LOCATION, Store, in_list};
use super::wire::{Line, Reservation, ReservationState, StockLevel};
use crate::bus::outbox;
use crate::http::{Code, Context, Problem};
use crate::storage::{Batch, Expect, Row, StorageError, Value};
use crate::vocabulary::{Event, OrderId, Timestamp, Topic};

/// How often an act is tried again when storage failed, or when somebody else was faster.
const TRIES: u32 = 6;
/// The longest a reservation may be held without being pinned.
const TTL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many reservations one sweep gives back before it looks again.
const SWEEP_ROWS: i64 = 200;

/// Names of statements, as they come back from a batch that was refused.
const RESERVATION: &str = "reservation";
const LEDGER: &str = "ledger";
/// Before a SKU in the name of the statement that changes its balance.
const SKU: &str = "sku:";

const RESERVE: &str = "UPDATE product_stock SET reserved = reserved + $1, movements = movements + 1
 WHERE sku = $2 AND location = $3 AND on_hand - reserved >= $1";
const GIVE_BACK: &str = "UPDATE product_stock SET reserved = reserved - $1, movements = movements + 1
 WHERE sku = $2 AND location = $3";
const TAKE: &str =
    "UPDATE product_stock SET on_hand = on_hand - $1, reserved = reserved - $1, movements = movements + 1
 WHERE sku = $2 AND location = $3";
const PUT_BACK: &str = "UPDATE product_stock SET on_hand = on_hand + $1, movements = movements + 1
 WHERE sku = $2 AND location = $3";

/// An order's reservation as the table has it.
#[derive(Clone, Debug)]
struct Held {
    state: ReservationState,
    expires_at: Option<Timestamp>,
    returns: i64,
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
                    self.remember(order_id, Arc::clone(&lines)).await;
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
                Err(Refused::By(_)) => match self.held(order_id).await?.map(|held| held.state) {
                    Some(ReservationState::Committed) => {
                        return Ok(reservation(order_id, ReservationState::Committed, None));
                    }
                    Some(state @ (ReservationState::Released | ReservationState::Expired)) => {
                        return Err(gone(state));
                    }
                    Some(ReservationState::Held | ReservationState::Pinned) => {}
                    None => return Err(missing()),
                },
                Err(Refused::Again(error)) => self.before_another_try(attempt, error).await?,
            }
        }
        Err(too_contended())
    }

    /// Takes the held units off the shelf.
    pub(super) async fn commit(&self, order_id: OrderId) -> Result<Reservation, Problem> {
        for attempt in 0..TRIES {
            let lines = self.lines_of(order_id).await?;
            let closing = closing(order_id, ReservationState::Committed, &lines, self.env.now());
            match self.write(closing).await? {
                Ok(()) => return Ok(reservation(order_id, ReservationState::Committed, None)),
                Err(Refused::By(_)) => match self.held(order_id).await?.map(|held| held.state) {
                    Some(ReservationState::Committed) => {
                        return Ok(reservation(order_id, ReservationState::Committed, None));
                    }
                    Some(state @ (ReservationState::Released | ReservationState::Expired)) => {
                        return Err(gone(state));
                    }
                    Some(ReservationState::Held | ReservationState::Pinned) => {}
                    None => return Err(missing()),
                },
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
                    return Ok(reservation(order_id, ReservationState::Released, None));
                }
                Err(Refused::By(_)) => match self.held(order_id).await?.map(|held| held.state) {
                    Some(state @ (ReservationState::Released | ReservationState::Expired)) => {
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

    /// Puts committed units back on the shelf. `key` names the act.
    pub(super) async fn restock(
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

    /// Where the stock of an order stands.
    pub(super) async fn reservation_of(&self, order_id: OrderId) -> Result<Option<Reservation>, Problem> {
        let held = self.held(order_id).await?;
        Ok(held.map(|held| reservation(order_id, held.state, held.expires_at)))
    }

    /// Gives back what expired before now, and tells of each. Answers how many there were.
    pub(super) async fn sweep(&self, context: &Context) -> Result<u64, StorageError> {
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
            for row in &due {
                swept += u64::from(self.expire(context, row.get("order_id")?).await?);
            }
            // A round that gave nothing back lost every race: the next tick looks again.
            if due.len() < usize::try_from(SWEEP_ROWS).unwrap_or(0) || swept == before {
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
        outbox::append(&mut batch, super::OUTBOX, &event);
        match self.db.write(batch).await {
            Ok(_) => {
                self.stock_changed(&lines);
                self.bus.wake(Topic::Product);
                tracing::info!(%order_id, "a reservation expired");
                Ok(true)
            }
            Err(error) if error.is_expectation(RESERVATION) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How many units of `skus` there are; a SKU that is unknown has no level.
    pub(super) async fn levels(&self, skus: &[&str]) -> Result<Vec<StockLevel>, StorageError> {
        let mut params = vec![Value::from(LOCATION)];
        let list = in_list(&mut params, skus.iter().map(|sku| Value::from(*sku)));
        let sql = format!(
            "SELECT sku, on_hand, reserved FROM product_stock WHERE location = $1 AND sku IN ({list})"
        );
        let rows = self.db.read(&sql, params).await?;
        rows.iter().map(|row| level(row, "on_hand", "reserved")).collect()
    }

    async fn held(&self, order_id: OrderId) -> Result<Option<Held>, StorageError> {
        let sql = "SELECT state, expires_at, returns FROM product_reservations WHERE order_id = $1";
        let row = self.db.read_one(sql, vec![order_id.into()]).await?;
        row.as_ref().map(Held::from_row).transpose()
    }

    /// The lines that an order reserved; they never change, so they may come from memory. Empty when it never did.
    async fn lines_of(&self, order_id: OrderId) -> Result<Arc<[Line]>, StorageError> {
        if let Some(lines) = self.remembered(order_id).await {
            return Ok(lines);
        }
        let lines: Arc<[Line]> = self.stored_lines(order_id).await?.into();
        if !lines.is_empty() {
            self.remember(order_id, Arc::clone(&lines)).await;
        }
        Ok(lines)
    }

    async fn stored_lines(&self, order_id: OrderId) -> Result<Vec<Line>, StorageError> {
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

struct Returned {
    sku: String,
    outstanding: i64,
    by_this_act: i64,
}

/// The balance that `row` has in the columns `on_hand` and `reserved`.
pub(super) fn level(row: &Row, on_hand: &str, reserved: &str) -> Result<StockLevel, StorageError> {
    let (on_hand, reserved): (i64, i64) = (row.get(on_hand)?, row.get(reserved)?);
    Ok(StockLevel { sku: row.get("sku")?, on_hand, reserved, available: on_hand - reserved })
}

/// Ends a reservation and moves its units: given back, or taken off the shelf.
fn closing(order_id: OrderId, state: ReservationState, lines: &[Line], now: Timestamp) -> Batch {
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
pub(super) fn balance(batch: &mut Batch, change: &'static str, lines: &[Line]) {
    for line in lines {
        let params = vec![line.quantity.into(), line.sku.as_str().into(), LOCATION.into()];
        batch.one(format!("{SKU}{}", line.sku), change, params);
    }
}

/// One ledger line per SKU, all in one statement, each taking its number and balance from the row just changed.
pub(super) fn ledger(
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
        on_hand.into(),
        reserved.into(),
        order_id.into(),
        act.into(),
        reason.into(),
        at.into(),
        LOCATION.into(),
    ];
    let mut moved = String::with_capacity(lines.len() * 12);
    for line in lines {
        params.push(line.sku.as_str().into());
        params.push(line.quantity.into());
        let comma = if moved.is_empty() { "" } else { ", " };
        moved.push_str(&format!("{comma}(${}, ${})", params.len() - 1, params.len()));
    }
    batch.push(
        LEDGER,
        Expect::Rows(lines.len() as u64),
        format!(
            "INSERT INTO product_movements (sku, location, seq, kind, on_hand_delta, reserved_delta,
               on_hand_after, reserved_after, order_id, act, reason, at)
             SELECT s.sku, s.location, s.movements, $1, m.column2 * $2, m.column2 * $3,
               s.on_hand, s.reserved, $4, $5, $6, $7
             FROM (VALUES {moved}) AS m, product_stock s WHERE s.sku = m.column1 AND s.location = $8"
        ),
        params,
    );
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
