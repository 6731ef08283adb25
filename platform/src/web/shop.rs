//! The way from the pages to the services: the public contract, asked on behalf of the person who looks.
//!
//! A page never asks for more than its reader may see: the reader's identity goes along, and the service decides.

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::capabilities::Capabilities;
use crate::http::extract::BODY_BYTES_MAX;
use crate::http::{Code, Context, Problem};

/// The services, as a page sees them. Cheap to clone.
#[derive(Clone)]
pub struct Shop {
    capabilities: Capabilities,
}

/// No body.
const NOTHING: Option<&()> = None;

impl Shop {
    /// The services behind `capabilities`.
    #[must_use]
    pub fn new(capabilities: Capabilities) -> Self {
        Self { capabilities }
    }

    /// Reads `path` (with its query, escaped) of `service`.
    pub async fn get<A: DeserializeOwned>(
        &self,
        context: &Context,
        service: &'static str,
        path: &str,
    ) -> Result<A, Problem> {
        let endpoint = self.capabilities.endpoint(service);
        Ok(endpoint.call(&context.called_by("web"), Method::GET, path, NOTHING).await?)
    }

    /// Sends `body` to `path` of `service`.
    pub async fn send<B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        context: &Context,
        service: &'static str,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<A, Problem> {
        self.send_with(context, service, method, path, body, &[]).await.map(|(_, answer)| answer)
    }

    /// [`Shop::send`] with extra headers; answers the status too.
    pub async fn send_with<B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        context: &Context,
        service: &'static str,
        method: Method,
        path: &str,
        body: &B,
        headers: &[(&str, &str)],
    ) -> Result<(StatusCode, A), Problem> {
        let endpoint = self.capabilities.endpoint(service);
        Ok(endpoint.call_with(&context.called_by("web"), method, path, Some(body), headers).await?)
    }

    /// Sends `request` where the answer may have no body.
    pub async fn act(
        &self,
        context: &Context,
        service: &'static str,
        request: Request<Body>,
    ) -> Result<(), Problem> {
        let response = self.capabilities.endpoint(service).send(&context.called_by("web"), request).await?;
        if response.status().is_success() {
            return Ok(());
        }
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), BODY_BYTES_MAX).await.unwrap_or_default();
        Err(serde_json::from_slice(&body).unwrap_or_else(|_| {
            Problem::new(Code::BadGateway, format!("the {service} service answered {status}"))
        }))
    }

    /// Opens `path` of `service` and hands its answer on as it comes: for streams.
    pub async fn stream(
        &self,
        context: &Context,
        service: &'static str,
        path: &str,
        last_event_id: Option<&str>,
    ) -> Result<Response<Body>, Problem> {
        let mut request = Request::builder().uri(path).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let request = request.body(Body::empty()).map_err(|error| Problem::internal(&error))?;
        Ok(self.capabilities.endpoint(service).send(&context.called_by("web"), request).await?)
    }
}

/// `text` escaped so that it is one segment of a path, or one value of a query.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A query of those `pairs` whose value is not empty, with its question mark; nothing when there is none.
#[must_use]
pub fn query(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = pairs.iter().filter(|(_, value)| !value.is_empty()).collect();
    match serde_urlencoded::to_string(&pairs) {
        Ok(text) if !text.is_empty() => format!("?{text}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_cannot_leave_its_place_in_an_address() {
        assert_eq!(segment("../admin?x=1#y"), "..%2Fadmin%3Fx%3D1%23y");
        assert_eq!(segment("LAMP-1"), "LAMP-1");
        assert_eq!(query(&[("q", "a&b"), ("cursor", "")]), "?q=a%26b");
        assert_eq!(query(&[("q", "")]), "");
    }
}
