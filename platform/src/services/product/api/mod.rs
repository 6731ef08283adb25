//! The routes: what anybody may read, what siblings may ask, what staff may do.

mod admin;
mod internal;
mod public;

use axum::Router;
use axum::routing::{get, patch, post};

use super::store::Store;
use crate::http::extract::{no_such_method, no_such_route};

/// All routes of the service.
pub(super) fn router(store: Store) -> Router {
    Router::new()
        .route("/v1/products", get(public::list))
        .route("/v1/products/{slug}", get(public::detail))
        .route("/v1/products/{slug}/image.svg", get(public::image))
        .route("/v1/categories", get(public::categories))
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
