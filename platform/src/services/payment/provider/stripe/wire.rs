//! Stripe's objects, as much of them as the shop reads.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use crate::services::payment::client::Standing;
use crate::services::payment::model::Operation;
use crate::services::payment::provider::{ProviderAnswer, Snapshot, Stage};
use crate::vocabulary::{Currency, OrderId};

#[derive(Debug, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) amount_capturable: i64,
    #[serde(default)]
    pub(super) amount_received: i64,
    pub(super) currency: Currency,
    #[serde(default)]
    pub(super) metadata: HashMap<String, String>,
    #[serde(default)]
    pub(super) last_payment_error: Option<ErrorBody>,
    /// An id, or the charge itself when it was asked for.
    #[serde(default)]
    pub(super) latest_charge: Value,
}

#[derive(Debug, Deserialize)]
pub(super) struct ErrorAnswer {
    pub(super) error: ErrorBody,
}

#[derive(Debug, Deserialize)]
pub(super) struct ErrorBody {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) code: Option<String>,
    #[serde(default)]
    pub(super) decline_code: Option<String>,
    #[serde(default)]
    pub(super) message: Option<String>,
    #[serde(default)]
    pub(super) payment_intent: Option<Box<Intent>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    pub(super) has_more: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct RefundObject {
    #[serde(default)]
    pub(super) metadata: HashMap<String, String>,
    #[serde(default)]
    pub(super) status: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Charge {
    pub(super) payment_intent: Option<String>,
    #[serde(default)]
    pub(super) amount_refunded: i64,
    #[serde(default)]
    pub(super) metadata: HashMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct EventObject {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) data: EventData,
}

#[derive(Debug, Deserialize)]
pub(super) struct EventData {
    pub(super) object: Value,
}

impl Intent {
    pub(super) fn order_id(&self) -> Option<OrderId> {
        self.metadata.get("order_id").and_then(|id| id.parse().ok())
    }

    pub(super) fn stage(&self) -> Option<Stage> {
        match self.status.as_str() {
            "requires_capture" => Some(Stage::Held),
            "succeeded" => Some(Stage::Taken),
            "canceled" => Some(Stage::Canceled),
            "requires_payment_method" | "requires_confirmation" | "requires_action" => Some(Stage::Waiting),
            // `processing`, or a word of a newer API: wait and see.
            _ => None,
        }
    }

    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        Some(Snapshot {
            reference: self.id.clone(),
            order_id: self.order_id(),
            stage: self.stage()?,
            held: self.amount_capturable,
            captured: self.amount_received,
            currency: self.currency,
            declined: self.last_payment_error.as_ref().map(ErrorBody::words),
        })
    }

    /// What an intent says about whether `operation` was done: nothing when it was not.
    pub(super) fn proves(&self, operation: Operation) -> Option<ProviderAnswer> {
        let snapshot = self.snapshot()?;
        match (operation, snapshot.stage) {
            (Operation::Authorize, Stage::Held | Stage::Taken)
            | (Operation::Capture, Stage::Taken)
            | (Operation::Void, Stage::Canceled) => Some(ProviderAnswer::Done(snapshot)),
            (Operation::Authorize, Stage::Waiting) => {
                let (code, message) = snapshot.declined.clone().or_else(|| {
                    let needs_more = self.status == "requires_action";
                    needs_more.then(|| {
                        let words = "the bank wants to hear from the buyer, which this shop cannot arrange";
                        ("authentication_required".to_owned(), words.to_owned())
                    })
                })?;
                Some(ProviderAnswer::Declined { code, message, reference: Some(snapshot.reference) })
            }
            _ => None,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        let refunded = self.latest_charge.get("amount_refunded").and_then(Value::as_i64).unwrap_or(0);
        Standing {
            reference: self.id.clone(),
            status: self.status.clone(),
            currency: self.currency.as_str().to_owned(),
            held: self.amount_capturable,
            captured: self.amount_received,
            refunded,
        }
    }
}

impl ErrorBody {
    /// The code that says most, and words for people.
    pub(super) fn words(&self) -> (String, String) {
        let code =
            self.decline_code.as_ref().filter(|code| *code != "generic_decline").or(self.code.as_ref());
        let code = code.cloned().unwrap_or_else(|| self.kind.clone());
        (code, self.message.clone().unwrap_or_else(|| "the provider refused".to_owned()))
    }
}
