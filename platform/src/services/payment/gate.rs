//! The way to the provider: a breaker and a bulkhead for each group of operations.
//!
//! Taking and giving back have a breaker of their own, so that money that is held can still be taken while new
//! payments are refused, and the other way round.

use std::future::Future;
use std::time::Duration;

use super::model::Operation;
use super::provider::{Provider, ProviderAnswer};
use crate::resilience::breaker::{Breaker, BreakerConfig, CallHealth, Permit};
use crate::resilience::bulkhead::{Bulkhead, Place};
use crate::vocabulary::Env;

/// Calls under way at once, per group. What a hanging provider can hold.
const PLACES: usize = 128;
/// How long a call waits for a place.
const PATIENCE: Duration = Duration::from_millis(250);
/// A call that takes longer counts as failed, whatever it brings.
const SLOW: Duration = Duration::from_millis(1500);

/// A group of operations.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub(super) breaker: Breaker,
    bulkhead: Bulkhead,
}

/// The right to make one call.
#[derive(Debug)]
pub(super) struct Pass {
    held: Option<(Permit, Place)>,
}

/// Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turned {
    pub(super) retry_after: Duration,
}

/// The gates of a provider; none when there is no network between.
#[derive(Clone, Debug)]
pub(super) struct Gates {
    gates: Option<[Gate; 2]>,
}

impl Gates {
    pub(super) fn new(provider: &dyn Provider, timeout: Duration, env: &Env) -> Self {
        let gate = |name| Gate {
            breaker: Breaker::new(name, BreakerConfig::payment_provider(timeout), env.clone()),
            bulkhead: Bulkhead::new(PLACES, PATIENCE),
        };
        let names = ["stripe-authorize", "stripe-settle"];
        Self { gates: provider.is_remote().then(|| names.map(gate)) }
    }

    fn of(&self, operation: Operation) -> Option<&Gate> {
        let [authorize, settle] = self.gates.as_ref()?;
        Some(if operation == Operation::Authorize { authorize } else { settle })
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Gate] {
        self.gates.as_ref().map_or(&[], |gates| gates)
    }

    /// The right to make a call of `operation`.
    pub(super) async fn enter(&self, operation: Operation) -> Result<Pass, Turned> {
        let Some(gate) = self.of(operation) else { return Ok(Pass { held: None }) };
        let permit = gate.breaker.try_acquire().map_err(|open| Turned { retry_after: open.retry_after })?;
        match gate.bulkhead.enter().await {
            Ok(place) => Ok(Pass { held: Some((permit, place)) }),
            Err(_) => Err(Turned { retry_after: PATIENCE }),
        }
    }
}

impl Pass {
    /// Makes the call and tells the breaker how it went. A call that is slow is told while it still hangs, so that
    /// the breaker opens long before the first time-out.
    pub(super) async fn call(self, call: impl Future<Output = ProviderAnswer>) -> ProviderAnswer {
        let Some((mut permit, _place)) = self.held else { return call.await };
        let mut call = std::pin::pin!(call);
        let answer = tokio::select! {
            answer = &mut call => answer,
            () = tokio::time::sleep(SLOW) => {
                permit.is_slow();
                call.await
            }
        };
        permit.end(health(&answer));
        answer
    }
}

fn health(answer: &ProviderAnswer) -> CallHealth {
    match answer {
        // A failure that is replayed is an old one: whoever replays it is well.
        ProviderAnswer::Done(_) | ProviderAnswer::Declined { .. } | ProviderAnswer::FailedForGood { .. } => {
            CallHealth::Answered
        }
        ProviderAnswer::NotBegun { reached: true, .. } | ProviderAnswer::Unknown { reached: true, .. } => {
            CallHealth::Failed
        }
        ProviderAnswer::NotBegun { reached: false, .. } | ProviderAnswer::Unknown { reached: false, .. } => {
            CallHealth::Unreachable
        }
    }
}
