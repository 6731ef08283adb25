//! The shop that a person buys from.

mod account;
mod cart;
mod catalogue;
mod checkout;
mod home;
mod order;
mod product;
mod sign_in;

use axum::Router;
use axum::routing::{get, post};

use super::visit::Web;

pub(in crate::web) use sign_in::explain;

/// The storefront's pages.
pub fn router() -> Router<Web> {
    Router::new()
        .route("/", get(home::home))
        .route("/categories/{slug}", get(catalogue::category))
        .route("/search", get(catalogue::search))
        .route("/products/{slug}", get(product::product))
        .route("/cart", get(cart::cart))
        .route("/cart/lines", post(cart::add))
        .route("/cart/lines/{sku}", post(cart::change))
        .route("/cart/promotion", post(cart::promotion))
        .route("/checkout", get(checkout::form).post(checkout::place))
        .route("/orders", get(order::history))
        .route("/orders/{id}", get(order::order))
        .route("/orders/{id}/progress", get(order::progress))
        .route("/orders/{id}/stream", get(order::stream))
        .route("/orders/{id}/cancel", post(order::cancel))
        .route("/sign-in", get(sign_in::form).post(sign_in::sign_in))
        .route("/sign-up", get(sign_in::new_account).post(sign_in::sign_up))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/account", get(account::account))
        .route("/account/name", post(account::rename))
        .route("/account/password", post(account::change_password))
        .route("/account/addresses", post(account::add_address))
        .route("/account/addresses/{id}/remove", post(account::remove_address))
}
