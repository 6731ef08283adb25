//! How the loops of the bus wait: after a failure, and between sweeps.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::storage::{Batch, Db, StorageError};
use crate::vocabulary::Env;

/// How many rows one batch of a sweep deletes.
pub(super) const SWEEP_ROWS: i64 = 500;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Doubles with each failure in a row, with jitter; forgets at the first success.
#[derive(Debug)]
pub(super) struct Pause {
    next: Duration,
}

impl Pause {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    pub(super) fn after_success(&mut self) {
        self.next = FIRST;
    }

    /// Waits, or returns at once when `stop` is cancelled.
    pub(super) async fn after_failure(&mut self, env: &Env, stop: &CancellationToken) {
        let pause = self.next / 2 + env.jitter(self.next / 2);
        self.next = (self.next * 2).min(LONGEST);
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Now and every `interval`, writes the batch that `sweep` makes for as long as it finds [`SWEEP_ROWS`] rows to
/// delete: in small bites, so that nobody waits behind a big one. Until `stop` is cancelled.
pub(super) async fn sweep_every(
    interval: Duration,
    db: &Db,
    stop: &CancellationToken,
    sweep: impl Fn() -> Batch,
) {
    while !stop.is_cancelled() {
        match db.write(sweep()).await.map(|touched| touched.iter().sum::<u64>()) {
            Ok(touched) if touched >= SWEEP_ROWS.unsigned_abs() => continue,
            Ok(_) => {}
            Err(StorageError::Unavailable(_)) => {}
            Err(error) => tracing::warn!(%error, "could not sweep"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(interval) => {}
        }
    }
}
