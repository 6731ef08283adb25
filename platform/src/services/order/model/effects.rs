//! What must follow an event of an order: whom to tell, which saga to begin.

use super::State;
use crate::services::order::events::Event;
use crate::services::order::status::Status;

/// What must follow an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Others are told, by an event of this kind.
    Tell(&'static str),
    /// A saga of this kind begins.
    Begin(SagaKind),
    /// The promotion may be used once more.
    GiveBackPromotion,
}

/// The sagas of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SagaKind {
    /// From placed to confirmed, or back.
    Checkout,
    /// Calls a confirmed order off: refund, then restock.
    Cancellation,
    /// Sends money back for goods that stay.
    Refund,
    /// Sends money back that moved after the order had ended.
    LatePayment,
}

impl SagaKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Checkout, Self::Cancellation, Self::Refund, Self::LatePayment];

    /// The word in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Cancellation => "cancellation",
            Self::Refund => "refund",
            Self::LatePayment => "late_payment",
        }
    }
}

/// What must follow a change from `before` to `after`.
pub(super) fn effects(before: &State, after: &State, event: &Event) -> Vec<Effect> {
    let mut effects = Vec::new();
    if before.status != after.status {
        let told = match after.status {
            Status::PaymentQueued => Some("order_payment_queued"),
            Status::Confirmed => Some("order_confirmed"),
            Status::Shipped => Some("order_shipped"),
            Status::Delivered => Some("order_delivered"),
            Status::Cancelled => Some("order_cancelled"),
            Status::Rejected => Some("order_rejected"),
            Status::Expired => Some("order_expired"),
            _ => None,
        };
        effects.extend(told.map(Effect::Tell));
        if matches!(after.status, Status::Cancelled | Status::Rejected | Status::Expired) {
            effects.push(Effect::GiveBackPromotion);
        }
    }
    let late = before.status.is_terminal() && !after.money_is_settled();
    match event {
        Event::CancelRequested { .. } if before.was_confirmed => {
            effects.push(Effect::Begin(SagaKind::Cancellation));
        }
        Event::RefundRequested { .. } => effects.push(Effect::Begin(SagaKind::Refund)),
        Event::PaymentAuthorized { .. } | Event::PaymentCaptured { .. } if late => {
            effects.push(Effect::Begin(SagaKind::LatePayment));
        }
        Event::PaymentRefunded { .. } => effects.push(Effect::Tell("order_refunded")),
        Event::LatePaymentHandled {} => effects.push(Effect::Tell("late_payment_handled")),
        Event::SagaStuck { .. } => effects.push(Effect::Tell("saga_stuck")),
        _ => {}
    }
    effects
}
