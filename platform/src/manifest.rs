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
    /// The prefixes that clients should leave, and until when.
    pub deprecated: &'static [Deprecation],
    /// The paths whose `POST` acts once for each `Idempotency-Key`; `{…}` stands for one segment. Only these may be
    /// asked again when an answer is lost: elsewhere a key is a header that nobody reads.
    pub keyed: &'static [&'static str],
    /// The siblings it calls.
    pub needs: &'static [&'static str],
    /// What it promises.
    pub objectives: &'static [Objective],
}

impl Manifest {
    /// The facts as JSON, for `shopd describe -o json`.
    #[must_use]
    pub fn describe(&self) -> serde_json::Value {
        let routes = self
            .routes
            .iter()
            .map(|route| serde_json::json!({"prefix": route.prefix, "class": route.class.as_str()}));
        let deprecated = self.deprecated.iter().map(|one| {
            serde_json::json!({
                "prefix": one.prefix, "since": one.since, "sunset": one.sunset, "instead": one.instead,
            })
        });
        let objectives = self.objectives.iter().map(|objective| {
            let within_ms = objective.within.map(|within| within.as_millis() as u64);
            serde_json::json!({"name": objective.name, "ratio": objective.ratio, "within_ms": within_ms})
        });
        serde_json::json!({
            "name": self.name,
            "about": self.about,
            "port": self.port,
            "routes": routes.collect::<Vec<_>>(),
            "deprecated": deprecated.collect::<Vec<_>>(),
            "keyed": self.keyed,
            "needs": self.needs,
            "objectives": objectives.collect::<Vec<_>>(),
        })
    }
}

/// Whether `path` is one that `pattern` describes: segment by segment, `{…}` stands for any one.
#[must_use]
pub fn describes(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(found))
                if wanted.starts_with('{') && !found.is_empty() || wanted == found => {}
            _ => return false,
        }
    }
}

/// A path prefix that clients should leave. Every answer under it says so, in `Deprecation` (RFC 9745) and `Sunset`
/// (RFC 8594) and, where there is something to go to, in `Link`.
#[derive(Clone, Copy, Debug)]
pub struct Deprecation {
    /// Matches whole segments, as a route's does.
    pub prefix: &'static str,
    /// The day from which on it should not be used: `2027-01-31`.
    pub since: &'static str,
    /// The day on which it may be gone.
    pub sunset: &'static str,
    /// The path that takes its place.
    pub instead: Option<&'static str>,
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
    /// Signing in, and whatever else asks for a password.
    Login,
    /// Making an account.
    Registration,
    /// Placing orders.
    Checkout,
    /// Reading; writing carts.
    Read,
    /// Staff.
    Admin,
    /// The provider's webhooks.
    Webhook,
}

impl RouteClass {
    /// The class's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Registration => "registration",
            Self::Checkout => "checkout",
            Self::Read => "read",
            Self::Admin => "admin",
            Self::Webhook => "webhook",
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_describes_whole_paths() {
        assert!(describes("/v1/orders", "/v1/orders"));
        assert!(!describes("/v1/orders", "/v1/orders/7/cancel"));
        assert!(describes("/v1/admin/stock/{sku}/receive", "/v1/admin/stock/MUG/receive"));
        for other in ["/v1/admin/stock/MUG/x", "/v1/admin/stock//receive", "/v1/admin/stock/MUG/receive/"] {
            assert!(!describes("/v1/admin/stock/{sku}/receive", other), "{other}");
        }
    }
}
