//! A provider that speaks Stripe's API: PaymentIntents with manual capture, idempotency keys, signed webhooks.
//!
//! What an answer proves is decided here. Whatever is not proven is [`ProviderAnswer::Unknown`], and a 5xx proves
//! nothing until the provider itself says, by replaying it, that it is its last word.

mod exchange;
mod signature;
mod wire;

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::{Method, Request, Response};
use serde::Deserialize;
use serde_json::Value;

use self::exchange::{encode, judge};
use self::signature::verify;
use self::wire::{Charge, EventObject, Intent, List, RefundObject};
use super::{
    Disbelief, Found, Notice, Provider, ProviderAnswer, ProviderRequest, Stage, StatementPage, Unreadable,
};
use crate::http::{CallError, HttpClient};
use crate::secrets::Secret;
use crate::services::payment::model::Operation;
use crate::vocabulary::{OrderId, Timestamp};

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
