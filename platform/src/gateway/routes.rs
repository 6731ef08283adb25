//! Which service a path belongs to: the longest prefix of the manifests, by whole segments.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::http::Endpoint;
use crate::manifest::{Deprecation, RouteClass, describes};
use crate::services::Service;
use crate::telemetry::{RouteMeter, Telemetry};
use crate::vocabulary::Timestamp;

/// One prefix.
#[derive(Debug)]
pub struct Target {
    /// The prefix; also the bounded name of the route in metrics.
    pub prefix: Arc<str>,
    /// Where requests go.
    pub endpoint: Endpoint,
    /// Counts its GETs, and names their spans.
    pub reads: RouteMeter,
    class: RouteClass,
    leaving: Arc<[Leaving]>,
    keyed: &'static [&'static str],
}

/// A deprecation, ready to be told.
#[derive(Debug)]
struct Leaving {
    prefix: &'static str,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Leaving {
    /// None for one whose days cannot be read, which a test keeps out of the manifests.
    fn new(deprecation: &Deprecation) -> Option<Self> {
        let midnight = |day: &str| format!("{day}T00:00:00Z").parse::<Timestamp>().ok();
        let since = midnight(deprecation.since)?.as_second();
        let sunset = midnight(deprecation.sunset)?.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let mut headers = vec![
            (HeaderName::from_static("deprecation"), HeaderValue::from_str(&format!("@{since}")).ok()?),
            (HeaderName::from_static("sunset"), HeaderValue::from_str(&sunset).ok()?),
        ];
        if let Some(instead) = deprecation.instead {
            let link = HeaderValue::from_str(&format!("<{instead}>; rel=\"successor-version\"")).ok()?;
            headers.push((header::LINK, link));
        }
        Some(Self { prefix: deprecation.prefix, headers })
    }
}

impl Target {
    /// Whether a request may be asked again after its answer was lost: it reads, it is idempotent by its method, or
    /// it carries a key that `path` honours.
    #[must_use]
    pub fn may_repeat(&self, request: &axum::extract::Request) -> bool {
        let keyed = || self.keyed.iter().any(|pattern| describes(pattern, request.uri().path()));
        request.method().is_idempotent() || request.headers().contains_key("idempotency-key") && keyed()
    }

    /// Tells the client of `path` that it should leave, where it should.
    pub fn tell_to_leave(&self, path: &str, headers: &mut HeaderMap) {
        for leaving in self.leaving.iter().filter(|leaving| is_under(path, leaving.prefix)) {
            for (name, value) in &leaving.headers {
                headers.append(name, value.clone());
            }
        }
    }

    /// The row of the rate-limit table. Reading where one can buy or sign in is just reading.
    #[must_use]
    pub fn class(&self, method: &Method) -> RouteClass {
        match self.class {
            RouteClass::Login | RouteClass::Registration | RouteClass::Checkout if method.is_safe() => {
                RouteClass::Read
            }
            class => class,
        }
    }
}

/// All prefixes, the longest first.
#[derive(Debug)]
pub struct Routes {
    targets: Vec<Target>,
}

impl Routes {
    /// The routes of `services`, each behind the endpoint that `endpoint` names.
    #[must_use]
    pub fn new(
        services: &[Service],
        endpoint: impl Fn(&'static str) -> Endpoint,
        telemetry: &Telemetry,
    ) -> Self {
        let mut targets = Vec::new();
        for service in services {
            let leaving: Arc<[Leaving]> =
                service.manifest.deprecated.iter().filter_map(Leaving::new).collect();
            for route in service.manifest.routes {
                targets.push(Target {
                    prefix: route.prefix.into(),
                    reads: telemetry.route_meter(super::NAME, route.prefix.into()),
                    endpoint: endpoint(service.manifest.name),
                    class: route.class,
                    leaving: Arc::clone(&leaving),
                    keyed: service.manifest.keyed,
                });
            }
        }
        targets.sort_by_key(|target| std::cmp::Reverse(target.prefix.len()));
        Self { targets }
    }

    /// Where `path` belongs.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Target> {
        self.targets.iter().find(|target| is_under(path, &target.prefix))
    }

    /// The services that run in other processes, each once.
    #[must_use]
    pub fn elsewhere(&self) -> Vec<Endpoint> {
        let mut elsewhere: Vec<Endpoint> = Vec::new();
        for endpoint in self.targets.iter().map(|target| &target.endpoint).filter(|one| one.is_elsewhere()) {
            if !elsewhere.iter().any(|known| known.service() == endpoint.service()) {
                elsewhere.push(endpoint.clone());
            }
        }
        elsewhere
    }

    /// Whether `version` is the first segment of any route: `v1` of `/v1/orders`.
    #[must_use]
    pub fn has_version(&self, version: &str) -> bool {
        self.targets.iter().any(|target| {
            target.prefix.strip_prefix('/').is_some_and(|rest| rest.split('/').next() == Some(version))
        })
    }
}

/// Whether `path` is `prefix` or below it, by whole segments.
fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The version that a path asks for: `v1` of `/v1/orders`.
#[must_use]
pub fn version(path: &str) -> Option<&str> {
    let first = path.strip_prefix('/')?.split('/').next()?;
    let digits = first.strip_prefix('v')?;
    let is_version =
        !digits.is_empty() && digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_version.then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::SERVICES;

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        let routes = Routes::new(SERVICES, Endpoint::in_process, &Telemetry::new());
        let prefix = |path: &str| routes.find(path).map(|target| target.prefix.to_string());
        assert_eq!(prefix("/v1/auth/login").as_deref(), Some("/v1/auth/login"));
        assert_eq!(prefix("/v1/auth/refresh").as_deref(), Some("/v1/auth"));
        assert_eq!(prefix("/v1/me").as_deref(), Some("/v1/me"));
        assert_eq!(prefix("/v1/men"), None);
        assert_eq!(prefix("/internal/v1/revocations"), None);
        assert!(routes.has_version("v1") && !routes.has_version("v2"));
        let class = |method: &Method| routes.find("/v1/auth/login").map(|target| target.class(method));
        assert_eq!(class(&Method::POST), Some(RouteClass::Login));
        assert_eq!(class(&Method::GET), Some(RouteClass::Read));
    }

    #[test]
    fn no_route_of_any_service_is_internal_or_taken_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for route in SERVICES.iter().flat_map(|service| service.manifest.routes) {
            assert!(super::super::path::check(route.prefix).is_ok(), "{}", route.prefix);
            assert!(seen.insert(route.prefix), "{} is routed twice", route.prefix);
        }
    }

    #[test]
    fn what_is_to_be_left_says_from_when_and_until_when() {
        for service in SERVICES {
            for one in service.manifest.deprecated {
                assert!(
                    Leaving::new(one).is_some(),
                    "{}: a day of {one:?} cannot be read",
                    service.manifest.name
                );
            }
        }
        let one = Deprecation { prefix: "/v1/x", since: "2026-11-01", sunset: "2027-05-01", instead: None };
        let told: Vec<String> = Leaving::new(&one)
            .expect("days")
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        assert_eq!(told, ["deprecation: @1793491200", "sunset: Sat, 01 May 2027 00:00:00 GMT"]);
        assert!(Leaving::new(&Deprecation { since: "soon", ..one }).is_none());
    }

    #[test]
    fn a_version_is_a_v_and_digits() {
        assert_eq!(version("/v2/orders"), Some("v2"));
        assert_eq!(version("/v1"), Some("v1"));
        for path in ["/", "/v", "/vx/1", "/version", "/sale/v1", "/v12345"] {
            assert_eq!(version(path), None, "{path}");
        }
    }

    #[test]
    fn a_key_makes_repeatable_what_honours_it_and_nothing_else() {
        let routes = Routes::new(SERVICES, Endpoint::in_process, &Telemetry::new());
        let may_repeat = |method: &str, path: &str, key: bool| {
            let request = axum::http::Request::builder().method(method).uri(path);
            let request = if key { request.header("idempotency-key", "k") } else { request };
            routes.find(path).unwrap().may_repeat(&request.body(axum::body::Body::empty()).unwrap())
        };
        assert!(may_repeat("POST", "/v1/orders", true) && !may_repeat("POST", "/v1/orders", false));
        assert!(may_repeat("POST", "/v1/admin/stock/MUG/receive", true));
        assert!(
            may_repeat("GET", "/v1/orders/7", false) && may_repeat("PUT", "/v1/carts/7/lines/MUG", false)
        );
        for path in
            ["/v1/admin/orders/7/refund", "/v1/auth/refresh", "/v1/me/addresses", "/v1/orders/7/cancel"]
        {
            assert!(!may_repeat("POST", path, true), "{path}");
        }
    }
}
