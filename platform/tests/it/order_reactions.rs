//! What the order service does on others' events, and when a person takes a hand in.

use std::time::Duration;

use platform::http::Code;
use platform::services::order::client::{PaymentStatus, Status};
use platform::storage::Batch;
use platform::vocabulary::{Event, OrderId, Topic};
use serde_json::json;

use crate::order_checkout::consistent;
use crate::order_fakes::{Mishap, World, eventually};

impl World {
    /// An event of a sibling, as the bus brings it.
    async fn hears(&self, topic: Topic, kind: &str, data: serde_json::Value) {
        let event = Event {
            id: self.env.id(),
            topic,
            kind: kind.to_owned(),
            aggregate: self.env.uuid(),
            aggregate_seq: 1,
            at: self.env.now(),
            request_id: None,
            traceparent: None,
            data,
        };
        let body = serde_json::to_value(event).unwrap();
        self.shop.capabilities.bus.inject("order", body).await.unwrap();
    }
}

#[tokio::test]
async fn queued_payments_come_back_at_once_when_the_provider_does() {
    let world = World::start().await;
    world.siblings.always("authorize", Mishap::Unavailable);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(world.buy("pm_card_visa").await.unwrap().order.id);
    }
    // As if the next try were far away.
    let later = world.env.after(Duration::from_secs(600));
    eventually("all of them wait", || async {
        let mut far = Batch::new();
        far.run(
            "UPDATE order_sagas SET next_at = $1 WHERE owner IS NULL AND state = 'running'",
            vec![later.into()],
        );
        let touched = world.shop.capabilities.db.write(far).await.unwrap();
        (touched == [3]).then_some(())
    })
    .await;
    world.siblings.mend();
    world.hears(Topic::Payment, "provider_recovered", json!({})).await;
    for id in ids {
        world.at_rest(id, Status::Confirmed).await;
    }
}

#[tokio::test]
async fn money_that_moves_after_the_end_goes_back_by_itself() {
    let (mut shop, siblings) = World::prepare().await;
    World::configure(&mut shop, |order| {
        order.payment_deadline = Duration::from_millis(200);
        order.wait = Duration::from_millis(50);
    });
    let world = World::open(shop, siblings).await;
    world.siblings.always("authorize", Mishap::Unavailable);
    let order = world.buy("pm_card_visa").await.unwrap().order;
    world.at_rest(order.id, Status::Expired).await;
    // Against all promises the provider took the money after all.
    {
        let mut books = world.siblings.books.lock().unwrap();
        let paid = books.paid.entry(order.id).or_default();
        (paid.authorized, paid.captured, paid.captures) = (order.total.amount, order.total.amount, 1);
    }
    let data = json!({"order_id": order.id, "amount": order.total});
    world.hears(Topic::Payment, "payment_captured", data).await;
    let whole = eventually("the late payment is handled", || async {
        let whole = world.client.admin_order(&world.staff(), order.id).await.unwrap();
        whole.events.iter().any(|event| event.kind == "late_payment_handled").then_some(whole)
    })
    .await;
    assert_eq!((whole.order.status, whole.order.payment_status), (Status::Expired, PaymentStatus::Refunded));
    assert_eq!(whole.order.refunded, order.total);
    world.at_rest(order.id, Status::Expired).await;
}

#[tokio::test]
async fn a_hold_that_ended_before_the_money_moved_undoes_the_payment() {
    let world = World::start().await;
    world.siblings.always("authorize", Mishap::Unavailable);
    let order = world.buy("pm_card_visa").await.unwrap().order;
    {
        let mut books = world.siblings.books.lock().unwrap();
        books.held.get_mut(&order.id).unwrap().state = "released";
        books.shelf.get_mut("MUG").unwrap().1 += 1;
    }
    world.siblings.mend();
    world.hears(Topic::Product, "stock_reservation_expired", json!({"order_id": order.id})).await;
    world.at_rest(order.id, Status::Cancelled).await;
    assert_eq!(world.siblings.available("MUG"), 100);
}

#[tokio::test]
async fn a_stuck_saga_is_told_of_and_a_person_gets_it_going_again() {
    let world = World::start().await;
    world.siblings.always("authorize", Mishap::Unavailable);
    let id = world.buy("pm_card_visa").await.unwrap().order.id;
    let mut stick = Batch::new();
    stick.run(
        "UPDATE order_sagas SET state = 'stuck', next_at = NULL, owner = NULL, epoch = epoch + 1 WHERE subject = $1",
        vec![id.into()],
    );
    world.shop.capabilities.db.write(stick).await.unwrap();
    let staff = world.staff();
    let filter = platform::services::order::client::SagaFilter {
        state: Some("stuck".to_owned()),
        ..Default::default()
    };
    let stuck = world.client.sagas(&staff, &filter).await.unwrap();
    assert_eq!(stuck.items.iter().map(|saga| saga.order_id).collect::<Vec<_>>(), [id]);
    assert_eq!(world.client.dashboard(&staff).await.unwrap().sagas_stuck, 1);
    world.siblings.mend();
    world.client.retry_saga(&staff, id, Some("the provider is back")).await.unwrap();
    world.at_rest(id, Status::Confirmed).await;
    let over = world.client.retry_saga(&staff, id, None).await.unwrap_err();
    assert_eq!(over.problem().unwrap().code, Code::OrderStateConflict);
    let paid = world.client.compensate_saga(&staff, id, None).await.unwrap_err();
    assert_eq!(paid.problem().unwrap().code, Code::OrderStateConflict);
}

#[tokio::test]
async fn staff_gives_a_waiting_order_up() {
    let world = World::start().await;
    world.siblings.always("authorize", Mishap::Unavailable);
    let id: OrderId = world.buy("pm_card_visa").await.unwrap().order.id;
    world.client.compensate_saga(&world.staff(), id, Some("the customer rang")).await.unwrap();
    world.at_rest(id, Status::Cancelled).await;
}

#[tokio::test]
async fn a_days_trade_on_postgresql() {
    let Some(world) = World::start_on_postgres().await else { return };
    let carts = futures_util::future::join_all((0..12).map(|_| world.cart("MUG", 1))).await;
    let placed = carts.iter().map(|cart| world.place(*cart, "pm_card_visa", "the-key"));
    let placed = futures_util::future::join_all(placed).await;
    for placed in placed {
        world.at_rest(placed.unwrap().order.id, Status::Confirmed).await;
    }
    let declined = world.buy("pm_card_visa_chargeDeclined").await.unwrap_err();
    assert_eq!(declined.code, Code::PaymentDeclined);
    let order = world.buy("pm_card_visa").await.unwrap().order;
    let token = order.access_token.as_deref();
    world.client.cancel(&world.guest(), order.id, token, None).await.unwrap();
    world.at_rest(order.id, Status::Cancelled).await;
    world.siblings.always("authorize", Mishap::Unavailable);
    let queued = world.buy("pm_card_visa").await.unwrap().order;
    assert_eq!(queued.status, Status::PaymentQueued);
    world.siblings.mend();
    world.hears(Topic::Payment, "provider_recovered", json!({})).await;
    world.at_rest(queued.id, Status::Confirmed).await;
    let staff = world.staff();
    let user_cart = world.client.create_cart(&staff).await.unwrap().id;
    assert_eq!(world.client.merge_cart(&staff, world.cart("MUG", 2).await).await.unwrap().lines.len(), 1);
    assert_ne!(world.client.create_cart(&staff).await.unwrap().id, user_cart);
    let figures = world.client.dashboard(&staff).await.unwrap();
    assert_eq!(figures.orders_24h, 13);
    assert_eq!(figures.minutes.iter().map(|minute| minute.orders).sum::<i64>(), 15);
    platform::services::order::seed(&world.shop.capabilities).await.unwrap();
    platform::services::order::seed(&world.shop.capabilities).await.unwrap();
    let codes = world.client.promotions(&staff).await.unwrap().items.len();
    assert_eq!(codes, platform::services::order::DEMO_PROMOTIONS.len());
    let cart = world.cart("MUG", 1).await;
    let with = world.client.apply_promotion(&world.guest(), cart, "welcome10").await.unwrap();
    assert_eq!(with.discount.amount, 200);
    let once = world.place(cart, "pm_card_visa", "w1").await.unwrap();
    consistent_soon(&world, once.order.id).await;
    let again = world.cart("MUG", 1).await;
    world.client.apply_promotion(&world.guest(), again, "WELCOME10").await.unwrap();
    let refused = world.place(again, "pm_card_visa", "w2").await.unwrap_err();
    assert_eq!(refused.code, Code::PromotionInvalid, "once per customer");
}

async fn consistent_soon(world: &World, id: OrderId) {
    world.at_rest(id, Status::Confirmed).await;
    consistent(world, id).await;
}
