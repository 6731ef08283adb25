//! From a configuration to a running shop, and back to nothing without losing anything.
//!
//! [`up`] runs the whole shop in this process; [`serve()`] runs some of its roles, for machines where each service
//! is a process of its own, after [`prepare()`] has furnished the data once. All build the same [`crate::capabilities::Capabilities`] and mount the same services.
//! [`serve_metrics`] is beside the shop: it tells Kubernetes what the processes tell of themselves.

mod assemble;
mod fate;
mod files;
mod gauges;
mod memory;
mod metrics;
mod prepare;
pub mod probe;
mod running;
mod serve;
mod signals;
mod start;

pub use fate::fate;
pub use files::keep_files_private;
pub use memory::prefer_small_pages;
pub use metrics::{METRICS_PORT, MetricsError, MetricsOptions, RunningMetrics, serve_metrics};
pub use prepare::{PrepareOptions, Prepared, prepare};
pub use running::{RunningShop, Vitals};
pub use serve::{Role, ServeOptions, Tables, serve};
pub use signals::until_told_to_stop;
// What a caller needs to say what it wants and to understand what went wrong, so that it knows this room only.
pub use crate::config::ShopConfig;
pub use crate::external_metrics::{Callers, CertificateFiles, Cluster};
pub use crate::http::Addresses;
pub use crate::storage::postgres::installed as installed_postgres;
pub use crate::storage::{EngineConfig, StorageError};
pub use start::{Admin, Progress, Sandbox, StartError, UpOptions, migrate, up, webhook_url};
