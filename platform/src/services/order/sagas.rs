//! The order's sagas: what a worker knows, which step is due, and how an outcome becomes one batch.
//!
//! Which step is due follows from the order's state alone ([`due`]), so a worker that resumes after a crash cannot
//! be of another opinion than the events; the step in the saga's row only tells people.

use std::sync::Arc;
use std::time::Duration;

use super::events::Event;
use super::hub::Hub;
use super::idempotency::{Answer, Ticket};
use super::model::{SagaKind, State, Stock};
use super::status::{PaymentStatus, Status};
use super::store::{self, Aggregate, By, ReplayError};
use super::{SAGA_VERSION, answers};
use crate::bus::Bus;
use crate::config::OrderConfig;
use crate::http::{CallError, Context};
use crate::saga::{Advance, LoadError, Saga, SagaRow, Then};
use crate::services::payment::client::PaymentClient;
use crate::services::product::client::{Line, ProductClient};
use crate::storage::{Batch, Db};
use crate::telemetry::{Attribute, SpanKind, Telemetry};
use crate::vocabulary::{Env, OrderId, Timestamp, Topic};

/// How long a step waits for an answer of a sibling. What is not known by then is asked again, under the same key.
const ANSWER_MAX: Duration = Duration::from_secs(8);

/// What the sagas reach the world by.
pub(super) struct OrderSagas {
    pub(super) db: Db,
    pub(super) env: Env,
    pub(super) config: OrderConfig,
    pub(super) products: ProductClient,
    pub(super) payments: PaymentClient,
    pub(super) hub: Hub,
    pub(super) bus: Bus,
    pub(super) telemetry: Telemetry,
}

/// What a worker knows while it owns a saga.
pub(super) struct Work {
    pub(super) order: Aggregate,
    pub(super) by: By,
    pub(super) payment_method: String,
    pub(super) ticket: Option<Ticket>,
    /// The cart as it was ordered: emptied when the order is confirmed, unless it was changed since.
    pub(super) cart_version: i64,
    /// Where the order stood when the last outcome became durable.
    pub(super) status_before: Status,
    /// To be told once the outcome is durable.
    pub(super) answer: Option<Arc<Answer>>,
    pub(super) tells: bool,
}

/// A step of the checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Hold the stock.
    Reserve,
    /// Write down that the money is asked for.
    Request,
    /// Ask the provider to hold the money, and pin the stock when it does.
    Authorize,
    /// Give up on a provider that did not come back.
    Expire,
    /// Pin the stock.
    Pin,
    /// Take the money.
    Capture,
    /// Let the stock leave the shelf.
    CommitStock,
    /// Undo what was done.
    Undo,
    /// Nothing is left to do.
    Finish,
}

impl Step {
    const ALL: [Self; 9] = [
        Self::Reserve,
        Self::Request,
        Self::Authorize,
        Self::Expire,
        Self::Pin,
        Self::Capture,
        Self::CommitStock,
        Self::Undo,
        Self::Finish,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Request => "request_payment",
            Self::Authorize => "authorize",
            Self::Expire => "expire",
            Self::Pin => "pin",
            Self::Capture => "capture",
            Self::CommitStock => "commit_stock",
            Self::Undo => "undo",
            Self::Finish => "finish",
        }
    }
}

/// Every step of every saga of an order, as (kind, step): what a test of crashes must cover.
#[must_use]
pub fn steps() -> Vec<(&'static str, &'static str)> {
    let of = |kind: SagaKind| match kind {
        SagaKind::Checkout => Step::ALL.map(Step::as_str).to_vec(),
        SagaKind::Cancellation => vec![Step::Undo.as_str()],
        SagaKind::Refund => vec![REFUND],
        SagaKind::LatePayment => vec![SETTLE_PAYMENT],
    };
    SagaKind::ALL
        .into_iter()
        .flat_map(|kind| of(kind).into_iter().map(move |step| (kind.as_str(), step)))
        .collect()
}

/// The one step of a refund.
pub(super) const REFUND: &str = "refund";
/// The one step of a late payment.
pub(super) const SETTLE_PAYMENT: &str = "settle_payment";

/// Which step of the checkout is due.
pub(super) fn due(state: &State, now: Timestamp, deadline: Option<Timestamp>) -> Step {
    match state.status {
        Status::Pending => Step::Reserve,
        Status::Reserved => Step::Request,
        Status::Authorizing => Step::Authorize,
        Status::PaymentQueued if deadline.is_some_and(|deadline| deadline <= now) => Step::Expire,
        Status::PaymentQueued => Step::Authorize,
        Status::Authorized if state.stock == Stock::Pinned => Step::Capture,
        Status::Authorized => Step::Pin,
        // A cancellation after the pivot has a saga of its own.
        Status::Cancelling if state.was_confirmed => Step::Finish,
        Status::Cancelling => Step::Undo,
        _ if state.stock == Stock::Pinned => Step::CommitStock,
        _ => Step::Finish,
    }
}

/// Why a step came to nothing for now.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) outcome: &'static str,
    pub(super) why: String,
    pub(super) not_before: Option<Duration>,
    /// The other side refuses: more tries alone will not help.
    pub(super) gives_up: bool,
}

impl Wait {
    /// The other side is away; it asked for so much patience.
    pub(super) fn unavailable(retry_after_ms: u64) -> Self {
        Self {
            outcome: "unavailable",
            why: "the payment provider is away".to_owned(),
            not_before: Some(Duration::from_millis(retry_after_ms)),
            gives_up: false,
        }
    }

    /// It may have happened or not: the same call is made again until its outcome is known.
    pub(super) fn unknown(why: impl Into<String>) -> Self {
        Self { outcome: "unknown", why: why.into(), not_before: None, gives_up: false }
    }

    /// The other side answered what the step cannot go on with.
    pub(super) fn refused(why: impl Into<String>) -> Self {
        Self { outcome: "refused", why: why.into(), not_before: None, gives_up: true }
    }
}

impl From<CallError> for Wait {
    fn from(error: CallError) -> Self {
        let refused = error
            .problem()
            .is_some_and(|problem| (400..500).contains(&problem.status) && problem.status != 429);
        if refused { Self::refused(error.to_string()) } else { Self::unknown(error.to_string()) }
    }
}

/// The `reason` of a `conflict` problem.
pub(super) fn conflict_reason(error: &CallError) -> Option<&str> {
    error.problem().filter(|problem| problem.status == 409)?.extra.get("reason")?.as_str()
}

impl OrderSagas {
    /// The step came to `events`: what follows is what the order's state then says.
    pub(super) fn done(
        &self,
        row: &SagaRow,
        work: &mut Work,
        step: &'static str,
        outcome: &'static str,
        events: &[Event],
    ) -> Advance {
        self.came_to(row, work, step, outcome, events, None)
    }

    /// The step came to `events` (maybe none) and is tried again.
    pub(super) fn wait(
        &self,
        row: &SagaRow,
        work: &mut Work,
        step: &'static str,
        wait: Wait,
        events: &[Event],
    ) -> Advance {
        let Wait { outcome, why, not_before, gives_up } = wait;
        let then = Then::Retry { step, why, not_before, gives_up };
        self.came_to(row, work, step, outcome, events, Some(then))
    }

    fn came_to(
        &self,
        row: &SagaRow,
        work: &mut Work,
        step: &'static str,
        outcome: &'static str,
        events: &[Event],
        then: Option<Then>,
    ) -> Advance {
        let mut batch = Batch::new();
        match work.order.record(events, &work.by, &self.env, &mut batch) {
            Ok(true) => {}
            Ok(false) => work.order.unmoved(&mut batch),
            Err(refused) => {
                let then = Then::Stuck(refused.to_string());
                return Advance { step, outcome: "refused", batch: Batch::new(), then };
            }
        }
        work.tells = batch.statements.iter().any(|statement| statement.name == crate::bus::outbox::OUTBOX);
        if row.kind == SagaKind::Checkout.as_str() {
            self.settle(work, events, &mut batch);
        }
        let then = then.unwrap_or_else(|| self.follow(row, work));
        Advance { step, outcome, batch, then }
    }

    fn follow(&self, row: &SagaRow, work: &Work) -> Then {
        if row.kind != SagaKind::Checkout.as_str() {
            return Then::Done;
        }
        match due(&work.order.state, self.env.now(), row.deadline_at) {
            Step::Finish => Then::Done,
            step @ Step::Undo => Then::Undo(step.as_str()),
            step => Then::Next(step.as_str()),
        }
    }

    /// The buyer's answer is stored in the batch that makes it true, and the cart is emptied by the one that confirms.
    fn settle(&self, work: &mut Work, events: &[Event], batch: &mut Batch) {
        let state = &work.order.state;
        if batch.is_empty()
            || is_over(work.status_before, PaymentStatus::None)
            || !is_over(state.status, state.payment)
        {
            return;
        }
        let answer = answers::settled(&work.order, events);
        if let Some(ticket) = &work.ticket {
            ticket.answer(batch, &answer);
        }
        work.answer = Some(Arc::new(answer));
        if state.status == Status::Confirmed {
            let cart = work.order.placed.cart_id;
            batch.run(
                "DELETE FROM order_cart_lines WHERE cart_id = $1 \
                 AND EXISTS (SELECT 1 FROM order_carts WHERE id = $1 AND version = $2)",
                vec![cart.into(), work.cart_version.into()],
            );
            if work.order.placed.promotion.is_some() {
                batch.run(
                    "UPDATE order_carts SET promotion = NULL WHERE id = $1 AND version = $2",
                    vec![cart.into(), work.cart_version.into()],
                );
            }
        }
    }

    /// What the order holds, as the product service wants it.
    pub(super) fn lines(order: &Aggregate) -> Vec<Line> {
        order
            .placed
            .lines
            .iter()
            .map(|line| Line { sku: line.sku.clone(), quantity: line.quantity })
            .collect()
    }
}

/// Whether the buyer's wait is over. A decline is final as soon as it is known; giving the stock back may follow.
fn is_over(status: Status, payment: PaymentStatus) -> bool {
    status.is_settled() || (status == Status::Cancelling && payment == PaymentStatus::Failed)
}

impl Saga for OrderSagas {
    type Work = Work;

    fn knows(&self, kind: &str, version: i64) -> bool {
        version == SAGA_VERSION && SagaKind::ALL.iter().any(|known| known.as_str() == kind)
    }

    async fn load(&self, row: &SagaRow) -> Result<Work, LoadError> {
        let id = OrderId::from_uuid(row.subject);
        let order = store::load(&self.db, id).await.map_err(|error| match error {
            ReplayError::Storage(error) => LoadError::Storage(error),
            other => LoadError::Unreadable(other.to_string()),
        })?;
        let order = order.ok_or_else(|| LoadError::Unreadable(format!("there is no order {id}")))?;
        let text = |name: &str| row.params.get(name).and_then(|value| value.as_str());
        let context = Context::resumed("order", &self.env, text("request_id"), text("traceparent"));
        let ticket = text("scope")
            .zip(text("key"))
            .map(|(scope, key)| Ticket { scope: scope.to_owned(), key: key.to_owned() });
        Ok(Work {
            status_before: order.state.status,
            order,
            by: By::shop(context),
            payment_method: text("payment_method").unwrap_or_default().to_owned(),
            ticket,
            cart_version: row.params.get("cart_version").and_then(serde_json::Value::as_i64).unwrap_or(-1),
            answer: None,
            tells: false,
        })
    }

    async fn advance(&self, row: &SagaRow, work: &mut Work) -> Advance {
        let mut span = self.telemetry.start("order", SpanKind::Internal, "saga step", &work.by.context);
        span.note_order(work.order.id);
        let context = Context { deadline: Some(self.env.after(ANSWER_MAX)), ..span.context().clone() };
        // Boxed: a step is large, and would be moved with every layer around it.
        let advance = span.run(Box::pin(self.step(&context, row, work))).await;
        span.word(Attribute::Step, advance.step);
        span.word(Attribute::Outcome, advance.outcome);
        advance
    }

    fn alert(&self, row: &SagaRow, work: &mut Work, reason: &str) -> Batch {
        let event =
            Event::SagaStuck { saga: row.kind.clone(), step: row.step.clone(), reason: reason.to_owned() };
        let mut batch = Batch::new();
        if let Err(refused) = work.order.record(&[event], &work.by, &self.env, &mut batch) {
            tracing::error!(%refused, "could not record that a saga is stuck");
        }
        work.tells = true;
        batch
    }

    fn committed(&self, _: &SagaRow, work: &mut Work) {
        let status = work.order.state.status;
        if status != work.status_before {
            work.status_before = status;
            self.telemetry.order_reached(status.as_str());
        }
        if std::mem::take(&mut work.tells) {
            self.bus.wake(Topic::Order);
        }
        let rests = status == Status::PaymentQueued;
        self.hub.tell(work.order.id, work.order.state.seq, work.answer.take(), rests);
    }
}

impl OrderSagas {
    async fn step(&self, context: &Context, row: &SagaRow, work: &mut Work) -> Advance {
        let kind = SagaKind::ALL.into_iter().find(|kind| kind.as_str() == row.kind);
        if self.env.fate().is_some() {
            let step = match kind {
                Some(SagaKind::Checkout) => due(&work.order.state, self.env.now(), row.deadline_at).as_str(),
                Some(SagaKind::Cancellation) => Step::Undo.as_str(),
                Some(SagaKind::Refund) => REFUND,
                Some(SagaKind::LatePayment) => SETTLE_PAYMENT,
                None => "none",
            };
            self.env.reach(|| format!("saga.{}.{step}.before", row.kind)).await;
        }
        match kind {
            Some(SagaKind::Checkout) => self.checkout(context, row, work).await,
            Some(SagaKind::Cancellation) => self.undo(context, row, work).await,
            Some(SagaKind::Refund) => self.refund(context, row, work).await,
            Some(SagaKind::LatePayment) => self.late_payment(context, row, work).await,
            None => Advance {
                step: "none",
                outcome: "refused",
                batch: Batch::new(),
                then: Then::Stuck(format!("`{}` is not a saga of an order", row.kind)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step that is added here must be added to the list, which is what the matrix of crashes is made of.
    #[test]
    fn the_list_of_steps_has_every_step_once() {
        let place = |step: Step| match step {
            Step::Reserve => 0,
            Step::Request => 1,
            Step::Authorize => 2,
            Step::Expire => 3,
            Step::Pin => 4,
            Step::Capture => 5,
            Step::CommitStock => 6,
            Step::Undo => 7,
            Step::Finish => 8,
        };
        let places: Vec<usize> = Step::ALL.into_iter().map(place).collect();
        assert_eq!(places, (0..9).collect::<Vec<_>>());
    }
}
