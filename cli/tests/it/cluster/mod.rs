//! A shop on Kubernetes: what is refused without one, one behind an API server of the tests, and one on a real cluster.

mod bad_days;
mod behind;
mod daily;
mod fake;
mod reached;
mod real;
mod real_daily;
mod real_drift;
mod real_reached;
mod refused;
mod steered;
mod under_load;
mod world;
