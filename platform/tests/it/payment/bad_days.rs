//! The provider's bad days: whatever it does, each order is charged once, and both books agree to the cent.

use std::time::Duration;

use futures_util::future::join_all;
use platform::services::payment::client::{PaymentResult, PaymentStatus};
use serde_json::json;

use super::world::{TOTAL, World, mode};

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_after_the_charge_charges_a_hundred_orders_once_each() {
    let world = World::with_timeout(SHORT).await;
    let orders = world.orders(100);
    world.fault(mode("timeout_after")).await;
    join_all(orders.iter().map(|order| world.pay(*order))).await;
    let statement = world.statement().await;
    assert_eq!(statement.len(), 100);
    assert!(statement.iter().all(|line| line["captured"] == 1999));
    world.books_agree(&orders).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_after_the_charge_is_resolved_though_nobody_asks_again() {
    let world = World::with_timeout(SHORT).await;
    let order = world.order();
    // Without webhooks: only the resolver is left.
    world.fault(json!({"mode": "timeout_after", "count": 1})).await;
    world.authorize(order, "pm_card_visa").await.unwrap();
    world
        .until("the payment is authorized", || async {
            world.payment(order).await.status == PaymentStatus::Authorized
        })
        .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_before_the_charge_is_replayed() {
    let world = World::with_timeout(SHORT).await;
    let orders = world.orders(20);
    world.fault(json!({"mode": "timeout_before", "count": 30})).await;
    join_all(orders.iter().map(|order| world.pay(*order))).await;
    assert_eq!(world.statement().await.len(), 20);
    world.books_agree(&orders).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_of_all_calls_failing_loses_no_order_and_charges_none_twice() {
    let world = World::with_timeout(Duration::from_secs(2)).await;
    let orders = world.orders(40);
    world.fault(json!({"mode": "error", "rate": 0.3})).await;
    join_all(orders.iter().map(|order| world.pay(*order))).await;
    world.well().await;
    let held_or_taken =
        world.statement().await.iter().filter(|line| line["authorized"].as_i64() > Some(0)).count();
    assert_eq!(held_or_taken, 40, "no order holds money twice");
    world.books_agree(&orders).await;
    let refund = world.refund(orders[0], 1999, "refund:1").await;
    assert_eq!(refund, PaymentResult::Refunded { amount: TOTAL });
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_whose_answer_is_lost_goes_back_once() {
    let world = World::with_timeout(SHORT).await;
    let order = world.order();
    world.pay(order).await;
    for (key, fault) in [
        ("r1", json!({"mode": "error", "count": 1})),
        ("r2", json!({"mode": "timeout_after", "count": 1})),
        ("r3", json!({"mode": "timeout_before", "count": 2})),
    ] {
        world.fault(fault).await;
        let refunded = world.insist(|| async { Ok(world.refund(order, 100, key).await) }).await;
        assert!(matches!(refunded, PaymentResult::Refunded { .. }), "{key}: {refunded:?}");
    }
    assert_eq!(world.statement_of(order).await[0]["refunded"], 300);
    world.books_agree(&[order]).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_declines_everybody_holds_nothing_and_opens_no_breaker() {
    let world = World::start().await;
    let orders = world.orders(30);
    world.fault(mode("decline")).await;
    for declined in join_all(orders.iter().map(|order| world.authorize(*order, "pm_card_visa"))).await {
        assert!(matches!(declined.unwrap(), PaymentResult::Declined { .. }));
    }
    world.well().await;
    world.pay(world.order()).await;
    world.books_agree(&orders).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_opens_the_breaker_and_every_order_is_paid_after_its_recovery() {
    let world = World::start().await;
    world.fault(mode("refuse")).await;
    let orders = world.orders(60);
    for chunk in orders.chunks(10) {
        for answer in join_all(chunk.iter().map(|order| world.authorize(*order, "pm_card_visa"))).await {
            let answer = answer.unwrap();
            assert!(!answer.is_final(), "{answer:?}");
        }
    }
    let breakers = world.client.breakers(&world.staff()).await.unwrap().items;
    assert_ne!(breakers[0].state, "closed");
    assert_eq!(breakers[0].name, "stripe-authorize");
    let down = "SELECT COUNT(*) AS count FROM payment_outbox WHERE kind = 'provider_down'";
    world.until("the shop was told", || async { world.count(down, vec![]).await > 0 }).await;

    world.well().await;
    let recovered = "SELECT COUNT(*) AS count FROM payment_outbox WHERE kind = 'provider_recovered'";
    world.until("the shop was told", || async { world.count(recovered, vec![]).await > 0 }).await;
    join_all(orders.iter().map(|order| world.pay(*order))).await;
    assert_eq!(world.statement().await.len(), 60);
    world.books_agree(&orders).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_piles_nobody_up() {
    let world = World::start().await;
    world.fault(mode("blackhole")).await;
    let orders = world.orders(200);
    let wait = Duration::from_secs(2);
    let (client, world_ref) = (&world.client, &world);
    let asks = orders.iter().map(|order| async move {
        // As the order service asks: it waits so long and no longer.
        let mut context = world_ref.context();
        context.deadline = Some(world_ref.env.after(wait));
        let authorize = platform::services::payment::client::Authorize {
            amount: TOTAL,
            payment_method: "pm_card_visa".to_owned(),
            key: format!("auth:{order}:1"),
        };
        client.authorize(&context, *order, &authorize).await.unwrap()
    });
    let answers = join_all(asks).await;
    // Nobody was kept until the provider's time-out: each was answered at its own, or was turned away at once.
    for answer in answers {
        let at_its_own =
            matches!(&answer, PaymentResult::Unknown { reason } if reason.contains("not answered yet"));
        assert!(at_its_own || matches!(answer, PaymentResult::Unavailable { .. }), "{answer:?}");
    }
    // By now the breaker is open: the next one does not wait at all.
    let next = world.authorize(world.order(), "pm_card_visa").await.unwrap();
    assert!(matches!(next, PaymentResult::Unavailable { .. }), "{next:?}");

    world.well().await;
    join_all(orders.iter().map(|order| world.pay(*order))).await;
    assert_eq!(world.statement().await.len(), 200);
    world.books_agree(&orders).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_restarts_in_the_middle_forgets_nothing() {
    let mut world = World::with_timeout(Duration::from_secs(1)).await;
    let orders = world.orders(60);
    let (first, rest) = orders.split_at(20);
    join_all(first.iter().map(|order| world.pay(*order))).await;
    world.stop_fakepay().await;
    for answer in join_all(rest.iter().map(|order| world.authorize(*order, "pm_card_visa"))).await {
        assert!(!answer.unwrap().is_final());
    }
    world.start_fakepay().await;
    join_all(rest.iter().map(|order| world.pay(*order))).await;
    assert_eq!(world.statement().await.len(), 60);
    world.books_agree(&orders).await;
    world.stop().await;
}
