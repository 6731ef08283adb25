//! A shop that runs: what it is doing, and how it stops.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::memory;
use super::start::{Admin, Sandbox};
use crate::capabilities::Capabilities;
use crate::sandbox::fakepay::Fakepay;
use crate::telemetry::Telemetry;
use crate::vocabulary::Timestamp;

/// How long a stop may take in all.
const DRAIN_MAX: Duration = Duration::from_secs(25);
/// How long the last log lines may take to reach their file.
const LOG_FLUSH_MAX: Duration = Duration::from_secs(1);

/// The handle of a running shop. Dropping it stops nothing in an orderly way: call [`RunningShop::drain`].
pub struct RunningShop {
    /// What listens where: (role, base URL).
    pub addresses: Vec<(String, String)>,
    /// The admin, when this start made one or gave it a new password. Shown once, kept hashed.
    pub admin: Option<Admin>,
    /// The sandbox provider, when it runs in this process.
    pub sandbox: Option<Sandbox>,
    /// The demo promotion codes and what they give.
    pub promotions: Vec<(String, String)>,
    pub(super) fakepay: Option<Fakepay>,
    telemetry: Telemetry,
    capabilities: Option<Capabilities>,
    stop: Stops,
    listeners: JoinSet<()>,
    jobs: JoinSet<()>,
    relays: JoinSet<()>,
}

/// The order in which a shop stops.
#[derive(Clone, Debug, Default)]
pub(super) struct Stops {
    /// Readiness goes off and the listeners close; requests in flight end.
    pub(super) listeners: CancellationToken,
    /// Consumers, sweepers and saga workers finish what they hold and give their leases back.
    pub(super) jobs: CancellationToken,
    /// Relays send what the jobs' last batches left in the outboxes.
    pub(super) relays: CancellationToken,
}

/// One look at what the shop is doing, for the living line of `up`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Orders confirmed in the last minute.
    pub orders_per_minute: u64,
    /// Requests answered in the last minute.
    pub requests_per_minute: u64,
    /// Of these, with 500 or above.
    pub errors_per_minute: u64,
    /// Sagas between their beginning and their end.
    pub sagas_in_flight: i64,
}

impl RunningShop {
    pub(super) fn new(telemetry: Telemetry) -> Self {
        Self {
            addresses: Vec::new(),
            admin: None,
            sandbox: None,
            promotions: Vec::new(),
            fakepay: None,
            telemetry,
            capabilities: None,
            stop: Stops::default(),
            listeners: JoinSet::new(),
            jobs: JoinSet::new(),
            relays: JoinSet::new(),
        }
    }

    /// The shop, started: what only the start needed is given back.
    pub(super) fn with(
        self,
        capabilities: Capabilities,
        stop: Stops,
        listeners: JoinSet<()>,
        jobs: JoinSet<()>,
        relays: JoinSet<()>,
    ) -> Self {
        memory::give_back_the_program();
        Self { capabilities: Some(capabilities), stop, listeners, jobs, relays, ..self }
    }

    /// The base URL of the first role: the gateway's under `up`.
    #[must_use]
    pub fn url(&self) -> &str {
        self.addresses.first().map_or("", |(_, url)| url)
    }

    /// The sandbox provider's door for the shop beside it, when it runs in this process.
    #[must_use]
    pub fn own_provider_url(&self) -> Option<String> {
        self.fakepay.as_ref().map(Fakepay::own_url)
    }

    /// What the shop is doing now.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        let now = self.now();
        let mut vitals =
            Vitals { sagas_in_flight: self.telemetry.meters().sagas_inflight(), ..Vitals::default() };
        for point in self.telemetry.live().points(now) {
            if point.at_s + 60 > now.as_second() {
                vitals.orders_per_minute += point.orders;
                vitals.requests_per_minute += point.requests;
                vitals.errors_per_minute += point.errors;
            }
        }
        vitals
    }

    fn now(&self) -> Timestamp {
        self.capabilities.as_ref().map_or(Timestamp::UNIX_EPOCH, |capabilities| capabilities.env.now())
    }

    /// Skews the shop's clock by `seconds` against the system's; negative sets it back. For drills and tests: no
    /// promise rests on the clock, and this is how one sees that.
    pub fn skew_clock(&self, seconds: i64) {
        if let Some(capabilities) = &self.capabilities {
            capabilities.env.clock().skew(seconds.saturating_mul(1_000_000));
        }
    }

    /// Stops in order: not ready, listeners closed, requests finished, jobs finished, outboxes relayed, data closed.
    /// Answers whether all of it ended within 25 s; what did not is abandoned, and the next start resumes it.
    pub async fn drain(mut self) -> bool {
        let in_order = async {
            self.telemetry.health().set_up(false);
            self.stop.listeners.cancel();
            while self.listeners.join_next().await.is_some() {}
            self.stop.jobs.cancel();
            while self.jobs.join_next().await.is_some() {}
            self.stop.relays.cancel();
            while self.relays.join_next().await.is_some() {}
            if let Some(fakepay) = self.fakepay.take() {
                fakepay.drain().await;
            }
            if let Some(capabilities) = &self.capabilities {
                capabilities.db.close().await;
            }
        };
        tracing::info!("stopping");
        let finished = tokio::time::timeout(DRAIN_MAX, in_order).await.is_ok();
        tracing::info!(finished, "stopped");
        self.telemetry.logs().flush(LOG_FLUSH_MAX);
        finished
    }
}
