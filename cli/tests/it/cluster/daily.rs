//! The commands of every day, on a cluster of our own: what they print, how they end, what they ask of the cluster.

mod drifting;
mod events;
mod looking;
mod running;
mod starting;
mod stopping;

use serde_json::Value;

/// The stable code for scripts.
fn code(document: &Value) -> &str {
    document["errors"][0]["code"].as_str().unwrap_or_default()
}
