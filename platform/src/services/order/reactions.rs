//! What the order service does on others' events: wakes sagas that wait, and sees to money that moved too late.

use std::time::Duration;

use super::events::Event;
use super::orders::Orders;
use super::saga_log;
use super::store::{self, By, ReplayError};
use crate::bus::{HandleError, QueueSpec};
use crate::http::Context;
use crate::storage::{Batch, StorageError};
use crate::vocabulary::{Money, OrderId, Topic, events};

/// The queue's name, and the consumer's.
pub(super) const QUEUE: &str = "order";
/// Over how long the queued payments come back when the provider does.
const COME_BACK_OVER: Duration = Duration::from_secs(2);

/// What the order service hears.
pub(super) const QUEUES: &[QueueSpec] = &[QueueSpec {
    name: QUEUE,
    topics: &[Topic::Payment, Topic::Product],
    kinds: &[
        "provider_recovered",
        "payment_authorized",
        "payment_captured",
        "payment_declined",
        "payment_refunded",
        "payment_voided",
        "stock_reservation_expired",
    ],
    receives_max: 8,
    visibility: Duration::from_secs(30),
}];

/// The effects of `event`; none for most, since the saga that asked knows the answer already.
pub(super) async fn react(orders: &Orders, event: events::Event) -> Result<Batch, HandleError> {
    let now = orders.env.now();
    match event.kind.as_str() {
        "provider_recovered" => {
            let queued = saga_log().hasten(&orders.db, now, COME_BACK_OVER).await?;
            tracing::info!(queued, "the payment provider is back: waiting sagas are due");
            orders.runner.wake();
            Ok(Batch::new())
        }
        "stock_reservation_expired" => {
            let mut batch = Batch::new();
            if let Some(id) = order_id(&event) {
                record(orders, id, &event, &mut batch, |_| Event::ReservationExpired {}).await?;
                saga_log().wake(&mut batch, id.uuid(), now);
                orders.runner.wake();
            }
            Ok(batch)
        }
        "payment_authorized" | "payment_captured" | "payment_declined" | "payment_refunded"
        | "payment_voided" => payment_moved(orders, &event).await,
        _ => Ok(Batch::new()),
    }
}

fn order_id(event: &events::Event) -> Option<OrderId> {
    event.data.get("order_id")?.as_str()?.parse().ok()
}

/// An answer that nobody waited for: the saga that asked need not wait any longer. Money that moved for an order that
/// is over goes back by a saga of its own.
async fn payment_moved(orders: &Orders, event: &events::Event) -> Result<Batch, HandleError> {
    let mut batch = Batch::new();
    let Some(id) = order_id(event) else { return Ok(batch) };
    let sql = "SELECT status FROM order_orders WHERE id = $1";
    let Some(row) = orders.db.read_one(sql, vec![id.into()]).await? else { return Ok(batch) };
    let status: super::status::Status = super::views::word(&row, "status")?;
    if status.is_terminal() && event.kind == "payment_authorized" {
        record(orders, id, event, &mut batch, |amount| Event::PaymentAuthorized { amount }).await?;
    } else if status.is_terminal() && event.kind == "payment_captured" {
        record(orders, id, event, &mut batch, |amount| Event::PaymentCaptured { amount }).await?;
    } else {
        saga_log().wake(&mut batch, id.uuid(), orders.env.now());
    }
    orders.runner.wake();
    Ok(batch)
}

/// Adds what `event` means for the order, unless its state says that it means nothing. The guards of the statements
/// make the bus ask again when the order moved meanwhile.
async fn record(
    orders: &Orders,
    id: OrderId,
    event: &events::Event,
    batch: &mut Batch,
    means: impl Fn(Money) -> Event,
) -> Result<(), HandleError> {
    let order = store::load(&orders.db, id).await.map_err(|error| match error {
        ReplayError::Storage(error) => error.into(),
        other => HandleError::poison(other),
    })?;
    let Some(mut order) = order else { return Ok(()) };
    let context =
        Context::resumed("order", &orders.env, event.request_id.as_deref(), event.traceparent.as_deref());
    let amount = amount(event).unwrap_or(order.state.total);
    if let Err(refused) = order.record(&[means(amount)], &By::shop(context), &orders.env, batch) {
        tracing::debug!(order_id = %id, %refused, "an event from outside means nothing to this order");
    }
    Ok(())
}

/// The amount an event tells, as `{amount, currency}` or as one money object.
fn amount(event: &events::Event) -> Option<Money> {
    let amount = event.data.get("amount")?;
    if let Ok(money) = serde_json::from_value::<Money>(amount.clone()) {
        return Some(money);
    }
    let currency = event.data.get("currency")?.as_str()?.parse().ok()?;
    Some(Money::new(amount.as_i64()?, currency))
}

/// Closes orders that nothing can come back from any more, and forgets keys whose time is over.
pub(super) async fn sweep(orders: &Orders) -> Result<(), StorageError> {
    let now = orders.env.now();
    super::idempotency::sweep(&orders.db, now).await?;
    let before = now
        .as_microsecond()
        .saturating_sub(i64::try_from(orders.config.return_window.as_micros()).unwrap_or(i64::MAX));
    let before = crate::vocabulary::Timestamp::from_microsecond(before).unwrap_or(now);
    let sql =
        "SELECT id FROM order_orders WHERE status = 'delivered' AND updated_at < $1 ORDER BY id LIMIT 200";
    for row in orders.db.read(sql, vec![before.into()]).await? {
        let id: OrderId = row.get("id")?;
        let by = By::shop(Context::background("order", &orders.env));
        if let Err(problem) = orders.record(id, &by, |_| Ok(Event::ReturnWindowEnded {}), |_, _, _| {}).await
        {
            tracing::debug!(order_id = %id, problem = problem.detail, "an order stays open for returns");
        }
    }
    Ok(())
}
