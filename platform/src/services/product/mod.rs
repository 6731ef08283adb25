//! The product service: the catalogue, and the stock.
//!
//! - [`client`] is what siblings and pages may call; `wire` has the shapes.
//! - `model` has the rules without a database: lines, quantities, what a product must look like.
//! - `stock` holds units for orders; `ledger` is the shelf as staff changes it. The ledger (`product_movements`) is
//!   the truth, a stock row its running balance, a reservation the state of an order's units.
//! - `catalogue` reads, `search` turns a question into SQL for either engine, `editing` changes.
//! - `reactions` runs beside the requests: the sweeper of expired reservations, the follower of the catalogue.
//! - `picture` draws; `seed` fills an empty shop.

pub mod client;

mod api;
mod catalogue;
mod editing;
mod ledger;
mod model;
mod picture;
mod reactions;
mod search;
mod seed;
mod stock;
mod store;
mod wire;

use std::time::Duration;

use crate::capabilities::Capabilities;
use crate::manifest::{Manifest, Objective, Route, RouteClass};
use crate::services::{Job, Mounted, Service};
use crate::storage::Migration;
pub use seed::seed_catalogue;
use store::Store;

/// Where this service's events leave from.
const OUTBOX: &str = "product_outbox";

/// The product service as data.
pub const SERVICE: Service = Service {
    manifest: Manifest {
        name: "product",
        about: "the catalogue, its search and pictures, and the stock with its ledger and reservations",
        port: 8082,
        routes: &[
            Route { prefix: "/v1/products", class: RouteClass::Read },
            Route { prefix: "/v1/categories", class: RouteClass::Read },
            Route { prefix: "/v1/admin/products", class: RouteClass::Admin },
            Route { prefix: "/v1/admin/stock", class: RouteClass::Admin },
        ],
        deprecated: &[],
        keyed: &["/v1/admin/stock/{sku}/receive", "/v1/admin/stock/{sku}/adjust"],
        needs: &[],
        objectives: &[
            Objective { name: "availability", ratio: 0.999, within: None },
            Objective { name: "latency", ratio: 0.95, within: Some(Duration::from_millis(200)) },
        ],
    },
    migrations: MIGRATIONS,
    queues: &[],
    outbox: Some(OUTBOX),
    mount: |capabilities| {
        let mounted = mount(capabilities);
        Box::pin(async move { Ok(mounted) })
    },
};

const MIGRATIONS: &[Migration] = &[
    Migration {
        service: "product",
        version: 1,
        name: "catalogue_and_stock",
        sql: include_str!("../../../migrations/product/0001_catalogue_and_stock.sql"),
        sqlite: include_str!("../../../migrations/product/0001_search_sqlite.sql"),
        postgres: include_str!("../../../migrations/product/0001_search_postgres.sql"),
    },
    Migration {
        service: "product",
        version: 2,
        name: "messages",
        sql: crate::message_tables!("product"),
        sqlite: "",
        postgres: "",
    },
    Migration {
        service: "product",
        version: 3,
        name: "narrow",
        sql: "",
        sqlite: include_str!("../../../migrations/product/0003_narrow_sqlite.sql"),
        postgres: "",
    },
];

fn mount(capabilities: &Capabilities) -> Mounted {
    let store = Store::new(capabilities);
    let (sweeping, following) = (store.clone(), store.clone());
    let ready = api::Ready::new(&store);
    capabilities.endpoint("product").lay_ready(move |request| ready.answer(request));
    Mounted {
        router: api::router(store),
        openapi: api::openapi(),
        jobs: vec![
            Job::new("product.sweep", move |stop| reactions::sweep(sweeping, stop)),
            Job::new("product.follow", move |stop| reactions::follow(following, stop)),
        ],
    }
}
