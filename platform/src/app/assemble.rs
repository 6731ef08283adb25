//! Capabilities from configuration, services onto capabilities.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::fate::fated;
use super::running::Stops;
use super::{gauges, memory};
use crate::bus::{self, Bus, Relay};
use crate::capabilities::Capabilities;
use crate::config::ShopConfig;
use crate::gateway::{Face, Gateway};
use crate::http::{Addresses, Endpoint, HttpClient, standing};
use crate::secrets::Secrets;
use crate::services::{Job, SERVICES, Service};
use crate::storage::{Db, Migration};
use crate::telemetry::Telemetry;
use crate::vocabulary::Env;
use crate::web;

/// How long a call to a sibling behind a URL may take.
const SIBLING_TIMEOUT: Duration = Duration::from_secs(10);

/// Every migration of the shop: the bus first, then the services in their list's order.
pub(super) fn migrations() -> Vec<Migration> {
    let services = SERVICES.iter().flat_map(|service| service.migrations);
    bus::MIGRATIONS.iter().chain(services).copied().collect()
}

/// What the capabilities are built from.
pub(super) struct Ground {
    pub(super) env: Env,
    pub(super) config: ShopConfig,
    pub(super) secrets: Arc<Secrets>,
    pub(super) db: Db,
    pub(super) telemetry: Telemetry,
    pub(super) provider_url: Arc<str>,
    pub(super) control_url: Arc<str>,
}

/// The services of this process on their capabilities.
pub(super) struct Assembly {
    pub(super) capabilities: Capabilities,
    local: Vec<Service>,
    /// Each local service's router, by name.
    routers: Vec<(&'static str, Router)>,
    pub(super) openapi: Vec<utoipa::openapi::OpenApi>,
    jobs: Vec<Job>,
}

impl Assembly {
    /// Capabilities on `ground` for the services in `local`; the others are behind `peers`, or on this machine at the
    /// manifest's port.
    pub(super) fn new(
        ground: Ground,
        local: Vec<Service>,
        peers: &HashMap<String, Addresses>,
    ) -> anyhow::Result<Self> {
        let Ground { env, config, secrets, db, telemetry, provider_url, control_url } = ground;
        let http = HttpClient::new(Duration::from_secs(1));
        let keyring = secrets.keyring()?;
        let endpoints = SERVICES.iter().map(|service| {
            let name = service.manifest.name;
            let endpoint = if local.iter().any(|own| own.manifest.name == name) {
                Endpoint::in_process(name)
            } else {
                let usual = || Addresses::from(&format!("http://127.0.0.1:{}", service.manifest.port));
                let addresses = peers.get(name).cloned().unwrap_or_else(usual);
                Endpoint::remote(name, addresses, http.clone(), keyring.clone(), env.clone(), SIBLING_TIMEOUT)
            };
            (name, endpoint)
        });
        let endpoints = Arc::new(endpoints.collect::<HashMap<_, _>>());
        let queues = SERVICES.iter().flat_map(|service| service.queues).copied().collect::<Vec<_>>();
        let capabilities = Capabilities {
            bus: Bus::embedded(db.clone(), env.clone(), &queues),
            config: Arc::new(config),
            secrets,
            db,
            http,
            telemetry,
            endpoints,
            provider_url,
            control_url,
            env,
        };
        Ok(Self { capabilities, local, routers: Vec::new(), openapi: Vec::new(), jobs: Vec::new() })
    }

    /// Builds every local service and lets its siblings find it. The process is ready when its storage answers.
    pub(super) async fn mount(&mut self) -> anyhow::Result<()> {
        let db = self.capabilities.db.clone();
        self.capabilities.telemetry.health().register("storage", move || {
            let db = db.clone();
            async move { db.read("SELECT 1 AS one", vec![]).await.map(drop).map_err(|error| error.to_string()) }
        });
        for service in &self.local {
            let mounted = (service.mount)(&self.capabilities).await?;
            let name = service.manifest.name;
            let router = fated(mounted.router, name, &self.capabilities.env);
            let router = self.capabilities.telemetry.observe(name, router);
            self.capabilities.endpoint(name).bind(router.clone());
            self.routers.push((name, router));
            self.openapi.push(mounted.openapi);
            self.jobs.extend(mounted.jobs);
        }
        Ok(())
    }

    /// Every local service as it answers on a listener of its own: with its health, its metrics, its version and its
    /// description.
    pub(super) fn alone(&self) -> impl Iterator<Item = (&'static str, Router)> {
        let telemetry = &self.capabilities.telemetry;
        self.routers.iter().zip(&self.openapi).map(|((name, router), document)| {
            (
                *name,
                router.clone().merge(standing::routes(
                    name,
                    telemetry,
                    true,
                    standing::described_by(document),
                )),
            )
        })
    }

    /// The gateway before the services, with the pages.
    pub(super) fn public_face(&self) -> Face {
        let gateway = Gateway::new(&self.capabilities, SERVICES);
        let pages = web::router(&self.capabilities, gateway.verify());
        gateway.face(pages, &self.openapi)
    }

    /// Starts what runs beside the requests: the services' jobs, a relay per outbox, and the gauges.
    pub(super) fn start_jobs(&mut self, stop: &Stops) -> (JoinSet<()>, JoinSet<()>) {
        let mut jobs = JoinSet::new();
        for job in self.jobs.drain(..) {
            jobs.spawn(supervise(job, self.capabilities.telemetry.clone(), stop.jobs.clone()));
        }
        jobs.spawn(gauges::watch(self.capabilities.clone(), stop.jobs.clone()));
        jobs.spawn(memory::watch(self.capabilities.clone(), stop.jobs.clone()));
        if let Some(url) = self.capabilities.config.telemetry.otlp_url.clone() {
            let exporter = self.capabilities.telemetry.clone();
            jobs.spawn(exporter.export(self.capabilities.http.clone(), url, stop.jobs.clone()));
        }
        let mut relays = JoinSet::new();
        for outbox in self.local.iter().filter_map(|service| service.outbox) {
            relays.spawn(Relay::new(&self.capabilities.bus, outbox).run(stop.relays.clone()));
        }
        (jobs, relays)
    }
}

/// Runs `job`; when it ends before it was told to, the process is no longer well and says so, so that whoever runs
/// it starts a new one.
async fn supervise(job: Job, telemetry: Telemetry, stop: CancellationToken) {
    let outcome = tokio::spawn((job.run)(stop.clone())).await;
    if stop.is_cancelled() {
        return;
    }
    let reason = outcome.err().map_or_else(|| "it returned".to_owned(), |error| error.to_string());
    tracing::error!(job = job.name, reason, "a job ended before it was told to");
    telemetry.health().give_up(format!("the job `{}` ended before it was told to: {reason}", job.name));
}
