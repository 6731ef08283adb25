//! The service dies, or its storage stumbles, at every point between an intent and its outcome.

use std::time::Duration;

use futures_util::future::join_all;
use platform::services::payment::client::PaymentStatus;
use platform::services::payment::store::{END_ATTEMPT, NEW_ATTEMPT};
use platform::storage::faults::{FaultRule, StorageFault};
use serde_json::json;

use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_storage_does_at_an_intent_or_an_outcome_money_moves_once() {
    let world = World::with_timeout(Duration::from_millis(500)).await;
    let mut orders = Vec::new();
    for statement in [NEW_ATTEMPT, END_ATTEMPT] {
        for fault in [StorageFault::BeforeCommit, StorageFault::AfterCommit, StorageFault::Full] {
            for step in ["authorize", "capture", "refund"] {
                let order = world.order();
                if step != "authorize" {
                    world.insist(|| world.authorize(order, "pm_card_visa")).await;
                }
                if step == "refund" {
                    world.insist(|| world.capture(order)).await;
                }
                world.storage_faults.set(FaultRule::once_at(fault, statement));
                match step {
                    "authorize" => drop(world.authorize(order, "pm_card_visa").await),
                    "capture" => drop(world.capture(order).await),
                    _ => {
                        let amount = super::TOTAL;
                        drop(
                            world.client.refund(&world.context(), order, amount, &format!("r:{order}")).await,
                        );
                    }
                }
                world.storage_faults.clear();
                world.pay(order).await;
                orders.push(order);
            }
        }
    }
    let settled = "SELECT COUNT(*) AS count FROM payment_attempts WHERE state IN ('open', 'lookup')";
    world.until("everything is known", || async { world.count(settled, vec![]).await == 0 }).await;
    assert_eq!(world.statement().await.len(), orders.len(), "one authorisation each");
    world.books_agree(&orders).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_after_its_intent_finds_out_after_its_start() {
    let mut world = World::with_timeout(Duration::from_millis(500)).await;
    let orders = world.orders(10);
    // The provider acts and the process hears nothing of it before it dies.
    world.fault(json!({"mode": "timeout_after", "latency_ms": 60_000})).await;
    {
        let asks = join_all(orders.iter().map(|order| world.authorize(*order, "pm_card_visa")));
        let all_written = "SELECT COUNT(*) AS count FROM payment_attempts";
        let written =
            world.until("the intents are written", || async { world.count(all_written, vec![]).await == 10 });
        tokio::select! {
            _ = asks => {}
            () = written => {}
        }
    }
    world.crash_and_mount().await;
    world.well().await;
    for order in &orders {
        world
            .until("the payment is authorized", || async {
                world.payment(*order).await.status == PaymentStatus::Authorized
            })
            .await;
    }
    join_all(orders.iter().map(|order| world.pay(*order))).await;
    assert_eq!(world.statement().await.len(), 10);
    world.books_agree(&orders).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_before_its_call_calls_after_its_start() {
    let mut world = World::with_timeout(Duration::from_millis(500)).await;
    let order = world.order();
    // The intent is written and whoever wrote it never goes on.
    world.storage_faults.set(FaultRule::once_at(StorageFault::Silence, NEW_ATTEMPT));
    let ask = world.authorize(order, "pm_card_visa");
    assert!(tokio::time::timeout(Duration::from_millis(200), ask).await.is_err());
    assert!(world.statement().await.is_empty());
    world.storage_faults.clear();
    world.crash_and_mount().await;
    world
        .until("the payment is authorized", || async {
            world.payment(order).await.status == PaymentStatus::Authorized
        })
        .await;
    world.pay(order).await;
    world.books_agree(&[order]).await;
    world.stop().await;
}
