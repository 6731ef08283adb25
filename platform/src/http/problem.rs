//! Errors on the wire: RFC 9457 `application/problem+json` with a stable `code`.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// What went wrong, stable for clients. The word on the wire is the snake_case name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request could not be read at all.
    Malformed,
    /// The call needs an `Idempotency-Key`.
    IdempotencyKeyRequired,
    /// No valid token.
    Unauthenticated,
    /// E-mail or password is wrong; which of them is not told.
    BadCredentials,
    /// A refresh token was used a second time: its family is revoked.
    RefreshReused,
    /// The payment provider declined.
    PaymentDeclined,
    /// Known, but not allowed.
    Forbidden,
    /// Absent, or somebody else's.
    NotFound,
    /// No such SKU.
    UnknownSku,
    /// The method is not for this path.
    MethodNotAllowed,
    /// Not enough units.
    OutOfStock,
    /// The e-mail has an account.
    EmailTaken,
    /// The order's state does not allow it.
    OrderStateConflict,
    /// Something changed meanwhile, or stands in the way.
    Conflict,
    /// The body is over the limit.
    BodyTooLarge,
    /// The content type is not taken.
    UnsupportedMediaType,
    /// Well-formed, but some field is not acceptable.
    ValidationFailed,
    /// The key was used with another body.
    IdempotencyKeyReused,
    /// The promotion does not apply.
    PromotionInvalid,
    /// Too many requests.
    RateLimited,
    /// A bug; logged with its chain under the request id.
    Internal,
    /// The provider or a sibling answered nonsense.
    BadGateway,
    /// Too much to do: shed.
    Overloaded,
    /// A dependency does not answer.
    Unavailable,
    /// The deadline passed.
    Timeout,
}

impl Code {
    /// The HTTP status it goes with.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Malformed | Self::IdempotencyKeyRequired => StatusCode::BAD_REQUEST,
            Self::Unauthenticated | Self::BadCredentials | Self::RefreshReused => StatusCode::UNAUTHORIZED,
            Self::PaymentDeclined => StatusCode::PAYMENT_REQUIRED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound | Self::UnknownSku => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::OutOfStock | Self::EmailTaken | Self::OrderStateConflict | Self::Conflict => {
                StatusCode::CONFLICT
            }
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::ValidationFailed | Self::IdempotencyKeyReused | Self::PromotionInvalid => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::Overloaded | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// One line for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Malformed => "The request could not be read",
            Self::IdempotencyKeyRequired => "An Idempotency-Key header is required",
            Self::Unauthenticated => "Sign in first",
            Self::BadCredentials => "E-mail or password is wrong",
            Self::RefreshReused => "The refresh token was already used",
            Self::PaymentDeclined => "The payment was declined",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::UnknownSku => "No such SKU",
            Self::MethodNotAllowed => "Method not allowed",
            Self::OutOfStock => "Not enough in stock",
            Self::EmailTaken => "The e-mail has an account already",
            Self::OrderStateConflict => "The order's state does not allow this",
            Self::Conflict => "Conflict",
            Self::BodyTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The content type is not accepted",
            Self::ValidationFailed => "Some fields are not acceptable",
            Self::IdempotencyKeyReused => "The Idempotency-Key was used with another request",
            Self::PromotionInvalid => "The promotion does not apply",
            Self::RateLimited => "Too many requests",
            Self::Internal => "Something went wrong on our side",
            Self::BadGateway => "A dependency answered nonsense",
            Self::Overloaded => "Too busy right now",
            Self::Unavailable => "A dependency is not available",
            Self::Timeout => "It took too long",
        }
    }
}

/// One field that is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// A JSON pointer into the body: `/lines/0/quantity`.
    pub pointer: String,
    /// What is wrong with it.
    pub message: String,
}

/// An error as a client sees it.
///
/// `request_id` is filled in by the edge that sends it; everything else is the raiser's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank#<code>`: a stable name for the kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This case in words: what was tried and what to do.
    pub detail: String,
    /// The stable code.
    pub code: Code,
    /// The request it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The fields at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Seconds after which to try again; also sent as `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// What else this kind carries (`order_id`, `items`).
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// A problem of `code`; `detail` says what happened in this case.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let word = serde_json::to_value(code).ok().and_then(|word| word.as_str().map(str::to_owned));
        Self {
            kind: format!("about:blank#{}", word.unwrap_or_default()),
            title: code.title().to_owned(),
            status: code.status().as_u16(),
            detail: detail.into(),
            code,
            request_id: None,
            errors: Vec::new(),
            retry_after: None,
            extra: serde_json::Map::new(),
        }
    }

    /// Absent, or somebody else's: the two look the same.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// One field is not acceptable.
    #[must_use]
    pub fn invalid(pointer: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let mut problem = Self::new(Code::ValidationFailed, message.clone());
        problem.errors.push(FieldError { pointer: pointer.to_owned(), message });
        problem
    }

    /// Several fields are not acceptable.
    #[must_use]
    pub fn invalid_fields(errors: Vec<FieldError>) -> Self {
        let detail = errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; ");
        let mut problem = Self::new(Code::ValidationFailed, detail);
        problem.errors = errors;
        problem
    }

    /// A bug: logs `error` with its chain and tells the client nothing of it.
    #[must_use]
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut chain = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            chain.push_str(": ");
            chain.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!(error = chain, "request failed unexpectedly");
        Self::new(Code::Internal, "the failure was logged under this request id")
    }

    /// Adds a fact of this kind.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        self.extra.insert(key.to_owned(), value.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after.as_secs().max(1));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<crate::storage::StorageError> for Problem {
    /// Storage that is away is 503 and worth another try; everything else that a caller did not map is a bug.
    fn from(error: crate::storage::StorageError) -> Self {
        use crate::storage::StorageError;
        match error {
            StorageError::Unavailable(_) | StorageError::Full(_) | StorageError::Unknown(_) => {
                tracing::warn!(%error, "storage failed");
                Self::new(Code::Unavailable, "storage is not available, try again")
                    .retry_after(Duration::from_secs(1))
            }
            other => Self::internal(&other),
        }
    }
}
