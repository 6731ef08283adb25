//! A provider that speaks Stripe's API: PaymentIntents with manual capture, idempotency keys, signed webhooks.
//!
//! What an answer proves is decided here. Whatever is not proven is [`ProviderAnswer::Unknown`], and a 5xx proves
//! nothing until the provider itself says, by replaying it, that it is its last word.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hmac::{Hmac, Mac as _};
use http_body_util::Full;
use hyper::{Method, Request, Response};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;

use super::{
    Disbelief, Found, Notice, Provider, ProviderAnswer, ProviderRequest, Snapshot, Stage, StatementPage,
    Unreadable,
};
use crate::http::{CallError, HttpClient};
use crate::secrets::Secret;
use crate::services::payment::client::Standing;
use crate::services::payment::model::Operation;
use crate::vocabulary::{Currency, OrderId, Timestamp};

/// How far a webhook's signature may lie from our time, in seconds.
const TOLERANCE_S: i64 = 300;
/// How much earlier than asked the lists are read: they count in whole seconds.
const LIST_SLACK_S: i64 = 2;
const PAGE: usize = 100;
/// The most pages that one look-up reads.
const PAGES_MAX: usize = 200;

/// Where Stripe, or who speaks like it, is.
#[derive(Clone, Debug)]
pub struct StripeConfig {
    /// The API's address, without a slash at the end.
    pub url: String,
    /// The key.
    pub api_key: Secret,
    /// Verifies webhooks.
    pub webhook_secret: Secret,
    /// How long a call may take.
    pub timeout: Duration,
    /// The way out.
    pub http: HttpClient,
}

/// The client.
#[derive(Debug)]
pub struct Stripe {
    config: StripeConfig,
    authorization: String,
}

#[derive(Debug, Deserialize)]
struct Intent {
    id: String,
    status: String,
    #[serde(default)]
    amount_capturable: i64,
    #[serde(default)]
    amount_received: i64,
    currency: Currency,
    #[serde(default)]
    metadata: HashMap<String, String>,
    #[serde(default)]
    last_payment_error: Option<ErrorBody>,
    /// An id, or the charge itself when it was asked for.
    #[serde(default)]
    latest_charge: Value,
}

#[derive(Debug, Deserialize)]
struct ErrorAnswer {
    error: ErrorBody,
}

#[derive(Debug, Deserialize)]
struct ErrorBody {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    decline_code: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    payment_intent: Option<Box<Intent>>,
}

#[derive(Debug, Deserialize)]
struct List<T> {
    data: Vec<T>,
    has_more: bool,
}

#[derive(Debug, Deserialize)]
struct RefundObject {
    #[serde(default)]
    metadata: HashMap<String, String>,
    #[serde(default)]
    status: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Charge {
    payment_intent: Option<String>,
    #[serde(default)]
    amount_refunded: i64,
    #[serde(default)]
    metadata: HashMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct EventObject {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    data: EventData,
}

#[derive(Debug, Deserialize)]
struct EventData {
    object: Value,
}

impl Intent {
    fn order_id(&self) -> Option<OrderId> {
        self.metadata.get("order_id").and_then(|id| id.parse().ok())
    }

    fn stage(&self) -> Option<Stage> {
        match self.status.as_str() {
            "requires_capture" => Some(Stage::Held),
            "succeeded" => Some(Stage::Taken),
            "canceled" => Some(Stage::Canceled),
            "requires_payment_method" | "requires_confirmation" | "requires_action" => Some(Stage::Waiting),
            // `processing`, or a word of a newer API: wait and see.
            _ => None,
        }
    }

    fn snapshot(&self) -> Option<Snapshot> {
        Some(Snapshot {
            reference: self.id.clone(),
            order_id: self.order_id(),
            stage: self.stage()?,
            held: self.amount_capturable,
            captured: self.amount_received,
            currency: self.currency,
            declined: self.last_payment_error.as_ref().map(ErrorBody::words),
        })
    }

    /// What an intent says about whether `operation` was done: nothing when it was not.
    fn proves(&self, operation: Operation) -> Option<ProviderAnswer> {
        let snapshot = self.snapshot()?;
        match (operation, snapshot.stage) {
            (Operation::Authorize, Stage::Held | Stage::Taken)
            | (Operation::Capture, Stage::Taken)
            | (Operation::Void, Stage::Canceled) => Some(ProviderAnswer::Done(snapshot)),
            (Operation::Authorize, Stage::Waiting) => {
                let (code, message) = snapshot.declined.clone().or_else(|| {
                    let needs_more = self.status == "requires_action";
                    needs_more.then(|| {
                        let words = "the bank wants to hear from the buyer, which this shop cannot arrange";
                        ("authentication_required".to_owned(), words.to_owned())
                    })
                })?;
                Some(ProviderAnswer::Declined { code, message, reference: Some(snapshot.reference) })
            }
            _ => None,
        }
    }

    fn standing(&self) -> Standing {
        let refunded = self.latest_charge.get("amount_refunded").and_then(Value::as_i64).unwrap_or(0);
        Standing {
            reference: self.id.clone(),
            status: self.status.clone(),
            currency: self.currency.as_str().to_owned(),
            held: self.amount_capturable,
            captured: self.amount_received,
            refunded,
        }
    }
}

impl ErrorBody {
    /// The code that says most, and words for people.
    fn words(&self) -> (String, String) {
        let code =
            self.decline_code.as_ref().filter(|code| *code != "generic_decline").or(self.code.as_ref());
        let code = code.cloned().unwrap_or_else(|| self.kind.clone());
        (code, self.message.clone().unwrap_or_else(|| "the provider refused".to_owned()))
    }
}

impl Stripe {
    /// A client of the API at `config.url`.
    #[must_use]
    pub fn new(config: StripeConfig) -> Self {
        let authorization = format!("Bearer {}", config.api_key.expose());
        Self { config, authorization }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        form: String,
        idem_key: Option<&str>,
    ) -> Result<Response<Bytes>, CallError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.config.url))
            .header("authorization", &self.authorization)
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(key) = idem_key {
            request = request.header("idempotency-key", key);
        }
        let request = request
            .body(Full::new(Bytes::from(form)))
            .map_err(|error| CallError::Refused(format!("the request could not be made: {error}")))?;
        self.config.http.send(request, self.config.timeout).await
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Unreadable> {
        let response = self
            .send(Method::GET, path, String::new(), None)
            .await
            .map_err(|error| Unreadable(error.to_string()))?;
        match response.status().as_u16() {
            200 => serde_json::from_slice(response.body())
                .map(Some)
                .map_err(|error| Unreadable(format!("the provider answered nonsense: {error}"))),
            404 => Ok(None),
            status => Err(Unreadable(format!("the provider answered {status}"))),
        }
    }

    async fn list(&self, since: Timestamp, cursor: Option<&str>) -> Result<List<Intent>, Unreadable> {
        let from = since.as_second() - LIST_SLACK_S;
        let after = cursor.map(|cursor| format!("&starting_after={cursor}")).unwrap_or_default();
        let path = format!(
            "/v1/payment_intents?limit={PAGE}&created%5Bgte%5D={from}&expand%5B%5D=data.latest_charge{after}"
        );
        self.get(&path).await?.ok_or_else(|| Unreadable("the provider has no list of payments".to_owned()))
    }

    /// Every intent since `since`, by its order.
    async fn intents_by_order(&self, since: Timestamp) -> Result<HashMap<OrderId, Vec<Intent>>, Unreadable> {
        let mut found: HashMap<OrderId, Vec<Intent>> = HashMap::new();
        let mut cursor = None;
        for _ in 0..PAGES_MAX {
            let page = self.list(since, cursor.as_deref()).await?;
            cursor = page.data.last().map(|intent| intent.id.clone());
            for intent in page.data {
                if let Some(order_id) = intent.order_id() {
                    found.entry(order_id).or_default().push(intent);
                }
            }
            if !page.has_more {
                return Ok(found);
            }
        }
        Err(Unreadable(format!("the provider made more than {} payments meanwhile", PAGE * PAGES_MAX)))
    }

    async fn look_up(&self, request: &ProviderRequest) -> Result<Found, Unreadable> {
        let Some(reference) = &request.reference else { return Ok(Found::Nothing) };
        let path = format!("/v1/payment_intents/{reference}");
        let Some(intent) = self.get::<Intent>(&path).await? else { return Ok(Found::Nothing) };
        if request.operation != Operation::Refund {
            return Ok(intent.proves(request.operation).map_or(Found::Nothing, Found::Happened));
        }
        let path = format!("/v1/refunds?limit={PAGE}&payment_intent={reference}");
        let refunds = self.get::<List<RefundObject>>(&path).await?.map(|list| list.data).unwrap_or_default();
        let ours = refunds.iter().any(|refund| {
            refund.metadata.get("key") == Some(&request.idem_key)
                && matches!(refund.status.as_deref(), None | Some("succeeded" | "pending"))
        });
        let snapshot = intent.snapshot().filter(|_| ours);
        Ok(snapshot.map_or(Found::Nothing, |snapshot| Found::Happened(ProviderAnswer::Done(snapshot))))
    }
}

impl Provider for Stripe {
    fn name(&self) -> &'static str {
        "stripe"
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn execute<'a>(&'a self, request: &'a ProviderRequest) -> BoxFuture<'a, ProviderAnswer> {
        Box::pin(async move {
            let (path, form) = encode(request);
            match self.send(Method::POST, &path, form, Some(&request.idem_key)).await {
                Ok(response) => judge(request, &response),
                Err(CallError::Refused(reason)) => ProviderAnswer::NotBegun { reason, reached: false },
                Err(error) => ProviderAnswer::Unknown { reason: error.to_string(), reached: false },
            }
        })
    }

    fn find<'a>(
        &'a self,
        requests: &'a [ProviderRequest],
        since: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Found>, Unreadable>> {
        Box::pin(async move {
            // Authorisations have no name at the provider yet: one walk over its list serves them all.
            let seeks_orders = requests.iter().any(|request| request.operation == Operation::Authorize);
            let by_order = if seeks_orders { self.intents_by_order(since).await? } else { HashMap::new() };
            let mut found = Vec::with_capacity(requests.len());
            for request in requests {
                found.push(match request.operation {
                    Operation::Authorize => {
                        let intents = by_order.get(&request.order_id).map(Vec::as_slice).unwrap_or_default();
                        let live = |intent: &&Intent| {
                            matches!(intent.stage(), Some(Stage::Held | Stage::Taken) | None)
                        };
                        match intents.iter().find(live) {
                            Some(intent) => intent
                                .proves(Operation::Authorize)
                                .map(Found::Happened)
                                .ok_or_else(|| Unreadable(format!("{} is not settled yet", intent.id)))?,
                            None => Found::Nothing,
                        }
                    }
                    _ => self.look_up(request).await?,
                });
            }
            Ok(found)
        })
    }

    fn statement<'a>(
        &'a self,
        since: Timestamp,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<StatementPage, Unreadable>> {
        Box::pin(async move {
            let page = self.list(since, cursor).await?;
            let next = page.data.last().filter(|_| page.has_more).map(|intent| intent.id.clone());
            let items = page.data.iter().map(|intent| (intent.order_id(), intent.standing())).collect();
            Ok(StatementPage { items, next })
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), Unreadable>> {
        Box::pin(async {
            let answered: Option<List<Value>> = self.get("/v1/payment_intents?limit=1").await?;
            answered.map(drop).ok_or_else(|| Unreadable("the provider has no list of payments".to_owned()))
        })
    }

    fn believe(&self, signature: Option<&str>, body: &[u8], now: Timestamp) -> Result<Notice, Disbelief> {
        verify(self.config.webhook_secret.bytes(), signature.ok_or(Disbelief::Forged)?, body, now)?;
        self.read(body)
    }

    fn read(&self, body: &[u8]) -> Result<Notice, Disbelief> {
        let event: EventObject = serde_json::from_slice(body).map_err(|_| Disbelief::Malformed)?;
        let mut notice =
            Notice { event_id: event.id, kind: event.kind, order_id: None, snapshot: None, refunded: None };
        if notice.kind.starts_with("payment_intent.") {
            let intent: Intent = Intent::deserialize(&event.data.object).map_err(|_| Disbelief::Malformed)?;
            notice.order_id = intent.order_id();
            notice.snapshot = intent.snapshot();
        } else if notice.kind == "charge.refunded" {
            let charge = Charge::deserialize(&event.data.object).map_err(|_| Disbelief::Malformed)?;
            notice.order_id = charge.metadata.get("order_id").and_then(|id| id.parse().ok());
            notice.refunded = charge.payment_intent.map(|_| charge.amount_refunded);
        }
        Ok(notice)
    }
}

fn encode(request: &ProviderRequest) -> (String, String) {
    let reference = request.reference.as_deref().unwrap_or_default();
    let (order_id, amount) = (request.order_id.to_string(), request.amount.to_string());
    let currency = request.currency.as_str().to_ascii_lowercase();
    let (path, pairs): (String, Vec<(&str, &str)>) = match request.operation {
        Operation::Authorize => (
            "/v1/payment_intents".to_owned(),
            vec![
                ("amount", &amount),
                ("currency", &currency),
                ("payment_method", request.payment_method.as_deref().unwrap_or_default()),
                ("payment_method_types[]", "card"),
                ("capture_method", "manual"),
                ("confirm", "true"),
                ("metadata[order_id]", &order_id),
                ("metadata[key]", &request.idem_key),
            ],
        ),
        Operation::Capture => {
            (format!("/v1/payment_intents/{reference}/capture"), vec![("amount_to_capture", &amount)])
        }
        Operation::Void => (format!("/v1/payment_intents/{reference}/cancel"), vec![]),
        Operation::Refund => (
            "/v1/refunds".to_owned(),
            vec![
                ("payment_intent", reference),
                ("amount", &amount),
                ("metadata[order_id]", &order_id),
                ("metadata[key]", &request.idem_key),
            ],
        ),
    };
    (path, serde_urlencoded::to_string(pairs).unwrap_or_default())
}

/// What `response` proves.
fn judge(request: &ProviderRequest, response: &Response<Bytes>) -> ProviderAnswer {
    let status = response.status().as_u16();
    let body = response.body();
    if status == 200 {
        return done(request, body);
    }
    if status >= 500 {
        let reason = format!("the provider answered {status}");
        return if header(response, "idempotent-replayed") == Some("true") {
            ProviderAnswer::FailedForGood { reason, at: header(response, "date").and_then(parse_date) }
        } else {
            unknown(reason)
        };
    }
    let Ok(ErrorAnswer { error }) = serde_json::from_slice::<ErrorAnswer>(body) else {
        return unknown(format!("the provider answered {status} and no error that can be read"));
    };
    let (code, message) = error.words();
    match status {
        // Nothing begins without a key that is known, or over the rate limit: it may be tried again.
        401 | 403 | 429 => ProviderAnswer::NotBegun {
            reason: format!("the provider answered {status}: {message}"),
            reached: true,
        },
        // The first one with this key is still at work, or it was another request: neither proves anything.
        _ if status == 409 || error.kind == "idempotency_error" => {
            tracing::error!(code, "the provider refused an idempotency key");
            unknown(format!("the provider refused the key: {message}"))
        }
        _ => {
            let intent = error.payment_intent.as_deref();
            // "Cannot capture: it has a status of succeeded" says that it is done.
            let done = intent
                .filter(|_| error.code.as_deref() == Some("payment_intent_unexpected_state"))
                .and_then(|intent| intent.proves(request.operation))
                .filter(|_| matches!(request.operation, Operation::Capture | Operation::Void));
            let reference = intent.map(|intent| intent.id.clone());
            done.unwrap_or(ProviderAnswer::Declined { code, message, reference })
        }
    }
}

fn done(request: &ProviderRequest, body: &[u8]) -> ProviderAnswer {
    let nonsense = |error: serde_json::Error| unknown(format!("the answer cannot be read: {error}"));
    if request.operation == Operation::Refund {
        return match serde_json::from_slice::<RefundObject>(body) {
            Ok(refund) if matches!(refund.status.as_deref(), Some("failed" | "canceled")) => {
                let message = "the provider could not give the money back".to_owned();
                ProviderAnswer::Declined { code: "refund_failed".to_owned(), message, reference: None }
            }
            Ok(_) => ProviderAnswer::Done(Snapshot {
                reference: request.reference.clone().unwrap_or_default(),
                order_id: Some(request.order_id),
                stage: Stage::Taken,
                held: 0,
                captured: 0,
                currency: request.currency,
                declined: None,
            }),
            Err(error) => nonsense(error),
        };
    }
    match serde_json::from_slice::<Intent>(body) {
        Ok(intent) => intent
            .proves(request.operation)
            .unwrap_or_else(|| unknown(format!("the provider answered 200 with status {}", intent.status))),
        Err(error) => nonsense(error),
    }
}

/// It answered, and proved nothing.
fn unknown(reason: String) -> ProviderAnswer {
    ProviderAnswer::Unknown { reason, reached: true }
}

fn header<'a>(response: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// `Mon, 23 Nov 2026 12:09:56 GMT`
fn parse_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
}

/// Checks `t=…,v1=…`: the MAC over time and body, and that the time is about now.
fn verify(secret: &[u8], signature: &str, body: &[u8], now: Timestamp) -> Result<(), Disbelief> {
    let fields = || signature.split(',').filter_map(|field| field.trim().split_once('='));
    let time = fields().find(|(name, _)| *name == "t").map(|(_, value)| value).ok_or(Disbelief::Forged)?;
    let at: i64 = time.parse().map_err(|_| Disbelief::Forged)?;
    let genuine = fields().filter(|(name, _)| *name == "v1").filter_map(|(_, hex)| unhex(hex)).any(|shown| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
        mac.update(time.as_bytes());
        mac.update(b".");
        mac.update(body);
        mac.verify_slice(&shown).is_ok()
    });
    if !genuine {
        return Err(Disbelief::Forged);
    }
    if (now.as_second() - at).abs() > TOLERANCE_S { Err(Disbelief::Stale) } else { Ok(()) }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
