//! The switchboard: faults on and off, and the statement, for whoever holds the control token.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};

use super::Sandbox;
use super::api::knows_key;
use super::faults::Fault;

impl Sandbox {
    /// Answers what is not the provider's API: `/control/…` and `/healthz`.
    pub(super) async fn control(&self, parts: &Parts, body: &[u8]) -> Response<Body> {
        let path = parts.uri.path();
        if path == "/healthz" {
            return answer(StatusCode::OK, &json!({ "status": "ok" }));
        }
        if !path.starts_with("/control/") {
            return refuse(StatusCode::NOT_FOUND, "nothing answers here: the API is under /v1");
        }
        if !knows_key(&parts.headers, &self.secrets.control_token) {
            return refuse(StatusCode::UNAUTHORIZED, "send the control token as a bearer");
        }
        match (&parts.method, path) {
            (&Method::GET, "/control/faults") => answer(StatusCode::OK, &json!(self.faults.current())),
            (&Method::PUT, "/control/faults") => self.set_fault(body),
            (&Method::DELETE, "/control/faults") => {
                self.faults.set(Fault::default());
                answer(StatusCode::OK, &json!(self.faults.current()))
            }
            (&Method::GET, "/control/statement") => match self.statement().await {
                Ok(statement) => answer(StatusCode::OK, &statement),
                Err(error) => answer(StatusCode::from_u16(error.status).unwrap_or_default(), &error.body()),
            },
            (method, path) => refuse(StatusCode::NOT_FOUND, &format!("nothing answers {method} {path}")),
        }
    }

    fn set_fault(&self, body: &[u8]) -> Response<Body> {
        match serde_json::from_slice::<Fault>(body) {
            Ok(fault) if (0.0..=1.0).contains(&fault.rate) => {
                self.faults.set(fault);
                answer(StatusCode::OK, &json!(fault))
            }
            Ok(_) => refuse(StatusCode::UNPROCESSABLE_ENTITY, "rate must be from 0 to 1"),
            Err(error) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &format!("no fault can be read: {error}")),
        }
    }
}

fn refuse(status: StatusCode, message: &str) -> Response<Body> {
    answer(status, &json!({ "error": { "type": "control_error", "message": message } }))
}

fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
