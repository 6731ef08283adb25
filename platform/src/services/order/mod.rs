//! Carts, prices, checkout and orders.
//!
//! `order_events` is the truth, `order_orders` a projection of it that can be rebuilt and compared. What must happen
//! with the siblings (stock held, money moved) is carried by sagas, so that nothing is forgotten when a process dies.
//!
//! | To change | Look into |
//! |---|---|
//! | what may follow what | [`model`] (pure), [`events`], [`status`] |
//! | prices, tax, promotions | [`pricing`] (pure), `promotions` |
//! | placing an order, answering twice | `placing`, `idempotency`, `answers` |
//! | the checkout and its undoing | `sagas` (what is due), `checkout`, `compensation` |
//! | what is stored, what is read | `store` (events and projection), `views`; [`replay`] tells an order anew |
//! | routes | `api`, `admin`, `stream`; shapes in [`wire`] |

mod admin;
mod answers;
mod api;
mod carts;
mod checkout;
pub mod client;
mod compensation;
mod dashboard;
pub mod events;
mod hub;
mod idempotency;
pub mod model;
mod openapi;
mod orders;
mod placing;
pub mod pricing;
mod promotions;
mod reactions;
pub mod replay;
mod sagas;
pub mod status;
mod store;
mod stream;
mod views;
pub mod wire;

use std::sync::LazyLock;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

pub use promotions::DEMO_PROMOTIONS;
pub use sagas::steps as saga_steps;

use crate::capabilities::Capabilities;
use crate::manifest::{Manifest, Objective, Route, RouteClass};
use crate::saga::SagaLog;
use crate::services::{Job, Mounted, Service};
use crate::storage::{Migration, StorageError};

/// The version of the sagas that this binary begins and can carry on.
const SAGA_VERSION: i64 = 1;
/// How often orders are closed and old keys forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The order service.
pub const SERVICE: Service = Service {
    manifest: Manifest {
        name: "order",
        about: "carts, prices, checkout and orders",
        port: 8083,
        routes: &[
            Route { prefix: "/v1/carts", class: RouteClass::Read },
            Route { prefix: "/v1/orders", class: RouteClass::Checkout },
            Route { prefix: "/v1/admin/orders", class: RouteClass::Admin },
            Route { prefix: "/v1/admin/sagas", class: RouteClass::Admin },
            Route { prefix: "/v1/admin/promotions", class: RouteClass::Admin },
        ],
        deprecated: &[],
        keyed: &["/v1/orders"],
        needs: &["product", "payment"],
        objectives: &[
            Objective { name: "availability", ratio: 0.999, within: None },
            Objective { name: "latency", ratio: 0.95, within: Some(Duration::from_millis(200)) },
        ],
    },
    migrations: &[
        Migration {
            service: "order",
            version: 1,
            name: "orders",
            sql: include_str!("../../../migrations/order/0001_orders.sql"),
            sqlite: "",
            postgres: "",
        },
        Migration {
            service: "order",
            version: 2,
            name: "messages",
            sql: crate::message_tables!("order"),
            sqlite: "",
            postgres: "",
        },
        Migration {
            service: "order",
            version: 3,
            name: "narrow",
            sql: "",
            sqlite: include_str!("../../../migrations/order/0003_narrow_sqlite.sql"),
            postgres: include_str!("../../../migrations/order/0003_narrow_postgres.sql"),
        },
    ],
    queues: reactions::QUEUES,
    outbox: Some(store::OUTBOX_TABLE),
    mount,
};

/// The sagas' tables.
fn saga_log() -> &'static SagaLog {
    static LOG: LazyLock<SagaLog> = LazyLock::new(|| SagaLog::new("order_sagas", "order_saga_log"));
    &LOG
}

/// Puts the demo shop's promotions ([`DEMO_PROMOTIONS`]) in; what is there already stays as it is.
pub async fn seed(capabilities: &Capabilities) -> Result<(), StorageError> {
    capabilities.db.write(promotions::demo(capabilities.env.now())).await.map(drop)
}

fn mount(capabilities: &Capabilities) -> BoxFuture<'static, anyhow::Result<Mounted>> {
    let orders = orders::Orders::new(capabilities);
    Box::pin(async move {
        Ok(Mounted { router: api::routes(orders.clone()), openapi: openapi::document(), jobs: jobs(&orders) })
    })
}

fn jobs(orders: &orders::Orders) -> Vec<Job> {
    let (carrying, reacting, sweeping) = (orders.runner.clone(), orders.clone(), orders.clone());
    vec![
        Job::new("order.sagas", move |stop| carrying.run(stop)),
        Job::new("order.reactions", move |stop| async move {
            let handler = |event| reactions::react(&reacting, event);
            if let Err(error) = reacting.bus.consume(reactions::QUEUE, "order_inbox", stop, handler).await {
                tracing::error!(%error, "the order service no longer hears events");
            }
        }),
        Job::new("order.sweep", move |stop| sweep(sweeping, stop)),
    ]
}

async fn sweep(orders: orders::Orders, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        if let Err(error) = reactions::sweep(&orders).await {
            tracing::warn!(%error, "could not sweep orders, will try again");
        }
    }
}
