//! What happens to an order, as data: how it comes about, and how it must end.

use platform::services::order::client::Status;
use platform::vocabulary::{OrderId, Verdict};

/// What is done to an order while its process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// It is placed.
    Place,
    /// It was placed before, and is called off.
    CallOff,
    /// It was paid before, and the money goes back with the goods.
    Refund,
}

/// How the provider is while a story is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    Well,
    /// Held away all the time, and orders wait for it.
    HeldAway,
    /// Held away for longer than orders wait.
    HeldAwayTooLong,
}

impl Provider {
    pub(super) const ALL: [Self; 3] = [Self::Well, Self::HeldAway, Self::HeldAwayTooLong];
}

/// One story.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) name: &'static str,
    pub(super) payment_method: &'static str,
    pub(super) act: Act,
    pub(super) provider: Provider,
    /// Before the story an answer of this call gets lost once.
    pub(super) loses: Option<&'static str>,
    pub(super) ends: Status,
}

const VISA: &str = "pm_card_visa";
const DECLINED: &str = "pm_card_visa_chargeDeclined";
const PIN: &str = "call.product.POST /internal/v1/reservations/{order_id}/pin.after";

const fn story(name: &'static str, act: Act, ends: Status) -> Story {
    Story { name, payment_method: VISA, act, provider: Provider::Well, loses: None, ends }
}

/// The list.
pub(super) const STORIES: &[Story] = &[
    story("bought", Act::Place, Status::Confirmed),
    Story { loses: Some(PIN), ..story("bought, pinned late", Act::Place, Status::Confirmed) },
    Story { payment_method: DECLINED, ..story("declined", Act::Place, Status::Cancelled) },
    story("called off when it was paid", Act::CallOff, Status::Cancelled),
    story("refunded with its goods", Act::Refund, Status::Confirmed),
    Story {
        provider: Provider::HeldAway,
        ..story("called off while its payment waits", Act::CallOff, Status::Cancelled)
    },
    Story {
        provider: Provider::HeldAwayTooLong,
        ..story("expired while its payment waits", Act::Place, Status::Expired)
    },
];

/// One way to die.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) point: String,
    pub(super) verdict: Verdict,
}

/// An order that was under way when its process died.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    /// Which story it is.
    pub(super) story: &'static str,
    /// Its request, which the buyer sends again.
    pub(super) key: String,
    pub(super) order: serde_json::Value,
    /// None when it may not have been placed.
    pub(super) id: Option<OrderId>,
    pub(super) act: Act,
    pub(super) ends: &'static [Status],
}

/// Whether a point is passed by a worker that serves every order.
pub(super) fn is_background(point: &str) -> bool {
    ["outbox.", "consumer.", "sender.", "sweeper."].iter().any(|room| point.starts_with(room))
}
