//! An order's events as they happen: server-sent events, from wherever the client left off to the end of the order.
//!
//! What is told within the process only wakes the stream; what it sends is read from the database, so it is the same
//! whichever process carries the order.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};

use super::api::{Token, for_customers};
use super::hub::Watch;
use super::orders::Orders;
use super::views;
use super::wire::OrderEvent;
use crate::http::{Context, Path, Problem, Query};
use crate::vocabulary::OrderId;

/// How often the database is looked into without being woken.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a browser waits before it asks again for an order that is at rest.
const ASK_AGAIN: Duration = Duration::from_secs(30);

struct Live {
    orders: Orders,
    order: OrderId,
    watch: Watch,
    after: i64,
    waiting: VecDeque<OrderEvent>,
    over: bool,
}

/// What happens to an order, as server-sent events after `Last-Event-ID`; ends when the order is at rest.
#[utoipa::path(
    get, path = "/v1/orders/{id}/stream", tag = "order",
    params(("id" = String, Path)),
    responses((status = 200, content_type = "text/event-stream"), (status = 204, description = "it is over"), (status = 404))
)]
pub(super) async fn stream(
    State(orders): State<Orders>,
    context: Context,
    Path(id): Path<OrderId>,
    Query(token): Query<Token>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let watch = orders.hub.watch(id);
    let owned = orders.visible(&context, id, token.access_token.as_deref()).await?;
    let after =
        headers.get("last-event-id").and_then(|value| value.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
    let waiting: VecDeque<_> = views::events(&orders.db, id, after).await?.into();
    if waiting.is_empty() && owned.order.status.is_terminal() {
        // Tells a browser not to ask again.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let live = Live { orders, order: id, watch, after, waiting, over: owned.order.status.is_settled() };
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(live.events()).keep_alive(keep_alive).into_response())
}

impl Live {
    fn events(self) -> impl Stream<Item = Result<axum::response::sse::Event, Infallible>> {
        stream::unfold(self, |mut live| async move {
            let event = live.next().await?;
            let seq = event.seq;
            live.after = live.after.max(seq);
            let last = live.over && live.waiting.is_empty();
            let mut sent =
                axum::response::sse::Event::default().id(seq.to_string()).event(event.kind.clone());
            if last {
                sent = sent.retry(ASK_AGAIN);
            }
            let sent = sent.json_data(for_customers(event)).unwrap_or_default();
            Some((Ok(sent), live))
        })
    }

    /// The next event; none when the order has come to rest and everything was sent.
    async fn next(&mut self) -> Option<OrderEvent> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            tokio::select! {
                () = self.watch.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            self.look().await;
        }
    }

    /// Where the order stands is read first: whatever happened until then is among the events read after it.
    async fn look(&mut self) {
        let owned = views::one(&self.orders.db, self.order).await;
        match views::events(&self.orders.db, self.order, self.after).await {
            Ok(events) => {
                self.waiting = events.into();
                self.over = owned.ok().flatten().is_some_and(|owned| owned.order.status.is_settled());
            }
            Err(error) => tracing::warn!(order_id = %self.order, %error, "could not read an order's events"),
        }
    }
}
