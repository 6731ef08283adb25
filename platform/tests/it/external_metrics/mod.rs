//! The external metrics API as Kubernetes meets it: over its own sockets, from processes that are asked for their metrics.

mod access;
mod callers;
mod certificates;
mod cluster;
mod shop;
mod values;
