//! Undoing an order, in reverse: the money first, then the stock. Also money that goes back while the order stays.
//!
//! Look, then act: what the payment service says decides, not what this order believes, because the worker before
//! may have died between a call and its outcome. Every act has a key of its own that stays the same.
//!
//! | Act | Dies before the call | Dies after it, before the outcome is written | The answer never comes |
//! |---|---|---|---|
//! | find out about a missing answer | asked again, same key | the stored answer of that key | asked again until known |
//! | void | voided by the next owner | the payment says `voided`; only the event is missing | asked again, same key |
//! | refund | refunded by the next owner | the payment says how much went back; only the event is missing | asked again, same key |
//! | release, restock | done by the next owner | idempotent by order, by key | asked again |

use super::events::{Event, Operation};
use super::model::{State, Stock};
use super::sagas::{OrderSagas, REFUND, SETTLE_PAYMENT, Step, Wait, Work, conflict_reason};
use super::status::PaymentStatus as Standing;
use crate::http::{CallError, Code, Context};
use crate::saga::{Advance, SagaRow};
use crate::services::payment::client::{Payment, PaymentResult, PaymentStatus};
use crate::services::product::client::ProductClient;
use crate::vocabulary::Money;

/// How often within one step the payment is looked at again because an act changed it.
const LOOKS_MAX: usize = 4;

/// Whether the provider may hold or have money for this order.
fn may_have_money(state: &State) -> bool {
    let known_to_have_none =
        matches!(state.payment, Standing::Failed | Standing::Voided | Standing::Refunded);
    state.payment_requested && !(known_to_have_none && state.money_is_settled())
}

impl OrderSagas {
    /// Sends the money back, gives the stock back, and closes the order.
    pub(super) async fn undo(&self, context: &Context, row: &SagaRow, work: &mut Work) -> Advance {
        let step = Step::Undo.as_str();
        let mut events = Vec::new();
        if may_have_money(&work.order.state)
            && let Err(wait) = self.settle_payment(context, work, &mut events).await
        {
            return self.wait(row, work, step, wait, &events);
        }
        if let Err(wait) = self.undo_stock(context, work, &mut events).await {
            return self.wait(row, work, step, wait, &events);
        }
        events.push(Event::AllCompensated {});
        self.done(row, work, step, "done", &events)
    }

    /// Sends back what moved after the order had ended.
    pub(super) async fn late_payment(&self, context: &Context, row: &SagaRow, work: &mut Work) -> Advance {
        let step = SETTLE_PAYMENT;
        let mut events = Vec::new();
        if let Err(wait) = self.settle_payment(context, work, &mut events).await {
            return self.wait(row, work, step, wait, &events);
        }
        events.push(Event::LatePaymentHandled {});
        self.done(row, work, step, "done", &events)
    }

    /// Sends back what staff asked for, and puts the goods back on the shelf when they came back.
    pub(super) async fn refund(&self, context: &Context, row: &SagaRow, work: &mut Work) -> Advance {
        let step = REFUND;
        let mut events = Vec::new();
        let state = &work.order.state;
        if state.refund_due > 0 {
            let key = format!("refund:{}:{}", work.order.id, state.refunds);
            let amount = Money::new(state.refund_due, state.total.currency);
            match self.give_back(context, work, amount, &key).await {
                Ok(event) => events.push(event),
                Err(wait) => return self.wait(row, work, step, wait, &[]),
            }
        }
        if work.order.state.restock_due {
            let key = format!("refund:{}", work.order.state.refunds);
            if let Err(error) =
                self.products.restock(context, work.order.id, &Self::lines(&work.order), &key).await
            {
                return self.wait(row, work, step, error.into(), &events);
            }
            events.push(Event::StockRestocked {});
        }
        self.done(row, work, step, "done", &events)
    }

    /// Leaves no money with the provider and none with us; adds what became known to `events`.
    async fn settle_payment(
        &self,
        context: &Context,
        work: &mut Work,
        events: &mut Vec<Event>,
    ) -> Result<(), Wait> {
        for _ in 0..LOOKS_MAX {
            let Some(payment) = self.look(context, work).await? else {
                // Whatever was asked never arrived there, and never will.
                events.push(Event::PaymentVoided { amount: Money::zero(work.order.state.total.currency) });
                return Ok(());
            };
            if let Some(operation) = payment.pending_operation.as_deref()
                && self.find_out(context, work, operation).await?
            {
                continue;
            }
            if payment.captured.amount > 0 {
                return self.send_back(context, work, &payment, events).await;
            }
            match payment.status {
                PaymentStatus::Authorized => {
                    if let Some(amount) = self.let_go(context, work, &payment).await? {
                        events.push(Event::PaymentAuthorized { amount: payment.authorized });
                        events.push(Event::PaymentVoided { amount });
                        return Ok(());
                    }
                }
                PaymentStatus::Pending => {
                    self.payments.void(context, work.order.id, &work.void_key()).await?;
                }
                PaymentStatus::Failed => {
                    let (code, message) = ("declined".to_owned(), "the provider declined".to_owned());
                    events.push(Event::PaymentDeclined { code, message });
                    return Ok(());
                }
                PaymentStatus::Voided => {
                    events.push(Event::PaymentVoided { amount: payment.authorized });
                    return Ok(());
                }
                PaymentStatus::Captured | PaymentStatus::PartiallyRefunded | PaymentStatus::Refunded => {
                    return Err(Wait::refused("the payment was captured, but of nothing"));
                }
            }
        }
        Err(Wait::unknown("the payment keeps changing"))
    }

    /// The payment; none when it was never asked for, and then it never will be: the void that is left behind turns a
    /// request that is still on its way away.
    async fn look(&self, context: &Context, work: &Work) -> Result<Option<Payment>, Wait> {
        match self.payments.get(context, work.order.id).await {
            Ok(payment) => Ok(Some(payment)),
            Err(CallError::Problem(problem)) if problem.code == Code::NotFound => {
                match self.payments.void(context, work.order.id, &work.void_key()).await? {
                    PaymentResult::Voided { .. } => Ok(None),
                    other => Err(pending(other)),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks again, with its key, what was asked and never answered. Answers whether something became known; an act
    /// of our own undoing is simply done again.
    async fn find_out(&self, context: &Context, work: &Work, operation: &str) -> Result<bool, Wait> {
        let answer = match operation {
            "authorize" => {
                let request = crate::services::payment::client::Authorize {
                    amount: work.order.state.total,
                    payment_method: work.payment_method.clone(),
                    key: work.authorize_key(),
                };
                self.payments.authorize(context, work.order.id, &request).await?
            }
            "capture" => self.payments.capture(context, work.order.id, &work.capture_key()).await?,
            _ => return Ok(false),
        };
        if answer.is_final() { Ok(true) } else { Err(pending(answer)) }
    }

    /// Voids what is held; none when it was taken meanwhile, so that one must look again.
    async fn let_go(&self, context: &Context, work: &Work, payment: &Payment) -> Result<Option<Money>, Wait> {
        match self.payments.void(context, work.order.id, &work.void_key()).await? {
            PaymentResult::Voided { .. } => Ok(Some(payment.authorized)),
            PaymentResult::Captured { .. } | PaymentResult::Declined { .. } => Ok(None),
            other => Err(pending(other)),
        }
    }

    async fn send_back(
        &self,
        context: &Context,
        work: &Work,
        payment: &Payment,
        events: &mut Vec<Event>,
    ) -> Result<(), Wait> {
        events.push(Event::PaymentCaptured { amount: payment.captured });
        let key = format!("refund:{}:cancel", work.order.id);
        let left = payment
            .captured
            .checked_sub(payment.refunded)
            .map_err(|error| Wait::refused(error.to_string()))?;
        if left.amount > 0 {
            let event = self.give_back(context, work, left, &key).await?;
            events.push(event);
        } else if payment.refunded.amount > work.order.state.refunded {
            // The refund went through, and the worker died before it could say so.
            let amount =
                Money::new(payment.refunded.amount - work.order.state.refunded, payment.refunded.currency);
            events.push(Event::PaymentRefunded { amount, key });
        }
        Ok(())
    }

    async fn give_back(
        &self,
        context: &Context,
        work: &Work,
        amount: Money,
        key: &str,
    ) -> Result<Event, Wait> {
        match self.payments.refund(context, work.order.id, amount, key).await? {
            PaymentResult::Refunded { amount } => Ok(Event::PaymentRefunded { amount, key: key.to_owned() }),
            PaymentResult::Declined { code, message } => {
                Err(Wait::refused(format!("the provider declined the refund: {message} ({code})")))
            }
            other => Err(pending(other)),
        }
    }

    /// Gives back what is held, or puts back what had left the shelf.
    async fn undo_stock(&self, context: &Context, work: &Work, events: &mut Vec<Event>) -> Result<(), Wait> {
        match work.order.state.stock {
            Stock::Released | Stock::Returned => Ok(()),
            Stock::Committed => self.put_back(context, work, events).await,
            // A release of what was never held is remembered, so that a reserve that is still on its way holds nothing.
            Stock::None | Stock::Held | Stock::Pinned => {
                match self.products.release(context, work.order.id).await {
                    Ok(_) => {
                        events.push(Event::StockReleased {});
                        Ok(())
                    }
                    Err(error) if conflict_reason(&error) == Some("reservation_committed") => {
                        events.push(Event::StockCommitted {});
                        self.put_back(context, work, events).await
                    }
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    async fn put_back(&self, context: &Context, work: &Work, events: &mut Vec<Event>) -> Result<(), Wait> {
        let products: &ProductClient = &self.products;
        products.restock(context, work.order.id, &Self::lines(&work.order), "cancel").await?;
        events.push(Event::StockRestocked {});
        Ok(())
    }
}

/// Not final: the provider is away, or its answer is missing.
fn pending(answer: PaymentResult) -> Wait {
    match answer {
        PaymentResult::Unavailable { retry_after_ms } => Wait::unavailable(retry_after_ms),
        PaymentResult::Unknown { reason } => Wait::unknown(reason),
        other => Wait::refused(format!("the payment service answered {other:?}")),
    }
}

/// The call behind a missing answer, as the payment service names it.
impl Operation {
    /// The word in [`Payment::pending_operation`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Capture => "capture",
        }
    }
}
