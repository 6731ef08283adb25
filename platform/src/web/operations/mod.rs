//! The console of whoever runs the shop: what happens now, what waits, what is broken, and the handles to mend it.
//!
//! Every page needs the role ops. What a page cannot find out it calls unknown, never well.

mod breakers;
mod faults;
mod live;
pub(super) mod logs;
mod queues;
pub(super) mod sagas;
mod topology;
mod traces;
mod verify;

use axum::routing::{get, post};
use axum::{Extension, Router};

use super::visit::Web;
use crate::vocabulary::Role;

/// Who may look at the console.
const OPERATORS: &[Role] = &[Role::Ops];

/// The operations pages.
pub fn router() -> Router<Web> {
    Router::new()
        .route("/operations", get(live::live))
        .route("/operations/live", get(live::figures))
        .route("/operations/topology", get(topology::topology))
        .route("/operations/sagas", get(sagas::list))
        .route("/operations/sagas/{order_id}", get(sagas::of_order))
        .route("/operations/sagas/{order_id}/{act}", post(sagas::act))
        .route("/operations/queues", get(queues::queues))
        .route("/operations/queues/act", post(queues::act))
        .route("/operations/breakers", get(breakers::list))
        .route("/operations/breakers/{name}", post(breakers::turn))
        .route("/operations/traces", get(traces::list))
        .route("/operations/traces/{trace_id}", get(traces::trace))
        .route("/operations/logs", get(logs::logs))
        .route("/operations/promises", get(verify::promises).post(verify::check))
        .route("/operations/faults", get(faults::faults))
        .route("/operations/faults/provider", post(faults::set_provider))
        .route("/operations/faults/bus", post(faults::set_bus))
        .layer(Extension(verify::Look::default()))
}
