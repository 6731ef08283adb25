//! Orders in storage: events appended, the projection moved with them, others told, in one batch.
//!
//! Every batch that appends is guarded twice: by the events' place (the primary key of `order_events`) and by the
//! projection's version. Both are named [`MOVED`]: somebody else appended first, so read again and decide anew.

use std::sync::{Arc, OnceLock};

use uuid::Uuid;

use super::events::{Event, Placed};
use super::model::{self, Applied, Effect, Refused, SagaKind, State};
use super::{SAGA_VERSION, saga_log, wire};
use crate::bus::outbox;
use crate::http::Context;
use crate::saga::SagaRow;
use crate::storage::{Batch, Db, Expect, JsonText, Row, StorageError, Value};
use crate::vocabulary::{Env, EventId, Money, OrderId, Timestamp, Topic, events};

/// The name of the statements that fail when the order moved meanwhile.
pub(super) const MOVED: &str = "order";
/// The table that the relay publishes from.
pub(super) const OUTBOX_TABLE: &str = "order_outbox";

/// An order as its events tell it.
#[derive(Clone, Debug)]
pub(super) struct Aggregate {
    pub(super) id: OrderId,
    pub(super) placed: Arc<Placed>,
    pub(super) state: State,
    pub(super) placed_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

/// On whose behalf something is recorded.
#[derive(Clone, Debug)]
pub(super) struct By {
    pub(super) actor: Arc<str>,
    pub(super) context: Context,
}

impl By {
    /// The shop itself.
    pub(super) fn shop(context: Context) -> Self {
        Self { actor: "shop".into(), context }
    }

    /// The customer who owns the order.
    pub(super) fn customer(context: Context) -> Self {
        Self { actor: "customer".into(), context }
    }

    /// A member of staff.
    pub(super) fn staff(context: Context) -> Self {
        let actor = context.identity.as_ref().map_or_else(|| "staff".into(), |who| who.email.as_str().into());
        Self { actor, context }
    }
}

/// Why an order could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("order {0}: event {1} cannot be read: {2}")]
    Unreadable(OrderId, i64, String),
    #[error("order {0}: event {1} does not follow: {2}")]
    OutOfTurn(OrderId, i64, Refused),
}

impl From<ReplayError> for crate::http::Problem {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Storage(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

/// One event as it is stored.
pub(super) struct Stored {
    pub(super) seq: i64,
    pub(super) event: Event,
    pub(super) at: Timestamp,
}

/// The order's events.
pub(super) async fn read_events(db: &Db, id: OrderId) -> Result<Vec<Stored>, ReplayError> {
    let rows = db
        .read(
            "SELECT seq, type, data, at FROM order_events WHERE order_id = $1 ORDER BY seq",
            vec![id.into()],
        )
        .await?;
    rows.iter().map(|row| stored(id, row)).collect()
}

fn stored(id: OrderId, row: &Row) -> Result<Stored, ReplayError> {
    let seq = row.get("seq")?;
    let kind: String = row.get("type")?;
    let event = Event::from_stored(&kind, row.get("data")?)
        .map_err(|error| ReplayError::Unreadable(id, seq, error.to_string()))?;
    Ok(Stored { seq, event, at: row.get("at")? })
}

/// The order, replayed from its events; none when there is no such order.
pub(super) async fn load(db: &Db, id: OrderId) -> Result<Option<Aggregate>, ReplayError> {
    replay(id, read_events(db, id).await?)
}

/// The order that `events` tell.
pub(super) fn replay(id: OrderId, events: Vec<Stored>) -> Result<Option<Aggregate>, ReplayError> {
    let mut aggregate: Option<Aggregate> = None;
    for Stored { seq, event, at } in events {
        let state = aggregate.as_ref().map(|aggregate| &aggregate.state);
        let applied =
            model::apply(state, &event).map_err(|refused| ReplayError::OutOfTurn(id, seq, refused))?;
        let Applied::New(state, _) = applied else { continue };
        match (&mut aggregate, event) {
            (Some(aggregate), _) => {
                aggregate.state = *state;
                aggregate.updated_at = at;
            }
            (None, Event::OrderPlaced(placed)) => {
                let placed = Arc::new(*placed);
                aggregate = Some(Aggregate { id, placed, state: *state, placed_at: at, updated_at: at });
            }
            (None, _) => {}
        }
    }
    Ok(aggregate)
}

impl Aggregate {
    /// An order as its first event tells it.
    pub(super) fn first(id: OrderId, placed: Placed, state: State, at: Timestamp) -> Self {
        Self { id, placed: Arc::new(placed), state, placed_at: at, updated_at: at }
    }

    /// A new order, and the batch that places it.
    pub(super) fn place(
        id: OrderId,
        placed: Placed,
        by: &By,
        env: &Env,
        batch: &mut Batch,
    ) -> Result<Self, Refused> {
        let now = env.now();
        let event = Event::OrderPlaced(Box::new(placed));
        let data = event.data();
        let Event::OrderPlaced(placed) = event else {
            return Err(Refused { status: "unplaced", event: "order_placed", why: "it is another event" });
        };
        let Applied::New(state, effects) = model::apply(None, &Event::OrderPlaced(placed.clone()))? else {
            return Err(Refused { status: "unplaced", event: "order_placed", why: "it is known" });
        };
        let order = Self { id, placed: Arc::new(*placed), state: *state, placed_at: now, updated_at: now };
        order.insert_projection(batch);
        insert_events(batch, id, vec![(1, "order_placed", data)], by, now);
        order.insert_effects(batch, &effects, 0, by, env);
        Ok(order)
    }

    /// Adds `events` to `batch` and to this order; what the order knows already is left out. Answers whether anything
    /// is new. When one is refused, neither the order nor the batch is changed.
    pub(super) fn record(
        &mut self,
        events: &[Event],
        by: &By,
        env: &Env,
        batch: &mut Batch,
    ) -> Result<bool, Refused> {
        let now = env.now();
        let mut state = self.state.clone();
        let (mut rows, mut effects) = (Vec::with_capacity(events.len()), Vec::new());
        for event in events {
            if let Applied::New(next, follow) = model::apply(Some(&state), event)? {
                state = *next;
                effects.extend(follow);
                rows.push((state.seq, event.kind(), event.data()));
            }
        }
        if rows.is_empty() {
            return Ok(false);
        }
        let before = std::mem::replace(&mut self.state, state);
        self.updated_at = now;
        insert_events(batch, self.id, rows, by, now);
        self.update_projection(batch, before.seq);
        self.insert_effects(batch, &effects, before.told, by, env);
        Ok(true)
    }

    /// Adds to `batch`, which records nothing, that it is about the order as it is now: a worker that only waits must
    /// notice too when somebody called the order off.
    pub(super) fn unmoved(&self, batch: &mut Batch) {
        batch.one(
            MOVED,
            "UPDATE order_orders SET version = version WHERE id = $1 AND version = $2",
            vec![self.id.into(), self.state.seq.into()],
        );
    }

    fn insert_projection(&self, batch: &mut Batch) {
        static INSERT: OnceLock<String> = OnceLock::new();
        let placed = &self.placed;
        let (fixed, moving) = (self.fixed_columns(), self.moving_columns());
        // The columns are the same for every order.
        let insert = INSERT.get_or_init(|| {
            let names = fixed.iter().chain(&moving).map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            let places =
                (1..=fixed.len() + moving.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
            format!("INSERT INTO order_orders ({names}) VALUES ({places})")
        });
        batch.push(
            "order_number",
            Expect::Rows(1),
            insert.as_str(),
            fixed.into_iter().chain(moving).map(|(_, value)| value).collect(),
        );
        let lines = placed.lines.iter().enumerate().map(|(n, line)| {
            vec![
                self.id.into(),
                i64::try_from(n + 1).unwrap_or(i64::MAX).into(),
                line.sku.as_str().into(),
                line.title.as_str().into(),
                line.quantity.into(),
                line.unit_price.amount.into(),
                line.discount.amount.into(),
                line.tax.amount.into(),
                line.line_total.amount.into(),
            ]
        });
        let insert = "INSERT INTO order_lines (order_id, n, sku, title, quantity, unit_price, discount, tax, line_total)";
        let lines: Vec<Vec<Value>> = lines.collect();
        for rows in lines.chunks(50) {
            batch.insert_many(insert, rows.to_vec(), "");
        }
    }

    /// The projection's columns that never change.
    pub(super) fn fixed_columns(&self) -> Vec<(&'static str, Value)> {
        let placed = &self.placed;
        let address = serde_json::to_value(&placed.shipping_address).unwrap_or_default();
        vec![
            ("id", self.id.into()),
            ("number", placed.number.as_str().into()),
            ("user_id", placed.user_id.into()),
            ("cart_id", placed.cart_id.into()),
            ("email", placed.email.as_str().into()),
            ("currency", placed.total.currency.into()),
            ("subtotal", placed.subtotal.amount.into()),
            ("discount", placed.discount.amount.into()),
            ("tax", placed.tax.amount.into()),
            ("shipping", placed.shipping.amount.into()),
            ("total", placed.total.amount.into()),
            ("promotion", placed.promotion.clone().into()),
            ("shipping_address", address.into()),
            ("placed_at", self.placed_at.into()),
        ]
    }

    /// The projection's columns that events move.
    pub(super) fn moving_columns(&self) -> Vec<(&'static str, Value)> {
        let state = &self.state;
        vec![
            ("status", state.status.as_str().into()),
            ("payment_status", state.payment.as_str().into()),
            ("fulfilment_status", state.fulfilment.as_str().into()),
            ("stock", state.stock.as_str().into()),
            ("captured", state.captured.into()),
            ("refunded", state.refunded.into()),
            ("tracking", state.tracking.clone().into()),
            ("reason", state.reason.clone().into()),
            ("held_until", state.held_until.into()),
            ("updated_at", self.updated_at.into()),
            ("version", state.seq.into()),
        ]
    }

    fn update_projection(&self, batch: &mut Batch, version: i64) {
        const UPDATE: &str = "UPDATE order_orders SET status = $3, payment_status = $4, fulfilment_status = $5, \
             stock = $6, captured = $7, refunded = $8, tracking = $9, reason = $10, held_until = $11, \
             updated_at = $12, version = $13 WHERE id = $1 AND version = $2";
        let mut params: Vec<Value> = vec![self.id.into(), version.into()];
        params.extend(self.moving_columns().into_iter().map(|(_, value)| value));
        batch.one(MOVED, UPDATE, params);
    }

    fn insert_effects(&self, batch: &mut Batch, effects: &[Effect], told: i64, by: &By, env: &Env) {
        let now = self.updated_at;
        let mut seq = told;
        for effect in effects {
            match effect {
                Effect::Tell(kind) => {
                    seq += 1;
                    let event = events::Event {
                        id: env.id::<crate::vocabulary::ids::kind::Event>() as EventId,
                        topic: Topic::Order,
                        kind: (*kind).to_owned(),
                        aggregate: self.id.uuid(),
                        aggregate_seq: seq,
                        at: now,
                        request_id: Some(by.context.request_id.to_string()),
                        traceparent: Some(by.context.traceparent.to_string()),
                        data: self.told(),
                    };
                    outbox::append(batch, OUTBOX_TABLE, &event);
                }
                Effect::Begin(kind) => {
                    let row = begin(self.id, *kind, env.uuid(), by, now);
                    saga_log().insert(batch, &row);
                }
                Effect::GiveBackPromotion => self.give_back_promotion(batch),
            }
        }
    }

    /// What others hear of the order.
    fn told(&self) -> serde_json::Value {
        let placed = &self.placed;
        let lines: Vec<_> = placed
            .lines
            .iter()
            .map(|line| {
                serde_json::json!({
                    "sku": line.sku, "title": line.title, "quantity": line.quantity, "line_total": line.line_total.amount,
                })
            })
            .collect();
        serde_json::json!({
            "order_id": self.id,
            "number": placed.number,
            "user_id": placed.user_id,
            "email": placed.email,
            "name": placed.shipping_address.name,
            "status": self.state.status,
            "total": placed.total.amount,
            "shipping": placed.shipping.amount,
            "refunded": self.state.refunded,
            "currency": placed.total.currency,
            "lines": lines,
            "tracking": self.state.tracking,
            "reason": self.state.reason,
            "held_until": self.state.held_until,
        })
    }

    fn give_back_promotion(&self, batch: &mut Batch) {
        let Some(code) = &self.placed.promotion else { return };
        batch.run(
            "UPDATE order_promotions SET uses = uses - 1 WHERE code = $1 AND uses > 0",
            vec![code.into()],
        );
        batch.run(
            "UPDATE order_promotion_uses SET uses = uses - 1 WHERE code = $1 AND customer = $2 AND uses > 0",
            vec![code.into(), customer_key(&self.placed).into()],
        );
    }

    /// The order as a client sees it, without a guest's access token.
    pub(super) fn view(&self) -> wire::Order {
        let (placed, state) = (&self.placed, &self.state);
        wire::Order {
            id: self.id,
            number: placed.number.clone(),
            status: state.status,
            payment_status: state.payment,
            fulfilment_status: state.fulfilment,
            lines: placed.lines.clone(),
            subtotal: placed.subtotal,
            discount: placed.discount,
            tax: placed.tax,
            shipping: placed.shipping,
            total: placed.total,
            refunded: Money::new(state.refunded, placed.total.currency),
            email: placed.email.clone(),
            shipping_address: placed.shipping_address.clone(),
            placed_at: self.placed_at,
            updated_at: self.updated_at,
            promotion: placed.promotion.clone(),
            tracking: state.tracking.clone(),
            held_until: state.held_until,
            reason: state.reason.clone(),
            access_token: None,
        }
    }
}

/// Whose uses of a promotion are counted together.
pub(super) fn customer_key(placed: &Placed) -> String {
    placed.user_id.map_or_else(|| placed.email.to_lowercase(), |user| user.to_string())
}

/// A new saga of `kind`, which remembers the request that caused it.
pub(super) fn begin(order: OrderId, kind: SagaKind, id: Uuid, by: &By, now: Timestamp) -> SagaRow {
    let step = match kind {
        SagaKind::Checkout => "reserve",
        SagaKind::Cancellation | SagaKind::LatePayment => "settle_payment",
        SagaKind::Refund => "refund",
    };
    let params = serde_json::json!({
        "request_id": &*by.context.request_id,
        "traceparent": &*by.context.traceparent,
    });
    SagaRow::begin(id, order.uuid(), kind.as_str(), SAGA_VERSION, step, params, now)
}

fn insert_events(
    batch: &mut Batch,
    id: OrderId,
    rows: Vec<(i64, &'static str, JsonText)>,
    by: &By,
    now: Timestamp,
) {
    let rows = rows.into_iter().map(|(seq, kind, data)| {
        vec![
            id.into(),
            seq.into(),
            kind.into(),
            data.into(),
            by.actor.as_ref().into(),
            by.context.request_id.as_ref().into(),
            now.into(),
        ]
    });
    let insert = "INSERT INTO order_events (order_id, seq, type, data, actor, request_id, at)";
    batch.insert_rows(MOVED, insert, rows.collect(), "");
}
