//! The shop's own metrics as Kubernetes asks for them: the API `external.metrics.k8s.io/v1beta1`, so that a
//! HorizontalPodAutoscaler scales a service by its work with nothing else installed.
//!
//! The API server passes the autoscaler's question on, over TLS and known by its certificate; the answer is made of the
//! newest figures, and these are read from the `/metrics` of the shop's processes when somebody asks, at most every few
//! seconds. What cannot be read is an error and never 0: the autoscaler then leaves the pods as they are.
//!
//! This room has no data and no secrets of the shop, and it knows no service: which [`Series`] there are and where the
//! processes answer is told by `app`.
//!
//! # Adding a metric
//! One [`Series`] in `app/metrics.rs`, and its name in the chart: in the ClusterRole of `templates/metrics.yaml` and among
//! those that `values.schema.json` lets a service scale on.

mod api;
mod authority;
mod cluster;
mod door;
mod figures;
mod listener;
mod peers;
mod quantity;
mod running;
mod selector;
mod series;
mod wire;

pub use cluster::Cluster;
pub use door::CertificateFiles;
pub use figures::Figures;
pub use peers::Peer;
pub use running::{Callers, Running, Tls, start};
pub use series::Series;
