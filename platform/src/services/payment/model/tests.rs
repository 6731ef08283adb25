//! The rules, asked and answered in any order.

use super::*;
use crate::services::payment::provider::{ProviderAnswer, Snapshot, Stage};
use crate::vocabulary::Currency;
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
