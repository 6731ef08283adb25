//! What a provider's answer means for a payment.

use super::{Attempt, AttemptState, Intent, Operation, Record};
use crate::services::payment::client::{PaymentResult, PaymentStatus};
use crate::services::payment::provider::{ProviderAnswer, Snapshot, Stage};
use crate::vocabulary::{Money, Timestamp};

/// A line of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerLine {
    /// The account.
    pub account: &'static str,
    /// Minor units.
    pub debit: i64,
    /// Minor units.
    pub credit: i64,
}

/// Money that the provider owes us.
pub const ACCOUNT_PROVIDER: &str = "provider_receivable";
/// What was sold.
pub const ACCOUNT_SALES: &str = "sales";
/// What was given back.
pub const ACCOUNT_REFUNDS: &str = "refunds";

/// What a provider's answer means for a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The payment afterwards (version and time are the store's).
    pub record: Record,
    /// The attempt's state afterwards.
    pub state: AttemptState,
    /// What the caller hears.
    pub result: PaymentResult,
    /// Money that moved.
    pub ledger: Vec<LedgerLine>,
    /// What is to be told.
    pub event: Option<&'static str>,
    /// An act that follows at once: letting go of what should not have been held.
    pub follow_up: Option<Intent>,
    /// The provider's time of a lasting failure.
    pub failed_at: Option<Timestamp>,
}

/// What `answer` to `attempt` means for the payment. `None`: nothing is known yet, and nothing changes.
/// `may_have_left` says whether an earlier send of the same attempt may have reached the provider.
#[must_use]
pub fn settle(
    record: &Record,
    attempt: &Attempt,
    answer: &ProviderAnswer,
    may_have_left: bool,
) -> Option<Settlement> {
    let settlement = |state, result| Settlement {
        record: record.clone(),
        state,
        result,
        ledger: Vec::new(),
        event: None,
        follow_up: None,
        failed_at: None,
    };
    match answer {
        ProviderAnswer::Unknown { .. } => None,
        ProviderAnswer::NotBegun { .. } if may_have_left => None,
        ProviderAnswer::NotBegun { .. } => {
            Some(settlement(AttemptState::Unsent, PaymentResult::Unavailable { retry_after_ms: 500 }))
        }
        ProviderAnswer::FailedForGood { reason, at } => {
            let unknown = PaymentResult::Unknown { reason: reason.clone() };
            Some(Settlement { failed_at: *at, ..settlement(AttemptState::Lookup, unknown) })
        }
        ProviderAnswer::Declined { code, message, reference } => {
            let result = PaymentResult::Declined { code: code.clone(), message: message.clone() };
            let mut declined = settlement(AttemptState::Declined, result);
            if attempt.operation == Operation::Authorize {
                declined.record.status = PaymentStatus::Failed;
                declined.record.reference = reference.clone().or(declined.record.reference);
            }
            declined.event = Some("payment_declined");
            Some(declined)
        }
        ProviderAnswer::Done(snapshot) => Some(done(attempt, snapshot, settlement)),
    }
}

fn done(
    attempt: &Attempt,
    snapshot: &Snapshot,
    settlement: impl Fn(AttemptState, PaymentResult) -> Settlement,
) -> Settlement {
    let money = |amount| Money::new(amount, snapshot.currency);
    match attempt.operation {
        Operation::Authorize => authorized(attempt, snapshot, settlement),
        Operation::Capture => {
            let amount = snapshot.captured;
            let mut settled =
                settlement(AttemptState::Done, PaymentResult::Captured { amount: money(amount) });
            settled.record.status = PaymentStatus::Captured;
            settled.record.captured = amount;
            settled.ledger = vec![
                LedgerLine { account: ACCOUNT_PROVIDER, debit: amount, credit: 0 },
                LedgerLine { account: ACCOUNT_SALES, debit: 0, credit: amount },
            ];
            settled.event = Some("payment_captured");
            settled
        }
        Operation::Void => {
            let mut settled =
                settlement(AttemptState::Done, PaymentResult::Voided { amount: money(attempt.amount) });
            if settled.record.status != PaymentStatus::Failed {
                settled.record.status = PaymentStatus::Voided;
            }
            settled.event = Some("payment_voided");
            settled
        }
        Operation::Refund => {
            let mut settled =
                settlement(AttemptState::Done, PaymentResult::Refunded { amount: money(attempt.amount) });
            settled.record.refunded += attempt.amount;
            let whole = settled.record.refunded >= settled.record.captured;
            settled.record.status =
                if whole { PaymentStatus::Refunded } else { PaymentStatus::PartiallyRefunded };
            settled.ledger = vec![
                LedgerLine { account: ACCOUNT_REFUNDS, debit: attempt.amount, credit: 0 },
                LedgerLine { account: ACCOUNT_PROVIDER, debit: 0, credit: attempt.amount },
            ];
            settled.event = Some("payment_refunded");
            settled
        }
    }
}

/// Held is held only when it is what was asked for; anything else is let go again.
fn authorized(
    attempt: &Attempt,
    snapshot: &Snapshot,
    settlement: impl Fn(AttemptState, PaymentResult) -> Settlement,
) -> Settlement {
    let held = Money::new(snapshot.held, snapshot.currency);
    let as_asked = settlement(AttemptState::Done, PaymentResult::Authorized { amount: held });
    let asked = Money::new(attempt.amount, as_asked.record.amount.currency);
    if held == asked && snapshot.stage == Stage::Held {
        let mut settled = as_asked;
        settled.record.status = PaymentStatus::Authorized;
        settled.record.authorized = held.amount;
        settled.record.reference = Some(snapshot.reference.clone());
        settled.event = Some("payment_authorized");
        return settled;
    }
    let result = PaymentResult::Declined {
        code: "amount_mismatch".to_owned(),
        message: "the provider held another amount than was asked for; it is let go".to_owned(),
    };
    let mut settled = settlement(AttemptState::Declined, result);
    settled.record.status = PaymentStatus::Failed;
    settled.record.reference = Some(snapshot.reference.clone());
    settled.event = Some("payment_declined");
    settled.follow_up = Some(Intent {
        n: attempt.n + 1,
        operation: Operation::Void,
        act_key: format!("{}:mismatch", attempt.act_key),
        idem_key: format!("{}:mismatch", attempt.idem_key),
        amount: snapshot.held,
        payment_method: None,
        reference: Some(snapshot.reference.clone()),
    });
    settled
}

/// The act of `attempt` under a new key, once it is proven that nothing happened under the old one.
#[must_use]
pub fn supersede(attempt: &Attempt, n: i64) -> Intent {
    Intent {
        n,
        operation: attempt.operation,
        act_key: attempt.act_key.clone(),
        idem_key: format!("{}~{n}", attempt.act_key),
        amount: attempt.amount,
        payment_method: attempt.payment_method.clone(),
        reference: attempt.reference.clone(),
    }
}
