//! Stripe's shapes: objects, lists, events and errors as JSON.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

use super::intents::{Decline, Intent, Refund, Status};

/// The API version that the shapes follow.
pub(super) const API_VERSION: &str = "2025-03-31.basil";

/// An error as Stripe words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: u16,
    kind: &'static str,
    code: Option<&'static str>,
    decline_code: Option<&'static str>,
    param: Option<&'static str>,
    message: String,
    intent: Option<Box<Intent>>,
}

impl ApiError {
    fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, kind, code: None, decline_code: None, param: None, message, intent: None }
    }

    /// The request asks for what cannot be.
    pub(super) fn invalid(
        code: Option<&'static str>,
        param: Option<&'static str>,
        message: impl Into<String>,
    ) -> Self {
        Self { code, param, ..Self::new(400, "invalid_request_error", message) }
    }

    /// No such thing.
    pub(super) fn missing(what: &'static str, id: &str) -> Self {
        let code = Some("resource_missing");
        Self { code, ..Self::new(404, "invalid_request_error", format!("No such {what}: '{id}'")) }
    }

    /// The key is wrong or absent.
    pub(super) fn unauthorized() -> Self {
        let message = "Invalid API Key provided: send the sandbox's key as the user of basic authentication or as a bearer.";
        Self::new(401, "invalid_request_error", message)
    }

    /// No such route.
    pub(super) fn unknown_route(method: &str, path: &str) -> Self {
        Self::new(404, "invalid_request_error", format!("Unrecognized request URL ({method}: {path})."))
    }

    /// The key was used with other parameters.
    pub(super) fn key_reused(key: &str) -> Self {
        let message = format!(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '{key}' if you meant to execute a different request."
        );
        Self::new(400, "idempotency_error", message)
    }

    /// The sandbox's own failure, or one that was asked for.
    pub(super) fn ours(message: impl Into<String>) -> Self {
        Self::new(500, "api_error", message)
    }

    /// The bank said no.
    pub(super) fn card(decline: Decline) -> Self {
        let (code, decline_code, message) = decline.words();
        Self { code: Some(code), decline_code: Some(decline_code), ..Self::new(402, "card_error", message) }
    }

    /// Names the intent that it is about.
    pub(super) fn about(mut self, intent: Intent) -> Self {
        self.intent = Some(Box::new(intent));
        self
    }

    /// Whether it is saved under the request's key. As with Stripe, what never began is not: a request that was not
    /// valid may be mended and sent again.
    pub(super) fn is_saved(&self) -> bool {
        self.status == 402 || self.status >= 500
    }

    /// The error object as an answer.
    pub(super) fn text(&self) -> String {
        self.body().to_string()
    }

    /// The error object.
    pub(super) fn body(&self) -> Value {
        let mut error = json!({ "type": self.kind, "message": self.message });
        let facts = [("code", self.code), ("decline_code", self.decline_code), ("param", self.param)];
        for (name, fact) in facts {
            if let Some(fact) = fact {
                error[name] = fact.into();
            }
        }
        if let Some(code) = self.code {
            error["doc_url"] =
                format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-")).into();
        }
        if let Some(intent) = &self.intent {
            error["payment_intent"] = payment_intent(intent, false).value();
            if self.kind == "card_error" {
                error["charge"] = intent.charge_id().into();
            }
        }
        json!({ "error": error })
    }

    fn last_payment_error(decline: Decline, intent: &Intent) -> Value {
        let mut error = Self::card(decline).body()["error"].take();
        error["charge"] = intent.charge_id().into();
        error
    }
}

/// A `payment_intent`. A struct and not a tree: it is written twice an order.
#[derive(Debug, Serialize)]
pub(super) struct PaymentIntent<'intent> {
    id: String,
    object: &'static str,
    amount: i64,
    amount_capturable: i64,
    amount_received: i64,
    canceled_at: Option<i64>,
    cancellation_reason: Option<&'intent str>,
    capture_method: &'static str,
    client_secret: String,
    confirmation_method: &'static str,
    created: i64,
    currency: &'intent str,
    customer: Option<()>,
    description: Option<&'intent str>,
    last_payment_error: Option<Value>,
    latest_charge: Option<LatestCharge>,
    livemode: bool,
    metadata: &'intent Metadata,
    next_action: Option<()>,
    payment_method: Option<&'intent str>,
    payment_method_types: [&'static str; 1],
    receipt_email: Option<()>,
    setup_future_usage: Option<()>,
    shipping: Option<()>,
    status: &'static str,
}

/// The charge's id, or the charge.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum LatestCharge {
    Id(String),
    Expanded(Value),
}

/// A `payment_intent`; with `expanded`, its charge instead of the charge's id.
pub(super) fn payment_intent(intent: &Intent, expanded: bool) -> PaymentIntent<'_> {
    let charged = intent.authorized > 0 || intent.declined.is_some();
    let id = intent.id();
    PaymentIntent {
        client_secret: format!("{id}_secret_sandbox"),
        id,
        object: "payment_intent",
        amount: intent.amount,
        amount_capturable: intent.capturable(),
        amount_received: intent.captured,
        canceled_at: intent.canceled_at,
        cancellation_reason: intent.cancellation_reason.as_deref(),
        capture_method: if intent.manual_capture { "manual" } else { "automatic" },
        confirmation_method: "automatic",
        created: intent.created,
        currency: &intent.currency,
        customer: None,
        description: intent.description.as_deref(),
        last_payment_error: intent.declined.map(|decline| ApiError::last_payment_error(decline, intent)),
        latest_charge: charged.then(|| {
            if expanded {
                LatestCharge::Expanded(charge(intent))
            } else {
                LatestCharge::Id(intent.charge_id())
            }
        }),
        livemode: false,
        metadata: &intent.metadata,
        next_action: None,
        payment_method: intent.payment_method.as_deref().filter(|_| intent.declined.is_none()),
        payment_method_types: ["card"],
        receipt_email: None,
        setup_future_usage: None,
        shipping: None,
        status: intent.status.as_str(),
    }
}

impl PaymentIntent<'_> {
    /// As part of something larger.
    pub(super) fn value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// As an answer.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The `charge` behind an intent.
pub(super) fn charge(intent: &Intent) -> Value {
    let refunded = intent.refunded();
    json!({
        "id": intent.charge_id(),
        "object": "charge",
        "amount": intent.amount,
        "amount_captured": intent.captured,
        "amount_refunded": refunded,
        "captured": intent.captured > 0,
        "created": intent.created,
        "currency": intent.currency,
        "livemode": false,
        "metadata": intent.metadata,
        "paid": intent.authorized > 0,
        "payment_intent": intent.id(),
        "payment_method": intent.payment_method,
        "refunded": intent.captured > 0 && refunded == intent.captured,
        "status": if intent.authorized > 0 { "succeeded" } else { "failed" },
    })
}

/// A `refund`.
pub(super) fn refund(refund: &Refund, intent: &Intent) -> Value {
    json!({
        "id": format!("re_{}", refund.token),
        "object": "refund",
        "amount": refund.amount,
        "charge": intent.charge_id(),
        "created": refund.created,
        "currency": intent.currency,
        "metadata": refund.metadata,
        "payment_intent": intent.id(),
        "reason": refund.reason,
        "status": "succeeded",
    })
}

/// A list of one page.
pub(super) fn list(url: &str, data: Vec<Value>, has_more: bool) -> Value {
    json!({ "object": "list", "url": url, "has_more": has_more, "data": data })
}

/// What `GET /control/statement` says of one intent. Currencies are spelled as the shop spells them.
pub(super) fn statement_line(intent: &Intent) -> Value {
    let authorized = if intent.status == Status::Canceled { 0 } else { intent.authorized };
    json!({
        "payment_intent": intent.id(),
        "order_id": intent.metadata.get("order_id"),
        "authorized": authorized,
        "captured": intent.captured,
        "refunded": intent.refunded(),
        "currency": intent.currency.to_ascii_uppercase(),
        "status": intent.status.as_str(),
    })
}

/// An answer with the headers that Stripe's libraries look at.
pub(super) fn respond(
    status: u16,
    body: String,
    request_id: &str,
    key: Option<(&str, bool)>,
) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("stripe-version", HeaderValue::from_static(API_VERSION));
    if let Ok(request_id) = HeaderValue::from_str(request_id) {
        headers.insert("request-id", request_id);
    }
    if let Some((key, replayed)) = key {
        if let Ok(key) = HeaderValue::from_str(key) {
            headers.insert("idempotency-key", key);
        }
        if replayed {
            headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
    }
    response
}

/// `metadata` as the wire has it.
pub(super) type Metadata = BTreeMap<String, String>;
