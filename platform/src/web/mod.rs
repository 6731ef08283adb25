//! The pages: the storefront for buyers, the admin for the merchant, operations for whoever runs the shop.
//!
//! They are drawn on the server and work without JavaScript. They speak to the services' clients only, on behalf of
//! whoever looks, and they own nothing: what a page shows was true when the service said it.
//!
//! * [`visit`]: one request of a browser: session, cart, messages, forms.
//! * [`page`], [`assets`], [`icon`](fn@icon), [`failure`]: the frame around every page, and the headers that protect it.
//! * [`cookies`], [`fields`]: what a browser sends. [`view`]: what templates read, and the words for it.
//! * [`storefront`], [`admin`], [`operations`]: the pages, one file per thing one would name aloud.
//!
//! # Adding a page
//! One template under `templates/<area>/`, one handler file under `<area>/`, one line in that area's `router`.

pub mod admin;
pub mod assets;
pub mod chart;
pub mod cookies;
pub mod failure;
pub mod fields;
mod icon;
pub mod operations;
pub mod page;
pub mod storefront;
pub mod view;
pub mod visit;

use axum::Router;
use axum::http::Method;
use axum::routing::get;

use crate::capabilities::Capabilities;
use crate::http::extract::{no_such_method, no_such_route};
use crate::manifest::RouteClass;

pub use icon::icon;
pub use visit::{Verify, Web};

/// All pages, for the gateway to mount beside `/v1`. `verify` is the gateway's own check of access tokens.
///
/// Requests come with a [`crate::http::Context`] in their extensions; who is signed in is read from the cookies.
pub fn router(capabilities: &Capabilities, verify: Verify) -> Router {
    let web = Web::new(capabilities, verify);
    let pages = storefront::router()
        .merge(admin::router())
        .merge(operations::router())
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(axum::middleware::from_fn_with_state(web.clone(), visit::welcome))
        .with_state(web);
    Router::new().route("/assets/{name}", get(assets::asset)).merge(pages)
}

/// The row of the rate-limit table for a page: a form that signs in or buys is as precious as its call.
#[must_use]
pub fn route_class(method: &Method, path: &str) -> RouteClass {
    match path {
        "/sign-in" | "/sign-up" | "/account/password" if method == Method::POST => RouteClass::Login,
        "/checkout" if method == Method::POST => RouteClass::Checkout,
        _ if path.starts_with("/admin") || path.starts_with("/operations") => RouteClass::Admin,
        _ => RouteClass::Read,
    }
}
