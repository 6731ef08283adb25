//! What anybody may read. Answers are kept serialised: a hit costs a look-up and the bytes.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use crate::cache::Entry;
use crate::http::{Path, Problem};
use crate::services::product::picture;
use crate::services::product::search::Search;
use crate::services::product::store::Store;
use crate::services::product::wire::{CategoryPage, ProductDetail, ProductPage, ProductQuery};

/// The routes.
pub(super) const LIST: &str = "/v1/products";
pub(super) const DETAIL: &str = "/v1/products/{slug}";
pub(super) const IMAGE: &str = "/v1/products/{slug}/image.svg";
pub(super) const CATEGORIES: &str = "/v1/categories";

/// Longer questions are answered, but not kept: a key must not be a way to fill the memory.
const KEY_BYTES_MAX: usize = 512;
/// No product's slug is longer.
const SLUG_BYTES_MAX: usize = 80;
/// What the categories are kept under.
pub(super) const CATEGORIES_KEY: &str = "categories";
/// Headers of an answer, those included that the gateway adds to each.
const HEADERS: usize = 6;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SVG: HeaderValue = HeaderValue::from_static("image/svg+xml");
/// A browser may keep it but asks whether it still holds: the stock on it changes.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// A picture follows from the product's name and category.
const FOR_A_DAY: HeaderValue = HeaderValue::from_static("public, max-age=86400");

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Picture,
}

/// What the list that `raw` asks for is kept under, if it is kept.
pub(super) fn list_key(raw: &str) -> Option<String> {
    let key = ["list?", raw].concat();
    (key.len() <= KEY_BYTES_MAX).then_some(key)
}

/// What a product's page is kept under; none when there can be no such product.
pub(super) fn detail_key(slug: &str) -> Option<String> {
    (slug.len() <= SLUG_BYTES_MAX).then(|| ["product/", slug].concat())
}

/// What a product's picture is kept under; none when there can be no such product.
pub(super) fn picture_key(slug: &str) -> Option<String> {
    (slug.len() <= SLUG_BYTES_MAX).then(|| ["picture/", slug].concat())
}

/// Lists what is on sale.
#[utoipa::path(
    get, path = "/v1/products", tag = "product",
    params(
        ("q" = Option<String>, Query, description = "words to look for; their last letters may be missing"),
        ("category" = Option<String>, Query, description = "a category's slug"),
        ("min_price" = Option<i64>, Query, description = "minor units"),
        ("max_price" = Option<i64>, Query, description = "minor units"),
        ("in_stock" = Option<bool>, Query, description = "only what can be bought now"),
        ("sort" = Option<String>, Query, description = "relevance, price, -price, newest"),
        ("limit" = Option<i64>, Query, description = "1 to 100, default 20"),
        ("cursor" = Option<String>, Query, description = "what the page before answered as next_cursor"),
    ),
    responses((status = 200, body = ProductPage), (status = 304), (status = 422))
)]
pub(super) async fn list(
    State(store): State<Store>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let raw = raw.unwrap_or_default();
    let load = || {
        let (store, raw) = (store.clone(), raw.clone());
        async move { store.list(&parse(&raw)?).await }
    };
    let entry = match list_key(&raw) {
        Some(key) => store.cache.get_or_load(&key, store.cache_life, load).await?,
        None => store.cache.pass(load().await?),
    };
    Ok(answer(&headers, Kind::Json, &entry))
}

fn parse(raw: &str) -> Result<Search, Problem> {
    let query: ProductQuery =
        serde_urlencoded::from_str(raw).map_err(|error| Problem::invalid("/", error.to_string()))?;
    Search::public(&query)
}

/// Shows one product.
#[utoipa::path(
    get, path = "/v1/products/{slug}", tag = "product", params(("slug" = String, Path)),
    responses((status = 200, body = ProductDetail), (status = 304), (status = 404))
)]
pub(super) async fn detail(
    State(store): State<Store>,
    Path(slug): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = detail_key(&slug).ok_or_else(|| Problem::not_found("product"))?;
    let load = || {
        let (store, slug) = (store.clone(), slug.clone());
        async move { store.detail(&slug).await }
    };
    let entry = store.cache.get_or_load(&key, store.cache_life, load).await?;
    Ok(answer(&headers, Kind::Json, &entry))
}

/// Lists the categories.
#[utoipa::path(
    get, path = "/v1/categories", tag = "product",
    responses((status = 200, body = CategoryPage), (status = 304))
)]
pub(super) async fn categories(State(store): State<Store>, headers: HeaderMap) -> Result<Response, Problem> {
    let load = || {
        let store = store.clone();
        async move { store.categories().await }
    };
    let entry = store.cache.get_or_load(CATEGORIES_KEY, store.cache_life, load).await?;
    Ok(answer(&headers, Kind::Json, &entry))
}

/// The picture of a product.
#[utoipa::path(
    get, path = "/v1/products/{slug}/image.svg", tag = "product", params(("slug" = String, Path)),
    responses((status = 200, content_type = "image/svg+xml", body = String), (status = 304), (status = 404))
)]
pub(super) async fn image(
    State(store): State<Store>,
    Path(slug): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = picture_key(&slug).ok_or_else(|| Problem::not_found("product"))?;
    let load = || {
        let (store, slug) = (store.clone(), slug.clone());
        async move { store.picture(&slug).await }
    };
    let entry = store.cache.get_or_load(&key, picture::LIFE, load).await?;
    Ok(answer(&headers, Kind::Picture, &entry))
}

/// 200 with the body, or 304 when the caller has it. Nothing of it depends on who asks or on what they accept, so there
/// is nothing to vary by.
pub(super) fn answer(request: &HeaderMap, kind: Kind, entry: &Entry) -> Response {
    let is_known = request.get(header::IF_NONE_MATCH).is_some_and(|known| matches(known, &entry.etag));
    let mut response = Response::new(if is_known { Body::empty() } else { Body::from(entry.body.clone()) });
    let (content_type, cache_control) = match kind {
        Kind::Json => (JSON, REVALIDATE),
        Kind::Picture => (SVG, FOR_A_DAY),
    };
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(header::CACHE_CONTROL, cache_control);
    headers.insert(header::ETAG, entry.etag.clone());
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    *response.headers_mut() = headers;
    response
}

fn matches(known: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(known), Ok(etag)) = (known.to_str(), etag.to_str()) else { return false };
    known.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_found_in_a_list_and_when_it_was_weakened_on_the_way() {
        let etag = HeaderValue::from_static("\"abc\"");
        let knows = |known: &'static str| matches(&HeaderValue::from_static(known), &etag);
        assert!(knows("\"abc\"") && knows("\"x\", W/\"abc\"") && knows("*"));
        assert!(!knows("\"abcd\"") && !knows("abc"));
    }
}
