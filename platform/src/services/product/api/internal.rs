//! What siblings may ask. Everything about an order's stock is idempotent by the order: an answer that was not heard
//! is asked for again.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::http::extract::created;
use crate::http::{Internal, Json, Path, Problem};
use crate::services::product::store::Store;
use crate::services::product::wire::{Line, Quote, Reservation};
use crate::vocabulary::OrderId;

/// The lines to price.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuoteRequest {
    lines: Vec<Line>,
}

/// What to hold, for whom, for how long.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReserveRequest {
    order_id: OrderId,
    lines: Vec<Line>,
    ttl_s: u64,
}

/// For how much longer to hold it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtendRequest {
    ttl_s: u64,
}

/// What comes back to the shelf.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RestockRequest {
    lines: Vec<Line>,
    key: String,
}

pub(super) async fn quote(
    State(store): State<Store>,
    Internal(_): Internal,
    Json(request): Json<QuoteRequest>,
) -> Result<Json<Quote>, Problem> {
    store.quote(&request.lines).await.map(Json)
}

pub(super) async fn reserve(
    State(store): State<Store>,
    Internal(_): Internal,
    Json(request): Json<ReserveRequest>,
) -> Result<Response, Problem> {
    let ttl = Duration::from_secs(request.ttl_s);
    let reservation = store.reserve(request.order_id, &request.lines, ttl).await?;
    Ok(created(reservation).into_response())
}

pub(super) async fn reservation(
    State(store): State<Store>,
    Internal(_): Internal,
    Path(order_id): Path<OrderId>,
) -> Result<Json<Option<Reservation>>, Problem> {
    store.reservation_of(order_id).await.map(Json)
}

pub(super) async fn extend(
    State(store): State<Store>,
    Internal(_): Internal,
    Path(order_id): Path<OrderId>,
    Json(request): Json<ExtendRequest>,
) -> Result<Json<Reservation>, Problem> {
    store.extend(order_id, Duration::from_secs(request.ttl_s)).await.map(Json)
}

pub(super) async fn pin(
    State(store): State<Store>,
    Internal(_): Internal,
    Path(order_id): Path<OrderId>,
) -> Result<Json<Reservation>, Problem> {
    store.pin(order_id).await.map(Json)
}

pub(super) async fn commit(
    State(store): State<Store>,
    Internal(_): Internal,
    Path(order_id): Path<OrderId>,
) -> Result<Json<Reservation>, Problem> {
    store.commit(order_id).await.map(Json)
}

pub(super) async fn release(
    State(store): State<Store>,
    Internal(_): Internal,
    Path(order_id): Path<OrderId>,
) -> Result<Json<Reservation>, Problem> {
    store.release(order_id).await.map(Json)
}

pub(super) async fn restock(
    State(store): State<Store>,
    Internal(_): Internal,
    Path(order_id): Path<OrderId>,
    Json(request): Json<RestockRequest>,
) -> Result<Json<Reservation>, Problem> {
    store.restock(order_id, &request.lines, &request.key).await.map(Json)
}
