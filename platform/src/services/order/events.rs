//! What can happen to an order. Stored as they are; a field may be added with a default, never renamed or removed.

use serde::{Deserialize, Serialize};

use super::wire::{Address, OrderLine};
use crate::storage::JsonText;
use crate::vocabulary::{CartId, Money, Timestamp, UserId};

/// The order as it was placed: everything that never changes afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    /// The number that people use.
    pub number: String,
    /// The customer, when signed in.
    pub user_id: Option<UserId>,
    /// The cart it came from.
    pub cart_id: CartId,
    /// Where the mails go.
    pub email: String,
    /// What was bought, at the prices of that moment.
    pub lines: Vec<OrderLine>,
    /// The sum of price × quantity.
    pub subtotal: Money,
    /// The sum of the lines' discounts.
    pub discount: Money,
    /// The sum of the lines' taxes.
    pub tax: Money,
    /// Shipping.
    pub shipping: Money,
    /// What it costs.
    pub total: Money,
    /// The promotion that was used.
    pub promotion: Option<String>,
    /// Where the parcel goes.
    pub shipping_address: Address,
}

/// A SKU of which there was not enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The SKU.
    pub sku: String,
    /// Units asked for.
    pub requested: i64,
    /// Units there were.
    pub available: i64,
}

/// A call to the payment service whose answer can be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Holding the money.
    Authorize,
    /// Taking it.
    Capture,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A customer placed the order.
    OrderPlaced(Box<Placed>),
    /// Stock is held.
    StockReserved {
        /// Until when.
        expires_at: Option<Timestamp>,
    },
    /// There was not enough stock.
    StockRejected {
        /// Of what.
        items: Vec<Missing>,
    },
    /// The provider is asked to hold the money: written before the call.
    PaymentRequested {
        /// Names the act: `auth:{order_id}:{n}`.
        key: String,
    },
    /// The provider holds the money.
    PaymentAuthorized {
        /// How much.
        amount: Money,
    },
    /// The provider declined.
    PaymentDeclined {
        /// Its code.
        code: String,
        /// Its words for the buyer.
        message: String,
    },
    /// The provider is away; nothing happened there.
    PaymentQueued {
        /// Until when the stock is held.
        held_until: Option<Timestamp>,
    },
    /// The provider was asked and did not answer: it is asked again with the same key until the answer is known.
    PaymentUnknown {
        /// What was asked.
        operation: Operation,
        /// Why the answer is missing.
        reason: String,
    },
    /// The provider answers again.
    ProviderBack {},
    /// The provider did not come back in time.
    DeadlinePassed {},
    /// The order costs nothing: the stock is pinned and there is nothing to pay.
    NothingToPay {},
    /// The stock was not held any longer before anything was paid.
    ReservationExpired {},
    /// The stock was not held any longer when the money was about to move.
    ReservationLost {
        /// What became of it.
        reason: String,
    },
    /// The stock is held for good: the money may move.
    StockPinned {},
    /// The provider refused to hand over the money that it held.
    CaptureDeclined {
        /// Its code.
        code: String,
        /// Its words.
        message: String,
    },
    /// The money is ours: the pivot.
    PaymentCaptured {
        /// How much.
        amount: Money,
    },
    /// The stock left the shelf.
    StockCommitted {},
    /// Somebody called the order off.
    CancelRequested {
        /// Why.
        reason: String,
    },
    /// The provider let go of the money.
    PaymentVoided {
        /// How much was held.
        amount: Money,
    },
    /// Money went back.
    PaymentRefunded {
        /// How much.
        amount: Money,
        /// Names the act.
        key: String,
    },
    /// The stock is no longer held.
    StockReleased {},
    /// The stock is back on the shelf.
    StockRestocked {},
    /// Everything that was done is undone.
    AllCompensated {},
    /// The parcel is packed.
    Packed {},
    /// The parcel left.
    Shipped {
        /// The carrier's number for it.
        tracking: Option<String>,
    },
    /// The parcel arrived.
    Delivered {},
    /// Nothing can come back any more.
    ReturnWindowEnded {},
    /// Staff wants money to go back.
    RefundRequested {
        /// How much.
        amount: Money,
        /// Whether the goods go back to stock.
        restock: bool,
        /// Why.
        reason: String,
    },
    /// Money that moved after the order had ended was sent back.
    LatePaymentHandled {},
    /// A saga needs a person.
    SagaStuck {
        /// Which one.
        saga: String,
        /// Where.
        step: String,
        /// Why.
        reason: String,
    },
}

impl Event {
    /// The event's name, on the wire and in the database.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::OrderPlaced(_) => "order_placed",
            Self::StockReserved { .. } => "stock_reserved",
            Self::StockRejected { .. } => "stock_rejected",
            Self::PaymentRequested { .. } => "payment_requested",
            Self::PaymentAuthorized { .. } => "payment_authorized",
            Self::PaymentDeclined { .. } => "payment_declined",
            Self::PaymentQueued { .. } => "payment_queued",
            Self::PaymentUnknown { .. } => "payment_unknown",
            Self::ProviderBack {} => "provider_back",
            Self::DeadlinePassed {} => "deadline_passed",
            Self::NothingToPay {} => "nothing_to_pay",
            Self::ReservationExpired {} => "reservation_expired",
            Self::ReservationLost { .. } => "reservation_lost",
            Self::StockPinned {} => "stock_pinned",
            Self::CaptureDeclined { .. } => "capture_declined",
            Self::PaymentCaptured { .. } => "payment_captured",
            Self::StockCommitted {} => "stock_committed",
            Self::CancelRequested { .. } => "cancel_requested",
            Self::PaymentVoided { .. } => "payment_voided",
            Self::PaymentRefunded { .. } => "payment_refunded",
            Self::StockReleased {} => "stock_released",
            Self::StockRestocked {} => "stock_restocked",
            Self::AllCompensated {} => "all_compensated",
            Self::Packed {} => "packed",
            Self::Shipped { .. } => "shipped",
            Self::Delivered {} => "delivered",
            Self::ReturnWindowEnded {} => "return_window_ended",
            Self::RefundRequested { .. } => "refund_requested",
            Self::LatePaymentHandled {} => "late_payment_handled",
            Self::SagaStuck { .. } => "saga_stuck",
        }
    }

    /// The event's facts: always an object.
    #[must_use]
    pub fn data(&self) -> JsonText {
        // It is written as `{"type":…,"data":…}`, and the name in it needs no escaping.
        let JsonText(whole) = JsonText::of(self);
        let before = format!(r#"{{"type":"{}","data":"#, self.kind());
        let data = whole.strip_prefix(&before).and_then(|rest| rest.strip_suffix('}'));
        JsonText(data.unwrap_or("{}").to_owned())
    }

    /// The event that was stored as `kind` and `data`.
    pub fn from_stored(kind: &str, data: serde_json::Value) -> Result<Self, serde_json::Error> {
        serde_json::from_value(serde_json::json!({ "type": kind, "data": data }))
    }
}

#[cfg(test)]
pub(super) mod samples {
    use super::*;
    use crate::vocabulary::Currency;

    pub(crate) fn dollars(amount: i64) -> Money {
        Money::new(amount, Currency::USD)
    }

    pub(crate) fn placed(total: i64) -> Box<Placed> {
        Box::new(Placed {
            number: "K7-93QX-2M4D".to_owned(),
            user_id: None,
            cart_id: uuid::Uuid::from_u128(7).into(),
            email: "ada@example.com".to_owned(),
            lines: vec![OrderLine {
                sku: "MUG".to_owned(),
                title: "Mug".to_owned(),
                quantity: 2,
                unit_price: dollars(total / 2),
                discount: dollars(0),
                tax: dollars(total % 2),
                line_total: dollars(total),
            }],
            subtotal: dollars(total - total % 2),
            discount: dollars(0),
            tax: dollars(total % 2),
            shipping: dollars(0),
            total: dollars(total),
            promotion: None,
            shipping_address: Address {
                name: "Ada".to_owned(),
                line1: "1 Main St".to_owned(),
                line2: None,
                city: "London".to_owned(),
                postal_code: "N1".to_owned(),
                country: "GB".to_owned(),
            },
        })
    }

    /// One of every kind, for an order of `total`.
    pub(crate) fn every_event(total: i64) -> Vec<Event> {
        let text = || "because".to_owned();
        vec![
            Event::OrderPlaced(placed(total)),
            Event::StockReserved { expires_at: Some(Timestamp::UNIX_EPOCH) },
            Event::StockRejected { items: vec![] },
            Event::PaymentRequested { key: "auth:1:1".to_owned() },
            Event::PaymentAuthorized { amount: dollars(total) },
            Event::PaymentDeclined { code: "card_declined".to_owned(), message: text() },
            Event::PaymentQueued { held_until: None },
            Event::PaymentUnknown { operation: Operation::Authorize, reason: text() },
            Event::ProviderBack {},
            Event::DeadlinePassed {},
            Event::NothingToPay {},
            Event::ReservationExpired {},
            Event::ReservationLost { reason: text() },
            Event::StockPinned {},
            Event::CaptureDeclined { code: "expired".to_owned(), message: text() },
            Event::PaymentCaptured { amount: dollars(total) },
            Event::StockCommitted {},
            Event::CancelRequested { reason: text() },
            Event::PaymentVoided { amount: dollars(total) },
            Event::PaymentRefunded { amount: dollars(total), key: "refund:1:1".to_owned() },
            Event::StockReleased {},
            Event::StockRestocked {},
            Event::AllCompensated {},
            Event::Packed {},
            Event::Shipped { tracking: Some("1Z".to_owned()) },
            Event::Delivered {},
            Event::ReturnWindowEnded {},
            Event::RefundRequested { amount: dollars(total), restock: false, reason: text() },
            Event::LatePaymentHandled {},
            Event::SagaStuck { saga: "checkout".to_owned(), step: "capture".to_owned(), reason: text() },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_comes_back_from_storage_as_it_went_in() {
        for event in samples::every_event(1_999) {
            let data: serde_json::Value = serde_json::from_str(&event.data().0).unwrap();
            assert_eq!(serde_json::to_value(&event).unwrap()["data"], data, "{}", event.kind());
            assert_eq!(Event::from_stored(event.kind(), data).unwrap(), event);
        }
    }
}
