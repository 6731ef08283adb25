//! The order service's routes for staff. Every act writes a row of the audit in the batch that it changes something by.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::api::{OrdersQuery, cancelled, cursor, reason};
use super::events::Event;
use super::orders::Orders;
use super::promotions::{self, USED_UP};
use super::store::{Aggregate, By};
use super::views::{self, ListQuery};
use super::wire::{
    AdminOrder, Cancel, Dashboard, Nothing, Order, Promotion, Rebuilt, Refund, Saga, SagaAction, SagaStep,
    SavePromotion, Ship,
};
use super::{dashboard, saga_log};
use crate::http::extract::created;
use crate::http::{Code, Context, Json, Page, PageQuery, Path, Problem, Query, SignedIn};
use crate::saga::{SagaFilter, SagaRow, SagaState};
use crate::storage::Batch;
use crate::vocabulary::{Money, OrderId, Role};

type Answer<T> = Result<Json<T>, Problem>;

/// Who may see orders.
const SEES: &[Role] = &[Role::Support, Role::Merchandiser, Role::Ops];
/// Who may send parcels.
const SENDS: &[Role] = &[Role::Support, Role::Merchandiser];
/// Who may give money back.
const REFUNDS: &[Role] = &[Role::Support];
/// Who keeps the sagas going.
const RUNS: &[Role] = &[Role::Ops];
/// Who keeps the promotions.
const OFFERS: &[Role] = &[Role::Merchandiser];

pub(super) fn routes() -> Router<Orders> {
    Router::new()
        .route("/v1/admin/orders", get(list))
        .route("/v1/admin/orders/dashboard", get(figures))
        .route("/v1/admin/orders/{id}", get(one))
        .route("/v1/admin/orders/{id}/pack", post(pack))
        .route("/v1/admin/orders/{id}/ship", post(ship))
        .route("/v1/admin/orders/{id}/deliver", post(deliver))
        .route("/v1/admin/orders/{id}/cancel", post(cancel))
        .route("/v1/admin/orders/{id}/refund", post(refund))
        .route("/v1/admin/orders/{id}/rebuild", post(rebuild))
        .route("/v1/admin/sagas", get(sagas))
        .route("/v1/admin/sagas/{order_id}", get(order_sagas))
        .route("/v1/admin/sagas/{order_id}/retry", post(retry))
        .route("/v1/admin/sagas/{order_id}/compensate", post(compensate))
        .route("/v1/admin/promotions", get(promotions).post(create_promotion))
        .route("/v1/admin/promotions/{code}", get(promotion).put(update_promotion).delete(end_promotion))
}

/// Orders, newest first: `?status&q&limit&cursor`.
#[utoipa::path(
    get, path = "/v1/admin/orders", tag = "order",
    responses((status = 200, description = "a page of orders"), (status = 403))
)]
pub(super) async fn list(
    State(orders): State<Orders>,
    staff: SignedIn,
    Query(query): Query<OrdersQuery>,
) -> Answer<Page<Order>> {
    staff.with_any(SEES)?;
    let list = ListQuery { status: query.status, text: query.q.clone(), ..ListQuery::default() };
    Ok(Json(query.page(&orders, list).await?))
}

/// Orders and money of the last day, and the last hour by the minute.
#[utoipa::path(
    get, path = "/v1/admin/orders/dashboard", tag = "order",
    responses((status = 200, body = Dashboard))
)]
pub(super) async fn figures(State(orders): State<Orders>, staff: SignedIn) -> Answer<Dashboard> {
    staff.with_any(SEES)?;
    Ok(Json(dashboard::figures(&orders).await?))
}

/// One order with its events and sagas.
#[utoipa::path(
    get, path = "/v1/admin/orders/{id}", tag = "order",
    params(("id" = String, Path)),
    responses((status = 200, body = AdminOrder), (status = 404))
)]
pub(super) async fn one(
    State(orders): State<Orders>,
    staff: SignedIn,
    Path(id): Path<OrderId>,
) -> Answer<AdminOrder> {
    staff.with_any(SEES)?;
    let owned = views::one(&orders.db, id).await?.ok_or_else(|| Problem::not_found("order"))?;
    // The order may have moved since it was read: what it does not show yet is left for the next look.
    let mut events = views::events(&orders.db, id, 0).await?;
    events.retain(|event| event.seq <= owned.version);
    Ok(Json(AdminOrder {
        order: owned.order,
        user_id: owned.user_id,
        events,
        sagas: sagas_of(&orders, id).await?,
    }))
}

/// Records `event`, with a row of the audit.
async fn act(
    orders: &Orders,
    context: Context,
    id: OrderId,
    action: &str,
    event: impl Fn(&Aggregate) -> Result<Event, Problem>,
) -> Result<Order, Problem> {
    let by = By::staff(context.clone());
    let audited = |batch: &mut Batch, before: &Aggregate, after: &Aggregate| {
        orders.audit(batch, &context, action, &id.to_string(), standing(before), standing(after));
    };
    Ok(orders.record(id, &by, event, audited).await?.view())
}

fn standing(order: &Aggregate) -> serde_json::Value {
    let state = &order.state;
    serde_json::json!({
        "status": state.status, "payment_status": state.payment, "fulfilment_status": state.fulfilment,
        "refunded": state.refunded, "refund_due": state.refund_due, "tracking": state.tracking,
    })
}

/// The parcel is packed.
#[utoipa::path(
    post, path = "/v1/admin/orders/{id}/pack", tag = "order",
    request_body = Nothing,
    params(("id" = String, Path)),
    responses((status = 200, body = Order), (status = 409))
)]
pub(super) async fn pack(
    State(orders): State<Orders>,
    context: Context,
    staff: SignedIn,
    Path(id): Path<OrderId>,
    _: Json<Nothing>,
) -> Answer<Order> {
    staff.with_any(SENDS)?;
    Ok(Json(act(&orders, context, id, "pack", |_| Ok(Event::Packed {})).await?))
}

/// The parcel left.
#[utoipa::path(
    post, path = "/v1/admin/orders/{id}/ship", tag = "order",
    request_body = Ship,
    params(("id" = String, Path)),
    responses((status = 200, body = Order), (status = 409))
)]
pub(super) async fn ship(
    State(orders): State<Orders>,
    context: Context,
    staff: SignedIn,
    Path(id): Path<OrderId>,
    Json(body): Json<Ship>,
) -> Answer<Order> {
    staff.with_any(SENDS)?;
    if body.tracking.as_ref().is_some_and(|tracking| tracking.trim().is_empty() || tracking.len() > 100) {
        return Err(Problem::invalid("/tracking", "the tracking number must have 1 to 100 characters"));
    }
    let event = |_: &Aggregate| Ok(Event::Shipped { tracking: body.tracking.clone() });
    Ok(Json(act(&orders, context, id, "ship", event).await?))
}

/// The parcel arrived.
#[utoipa::path(
    post, path = "/v1/admin/orders/{id}/deliver", tag = "order",
    request_body = Nothing,
    params(("id" = String, Path)),
    responses((status = 200, body = Order), (status = 409))
)]
pub(super) async fn deliver(
    State(orders): State<Orders>,
    context: Context,
    staff: SignedIn,
    Path(id): Path<OrderId>,
    _: Json<Nothing>,
) -> Answer<Order> {
    staff.with_any(SENDS)?;
    Ok(Json(act(&orders, context, id, "deliver", |_| Ok(Event::Delivered {})).await?))
}

/// Calls an order off.
#[utoipa::path(
    post, path = "/v1/admin/orders/{id}/cancel", tag = "order",
    request_body = Cancel,
    params(("id" = String, Path)),
    responses((status = 200, body = Order), (status = 202, body = Order), (status = 409))
)]
pub(super) async fn cancel(
    State(orders): State<Orders>,
    context: Context,
    staff: SignedIn,
    Path(id): Path<OrderId>,
    Json(body): Json<Cancel>,
) -> Result<Response, Problem> {
    staff.with_any(REFUNDS)?;
    let reason = reason(body.reason, "called off by the shop")?;
    act(&orders, context, id, "cancel", |_| Ok(Event::CancelRequested { reason: reason.clone() })).await?;
    cancelled(&orders, id).await
}

/// Gives money back: all that is left, or an amount.
#[utoipa::path(
    post, path = "/v1/admin/orders/{id}/refund", tag = "order",
    request_body = Refund,
    params(("id" = String, Path)),
    responses((status = 200, body = Order), (status = 409))
)]
pub(super) async fn refund(
    State(orders): State<Orders>,
    context: Context,
    staff: SignedIn,
    Path(id): Path<OrderId>,
    Json(body): Json<Refund>,
) -> Answer<Order> {
    staff.with_any(REFUNDS)?;
    let why = reason(Some(body.reason.clone()), "")?;
    if why.is_empty() {
        return Err(Problem::invalid("/reason", "say why the money goes back"));
    }
    let event = |order: &Aggregate| {
        let state = &order.state;
        let amount = match body.amount {
            Some(amount) if amount < 1 => {
                return Err(Problem::invalid("/amount", "the amount must be at least 1 minor unit"));
            }
            Some(amount) => amount,
            None => state.captured - state.refunded,
        };
        let amount = Money::new(amount, state.total.currency);
        Ok(Event::RefundRequested { amount, restock: body.restock, reason: why.clone() })
    };
    let before = act(&orders, context, id, "refund", event).await?;
    let given_back = |order: &Order| order.refunded != before.refunded;
    Ok(Json(orders.wait_until(id, orders.config.wait, given_back).await?))
}

/// `?dry_run=true`.
#[derive(Debug, Deserialize)]
pub(super) struct DryRun {
    #[serde(default)]
    dry_run: bool,
}

/// Makes the projection again from the events; `?dry_run=true` only compares.
#[utoipa::path(
    post, path = "/v1/admin/orders/{id}/rebuild", tag = "order",
    request_body = Nothing,
    params(("id" = String, Path), ("dry_run" = Option<bool>, Query)),
    responses((status = 200, body = Rebuilt), (status = 404))
)]
pub(super) async fn rebuild(
    State(orders): State<Orders>,
    context: Context,
    staff: SignedIn,
    Path(id): Path<OrderId>,
    Query(query): Query<DryRun>,
    _: Json<Nothing>,
) -> Answer<Rebuilt> {
    staff.with_any(RUNS)?;
    let found = views::rebuild(&orders.db, id, !query.dry_run).await;
    let found = found?.ok_or_else(|| Problem::not_found("order"))?;
    let written = !query.dry_run && !found.differences.is_empty();
    if written {
        let mut batch = Batch::new();
        let differences = serde_json::json!({ "differences": &found.differences });
        orders.audit(&mut batch, &context, "rebuild", &id.to_string(), differences, serde_json::json!({}));
        orders.db.write(batch).await?;
    }
    Ok(Json(Rebuilt { order: found.order, differences: found.differences, written }))
}

/// `?state&limit&cursor`.
#[derive(Debug, Deserialize)]
pub(super) struct SagasQuery {
    state: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// Sagas, the latest first: `?state&limit&cursor`.
#[utoipa::path(
    get, path = "/v1/admin/sagas", tag = "order",
    responses((status = 200, description = "a page of sagas"))
)]
pub(super) async fn sagas(
    State(orders): State<Orders>,
    staff: SignedIn,
    Query(query): Query<SagasQuery>,
) -> Answer<Page<Saga>> {
    staff.with_any(SEES)?;
    let limit = PageQuery { limit: query.limit, cursor: None }.limit()?;
    let known = |word: String| {
        SagaState::parse(&word).ok_or_else(|| {
            let words = "running, compensating, completed, compensated, stuck, or abandoned";
            Problem::invalid("/state", format!("`{word}` is not a saga's state: use {words}"))
        })
    };
    let filter = SagaFilter {
        state: query.state.map(known).transpose()?,
        before: query.cursor.as_deref().map(cursor).transpose()?,
    };
    let rows = saga_log().list(&orders.db, filter, limit + 1).await?;
    let items = rows.into_iter().map(|row| view(row, vec![])).collect();
    Ok(Json(Page::cut(items, limit, |saga: &Saga| saga.id.to_string())))
}

/// The sagas of one order, with their logs.
#[utoipa::path(
    get, path = "/v1/admin/sagas/{order_id}", tag = "order",
    params(("order_id" = String, Path)),
    responses((status = 200, description = "a page of sagas"), (status = 404))
)]
pub(super) async fn order_sagas(
    State(orders): State<Orders>,
    staff: SignedIn,
    Path(id): Path<OrderId>,
) -> Answer<Page<Saga>> {
    staff.with_any(SEES)?;
    let sagas = sagas_of(&orders, id).await?;
    if sagas.is_empty() { Err(Problem::not_found("saga")) } else { Ok(Json(Page::whole(sagas))) }
}

async fn sagas_of(orders: &Orders, id: OrderId) -> Result<Vec<Saga>, Problem> {
    let log = saga_log();
    let mut sagas = Vec::new();
    for row in log.of_subject(&orders.db, id.uuid()).await?.into_iter().rev() {
        let lines = log.lines(&orders.db, row.id).await?;
        let steps = lines.into_iter().map(|line| SagaStep {
            n: line.n,
            step: line.step,
            outcome: line.outcome,
            next: line.next,
            attempt: line.attempt,
            at: line.at,
        });
        sagas.push(view(row, steps.collect()));
    }
    Ok(sagas)
}

fn view(row: SagaRow, log: Vec<SagaStep>) -> Saga {
    Saga {
        id: row.id,
        order_id: OrderId::from_uuid(row.subject),
        kind: row.kind,
        state: row.state.as_str().to_owned(),
        step: row.step,
        attempt: row.attempt,
        next_at: row.next_at,
        deadline_at: row.deadline_at,
        owner: row.owner,
        lease_until: row.lease_until,
        epoch: row.epoch,
        last_error: row.last_error,
        created_at: row.created_at,
        updated_at: row.updated_at,
        log,
    }
}

/// The saga of an order that is not at its end, the latest first.
async fn unfinished(orders: &Orders, id: OrderId) -> Result<SagaRow, Problem> {
    let rows = saga_log().of_subject(&orders.db, id.uuid()).await?;
    if rows.is_empty() {
        return Err(Problem::not_found("saga"));
    }
    let open = |row: &SagaRow| !matches!(row.state, SagaState::Completed | SagaState::Compensated);
    rows.into_iter().rev().find(open).ok_or_else(|| {
        Problem::new(
            Code::OrderStateConflict,
            "every saga of this order has ended: there is nothing to do again",
        )
    })
}

/// Tries a stuck or waiting saga again now.
#[utoipa::path(
    post, path = "/v1/admin/sagas/{order_id}/retry", tag = "order",
    request_body = SagaAction,
    params(("order_id" = String, Path)),
    responses((status = 202, body = Saga), (status = 409))
)]
pub(super) async fn retry(
    State(orders): State<Orders>,
    context: Context,
    staff: SignedIn,
    Path(id): Path<OrderId>,
    Json(body): Json<SagaAction>,
) -> Result<Response, Problem> {
    staff.with_any(RUNS)?;
    let row = unfinished(&orders, id).await?;
    let mut batch = Batch::new();
    saga_log().revive(&mut batch, "revive", row.id, orders.env.now());
    let before = serde_json::json!({ "state": row.state.as_str(), "step": row.step, "attempt": row.attempt });
    let after = serde_json::json!({ "state": "running", "reason": body.reason });
    orders.audit(&mut batch, &context, "saga_retry", &id.to_string(), before, after);
    orders
        .write_or(batch, "revive", || Problem::new(Code::Conflict, "the saga is being worked on right now"))
        .await?;
    orders.runner.wake();
    saga_answer(&orders, row).await
}

/// Gives the order up and undoes what was done; before it was paid only.
#[utoipa::path(
    post, path = "/v1/admin/sagas/{order_id}/compensate", tag = "order",
    request_body = SagaAction,
    params(("order_id" = String, Path)),
    responses((status = 202, body = Saga), (status = 409))
)]
pub(super) async fn compensate(
    State(orders): State<Orders>,
    context: Context,
    staff: SignedIn,
    Path(id): Path<OrderId>,
    Json(body): Json<SagaAction>,
) -> Result<Response, Problem> {
    staff.with_any(RUNS)?;
    let row = unfinished(&orders, id).await?;
    let why = reason(body.reason, "given up by the shop")?;
    let by = By::staff(context.clone());
    let now = orders.env.now();
    let event = |order: &Aggregate| match order.state.was_confirmed {
        false => Ok(Event::CancelRequested { reason: why.clone() }),
        true => Err(Problem::new(
            Code::OrderStateConflict,
            "the order was paid: cancel or refund it instead of undoing its checkout",
        )),
    };
    let more = |batch: &mut Batch, before: &Aggregate, after: &Aggregate| {
        if !row.state.is_live() {
            saga_log().revive(batch, "revive", row.id, now);
        }
        orders.audit(batch, &context, "saga_compensate", &id.to_string(), standing(before), standing(after));
    };
    orders.record(id, &by, event, more).await?;
    saga_answer(&orders, row).await
}

async fn saga_answer(orders: &Orders, row: SagaRow) -> Result<Response, Problem> {
    let row = saga_log().get(&orders.db, row.id).await?.unwrap_or(row);
    Ok((StatusCode::ACCEPTED, Json(view(row, vec![]))).into_response())
}

/// All promotions.
#[utoipa::path(
    get, path = "/v1/admin/promotions", tag = "order",
    responses((status = 200, description = "a page of promotions"))
)]
pub(super) async fn promotions(State(orders): State<Orders>, staff: SignedIn) -> Answer<Page<Promotion>> {
    staff.with_any(SEES)?;
    Ok(Json(Page::whole(promotions::all(&orders.db).await?)))
}

async fn find(orders: &Orders, code: &str) -> Result<Promotion, Problem> {
    promotions::find(&orders.db, code).await?.ok_or_else(|| Problem::not_found("promotion"))
}

/// One promotion.
#[utoipa::path(
    get, path = "/v1/admin/promotions/{code}", tag = "order",
    params(("code" = String, Path)),
    responses((status = 200, body = Promotion), (status = 404))
)]
pub(super) async fn promotion(
    State(orders): State<Orders>,
    staff: SignedIn,
    Path(code): Path<String>,
) -> Answer<Promotion> {
    staff.with_any(SEES)?;
    Ok(Json(find(&orders, &code).await?))
}

/// A new promotion.
#[utoipa::path(
    post, path = "/v1/admin/promotions", tag = "order",
    request_body = SavePromotion,
    responses((status = 201, body = Promotion), (status = 409), (status = 422))
)]
pub(super) async fn create_promotion(
    State(orders): State<Orders>,
    context: Context,
    staff: SignedIn,
    Json(save): Json<SavePromotion>,
) -> Result<Response, Problem> {
    staff.with_any(OFFERS)?;
    promotions::check(&save)?;
    let mut batch = Batch::new();
    promotions::insert(&mut batch, &save, orders.env.now(), "");
    let after = serde_json::to_value(&save).unwrap_or_default();
    orders.audit(&mut batch, &context, "promotion_create", &save.code, serde_json::json!({}), after);
    let taken = || Problem::new(Code::Conflict, "there is a promotion with this code already");
    orders.write_or(batch, USED_UP, taken).await?;
    Ok(created(find(&orders, &save.code).await?))
}

/// Changes a promotion; its code stays.
#[utoipa::path(
    put, path = "/v1/admin/promotions/{code}", tag = "order",
    request_body = SavePromotion,
    params(("code" = String, Path)),
    responses((status = 200, body = Promotion), (status = 404), (status = 422))
)]
pub(super) async fn update_promotion(
    State(orders): State<Orders>,
    context: Context,
    staff: SignedIn,
    Path(code): Path<String>,
    Json(save): Json<SavePromotion>,
) -> Answer<Promotion> {
    staff.with_any(OFFERS)?;
    if promotions::normal(&code) != promotions::normal(&save.code) {
        return Err(Problem::invalid("/code", "a promotion's code cannot be changed: offer a new one"));
    }
    promotions::check(&save)?;
    let before = find(&orders, &code).await?;
    Ok(Json(save_promotion(&orders, &context, "promotion_update", &before, &save).await?))
}

/// No longer offers a promotion; orders that used it keep it.
#[utoipa::path(
    delete, path = "/v1/admin/promotions/{code}", tag = "order",
    params(("code" = String, Path)),
    responses((status = 200, body = Promotion), (status = 404))
)]
pub(super) async fn end_promotion(
    State(orders): State<Orders>,
    context: Context,
    staff: SignedIn,
    Path(code): Path<String>,
) -> Answer<Promotion> {
    staff.with_any(OFFERS)?;
    let before = find(&orders, &code).await?;
    let save = SavePromotion {
        code: before.code.clone(),
        title: before.title.clone(),
        benefit: before.benefit.clone(),
        min_subtotal: before.min_subtotal,
        uses_max: before.uses_max,
        uses_per_customer_max: before.uses_per_customer_max,
        starts_at: before.starts_at,
        ends_at: before.ends_at,
        active: false,
    };
    Ok(Json(save_promotion(&orders, &context, "promotion_end", &before, &save).await?))
}

async fn save_promotion(
    orders: &Orders,
    context: &Context,
    action: &str,
    before: &Promotion,
    save: &SavePromotion,
) -> Result<Promotion, Problem> {
    let mut batch = Batch::new();
    promotions::update(&mut batch, save, orders.env.now());
    let (was, is) = (serde_json::to_value(before), serde_json::to_value(save));
    orders.audit(&mut batch, context, action, &before.code, was.unwrap_or_default(), is.unwrap_or_default());
    orders.write_or(batch, USED_UP, || Problem::not_found("promotion")).await?;
    find(orders, &before.code).await
}
