//! The services' public facts: what they are called, where they listen, which paths are theirs, whom they need.

use std::time::Duration;

/// One service's facts.
#[derive(Clone, Copy, Debug)]
pub struct Manifest {
    /// The service's name, the same in every layer.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// The port it listens on when it runs by itself.
    pub port: u16,
    /// The path prefixes that the gateway hands to it; the longest that matches wins.
    pub routes: &'static [Route],
    /// The siblings it calls.
    pub needs: &'static [&'static str],
    /// What it promises.
    pub objectives: &'static [Objective],
}

/// A path prefix and how the gateway treats it.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Matches whole segments: `/v1/orders` matches `/v1/orders/x`, not `/v1/ordersx`.
    pub prefix: &'static str,
    /// Which row of the rate-limit table applies.
    pub class: RouteClass,
}

/// Rows of the rate-limit table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteClass {
    /// Sign-in and registration.
    Login,
    /// Placing orders.
    Checkout,
    /// Reading; writing carts.
    Read,
    /// Staff.
    Admin,
    /// The provider's webhooks.
    Webhook,
}

/// A promise that can be measured.
#[derive(Clone, Copy, Debug)]
pub struct Objective {
    /// What is promised: `availability`, `latency`.
    pub name: &'static str,
    /// The share of requests that keep it.
    pub ratio: f64,
    /// The bound for latency objectives.
    pub within: Option<Duration>,
}
