//! Webhooks: doubled, early, lost, forged, and about what nobody knows.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hmac::{Hmac, Mac as _};
use platform::services::payment::client::PaymentStatus;
use serde_json::json;
use sha2::Sha256;

use super::world::{World, mode};

const ALL_PROCESSED: &str = "SELECT COUNT(*) AS count FROM payment_webhooks WHERE processed_at IS NULL";
const STORED: &str = "SELECT COUNT(*) AS count FROM payment_webhooks";

fn sign(world: &World, at: i64, body: &str) -> String {
    let secret = world.capabilities.secrets.provider_webhook.bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(format!("{at}.{body}").as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at},v1={hex}")
}

fn event(id: &str, order_id: &str) -> String {
    json!({
        "id": id, "object": "event", "type": "payment_intent.amount_capturable_updated",
        "data": {"object": {
            "id": "pi_elsewhere", "object": "payment_intent", "status": "requires_capture", "currency": "usd",
            "amount_capturable": 1999, "amount_received": 0, "metadata": {"order_id": order_id},
        }},
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn doubled_and_early_webhooks_change_nothing() {
    let world = World::start().await;
    for bad_day in ["duplicate_webhook", "early_webhook"] {
        world.fault(mode(bad_day)).await;
        let orders = world.orders(10);
        join_all(orders.iter().map(|order| world.pay(*order))).await;
        world.books_agree(&orders).await;
    }
    world.until("all came", || async { world.count(STORED, vec![]).await == 40 }).await;
    world.until("all are processed", || async { world.count(ALL_PROCESSED, vec![]).await == 0 }).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_webhooks_are_not_missed() {
    let world = World::with_timeout(Duration::from_millis(300)).await;
    world.fault(mode("lost_webhook")).await;
    let orders = world.orders(5);
    join_all(orders.iter().map(|order| world.pay(*order))).await;
    assert_eq!(world.count(STORED, vec![]).await, 0);
    world.books_agree(&orders).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_tells_what_the_answer_never_did() {
    // Long enough that neither the time-out nor the resolver can have been faster.
    let silence = Duration::from_secs(60);
    let world = World::with_timeout(silence).await;
    let order = world.order();
    world.fault(json!({"mode": "timeout_after", "count": 1, "latency_ms": 60_000})).await;
    let began = Instant::now();
    world.pay(order).await;
    assert!(began.elapsed() < silence, "{:?}", began.elapsed());
    world.books_agree(&[order]).await;
    world.stop().await;
}

#[tokio::test]
async fn a_forged_webhook_is_not_believed() {
    let world = World::start().await;
    let body = event("evt_1", &world.order().to_string());
    let now = world.env.now().as_second();
    let genuine = sign(&world, now, &body);
    assert_eq!(world.post_webhook(&body, None).await, 400);
    assert_eq!(world.post_webhook(&body, Some("t=1,v1=00")).await, 400);
    assert_eq!(world.post_webhook(&body.replace("1999", "1"), Some(&genuine)).await, 400);
    assert_eq!(world.post_webhook(&body, Some(&sign(&world, now - 301, &body))).await, 400);
    assert_eq!(world.post_webhook("nonsense", Some(&sign(&world, now, "nonsense"))).await, 400);
    assert_eq!(world.count(STORED, vec![]).await, 0);
    assert_eq!(world.post_webhook(&body, Some(&genuine)).await, 200);
    assert_eq!(world.post_webhook(&body, Some(&genuine)).await, 200);
    assert_eq!(world.count(STORED, vec![]).await, 1, "a twin is stored once");
    world.stop().await;
}

#[tokio::test]
async fn a_webhook_about_an_unknown_payment_waits_for_it() {
    let world = World::start().await;
    let order = world.order();
    let body = event("evt_early", &order.to_string());
    let signature = sign(&world, world.env.now().as_second(), &body);
    assert_eq!(world.post_webhook(&body, Some(&signature)).await, 200);
    let tried = "SELECT COUNT(*) AS count FROM payment_webhooks WHERE tries > 0 AND processed_at IS NULL";
    world.until("it was tried and kept", || async { world.count(tried, vec![]).await == 1 }).await;
    world.pay(order).await;
    world.until("it is processed", || async { world.count(ALL_PROCESSED, vec![]).await == 0 }).await;
    assert_eq!(world.payment(order).await.status, PaymentStatus::Captured);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_storage_does_not_take_come_again() {
    use platform::storage::faults::{FaultRule, StorageFault};
    let world = World::start().await;
    let orders = world.orders(5);
    join_all(orders.iter().map(|order| world.authorize(*order, "pm_card_visa"))).await;
    world.storage_faults.set(FaultRule { times: Some(5), ..FaultRule::always(StorageFault::BeforeCommit) });
    world.until("all came", || async { world.count(STORED, vec![]).await == 5 }).await;
    world.storage_faults.clear();
    world.stop().await;
}
