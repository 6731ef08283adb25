//! How many calls may wait for the same other side at once, so that one that hangs cannot fill the ship.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of places, and how long a call may wait for one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bulkhead {
    places: Arc<Semaphore>,
    patience: Duration,
}

/// No place became free in time; nothing was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many calls wait already")]
pub struct Crowded;

/// A place. Given back when dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Bulkhead {
    /// `places` calls at once; another waits `patience` for a place.
    #[must_use]
    pub fn new(places: usize, patience: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), patience }
    }

    /// A place, now or within the patience.
    pub async fn enter(&self) -> Result<Place, Crowded> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(Place { _permit: permit });
        }
        match tokio::time::timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place { _permit: permit }),
            Ok(Err(_)) | Err(_) => Err(Crowded),
        }
    }

    /// How many places are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.places.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_bulkhead_turns_away_after_its_patience() {
        let bulkhead = Bulkhead::new(1, Duration::from_millis(30));
        let held = bulkhead.enter().await.unwrap();
        assert_eq!(bulkhead.enter().await.unwrap_err(), Crowded);
        let (next, ()) = tokio::join!(bulkhead.enter(), async { drop(held) });
        assert!(next.is_ok(), "whoever waits gets the place that is given back");
    }
}
