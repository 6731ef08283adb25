//! Which service a path belongs to: the longest prefix of the manifests, by whole segments.

use std::sync::Arc;

use axum::http::Method;

use crate::http::Endpoint;
use crate::manifest::RouteClass;
use crate::services::Service;

/// One prefix.
#[derive(Debug)]
pub struct Target {
    /// The prefix; also the bounded name of the route in metrics.
    pub prefix: Arc<str>,
    /// Where requests go.
    pub endpoint: Endpoint,
    class: RouteClass,
}

impl Target {
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
    pub fn new(services: &[Service], endpoint: impl Fn(&'static str) -> Endpoint) -> Self {
        let mut targets = Vec::new();
        for service in services {
            for route in service.manifest.routes {
                targets.push(Target {
                    prefix: route.prefix.into(),
                    endpoint: endpoint(service.manifest.name),
                    class: route.class,
                });
            }
        }
        targets.sort_by_key(|target| std::cmp::Reverse(target.prefix.len()));
        Self { targets }
    }

    /// Where `path` belongs.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Target> {
        self.targets.iter().find(|target| {
            path.strip_prefix(&*target.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
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
        let routes = Routes::new(SERVICES, Endpoint::in_process);
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
    fn a_version_is_a_v_and_digits() {
        assert_eq!(version("/v2/orders"), Some("v2"));
        assert_eq!(version("/v1"), Some("v1"));
        for path in ["/", "/v", "/vx/1", "/version", "/sale/v1", "/v12345"] {
            assert_eq!(version(path), None, "{path}");
        }
    }
}
