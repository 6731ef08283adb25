//! What an ask means for what is known.

use super::{Ask, Attempt, AttemptState, Intent, Operation, Record};
use crate::services::payment::client::{PaymentResult, PaymentStatus};
use crate::vocabulary::{Currency, Money};

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
