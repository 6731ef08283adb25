//! The routes: deliveries for staff, preferences for users, queues and dead letters for operators.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use utoipa::OpenApi;

use super::client::{
    DeadLetter, DeadLetterAction, DeadLettersMoved, Delivery, DeliveryDetail, DeliveryFilter, FailedAttempt,
    Outbox, Preferences, Queue, Queues, Reason,
};
use super::store::{self, Deed, STATES};
use super::{Notifications, queues, templates};
use crate::http::extract::{no_such_method, no_such_route};
use crate::http::{Code, Context, Json, Page, PageQuery, Path, Problem, Query, SignedIn};
use crate::storage::Batch;
use crate::vocabulary::{DeliveryId, Role};

/// Who may see and resend deliveries.
const STAFF: &[Role] = &[Role::Support, Role::Ops];
/// The most characters of a reason.
const REASON_CHARS_MAX: usize = 500;

#[derive(OpenApi)]
#[openapi(
    paths(
        list,
        show,
        redeliver,
        preferences,
        set_preferences,
        queues::queues,
        queues::dead_letters,
        queues::dead_letter,
        queues::redrive,
        queues::discard
    ),
    components(schemas(
        Delivery,
        DeliveryDetail,
        FailedAttempt,
        Reason,
        Preferences,
        DeadLetter,
        DeadLetterAction,
        DeadLettersMoved,
        Queue,
        Outbox,
        Queues
    ))
)]
struct Api;

pub(super) fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

pub(super) fn router(service: Notifications) -> Router {
    Router::new()
        .route("/v1/admin/deliveries", get(list))
        .route("/v1/admin/deliveries/{id}", get(show))
        .route("/v1/admin/deliveries/{id}/redeliver", post(redeliver))
        .route("/v1/me/notifications", get(preferences).put(set_preferences))
        .route("/v1/admin/queues", get(queues::queues))
        .route("/v1/admin/dlq", get(queues::dead_letters))
        .route("/v1/admin/dlq/{id}", get(queues::dead_letter))
        .route("/v1/admin/dlq/redrive", post(queues::redrive))
        .route("/v1/admin/dlq/discard", post(queues::discard))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .with_state(service)
}

/// A reason as it is kept: trimmed, not empty, not too long.
pub(super) fn checked_reason(reason: &str) -> Result<&str, Problem> {
    let reason = reason.trim();
    match reason.chars().count() {
        1..=REASON_CHARS_MAX => Ok(reason),
        _ => Err(Problem::invalid("/reason", format!("say why, in 1 to {REASON_CHARS_MAX} characters"))),
    }
}

/// A cursor of this service: the last id of the page before.
pub(super) fn cursor_of(cursor: Option<&str>) -> Result<Option<uuid::Uuid>, Problem> {
    let refused = |_| Problem::invalid("/cursor", "use the `next_cursor` that a list answered");
    cursor.map(|cursor| cursor.parse().map_err(refused)).transpose()
}

/// Deliveries, newest first.
#[utoipa::path(get, path = "/v1/admin/deliveries", tag = "notification",
    params(
        ("state" = Option<String>, Query, description = "pending, sent, skipped or failed"),
        ("channel" = Option<String>, Query, description = "log or smtp"),
        ("recipient" = Option<String>, Query, description = "the whole address"),
        ("order_id" = Option<uuid::Uuid>, Query, description = "the order it is about"),
        ("event_id" = Option<uuid::Uuid>, Query, description = "the event it tells of"),
        ("limit" = Option<i64>, Query, description = "1 to 100, default 20"),
        ("cursor" = Option<String>, Query, description = "where the page before ended"),
    ),
    responses((status = 200, description = "A page of deliveries", body = Vec<Delivery>)))]
async fn list(
    State(service): State<Notifications>,
    user: SignedIn,
    Query(filter): Query<DeliveryFilter>,
) -> Result<Json<Page<Delivery>>, Problem> {
    user.with_any(STAFF)?;
    if filter.state.as_deref().is_some_and(|state| !STATES.contains(&state)) {
        return Err(Problem::invalid("/state", format!("state must be one of {}", STATES.join(", "))));
    }
    let limit = PageQuery { limit: filter.limit, cursor: None }.limit()?;
    let before = cursor_of(filter.cursor.as_deref())?;
    let found = store::list(&service.db, &filter, before, limit + 1).await?;
    Ok(Json(Page::cut(found, limit, |delivery| delivery.id.to_string())))
}

/// One delivery and what went wrong with it.
#[utoipa::path(get, path = "/v1/admin/deliveries/{id}", tag = "notification",
    params(("id" = uuid::Uuid, Path, description = "the delivery")),
    responses(
        (status = 200, description = "The delivery", body = DeliveryDetail),
        (status = 404, description = "There is no such delivery"),
    ))]
async fn show(
    State(service): State<Notifications>,
    user: SignedIn,
    Path(id): Path<DeliveryId>,
) -> Result<Json<DeliveryDetail>, Problem> {
    user.with_any(STAFF)?;
    Ok(Json(detail(&service, id).await?))
}

async fn detail(service: &Notifications, id: DeliveryId) -> Result<DeliveryDetail, Problem> {
    let delivery = store::get(&service.db, id).await?.ok_or_else(|| Problem::not_found("delivery"))?;
    Ok(DeliveryDetail { delivery, failed_attempts: store::failed_attempts(&service.db, id).await? })
}

/// Sends a delivery that ended once more, from its first try on.
#[utoipa::path(post, path = "/v1/admin/deliveries/{id}/redeliver", tag = "notification",
    params(("id" = uuid::Uuid, Path, description = "the delivery")),
    request_body = Reason,
    responses(
        (status = 202, description = "It will be sent", body = DeliveryDetail),
        (status = 404, description = "There is no such delivery"),
        (status = 409, description = "It is being delivered already"),
    ))]
async fn redeliver(
    State(service): State<Notifications>,
    context: Context,
    user: SignedIn,
    Path(id): Path<DeliveryId>,
    Json(body): Json<Reason>,
) -> Result<Response, Problem> {
    user.with_any(STAFF)?;
    let reason = checked_reason(&body.reason)?;
    let before = store::get(&service.db, id).await?.ok_or_else(|| Problem::not_found("delivery"))?;
    let mut batch = store::redeliver(service.env.now(), id);
    let deed = Deed {
        action: "redeliver",
        subject: &id.to_string(),
        before: json!({"state": before.state, "redeliveries": before.redeliveries}),
        after: json!({"state": "pending", "reason": reason}),
    };
    store::audit(&mut batch, &service.env, &context, deed);
    match service.db.write(batch).await {
        Ok(_) => {}
        Err(error) if error.is_expectation(store::REDELIVER) => {
            return Err(Problem::new(Code::Conflict, "the delivery is pending: it will be tried by itself"));
        }
        Err(error) => return Err(error.into()),
    }
    service.wake_senders();
    Ok((StatusCode::ACCEPTED, Json(detail(&service, id).await?)).into_response())
}

/// How the signed-in user wants to be told.
#[utoipa::path(get, path = "/v1/me/notifications", tag = "notification",
    responses((status = 200, description = "The preferences", body = Preferences)))]
async fn preferences(
    State(service): State<Notifications>,
    SignedIn(user): SignedIn,
) -> Result<Json<Preferences>, Problem> {
    let mut known = store::preferences(&service.db, &[&user.email]).await?;
    let first = || Preferences { locale: templates::LOCALES[0].to_owned(), optional_mails: true };
    Ok(Json(known.remove(&user.email).unwrap_or_else(first)))
}

/// Changes how the signed-in user wants to be told. What is about money, goods, or the account's safety is always
/// sent.
#[utoipa::path(put, path = "/v1/me/notifications", tag = "notification",
    request_body = Preferences,
    responses((status = 200, description = "The preferences", body = Preferences)))]
async fn set_preferences(
    State(service): State<Notifications>,
    SignedIn(user): SignedIn,
    Json(wanted): Json<Preferences>,
) -> Result<Json<Preferences>, Problem> {
    if !templates::LOCALES.contains(&wanted.locale.as_str()) {
        let known = templates::LOCALES.join(", ");
        return Err(Problem::invalid("/locale", format!("locale must be one of {known}")));
    }
    let batch: Batch = store::set_preferences(service.env.now(), &user.email, &wanted);
    service.db.write(batch).await?;
    Ok(Json(wanted))
}
