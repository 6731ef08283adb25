//! Acts under way in this process: one at a time per order, and whoever asks the same act again waits with the first.
//!
//! This saves calls; it is no guard. What two processes do at once is settled by the tables' versions and the
//! provider's idempotency keys.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::client::PaymentResult;
use crate::http::Problem;
use crate::vocabulary::OrderId;

/// What an act came to, for all who wait for it.
pub(super) type Landing = Result<PaymentResult, Problem>;

#[derive(Debug)]
struct Flight {
    key: String,
    landing: watch::Sender<Option<Landing>>,
}

/// The acts under way. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Flights {
    under_way: Arc<Mutex<HashMap<OrderId, Flight>>>,
}

/// What came of asking to begin.
#[derive(Debug)]
pub(super) enum Boarding {
    /// Go ahead.
    Mine(Seat),
    /// The same act is under way: its outcome is this one's too.
    Twin(watch::Receiver<Option<Landing>>),
    /// Another act of the same order is under way: wait for its end, then ask again.
    Busy(watch::Receiver<Option<Landing>>),
}

/// The right to act for an order. Ends when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    flights: Flights,
    order_id: OrderId,
    landing: watch::Sender<Option<Landing>>,
}

impl Flights {
    pub(super) fn board(&self, order_id: OrderId, key: &str) -> Boarding {
        match self.lock().entry(order_id) {
            Entry::Occupied(taken) if taken.get().key == key => {
                Boarding::Twin(taken.get().landing.subscribe())
            }
            Entry::Occupied(taken) => Boarding::Busy(taken.get().landing.subscribe()),
            Entry::Vacant(free) => {
                let landing = watch::Sender::new(None);
                free.insert(Flight { key: key.to_owned(), landing: landing.clone() });
                Boarding::Mine(Seat { flights: self.clone(), order_id, landing })
            }
        }
    }

    /// The outcome of an act became known elsewhere: whoever waits for it here need not wait any longer.
    pub(super) fn tell(&self, order_id: OrderId, key: &str, result: &PaymentResult) {
        if let Some(flight) = self.lock().get(&order_id).filter(|flight| flight.key == key) {
            flight.landing.send_replace(Some(Ok(result.clone())));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<OrderId, Flight>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Hears what the act came to.
    pub(super) fn listen(&self) -> watch::Receiver<Option<Landing>> {
        self.landing.subscribe()
    }

    /// Whether anybody still waits to hear.
    pub(super) fn is_awaited(&self) -> bool {
        self.landing.receiver_count() > 0
    }

    /// The act ended; all who wait hear it. What was told from elsewhere stays.
    pub(super) fn land(self, landing: Landing) {
        self.landing.send_if_modified(|told| {
            let first = told.is_none();
            if first {
                *told = Some(landing);
            }
            first
        });
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.order_id);
    }
}

/// Waits for the end of a flight: `None` when it ended without a word.
pub(super) async fn landed(mut flight: watch::Receiver<Option<Landing>>) -> Option<Landing> {
    flight.wait_for(Option::is_some).await.ok().and_then(|landing| landing.clone())
}
