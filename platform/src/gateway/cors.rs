//! Calls from a browser at another origin: off, unless the configuration names the origin.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The origin that asks, when the configuration names it.
#[must_use]
pub(super) fn allowed_origin(headers: &HeaderMap, allowed: &[String]) -> Option<HeaderValue> {
    if allowed.is_empty() {
        return None;
    }
    let origin = headers.get(header::ORIGIN)?;
    allowed.iter().any(|one| one.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

/// What a browser asks before it sends a request that is more than a form could send.
pub(super) fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, idempotency-key, if-none-match, last-event-id, prefer, x-request-id, traceparent",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Lets the asking origin read the answer. Credentials of the browser (cookies) are never part of it.
pub(super) fn tell(headers: &mut HeaderMap, origin: Option<&HeaderValue>, is_on: bool) {
    if is_on {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    let Some(origin) = origin else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "etag, location, retry-after, ratelimit-limit, ratelimit-remaining, ratelimit-reset, x-request-id",
        ),
    );
}
