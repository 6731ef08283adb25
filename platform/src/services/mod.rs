//! The services. Each owns its tables, its events and its API, and talks to a sibling only through that sibling's
//! client (`services/<name>/client.rs`).
//!
//! # Adding one
//! One folder `services/<name>/` with `mod.rs` (its [`Service`]), `api.rs` (routes), `model.rs` (pure rules),
//! `store.rs` (batches and reads), `client.rs` (what siblings may call), `reactions.rs` (what it does on others'
//! events), its migrations under `migrations/<name>/`, and one line in [`SERVICES`]. The gateway's routes, the
//! migrations, the operations page and the documentation follow from the list.

pub mod notification;
pub mod order;
pub mod payment;
pub mod product;
pub mod user;

use axum::Router;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::bus::QueueSpec;
use crate::capabilities::Capabilities;
use crate::manifest::Manifest;
use crate::storage::Migration;

/// A service as data.
#[derive(Clone, Copy)]
pub struct Service {
    /// Its public facts.
    pub manifest: Manifest,
    /// Its tables, oldest first.
    pub migrations: &'static [Migration],
    /// The queues it consumes.
    pub queues: &'static [QueueSpec],
    /// Its outbox table, when it tells events.
    pub outbox: Option<&'static str>,
    /// Builds it. Must not wait for siblings: they are mounted in any order.
    pub mount: fn(&Capabilities) -> BoxFuture<'static, anyhow::Result<Mounted>>,
}

/// A service that is built and not yet running.
pub struct Mounted {
    /// All its routes, public and internal. Handlers take [`crate::http::Context`]; internal ones
    /// [`crate::http::Internal`].
    pub router: Router,
    /// Its API, for `/openapi.json`.
    pub openapi: utoipa::openapi::OpenApi,
    /// What runs beside the requests: sweepers, consumers, saga workers. Relays of outboxes are started by `app`.
    pub jobs: Vec<Job>,
}

/// Something that runs until it is told to stop, then finishes what it holds and returns.
pub struct Job {
    /// Names it in logs: `order.saga`.
    pub name: &'static str,
    /// The work.
    pub run: Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send>,
}

impl Job {
    /// A job of `name`.
    pub fn new<F>(name: &'static str, run: impl FnOnce(CancellationToken) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self { name, run: Box::new(move |stop| Box::pin(run(stop))) }
    }
}

/// Every service of the shop.
pub const SERVICES: &[Service] =
    &[user::SERVICE, product::SERVICE, order::SERVICE, payment::SERVICE, notification::SERVICE];
