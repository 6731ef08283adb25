//! The steps of the checkout: reserve → authorise → pin → capture (the pivot) → commit stock.
//!
//! | Step | Dies before the call | Dies after it, before the outcome is written | The answer never comes |
//! |---|---|---|---|
//! | reserve | reserved by the next owner | reserve answers what stands for this order | asked again; the hold ends by itself |
//! | authorise | asked by the next owner, same key | the stored answer of that key | asked again with the key until known; never undone on suspicion |
//! | pin | pinned by the next owner | pin is idempotent by order | asked again; nothing is captured unpinned |
//! | capture | asked by the next owner, same key | the stored answer of that key | asked again with the key until known; from then on only forward |
//! | commit stock | committed by the next owner | commit is idempotent by order | asked again; a pinned hold cannot fail on quantity |
//! | expire | tried again | the replay answers the same, release is idempotent | stays queued; never expires on suspicion |
//!
//! Pinning has no intent of its own: it follows at once on an authorisation, and whoever repeats one repeats both.

use std::time::Duration;

use super::events::{Event, Missing, Operation};
use super::sagas::{OrderSagas, Step, Wait, Work, conflict_reason, due};
use super::status::Status;
use crate::http::{CallError, Code, Context};
use crate::saga::{Advance, SagaRow};
use crate::services::payment::client::{Authorize, PaymentResult};
use crate::vocabulary::{Timestamp, clock};

/// How much longer than the deadline the stock of a queued order is held, so that the last try still finds it.
const HOLD_MARGIN: Duration = Duration::from_secs(120);

/// What pinning came to.
enum Pinned {
    Yes,
    Lost(String),
    NotYet(CallError),
}

impl OrderSagas {
    pub(super) async fn checkout(&self, context: &Context, row: &SagaRow, work: &mut Work) -> Advance {
        match due(&work.order.state, self.env.now(), row.deadline_at) {
            Step::Reserve => self.reserve(context, row, work).await,
            Step::Request => {
                let key = work.authorize_key();
                self.done(row, work, Step::Request.as_str(), "done", &[Event::PaymentRequested { key }])
            }
            Step::Authorize => self.authorize(context, row, work).await,
            Step::Expire => self.expire(context, row, work).await,
            Step::Pin => self.pin(context, row, work).await,
            Step::Capture => self.capture(context, row, work).await,
            Step::CommitStock => self.commit_stock(context, row, work).await,
            Step::Undo => self.undo(context, row, work).await,
            Step::Finish => self.done(row, work, Step::Finish.as_str(), "done", &[]),
        }
    }

    async fn reserve(&self, context: &Context, row: &SagaRow, work: &mut Work) -> Advance {
        let step = Step::Reserve.as_str();
        let (id, lines) = (work.order.id, Self::lines(&work.order));
        let reserved = self.products.reserve(context, id, &lines, self.config.reservation_ttl).await;
        let reservation = match reserved {
            Ok(reservation) => reservation,
            Err(error) => return self.not_reserved(row, work, error),
        };
        if !work.order.state.total.is_zero() {
            let key = work.authorize_key();
            let events = [
                Event::StockReserved { expires_at: reservation.expires_at },
                Event::PaymentRequested { key },
            ];
            return self.done(row, work, step, "done", &events);
        }
        match self.try_pin(context, work).await {
            Pinned::Yes => self.done(row, work, step, "done", &[Event::NothingToPay {}]),
            Pinned::Lost(reason) => self.wait(row, work, step, Wait::refused(reason), &[]),
            Pinned::NotYet(error) => self.wait(row, work, step, error.into(), &[]),
        }
    }

    fn not_reserved(&self, row: &SagaRow, work: &mut Work, error: CallError) -> Advance {
        let step = Step::Reserve.as_str();
        match error.problem().map(|problem| (problem.code, &problem.extra)) {
            Some((Code::OutOfStock, extra)) => {
                let items = extra.get("items").cloned().unwrap_or_default();
                let items = serde_json::from_value(items).unwrap_or_default();
                self.done(row, work, step, "out_of_stock", &[Event::StockRejected { items }])
            }
            // The catalogue lost the SKU between the quote and now.
            Some((Code::UnknownSku, _)) => {
                let missing = |line: &super::wire::OrderLine| Missing {
                    sku: line.sku.clone(),
                    requested: line.quantity,
                    available: 0,
                };
                let items = work.order.placed.lines.iter().map(missing).collect();
                self.done(row, work, step, "unknown_sku", &[Event::StockRejected { items }])
            }
            // It was reserved before, by a worker that did not come back in time.
            _ if conflict_reason(&error).is_some() => {
                let events = [Event::StockReserved { expires_at: None }, Event::ReservationExpired {}];
                self.done(row, work, step, "expired", &events)
            }
            _ => self.wait(row, work, step, error.into(), &[]),
        }
    }

    async fn authorize(&self, context: &Context, row: &SagaRow, work: &mut Work) -> Advance {
        let step = Step::Authorize.as_str();
        let answer = self.ask_to_authorize(context, work).await;
        let mut events = work.provider_answered();
        match answer {
            Ok(PaymentResult::Authorized { amount }) => {
                events.push(Event::PaymentAuthorized { amount });
                if amount != work.order.state.total {
                    return self.done(row, work, step, "mismatch", &events);
                }
                match self.try_pin(context, work).await {
                    Pinned::Yes => events.push(Event::StockPinned {}),
                    Pinned::Lost(reason) => events.push(Event::ReservationLost { reason }),
                    // The step `pin` is due then, and tries again.
                    Pinned::NotYet(_) => {}
                }
                self.done(row, work, step, "done", &events)
            }
            Ok(PaymentResult::Declined { code, message }) => {
                events.push(Event::PaymentDeclined { code, message });
                // Nothing else was done: giving the stock back ends the order at once.
                if self.products.release(context, work.order.id).await.is_ok() {
                    events.extend([Event::StockReleased {}, Event::AllCompensated {}]);
                }
                self.done(row, work, step, "declined", &events)
            }
            Ok(PaymentResult::Unavailable { retry_after_ms }) => {
                self.queue_payment(context, row, work, Wait::unavailable(retry_after_ms)).await
            }
            Ok(PaymentResult::Unknown { reason }) => {
                self.not_known(row, work, events, Operation::Authorize, reason)
            }
            Ok(other) => {
                let why = format!("the payment service answered {other:?} to an authorisation");
                self.wait(row, work, step, Wait::refused(why), &[])
            }
            Err(CallError::Refused(_)) => self.queue_payment(context, row, work, Wait::unavailable(0)).await,
            Err(error) => match refusal(&error) {
                Some((code, message)) => {
                    events.push(Event::PaymentDeclined { code, message });
                    self.done(row, work, step, "declined", &events)
                }
                None => self.not_known(row, work, events, Operation::Authorize, error.to_string()),
            },
        }
    }

    async fn ask_to_authorize(&self, context: &Context, work: &Work) -> Result<PaymentResult, CallError> {
        let request = Authorize {
            amount: work.order.state.total,
            payment_method: work.payment_method.clone(),
            key: work.authorize_key(),
        };
        self.payments.authorize(context, work.order.id, &request).await
    }

    /// The provider is away and nothing happened there: the order waits, and its stock is held meanwhile. When an
    /// earlier answer is missing, that the provider is away now proves nothing; then the order stays as it is.
    async fn queue_payment(&self, context: &Context, row: &SagaRow, work: &mut Work, wait: Wait) -> Advance {
        let step = Step::Authorize.as_str();
        if work.order.state.status != Status::Authorizing || work.order.state.unknown.is_some() {
            return self.wait(row, work, step, wait, &[]);
        }
        let held_until = self.hold_until_deadline(context, row, work).await;
        self.wait(row, work, step, wait, &[Event::PaymentQueued { held_until }])
    }

    /// Best effort: when the hold ends earlier after all, pinning finds out before money moves.
    async fn hold_until_deadline(&self, context: &Context, row: &SagaRow, work: &Work) -> Option<Timestamp> {
        let now = self.env.now();
        let deadline = row.deadline_at.unwrap_or(now);
        let ttl = clock::since(now, deadline) + HOLD_MARGIN;
        match self.products.extend(context, work.order.id, ttl).await {
            Ok(reservation) => reservation.expires_at,
            Err(error) => {
                tracing::warn!(order_id = %work.order.id, %error, "could not hold the stock of a queued order for longer");
                None
            }
        }
    }

    fn not_known(
        &self,
        row: &SagaRow,
        work: &mut Work,
        mut events: Vec<Event>,
        operation: Operation,
        reason: String,
    ) -> Advance {
        let step = match operation {
            Operation::Authorize => Step::Authorize,
            Operation::Capture => Step::Capture,
        };
        events.push(Event::PaymentUnknown { operation, reason: reason.clone() });
        self.wait(row, work, step.as_str(), Wait::unknown(reason), &events)
    }

    async fn pin(&self, context: &Context, row: &SagaRow, work: &mut Work) -> Advance {
        let step = Step::Pin.as_str();
        match self.try_pin(context, work).await {
            Pinned::Yes => self.done(row, work, step, "done", &[Event::StockPinned {}]),
            Pinned::Lost(reason) => self.done(row, work, step, "lost", &[Event::ReservationLost { reason }]),
            Pinned::NotYet(error) => {
                self.wait(row, work, step, Wait { gives_up: false, ..error.into() }, &[])
            }
        }
    }

    async fn try_pin(&self, context: &Context, work: &Work) -> Pinned {
        match self.products.pin(context, work.order.id).await {
            Ok(_) => Pinned::Yes,
            Err(error) => match conflict_reason(&error) {
                Some(reason) => Pinned::Lost(reason.to_owned()),
                None => Pinned::NotYet(error),
            },
        }
    }

    async fn capture(&self, context: &Context, row: &SagaRow, work: &mut Work) -> Advance {
        let step = Step::Capture.as_str();
        match self.payments.capture(context, work.order.id, &work.capture_key()).await {
            Ok(PaymentResult::Captured { amount }) => {
                self.done(row, work, step, "done", &[Event::PaymentCaptured { amount }])
            }
            Ok(PaymentResult::Declined { code, message }) => {
                self.done(row, work, step, "declined", &[Event::CaptureDeclined { code, message }])
            }
            Ok(PaymentResult::Unavailable { retry_after_ms }) => {
                self.wait(row, work, step, Wait::unavailable(retry_after_ms), &[])
            }
            Ok(PaymentResult::Unknown { reason }) => {
                self.not_known(row, work, vec![], Operation::Capture, reason)
            }
            Ok(other) => {
                let why = format!("the payment service answered {other:?} to a capture");
                self.wait(row, work, step, Wait::refused(why), &[])
            }
            Err(CallError::Refused(_)) => self.wait(row, work, step, Wait::unavailable(0), &[]),
            Err(error) => self.not_known(row, work, vec![], Operation::Capture, error.to_string()),
        }
    }

    async fn commit_stock(&self, context: &Context, row: &SagaRow, work: &mut Work) -> Advance {
        let step = Step::CommitStock.as_str();
        match self.products.commit(context, work.order.id).await {
            Ok(_) => self.done(row, work, step, "done", &[Event::StockCommitted {}]),
            Err(error) => self.wait(row, work, step, error.into(), &[]),
        }
    }

    /// The deadline passed while the provider was away: ask once more; let go of what is found; give the stock back.
    async fn expire(&self, context: &Context, row: &SagaRow, work: &mut Work) -> Advance {
        let step = Step::Expire.as_str();
        match self.ask_to_authorize(context, work).await {
            Ok(PaymentResult::Unavailable { .. }) => {}
            Ok(PaymentResult::Authorized { .. }) => {
                match self.payments.void(context, work.order.id, &work.void_key()).await {
                    Ok(PaymentResult::Voided { .. }) => {}
                    Ok(other) => {
                        let why = format!("a late authorisation is still held: {other:?}");
                        return self.wait(row, work, step, Wait::unknown(why), &[]);
                    }
                    Err(error) => return self.wait(row, work, step, error.into(), &[]),
                }
            }
            Ok(PaymentResult::Declined { code, message }) => {
                let mut events = work.provider_answered();
                events.push(Event::PaymentDeclined { code, message });
                return self.done(row, work, step, "declined", &events);
            }
            Ok(PaymentResult::Unknown { reason }) => {
                let events = work.provider_answered();
                return self.not_known(row, work, events, Operation::Authorize, reason);
            }
            Ok(other) => {
                let why = format!("the payment service answered {other:?} to an authorisation");
                return self.wait(row, work, step, Wait::refused(why), &[]);
            }
            Err(error) => {
                return self.wait(row, work, step, Wait { gives_up: false, ..error.into() }, &[]);
            }
        }
        match self.products.release(context, work.order.id).await {
            Ok(_) => self.done(row, work, step, "expired", &[Event::DeadlinePassed {}]),
            Err(error) => self.wait(row, work, step, error.into(), &[]),
        }
    }
}

/// A problem that says that the request itself was wrong: nothing happened, and nothing will.
fn refusal(error: &CallError) -> Option<(String, String)> {
    let problem = error.problem()?;
    matches!(problem.code, Code::ValidationFailed | Code::Malformed)
        .then(|| ("invalid_payment_method".to_owned(), problem.detail.clone()))
}

impl Work {
    /// Names the one authorisation of this order.
    pub(super) fn authorize_key(&self) -> String {
        format!("auth:{}:1", self.order.id)
    }

    /// Names its capture.
    pub(super) fn capture_key(&self) -> String {
        format!("capture:{}:1", self.order.id)
    }

    /// Names its void.
    pub(super) fn void_key(&self) -> String {
        format!("void:{}:1", self.order.id)
    }

    /// The provider answered: a queued order is asked for again.
    fn provider_answered(&self) -> Vec<Event> {
        match self.order.state.status {
            Status::PaymentQueued => vec![Event::ProviderBack {}],
            _ => Vec::new(),
        }
    }
}
