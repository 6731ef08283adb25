//! What staff may do: merchandisers and admins write, support reads too.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::http::extract::created;
use crate::http::{Context, IdempotencyKey, Json, Page, PageQuery, Path, Problem, Query, SignedIn};
use crate::services::product::editing::Author;
use crate::services::product::ledger::StockAct;
use crate::services::product::model::MovementKind;
use crate::services::product::store::Store;
use crate::services::product::wire::{
    AdminProduct, AdminProductPage, Movement, MovementPage, NewProduct, ProductPatch, ProductQuery,
    StockItem, StockLevel, StockPage,
};
use crate::vocabulary::{Identity, Role};

const WRITERS: &[Role] = &[Role::Merchandiser];
const READERS: &[Role] = &[Role::Merchandiser, Role::Support, Role::Ops];

/// Units that came in.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiveRequest {
    quantity: i64,
    reason: String,
}

/// By how much the count was wrong.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdjustRequest {
    delta: i64,
    reason: String,
}

/// Which stock levels to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StockQuery {
    below: Option<i64>,
    limit: Option<i64>,
    cursor: Option<String>,
}

fn author<'request>(
    user: &'request SignedIn,
    context: &'request Context,
) -> Result<Author<'request>, Problem> {
    let identity: &Identity = user.with_any(WRITERS)?;
    Ok(Author { identity, context })
}

/// The version that `If-Match` asks for: what an answer's ETag said.
fn expected_version(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    match value.to_str().map(str::trim) {
        Ok("*") => Ok(None),
        Ok(text) => text.trim_matches('"').parse().map(Some).map_err(|_| {
            Problem::invalid("/if-match", "If-Match must be the ETag of the product as you read it")
        }),
        Err(_) => Err(Problem::invalid("/if-match", "If-Match must be plain text")),
    }
}

fn tagged(product: AdminProduct) -> Response {
    let etag = HeaderValue::from_str(&format!("\"{}\"", product.version));
    let mut response = Json(product).into_response();
    if let Ok(etag) = etag {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

/// Lists all products, also those that are not on sale.
#[utoipa::path(
    get, path = "/v1/admin/products", tag = "product",
    params(
        ("q" = Option<String>, Query), ("category" = Option<String>, Query),
        ("status" = Option<String>, Query, description = "active, draft, archived"),
        ("limit" = Option<i64>, Query), ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = AdminProductPage), (status = 401), (status = 403))
)]
pub(super) async fn list(
    State(store): State<Store>,
    user: SignedIn,
    Query(query): Query<ProductQuery>,
) -> Result<Json<Page<AdminProduct>>, Problem> {
    user.with_any(READERS)?;
    store.staff_list(&query).await.map(Json)
}

/// Shows a product as staff sees it; its ETag is its version.
#[utoipa::path(
    get, path = "/v1/admin/products/{slug}", tag = "product", params(("slug" = String, Path)),
    responses((status = 200, body = AdminProduct), (status = 401), (status = 403), (status = 404))
)]
pub(super) async fn product(
    State(store): State<Store>,
    user: SignedIn,
    Path(slug): Path<String>,
) -> Result<Response, Problem> {
    user.with_any(READERS)?;
    store.staff_product(&slug).await.map(tagged)
}

/// Adds a product.
#[utoipa::path(
    post, path = "/v1/admin/products", tag = "product", request_body = NewProduct,
    responses((status = 201, body = AdminProduct), (status = 401), (status = 403), (status = 409), (status = 422))
)]
pub(super) async fn create(
    State(store): State<Store>,
    context: Context,
    user: SignedIn,
    Json(request): Json<NewProduct>,
) -> Result<Response, Problem> {
    Ok(created(store.create(author(&user, &context)?, request).await?))
}

/// Changes a product; with `If-Match`, only while it is at that version.
#[utoipa::path(
    patch, path = "/v1/admin/products/{slug}", tag = "product", params(("slug" = String, Path)),
    request_body = ProductPatch,
    responses(
        (status = 200, body = AdminProduct), (status = 401), (status = 403), (status = 404), (status = 409),
        (status = 422),
    )
)]
pub(super) async fn update(
    State(store): State<Store>,
    context: Context,
    user: SignedIn,
    Path(slug): Path<String>,
    headers: HeaderMap,
    Json(request): Json<ProductPatch>,
) -> Result<Response, Problem> {
    let version = expected_version(&headers)?;
    store.update(author(&user, &context)?, &slug, &request, version).await.map(tagged)
}

/// Units came in. An `Idempotency-Key` makes it safe to repeat.
#[utoipa::path(
    post, path = "/v1/admin/stock/{sku}/receive", tag = "product", params(("sku" = String, Path)),
    request_body = ReceiveRequest,
    responses((status = 200, body = StockLevel), (status = 401), (status = 403), (status = 404), (status = 422))
)]
pub(super) async fn receive(
    State(store): State<Store>,
    context: Context,
    user: SignedIn,
    Path(sku): Path<String>,
    key: OptionalKey,
    Json(request): Json<ReceiveRequest>,
) -> Result<Json<StockLevel>, Problem> {
    let act = StockAct {
        kind: MovementKind::Receipt,
        sku: &sku,
        delta: request.quantity,
        reason: &request.reason,
        key: key.0.as_deref(),
    };
    store.change_shelf(author(&user, &context)?, act).await.map(Json)
}

/// The count on the shelf was wrong; below what is held is 409.
#[utoipa::path(
    post, path = "/v1/admin/stock/{sku}/adjust", tag = "product", params(("sku" = String, Path)),
    request_body = AdjustRequest,
    responses(
        (status = 200, body = StockLevel), (status = 401), (status = 403), (status = 404), (status = 409),
        (status = 422),
    )
)]
pub(super) async fn adjust(
    State(store): State<Store>,
    context: Context,
    user: SignedIn,
    Path(sku): Path<String>,
    key: OptionalKey,
    Json(request): Json<AdjustRequest>,
) -> Result<Json<StockLevel>, Problem> {
    let act = StockAct {
        kind: MovementKind::Adjust,
        sku: &sku,
        delta: request.delta,
        reason: &request.reason,
        key: key.0.as_deref(),
    };
    store.change_shelf(author(&user, &context)?, act).await.map(Json)
}

/// How many units of a SKU there are.
#[utoipa::path(
    get, path = "/v1/admin/stock/{sku}", tag = "product", params(("sku" = String, Path)),
    responses((status = 200, body = StockLevel), (status = 401), (status = 403), (status = 404))
)]
pub(super) async fn stock(
    State(store): State<Store>,
    user: SignedIn,
    Path(sku): Path<String>,
) -> Result<Json<StockLevel>, Problem> {
    user.with_any(READERS)?;
    store.stock(&sku).await.map(Json)
}

/// Lists stock levels by SKU.
#[utoipa::path(
    get, path = "/v1/admin/stock", tag = "product",
    params(
        ("below" = Option<i64>, Query, description = "only where fewer units are available"),
        ("limit" = Option<i64>, Query), ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = StockPage), (status = 401), (status = 403))
)]
pub(super) async fn stock_list(
    State(store): State<Store>,
    user: SignedIn,
    Query(query): Query<StockQuery>,
) -> Result<Json<Page<StockItem>>, Problem> {
    user.with_any(READERS)?;
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    store.stock_list(query.below, &page).await.map(Json)
}

/// A SKU's ledger, newest first.
#[utoipa::path(
    get, path = "/v1/admin/stock/{sku}/movements", tag = "product",
    params(("sku" = String, Path), ("limit" = Option<i64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = MovementPage), (status = 401), (status = 403), (status = 404))
)]
pub(super) async fn movements(
    State(store): State<Store>,
    user: SignedIn,
    Path(sku): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Movement>>, Problem> {
    user.with_any(READERS)?;
    store.movements(&sku, &page).await.map(Json)
}

/// An `Idempotency-Key` that a caller may leave out, at the risk of receiving a delivery twice.
pub(super) struct OptionalKey(Option<String>);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for OptionalKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Problem> {
        if !parts.headers.contains_key("idempotency-key") {
            return Ok(Self(None));
        }
        IdempotencyKey::from_request_parts(parts, state).await.map(|key| Self(Some(key.0)))
    }
}
