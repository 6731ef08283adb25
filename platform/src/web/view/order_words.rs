//! The words for what happens to an order. An event that has no words yet is shown by its name.

use super::order::sentence;
use super::time::moment_words;
use crate::services::order::client::OrderEvent;
use crate::vocabulary::Timestamp;
use crate::web::page::Tone;

/// One thing that happened to an order.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Its place in the stream.
    pub seq: i64,
    /// Its name on the wire.
    pub kind: String,
    /// How it is meant.
    pub tone: Tone,
    /// What a buyer reads.
    pub words: String,
    /// What belongs to it: a tracking number, a reason.
    pub detail: String,
    /// When.
    pub at: Timestamp,
    /// Who did it, where that may be told.
    pub actor: String,
    /// The facts as JSON, for those who run the shop.
    pub data: String,
}

/// The names of events that an order's stream may carry.
pub const STREAMED_EVENTS: [&str; 30] = [
    "order_placed",
    "stock_reserved",
    "stock_rejected",
    "payment_requested",
    "payment_authorized",
    "payment_declined",
    "payment_queued",
    "payment_unknown",
    "provider_back",
    "deadline_passed",
    "nothing_to_pay",
    "reservation_expired",
    "reservation_lost",
    "stock_pinned",
    "capture_declined",
    "payment_captured",
    "stock_committed",
    "cancel_requested",
    "payment_voided",
    "payment_refunded",
    "stock_released",
    "stock_restocked",
    "all_compensated",
    "packed",
    "shipped",
    "delivered",
    "return_window_ended",
    "refund_requested",
    "late_payment_handled",
    "saga_stuck",
];

impl Moment {
    /// The moment for one event of the order's stream.
    #[must_use]
    pub fn new(event: &OrderEvent) -> Self {
        let OrderEvent { seq, kind, at, actor, data } = event;
        let (tone, words) = words(kind);
        let detail = detail_of(kind).and_then(|key| detail(data.get(key)?));
        let facts = match data {
            serde_json::Value::Object(facts) if facts.is_empty() => String::new(),
            serde_json::Value::Null => String::new(),
            facts => serde_json::to_string_pretty(facts).unwrap_or_default(),
        };
        let words = words.map_or_else(|| sentence(kind), str::to_owned);
        Self {
            seq: *seq,
            kind: kind.clone(),
            tone,
            words,
            detail: detail.unwrap_or_default(),
            at: *at,
            actor: actor.clone().unwrap_or_default(),
            data: facts,
        }
    }

    /// When, in words.
    #[must_use]
    pub fn clock(&self) -> String {
        moment_words(self.at)
    }
}

/// The one fact of an event that a buyer wants to know beside the words.
fn detail_of(kind: &str) -> Option<&'static str> {
    match kind {
        "shipped" => Some("tracking"),
        "payment_captured" | "payment_refunded" => Some("amount"),
        "payment_declined" | "capture_declined" => Some("message"),
        "cancel_requested" | "refund_requested" => Some("reason"),
        _ => None,
    }
}

fn detail(value: &serde_json::Value) -> Option<String> {
    if let Ok(money) = serde_json::from_value::<crate::vocabulary::Money>(value.clone()) {
        return Some(money.to_string());
    }
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn words(kind: &str) -> (Tone, Option<&'static str>) {
    use Tone::{Bad, Good, Info, Plain, Warn};
    let (tone, words) = match kind {
        "order_placed" => (Info, "We received your order"),
        "stock_reserved" => (Good, "Your items were set aside"),
        "stock_rejected" => (Bad, "Not everything was in stock any more"),
        "payment_requested" => (Info, "We asked for the payment"),
        "payment_authorized" => (Good, "The payment was approved"),
        "payment_declined" => (Bad, "The payment was declined"),
        "payment_queued" => (Warn, "The payment provider is down; we hold your items and try again"),
        "payment_unknown" => (Warn, "The provider has not answered yet; we keep asking for that one answer"),
        "provider_back" => (Info, "The payment provider is back"),
        "deadline_passed" => (Bad, "The payment did not come through in time"),
        "nothing_to_pay" => (Good, "There was nothing to pay"),
        "reservation_expired" | "reservation_lost" => (Bad, "The hold on your items ended"),
        "stock_pinned" => (Good, "Your items are yours"),
        "capture_declined" => (Bad, "The payment was not completed"),
        "payment_captured" => (Good, "Paid: your order is confirmed"),
        "stock_committed" => (Plain, "The items left the shelf"),
        "cancel_requested" => (Warn, "A cancellation was asked for"),
        "payment_voided" => (Info, "The payment was let go"),
        "payment_refunded" => (Info, "Your money was given back"),
        "stock_released" | "stock_restocked" => (Plain, "The items went back on the shelf"),
        "all_compensated" => (Plain, "Cancelled; nothing is owed"),
        "packed" => (Good, "Packed"),
        "shipped" => (Good, "Handed to the carrier"),
        "delivered" => (Good, "Delivered"),
        "return_window_ended" => (Plain, "The time for returns is over"),
        "refund_requested" => (Info, "Your money is on its way back"),
        "late_payment_handled" => (Warn, "A late payment arrived and was given back"),
        "saga_stuck" => (Warn, "Somebody of ours is looking after this order"),
        _ => return (Plain, None),
    };
    (tone, Some(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_streamed_event_has_words() {
        for kind in STREAMED_EVENTS {
            assert!(words(kind).1.is_some(), "{kind}");
        }
    }

    #[test]
    fn a_moment_tells_its_detail_and_an_unknown_one_its_name() {
        let moment = |kind: &str, data| {
            Moment::new(&OrderEvent {
                seq: 9,
                kind: kind.into(),
                at: Timestamp::UNIX_EPOCH,
                actor: None,
                data,
            })
        };
        let shipped = moment("shipped", json!({"tracking": "1Z999"}));
        assert_eq!((shipped.words.as_str(), shipped.detail.as_str()), ("Handed to the carrier", "1Z999"));
        let refund = moment("payment_refunded", json!({"amount": {"amount": 1999, "currency": "USD"}}));
        assert_eq!(refund.detail, "$19.99");
        assert_eq!(moment("gift_wrapped", json!({})).words, "Gift wrapped");
    }
}
