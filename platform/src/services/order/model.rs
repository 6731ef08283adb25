//! The rules of an order: what may follow what. Pure and total: [`apply`] has an answer for every state and event.
//!
//! An event that the order already knows is a no-op, never an error; a terminal state is never left.

mod effects;

pub use effects::{Effect, SagaKind};

use self::effects::effects;
use super::events::{Event, Operation};
use super::status::{FulfilmentStatus, PaymentStatus, Status};
use crate::vocabulary::{Money, Timestamp};

/// Where an order's stock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stock {
    /// Not asked for, or not known to be held.
    None,
    /// Held until it expires.
    Held,
    /// Held for good.
    Pinned,
    /// Left the shelf.
    Committed,
    /// Given back before it left the shelf.
    Released,
    /// Came back to the shelf.
    Returned,
}

impl Stock {
    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Held => "held",
            Self::Pinned => "pinned",
            Self::Committed => "committed",
            Self::Released => "released",
            Self::Returned => "returned",
        }
    }

    /// Whether the order has any claim on stock left.
    const fn is_closed(self) -> bool {
        matches!(self, Self::None | Self::Released | Self::Returned)
    }
}

/// An order as its events left it. Amounts are in the minor unit of `total`'s currency.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Where it stands.
    pub status: Status,
    /// Where its money stands.
    pub payment: PaymentStatus,
    /// Where its parcel stands.
    pub fulfilment: FulfilmentStatus,
    /// Where its stock stands.
    pub stock: Stock,
    /// What it costs.
    pub total: Money,
    /// What the provider holds for us now.
    pub held: i64,
    /// What was taken.
    pub captured: i64,
    /// What of that went back.
    pub refunded: i64,
    /// The call whose answer is missing.
    pub unknown: Option<Operation>,
    /// Whether the provider may have been asked for money.
    pub payment_requested: bool,
    /// Whether it was ever confirmed: then a cancellation has a saga of its own.
    pub was_confirmed: bool,
    /// What staff wants to go back and has not gone yet.
    pub refund_due: i64,
    /// Whether the goods are to go back to stock after that refund.
    pub restock_due: bool,
    /// How many refunds were asked for: numbers their keys.
    pub refunds: i64,
    /// The last refund that went through.
    pub refund_key: Option<String>,
    /// Until when the stock is held.
    pub held_until: Option<Timestamp>,
    /// The parcel's number.
    pub tracking: Option<String>,
    /// Why it ended badly.
    pub reason: Option<String>,
    /// How many events it has.
    pub seq: i64,
    /// How many of them were told to others.
    pub told: i64,
}

impl State {
    fn placed(total: Money) -> Self {
        Self {
            status: Status::Pending,
            payment: PaymentStatus::None,
            fulfilment: FulfilmentStatus::None,
            stock: Stock::None,
            total,
            held: 0,
            captured: 0,
            refunded: 0,
            unknown: None,
            payment_requested: false,
            was_confirmed: false,
            refund_due: 0,
            restock_due: false,
            refunds: 0,
            refund_key: None,
            held_until: None,
            tracking: None,
            reason: None,
            seq: 0,
            told: 0,
        }
    }

    /// Whether the shop neither has nor can still get money for this order.
    #[must_use]
    pub fn money_is_settled(&self) -> bool {
        self.held == 0 && self.captured == self.refunded && self.unknown.is_none()
    }
}

/// What [`apply`] came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// The event is new: the state after it, and what must follow.
    New(Box<State>, Vec<Effect>),
    /// The order knows it already: nothing to write.
    Known,
}

/// The order's state does not allow the event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an order that is {status} does not take `{event}`: {why}")]
pub struct Refused {
    /// The order's status; `unplaced` before it was placed.
    pub status: &'static str,
    /// The event.
    pub event: &'static str,
    /// What is in the way.
    pub why: &'static str,
}

const OUT_OF_TURN: &str = "it is out of turn";

/// What `event` makes of `state`; `None` is an order that was not placed yet.
pub fn apply(state: Option<&State>, event: &Event) -> Result<Applied, Refused> {
    let Some(state) = state else {
        return match event {
            Event::OrderPlaced(placed) => {
                let mut next = State::placed(placed.total);
                next.seq = 1;
                next.told = 1;
                Ok(Applied::New(Box::new(next), vec![Effect::Tell("order_placed")]))
            }
            _ => Err(Refused { status: "unplaced", event: event.kind(), why: "it was not placed" }),
        };
    };
    let mut next = state.clone();
    match follow(state, &mut next, event) {
        Turn::New => {}
        Turn::Known => return Ok(Applied::Known),
        Turn::Refused(why) => {
            return Err(Refused { status: state.status.as_str(), event: event.kind(), why });
        }
    }
    next.seq += 1;
    let effects = effects(state, &next, event);
    next.told += effects.iter().filter(|effect| matches!(effect, Effect::Tell(_))).count() as i64;
    Ok(Applied::New(Box::new(next), effects))
}

enum Turn {
    New,
    Known,
    Refused(&'static str),
}

/// Changes `next`, which begins as a copy of `state`, as `event` says.
fn follow(state: &State, next: &mut State, event: &Event) -> Turn {
    match event {
        Event::OrderPlaced(_) => Turn::Known,
        Event::StockReserved { .. }
        | Event::StockRejected { .. }
        | Event::ReservationExpired {}
        | Event::ReservationLost { .. }
        | Event::StockPinned {}
        | Event::StockCommitted {}
        | Event::StockReleased {}
        | Event::StockRestocked {} => stock(state, next, event),
        Event::PaymentRequested { .. }
        | Event::PaymentAuthorized { .. }
        | Event::PaymentDeclined { .. }
        | Event::PaymentQueued { .. }
        | Event::PaymentUnknown { .. }
        | Event::ProviderBack {}
        | Event::DeadlinePassed {}
        | Event::NothingToPay {}
        | Event::CaptureDeclined { .. } => payment(state, next, event),
        Event::PaymentCaptured { .. }
        | Event::PaymentVoided { .. }
        | Event::PaymentRefunded { .. }
        | Event::RefundRequested { .. }
        | Event::LatePaymentHandled {} => money(state, next, event),
        Event::CancelRequested { .. } | Event::AllCompensated {} => cancellation(state, next, event),
        Event::Packed {} | Event::Shipped { .. } | Event::Delivered {} | Event::ReturnWindowEnded {} => {
            fulfilment(state, next, event)
        }
        Event::SagaStuck { .. } => Turn::New,
    }
}

fn stock(state: &State, next: &mut State, event: &Event) -> Turn {
    use Status::{Authorized, Cancelling, Confirmed, Expired, Pending, Rejected, Reserved};
    match (state.status, event) {
        (Pending, Event::StockReserved { expires_at }) => {
            next.status = Reserved;
            next.stock = Stock::Held;
            next.held_until = *expires_at;
            Turn::New
        }
        (_, Event::StockReserved { .. }) => Turn::Known,
        (Pending, Event::StockRejected { .. }) => {
            next.status = Rejected;
            next.reason = Some("out_of_stock".to_owned());
            Turn::New
        }
        (Rejected | Cancelling, Event::StockRejected { .. }) => Turn::Known,
        (Reserved, Event::ReservationExpired {}) => {
            next.status = Expired;
            next.stock = Stock::Released;
            next.reason = Some("the items were not held any longer".to_owned());
            Turn::New
        }
        // Later than that it is found when the reservation is to be pinned.
        (_, Event::ReservationExpired {}) => Turn::Known,
        (Authorized, Event::ReservationLost { .. }) if state.stock != Stock::Pinned => {
            next.status = Cancelling;
            next.stock = Stock::Released;
            next.reason = Some("the items were not held any longer".to_owned());
            Turn::New
        }
        (Cancelling, Event::ReservationLost { .. }) => Turn::Known,
        (Authorized, Event::StockPinned {}) if state.stock != Stock::Pinned => {
            next.stock = Stock::Pinned;
            next.held_until = None;
            Turn::New
        }
        (Authorized | Confirmed, Event::StockPinned {}) => Turn::Known,
        (Confirmed | Cancelling, Event::StockCommitted {}) if state.stock == Stock::Pinned => {
            next.stock = Stock::Committed;
            Turn::New
        }
        (_, Event::StockCommitted {}) if matches!(state.stock, Stock::Committed | Stock::Returned) => {
            Turn::Known
        }
        (Cancelling, Event::StockReleased {})
            if matches!(state.stock, Stock::None | Stock::Held | Stock::Pinned) =>
        {
            next.stock = Stock::Released;
            next.held_until = None;
            Turn::New
        }
        (_, Event::StockReleased {}) if state.stock == Stock::Released => Turn::Known,
        (_, Event::StockRestocked {})
            if state.stock == Stock::Committed && (state.status == Cancelling || state.restock_due) =>
        {
            next.stock = Stock::Returned;
            next.restock_due = false;
            Turn::New
        }
        (_, Event::StockRestocked {}) if state.stock == Stock::Returned => Turn::Known,
        _ => Turn::Refused(OUT_OF_TURN),
    }
}

fn payment(state: &State, next: &mut State, event: &Event) -> Turn {
    use Status::{Authorized, Authorizing, Cancelling, Confirmed, Expired, PaymentQueued, Pending, Reserved};
    let terminal = state.status.is_terminal();
    match (state.status, event) {
        (Reserved, Event::PaymentRequested { .. }) => {
            next.status = Authorizing;
            next.payment_requested = true;
            Turn::New
        }
        (_, Event::PaymentRequested { .. }) if state.payment_requested => Turn::Known,
        (Authorizing, Event::PaymentAuthorized { amount }) => {
            next.held = amount.amount;
            next.unknown = None;
            if *amount == state.total {
                next.status = Authorized;
                next.payment = PaymentStatus::Authorized;
            } else {
                next.status = Cancelling;
                next.payment = PaymentStatus::Failed;
                next.reason = Some("the provider held another amount".to_owned());
            }
            Turn::New
        }
        (_, Event::PaymentAuthorized { .. }) if state.held > 0 || state.captured > 0 => Turn::Known,
        (_, Event::PaymentAuthorized { amount }) if state.status == Cancelling || terminal => {
            next.held = amount.amount;
            next.unknown = None;
            next.payment = PaymentStatus::Authorized;
            Turn::New
        }
        (Authorizing, Event::PaymentDeclined { code, .. }) => {
            next.status = Cancelling;
            next.payment = PaymentStatus::Failed;
            next.unknown = None;
            next.reason = Some(code.clone());
            Turn::New
        }
        (Cancelling, Event::PaymentDeclined { .. })
            if state.payment != PaymentStatus::Failed && state.held == 0 && state.captured == 0 =>
        {
            next.payment = PaymentStatus::Failed;
            next.unknown = None;
            Turn::New
        }
        (_, Event::PaymentDeclined { .. }) if state.status == Cancelling || terminal => Turn::Known,
        // An answer is missing: that the provider is away now proves nothing about what it did before.
        (Authorizing, Event::PaymentQueued { .. }) if state.unknown.is_none() => {
            next.status = PaymentQueued;
            next.payment = PaymentStatus::Queued;
            if let Event::PaymentQueued { held_until: Some(until) } = event {
                next.held_until = Some(*until);
            }
            Turn::New
        }
        (Authorizing | PaymentQueued, Event::PaymentQueued { .. }) => Turn::Known,
        (_, Event::PaymentUnknown { operation, .. }) if state.unknown == Some(*operation) => Turn::Known,
        (Authorizing, Event::PaymentUnknown { operation: Operation::Authorize, .. })
        | (Authorized, Event::PaymentUnknown { operation: Operation::Capture, .. })
        | (Cancelling, Event::PaymentUnknown { .. }) => {
            if let Event::PaymentUnknown { operation, .. } = event {
                next.unknown = Some(*operation);
            }
            next.payment = PaymentStatus::Unknown;
            Turn::New
        }
        (PaymentQueued, Event::ProviderBack {}) => {
            next.status = Authorizing;
            next.payment = PaymentStatus::None;
            Turn::New
        }
        (Authorizing, Event::ProviderBack {}) => Turn::Known,
        (PaymentQueued, Event::DeadlinePassed {}) if state.held == 0 => {
            next.status = Expired;
            next.payment = PaymentStatus::Failed;
            next.stock = Stock::Released;
            next.held_until = None;
            next.reason = Some("the payment did not come through in time".to_owned());
            Turn::New
        }
        (Expired, Event::DeadlinePassed {}) => Turn::Known,
        (Pending, Event::NothingToPay {}) if state.total.is_zero() => {
            confirm(next);
            next.stock = Stock::Pinned;
            Turn::New
        }
        (_, Event::NothingToPay {}) if state.was_confirmed && state.total.is_zero() => Turn::Known,
        (Authorized, Event::CaptureDeclined { code, .. }) if state.stock == Stock::Pinned => {
            next.status = Cancelling;
            next.unknown = None;
            next.payment = PaymentStatus::Authorized;
            next.reason = Some(code.clone());
            Turn::New
        }
        (Cancelling, Event::CaptureDeclined { .. }) if state.unknown == Some(Operation::Capture) => {
            next.unknown = None;
            next.payment = PaymentStatus::Authorized;
            Turn::New
        }
        (Cancelling, Event::CaptureDeclined { .. }) => Turn::Known,
        (Confirmed, Event::CaptureDeclined { .. }) => Turn::Refused("the money is ours already"),
        _ => Turn::Refused(OUT_OF_TURN),
    }
}

fn confirm(next: &mut State) {
    next.status = Status::Confirmed;
    next.was_confirmed = true;
    next.held_until = None;
}

fn money(state: &State, next: &mut State, event: &Event) -> Turn {
    use Status::{Authorized, Cancelling, Confirmed, Delivered, Fulfilling, Shipped};
    let terminal = state.status.is_terminal();
    match event {
        Event::PaymentCaptured { .. } if state.captured > 0 => Turn::Known,
        Event::PaymentCaptured { amount } => {
            let goes_on = state.status == Authorized && state.stock == Stock::Pinned;
            if !goes_on && state.status != Cancelling && !terminal {
                return Turn::Refused("the stock is not pinned");
            }
            next.captured = amount.amount;
            next.held = 0;
            next.unknown = None;
            next.payment = PaymentStatus::Captured;
            if goes_on && *amount == state.total {
                confirm(next);
            } else if goes_on {
                next.status = Cancelling;
                next.reason = Some("the provider took another amount".to_owned());
            }
            Turn::New
        }
        Event::PaymentVoided { .. } if state.held == 0 && state.unknown.is_none() => Turn::Known,
        Event::PaymentVoided { .. } if state.status == Cancelling || terminal => {
            next.held = 0;
            next.unknown = None;
            if state.payment != PaymentStatus::Failed {
                next.payment = PaymentStatus::Voided;
            }
            Turn::New
        }
        Event::PaymentVoided { .. } => Turn::Refused(OUT_OF_TURN),
        Event::PaymentRefunded { key, .. } if state.refund_key.as_ref() == Some(key) => Turn::Known,
        Event::PaymentRefunded { amount, key } => {
            let left = state.captured - state.refunded;
            if amount.amount <= 0 || amount.amount > left || amount.currency != state.total.currency {
                return Turn::Refused("it is more than is left of what was taken");
            }
            if state.status != Cancelling && !terminal && state.refund_due == 0 {
                return Turn::Refused("nobody asked for it");
            }
            next.refunded += amount.amount;
            next.refund_due = 0;
            next.refund_key = Some(key.clone());
            next.payment = if next.refunded == next.captured {
                PaymentStatus::Refunded
            } else {
                PaymentStatus::PartiallyRefunded
            };
            Turn::New
        }
        Event::RefundRequested { amount, restock, .. } => {
            if !matches!(state.status, Confirmed | Fulfilling | Shipped | Delivered) {
                return Turn::Refused("only an order that was paid and not called off can be refunded");
            }
            if state.refund_due > 0 || state.restock_due {
                return Turn::Refused("another refund is under way");
            }
            let left = state.captured - state.refunded;
            if amount.amount <= 0 || amount.amount > left || amount.currency != state.total.currency {
                return Turn::Refused("it is more than is left of what was taken");
            }
            if *restock && amount.amount != left {
                return Turn::Refused("goods go back to stock only with a full refund");
            }
            if *restock && state.stock != Stock::Committed {
                return Turn::Refused("the stock has not left the shelf");
            }
            next.refund_due = amount.amount;
            next.restock_due = *restock;
            next.refunds += 1;
            Turn::New
        }
        Event::LatePaymentHandled {} if terminal && state.money_is_settled() => Turn::New,
        _ => Turn::Refused(OUT_OF_TURN),
    }
}

fn cancellation(state: &State, next: &mut State, event: &Event) -> Turn {
    use Status::{
        Authorized, Authorizing, Cancelled, Cancelling, Confirmed, Fulfilling, PaymentQueued, Pending,
        Reserved,
    };
    match (state.status, event) {
        (Confirmed | Fulfilling, Event::CancelRequested { .. })
            if state.refund_due > 0 || state.restock_due =>
        {
            Turn::Refused("a refund is under way")
        }
        (
            Pending | Reserved | Authorizing | PaymentQueued | Authorized | Confirmed | Fulfilling,
            Event::CancelRequested { reason },
        ) => {
            next.status = Cancelling;
            next.held_until = None;
            next.reason = Some(reason.clone());
            Turn::New
        }
        (Cancelling | Cancelled, Event::CancelRequested { .. }) => Turn::Known,
        (_, Event::CancelRequested { .. }) => Turn::Refused("it is too late to call it off"),
        (Cancelling, Event::AllCompensated {}) if !state.money_is_settled() => {
            Turn::Refused("there is money to send back")
        }
        (Cancelling, Event::AllCompensated {}) if !state.stock.is_closed() => {
            Turn::Refused("there is stock to give back")
        }
        (Cancelling, Event::AllCompensated {}) => {
            next.status = Cancelled;
            Turn::New
        }
        (Cancelled, Event::AllCompensated {}) => Turn::Known,
        _ => Turn::Refused(OUT_OF_TURN),
    }
}

fn fulfilment(state: &State, next: &mut State, event: &Event) -> Turn {
    use Status::{Closed, Confirmed, Delivered, Fulfilling, Shipped};
    match (state.status, event) {
        (Confirmed, Event::Packed {}) if state.stock != Stock::Committed => {
            Turn::Refused("its stock has not left the shelf yet, try again in a moment")
        }
        (Confirmed, Event::Packed {}) => {
            next.status = Fulfilling;
            next.fulfilment = FulfilmentStatus::Packed;
            Turn::New
        }
        (Fulfilling, Event::Packed {}) => Turn::Known,
        (Fulfilling, Event::Shipped { tracking }) => {
            next.status = Shipped;
            next.fulfilment = FulfilmentStatus::Shipped;
            next.tracking.clone_from(tracking);
            Turn::New
        }
        (Shipped, Event::Shipped { .. }) => Turn::Known,
        (Shipped, Event::Delivered {}) => {
            next.status = Delivered;
            next.fulfilment = FulfilmentStatus::Delivered;
            Turn::New
        }
        (Delivered, Event::Delivered {}) => Turn::Known,
        (Delivered, Event::ReturnWindowEnded {}) if state.refund_due > 0 || state.restock_due => {
            Turn::Refused("a refund is under way")
        }
        (Delivered, Event::ReturnWindowEnded {}) => {
            next.status = Closed;
            Turn::New
        }
        (Closed, Event::ReturnWindowEnded {}) => Turn::Known,
        _ => Turn::Refused(OUT_OF_TURN),
    }
}

#[cfg(test)]
mod tests;
