//! The table of all (state, event) pairs, and the rules that no table shows.

use super::super::events::samples::{dollars, every_event, placed};
use super::*;
use proptest::prelude::*;

const TOTAL: i64 = 1_999;

fn after(events: &[Event]) -> State {
    let mut state = None;
    for event in events {
        match apply(state.as_ref(), event) {
            Ok(Applied::New(next, _)) => state = Some(*next),
            Ok(Applied::Known) => {}
            Err(refused) => panic!("{refused}"),
        }
    }
    state.expect("an order that was placed")
}

fn event(kind: &str) -> Event {
    every_event(TOTAL).into_iter().find(|event| event.kind() == kind).expect("a known kind")
}

fn path(kinds: &str) -> State {
    after(&kinds.split_whitespace().map(event).collect::<Vec<_>>())
}

const CONFIRMED: &str =
    "order_placed stock_reserved payment_requested payment_authorized stock_pinned payment_captured";

/// One state for each status, and those whose money or stock makes a difference.
fn states() -> Vec<(&'static str, State)> {
    let to = |more: &str| path(&format!("order_placed {more}"));
    let paid = |more: &str| path(&format!("{CONFIRMED} {more}"));
    vec![
        ("pending", to("")),
        ("reserved", to("stock_reserved")),
        ("authorizing", to("stock_reserved payment_requested")),
        ("auth-unknown", to("stock_reserved payment_requested payment_unknown")),
        ("queued", to("stock_reserved payment_requested payment_queued")),
        ("authorized", to("stock_reserved payment_requested payment_authorized")),
        ("pinned", to("stock_reserved payment_requested payment_authorized stock_pinned")),
        ("confirmed", paid("")),
        ("committed", paid("stock_committed")),
        ("fulfilling", paid("stock_committed packed")),
        ("shipped", paid("stock_committed packed shipped")),
        ("delivered", paid("stock_committed packed shipped delivered")),
        ("closed", paid("stock_committed packed shipped delivered return_window_ended")),
        ("cancelling", to("stock_reserved cancel_requested")),
        ("declined", to("stock_reserved payment_requested payment_declined")),
        ("undo-paid", paid("stock_committed cancel_requested")),
        ("cancelled", to("stock_reserved cancel_requested stock_released all_compensated")),
        ("rejected", to("stock_rejected")),
        ("expired", to("stock_reserved payment_requested payment_queued deadline_passed")),
    ]
}

fn outcome(state: &State, event: &Event) -> String {
    match apply(Some(state), event) {
        Ok(Applied::New(next, _)) if next.status == state.status => "self".to_owned(),
        Ok(Applied::New(next, _)) => format!("→ {}", next.status),
        Ok(Applied::Known) => "known".to_owned(),
        Err(_) => "no".to_owned(),
    }
}

/// Every pair, one line for each state: the events that it takes, and where they lead; all others are refused.
#[test]
fn every_event_has_its_answer_in_every_state() {
    let mut table = String::new();
    for (name, state) in states() {
        let mut answers: Vec<(String, Vec<&str>)> = Vec::new();
        for event in every_event(TOTAL) {
            let outcome = outcome(&state, &event);
            match answers.iter_mut().find(|(known, _)| *known == outcome) {
                Some((_, kinds)) => kinds.push(event.kind()),
                None => answers.push((outcome, vec![event.kind()])),
            }
        }
        answers.sort_by_key(|(outcome, _)| (outcome == "no", outcome.clone()));
        table.push_str(&format!("{name}\n"));
        for (outcome, kinds) in answers.into_iter().filter(|(outcome, _)| outcome != "no") {
            table.push_str(&format!("  {outcome}: {}\n", kinds.join(", ")));
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn nothing_can_happen_before_an_order_is_placed() {
    for event in every_event(TOTAL) {
        let outcome = apply(None, &event);
        assert_eq!(outcome.is_ok(), event.kind() == "order_placed", "{}", event.kind());
    }
}

#[test]
fn a_terminal_state_is_never_left() {
    for (name, state) in states().into_iter().filter(|(_, state)| state.status.is_terminal()) {
        for event in every_event(TOTAL) {
            if let Ok(Applied::New(next, _)) = apply(Some(&state), &event) {
                assert_eq!(next.status, state.status, "{name} + {}", event.kind());
            }
        }
    }
}

#[test]
fn another_amount_than_the_total_is_sent_back() {
    let authorizing = path("order_placed stock_reserved payment_requested");
    let Ok(Applied::New(next, _)) =
        apply(Some(&authorizing), &Event::PaymentAuthorized { amount: dollars(TOTAL - 1) })
    else {
        panic!("money that moved is recorded")
    };
    assert_eq!((next.status, next.payment), (Status::Cancelling, PaymentStatus::Failed));
    assert_eq!(next.held, TOTAL - 1);
    assert_eq!(outcome(&next, &Event::AllCompensated {}), "no");
}

#[test]
fn an_order_is_not_cancelled_while_there_is_money_or_stock() {
    let paid = path(&format!("{CONFIRMED} stock_committed cancel_requested"));
    assert_eq!(outcome(&paid, &Event::AllCompensated {}), "no");
    let refund = Event::PaymentRefunded { amount: dollars(TOTAL), key: "k".to_owned() };
    let Ok(Applied::New(refunded, _)) = apply(Some(&paid), &refund) else { panic!("refunded") };
    assert_eq!(outcome(&refunded, &Event::AllCompensated {}), "no");
    let Ok(Applied::New(restocked, _)) = apply(Some(&refunded), &Event::StockRestocked {}) else {
        panic!("restocked")
    };
    assert_eq!(outcome(&restocked, &Event::AllCompensated {}), "→ cancelled");
}

#[test]
fn a_missing_answer_is_never_taken_for_a_provider_that_is_away() {
    let unknown = path("order_placed stock_reserved payment_requested payment_unknown");
    assert_eq!(outcome(&unknown, &Event::PaymentQueued { held_until: None }), "known");
    assert_eq!(outcome(&unknown, &Event::DeadlinePassed {}), "no");
}

#[test]
fn an_order_is_packed_only_when_its_stock_left_the_shelf() {
    assert_eq!(outcome(&path(CONFIRMED), &Event::Packed {}), "no");
    assert_eq!(outcome(&path(&format!("{CONFIRMED} stock_committed")), &Event::Packed {}), "→ fulfilling");
}

#[test]
fn an_order_without_a_price_needs_no_payment() {
    let Ok(Applied::New(pending, _)) = apply(None, &Event::OrderPlaced(placed(0))) else { panic!("placed") };
    assert_eq!(outcome(&pending, &Event::NothingToPay {}), "→ confirmed");
    assert_eq!(outcome(&path("order_placed"), &Event::NothingToPay {}), "no");
}

#[test]
fn money_that_moves_after_the_end_begins_a_saga_that_sends_it_back() {
    let expired = path("order_placed stock_reserved payment_requested payment_queued deadline_passed");
    let Ok(Applied::New(next, effects)) =
        apply(Some(&expired), &Event::PaymentCaptured { amount: dollars(TOTAL) })
    else {
        panic!("money that moved is recorded")
    };
    assert_eq!(next.status, Status::Expired);
    assert_eq!(effects, [Effect::Begin(SagaKind::LatePayment)]);
    assert_eq!(outcome(&next, &Event::LatePaymentHandled {}), "no");
}

#[test]
fn a_refund_is_never_more_than_what_was_taken() {
    let paid = path(&format!("{CONFIRMED} stock_committed"));
    let ask =
        |amount, restock| Event::RefundRequested { amount: dollars(amount), restock, reason: String::new() };
    assert_eq!(outcome(&paid, &ask(TOTAL + 1, false)), "no");
    assert_eq!(outcome(&paid, &ask(0, false)), "no");
    assert_eq!(outcome(&paid, &ask(TOTAL - 1, true)), "no");
    let Ok(Applied::New(asked, effects)) = apply(Some(&paid), &ask(500, false)) else { panic!("asked") };
    assert_eq!(effects, [Effect::Begin(SagaKind::Refund)]);
    assert_eq!(outcome(&asked, &ask(500, false)), "no");
    let back = Event::PaymentRefunded { amount: dollars(500), key: "k".to_owned() };
    let Ok(Applied::New(back_once, _)) = apply(Some(&asked), &back) else { panic!("refunded") };
    assert_eq!(back_once.payment, PaymentStatus::PartiallyRefunded);
    assert_eq!(outcome(&back_once, &back), "known");
    let Ok(Applied::New(asked, _)) = apply(Some(&back_once), &ask(TOTAL - 500, false)) else {
        panic!("asked")
    };
    let rest = Event::PaymentRefunded { amount: dollars(TOTAL - 500), key: "k2".to_owned() };
    let Ok(Applied::New(all, _)) = apply(Some(&asked), &rest) else { panic!("refunded") };
    assert_eq!(all.payment, PaymentStatus::Refunded);
}

proptest! {
    /// Whatever happens in whatever order: money is conserved, sequence numbers have no gap, an end stays an end, and
    /// a cancelled order has neither money nor stock.
    #[test]
    fn no_sequence_of_events_breaks_an_order(picks in prop::collection::vec(0usize..30, 1..60)) {
        let events = every_event(TOTAL);
        let mut state = match apply(None, &Event::OrderPlaced(placed(TOTAL))) {
            Ok(Applied::New(state, _)) => *state,
            other => panic!("{other:?}"),
        };
        for pick in picks {
            let Ok(Applied::New(next, effects)) = apply(Some(&state), &events[pick]) else { continue };
            prop_assert_eq!(next.seq, state.seq + 1);
            let told = effects.iter().filter(|effect| matches!(effect, Effect::Tell(_))).count();
            prop_assert_eq!(next.told, state.told + told as i64);
            prop_assert!(next.held >= 0 && next.captured >= next.refunded && next.refunded >= 0);
            prop_assert!(next.held == 0 || next.captured == 0);
            if state.status.is_terminal() {
                prop_assert_eq!(next.status, state.status);
            }
            if next.status != state.status && next.status == Status::Cancelled {
                prop_assert!(next.money_is_settled());
                prop_assert!(next.stock.is_closed());
            }
            if next.status != state.status && next.status == Status::Confirmed {
                prop_assert_eq!(next.captured, TOTAL);
                prop_assert_eq!(next.stock, Stock::Pinned);
            }
            if matches!(next.status, Status::Fulfilling | Status::Shipped) && next.status != state.status {
                prop_assert_eq!(next.stock, Stock::Committed);
            }
            state = *next;
        }
    }
}
