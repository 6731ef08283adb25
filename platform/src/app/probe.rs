//! A process asked from outside whether it is well: what an image without a shell or curl checks itself with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Uri;

use super::serve::GATEWAY_PORT;
use crate::http::HttpClient;
use crate::telemetry::health::Readiness;

/// How long an answer may take: less than the time that the engines give a health check.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is asked where no path is given.
const READY: &str = "/readyz";

/// Where a process that was told to listen on `listen` is reached from within its container.
#[must_use]
pub fn own_address(listen: Option<SocketAddr>) -> String {
    let address = listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, GATEWAY_PORT)));
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(host, address.port()))
}

/// Asks `url` whether the process there is ready, or what else its path says.
///
/// # Errors
/// Why it is not, in words: nobody answers, or what is missing.
pub async fn ask(url: &str) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|error| format!("`{url}` is not an address: {error}"))?;
    if uri.scheme().is_none() {
        return Err(format!("`{url}` is not an address: write http://HOST:PORT"));
    }
    let asked =
        if uri.path() == "/" { format!("{}{READY}", url.trim_end_matches('/')) } else { url.to_owned() };
    let request = hyper::Request::get(&asked)
        .body(Full::new(Bytes::new()))
        .map_err(|error| format!("`{asked}` is not an address: {error}"))?;
    let answer = HttpClient::new(PATIENCE)
        .send(request, PATIENCE)
        .await
        .map_err(|error| format!("nobody is well at {asked}: {error}"))?;
    if answer.status().is_success() {
        return Ok(());
    }
    Err(format!("{asked} answers {}{}", answer.status(), missing(answer.body())))
}

/// The checks that failed, when the answer names them.
fn missing(body: &[u8]) -> String {
    let Ok(readiness) = serde_json::from_slice::<Readiness>(body) else { return String::new() };
    let failed = readiness.checks.into_iter().filter(|check| !check.ok);
    let named = failed.map(|check| match check.reason {
        Some(reason) => format!("{} ({reason})", check.name),
        None => check.name,
    });
    format!(": {}", named.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_listens_everywhere_is_asked_on_this_machine() {
        let own = |listen: &str| own_address(Some(listen.parse().unwrap()));
        assert_eq!(own_address(None), "http://127.0.0.1:8080");
        assert_eq!(own("0.0.0.0:8083"), "http://127.0.0.1:8083");
        assert_eq!(own("[::]:8083"), "http://[::1]:8083");
        assert_eq!(own("10.1.2.3:80"), "http://10.1.2.3:80");
    }

    #[test]
    fn what_is_missing_is_named() {
        let body = br#"{"status": "not_ready", "checks": [
            {"name": "up", "ok": true}, {"name": "storage", "ok": false, "reason": "refused"}]}"#;
        assert_eq!(missing(body), ": storage (refused)");
        assert_eq!(missing(b"<html>"), "");
    }
}
