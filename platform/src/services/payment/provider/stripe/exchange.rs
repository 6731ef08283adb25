//! A request on the wire, and what its answer proves.

use bytes::Bytes;
use hyper::Response;

use super::wire::{ErrorAnswer, Intent, RefundObject};
use crate::services::payment::model::Operation;
use crate::services::payment::provider::{ProviderAnswer, ProviderRequest, Snapshot, Stage};
use crate::vocabulary::Timestamp;

/// The path and the form of a request.
pub(super) fn encode(request: &ProviderRequest) -> (String, String) {
    let reference = request.reference.as_deref().unwrap_or_default();
    let (order_id, amount) = (request.order_id.to_string(), request.amount.to_string());
    let currency = request.currency.as_str().to_ascii_lowercase();
    let (path, pairs): (String, Vec<(&str, &str)>) = match request.operation {
        Operation::Authorize => (
            "/v1/payment_intents".to_owned(),
            vec![
                ("amount", &amount),
                ("currency", &currency),
                ("payment_method", request.payment_method.as_deref().unwrap_or_default()),
                ("payment_method_types[]", "card"),
                ("capture_method", "manual"),
                ("confirm", "true"),
                ("metadata[order_id]", &order_id),
                ("metadata[key]", &request.idem_key),
            ],
        ),
        Operation::Capture => {
            (format!("/v1/payment_intents/{reference}/capture"), vec![("amount_to_capture", &amount)])
        }
        Operation::Void => (format!("/v1/payment_intents/{reference}/cancel"), vec![]),
        Operation::Refund => (
            "/v1/refunds".to_owned(),
            vec![
                ("payment_intent", reference),
                ("amount", &amount),
                ("metadata[order_id]", &order_id),
                ("metadata[key]", &request.idem_key),
            ],
        ),
    };
    (path, serde_urlencoded::to_string(pairs).unwrap_or_default())
}

/// What `response` proves.
pub(super) fn judge(request: &ProviderRequest, response: &Response<Bytes>) -> ProviderAnswer {
    let status = response.status().as_u16();
    let body = response.body();
    if status == 200 {
        return done(request, body);
    }
    if status >= 500 {
        let reason = format!("the provider answered {status}");
        return if header(response, "idempotent-replayed") == Some("true") {
            ProviderAnswer::FailedForGood { reason, at: header(response, "date").and_then(parse_date) }
        } else {
            unknown(reason)
        };
    }
    let Ok(ErrorAnswer { error }) = serde_json::from_slice::<ErrorAnswer>(body) else {
        return unknown(format!("the provider answered {status} and no error that can be read"));
    };
    let (code, message) = error.words();
    match status {
        // Nothing begins without a key that is known, or over the rate limit: it may be tried again.
        401 | 403 | 429 => ProviderAnswer::NotBegun {
            reason: format!("the provider answered {status}: {message}"),
            reached: true,
        },
        // The first one with this key is still at work, or it was another request: neither proves anything.
        _ if status == 409 || error.kind == "idempotency_error" => {
            tracing::error!(code, "the provider refused an idempotency key");
            unknown(format!("the provider refused the key: {message}"))
        }
        _ => {
            let intent = error.payment_intent.as_deref();
            // "Cannot capture: it has a status of succeeded" says that it is done.
            let done = intent
                .filter(|_| error.code.as_deref() == Some("payment_intent_unexpected_state"))
                .and_then(|intent| intent.proves(request.operation))
                .filter(|_| matches!(request.operation, Operation::Capture | Operation::Void));
            let reference = intent.map(|intent| intent.id.clone());
            done.unwrap_or(ProviderAnswer::Declined { code, message, reference })
        }
    }
}

fn done(request: &ProviderRequest, body: &[u8]) -> ProviderAnswer {
    let nonsense = |error: serde_json::Error| unknown(format!("the answer cannot be read: {error}"));
    if request.operation == Operation::Refund {
        return match serde_json::from_slice::<RefundObject>(body) {
            Ok(refund) if matches!(refund.status.as_deref(), Some("failed" | "canceled")) => {
                let message = "the provider could not give the money back".to_owned();
                ProviderAnswer::Declined { code: "refund_failed".to_owned(), message, reference: None }
            }
            Ok(_) => ProviderAnswer::Done(Snapshot {
                reference: request.reference.clone().unwrap_or_default(),
                order_id: Some(request.order_id),
                stage: Stage::Taken,
                held: 0,
                captured: 0,
                currency: request.currency,
                declined: None,
            }),
            Err(error) => nonsense(error),
        };
    }
    match serde_json::from_slice::<Intent>(body) {
        Ok(intent) => intent
            .proves(request.operation)
            .unwrap_or_else(|| unknown(format!("the provider answered 200 with status {}", intent.status))),
        Err(error) => nonsense(error),
    }
}

/// It answered, and proved nothing.
fn unknown(reason: String) -> ProviderAnswer {
    ProviderAnswer::Unknown { reason, reached: true }
}

fn header<'a>(response: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// `Mon, 23 Nov 2026 12:09:56 GMT`
fn parse_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
}
