//! A shop on Kubernetes: what is refused without one, and a shop on a real one.

mod bad_days;
mod daily;
mod fake;
mod real;
mod real_daily;
mod refused;
mod world;
