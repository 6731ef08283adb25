//! The routes: what anybody may read, what siblings may ask, what staff may do.

mod admin;
mod internal;
mod public;
mod ready;

use axum::Router;
use axum::routing::{get, patch, post};
use utoipa::OpenApi;

use super::store::Store;
use crate::http::extract::{no_such_method, no_such_route};
pub(super) use ready::Ready;

/// What outsiders and staff may call; internal calls are told by the client.
#[derive(OpenApi)]
#[openapi(
    info(title = "product", description = "The catalogue, its search and pictures, and the stock."),
    paths(
        public::list,
        public::detail,
        public::image,
        public::categories,
        admin::list,
        admin::product,
        admin::create,
        admin::update,
        admin::stock_list,
        admin::stock,
        admin::receive,
        admin::adjust,
        admin::movements,
    )
)]
struct Api;

/// The routes' document.
pub(super) fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

/// All routes of the service.
pub(super) fn router(store: Store) -> Router {
    Router::new()
        .route(public::LIST, get(public::list))
        .route(public::DETAIL, get(public::detail))
        .route(public::IMAGE, get(public::image))
        .route(public::CATEGORIES, get(public::categories))
        .route("/internal/v1/prices/quote", post(internal::quote))
        .route("/internal/v1/reservations", post(internal::reserve))
        .route("/internal/v1/reservations/{order_id}", get(internal::reservation))
        .route("/internal/v1/reservations/{order_id}/extend", post(internal::extend))
        .route("/internal/v1/reservations/{order_id}/pin", post(internal::pin))
        .route("/internal/v1/reservations/{order_id}/commit", post(internal::commit))
        .route("/internal/v1/reservations/{order_id}/release", post(internal::release))
        .route("/internal/v1/reservations/{order_id}/restock", post(internal::restock))
        .route("/v1/admin/products", get(admin::list).post(admin::create))
        .route("/v1/admin/products/{slug}", patch(admin::update).get(admin::product))
        .route("/v1/admin/stock", get(admin::stock_list))
        .route("/v1/admin/stock/{sku}", get(admin::stock))
        .route("/v1/admin/stock/{sku}/receive", post(admin::receive))
        .route("/v1/admin/stock/{sku}/adjust", post(admin::adjust))
        .route("/v1/admin/stock/{sku}/movements", get(admin::movements))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .with_state(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_tells_what_outsiders_may_call_and_nothing_internal() {
        let document = openapi();
        let paths: Vec<&str> = document.paths.paths.keys().map(String::as_str).collect();
        assert_eq!(paths.len(), 11);
        assert!(paths.contains(&"/v1/products/{slug}") && paths.contains(&"/v1/admin/stock/{sku}/adjust"));
        assert!(paths.iter().all(|path| path.starts_with("/v1/")));
    }
}
