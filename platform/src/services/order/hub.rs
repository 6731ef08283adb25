//! Who waits for an order in this process: a buyer for the end of the checkout, a page for the next event.
//!
//! What is told here is only a hint that something is durable now. Whoever waits also looks at the database now and
//! then, because another process may carry the order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::idempotency::Answer;
use crate::vocabulary::OrderId;

/// The last that was told of an order.
#[derive(Clone, Debug, Default)]
pub(super) struct News {
    /// How many events it has.
    pub(super) seq: i64,
    /// What to answer the buyer, once the checkout is over.
    pub(super) answer: Option<Arc<Answer>>,
    /// Whether the order rests until the provider is back: nobody need wait for its end.
    pub(super) rests: bool,
}

/// The orders that somebody waits for. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Hub {
    watched: Arc<Mutex<HashMap<OrderId, watch::Sender<News>>>>,
}

/// Watches one order until it is dropped.
pub(super) struct Watch {
    hub: Hub,
    order: OrderId,
    news: watch::Receiver<News>,
}

impl Hub {
    /// Hears of `order` from now on.
    pub(super) fn watch(&self, order: OrderId) -> Watch {
        let mut watched = self.lock();
        let news = watched.entry(order).or_insert_with(|| watch::channel(News::default()).0).subscribe();
        Watch { hub: self.clone(), order, news }
    }

    /// Tells whoever waits for `order`.
    pub(super) fn tell(&self, order: OrderId, seq: i64, answer: Option<Arc<Answer>>, rests: bool) {
        if let Some(sender) = self.lock().get(&order) {
            sender.send_modify(|news| {
                news.seq = news.seq.max(seq);
                news.rests = rests;
                if answer.is_some() {
                    news.answer = answer;
                }
            });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<OrderId, watch::Sender<News>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Waits until the checkout's answer is told.
    pub(super) async fn answer(&mut self) -> Arc<Answer> {
        loop {
            if let Some(answer) = self.news.borrow_and_update().answer.clone() {
                return answer;
            }
            if self.news.changed().await.is_err() {
                // The hub never drops a sender that is watched; if it did, waiting would be the only honest answer.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until the checkout's answer is told, or that the order rests and its answer will take longer.
    pub(super) async fn answer_or_rest(&mut self) -> Option<Arc<Answer>> {
        loop {
            let news = self.news.borrow_and_update().clone();
            if news.answer.is_some() || news.rests {
                return news.answer;
            }
            self.changed().await;
        }
    }

    /// Waits until something is told that was not seen yet.
    pub(super) async fn changed(&mut self) {
        if self.news.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = self.hub.lock();
        // This one still counts as a receiver while it is dropped.
        if watched.get(&self.order).is_some_and(|sender| sender.receiver_count() <= 1) {
            watched.remove(&self.order);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_for_an_order_that_rests_is_told_at_once() {
        let hub = Hub::default();
        let order = uuid::Uuid::from_u128(1).into();
        let mut watch = hub.watch(order);
        hub.tell(order, 3, None, true);
        assert!(watch.answer_or_rest().await.is_none());
    }

    #[tokio::test]
    async fn an_order_is_forgotten_when_nobody_waits_for_it() {
        let hub = Hub::default();
        let order = uuid::Uuid::from_u128(1).into();
        let (mut one, two) = (hub.watch(order), hub.watch(order));
        hub.tell(order, 3, None, false);
        one.changed().await;
        drop(two);
        assert_eq!(hub.lock().len(), 1);
        hub.tell(order, 4, Some(Arc::new(Answer { status: 201, body: "{}".to_owned() })), false);
        assert_eq!(one.answer().await.status, 201);
        drop(one);
        assert!(hub.lock().is_empty());
    }
}
