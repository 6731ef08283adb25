//! What the service does by itself: gives back what expired, and notices what other processes changed.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::store::Store;
use crate::http::Context;
use crate::storage::StorageError;

/// How often another process's changes of the catalogue are looked for.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// Gives back expired reservations until told to stop. Two sweepers at once are safe: each reservation ends once.
pub(super) async fn sweep(store: Store, stop: CancellationToken) {
    while pause(store.sweep_every, &stop).await {
        let context = Context::background("product", &store.env);
        if let Err(error) = store.sweep(&context).await {
            tracing::warn!(%error, "could not give back expired reservations, will try again");
        }
    }
}

/// Makes the cache stale whenever the catalogue's version went up, whoever did it.
pub(super) async fn follow(store: Store, stop: CancellationToken) {
    let mut seen: Option<i64> = None;
    while pause(FOLLOW_EVERY, &stop).await {
        match store.catalogue_version().await {
            Ok(version) => {
                // The first look counts as a change too: pages may have been kept before it.
                if seen != Some(version) {
                    store.catalogue_changed();
                }
                seen = Some(version);
            }
            Err(error) => {
                // What changed meanwhile is not known, so nothing that was kept is trusted.
                tracing::warn!(%error, "could not read the catalogue's version");
                store.catalogue_changed();
            }
        }
    }
}

impl Store {
    async fn catalogue_version(&self) -> Result<i64, StorageError> {
        let row = self.db.read_one("SELECT version FROM product_catalogue WHERE id = 1", vec![]).await?;
        row.map_or(Ok(0), |row| row.get("version"))
    }
}

/// Waits; answers false when it is time to stop.
async fn pause(time: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(time) => true,
    }
}
