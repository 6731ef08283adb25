//! Figures that nobody's request produces: what waits in queues and outboxes, and how busy the storage is.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::capabilities::Capabilities;
use crate::services::SERVICES;

const EVERY: Duration = Duration::from_secs(5);

/// Reads them every five seconds until `stop`.
pub(super) async fn watch(capabilities: Capabilities, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        let meters = capabilities.telemetry.meters();
        let storage = capabilities.db.health();
        meters.db_pool(storage.connections_open, storage.connections_in_use, storage.queue_depth);
        let health = match capabilities.bus.health().await {
            Ok(health) => health,
            Err(error) => {
                tracing::warn!(%error, "the queues could not be read");
                continue;
            }
        };
        for queue in &health.queues {
            let names = SERVICES.iter().flat_map(|service| service.queues).map(|spec| spec.name);
            if let Some(name) = names.into_iter().find(|name| *name == queue.name) {
                let count = |number: i64| u64::try_from(number).unwrap_or(0);
                meters.queue(name, count(queue.depth), queue.oldest, count(queue.dead));
            }
        }
        for service in SERVICES {
            if let Some(outbox) = health.outboxes.iter().find(|outbox| Some(outbox.table) == service.outbox) {
                meters.outbox_lag(service.manifest.name, outbox.oldest);
            }
        }
    }
}
