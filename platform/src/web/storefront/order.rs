//! One order with its live timeline, and the list of a user's orders.

use askama::Template;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{Page as List, PageQuery, Path, Problem, Query};
use crate::vocabulary::{OrderId, Timestamp};
use crate::web::failure::full_sentence;
use crate::web::page::{self, Page, Tone, redirect};
use crate::web::shop::query;
use crate::web::view::{Moment, Order, OrderRow, STREAMED_EVENTS};
use crate::web::visit::{Form, Visit};

#[derive(Template)]
#[template(path = "storefront/order.html")]
struct OrderPage {
    page: Page,
    order: Order,
    events: Vec<Moment>,
    event_names: String,
}

#[derive(Template)]
#[template(path = "storefront/progress.html")]
struct Progress {
    order: Order,
    events: Vec<Moment>,
}

#[derive(Template)]
#[template(path = "storefront/orders.html")]
struct History {
    page: Page,
    orders: Vec<OrderRow>,
    next: Option<String>,
}

/// An event as the order service tells it.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::web) struct WireEvent {
    pub(in crate::web) seq: i64,
    #[serde(rename = "type")]
    pub(in crate::web) kind: String,
    pub(in crate::web) at: Timestamp,
    #[serde(default)]
    pub(in crate::web) data: Value,
}

impl WireEvent {
    /// As pages show it.
    pub(in crate::web) fn moment(&self) -> Moment {
        Moment::new(self.seq, &self.kind, self.at, &self.data)
    }
}

/// A guest's link, as it stands in a mail.
#[derive(Debug, Default, Deserialize)]
pub(super) struct GuestLink {
    access_token: Option<String>,
}

/// `GET /orders/{id}`
pub(super) async fn order(
    visit: Visit,
    Path(id): Path<OrderId>,
    Query(link): Query<GuestLink>,
) -> Result<Response, Problem> {
    if let Some(key) = link.access_token {
        // Out of the address bar, so that it is neither shared nor logged by accident.
        visit.keep_order_key(&id.to_string(), &key);
        return Ok(redirect(&format!("/orders/{id}")));
    }
    let (order, events) = read(&visit, id).await?;
    let page = visit.shop_page(&format!("Order {}", order.number)).await;
    let event_names = STREAMED_EVENTS.join(" ");
    Ok(visit.show(&OrderPage { page, order, events, event_names }))
}

/// `GET /orders/{id}/progress`: the moving part by itself.
pub(super) async fn progress(visit: Visit, Path(id): Path<OrderId>) -> Result<Response, Problem> {
    let (order, events) = read(&visit, id).await?;
    let mut response = page::html(StatusCode::OK, &Progress { order, events });
    response.headers_mut().insert("x-fragment", HeaderValue::from_static("progress"));
    Ok(response)
}

/// `GET /orders/{id}/stream`: the order service's own stream, for a browser that has cookies and no header.
pub(super) async fn stream(
    visit: Visit,
    Path(id): Path<OrderId>,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let path = format!("/v1/orders/{id}/stream{}", key_query(&visit, id));
    let mut response = visit.web.shop.stream(&visit.context, "order", &path, last).await?;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `POST /orders/{id}/cancel`
pub(super) async fn cancel(
    visit: Visit,
    Path(id): Path<OrderId>,
    Form(_): Form,
) -> Result<Response, Problem> {
    let path = format!("/v1/orders/{id}/cancel{}", key_query(&visit, id));
    let body = json!({ "reason": "asked for by the buyer" });
    let answer = visit.web.shop.send::<_, Value>(&visit.context, "order", Method::POST, &path, &body).await;
    match answer {
        Ok(_) => visit.say(Tone::Good, "We are cancelling this order."),
        Err(problem) if problem.status == 409 => visit.say(Tone::Bad, &full_sentence(&problem.detail)),
        Err(problem) => return Err(problem),
    }
    Ok(redirect(&format!("/orders/{id}")))
}

/// `GET /orders`
pub(super) async fn history(visit: Visit, Query(asked): Query<PageQuery>) -> Result<Response, Problem> {
    visit.signed_in()?;
    let path = format!("/v1/orders{}", query(&[("cursor", asked.cursor.as_deref().unwrap_or_default())]));
    let list: List<OrderRow> = visit.web.shop.get(&visit.context, "order", &path).await?;
    let next = list.next_cursor.map(|cursor| format!("/orders{}", query(&[("cursor", &cursor)])));
    let page = visit.shop_page("Your orders").await;
    Ok(visit.show(&History { page, orders: list.items, next }))
}

async fn read(visit: &Visit, id: OrderId) -> Result<(Order, Vec<Moment>), Problem> {
    let key = key_query(visit, id);
    let (order_path, events_path) = (format!("/v1/orders/{id}{key}"), format!("/v1/orders/{id}/events{key}"));
    let order: Order = visit.web.shop.get(&visit.context, "order", &order_path).await?;
    let events: List<WireEvent> = visit.web.shop.get(&visit.context, "order", &events_path).await?;
    Ok((order, events.items.iter().rev().map(WireEvent::moment).collect()))
}

fn key_query(visit: &Visit, id: OrderId) -> String {
    let key = visit.order_key(&id.to_string()).unwrap_or_default();
    query(&[("access_token", &key)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::view::order_for_tests;

    fn moments() -> Vec<Moment> {
        let at: Timestamp = "2026-11-14T14:02:00Z".parse().unwrap();
        ["gateway_unavailable", "stock_reserved", "order_placed"]
            .iter()
            .zip((1..=3).rev())
            .map(|(kind, seq)| Moment::new(seq, kind, at, &json!({})))
            .collect()
    }

    #[test]
    fn a_moving_order_is_streamed_and_a_finished_one_is_not() {
        let draw = |status| {
            let page = crate::web::page::tests::page("/orders/7");
            let order = order_for_tests(status);
            OrderPage { page, order, events: moments(), event_names: STREAMED_EVENTS.join(" ") }
                .render()
                .unwrap()
        };
        let moving = draw("payment_queued");
        assert!(moving.contains("data-stream=\"/orders/00000000-0000-0000-0000-000000000007/stream\""));
        assert!(moving.contains("We hold your items until 14:32 UTC"));
        assert!(moving.contains("Cancel this order"));
        crate::web::page::tests::assert_is_well_made(&moving);
        let over = draw("cancelled");
        assert!(!over.contains("data-stream=") && over.contains("data-final"));
        assert!(!over.contains("Cancel this order"));
    }

    #[test]
    fn no_orders_is_said_kindly() {
        let page = crate::web::page::tests::page("/orders");
        let html = History { page, orders: vec![], next: None }.render().unwrap();
        assert!(html.contains("No orders yet"));
    }
}
