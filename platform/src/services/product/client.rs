//! What siblings and pages may ask of the product service.
//!
//! Internal calls need a [`Context`] whose `caller` names the calling service ([`Context::called_by`]); admin calls
//! need an identity with the role merchandiser or admin. Everything that touches an order's stock is idempotent by
//! the order, so a caller that never heard an answer asks again.

use std::time::Duration;

use axum::http::Method;
use serde::Serialize;

pub use super::wire::*;
use crate::http::address::{segment, with_query};
use crate::http::{CallError, Context, Endpoint, Page, PageQuery};
use crate::vocabulary::OrderId;

/// Lines to price.
#[derive(Serialize)]
struct Quoting<'lines> {
    lines: &'lines [Line],
}

/// What to hold, for whom, for how long.
#[derive(Serialize)]
struct Reserving<'lines> {
    order_id: OrderId,
    lines: &'lines [Line],
    ttl_s: u64,
}

/// The product service, wherever it runs.
#[derive(Clone, Debug)]
pub struct ProductClient {
    endpoint: Endpoint,
}

impl ProductClient {
    /// Calls the product service at `endpoint`.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// What `lines` cost now. An unknown SKU, or one that is not on sale, is the problem `unknown_sku` with `sku`.
    pub async fn quote(&self, context: &Context, lines: &[Line]) -> Result<Quote, CallError> {
        self.post(context, "/internal/v1/prices/quote", &Quoting { lines }).await
    }

    /// Holds `lines` for `order_id` during `ttl`: all of them or none. Not enough is the problem `out_of_stock` with
    /// `items` ([`Shortage`]). Asked again with the same lines it answers what stands; a reservation that was given
    /// back meanwhile stays so: `conflict` with `reason` `reservation_expired` or `reservation_released`.
    pub async fn reserve(
        &self,
        context: &Context,
        order_id: OrderId,
        lines: &[Line],
        ttl: Duration,
    ) -> Result<Reservation, CallError> {
        let body = Reserving { order_id, lines, ttl_s: ttl.as_secs() };
        self.post(context, "/internal/v1/reservations", &body).await
    }

    /// Holds the stock for another `ttl` from now; never shortens. A pinned or committed reservation has no expiry
    /// and stays as it is.
    pub async fn extend(
        &self,
        context: &Context,
        order_id: OrderId,
        ttl: Duration,
    ) -> Result<Reservation, CallError> {
        let path = format!("/internal/v1/reservations/{order_id}/extend");
        self.post(context, &path, &serde_json::json!({ "ttl_s": ttl.as_secs() })).await
    }

    /// Takes the expiry away. A reservation that is gone is the problem `conflict` with `reason`
    /// `reservation_expired`, `reservation_released` or `reservation_missing`.
    pub async fn pin(&self, context: &Context, order_id: OrderId) -> Result<Reservation, CallError> {
        self.act(context, order_id, "pin").await
    }

    /// Takes the units off the shelf. Cannot fail on quantity: they are held.
    pub async fn commit(&self, context: &Context, order_id: OrderId) -> Result<Reservation, CallError> {
        self.act(context, order_id, "commit").await
    }

    /// Gives the units back. An order that never reserved is remembered as released, so that a reserve that arrives
    /// late holds nothing. After a commit it is `conflict` with `reason` `reservation_committed`: restock instead.
    pub async fn release(&self, context: &Context, order_id: OrderId) -> Result<Reservation, CallError> {
        self.act(context, order_id, "release").await
    }

    /// Puts committed units of `order_id` back on the shelf, at most as many as left it. `key` names the act:
    /// the same key again does nothing.
    pub async fn restock(
        &self,
        context: &Context,
        order_id: OrderId,
        lines: &[Line],
        key: &str,
    ) -> Result<Reservation, CallError> {
        let path = format!("/internal/v1/reservations/{order_id}/restock");
        self.post(context, &path, &serde_json::json!({ "lines": lines, "key": key })).await
    }

    /// Where the stock of an order stands; none when it never reserved.
    pub async fn reservation(
        &self,
        context: &Context,
        order_id: OrderId,
    ) -> Result<Option<Reservation>, CallError> {
        self.get_json(context, &format!("/internal/v1/reservations/{order_id}")).await
    }

    async fn act(&self, context: &Context, order_id: OrderId, act: &str) -> Result<Reservation, CallError> {
        let path = format!("/internal/v1/reservations/{order_id}/{act}");
        self.endpoint.call::<(), _>(context, Method::POST, &path, None).await
    }
}

/// What the pages need.
impl ProductClient {
    /// A page of the catalogue.
    pub async fn list(
        &self,
        context: &Context,
        query: &ProductQuery,
    ) -> Result<Page<ProductCard>, CallError> {
        self.get_json(context, &with_query("/v1/products", query)?).await
    }

    /// One product.
    pub async fn get(&self, context: &Context, slug: &str) -> Result<ProductDetail, CallError> {
        self.get_json(context, &format!("/v1/products/{}", segment(slug))).await
    }

    /// All categories.
    pub async fn categories(&self, context: &Context) -> Result<Page<Category>, CallError> {
        self.get_json(context, "/v1/categories").await
    }
}

/// What staff needs.
impl ProductClient {
    /// A page of all products, also of those that are not on sale.
    pub async fn admin_list(
        &self,
        context: &Context,
        query: &ProductQuery,
    ) -> Result<Page<AdminProduct>, CallError> {
        self.get_json(context, &with_query("/v1/admin/products", query)?).await
    }

    /// One product as staff sees it.
    pub async fn admin_get(&self, context: &Context, slug: &str) -> Result<AdminProduct, CallError> {
        self.get_json(context, &format!("/v1/admin/products/{}", segment(slug))).await
    }

    /// Adds a product.
    pub async fn create(&self, context: &Context, product: &NewProduct) -> Result<AdminProduct, CallError> {
        self.post(context, "/v1/admin/products", product).await
    }

    /// Changes a product.
    pub async fn update(
        &self,
        context: &Context,
        slug: &str,
        patch: &ProductPatch,
    ) -> Result<AdminProduct, CallError> {
        let path = format!("/v1/admin/products/{}", segment(slug));
        self.endpoint.call(context, Method::PATCH, &path, Some(patch)).await
    }

    /// Units came in. `key` makes it safe to ask again.
    pub async fn receive(
        &self,
        context: &Context,
        sku: &str,
        quantity: i64,
        reason: &str,
        key: Option<&str>,
    ) -> Result<StockLevel, CallError> {
        let body = serde_json::json!({ "quantity": quantity, "reason": reason });
        self.stock_act(context, sku, "receive", &body, key).await
    }

    /// The count on the shelf was wrong by `delta`. Below what is held is `conflict`.
    pub async fn adjust(
        &self,
        context: &Context,
        sku: &str,
        delta: i64,
        reason: &str,
        key: Option<&str>,
    ) -> Result<StockLevel, CallError> {
        let body = serde_json::json!({ "delta": delta, "reason": reason });
        self.stock_act(context, sku, "adjust", &body, key).await
    }

    /// How many units of `sku` there are.
    pub async fn stock(&self, context: &Context, sku: &str) -> Result<StockLevel, CallError> {
        self.get_json(context, &format!("/v1/admin/stock/{}", segment(sku))).await
    }

    /// Stock levels by SKU; with `below`, only where fewer units are available.
    pub async fn stock_list(
        &self,
        context: &Context,
        below: Option<i64>,
        page: &PageQuery,
    ) -> Result<Page<StockItem>, CallError> {
        let query = [
            ("below", below.map(|below| below.to_string())),
            ("limit", page.limit.map(|limit| limit.to_string())),
            ("cursor", page.cursor.clone()),
        ];
        self.get_json(context, &with_query("/v1/admin/stock", &query)?).await
    }

    /// A SKU's ledger, newest first.
    pub async fn movements(
        &self,
        context: &Context,
        sku: &str,
        page: &PageQuery,
    ) -> Result<Page<Movement>, CallError> {
        let query = [("limit", page.limit.map(|limit| limit.to_string())), ("cursor", page.cursor.clone())];
        let path = format!("/v1/admin/stock/{}/movements", segment(sku));
        self.get_json(context, &with_query(&path, &query)?).await
    }

    async fn stock_act(
        &self,
        context: &Context,
        sku: &str,
        act: &str,
        body: &serde_json::Value,
        key: Option<&str>,
    ) -> Result<StockLevel, CallError> {
        let path = format!("/v1/admin/stock/{}/{act}", segment(sku));
        let headers: Vec<_> = key.into_iter().map(|key| ("idempotency-key", key)).collect();
        let answer = self.endpoint.call_with(context, Method::POST, &path, Some(body), &headers).await;
        answer.map(|(_, level)| level)
    }

    async fn get_json<A: serde::de::DeserializeOwned>(
        &self,
        context: &Context,
        path: &str,
    ) -> Result<A, CallError> {
        self.endpoint.call::<(), A>(context, Method::GET, path, None).await
    }

    async fn post<B: Serialize + Sync, A: serde::de::DeserializeOwned>(
        &self,
        context: &Context,
        path: &str,
        body: &B,
    ) -> Result<A, CallError> {
        self.endpoint.call(context, Method::POST, path, Some(body)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_only_what_was_asked() {
        let query =
            ProductQuery { q: Some("tea & co".to_owned()), limit: Some(5), ..ProductQuery::default() };
        assert_eq!(
            with_query("/v1/products", &query).expect("it serialises"),
            "/v1/products?q=tea+%26+co&limit=5"
        );
    }
}
