//! Users: accounts, sign-ins, sessions, roles and addresses.
//!
//! - [`model`] has the rules, [`store`] the tables, [`api`] the routes, [`client`] what others may call.
//! - [`hashing`] keeps bcrypt in its bounds, [`signing`] keeps the keys, [`tokens`] is how everybody verifies.
//! - [`seed`] makes the shop's own admin.

pub mod api;
pub mod client;
pub mod hashing;
pub mod model;
pub mod seed;
pub mod signing;
pub mod store;
pub mod tokens;

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

pub use seed::{ADMIN_EMAIL, generate_password, reset_admin, seed_admin};

use self::api::Users;
use self::hashing::Hashing;
use self::signing::Signing;
use self::store::Store;
use super::{Job, Mounted, Service};
use crate::capabilities::Capabilities;
use crate::manifest::{Manifest, Objective, Route, RouteClass};
use crate::message_tables;
use crate::storage::Migration;

/// The user service.
pub const SERVICE: Service = Service {
    manifest: Manifest {
        name: "user",
        about: "accounts, sign-ins, sessions, roles and addresses",
        port: 8081,
        routes: &[
            Route { prefix: "/v1/auth/login", class: RouteClass::Login },
            Route { prefix: "/v1/auth/register", class: RouteClass::Registration },
            Route { prefix: "/v1/auth", class: RouteClass::Read },
            Route { prefix: "/v1/me", class: RouteClass::Read },
            Route { prefix: "/v1/me/password", class: RouteClass::Login },
            Route { prefix: "/v1/admin/users", class: RouteClass::Admin },
            Route { prefix: "/v1/admin/signing-keys", class: RouteClass::Admin },
            Route { prefix: "/.well-known/jwks.json", class: RouteClass::Read },
        ],
        deprecated: &[],
        keyed: &[],
        needs: &[],
        objectives: &[
            Objective { name: "availability", ratio: 0.999, within: None },
            Objective { name: "latency", ratio: 0.95, within: Some(Duration::from_millis(400)) },
        ],
    },
    migrations: &[Migration {
        service: "user",
        version: 1,
        name: "accounts",
        sql: concat!(include_str!("../../../migrations/user/0001_accounts.sql"), message_tables!("user")),
        sqlite: "",
        postgres: "",
    }],
    queues: &[],
    outbox: Some(store::OUTBOX),
    mount,
};

/// How often the keys are read again: a twin of this process may have made a new one.
const KEYS_EVERY: Duration = Duration::from_secs(60);
const SWEEP_EVERY: Duration = Duration::from_secs(600);

fn mount(capabilities: &Capabilities) -> BoxFuture<'static, anyhow::Result<Mounted>> {
    let capabilities = capabilities.clone();
    Box::pin(async move {
        let config = &capabilities.config.user;
        let store = Store::new(capabilities.db.clone(), capabilities.bus.clone(), capabilities.env.clone());
        let life = config.access_token_life;
        let signing = Signing::load(store.clone(), &capabilities.env, &capabilities.secrets, life).await?;
        let users = Users {
            store: store.clone(),
            signing: signing.clone(),
            hashing: Hashing::new(config, &capabilities.telemetry),
            env: capabilities.env.clone(),
            access_token_life: life,
            refresh_token_life: config.refresh_token_life,
        };
        let jobs = vec![
            Job::new("user.keys", move |stop| keep_keys(signing, stop)),
            Job::new("user.sweep", move |stop| sweep(store, stop)),
        ];
        Ok(Mounted { router: api::router(users), openapi: api::openapi(), jobs })
    })
}

async fn keep_keys(signing: Signing, stop: CancellationToken) {
    while pause(KEYS_EVERY, &stop).await {
        if let Err(error) = signing.refresh().await {
            tracing::warn!(%error, "could not read the signing keys, will try again");
        }
    }
}

async fn sweep(store: Store, stop: CancellationToken) {
    while pause(SWEEP_EVERY, &stop).await {
        match store.sweep().await {
            Ok(rows) => tracing::debug!(rows, "forgot ended sessions and old sign-in attempts"),
            Err(error) => tracing::warn!(%error, "could not sweep, will try again"),
        }
    }
}

/// Answers false when it is time to stop.
async fn pause(length: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(length) => true,
    }
}
