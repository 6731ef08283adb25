//! Payments: money is held, taken and given back through a provider, and every cent is in a double-entry ledger.
//!
//! - [`model`] has the rules, [`store`] the tables, `api` the routes, [`client`] what others may call.
//! - `cashier` does an act: intent, call, outcome. `flights` keeps one act at a time per order; `gate` is the breaker
//!   and the bulkhead in front of the provider. `resolver` finds out what is not known.
//! - `webhooks` believes, stores and thinks, in this order. `reconcile` lays our books beside the provider's.
//! - [`provider`] is who carries the money.
//!
//! An outcome is told as an event only when nobody waits to hear it as an answer: then it wakes the order's saga.

mod api;
mod cashier;
pub mod client;
mod flights;
mod gate;
pub mod model;
pub mod provider;
mod reconcile;
mod resolver;
pub mod store;
mod webhooks;

use std::time::Duration;

pub use self::reconcile::compare;
use futures_util::future::BoxFuture;

use self::api::Payments;
use self::cashier::Cashier;
use self::store::Store;
use self::webhooks::Letterbox;
use super::{Job, Mounted, Service};
use crate::capabilities::Capabilities;
use crate::manifest::{Manifest, Objective, Route, RouteClass};
use crate::message_tables;
use crate::storage::Migration;

/// The payment service.
pub const SERVICE: Service = Service {
    manifest: Manifest {
        name: "payment",
        about: "money held, taken and given back, with its ledger",
        port: 8084,
        routes: &[
            Route { prefix: "/v1/payments/webhooks", class: RouteClass::Webhook },
            Route { prefix: "/v1/admin/payments", class: RouteClass::Admin },
            Route { prefix: "/v1/admin/reconcile", class: RouteClass::Admin },
            Route { prefix: "/v1/admin/breakers", class: RouteClass::Admin },
        ],
        deprecated: &[],
        keyed: &[],
        needs: &[],
        objectives: &[
            Objective { name: "availability", ratio: 0.999, within: None },
            Objective { name: "latency", ratio: 0.95, within: Some(Duration::from_millis(500)) },
        ],
    },
    migrations: &[
        Migration {
            service: "payment",
            version: 1,
            name: "payments",
            sql: concat!(
                include_str!("../../../migrations/payment/0001_payments.sql"),
                message_tables!("payment")
            ),
            sqlite: "",
            postgres: "",
        },
        Migration {
            service: "payment",
            version: 2,
            name: "narrow",
            sql: "",
            sqlite: include_str!("../../../migrations/payment/0002_narrow_sqlite.sql"),
            postgres: include_str!("../../../migrations/payment/0002_narrow_postgres.sql"),
        },
    ],
    queues: &[],
    outbox: Some(store::OUTBOX),
    mount,
};

fn mount(capabilities: &Capabilities) -> BoxFuture<'static, anyhow::Result<Mounted>> {
    let capabilities = capabilities.clone();
    Box::pin(async move {
        let env = capabilities.env.clone();
        let store = Store::new(capabilities.db.clone(), capabilities.bus.clone(), env.clone());
        let provider = provider::choose(&capabilities);
        let timeout = capabilities.config.payment.provider_timeout;
        let cashier = Cashier::new(store, provider, timeout, env.clone(), capabilities.telemetry.clone());
        let (letterbox, letters) = Letterbox::new();
        let [resolver, prober, watcher, follower, reader] = std::array::from_fn(|_| cashier.clone());
        let jobs = vec![
            Job::new("payment.resolver", move |stop| resolver.resolve(stop)),
            Job::new("payment.prober", move |stop| prober.probe(stop)),
            Job::new("payment.breakers", move |stop| watcher.watch_breakers(stop)),
            Job::new("payment.held", move |stop| follower.follow_held(stop)),
            Job::new("payment.webhooks", move |stop| webhooks::run(reader, letters, stop)),
        ];
        let router = api::router(Payments { cashier, letterbox, env });
        Ok(Mounted { router, openapi: api::openapi(), jobs })
    })
}
