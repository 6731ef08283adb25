//! One order with its live timeline, and the list of a user's orders.

use askama::Template;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;

use crate::http::address::query;
use crate::http::{CallError, PageQuery, Path, Problem, Query};
use crate::services::order::client::OrderFilter;
use crate::vocabulary::OrderId;
use crate::web::failure::full_sentence;
use crate::web::page::{self, Page, Tone, redirect};
use crate::web::view::{Moment, OrderView, STREAMED_EVENTS};
use crate::web::visit::{Form, Visit};

#[derive(Template)]
#[template(path = "storefront/order.html")]
struct OrderPage {
    page: Page,
    order: OrderView,
    events: Vec<Moment>,
    event_names: String,
}

#[derive(Template)]
#[template(path = "storefront/progress.html")]
struct Progress {
    order: OrderView,
    events: Vec<Moment>,
}

#[derive(Template)]
#[template(path = "storefront/orders.html")]
struct History {
    page: Page,
    orders: Vec<OrderView>,
    next: Option<String>,
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
    let key = visit.order_key(&id.to_string());
    let mut response = visit.web.orders.stream(&visit.context, id, key.as_deref(), last).await?;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `POST /orders/{id}/cancel`
pub(super) async fn cancel(
    visit: Visit,
    Path(id): Path<OrderId>,
    Form(_): Form,
) -> Result<Response, Problem> {
    let key = visit.order_key(&id.to_string());
    let reason = Some("cancelled by the customer");
    match visit.web.orders.cancel(&visit.context, id, key.as_deref(), reason).await {
        Ok(_) => visit.say(Tone::Good, "We are cancelling this order."),
        Err(CallError::Problem(problem)) if problem.status == 409 => {
            visit.say(Tone::Bad, &full_sentence(&problem.detail));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(redirect(&format!("/orders/{id}")))
}

/// `GET /orders`
pub(super) async fn history(visit: Visit, Query(asked): Query<PageQuery>) -> Result<Response, Problem> {
    visit.signed_in()?;
    let filter = OrderFilter { cursor: asked.cursor, ..OrderFilter::default() };
    let list = visit.web.orders.orders(&visit.context, &filter).await?;
    let next = list.next_cursor.map(|cursor| format!("/orders{}", query(&[("cursor", &cursor)])));
    let orders = list.items.into_iter().map(OrderView).collect();
    let page = visit.shop_page("Your orders").await;
    Ok(visit.show(&History { page, orders, next }))
}

/// The order and what happened to it, newest first.
async fn read(visit: &Visit, id: OrderId) -> Result<(OrderView, Vec<Moment>), Problem> {
    let key = visit.order_key(&id.to_string());
    let order = visit.web.orders.order(&visit.context, id, key.as_deref()).await?;
    let events = visit.web.orders.events(&visit.context, id, key.as_deref()).await?;
    Ok((OrderView(order), events.items.iter().rev().map(Moment::new).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::order::client::{OrderEvent, Status};
    use crate::vocabulary::Timestamp;
    use crate::web::view::order_for_tests;
    use serde_json::json;

    fn moments() -> Vec<Moment> {
        let at: Timestamp = "2026-11-14T14:02:00Z".parse().unwrap();
        let event = |kind: &str, seq| OrderEvent { seq, kind: kind.into(), at, actor: None, data: json!({}) };
        ["payment_queued", "stock_reserved", "order_placed"]
            .iter()
            .zip((1..=3).rev())
            .map(|(kind, seq)| Moment::new(&event(kind, seq)))
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
        let moving = draw(Status::PaymentQueued);
        assert!(moving.contains("data-stream=\"/orders/00000000-0000-0000-0000-000000000007/stream\""));
        assert!(moving.contains("We hold your items until 14:32 UTC"));
        assert!(moving.contains("Cancel this order"));
        crate::web::page::tests::assert_is_well_made(&moving);
        let over = draw(Status::Cancelled);
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
