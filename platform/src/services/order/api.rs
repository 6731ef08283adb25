//! The order service's routes for buyers, and for siblings.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde::Deserialize;
use uuid::Uuid;

use super::admin;
use super::events::Event;
use super::orders::Orders;
use super::status::Status;
use super::store::By;
use super::stream;
use super::views::{self, ListQuery};
use super::wire::{
    Access, ApplyPromotion, Cancel, Cart, Nothing, Order, OrderEvent, PlaceOrder, SetQuantity,
};
use crate::http::extract::{created, no_such_method, no_such_route};
use crate::http::{Context, IdempotencyKey, Internal, Json, Page, PageQuery, Path, Problem, Query, SignedIn};
use crate::vocabulary::{CartId, OrderId};

type Answer<T> = Result<Json<T>, Problem>;

/// Every route of the service.
pub(super) fn routes(orders: Orders) -> Router {
    Router::new()
        .route("/v1/carts", post(create_cart))
        .route("/v1/carts/{id}", get(cart))
        .route("/v1/carts/{id}/lines/{sku}", put(set_line))
        .route("/v1/carts/{id}/promotion", post(apply_promotion).delete(remove_promotion))
        .route("/v1/carts/{id}/merge", post(merge))
        .route("/v1/carts/{id}/quote", post(quote))
        .route("/v1/orders", post(place).get(mine))
        .route("/v1/orders/{id}", get(order))
        .route("/v1/orders/{id}/events", get(events))
        .route("/v1/orders/{id}/stream", get(stream::stream))
        .route("/v1/orders/{id}/cancel", post(cancel))
        .route("/internal/v1/orders/{id}/access", get(access))
        .merge(admin::routes())
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .with_state(orders)
}

/// `?access_token=`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Token {
    pub(super) access_token: Option<String>,
}

/// A new cart; a signed-in user who has one gets that.
#[utoipa::path(
    post, path = "/v1/carts", tag = "order",
    request_body = Nothing,
    responses((status = 201, body = Cart))
)]
pub(super) async fn create_cart(
    State(orders): State<Orders>,
    context: Context,
    _: Json<Nothing>,
) -> Result<Response, Problem> {
    Ok(created(orders.carts().create(&context.called_by("order")).await?))
}

/// A cart with today's prices.
#[utoipa::path(
    get, path = "/v1/carts/{id}", tag = "order",
    params(("id" = String, Path)),
    responses((status = 200, body = Cart), (status = 404))
)]
pub(super) async fn cart(
    State(orders): State<Orders>,
    context: Context,
    Path(id): Path<CartId>,
) -> Answer<Cart> {
    let (context, carts) = (context.called_by("order"), orders.carts());
    let cart = carts.find(id, &context).await?;
    Ok(Json(carts.view(&context, cart).await?))
}

/// Sets how many of a SKU are in the cart; 0 removes it.
#[utoipa::path(
    put, path = "/v1/carts/{id}/lines/{sku}", tag = "order",
    request_body = SetQuantity,
    params(("id" = String, Path), ("sku" = String, Path)),
    responses((status = 200, body = Cart), (status = 404, description = "not_found, unknown_sku"), (status = 422))
)]
pub(super) async fn set_line(
    State(orders): State<Orders>,
    context: Context,
    Path((id, sku)): Path<(CartId, String)>,
    Json(body): Json<SetQuantity>,
) -> Answer<Cart> {
    Ok(Json(orders.carts().set_line(&context.called_by("order"), id, &sku, body.quantity).await?))
}

/// Puts a promotion on the cart.
#[utoipa::path(
    post, path = "/v1/carts/{id}/promotion", tag = "order",
    request_body = ApplyPromotion,
    params(("id" = String, Path)),
    responses((status = 200, body = Cart), (status = 422, description = "promotion_invalid"))
)]
pub(super) async fn apply_promotion(
    State(orders): State<Orders>,
    context: Context,
    Path(id): Path<CartId>,
    Json(body): Json<ApplyPromotion>,
) -> Answer<Cart> {
    Ok(Json(orders.carts().set_promotion(&context.called_by("order"), id, Some(&body.code)).await?))
}

/// Takes the promotion off the cart.
#[utoipa::path(
    delete, path = "/v1/carts/{id}/promotion", tag = "order",
    params(("id" = String, Path)),
    responses((status = 200, body = Cart))
)]
pub(super) async fn remove_promotion(
    State(orders): State<Orders>,
    context: Context,
    Path(id): Path<CartId>,
) -> Answer<Cart> {
    Ok(Json(orders.carts().set_promotion(&context.called_by("order"), id, None).await?))
}

/// Makes a guest's cart the signed-in user's.
#[utoipa::path(
    post, path = "/v1/carts/{id}/merge", tag = "order",
    request_body = Nothing,
    params(("id" = String, Path)),
    responses((status = 200, body = Cart), (status = 401))
)]
pub(super) async fn merge(
    State(orders): State<Orders>,
    context: Context,
    SignedIn(who): SignedIn,
    Path(id): Path<CartId>,
    _: Json<Nothing>,
) -> Answer<Cart> {
    Ok(Json(orders.carts().merge(&context.called_by("order"), id, who.user_id).await?))
}

/// Where a parcel would go. Tax and shipping are the same everywhere today; the country is checked all the same.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Destination {
    country: Option<String>,
}

/// The cart with shipping and tax.
#[utoipa::path(
    post, path = "/v1/carts/{id}/quote", tag = "order",
    params(("id" = String, Path)),
    responses((status = 200, body = Cart))
)]
pub(super) async fn quote(
    State(orders): State<Orders>,
    context: Context,
    Path(id): Path<CartId>,
    Json(body): Json<Destination>,
) -> Answer<Cart> {
    if body.country.is_some_and(|country| country.len() != 2) {
        return Err(Problem::invalid(
            "/country",
            "country must be two capital letters, as ISO 3166 has them: `US`",
        ));
    }
    cart(State(orders), context, Path(id)).await
}

/// Places an order, once for each `Idempotency-Key`; `Prefer: respond-async` does not wait for its end.
#[utoipa::path(
    post, path = "/v1/orders", tag = "order",
    request_body = PlaceOrder,
    params(("idempotency-key" = String, Header)),
    responses((status = 201, body = Order, description = "confirmed"), (status = 202, body = Order, description = "on its way"), (status = 402, description = "payment_declined, with order_id"), (status = 409, description = "out_of_stock with items, order_state_conflict; with order_id"), (status = 422))
)]
pub(super) async fn place(
    State(orders): State<Orders>,
    context: Context,
    IdempotencyKey(key): IdempotencyKey,
    headers: HeaderMap,
    Json(body): Json<PlaceOrder>,
) -> Result<Response, Problem> {
    let respond_async = headers.get_all("prefer").iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|text| text.split(',').any(|wish| wish.trim().eq_ignore_ascii_case("respond-async")))
    });
    orders.place(&context.called_by("order"), &key, respond_async, body).await
}

/// `?status&limit&cursor`.
#[derive(Debug, Deserialize)]
pub(super) struct OrdersQuery {
    pub(super) status: Option<Status>,
    pub(super) q: Option<String>,
    pub(super) limit: Option<i64>,
    pub(super) cursor: Option<String>,
}

impl OrdersQuery {
    /// A page of the orders that `query` and this describe.
    pub(super) async fn page(self, orders: &Orders, query: ListQuery) -> Result<Page<Order>, Problem> {
        let limit = PageQuery { limit: self.limit, cursor: None }.limit()?;
        let before = self.cursor.as_deref().map(cursor).transpose()?;
        let found = views::list(&orders.db, &ListQuery { before, ..query }, limit + 1).await?;
        let items = found.into_iter().map(|owned| owned.order).collect();
        Ok(Page::cut(items, limit, |order: &Order| order.id.to_string()))
    }
}

/// A cursor is the id after which the next page begins.
pub(super) fn cursor(text: &str) -> Result<Uuid, Problem> {
    text.parse()
        .map_err(|_| Problem::invalid("/cursor", "send the `next_cursor` of the page before as it was"))
}

/// The signed-in user's orders, newest first: `?status&limit&cursor`.
#[utoipa::path(
    get, path = "/v1/orders", tag = "order",
    responses((status = 200, description = "a page of orders"), (status = 401))
)]
pub(super) async fn mine(
    State(orders): State<Orders>,
    SignedIn(who): SignedIn,
    Query(query): Query<OrdersQuery>,
) -> Answer<Page<Order>> {
    let list = ListQuery { user_id: Some(who.user_id), status: query.status, ..ListQuery::default() };
    Ok(Json(query.page(&orders, list).await?))
}

/// One order; a guest's needs its access token.
#[utoipa::path(
    get, path = "/v1/orders/{id}", tag = "order",
    params(("id" = String, Path)),
    responses((status = 200, body = Order), (status = 404))
)]
pub(super) async fn order(
    State(orders): State<Orders>,
    context: Context,
    Path(id): Path<OrderId>,
    Query(token): Query<Token>,
) -> Answer<Order> {
    Ok(Json(orders.visible(&context, id, token.access_token.as_deref()).await?.order))
}

/// What happened to an order.
#[utoipa::path(
    get, path = "/v1/orders/{id}/events", tag = "order",
    params(("id" = String, Path)),
    responses((status = 200, description = "a page of events"), (status = 404))
)]
pub(super) async fn events(
    State(orders): State<Orders>,
    context: Context,
    Path(id): Path<OrderId>,
    Query(token): Query<Token>,
) -> Answer<Page<OrderEvent>> {
    orders.visible(&context, id, token.access_token.as_deref()).await?;
    let events = views::events(&orders.db, id, 0).await?;
    Ok(Json(Page::whole(events.into_iter().map(for_customers).collect())))
}

/// An event without what is nobody's business outside: who of the staff it was, and what failed within.
pub(super) fn for_customers(mut event: OrderEvent) -> OrderEvent {
    event.actor = None;
    if matches!(event.kind.as_str(), "saga_stuck" | "payment_unknown" | "reservation_lost") {
        event.data = serde_json::json!({});
    }
    event
}

/// Calls off an order that was not shipped yet.
#[utoipa::path(
    post, path = "/v1/orders/{id}/cancel", tag = "order",
    request_body = Cancel,
    params(("id" = String, Path)),
    responses((status = 200, body = Order), (status = 202, body = Order), (status = 409, description = "order_state_conflict"))
)]
pub(super) async fn cancel(
    State(orders): State<Orders>,
    context: Context,
    Path(id): Path<OrderId>,
    Query(token): Query<Token>,
    Json(body): Json<Cancel>,
) -> Result<Response, Problem> {
    orders.visible(&context, id, token.access_token.as_deref()).await?;
    let reason = reason(body.reason, "called off by the customer")?;
    let by = By::customer(context);
    orders.record(id, &by, |_| Ok(Event::CancelRequested { reason: reason.clone() }), |_, _, _| {}).await?;
    cancelled(&orders, id).await
}

/// Waits for the cancellation to end: 200 when it did, 202 when it goes on.
pub(super) async fn cancelled(orders: &Orders, id: OrderId) -> Result<Response, Problem> {
    let over = |order: &Order| order.status != Status::Cancelling;
    let order = orders.wait_until(id, orders.config.wait, over).await?;
    let status = if over(&order) { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(order)).into_response())
}

/// A reason in words, or the usual one.
pub(super) fn reason(given: Option<String>, usual: &str) -> Result<String, Problem> {
    match given.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()) {
        Some(text) if text.chars().count() > 500 => {
            Err(Problem::invalid("/reason", "the reason must have at most 500 characters"))
        }
        Some(text) => Ok(text),
        None => Ok(usual.to_owned()),
    }
}

async fn access(State(orders): State<Orders>, _: Internal, Path(id): Path<OrderId>) -> Answer<Access> {
    let owned = views::one(&orders.db, id).await?.ok_or_else(|| Problem::not_found("order"))?;
    let access_token =
        owned.user_id.is_none().then(|| orders.secrets.order_access_token(id).expose().to_owned());
    Ok(Json(Access { access_token }))
}
