//! Orders: find one, see what happened to it, send it on its way.

use askama::Template;
use axum::response::Response;
use serde::Deserialize;

use super::STAFF;
use crate::http::address::query;
use crate::http::{CallError, Path, Problem, Query};
use crate::services::order::client::{AdminOrder, Order, OrderFilter, PaymentStatus, Refund, Status};
use crate::vocabulary::{Money, OrderId, UserId};
use crate::web::failure::full_sentence;
use crate::web::page::{Page, Tone, redirect};
use crate::web::view::{Badge, Moment, OrderView};
use crate::web::visit::{Form, Visit};

#[derive(Template)]
#[template(path = "admin/orders.html")]
struct Orders {
    page: Page,
    q: String,
    status: String,
    statuses: Vec<(&'static str, String)>,
    orders: Vec<OrderView>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "admin/order.html")]
struct OrderPage {
    page: Page,
    order: OrderView,
    badges: Vec<Badge>,
    user_id: Option<UserId>,
    events: Vec<Moment>,
    can_pack: bool,
    can_ship: bool,
    can_deliver: bool,
    can_refund: bool,
    refundable: Money,
}

/// What a browser may ask of the list.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    status: String,
    cursor: Option<String>,
}

/// `GET /admin/orders`
pub(super) async fn list(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Problem> {
    visit.staff(STAFF)?;
    let q = asked.q.trim().to_owned();
    let status = asked.status.parse::<Status>().ok();
    let filter = OrderFilter {
        status,
        q: Some(q.clone()).filter(|q| !q.is_empty()),
        limit: Some(50),
        cursor: asked.cursor,
    };
    let list = visit.web.orders.admin_orders(&visit.context, &filter).await?;
    let status = status.map_or(String::new(), |status| status.as_str().to_owned());
    let next = list.next_cursor.map(|cursor| {
        format!("/admin/orders{}", query(&[("q", &q), ("status", &status), ("cursor", &cursor)]))
    });
    let statuses = Status::ALL.iter().map(|s| (s.as_str(), Badge::of_status(*s).words)).collect();
    let orders = list.items.into_iter().map(OrderView).collect();
    Ok(visit.show(&Orders { page: visit.page("Orders"), q, status, statuses, orders, next }))
}

/// `GET /admin/orders/{id}`
pub(super) async fn order(visit: Visit, Path(id): Path<OrderId>) -> Result<Response, Problem> {
    visit.staff(STAFF)?;
    let order = visit.web.orders.admin_order(&visit.context, id).await?;
    let page = visit.page(&format!("Order {}", order.order.number));
    Ok(visit.show(&draw(page, order)))
}

fn draw(page: Page, order: AdminOrder) -> OrderPage {
    let AdminOrder { order, user_id, events, .. } = order;
    let refundable = refundable(&order);
    let order = OrderView(order);
    OrderPage {
        page,
        badges: vec![order.badge(), order.payment_badge(), order.fulfilment_badge()],
        user_id,
        events: events.iter().rev().map(Moment::new).collect(),
        can_pack: order.status == Status::Confirmed,
        can_ship: order.status == Status::Fulfilling,
        can_deliver: order.status == Status::Shipped,
        // Before it is shipped, cancelling gives the money back and the goods too.
        can_refund: !refundable.is_zero()
            && matches!(order.status, Status::Shipped | Status::Delivered | Status::Closed),
        refundable,
        order,
    }
}

/// What was paid and not given back.
fn refundable(order: &Order) -> Money {
    let paid = matches!(order.payment_status, PaymentStatus::Captured | PaymentStatus::PartiallyRefunded);
    let left = order.total.checked_sub(order.refunded).ok().filter(|left| left.amount > 0);
    left.filter(|_| paid).unwrap_or(Money::zero(order.total.currency))
}

/// `POST /admin/orders/{id}/{act}`
pub(super) async fn act(
    visit: Visit,
    Path((id, act)): Path<(OrderId, String)>,
    Form(fields): Form,
) -> Result<Response, Problem> {
    visit.staff(STAFF)?;
    let (orders, context) = (&visit.web.orders, &visit.context);
    let reason = fields.optional("reason");
    let answer = match act.as_str() {
        "pack" => orders.pack(context, id).await,
        "ship" => orders.ship(context, id, fields.optional("tracking").as_deref()).await,
        "deliver" => orders.deliver(context, id).await,
        "cancel" => orders.admin_cancel(context, id, reason.as_deref()).await,
        "refund" => {
            let restock = fields.is_ticked("restock");
            let refund = Refund { amount: None, reason: reason.unwrap_or_default(), restock };
            orders.refund(context, id, &refund).await
        }
        _ => return Err(Problem::not_found("act")),
    };
    match answer {
        Ok(order) => {
            visit.say(Tone::Good, &format!("Done: {}.", Badge::of_status(order.status).words.to_lowercase()))
        }
        Err(CallError::Problem(problem)) if (400..500).contains(&problem.status) => {
            visit.say(Tone::Bad, &full_sentence(&problem.detail));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(redirect(&format!("/admin/orders/{id}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::view::order_for_tests;

    fn drawn(status: Status) -> String {
        let order =
            AdminOrder { order: order_for_tests(status).0, user_id: None, events: vec![], sagas: vec![] };
        draw(crate::web::page::tests::page("/admin/orders/7"), order).render().unwrap()
    }

    #[test]
    fn each_state_offers_the_next_act_and_no_other() {
        let acts = |html: &str| {
            ["pack", "ship", "deliver", "cancel", "refund"].map(|act| html.contains(&format!("/{act}\"")))
        };
        assert_eq!(acts(&drawn(Status::Confirmed)), [true, false, false, true, false]);
        assert_eq!(acts(&drawn(Status::Fulfilling)), [false, true, false, true, false]);
        assert_eq!(acts(&drawn(Status::Shipped)), [false, false, true, false, true]);
        assert_eq!(acts(&drawn(Status::Cancelled)), [false; 5]);
        crate::web::page::tests::assert_is_well_made(&drawn(Status::Shipped));
    }
}
