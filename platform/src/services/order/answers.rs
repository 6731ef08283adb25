//! What a buyer is answered: made once, stored, and given again to every twin and replay.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::events::Event;
use super::idempotency::Answer;
use super::status::{PaymentStatus, Status};
use super::store::Aggregate;
use super::wire::Order;
use crate::http::{Code, Problem};
use crate::vocabulary::OrderId;

/// The answer to a checkout that is over; `events` are the last that happened.
pub(super) fn settled(order: &Aggregate, events: &[Event]) -> Answer {
    let state = &order.state;
    if state.was_confirmed {
        return good(StatusCode::CREATED, &order.view());
    }
    let problem = match state.status {
        Status::Rejected => {
            let items = events.iter().find_map(|event| match event {
                Event::StockRejected { items } => Some(items),
                _ => None,
            });
            let items = serde_json::to_value(items).unwrap_or_default();
            Problem::new(Code::OutOfStock, "there is not enough in stock; the cart is as it was")
                .with("items", items)
        }
        _ if state.payment == PaymentStatus::Failed && state.status != Status::Expired => {
            let (code, message) = declined(events).unwrap_or(("declined", "the payment was declined"));
            Problem::new(Code::PaymentDeclined, message).with("decline_code", code)
        }
        _ => {
            let reason = state.reason.as_deref().unwrap_or("it was called off");
            Problem::new(Code::OrderStateConflict, format!("the order is {}: {reason}", state.status))
                .with("order_status", state.status.as_str())
        }
    };
    let problem = problem.with("order_id", order.id.to_string());
    Answer { status: problem.status, body: serde_json::to_string(&problem).unwrap_or_default() }
}

fn declined(events: &[Event]) -> Option<(&str, &str)> {
    events.iter().find_map(|event| match event {
        Event::PaymentDeclined { code, message } | Event::CaptureDeclined { code, message } => {
            Some((code.as_str(), message.as_str()))
        }
        _ => None,
    })
}

/// The answer to a checkout that goes on.
pub(super) fn accepted(order: &Order) -> Answer {
    good(StatusCode::ACCEPTED, order)
}

fn good(status: StatusCode, order: &Order) -> Answer {
    Answer { status: status.as_u16(), body: serde_json::to_string(order).unwrap_or_default() }
}

/// `answer` as a response. A guest's gets the order's access token, which is never stored.
pub(super) fn respond(answer: &Answer, order: OrderId, access_token: Option<&str>) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if !status.is_success() {
        return match serde_json::from_str::<Problem>(&answer.body) {
            Ok(problem) => problem.into_response(),
            Err(error) => Problem::internal(&error).into_response(),
        };
    }
    let mut body = answer.body.clone();
    if let (Some(token), Some('}')) = (access_token, body.pop()) {
        body.push_str(",\"access_token\":\"");
        body.push_str(token);
        body.push_str("\"}");
    } else {
        body.clone_from(&answer.body);
    }
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/orders/{order}")) {
        headers.insert(header::LOCATION, location);
    }
    response
}
