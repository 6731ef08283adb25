//! The service's routes: the acts that siblings ask for, the provider's webhooks, and what staff may see and do.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::cashier::Cashier;
use super::client::{
    Act, Authorize, BreakerView, Payment, PaymentResult, PaymentStatus, Reconciliation, Refund, TurnBreaker,
};
use super::gate::Gate;
use super::model::{Ask, Operation, Record};
use super::provider::Disbelief;
use super::webhooks::Letterbox;
use crate::http::{Code, Context, Internal, Json, Page, PageQuery, Path, Problem, Query, SignedIn};
use crate::resilience::breaker::BreakerState;
use crate::vocabulary::{Env, Money, OrderId, PaymentId, Role, Timestamp};

/// A webhook may be larger than a request of the shop's own.
const WEBHOOK_BYTES_MAX: usize = 256 * 1024;
const STAFF: &[Role] = &[Role::Ops, Role::Support];
const KEY_CHARS_MAX: usize = 200;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub(super) struct Payments {
    pub(super) cashier: Cashier,
    pub(super) letterbox: Letterbox,
    pub(super) env: Env,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "payment", description = "Payments: held, taken and given back through a provider."),
    paths(webhook, payments, payment_of_order, reconcile, breakers, open_breaker, close_breaker)
)]
struct Api;

/// The routes' document.
pub(super) fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

/// The routes.
pub(super) fn router(payments: Payments) -> Router {
    Router::new()
        .route("/internal/v1/payments/{order_id}", get(of_order))
        .route("/internal/v1/payments/{order_id}/authorize", post(authorize))
        .route("/internal/v1/payments/{order_id}/capture", post(capture))
        .route("/internal/v1/payments/{order_id}/void", post(void))
        .route("/internal/v1/payments/{order_id}/refund", post(refund))
        .route(
            "/v1/payments/webhooks/{provider}",
            post(webhook).layer(DefaultBodyLimit::max(WEBHOOK_BYTES_MAX)),
        )
        .route("/v1/admin/payments", get(self::payments))
        .route("/v1/admin/payments/{order_id}", get(payment_of_order))
        .route("/v1/admin/reconcile", get(reconcile))
        .route("/v1/admin/breakers", get(breakers))
        .route("/v1/admin/breakers/{name}/open", post(open_breaker))
        .route("/v1/admin/breakers/{name}/close", post(close_breaker))
        .fallback(crate::http::extract::no_such_route)
        .method_not_allowed_fallback(crate::http::extract::no_such_method)
        .with_state(payments)
}

async fn authorize(
    State(payments): State<Payments>,
    Internal(context): Internal,
    Path(order_id): Path<OrderId>,
    Json(body): Json<Authorize>,
) -> Result<Json<PaymentResult>, Problem> {
    if body.amount.amount <= 0 {
        return Err(Problem::invalid(
            "/amount/amount",
            "there is nothing to hold: the amount must be over 0",
        ));
    }
    let method = body.payment_method.trim();
    if method.is_empty() || method.len() > KEY_CHARS_MAX {
        return Err(Problem::invalid("/payment_method", "send the provider's token of how the buyer pays"));
    }
    if looks_like_a_card_number(method) {
        let message = "this is a card number: send the provider's token instead";
        return Err(Problem::invalid("/payment_method", message));
    }
    let ask = Ask {
        order_id,
        operation: Operation::Authorize,
        key: key(body.key)?,
        amount: Some(body.amount),
        payment_method: Some(method.to_owned()),
    };
    payments.cashier.act(&context, ask).await.map(Json)
}

async fn capture(
    State(payments): State<Payments>,
    Internal(context): Internal,
    Path(order_id): Path<OrderId>,
    Json(body): Json<Act>,
) -> Result<Json<PaymentResult>, Problem> {
    payments.act(&context, order_id, Operation::Capture, body.key, None).await
}

async fn void(
    State(payments): State<Payments>,
    Internal(context): Internal,
    Path(order_id): Path<OrderId>,
    Json(body): Json<Act>,
) -> Result<Json<PaymentResult>, Problem> {
    payments.act(&context, order_id, Operation::Void, body.key, None).await
}

async fn refund(
    State(payments): State<Payments>,
    Internal(context): Internal,
    Path(order_id): Path<OrderId>,
    Json(body): Json<Refund>,
) -> Result<Json<PaymentResult>, Problem> {
    if body.amount.amount <= 0 {
        return Err(Problem::invalid(
            "/amount/amount",
            "there is nothing to give back: the amount must be over 0",
        ));
    }
    payments.act(&context, order_id, Operation::Refund, body.key, Some(body.amount)).await
}

async fn of_order(
    State(payments): State<Payments>,
    Internal(_): Internal,
    Path(order_id): Path<OrderId>,
) -> Result<Json<Payment>, Problem> {
    payments.payment(order_id).await
}

/// Takes a webhook of the provider: believed, stored, then answered.
#[utoipa::path(
    post, path = "/v1/payments/webhooks/{provider}", tag = "payment", params(("provider" = String, Path)),
    responses((status = 200), (status = 400, description = "the signature is not genuine"), (status = 503))
)]
async fn webhook(
    State(payments): State<Payments>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let ours = &payments.cashier.inner.provider;
    if provider != ours.name() {
        return Err(Problem::not_found("provider"));
    }
    let signature = headers.get("stripe-signature").and_then(|value| value.to_str().ok());
    let notice = ours.believe(signature, &body, payments.env.now()).map_err(|error| match error {
        Disbelief::None => Problem::not_found("provider"),
        error => {
            tracing::warn!(%error, "a webhook is not believed");
            Problem::new(Code::Malformed, format!("the webhook is not believed: {error}"))
        }
    })?;
    let raw = String::from_utf8_lossy(&body).into_owned();
    payments.letterbox.store(notice, raw).await?;
    Ok(Json(json!({ "received": true })))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PaymentsQuery {
    /// Only those that stand there: `authorized`, `captured`, …
    status: Option<String>,
    /// 1 to 100, default 20.
    limit: Option<i64>,
    /// Where the page before ended.
    cursor: Option<String>,
}

/// The payments, newest first.
#[utoipa::path(
    get, path = "/v1/admin/payments", tag = "payment", params(PaymentsQuery),
    responses((status = 200), (status = 401), (status = 403), (status = 422))
)]
async fn payments(
    State(payments): State<Payments>,
    signed_in: SignedIn,
    Query(query): Query<PaymentsQuery>,
) -> Result<Json<Page<Payment>>, Problem> {
    signed_in.with_any(STAFF)?;
    let limit = PageQuery { limit: query.limit, cursor: None }.limit()?;
    let status = match query.status.as_deref() {
        None => None,
        Some(word) => Some(word.parse::<PaymentStatus>().map_err(|()| {
            let known: Vec<&str> = PaymentStatus::ALL.into_iter().map(PaymentStatus::as_str).collect();
            Problem::invalid("/status", format!("status is one of {}", known.join(", ")))
        })?),
    };
    let before = match query.cursor.as_deref() {
        None => None,
        Some(text) => Some(text.parse::<PaymentId>().map_err(|_| {
            Problem::invalid("/cursor", "cursor is what the page before answered as next_cursor")
        })?),
    };
    let rows = payments.cashier.inner.store.list(status, before, limit + 1).await?;
    let items = rows.into_iter().map(|(record, pending)| view(&record, pending)).collect();
    Ok(Json(Page::cut(items, limit, |payment: &Payment| payment.id.to_string())))
}

/// The payment of an order.
#[utoipa::path(
    get, path = "/v1/admin/payments/{order_id}", tag = "payment", params(("order_id" = uuid::Uuid, Path)),
    responses((status = 200), (status = 401), (status = 403), (status = 404))
)]
async fn payment_of_order(
    State(payments): State<Payments>,
    signed_in: SignedIn,
    Path(order_id): Path<OrderId>,
) -> Result<Json<Payment>, Problem> {
    signed_in.with_any(STAFF)?;
    payments.payment(order_id).await
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReconcileQuery {
    /// Compare what was made since then; a day back when absent.
    #[param(value_type = Option<String>)]
    since: Option<Timestamp>,
}

/// Our books beside the provider's.
#[utoipa::path(
    get, path = "/v1/admin/reconcile", tag = "payment", params(ReconcileQuery),
    responses((status = 200), (status = 401), (status = 403), (status = 503))
)]
async fn reconcile(
    State(payments): State<Payments>,
    signed_in: SignedIn,
    Query(query): Query<ReconcileQuery>,
) -> Result<Json<Reconciliation>, Problem> {
    signed_in.with_any(&[Role::Ops])?;
    let day = i64::try_from(DAY.as_secs()).unwrap_or(0);
    let since = query.since.or_else(|| Timestamp::from_second(payments.env.now().as_second() - day).ok());
    payments.cashier.reconcile(since.unwrap_or(Timestamp::UNIX_EPOCH)).await.map(Json)
}

/// The breakers in front of the provider.
#[utoipa::path(
    get, path = "/v1/admin/breakers", tag = "payment",
    responses((status = 200), (status = 401), (status = 403))
)]
async fn breakers(
    State(payments): State<Payments>,
    signed_in: SignedIn,
) -> Result<Json<Page<BreakerView>>, Problem> {
    signed_in.with_any(&[Role::Ops])?;
    Ok(Json(Page::whole(payments.cashier.inner.gates.all().iter().map(view_breaker).collect())))
}

/// Holds a breaker open until a person closes it.
#[utoipa::path(
    post, path = "/v1/admin/breakers/{name}/open", tag = "payment", params(("name" = String, Path)),
    responses((status = 200), (status = 401), (status = 403), (status = 404), (status = 422))
)]
async fn open_breaker(
    State(payments): State<Payments>,
    context: Context,
    signed_in: SignedIn,
    Path(name): Path<String>,
    Json(body): Json<TurnBreaker>,
) -> Result<Json<BreakerView>, Problem> {
    signed_in.with_any(&[Role::Ops])?;
    payments.turn(&context, &name, &body.reason, true).await
}

/// Closes a breaker.
#[utoipa::path(
    post, path = "/v1/admin/breakers/{name}/close", tag = "payment", params(("name" = String, Path)),
    responses((status = 200), (status = 401), (status = 403), (status = 404), (status = 422))
)]
async fn close_breaker(
    State(payments): State<Payments>,
    context: Context,
    signed_in: SignedIn,
    Path(name): Path<String>,
    Json(body): Json<TurnBreaker>,
) -> Result<Json<BreakerView>, Problem> {
    signed_in.with_any(&[Role::Ops])?;
    payments.turn(&context, &name, &body.reason, false).await
}

impl Payments {
    async fn act(
        &self,
        context: &Context,
        order_id: OrderId,
        operation: Operation,
        text: String,
        amount: Option<Money>,
    ) -> Result<Json<PaymentResult>, Problem> {
        let ask = Ask { order_id, operation, key: key(text)?, amount, payment_method: None };
        self.cashier.act(context, ask).await.map(Json)
    }

    async fn payment(&self, order_id: OrderId) -> Result<Json<Payment>, Problem> {
        let known = self.cashier.inner.store.known(order_id).await?;
        let known = known.ok_or_else(|| Problem::not_found("payment"))?;
        let pending = known.attempts.iter().find(|attempt| attempt.state.is_unknown());
        Ok(Json(view(&known.record, pending.map(|attempt| attempt.operation))))
    }

    async fn turn(
        &self,
        context: &Context,
        name: &str,
        reason: &str,
        open: bool,
    ) -> Result<Json<BreakerView>, Problem> {
        let reason = reason.trim();
        if !(1..=500).contains(&reason.chars().count()) {
            return Err(Problem::invalid(
                "/reason",
                "say why, in 1 to 500 characters: it goes into the audit",
            ));
        }
        let inner = &self.cashier.inner;
        let gate = inner.gates.all().iter().find(|gate| gate.breaker.name() == name);
        let gate = gate.ok_or_else(|| Problem::not_found("breaker"))?;
        let before = word(gate.breaker.snapshot().state);
        inner.store.turn_breaker(context, name, open, reason, before).await?;
        if open {
            gate.breaker.hold_open(reason);
        } else {
            gate.breaker.close();
        }
        Ok(Json(view_breaker(gate)))
    }
}

fn key(text: String) -> Result<String, Problem> {
    let fits = (1..=KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        Ok(text)
    } else {
        Err(Problem::invalid("/key", format!("a key is 1 to {KEY_CHARS_MAX} visible ASCII characters")))
    }
}

/// Twelve digits or more, whatever stands between them: no token looks like that, and a number must not be stored.
fn looks_like_a_card_number(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    digits >= 12 && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'-' | b'.'))
}

fn view(record: &Record, pending: Option<Operation>) -> Payment {
    let money = |amount| Money::new(amount, record.amount.currency);
    Payment {
        id: record.id,
        order_id: record.order_id,
        status: record.status,
        amount: record.amount,
        authorized: money(record.authorized),
        captured: money(record.captured),
        refunded: money(record.refunded),
        provider: record.provider.clone(),
        provider_reference: record.reference.clone(),
        pending_operation: pending.map(|operation| operation.as_str().to_owned()),
        created_at: record.created_at,
        updated_at: record.updated_at,
    }
}

fn view_breaker(gate: &Gate) -> BreakerView {
    let snapshot = gate.breaker.snapshot();
    BreakerView {
        name: gate.breaker.name().to_owned(),
        state: word(snapshot.state).to_owned(),
        since: snapshot.since,
        retry_at: snapshot.retry_at,
        calls: snapshot.calls.into(),
        failures: snapshot.failures.into(),
        held_open: snapshot.held,
        opened_total: snapshot.opened_total,
    }
}

const fn word(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::HalfOpen => "half_open",
        BreakerState::Open => "open",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_number_is_told_from_a_token() {
        assert!(looks_like_a_card_number("4242 4242-4242.4242"));
        assert!(!looks_like_a_card_number("pm_card_visa"));
        assert!(!looks_like_a_card_number("pm_1234567890123456"));
    }
}
