//! What happened, told to whoever wants to know.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{EventId, Timestamp};

/// Where an event is published: one topic per service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Accounts.
    User,
    /// Catalogue and stock.
    Product,
    /// Orders.
    Order,
    /// Payments.
    Payment,
    /// Deliveries of notifications.
    Notification,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 5] = [Self::User, Self::Product, Self::Order, Self::Payment, Self::Notification];

    /// The topic's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Product => "product",
            Self::Order => "order",
            Self::Payment => "payment",
            Self::Notification => "notification",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that happened to one aggregate.
///
/// `id` is what consumers deduplicate by; `aggregate_seq` counts from 1 without gaps per aggregate and topic,
/// so that a consumer that cares can tell order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Names the event; stays the same over every redelivery.
    pub id: EventId,
    /// Where it is published.
    pub topic: Topic,
    /// What happened, snake_case in the past tense: `order_confirmed`.
    pub kind: String,
    /// The thing it happened to.
    pub aggregate: Uuid,
    /// Its place among the aggregate's events.
    pub aggregate_seq: i64,
    /// When.
    pub at: Timestamp,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// The W3C trace it belongs to.
    pub traceparent: Option<String>,
    /// The facts: always a JSON object.
    pub data: serde_json::Value,
}
