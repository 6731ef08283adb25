//! The merchant's desk: orders to send, goods to keep, customers to help.
//!
//! Every page names the roles that it is for; the services check again what an act needs.

mod customers;
mod dashboard;
mod orders;
pub(super) mod products;
mod promotions;
pub(super) mod stock;

use axum::Router;
use axum::routing::{get, post};

use super::visit::Web;
use crate::vocabulary::Role;

/// Who may look at the desk at all.
const STAFF: &[Role] = &[Role::Support, Role::Merchandiser, Role::Ops];

/// The admin's pages.
pub fn router() -> Router<Web> {
    Router::new()
        .route("/admin", get(dashboard::dashboard))
        .route("/admin/orders", get(orders::list))
        .route("/admin/orders/{id}", get(orders::order))
        .route("/admin/orders/{id}/{act}", post(orders::act))
        .route("/admin/products", get(products::list).post(products::create))
        .route("/admin/products/new", get(products::new))
        .route("/admin/products/{slug}", get(products::product).post(products::update))
        .route("/admin/stock", get(stock::list))
        .route("/admin/stock/{sku}", get(stock::ledger))
        .route("/admin/stock/{sku}/receive", post(stock::receive))
        .route("/admin/stock/{sku}/adjust", post(stock::adjust))
        .route("/admin/customers", get(customers::list))
        .route("/admin/customers/{id}", get(customers::customer))
        .route("/admin/customers/{id}/roles", post(customers::set_roles))
        .route("/admin/promotions", get(promotions::list).post(promotions::create))
        .route("/admin/promotions/{code}/end", post(promotions::end))
}
