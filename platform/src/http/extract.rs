//! Extractors that answer with a problem instead of axum's own plain text.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Code, Context, Problem};
use crate::vocabulary::{Identity, Role};

/// The most a JSON body may have, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// A JSON body of at most 64 KiB; as an answer, JSON. Request types deny unknown fields themselves
/// (`#[serde(deny_unknown_fields)]`).
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = content_type.is_some_and(|value| {
            let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            essence == "application/json" || essence.ends_with("+json")
        });
        let body = read(request).await?;
        if !is_json && !body.is_empty() {
            return Err(Problem::new(Code::UnsupportedMediaType, "send `Content-Type: application/json`"));
        }
        parse(&body).map(Self)
    }
}

/// The whole body, refused over [`BODY_BYTES_MAX`].
pub async fn read(request: Request) -> Result<Bytes, Problem> {
    axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await.map_err(|error| {
        if is_too_long(&error) {
            Problem::new(Code::BodyTooLarge, format!("the body may have at most {BODY_BYTES_MAX} bytes"))
        } else {
            Problem::new(Code::Malformed, "the body ended early")
        }
    })
}

fn is_too_long(error: &axum::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if cause.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// Parses a JSON body: broken JSON is 400 `malformed`, a wrong type or an unknown field 422 `validation_failed`.
/// No body at all is read as an empty object.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let body = if body.is_empty() { b"{}".as_slice() } else { body };
    if std::str::from_utf8(body).is_err() {
        return Err(Problem::new(Code::Malformed, "the body is not valid UTF-8"));
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Problem::invalid(&pointer_of(&error), error.to_string()),
        _ => Problem::new(Code::Malformed, format!("the body is not valid JSON: {error}")),
    })
}

/// serde_json names the field in its message (``missing field `x` ``); the pointer repeats it for clients.
fn pointer_of(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let field = message.contains("field `").then(|| message.split('`').nth(1)).flatten();
    field.map_or_else(|| "/".to_owned(), |field| format!("/{field}"))
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => Problem::internal(&error).into_response(),
        }
    }
}

/// A path parameter that answers 404 when it does not parse: no such thing can exist.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(_)) => Err(Problem::not_found("resource")),
            Err(other) => Err(Problem::new(Code::Malformed, other.body_text())),
        }
    }
}

/// Query parameters; a wrong type is 422.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(QueryRejection::FailedToDeserializeQueryString(error)) => {
                Err(Problem::invalid("/", error.body_text()))
            }
            Err(other) => Err(Problem::new(Code::Malformed, other.body_text())),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Context {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Problem::new(Code::Unauthenticated, "the call carries no signed envelope"))
    }
}

/// A signed-in user, or 401.
#[derive(Clone, Debug)]
pub struct SignedIn(pub Arc<Identity>);

impl SignedIn {
    /// The user, when any of `roles` is held; 403 otherwise.
    pub fn with_any(&self, roles: &[Role]) -> Result<&Identity, Problem> {
        if self.0.is_any(roles) {
            Ok(&self.0)
        } else {
            let names = roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ");
            Err(Problem::new(Code::Forbidden, format!("this needs one of the roles {names}, or admin")))
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let context = Context::from_request_parts(parts, state).await?;
        let missing = || Problem::new(Code::Unauthenticated, "send `Authorization: Bearer <access_token>`");
        context.identity.map(Self).ok_or_else(missing)
    }
}

/// A sibling service calls; anybody else gets 404, as if the route did not exist.
#[derive(Clone, Debug)]
pub struct Internal(pub Context);

impl<S: Send + Sync> FromRequestParts<S> for Internal {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let context = Context::from_request_parts(parts, state).await?;
        match context.caller {
            Some(caller) if caller != "gateway" => Ok(Self(context)),
            _ => Err(Problem::not_found("resource")),
        }
    }
}

/// The `Idempotency-Key` header: 1 to 255 visible ASCII characters, required.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(pub String);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("idempotency-key") else {
            return Err(Problem::new(
                Code::IdempotencyKeyRequired,
                "send an `Idempotency-Key` header: any text of your own that is new for each thing you mean to do once",
            ));
        };
        match value.to_str() {
            Ok(key) if (1..=255).contains(&key.len()) => Ok(Self(key.to_owned())),
            _ => Err(Problem::invalid(
                "/idempotency-key",
                "the Idempotency-Key must be 1 to 255 ASCII characters",
            )),
        }
    }
}

/// What axum itself answers for an unknown path or method, as a problem. Mount as the router's fallback.
pub async fn no_such_route(method: axum::http::Method, uri: axum::http::Uri) -> Problem {
    Problem::new(Code::NotFound, format!("nothing answers {method} {}", uri.path()))
}

/// The fallback for a known path with another method.
pub async fn no_such_method(method: axum::http::Method, uri: axum::http::Uri) -> Problem {
    Problem::new(Code::MethodNotAllowed, format!("{} does not take {method}", uri.path()))
}

/// 201 with a JSON body.
pub fn created<T: Serialize>(body: T) -> Response {
    (StatusCode::CREATED, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[expect(dead_code, reason = "only its type matters here")]
        quantity: i64,
    }

    #[test]
    fn a_body_is_refused_for_the_right_reason() {
        let code = |body: &[u8]| parse::<Body>(body).expect_err("refused").code;
        assert_eq!(code(b"{"), Code::Malformed);
        assert_eq!(code(b"\xff\xfe"), Code::Malformed);
        assert_eq!(code(b"{\"quantity\": \"two\"}"), Code::ValidationFailed);
        assert_eq!(code(b"{\"quantity\": 1e40}"), Code::ValidationFailed);
        let unknown = parse::<Body>(b"{\"quantity\": 1, \"price\": 1}").expect_err("refused");
        assert_eq!((unknown.code, unknown.errors[0].pointer.as_str()), (Code::ValidationFailed, "/price"));
    }
}
