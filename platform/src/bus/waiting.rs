//! How the loops of the bus wait after a failure.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::vocabulary::Env;

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
