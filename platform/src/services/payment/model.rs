//! The rules of a payment, without a database, a network or a clock.
//!
//! [`decide`] says what an ask means for what is known; [`settle`] what a provider's answer means for it. The first is
//! followed by writing the intent, the second by writing the outcome.

use std::str::FromStr;

use super::client::{PaymentResult, PaymentStatus};
use super::provider::{ProviderAnswer, ProviderRequest, Snapshot, Stage};
use crate::vocabulary::{AttemptId, Currency, Money, OrderId, PaymentId, Timestamp};

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

/// What an ask means for what is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is known already, or needs no provider.
    Answer(PaymentResult),
    /// The key was used for something else.
    KeyReused,
    /// The currency is not the payment's.
    WrongCurrency(Currency),
    /// A payment that never was is let go: note that, so that nothing can be held later.
    Tombstone,
    /// Another act comes first: the attempt at this place is not known yet.
    After(usize),
    /// Ask the provider, with the attempt at this place as it was.
    Replay(usize),
    /// The attempt at this place never left: send it.
    Send(usize),
    /// Ask the provider something new.
    Begin(Intent),
}

/// What `ask` means, given the payment and its attempts in order.
#[must_use]
pub fn decide(ask: &Ask, known: Option<(&Record, &[Attempt])>) -> Decision {
    let Some((record, attempts)) = known else {
        return match ask.operation {
            Operation::Authorize => {
                Decision::Begin(intent(ask, ask.amount.map_or(0, |money| money.amount), None, 1))
            }
            Operation::Void => Decision::Tombstone,
            Operation::Capture | Operation::Refund => Decision::Answer(refused("nothing_authorized")),
        };
    };
    if let Some(amount) = ask.amount.filter(|amount| amount.currency != record.amount.currency) {
        return Decision::WrongCurrency(amount.currency);
    }
    let newest = attempts.iter().rposition(|attempt| attempt.act_key == ask.key);
    if let Some(place) = newest {
        let attempt = &attempts[place];
        if !is_same(ask, attempt) {
            return Decision::KeyReused;
        }
        match (attempt.state, &attempt.outcome) {
            (AttemptState::Done | AttemptState::Declined, Some(outcome)) => {
                return Decision::Answer(outcome.clone());
            }
            (AttemptState::Open | AttemptState::Lookup, _) => return Decision::Replay(place),
            (AttemptState::Unsent, _) => {
                return match (first_unknown(attempts), begin(ask, record, attempt.n)) {
                    (Some(first), _) => Decision::After(first),
                    (None, Decision::Begin(_)) => Decision::Send(place),
                    // Meanwhile the payment was let go, or its money moved by another act.
                    (None, other) => other,
                };
            }
            // Superseded by one whose row was lost: begin again, as if it were new.
            _ => {}
        }
    }
    if let Some(place) = first_unknown(attempts) {
        return Decision::After(place);
    }
    let n = attempts.last().map_or(1, |attempt| attempt.n + 1);
    begin(ask, record, n)
}

fn first_unknown(attempts: &[Attempt]) -> Option<usize> {
    attempts.iter().position(|attempt| attempt.state.is_unknown())
}

fn is_same(ask: &Ask, attempt: &Attempt) -> bool {
    attempt.operation == ask.operation
        && ask.amount.is_none_or(|amount| amount.amount == attempt.amount)
        && (ask.operation != Operation::Authorize || ask.payment_method == attempt.payment_method)
}

fn begin(ask: &Ask, record: &Record, n: i64) -> Decision {
    use PaymentStatus::{Authorized, Captured, Failed, PartiallyRefunded, Pending, Refunded, Voided};
    let money = |amount| Money::new(amount, record.amount.currency);
    let reference = record.reference.clone();
    match (ask.operation, record.status) {
        (Operation::Authorize, Pending | Failed) => {
            let amount = ask.amount.map_or(record.amount.amount, |money| money.amount);
            Decision::Begin(intent(ask, amount, None, n))
        }
        // The same order never holds money twice, whatever the key.
        (Operation::Authorize, Authorized | Captured | PartiallyRefunded | Refunded) => {
            Decision::Answer(PaymentResult::Authorized { amount: money(record.authorized) })
        }
        (Operation::Authorize, Voided) => Decision::Answer(refused("payment_voided")),
        (Operation::Capture, Authorized) => Decision::Begin(intent(ask, record.authorized, reference, n)),
        (Operation::Capture, Captured | PartiallyRefunded | Refunded) => {
            Decision::Answer(PaymentResult::Captured { amount: money(record.captured) })
        }
        (Operation::Capture, Pending | Failed) => Decision::Answer(refused("nothing_authorized")),
        (Operation::Capture, Voided) => Decision::Answer(refused("payment_voided")),
        (Operation::Void, Authorized) => Decision::Begin(intent(ask, record.authorized, reference, n)),
        (Operation::Void, Pending) => Decision::Tombstone,
        (Operation::Void, Failed | Voided) => Decision::Answer(PaymentResult::Voided { amount: money(0) }),
        (Operation::Void, Captured | PartiallyRefunded | Refunded) => {
            Decision::Answer(refused("already_captured"))
        }
        (Operation::Refund, Captured | PartiallyRefunded) => {
            let amount = ask.amount.map_or(0, |money| money.amount);
            if (1..=record.captured - record.refunded).contains(&amount) {
                Decision::Begin(intent(ask, amount, reference, n))
            } else {
                Decision::Answer(refused("refund_too_large"))
            }
        }
        (Operation::Refund, Refunded) => Decision::Answer(refused("refund_too_large")),
        (Operation::Refund, Pending | Authorized | Voided | Failed) => {
            Decision::Answer(refused("nothing_captured"))
        }
    }
}

fn intent(ask: &Ask, amount: i64, reference: Option<String>, n: i64) -> Intent {
    Intent {
        n,
        operation: ask.operation,
        act_key: ask.key.clone(),
        idem_key: ask.key.clone(),
        amount,
        payment_method: ask.payment_method.clone(),
        reference,
    }
}

fn refused(code: &str) -> PaymentResult {
    let message = match code {
        "nothing_authorized" => "no money is held for this order",
        "payment_voided" => "the payment was let go",
        "already_captured" => "the money was taken already: refund it instead",
        "refund_too_large" => "more than was taken and not yet given back",
        "nothing_captured" => "no money was taken for this order",
        _ => "refused",
    };
    PaymentResult::Declined { code: code.to_owned(), message: message.to_owned() }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn record() -> Record {
        Record {
            id: PaymentId::from_uuid(Uuid::nil()),
            order_id: OrderId::from_uuid(Uuid::nil()),
            amount: Money::new(1999, Currency::USD),
            status: PaymentStatus::Pending,
            authorized: 0,
            captured: 0,
            refunded: 0,
            provider: "stripe".to_owned(),
            reference: None,
            version: 1,
            told: 0,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn ask(operation: Operation, key: &str, amount: i64) -> Ask {
        let takes_amount = matches!(operation, Operation::Authorize | Operation::Refund);
        Ask {
            order_id: OrderId::from_uuid(Uuid::nil()),
            operation,
            key: key.to_owned(),
            amount: takes_amount.then(|| Money::new(amount, Currency::USD)),
            payment_method: (operation == Operation::Authorize).then(|| "pm_card_visa".to_owned()),
        }
    }

    fn attempt(intent: Intent, state: AttemptState) -> Attempt {
        Attempt {
            id: AttemptId::from_uuid(Uuid::nil()),
            payment_id: PaymentId::from_uuid(Uuid::nil()),
            n: intent.n,
            operation: intent.operation,
            act_key: intent.act_key,
            idem_key: intent.idem_key,
            amount: intent.amount,
            payment_method: intent.payment_method,
            reference: intent.reference,
            state,
            outcome: None,
            tries: 0,
            next_at: Timestamp::UNIX_EPOCH,
            failed_at: None,
            request_id: None,
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn begun(ask: &Ask, record: &Record, attempts: &[Attempt]) -> Attempt {
        match decide(ask, Some((record, attempts))) {
            Decision::Begin(intent) => attempt(intent, AttemptState::Open),
            other => panic!("{other:?}"),
        }
    }

    fn silence() -> ProviderAnswer {
        ProviderAnswer::Unknown { reason: "time-out".to_owned(), reached: false }
    }

    fn not_begun() -> ProviderAnswer {
        ProviderAnswer::NotBegun { reason: "refused".to_owned(), reached: false }
    }

    fn held(amount: i64) -> ProviderAnswer {
        ProviderAnswer::Done(Snapshot {
            reference: "pi_1".to_owned(),
            order_id: None,
            stage: Stage::Held,
            held: amount,
            captured: 0,
            currency: Currency::USD,
            declined: None,
        })
    }

    #[test]
    fn another_amount_than_was_asked_for_is_let_go() {
        let first = begun(&ask(Operation::Authorize, "a", 1999), &record(), &[]);
        let settled = settle(&record(), &first, &held(1998), false).unwrap();
        assert_eq!(settled.record.status, PaymentStatus::Failed);
        assert!(matches!(&settled.result, PaymentResult::Declined { code, .. } if code == "amount_mismatch"));
        let follow_up = settled.follow_up.unwrap();
        assert_eq!((follow_up.operation, follow_up.reference.as_deref()), (Operation::Void, Some("pi_1")));
    }

    #[test]
    fn a_key_names_one_act() {
        let first = begun(&ask(Operation::Authorize, "a", 1999), &record(), &[]);
        let known = [first];
        let decide = |ask: &Ask| decide(ask, Some((&record(), &known)));
        assert_eq!(decide(&ask(Operation::Authorize, "a", 5)), Decision::KeyReused);
        assert_eq!(decide(&ask(Operation::Void, "a", 0)), Decision::KeyReused);
        assert_eq!(decide(&ask(Operation::Authorize, "a", 1999)), Decision::Replay(0));
        assert_eq!(decide(&ask(Operation::Void, "b", 0)), Decision::After(0), "one act after the other");
    }

    #[test]
    fn an_answer_that_proves_nothing_changes_nothing() {
        let first = begun(&ask(Operation::Authorize, "a", 1999), &record(), &[]);
        let settle = |answer, left| settle(&record(), &first, &answer, left);
        assert_eq!(settle(silence(), false), None);
        assert_eq!(settle(not_begun(), true), None);
        let unsent = settle(not_begun(), false).unwrap();
        assert_eq!(unsent.state, AttemptState::Unsent);
    }

    #[test]
    fn what_was_never_held_is_let_go_for_good() {
        assert_eq!(decide(&ask(Operation::Void, "v", 0), None), Decision::Tombstone);
        let voided = Record { status: PaymentStatus::Voided, ..record() };
        let late = decide(&ask(Operation::Authorize, "a", 1999), Some((&voided, &[])));
        assert!(matches!(late, Decision::Answer(PaymentResult::Declined { .. })));
        let mut unsent = begun(&ask(Operation::Authorize, "a", 1999), &record(), &[]);
        unsent.state = AttemptState::Unsent;
        let late = decide(&ask(Operation::Authorize, "a", 1999), Some((&voided, &[unsent])));
        assert!(matches!(late, Decision::Answer(PaymentResult::Declined { .. })));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ask(Operation, u8, i64),
        /// The provider does what it is asked, and says so.
        Answer,
        /// It says no.
        Decline,
        /// It never says anything.
        Silence,
        NotBegun,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let operation = prop::sample::select(Operation::ALL.to_vec());
        let step = prop_oneof![
            5 => (operation, 0u8..4, 1i64..2500).prop_map(|(operation, key, amount)| Step::Ask(operation, key, amount)),
            5 => Just(Step::Answer),
            1 => Just(Step::Decline),
            1 => Just(Step::Silence),
            1 => Just(Step::NotBegun),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        /// Whatever is asked in whatever order, and however the provider answers.
        #[test]
        fn the_books_always_balance_and_money_moves_once(steps in steps()) {
            let mut record = record();
            let mut attempts: Vec<Attempt> = Vec::new();
            let (mut receivable, mut captures) = (0i64, 0);
            for step in steps {
                let answer = match step {
                    Step::Ask(operation, key, amount) => {
                        let amount = if operation == Operation::Authorize { 1999 } else { amount };
                        let ask = ask(operation, &format!("{operation:?}{key}"), amount);
                        match decide(&ask, Some((&record, &attempts))) {
                            Decision::Begin(intent) => {
                                prop_assert!(attempts.iter().all(|attempt| !attempt.state.is_unknown()));
                                attempts.push(attempt(intent, AttemptState::Open));
                            }
                            Decision::Send(place) => attempts[place].state = AttemptState::Open,
                            Decision::Tombstone => record.status = PaymentStatus::Voided,
                            _ => {}
                        }
                        continue;
                    }
                    Step::Silence => silence(),
                    Step::NotBegun => not_begun(),
                    Step::Decline => ProviderAnswer::Declined {
                        code: "no".to_owned(), message: String::new(), reference: None,
                    },
                    Step::Answer => {
                        let Some(open) = attempts.iter().find(|attempt| attempt.state.is_unknown()) else { continue };
                        let (stage, captured) = match open.operation {
                            Operation::Authorize => (Stage::Held, 0),
                            Operation::Capture => (Stage::Taken, open.amount),
                            Operation::Void => (Stage::Canceled, 0),
                            Operation::Refund => (Stage::Taken, 0),
                        };
                        let held = if stage == Stage::Held { open.amount } else { 0 };
                        ProviderAnswer::Done(Snapshot {
                            reference: "pi_1".to_owned(), order_id: None, stage, held, captured,
                            currency: Currency::USD, declined: None,
                        })
                    }
                };
                let Some(place) = attempts.iter().position(|attempt| attempt.state.is_unknown()) else { continue };
                let Some(settled) = settle(&record, &attempts[place], &answer, false) else { continue };
                captures += i64::from(settled.event == Some("payment_captured"));
                let (debits, credits): (i64, i64) =
                    settled.ledger.iter().fold((0, 0), |sum, line| (sum.0 + line.debit, sum.1 + line.credit));
                prop_assert_eq!(debits, credits);
                receivable += settled.ledger.iter().filter(|line| line.account == ACCOUNT_PROVIDER)
                    .map(|line| line.debit - line.credit).sum::<i64>();
                attempts[place].state = settled.state;
                attempts[place].outcome = settled.result.is_final().then_some(settled.result);
                record = settled.record;
                prop_assert!(captures <= 1);
                prop_assert!(record.captured <= record.authorized);
                prop_assert!((0..=record.captured).contains(&record.refunded));
                prop_assert_eq!(receivable, record.captured - record.refunded);
            }
        }
    }
}
