//! What crosses the edge: headers that are ours alone are taken off what comes in, and what goes out is told how a
//! browser must treat it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, header};

use super::limits::client_address;
use crate::config::GatewayConfig;
use crate::http::server::REQUEST_ID;
use crate::http::{Bearer, Code, Context, Problem, operator};
use crate::services::user::tokens::looks_like_a_token;
use crate::vocabulary::Env;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const API_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");
const DENY: HeaderValue = HeaderValue::from_static("DENY");
const TLS_ONLY: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");
/// A guest's token is 43 characters; nobody's is longer.
const BEARER_BYTES_MAX: usize = 200;

/// The request as the shop will know it: its id, its trace, and where it comes from; `peer` is the other end of its
/// connection.
#[must_use]
pub fn context(headers: &HeaderMap, peer: Option<IpAddr>, env: &Env, config: &GatewayConfig) -> Context {
    let mut context = Context::new(env);
    context.caller = Some("gateway");
    if let Some(id) = text(headers, &REQUEST_ID).filter(|id| is_request_id(id)) {
        context.request_id = Arc::from(id);
    }
    if let Some(trace) = text(headers, &TRACEPARENT).filter(|trace| is_traceparent(trace)) {
        context.traceparent = Arc::from(trace);
    }
    context.client_ip = client_address(headers, peer, config.proxies);
    context.deadline = Some(env.after(config.timeout));
    context
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// An id from outside goes into logs and events, so it must be harmless there.
fn is_request_id(text: &str) -> bool {
    (8..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, neither id all zeros (W3C trace context).
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
    };
    let some = |part: &str| part.bytes().any(|byte| byte != b'0');
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next(), parts.next(), parts.next(), parts.next());
    let (Some(version), Some(trace), Some(span), Some(flags)) = (version, trace, span, flags) else {
        return false;
    };
    version == "00"
        && hex(trace, 32)
        && some(trace)
        && hex(span, 16)
        && some(span)
        && hex(flags, 2)
        && parts.next().is_none()
}

/// What a request proves itself with.
#[derive(Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    None,
    /// An access token of a user.
    Token(String),
    /// An operator's pass.
    Pass(String),
    /// Something that only a service can judge: the access token of a guest's order.
    Opaque(Bearer),
}

/// Takes the credential off a request: `Authorization: Bearer …`, or `?access_token=…` for what is no user's token.
pub fn take_credential(request: &mut Request<Body>) -> Result<Credential, Problem> {
    let unreadable = || Problem::new(Code::Unauthenticated, "send `Authorization: Bearer <access_token>`");
    let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
    let (first, second) = (values.next(), values.next());
    let Some(value) = first else { return Ok(opaque(request.uri().query())) };
    if second.is_some() {
        return Err(unreadable());
    }
    let (scheme, token) =
        value.to_str().ok().and_then(|text| text.trim().split_once(' ')).ok_or_else(unreadable)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(unreadable());
    }
    let credential = if looks_like_a_token(token) {
        Credential::Token(token.to_owned())
    } else if token.starts_with(operator::PREFIX) {
        Credential::Pass(token.to_owned())
    } else if token.len() <= BEARER_BYTES_MAX {
        Credential::Opaque(token.into())
    } else {
        return Err(unreadable());
    };
    request.headers_mut().remove(header::AUTHORIZATION);
    Ok(credential)
}

fn opaque(query: Option<&str>) -> Credential {
    let token = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("access_token=")));
    match token {
        // Ours need no escaping, so one that has any is not ours.
        Some(token) if !token.is_empty() && token.len() <= BEARER_BYTES_MAX => {
            Credential::Opaque(token.into())
        }
        _ => Credential::None,
    }
}

/// Takes off what only we may say, and what is about the connection rather than the request.
pub fn strip(headers: &mut HeaderMap, is_tls: bool) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        if name != header::HOST && name != header::CONTENT_LENGTH && name != header::CONTENT_TYPE {
            headers.remove(name);
        }
    }
    let ours = |name: &&HeaderName| {
        let name = name.as_str();
        matches!(
            name,
            "connection"
                | "keep-alive"
                | "proxy-authorization"
                | "proxy-connection"
                | "te"
                | "trailer"
                | "upgrade"
                | "forwarded"
                | "x-real-ip"
                | "x-original-url"
                | "x-rewrite-url"
                | "x-http-method-override"
        ) || name.starts_with("x-shop-")
            || name.starts_with("x-internal-")
            || name.starts_with("x-forwarded-")
    };
    while let Some(name) = headers.keys().find(ours).cloned() {
        headers.remove(name);
    }
    if is_tls {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
    }
}

/// Whether a proxy of ours says that the public spoke TLS; without a proxy nobody may say so.
#[must_use]
pub fn is_tls(headers: &HeaderMap, config: &GatewayConfig) -> bool {
    config.tls
        && (config.proxies == 0 || text(headers, &FORWARDED_PROTO).is_none_or(|proto| proto == "https"))
}

/// Tells browsers how to treat an answer, where the service did not.
pub fn protect(headers: &mut HeaderMap, is_api: bool, is_tls: bool) {
    let mut unless_said = |name: HeaderName, value: HeaderValue| {
        headers.entry(name).or_insert(value);
    };
    unless_said(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    if is_api {
        unless_said(header::CONTENT_SECURITY_POLICY, API_POLICY);
        unless_said(header::CACHE_CONTROL, NO_STORE);
    } else {
        unless_said(header::REFERRER_POLICY, SAME_ORIGIN);
        unless_said(header::X_FRAME_OPTIONS, DENY);
    }
    if is_tls {
        unless_said(header::STRICT_TRANSPORT_SECURITY, TLS_ONLY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_from_outside_is_taken_only_when_it_is_harmless() {
        assert!(is_request_id("req_0198c7e2-abc"));
        for wrong in
            ["short", "has space in it", "line\nbreak-in-it", "<script>alert</script>", &"x".repeat(65)]
        {
            assert!(!is_request_id(wrong), "{wrong:?}");
        }
        assert!(is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for wrong in [
            "",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(!is_traceparent(wrong), "{wrong}");
        }
    }

    #[test]
    fn what_only_we_may_say_is_taken_off() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-shop-envelope", "forged"),
            ("x-shop-envelope-mac", "forged"),
            ("x-internal-user", "admin"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=6.6.6.6"),
            ("connection", "close, x-custom"),
            ("x-custom", "1"),
            ("idempotency-key", "k"),
            ("content-type", "application/json"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip(&mut headers, false);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-type", "idempotency-key"]);
    }

    #[test]
    fn a_credential_is_a_users_token_or_something_for_a_service() {
        let taken = |authorization: Option<&str>, uri: &str| {
            let mut request = Request::get(uri);
            if let Some(value) = authorization {
                request = request.header("authorization", value);
            }
            take_credential(&mut request.body(Body::empty()).expect("a request"))
        };
        assert_eq!(taken(None, "/v1/me").expect("fine"), Credential::None);
        assert_eq!(taken(Some("Bearer a.b.c"), "/").expect("fine"), Credential::Token("a.b.c".into()));
        assert_eq!(taken(Some("bearer oat_1"), "/").expect("fine"), Credential::Opaque("oat_1".into()));
        assert_eq!(taken(Some("Bearer op_x.y"), "/").expect("fine"), Credential::Pass("op_x.y".into()));
        let query = taken(None, "/v1/orders/1?x=1&access_token=oat_1").expect("fine");
        assert_eq!(query, Credential::Opaque("oat_1".into()));
        let long = format!("Bearer {}", "x".repeat(300));
        for wrong in ["Basic YTpi", "Bearer", "Bearer ", "a.b.c", &long] {
            assert_eq!(
                taken(Some(wrong), "/").map_err(|problem| problem.code),
                Err(Code::Unauthenticated),
                "{wrong}"
            );
        }
    }
}
