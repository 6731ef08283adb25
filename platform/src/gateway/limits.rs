//! Rate limits by class of route and caller, and the cap on requests in flight.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config::GatewayConfig;
use crate::http::{Code, Context, Problem};
use crate::manifest::RouteClass;
use crate::resilience::limiter::{Decision, Limiter};
use crate::telemetry::Telemetry;
use crate::vocabulary::{Clock, UserId};

const CALLERS_MAX: usize = 50_000;
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Caller {
    User(UserId),
    Address(IpAddr),
    Unknown,
}

/// The limits of this process.
#[derive(Debug)]
pub struct Limits {
    config: GatewayConfig,
    buckets: Limiter<(RouteClass, Caller)>,
    in_flight: Arc<AtomicUsize>,
    telemetry: Telemetry,
}

/// One request in flight; it stops counting when this is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Everybody in one IPv6 network of a household is one caller.
fn household(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => IpAddr::V4(four),
            None => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & !((1 << 64) - 1))),
        },
    }
}

impl Limits {
    /// The limits that `config` names.
    #[must_use]
    pub fn new(config: &GatewayConfig, clock: &Clock, telemetry: &Telemetry) -> Self {
        Self {
            config: config.clone(),
            buckets: Limiter::new(clock.clone(), CALLERS_MAX),
            in_flight: Arc::default(),
            telemetry: telemetry.clone(),
        }
    }

    /// Lets one more request in, or sheds it: 503 `overloaded`.
    pub fn enter(&self) -> Result<InFlight, Problem> {
        let entered = InFlight(Arc::clone(&self.in_flight));
        if self.in_flight.fetch_add(1, Ordering::Relaxed) < self.config.in_flight_max {
            return Ok(entered);
        }
        self.telemetry.meters().request_shed();
        Err(Problem::new(Code::Overloaded, "too many requests are in flight, try again in a moment")
            .retry_after(Duration::from_secs(1)))
    }

    /// Requests in flight now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes a request of `class` out of its caller's bucket; answers what to tell of it, or 429 `rate_limited`.
    pub fn take(
        &self,
        class: RouteClass,
        context: &Context,
    ) -> Result<Option<Decision>, (Problem, Decision)> {
        if !self.config.limits {
            return Ok(None);
        }
        let by_address = matches!(class, RouteClass::Login | RouteClass::Registration);
        let caller = match (&context.identity, context.client_ip) {
            (Some(identity), _) if !by_address => Caller::User(identity.user_id),
            (_, Some(address)) => Caller::Address(household(address)),
            (_, None) => Caller::Unknown,
        };
        let decision = self.buckets.take((class, caller), self.config.quotas.of(class));
        if decision.is_allowed {
            return Ok(Some(decision));
        }
        self.telemetry.meters().rate_limited(class.as_str());
        let wait = whole_seconds(decision.next_after);
        let text = format!("at most {} requests of this kind, the next in {wait} s", decision.limit);
        let problem = Problem::new(Code::RateLimited, text).retry_after(Duration::from_secs(wait));
        Err((problem, decision))
    }
}

/// Rounded up: whoever waits that long finds it true.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// Tells a caller what is left of the quota.
pub fn tell(headers: &mut HeaderMap, decision: &Decision) {
    headers.insert(LIMIT, HeaderValue::from(decision.limit));
    headers.insert(REMAINING, HeaderValue::from(decision.remaining));
    let reset = if decision.is_allowed { decision.full_after } else { decision.next_after };
    headers.insert(RESET, HeaderValue::from(whole_seconds(reset)));
}

/// The caller's address: of the connection, or what the proxies of ours say.
#[must_use]
pub fn client_address(headers: &HeaderMap, peer: Option<IpAddr>, proxies: usize) -> Option<IpAddr> {
    if proxies == 0 {
        return peer;
    }
    let values = headers.get_all(header::HeaderName::from_static("x-forwarded-for"));
    let hops: Vec<&str> =
        values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).collect();
    let named = hops.len().checked_sub(proxies).and_then(|at| hops[at].trim().parse().ok());
    named.or(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_our_own_proxies_say_of_an_address_counts() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6, 1.2.3.4, 10.0.0.1"));
        let peer = Some(IpAddr::from([127, 0, 0, 1]));
        let seen = |proxies| client_address(&headers, peer, proxies).map(|ip| ip.to_string());
        assert_eq!(seen(0).as_deref(), Some("127.0.0.1"));
        assert_eq!(seen(1).as_deref(), Some("10.0.0.1"));
        assert_eq!(seen(2).as_deref(), Some("1.2.3.4"));
        assert_eq!(seen(9).as_deref(), Some("127.0.0.1"));
        assert_eq!(client_address(&HeaderMap::new(), peer, 1), peer);
    }

    #[test]
    fn a_household_is_one_caller() {
        let address = |text: &str| household(text.parse().expect("an address"));
        assert_eq!(address("2001:db8:1:2:3:4:5:6"), address("2001:db8:1:2:ffff::1"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:1.2.3.4"), address("1.2.3.4"));
    }
}
