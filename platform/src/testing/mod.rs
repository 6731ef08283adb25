//! For tests only: a shop, or a piece of one, on an engine of its own.

pub mod postgres;
mod shop;

pub use shop::TestShop;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::bus::{self, Bus, QueueSpec};
use crate::capabilities::Capabilities;
use crate::config::ShopConfig;
use crate::http::{Endpoint, HttpClient};
use crate::secrets::Secrets;
use crate::services::{SERVICES, Service};
use crate::storage::{Db, Migration};
use crate::telemetry::Telemetry;
use crate::vocabulary::Env;

/// Capabilities on an embedded database in a folder of their own, which goes when this is dropped.
pub struct TestCapabilities {
    /// What services are mounted with.
    pub capabilities: Capabilities,
    folder: TempDir,
}

impl TestCapabilities {
    /// The folder that holds the data.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}

/// Capabilities for `services` (their tables are migrated) on SQLite in a temporary folder, with `env`'s time
/// and ids.
///
/// # Panics
/// When the folder or the database cannot be made: a test cannot go on.
pub async fn capabilities(env: Env, services: &[Service]) -> TestCapabilities {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = ShopConfig::local(folder.path().to_owned());
    let db = Db::open(&config.engine).await.expect("an embedded database");
    let capabilities = capabilities_on(env, config, db, services).await;
    TestCapabilities { capabilities, folder }
}

/// Capabilities for `services` on a database of the caller's (PostgreSQL, or an engine that fails on demand).
///
/// # Panics
/// When the database cannot be migrated: a test cannot go on.
pub async fn capabilities_on(env: Env, mut config: ShopConfig, db: Db, services: &[Service]) -> Capabilities {
    config.user.bcrypt_cost = 4;
    let migrations: Vec<Migration> = bus::MIGRATIONS
        .iter()
        .chain(services.iter().flat_map(|service| service.migrations))
        .copied()
        .collect();
    let queues: Vec<QueueSpec> = services.iter().flat_map(|service| service.queues).copied().collect();
    db.migrate(&migrations, &env).await.expect("migrated");
    let endpoints = SERVICES
        .iter()
        .chain(services)
        .map(|service| (service.manifest.name, Endpoint::in_process(service.manifest.name)))
        .collect::<HashMap<_, _>>();
    Capabilities {
        secrets: Arc::new(Secrets::generate(&env)),
        bus: Bus::embedded(db.clone(), env.clone(), &queues),
        db,
        http: HttpClient::new(Duration::from_secs(1)),
        telemetry: Telemetry::new(),
        endpoints: Arc::new(endpoints),
        provider_url: "http://127.0.0.1:1".into(),
        control_url: "http://127.0.0.1:1".into(),
        config: Arc::new(config),
        env,
    }
}
