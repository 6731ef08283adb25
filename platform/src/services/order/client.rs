//! What the pages, the gateway and the siblings may ask of the order service.

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use super::status::{FulfilmentStatus, PaymentStatus, Status};
pub use super::wire::{
    Access, Address, AdminOrder, ApplyPromotion, Benefit, Cancel, Cart, CartLine, Dashboard, Difference,
    Minute, Nothing, Order, OrderEvent, OrderLine, PlaceOrder, Promotion, Rebuilt, Refund, Saga, SagaAction,
    SagaStep, SavePromotion, SetQuantity, Ship, StatusCount,
};
use crate::http::address::{segment, with_query};
use crate::http::{CallError, Context, Endpoint, Page};
use crate::vocabulary::{CartId, OrderId};

/// Calls the order service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OrderClient {
    endpoint: Endpoint,
}

/// What came of placing an order, when it did not fail: 201 is confirmed, 202 is on its way.
#[derive(Clone, Debug)]
pub struct Placed {
    /// 201 or 202.
    pub status: StatusCode,
    /// The order; for guests with its `access_token`.
    pub order: Order,
}

/// Which orders a list shows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OrderFilter {
    /// Only these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Staff only: a number, an order id, or an e-mail; or the beginning of a number or an e-mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// 1 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Which sagas a list shows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SagaFilter {
    /// Only those in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// 1 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

const NO_BODY: Option<&Nothing> = None;

impl OrderClient {
    /// A client of the service at `endpoint`.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    async fn get<A: DeserializeOwned>(&self, context: &Context, path: &str) -> Result<A, CallError> {
        self.endpoint.call(context, Method::GET, path, NO_BODY).await
    }

    async fn post<B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        context: &Context,
        path: &str,
        body: &B,
    ) -> Result<A, CallError> {
        self.endpoint.call(context, Method::POST, path, Some(body)).await
    }

    /// A new guest's cart; for a signed-in user the cart the user already has, if there is one.
    pub async fn create_cart(&self, context: &Context) -> Result<Cart, CallError> {
        self.post(context, "/v1/carts", &Nothing {}).await
    }

    /// A cart with today's prices.
    pub async fn cart(&self, context: &Context, cart: CartId) -> Result<Cart, CallError> {
        self.get(context, &format!("/v1/carts/{cart}")).await
    }

    /// Sets how many of `sku` are in the cart; 0 removes it.
    pub async fn set_line(
        &self,
        context: &Context,
        cart: CartId,
        sku: &str,
        quantity: i64,
    ) -> Result<Cart, CallError> {
        let path = format!("/v1/carts/{cart}/lines/{}", segment(sku));
        self.endpoint.call(context, Method::PUT, &path, Some(&SetQuantity { quantity })).await
    }

    /// Puts a promotion on the cart; a code that does not apply is `promotion_invalid`.
    pub async fn apply_promotion(
        &self,
        context: &Context,
        cart: CartId,
        code: &str,
    ) -> Result<Cart, CallError> {
        let body = ApplyPromotion { code: code.to_owned() };
        self.post(context, &format!("/v1/carts/{cart}/promotion"), &body).await
    }

    /// Takes the promotion off the cart.
    pub async fn remove_promotion(&self, context: &Context, cart: CartId) -> Result<Cart, CallError> {
        self.endpoint.call(context, Method::DELETE, &format!("/v1/carts/{cart}/promotion"), NO_BODY).await
    }

    /// Makes a guest's cart the signed-in user's; what the user already had is added to it.
    pub async fn merge_cart(&self, context: &Context, cart: CartId) -> Result<Cart, CallError> {
        self.post(context, &format!("/v1/carts/{cart}/merge"), &Nothing {}).await
    }

    /// Places an order. The same `key` with the same request places it once, however often it is sent.
    pub async fn place(
        &self,
        context: &Context,
        request: &PlaceOrder,
        key: &str,
        respond_async: bool,
    ) -> Result<Placed, CallError> {
        let mut headers = vec![("idempotency-key", key)];
        if respond_async {
            headers.push(("prefer", "respond-async"));
        }
        let (status, order) =
            self.endpoint.call_with(context, Method::POST, "/v1/orders", Some(request), &headers).await?;
        Ok(Placed { status, order })
    }

    /// One order; a guest's needs its `access_token`.
    pub async fn order(
        &self,
        context: &Context,
        order: OrderId,
        token: Option<&str>,
    ) -> Result<Order, CallError> {
        self.get(context, &guarded(&format!("/v1/orders/{order}"), token)).await
    }

    /// The signed-in user's orders, newest first.
    pub async fn orders(&self, context: &Context, filter: &OrderFilter) -> Result<Page<Order>, CallError> {
        self.get(context, &with_query("/v1/orders", filter)?).await
    }

    /// What happened to an order.
    pub async fn events(
        &self,
        context: &Context,
        order: OrderId,
        token: Option<&str>,
    ) -> Result<Page<OrderEvent>, CallError> {
        self.get(context, &guarded(&format!("/v1/orders/{order}/events"), token)).await
    }

    /// What happens to an order, as server-sent events after `last_event_id`; ends when the order does.
    pub async fn stream(
        &self,
        context: &Context,
        order: OrderId,
        token: Option<&str>,
        last_event_id: Option<&str>,
    ) -> Result<Response<Body>, CallError> {
        let mut request = Request::get(guarded(&format!("/v1/orders/{order}/stream"), token));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let request = request.body(Body::empty()).map_err(|error| CallError::Refused(error.to_string()))?;
        self.endpoint.send(context, request).await
    }

    /// Cancels an order that was not shipped yet.
    pub async fn cancel(
        &self,
        context: &Context,
        order: OrderId,
        token: Option<&str>,
        reason: Option<&str>,
    ) -> Result<Order, CallError> {
        let body = Cancel { reason: reason.map(str::to_owned) };
        self.post(context, &guarded(&format!("/v1/orders/{order}/cancel"), token), &body).await
    }

    /// The key to a guest's order, for links in mails. Internal.
    pub async fn access(&self, context: &Context, order: OrderId) -> Result<Access, CallError> {
        self.get(context, &format!("/internal/v1/orders/{order}/access")).await
    }

    /// Staff: orders, newest first.
    pub async fn admin_orders(
        &self,
        context: &Context,
        filter: &OrderFilter,
    ) -> Result<Page<Order>, CallError> {
        self.get(context, &with_query("/v1/admin/orders", filter)?).await
    }

    /// Staff: one order with its events and sagas.
    pub async fn admin_order(&self, context: &Context, order: OrderId) -> Result<AdminOrder, CallError> {
        self.get(context, &format!("/v1/admin/orders/{order}")).await
    }

    /// Staff: the order is packed.
    pub async fn pack(&self, context: &Context, order: OrderId) -> Result<Order, CallError> {
        self.post(context, &format!("/v1/admin/orders/{order}/pack"), &Nothing {}).await
    }

    /// Staff: the parcel left.
    pub async fn ship(
        &self,
        context: &Context,
        order: OrderId,
        tracking: Option<&str>,
    ) -> Result<Order, CallError> {
        let body = Ship { tracking: tracking.map(str::to_owned) };
        self.post(context, &format!("/v1/admin/orders/{order}/ship"), &body).await
    }

    /// Staff: the parcel arrived.
    pub async fn deliver(&self, context: &Context, order: OrderId) -> Result<Order, CallError> {
        self.post(context, &format!("/v1/admin/orders/{order}/deliver"), &Nothing {}).await
    }

    /// Staff: gives money back.
    pub async fn refund(
        &self,
        context: &Context,
        order: OrderId,
        refund: &Refund,
    ) -> Result<Order, CallError> {
        self.post(context, &format!("/v1/admin/orders/{order}/refund"), refund).await
    }

    /// Staff: cancels an order that was not shipped yet.
    pub async fn admin_cancel(
        &self,
        context: &Context,
        order: OrderId,
        reason: Option<&str>,
    ) -> Result<Order, CallError> {
        let body = Cancel { reason: reason.map(str::to_owned) };
        self.post(context, &format!("/v1/admin/orders/{order}/cancel"), &body).await
    }

    /// Staff: makes the projection again from the events; a dry run only compares.
    pub async fn rebuild(
        &self,
        context: &Context,
        order: OrderId,
        dry_run: bool,
    ) -> Result<Rebuilt, CallError> {
        let path = format!("/v1/admin/orders/{order}/rebuild?dry_run={dry_run}");
        self.post(context, &path, &Nothing {}).await
    }

    /// Staff: all promotions.
    pub async fn promotions(&self, context: &Context) -> Result<Page<Promotion>, CallError> {
        self.get(context, "/v1/admin/promotions").await
    }

    /// Staff: one promotion.
    pub async fn promotion(&self, context: &Context, code: &str) -> Result<Promotion, CallError> {
        self.get(context, &format!("/v1/admin/promotions/{}", segment(code))).await
    }

    /// Staff: a new promotion.
    pub async fn create_promotion(
        &self,
        context: &Context,
        promotion: &SavePromotion,
    ) -> Result<Promotion, CallError> {
        self.post(context, "/v1/admin/promotions", promotion).await
    }

    /// Staff: changes a promotion; its code stays.
    pub async fn update_promotion(
        &self,
        context: &Context,
        promotion: &SavePromotion,
    ) -> Result<Promotion, CallError> {
        let path = format!("/v1/admin/promotions/{}", segment(&promotion.code));
        self.endpoint.call(context, Method::PUT, &path, Some(promotion)).await
    }

    /// Staff: no longer offers a promotion. Orders that used it keep it.
    pub async fn end_promotion(&self, context: &Context, code: &str) -> Result<Promotion, CallError> {
        let path = format!("/v1/admin/promotions/{}", segment(code));
        self.endpoint.call(context, Method::DELETE, &path, NO_BODY).await
    }

    /// Staff: sagas, the latest first.
    pub async fn sagas(&self, context: &Context, filter: &SagaFilter) -> Result<Page<Saga>, CallError> {
        self.get(context, &with_query("/v1/admin/sagas", filter)?).await
    }

    /// Staff: the sagas of one order, with their logs.
    pub async fn order_sagas(&self, context: &Context, order: OrderId) -> Result<Page<Saga>, CallError> {
        self.get(context, &format!("/v1/admin/sagas/{order}")).await
    }

    /// Staff: tries a stuck or waiting saga again now.
    pub async fn retry_saga(
        &self,
        context: &Context,
        order: OrderId,
        reason: Option<&str>,
    ) -> Result<Saga, CallError> {
        let body = SagaAction { reason: reason.map(str::to_owned) };
        self.post(context, &format!("/v1/admin/sagas/{order}/retry"), &body).await
    }

    /// Staff: gives the order up and undoes what was done; before the pivot only.
    pub async fn compensate_saga(
        &self,
        context: &Context,
        order: OrderId,
        reason: Option<&str>,
    ) -> Result<Saga, CallError> {
        let body = SagaAction { reason: reason.map(str::to_owned) };
        self.post(context, &format!("/v1/admin/sagas/{order}/compensate"), &body).await
    }

    /// Staff: the figures of the first page.
    pub async fn dashboard(&self, context: &Context) -> Result<Dashboard, CallError> {
        self.get(context, "/v1/admin/orders/dashboard").await
    }
}

fn guarded(path: &str, token: Option<&str>) -> String {
    token.map_or_else(|| path.to_owned(), |token| format!("{path}?access_token={}", segment(token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_filter_asks_nothing() {
        assert_eq!(with_query("/v1/orders", &OrderFilter::default()).expect("flat"), "/v1/orders");
        let filter =
            OrderFilter { status: Some(Status::PaymentQueued), limit: Some(5), ..OrderFilter::default() };
        assert_eq!(
            with_query("/v1/orders", &filter).expect("flat"),
            "/v1/orders?status=payment_queued&limit=5"
        );
    }
}
