//! What siblings, pages and tools may ask of the payment service, and the words of its answers.

use axum::http::Method;
use serde::{Deserialize, Serialize};

use crate::http::{CallError, Context, Endpoint, Page};
use crate::vocabulary::{Money, OrderId, PaymentId, Timestamp};

/// Asks the provider to hold money for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorize {
    /// How much: the order's total.
    pub amount: Money,
    /// The provider's opaque token of how the buyer pays: `pm_card_visa`. Never a card number.
    pub payment_method: String,
    /// Names this act: `auth:{order_id}:{n}`. The same key is the same act, however often it is asked.
    pub key: String,
}

/// Asks for a capture or a void, which need no more than a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// Names this act.
    pub key: String,
}

/// Asks to give money back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refund {
    /// How much; at most what was captured and not yet given back.
    pub amount: Money,
    /// Names this act.
    pub key: String,
}

/// What came of an act. The same act may be asked again with its key any number of times; once its outcome is known
/// the answer stays the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum PaymentResult {
    /// The money is held.
    Authorized {
        /// How much is held.
        amount: Money,
    },
    /// The money is ours.
    Captured {
        /// How much was taken.
        amount: Money,
    },
    /// Nothing is held any more.
    Voided {
        /// How much was held before.
        amount: Money,
    },
    /// The money went back.
    Refunded {
        /// How much went back by this act.
        amount: Money,
    },
    /// Refused for good, and nothing happened: asking again with this key answers the same.
    Declined {
        /// The provider's code: `card_declined`, `insufficient_funds`.
        code: String,
        /// Words for the buyer.
        message: String,
    },
    /// Nothing happened, because the provider cannot be reached now. Ask again with the same key.
    Unavailable {
        /// When it is worth asking again.
        retry_after_ms: u64,
    },
    /// It may have happened or not; the service finds out by itself. Ask again with the same key to hear the outcome;
    /// never treat it as a failure.
    Unknown {
        /// Why it is not known.
        reason: String,
    },
}

impl PaymentResult {
    /// Whether the outcome will never change.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Unavailable { .. } | Self::Unknown { .. })
    }
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// Asked for, not answered.
    Pending,
    /// Held.
    Authorized,
    /// Taken.
    Captured,
    /// Partly given back.
    PartiallyRefunded,
    /// Given back whole.
    Refunded,
    /// Let go without being taken.
    Voided,
    /// Declined.
    Failed,
}

impl PaymentStatus {
    /// Every status.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Authorized,
        Self::Captured,
        Self::PartiallyRefunded,
        Self::Refunded,
        Self::Voided,
        Self::Failed,
    ];

    /// The word on the wire and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Authorized => "authorized",
            Self::Captured => "captured",
            Self::PartiallyRefunded => "partially_refunded",
            Self::Refunded => "refunded",
            Self::Voided => "voided",
            Self::Failed => "failed",
        }
    }
}

impl std::str::FromStr for PaymentStatus {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(())
    }
}

/// The payment of one order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The payment.
    pub id: PaymentId,
    /// Its order.
    pub order_id: OrderId,
    /// Where it stands.
    pub status: PaymentStatus,
    /// What the order costs.
    pub amount: Money,
    /// How much the provider holds or held for us.
    pub authorized: Money,
    /// How much was taken.
    pub captured: Money,
    /// How much of that went back.
    pub refunded: Money,
    /// Who carries it: `stripe`, `manual`.
    pub provider: String,
    /// The provider's name for it.
    pub provider_reference: Option<String>,
    /// The act whose outcome is not known yet: `authorize`, `capture`, `void`, `refund`.
    pub pending_operation: Option<String>,
    /// When it was first asked for.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// How our books and the provider's compare for one payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The same on both sides.
    Match,
    /// Another amount captured, refunded or held.
    Mismatch,
    /// One side does not know it.
    Missing,
    /// The provider took money for one order more than once.
    Duplicate,
    /// The two contradict each other: another currency, or final states that exclude each other.
    Conflicting,
}

/// The money of one payment as one side's books have it, in minor units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The side's name for the payment.
    pub reference: String,
    /// The side's word for where it stands.
    pub status: String,
    /// The currency.
    pub currency: String,
    /// Held and not taken.
    pub held: i64,
    /// Taken.
    pub captured: i64,
    /// Given back.
    pub refunded: i64,
}

/// One payment that was compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The order, when either side names it.
    pub order_id: Option<OrderId>,
    /// How the two compare.
    pub verdict: Verdict,
    /// Our books.
    pub ours: Option<Standing>,
    /// The provider's: more than one when it is a duplicate.
    pub theirs: Vec<Standing>,
    /// An act is under way whose outcome is not known yet, so a difference may still settle by itself.
    pub settling: bool,
}

/// Our captured and refunded money beside the provider's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// The provider.
    pub provider: String,
    /// Payments made before this were not compared.
    pub since: Timestamp,
    /// When the books were read.
    pub at: Timestamp,
    /// How many payments were compared.
    pub compared: u64,
    /// How many were the same.
    pub matches: u64,
    /// Those that differ, oldest first.
    pub differences: Vec<Comparison>,
}

/// A circuit breaker as the operations page shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerView {
    /// `stripe-authorize`, `stripe-settle`.
    pub name: String,
    /// `closed`, `open`, `half_open`.
    pub state: String,
    /// Since when.
    pub since: Timestamp,
    /// When an open breaker lets the next probe through.
    pub retry_at: Option<Timestamp>,
    /// Calls in the window.
    pub calls: u64,
    /// Calls in the window that failed or were slow.
    pub failures: u64,
    /// A person holds it open, and why.
    pub held_open: Option<String>,
    /// How often it has opened since the process started.
    pub opened_total: u64,
}

/// The payment service's typed client.
#[derive(Clone, Debug)]
pub struct PaymentClient {
    endpoint: Endpoint,
}

impl PaymentClient {
    /// A client of the service at `endpoint`.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Holds money for an order.
    pub async fn authorize(
        &self,
        context: &Context,
        order_id: OrderId,
        authorize: &Authorize,
    ) -> Result<PaymentResult, CallError> {
        self.act(context, order_id, "authorize", authorize).await
    }

    /// Takes the money that is held.
    pub async fn capture(
        &self,
        context: &Context,
        order_id: OrderId,
        key: &str,
    ) -> Result<PaymentResult, CallError> {
        self.act(context, order_id, "capture", &Act { key: key.to_owned() }).await
    }

    /// Lets go of the money that is held. An order that never had any held answers `voided` with nothing.
    pub async fn void(
        &self,
        context: &Context,
        order_id: OrderId,
        key: &str,
    ) -> Result<PaymentResult, CallError> {
        self.act(context, order_id, "void", &Act { key: key.to_owned() }).await
    }

    /// Gives captured money back.
    pub async fn refund(
        &self,
        context: &Context,
        order_id: OrderId,
        amount: Money,
        key: &str,
    ) -> Result<PaymentResult, CallError> {
        self.act(context, order_id, "refund", &Refund { amount, key: key.to_owned() }).await
    }

    async fn act<B: Serialize + Sync>(
        &self,
        context: &Context,
        order_id: OrderId,
        verb: &str,
        body: &B,
    ) -> Result<PaymentResult, CallError> {
        let path = format!("/internal/v1/payments/{order_id}/{verb}");
        self.endpoint.call(context, Method::POST, &path, Some(body)).await
    }

    /// The payment of an order; a problem `not_found` when none was ever asked for.
    pub async fn get(&self, context: &Context, order_id: OrderId) -> Result<Payment, CallError> {
        let path = format!("/internal/v1/payments/{order_id}");
        self.endpoint.call(context, Method::GET, &path, None::<&()>).await
    }

    /// Staff: the payments, newest first. `query` is the query string (`status`, `limit`, `cursor`), escaped.
    pub async fn list(&self, context: &Context, query: &str) -> Result<Page<Payment>, CallError> {
        let path = format!("/v1/admin/payments?{query}");
        self.endpoint.call(context, Method::GET, &path, None::<&()>).await
    }

    /// Staff: compares our books with the provider's, from `since` on (a day back when absent).
    pub async fn reconcile(
        &self,
        context: &Context,
        since: Option<Timestamp>,
    ) -> Result<Reconciliation, CallError> {
        let query = since.map(|since| format!("?since={since}")).unwrap_or_default();
        let path = format!("/v1/admin/reconcile{query}");
        self.endpoint.call(context, Method::GET, &path, None::<&()>).await
    }

    /// Staff: the breakers.
    pub async fn breakers(&self, context: &Context) -> Result<Page<BreakerView>, CallError> {
        self.endpoint.call(context, Method::GET, "/v1/admin/breakers", None::<&()>).await
    }

    /// Staff: holds a breaker open, whatever the provider does, until it is closed by hand.
    pub async fn open_breaker(
        &self,
        context: &Context,
        name: &str,
        reason: &str,
    ) -> Result<BreakerView, CallError> {
        self.turn(context, name, "open", reason).await
    }

    /// Staff: closes a breaker.
    pub async fn close_breaker(
        &self,
        context: &Context,
        name: &str,
        reason: &str,
    ) -> Result<BreakerView, CallError> {
        self.turn(context, name, "close", reason).await
    }

    async fn turn(
        &self,
        context: &Context,
        name: &str,
        verb: &str,
        reason: &str,
    ) -> Result<BreakerView, CallError> {
        let path = format!("/v1/admin/breakers/{name}/{verb}");
        let body = TurnBreaker { reason: reason.to_owned() };
        self.endpoint.call(context, Method::POST, &path, Some(&body)).await
    }
}

/// Why a person opens or closes a breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnBreaker {
    /// For the audit.
    pub reason: String,
}
