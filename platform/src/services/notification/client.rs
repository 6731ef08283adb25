//! What pages and tools may ask of the notification service, and the words of its answers. Queues and dead letters
//! of the whole shop are asked here too.

use axum::http::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::{CallError, Context, Endpoint, Page};
use crate::vocabulary::{DeliveryId, EventId, OrderId, Timestamp};

/// One message to one recipient over one channel, as staff see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// Names it; a mail's `Message-ID` holds it.
    #[schema(value_type = Uuid)]
    pub id: DeliveryId,
    /// The event that it tells of.
    #[schema(value_type = Uuid)]
    pub event_id: EventId,
    /// The order that it is about.
    #[schema(value_type = Option<Uuid>)]
    pub order_id: Option<OrderId>,
    /// `log` or `smtp`.
    pub channel: String,
    /// Who gets it.
    pub recipient: String,
    /// What it says: `order_confirmed`.
    pub template: String,
    /// `pending`, `sent`, `skipped` (the recipient does not want it), `failed`.
    pub state: String,
    /// How often it was tried since it was last asked for.
    pub attempts: i64,
    /// When it is tried next, while it is pending.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_at: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// How often staff asked for it again.
    pub redeliveries: i64,
    /// When the event was heard.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was handed over.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub sent_at: Option<Timestamp>,
}

/// A try that did not succeed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FailedAttempt {
    /// Counts the failed tries from 1.
    pub n: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What the other side answered, as a number where it has one.
    pub code: Option<i64>,
    /// What went wrong.
    pub reason: String,
    /// How long it took.
    pub took_ms: i64,
}

/// A delivery and the tries that failed. A success is not among them: the delivery tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryDetail {
    /// The delivery.
    #[serde(flatten)]
    pub delivery: Delivery,
    /// What went wrong, oldest first.
    pub failed_attempts: Vec<FailedAttempt>,
}

/// Which deliveries a list shows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryFilter {
    /// Only those in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Only those over this channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Only those to this recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// Only those about this order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// Only those of this event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
    /// 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Where the page before ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Why staff does something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// 1 to 500 characters; kept in the audit log.
    pub reason: String,
}

/// A message that no consumer could handle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// Names it.
    pub id: Uuid,
    /// The queue it was in.
    pub queue: String,
    /// The event; stays the same when it is redriven.
    pub event_id: Uuid,
    /// The event's topic.
    pub topic: String,
    /// The event's kind.
    pub kind: String,
    /// Whom it happened to.
    pub aggregate: Uuid,
    /// The event; may be malformed.
    #[schema(value_type = Object)]
    pub body: serde_json::Value,
    /// When it was published.
    #[schema(value_type = String, format = DateTime)]
    pub sent_at: Timestamp,
    /// How often it was received.
    pub receives: i64,
    /// How often it was redriven before.
    pub redrives: i64,
    /// Why it died.
    pub reason: String,
    /// When it died.
    #[schema(value_type = String, format = DateTime)]
    pub dead_at: Timestamp,
}

/// Which dead letters a list shows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterQuery {
    /// Only those of this queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Only those of this kind of event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Where the page before ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Which dead letters are put back or given up, and why: those in `ids`, or all of a queue or of a kind of event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterAction {
    /// These; at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<Uuid>,
    /// Those of this queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Those of this kind of event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// 1 to 500 characters; kept in the audit log, and with a discarded letter.
    pub reason: String,
    /// Only tell which they would be (redrive only).
    #[serde(default)]
    pub dry_run: bool,
}

/// The dead letters that an action reached. When `more` fit, ask again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLettersMoved {
    /// Which.
    pub ids: Vec<Uuid>,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Whether others fit too.
    pub more: bool,
}

/// What waits in one queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Queue {
    /// The queue, and the name of its consumer.
    pub name: String,
    /// Messages that are not acknowledged.
    pub depth: i64,
    /// Those of them that a consumer holds, or that wait for another try.
    pub invisible: i64,
    /// The age of the oldest message.
    pub oldest_ms: u64,
    /// Dead letters.
    pub dead: i64,
}

/// What waits in one outbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Outbox {
    /// The table.
    pub table: String,
    /// Events that are not published yet.
    pub waiting: i64,
    /// The age of the oldest of them.
    pub oldest_ms: u64,
}

/// The shop's messages at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Queues {
    /// Every queue.
    pub queues: Vec<Queue>,
    /// The outboxes whose relays run beside this service.
    pub outboxes: Vec<Outbox>,
}

/// How a signed-in user wants to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Preferences {
    /// `en` or `de`.
    pub locale: String,
    /// Whether to send what is not about an order's money, goods, or the account's safety. Those are always sent.
    pub optional_mails: bool,
}

/// Calls the notification service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NotificationClient {
    endpoint: Endpoint,
}

const NO_BODY: Option<&Reason> = None;

impl NotificationClient {
    /// A client of the service at `endpoint`.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Staff: deliveries, newest first.
    pub async fn deliveries(
        &self,
        context: &Context,
        filter: &DeliveryFilter,
    ) -> Result<Page<Delivery>, CallError> {
        let path = with_query("/v1/admin/deliveries", filter);
        self.endpoint.call(context, Method::GET, &path, NO_BODY).await
    }

    /// Staff: one delivery and what went wrong with it.
    pub async fn delivery(&self, context: &Context, id: DeliveryId) -> Result<DeliveryDetail, CallError> {
        self.endpoint.call(context, Method::GET, &format!("/v1/admin/deliveries/{id}"), NO_BODY).await
    }

    /// Staff: sends a delivery that ended once more, from its first try on.
    pub async fn redeliver(
        &self,
        context: &Context,
        id: DeliveryId,
        reason: &str,
    ) -> Result<DeliveryDetail, CallError> {
        let body = Reason { reason: reason.to_owned() };
        let path = format!("/v1/admin/deliveries/{id}/redeliver");
        self.endpoint.call(context, Method::POST, &path, Some(&body)).await
    }

    /// Operators: dead letters of all queues, oldest first.
    pub async fn dead_letters(
        &self,
        context: &Context,
        query: &DeadLetterQuery,
    ) -> Result<Page<DeadLetter>, CallError> {
        self.endpoint.call(context, Method::GET, &with_query("/v1/admin/dlq", query), NO_BODY).await
    }

    /// Operators: one dead letter.
    pub async fn dead_letter(&self, context: &Context, id: Uuid) -> Result<DeadLetter, CallError> {
        self.endpoint.call(context, Method::GET, &format!("/v1/admin/dlq/{id}"), NO_BODY).await
    }

    /// Operators: puts dead letters back into their queues.
    pub async fn redrive(
        &self,
        context: &Context,
        action: &DeadLetterAction,
    ) -> Result<DeadLettersMoved, CallError> {
        self.endpoint.call(context, Method::POST, "/v1/admin/dlq/redrive", Some(action)).await
    }

    /// Operators: gives dead letters up for good.
    pub async fn discard(
        &self,
        context: &Context,
        action: &DeadLetterAction,
    ) -> Result<DeadLettersMoved, CallError> {
        self.endpoint.call(context, Method::POST, "/v1/admin/dlq/discard", Some(action)).await
    }

    /// Operators: what waits where.
    pub async fn queues(&self, context: &Context) -> Result<Queues, CallError> {
        self.endpoint.call(context, Method::GET, "/v1/admin/queues", NO_BODY).await
    }

    /// How the signed-in user wants to be told.
    pub async fn preferences(&self, context: &Context) -> Result<Preferences, CallError> {
        self.endpoint.call(context, Method::GET, "/v1/me/notifications", NO_BODY).await
    }

    /// Changes how the signed-in user wants to be told.
    pub async fn set_preferences(
        &self,
        context: &Context,
        preferences: &Preferences,
    ) -> Result<Preferences, CallError> {
        self.endpoint.call(context, Method::PUT, "/v1/me/notifications", Some(preferences)).await
    }
}

fn with_query(path: &str, query: &impl Serialize) -> String {
    match serde_urlencoded::to_string(query) {
        Ok(query) if !query.is_empty() => format!("{path}?{query}"),
        _ => path.to_owned(),
    }
}
