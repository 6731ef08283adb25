//! The payment service against the sandbox provider.

mod bad_days;
mod crashes;
mod webhooks;
mod world;

use futures_util::future::join_all;
use platform::http::Code;
use platform::services::payment::client::{Authorize, PaymentResult, PaymentStatus, Verdict};
use platform::vocabulary::{Currency, Money};

use world::{TOTAL, World};

#[tokio::test]
async fn money_is_held_taken_and_given_back() {
    let world = World::start().await;
    let order = world.order();
    world.pay(order).await;
    let payment = world.payment(order).await;
    assert_eq!((payment.status, payment.captured), (PaymentStatus::Captured, TOTAL));
    let part = Money::new(999, Currency::USD);
    assert_eq!(world.refund(order, 999, "refund:1").await, PaymentResult::Refunded { amount: part });
    assert_eq!(world.refund(order, 999, "refund:1").await, PaymentResult::Refunded { amount: part });
    assert_eq!(world.payment(order).await.status, PaymentStatus::PartiallyRefunded);
    let too_much = world.refund(order, 1001, "refund:2").await;
    assert!(matches!(too_much, PaymentResult::Declined { code, .. } if code == "refund_too_large"));
    assert!(matches!(world.refund(order, 1000, "refund:3").await, PaymentResult::Refunded { .. }));
    assert_eq!(world.payment(order).await.status, PaymentStatus::Refunded);
    world.books_agree(&[order]).await;
    world.stop().await;
}

#[tokio::test]
async fn held_money_is_let_go() {
    let world = World::start().await;
    let order = world.order();
    world.authorize(order, "pm_card_visa").await.unwrap();
    assert_eq!(world.void(order).await.unwrap(), PaymentResult::Voided { amount: TOTAL });
    assert_eq!(world.void(order).await.unwrap(), PaymentResult::Voided { amount: TOTAL });
    assert!(matches!(world.capture(order).await.unwrap(), PaymentResult::Declined { .. }));
    assert_eq!(world.statement_of(order).await[0]["status"], "canceled");
    // What was never held is let go too, and nothing can be held for it afterwards.
    let never = world.order();
    assert!(matches!(world.void(never).await.unwrap(), PaymentResult::Voided { .. }));
    assert!(matches!(world.authorize(never, "pm_card_visa").await.unwrap(), PaymentResult::Declined { .. }));
    assert!(world.statement_of(never).await.is_empty());
    world.books_agree(&[order, never]).await;
    world.stop().await;
}

#[tokio::test]
async fn a_decline_is_final_and_another_card_is_another_act() {
    let world = World::start().await;
    let order = world.order();
    for _ in 0..2 {
        let declined = world.authorize(order, "pm_card_visa_chargeDeclinedInsufficientFunds").await.unwrap();
        assert!(matches!(declined, PaymentResult::Declined { code, .. } if code == "insufficient_funds"));
    }
    assert_eq!(world.payment(order).await.status, PaymentStatus::Failed);
    let again = Authorize {
        amount: TOTAL,
        payment_method: "pm_card_visa".to_owned(),
        key: format!("auth:{order}:2"),
    };
    let held = world.client.authorize(&world.context(), order, &again).await.unwrap();
    assert_eq!(held, PaymentResult::Authorized { amount: TOTAL });
    let not_there = world.authorize(world.order(), "pm_not_there").await.unwrap();
    assert!(matches!(not_there, PaymentResult::Declined { code, .. } if code == "resource_missing"));
    world.books_agree(&[order]).await;
    world.stop().await;
}

#[tokio::test]
async fn a_card_that_cannot_be_taken_from_is_let_go() {
    let world = World::start().await;
    let order = world.order();
    world.authorize(order, "pm_card_visa_captureDeclined").await.unwrap();
    assert!(matches!(world.capture(order).await.unwrap(), PaymentResult::Declined { .. }));
    assert_eq!(world.void(order).await.unwrap(), PaymentResult::Voided { amount: TOTAL });
    world.books_agree(&[order]).await;
    world.stop().await;
}

#[tokio::test]
async fn a_key_with_another_amount_is_refused_and_so_are_card_numbers() {
    let world = World::start().await;
    let order = world.order();
    world.authorize(order, "pm_card_visa").await.unwrap();
    let ask = |amount, method: &str| Authorize {
        amount,
        payment_method: method.to_owned(),
        key: format!("auth:{order}:1"),
    };
    let code = |error: platform::http::CallError| error.problem().unwrap().code;
    let context = world.context();
    let other = ask(Money::new(5, Currency::USD), "pm_card_visa");
    let refused = world.client.authorize(&context, order, &other).await.unwrap_err();
    assert_eq!(code(refused), Code::IdempotencyKeyReused);
    let card = ask(TOTAL, "4242 4242 4242 4242");
    let refused = world.client.authorize(&context, order, &card).await.unwrap_err();
    assert_eq!(code(refused), Code::ValidationFailed);
    let nothing = ask(Money::new(0, Currency::USD), "pm_card_visa");
    let refused = world.client.authorize(&context, world.order(), &nothing).await.unwrap_err();
    assert_eq!(code(refused), Code::ValidationFailed);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_twins_of_every_act_move_money_once() {
    let world = World::start().await;
    let order = world.order();
    let twins = |answers: Vec<Result<PaymentResult, _>>| {
        let answers: Vec<PaymentResult> = answers.into_iter().map(Result::unwrap).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    };
    twins(join_all((0..50).map(|_| world.authorize(order, "pm_card_visa"))).await);
    twins(join_all((0..50).map(|_| world.capture(order))).await);
    let keys: Vec<String> = (0..20).map(|number| format!("refund:{number}")).collect();
    join_all(keys.iter().map(|key| world.refund(order, 1999, key))).await;
    let payment = world.payment(order).await;
    assert_eq!(payment.refunded, TOTAL);
    assert_eq!(world.statement_of(order).await.len(), 1);
    world.books_agree(&[order]).await;
    world.stop().await;
}

#[tokio::test]
async fn the_books_are_compared_with_the_providers() {
    let world = World::start().await;
    let orders = world.orders(3);
    for order in &orders {
        world.pay(*order).await;
    }
    let since = world.env.now() - jiff::SignedDuration::from_secs(60);
    let same = world.client.reconcile(&world.staff(), Some(since)).await.unwrap();
    assert_eq!((same.compared, same.matches, same.differences.len()), (3, 3, 0));
    // Our books lose a refund, and know a payment that the provider does not.
    let mut batch = platform::storage::Batch::new();
    batch.run("UPDATE payments SET refunded = 5 WHERE order_id = $1", vec![orders[0].into()]);
    world.capabilities.db.write(batch).await.unwrap();
    let differ = world.client.reconcile(&world.staff(), Some(since)).await.unwrap();
    assert_eq!((differ.matches, differ.differences[0].verdict), (2, Verdict::Mismatch));
    assert_eq!(differ.differences[0].order_id, Some(orders[0]));
    world.stop().await;
}

#[tokio::test]
async fn staff_see_payments_and_turn_breakers_with_a_reason() {
    let world = World::start().await;
    let orders = world.orders(3);
    for order in &orders {
        world.pay(*order).await;
    }
    let staff = world.staff();
    let first = world.client.list(&staff, "limit=2&status=captured").await.unwrap();
    let next = first.next_cursor.clone().unwrap();
    let rest = world.client.list(&staff, &format!("limit=2&cursor={next}")).await.unwrap();
    let seen: Vec<_> = first.items.iter().chain(&rest.items).rev().map(|payment| payment.order_id).collect();
    assert_eq!(seen, orders);
    let stranger = world.client.list(&world.context(), "").await.unwrap_err();
    assert_eq!(stranger.problem().unwrap().code, Code::Unauthenticated);

    let held = world.client.open_breaker(&staff, "stripe-authorize", "they asked us to").await.unwrap();
    assert_eq!((held.state.as_str(), held.held_open.as_deref()), ("open", Some("they asked us to")));
    let refused = world.authorize(world.order(), "pm_card_visa").await.unwrap();
    assert!(matches!(refused, PaymentResult::Unavailable { .. }));
    let empty = world.client.close_breaker(&staff, "stripe-authorize", " ").await.unwrap_err();
    assert_eq!(empty.problem().unwrap().code, Code::ValidationFailed);
    world.client.close_breaker(&staff, "stripe-authorize", "they are back").await.unwrap();
    world.pay(world.order()).await;
    let audited = world.count("SELECT COUNT(*) AS count FROM payment_audit", vec![]).await;
    assert_eq!(audited, 2);
    world.stop().await;
}
