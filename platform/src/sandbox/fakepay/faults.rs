//! Bad days on request: what goes wrong, how often, for how many calls.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::vocabulary::Env;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultMode {
    /// Nothing.
    #[default]
    None,
    /// Nobody listens at the shop's own door. At the public one, and there too when only a share or a number of the
    /// calls is concerned, connections are cut before anything is read.
    Refuse,
    /// Requests are taken and never answered; nothing happens.
    Blackhole,
    /// 500, nothing happens, and the key replays the 500.
    Error,
    /// A change is not done, and not answered.
    TimeoutBefore,
    /// A change is done, and not answered. Its replay is.
    TimeoutAfter,
    /// The bank says no.
    Decline,
    /// Every event is delivered twice.
    DuplicateWebhook,
    /// Every event is delivered before the answer.
    EarlyWebhook,
    /// No event is delivered.
    LostWebhook,
}

/// The fault that is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub mode: FaultMode,
    /// For which share of the calls, 0 to 1.
    #[serde(default = "always")]
    pub rate: f64,
    /// For how many calls; until it is cleared when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Every answer comes so much later; for the modes that never answer, when the connection is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
}

const fn always() -> f64 {
    1.0
}

impl Default for Fault {
    fn default() -> Self {
        Self { mode: FaultMode::None, rate: 1.0, count: None, latency_ms: None }
    }
}

/// The switch.
#[derive(Debug)]
pub(super) struct Faults {
    env: Env,
    fault: Mutex<Fault>,
    /// Counts every turn of the switch, so that whoever hangs lets go when the fault is cleared.
    turned: watch::Sender<u64>,
}

impl Faults {
    pub(super) fn new(env: Env) -> Self {
        Self { env, fault: Mutex::default(), turned: watch::Sender::new(0) }
    }

    pub(super) fn current(&self) -> Fault {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        self.turned.send_modify(|turns| *turns += 1);
    }

    /// Whether nobody is let in at all.
    pub(super) fn is_shut(&self) -> bool {
        let fault = self.current();
        fault.mode == FaultMode::Refuse && fault.rate >= 1.0 && fault.count.is_none()
    }

    /// Every turn of the switch from now on.
    pub(super) fn turns(&self) -> watch::Receiver<u64> {
        self.turned.subscribe()
    }

    /// What goes wrong with this call, if it is one that the fault `concerns`; counts it.
    pub(super) fn strike(&self, concerns: impl Fn(FaultMode) -> bool) -> FaultMode {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if fault.mode == FaultMode::None || fault.count == Some(0) || !concerns(fault.mode) {
            return FaultMode::None;
        }
        if fault.rate < 1.0 && self.env.fraction() >= fault.rate {
            return FaultMode::None;
        }
        if let Some(count) = &mut fault.count {
            *count -= 1;
        }
        fault.mode
    }

    /// Keeps the caller waiting until the fault is turned, or its `latency_ms` (30 s when absent) is over.
    pub(super) async fn hang(&self) {
        let latency = self.current().latency_ms.map_or(Duration::from_secs(30), Duration::from_millis);
        let mut turned = self.turned.subscribe();
        tokio::select! {
            _ = turned.changed() => {}
            () = tokio::time::sleep(latency) => {}
        }
    }

    /// Waits for as long as every answer is delayed.
    pub(super) async fn delay(&self) {
        let fault = self.current();
        let hangs =
            matches!(fault.mode, FaultMode::Blackhole | FaultMode::TimeoutBefore | FaultMode::TimeoutAfter);
        if let Some(latency) = fault.latency_ms.filter(|_| !hangs) {
            tokio::time::sleep(Duration::from_millis(latency)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_as_often_as_it_was_told() {
        let faults = Faults::new(Env::system());
        faults.set(Fault { mode: FaultMode::Error, count: Some(2), ..Fault::default() });
        let struck = |_: u32| faults.strike(|_| true) == FaultMode::Error;
        assert_eq!((0..5).map(struck).filter(|struck| *struck).count(), 2);
        faults.set(Fault { mode: FaultMode::Error, rate: 0.0, ..Fault::default() });
        assert_eq!(faults.strike(|_| true), FaultMode::None);
        faults.set(Fault { mode: FaultMode::Decline, ..Fault::default() });
        assert_eq!(faults.strike(|mode| mode == FaultMode::Error), FaultMode::None);
    }
}
