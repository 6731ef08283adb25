//! The rules of a payment, without a database, a network or a clock.
//!
//! [`decide`] says what an ask means for what is known; [`settle`] what a provider's answer means for it. The first is
//! followed by writing the intent, the second by writing the outcome.

mod decide;
mod settle;
#[cfg(test)]
mod tests;

use std::str::FromStr;

pub use decide::{Decision, decide};
pub use settle::{
    ACCOUNT_PROVIDER, ACCOUNT_REFUNDS, ACCOUNT_SALES, LedgerLine, Settlement, settle, supersede,
};

use super::client::{PaymentResult, PaymentStatus};
use super::provider::ProviderRequest;
use crate::vocabulary::{AttemptId, Money, OrderId, PaymentId, Timestamp};

/// What is asked of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Hold money.
    Authorize,
    /// Take what is held.
    Capture,
    /// Let go of what is held.
    Void,
    /// Give back what was taken.
    Refund,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 4] = [Self::Authorize, Self::Capture, Self::Void, Self::Refund];

    /// The word in tables and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund => "refund",
        }
    }
}

impl FromStr for Operation {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|operation| operation.as_str() == text).ok_or(())
    }
}

/// A payment as its row has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The payment.
    pub id: PaymentId,
    /// Its order.
    pub order_id: OrderId,
    /// What the order costs.
    pub amount: Money,
    /// Where it stands.
    pub status: PaymentStatus,
    /// Minor units that were ever held.
    pub authorized: i64,
    /// Minor units that were taken.
    pub captured: i64,
    /// Minor units that went back.
    pub refunded: i64,
    /// Who carries it.
    pub provider: String,
    /// The provider's name for it.
    pub reference: Option<String>,
    /// Guards changes.
    pub version: i64,
    /// Events that were told of it.
    pub told: i64,
    /// When it was first asked for.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Where an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptState {
    /// It may have been sent; its outcome is not known.
    Open,
    /// The provider's replay is a failure of its own for ever: its books must be read.
    Lookup,
    /// Nothing happened; it may be sent.
    Unsent,
    /// It happened.
    Done,
    /// It was refused for good.
    Declined,
    /// Nothing happened, and the act went on under another key.
    Superseded,
}

impl AttemptState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Open, Self::Lookup, Self::Unsent, Self::Done, Self::Declined, Self::Superseded];

    /// The word in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Lookup => "lookup",
            Self::Unsent => "unsent",
            Self::Done => "done",
            Self::Declined => "declined",
            Self::Superseded => "superseded",
        }
    }

    /// Whether its outcome is not known.
    #[must_use]
    pub const fn is_unknown(self) -> bool {
        matches!(self, Self::Open | Self::Lookup)
    }
}

impl FromStr for AttemptState {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

/// One act at the provider, as its row has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The attempt.
    pub id: AttemptId,
    /// The payment.
    pub payment_id: PaymentId,
    /// Its place among the payment's attempts, from 1.
    pub n: i64,
    /// What is asked.
    pub operation: Operation,
    /// The caller's name for the act.
    pub act_key: String,
    /// The provider's idempotency key.
    pub idem_key: String,
    /// Minor units.
    pub amount: i64,
    /// The token of how the buyer pays (authorise).
    pub payment_method: Option<String>,
    /// The provider's name for the payment, as it was known at the intent.
    pub reference: Option<String>,
    /// Where it stands.
    pub state: AttemptState,
    /// What came of it, once known.
    pub outcome: Option<PaymentResult>,
    /// How often the resolver took it up.
    pub tries: i64,
    /// When the resolver looks at it.
    pub next_at: Timestamp,
    /// The provider's time of its lasting failure.
    pub failed_at: Option<Timestamp>,
    /// The request that asked.
    pub request_id: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Attempt {
    /// The request that it stands for, the same every time.
    #[must_use]
    pub fn request(&self, record: &Record) -> ProviderRequest {
        ProviderRequest {
            operation: self.operation,
            order_id: record.order_id,
            amount: self.amount,
            currency: record.amount.currency,
            payment_method: self.payment_method.clone(),
            reference: self.reference.clone(),
            idem_key: self.idem_key.clone(),
        }
    }
}

/// What somebody asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The order.
    pub order_id: OrderId,
    /// What to do.
    pub operation: Operation,
    /// The caller's name for the act.
    pub key: String,
    /// How much (authorise, refund).
    pub amount: Option<Money>,
    /// How the buyer pays (authorise).
    pub payment_method: Option<String>,
}

/// A new attempt, without what only the store can give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Its place among the payment's attempts.
    pub n: i64,
    /// What to do.
    pub operation: Operation,
    /// The caller's name for the act.
    pub act_key: String,
    /// The provider's idempotency key.
    pub idem_key: String,
    /// Minor units.
    pub amount: i64,
    /// How the buyer pays.
    pub payment_method: Option<String>,
    /// The provider's name for the payment.
    pub reference: Option<String>,
}
