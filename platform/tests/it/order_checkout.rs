//! Buying: what is answered, what is stored, and that it is stored once.

use std::time::Duration;

use axum::http::StatusCode;
use platform::http::Code;
use platform::services::order::client::{
    Benefit, FulfilmentStatus, OrderFilter, PaymentStatus, Refund, SavePromotion, Status,
};
use platform::vocabulary::{Identity, OrderId, Role};

use crate::order_fakes::{Mishap, World, dollars, eventually, request};

/// What must hold of every order that came to rest, whatever happened on the way.
pub(crate) async fn consistent(world: &World, id: OrderId) {
    let staff = world.staff();
    let order = world.client.admin_order(&staff, id).await.unwrap();
    for saga in &order.sagas {
        assert!(matches!(saga.state.as_str(), "completed" | "compensated"), "{saga:?}");
    }
    let rebuilt = world.client.rebuild(&staff, id, true).await.unwrap();
    assert_eq!(rebuilt.differences, [], "the projection is what the events say");
    for (at, event) in order.events.iter().enumerate() {
        assert_eq!(event.seq, at as i64 + 1, "events have no gap");
    }
    let (paid, stock) = {
        let books = world.siblings.books.lock().unwrap();
        let stock = books.held.get(&id).map_or("none", |held| held.state);
        (books.paid.get(&id).cloned().unwrap_or_default(), stock)
    };
    let ours = &order.order;
    assert!(paid.captures <= 1, "captured {} times", paid.captures);
    assert_eq!(paid.held, 0, "nothing is left held by the provider");
    assert_eq!(paid.refunded, ours.refunded.amount);
    match ours.status {
        Status::Confirmed | Status::Fulfilling | Status::Shipped | Status::Delivered => {
            assert_eq!(paid.captured, ours.total.amount);
            assert_eq!(stock, "committed");
        }
        _ => {
            assert_eq!(paid.captured, paid.refunded, "no money is kept for an order that is {}", ours.status);
            assert!(
                matches!(stock, "none" | "released" | "returned"),
                "{stock} for an order that is {}",
                ours.status
            );
        }
    }
    let sql = "SELECT aggregate_seq FROM order_outbox WHERE aggregate = $1 ORDER BY aggregate_seq";
    let rows = world.shop.capabilities.db.read(sql, vec![id.into()]).await.unwrap();
    let told: Vec<i64> = rows.iter().map(|row| row.get("aggregate_seq").unwrap()).collect();
    assert_eq!(told, (1..=told.len() as i64).collect::<Vec<_>>(), "what was told has no gap");
}

impl World {
    pub(crate) fn staff(&self) -> platform::http::Context {
        let identity = Identity {
            user_id: uuid::Uuid::from_u128(42).into(),
            email: "boss@example.com".to_owned(),
            roles: vec![Role::Admin],
        };
        platform::http::Context { identity: Some(identity.into()), ..self.guest() }
    }

    /// The order once it is `status` and no saga of it is under way.
    pub(crate) async fn at_rest(&self, id: OrderId, status: Status) {
        eventually(&format!("order {id} is {status} and at rest"), || async {
            let order = self.client.admin_order(&self.staff(), id).await.ok()?;
            let rests =
                order.sagas.iter().all(|saga| !matches!(saga.state.as_str(), "running" | "compensating"));
            (order.order.status == status && rests).then_some(())
        })
        .await;
        consistent(self, id).await;
    }

    pub(crate) async fn only_order(&self) -> OrderId {
        let page = self.client.admin_orders(&self.staff(), &OrderFilter::default()).await.unwrap();
        assert_eq!(page.items.len(), 1);
        page.items[0].id
    }
}

#[tokio::test]
async fn a_guest_buys_and_sees_the_order_with_its_token_only() {
    let world = World::start().await;
    let placed = world.buy("pm_card_visa").await.unwrap();
    assert_eq!(placed.status, StatusCode::CREATED);
    let order = &placed.order;
    assert_eq!((order.status, order.payment_status), (Status::Confirmed, PaymentStatus::Captured));
    assert_eq!(order.total, dollars(1_999 + 499));
    let token = order.access_token.clone().expect("a guest gets a token");
    let seen = world.client.order(&world.guest(), order.id, Some(&token)).await.unwrap();
    assert_eq!(seen.number, order.number);
    let other = world.client.order(&world.guest(), order.id, None).await.unwrap_err();
    assert_eq!(other.problem().unwrap().code, Code::NotFound);
    world.at_rest(order.id, Status::Confirmed).await;
    let cart = world.client.cart(&world.guest(), request_cart(&world, order.id).await).await.unwrap();
    assert!(cart.lines.is_empty(), "what was bought is no longer in the cart");
    let events = world.client.events(&world.guest(), order.id, Some(&token)).await.unwrap();
    let kinds: Vec<&str> = events.items.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "order_placed",
            "stock_reserved",
            "payment_requested",
            "payment_authorized",
            "stock_pinned",
            "payment_captured",
            "stock_committed"
        ]
    );
}

async fn request_cart(world: &World, id: OrderId) -> platform::vocabulary::CartId {
    let sql = "SELECT cart_id FROM order_orders WHERE id = $1";
    let row = world.shop.capabilities.db.read_one(sql, vec![id.into()]).await.unwrap().unwrap();
    row.get("cart_id").unwrap()
}

#[tokio::test]
async fn a_decline_ends_the_order_and_leaves_the_cart() {
    let world = World::start().await;
    let problem = world.buy("pm_card_visa_chargeDeclined").await.unwrap_err();
    assert_eq!((problem.status, problem.code), (402, Code::PaymentDeclined));
    let id: OrderId = problem.extra["order_id"].as_str().unwrap().parse().unwrap();
    world.at_rest(id, Status::Cancelled).await;
    assert_eq!(world.siblings.available("MUG"), 100);
    let cart = world.client.cart(&world.guest(), request_cart(&world, id).await).await.unwrap();
    assert_eq!(cart.lines.len(), 1);
}

#[tokio::test]
async fn more_than_there_is_is_rejected_with_the_items() {
    let world = World::start().await;
    let cart = world.cart("MUG", 101).await;
    let problem = world.place(cart, "pm_card_visa", "k").await.unwrap_err();
    assert_eq!((problem.status, problem.code), (409, Code::OutOfStock));
    assert_eq!(problem.extra["items"][0]["available"], 100);
    let again = world.place(cart, "pm_card_visa", "k").await.unwrap_err();
    assert_eq!(again.extra, problem.extra, "a replay answers the same");
    let id = world.only_order().await;
    world.at_rest(id, Status::Rejected).await;
}

#[tokio::test]
async fn an_order_without_a_price_is_confirmed_without_payment() {
    let world = World::start().await;
    let cart = world.cart("GIFT", 2).await;
    let placed = world.place(cart, "pm_card_visa", "k").await.unwrap();
    assert_eq!((placed.status, placed.order.total), (StatusCode::CREATED, dollars(0)));
    world.at_rest(placed.order.id, Status::Confirmed).await;
    assert_eq!(world.siblings.calls("authorize"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_twins_place_one_order_and_get_one_answer() {
    let world = std::sync::Arc::new(World::start().await);
    let cart = world.cart("MUG", 1).await;
    world.siblings.next("authorize", Mishap::Slow(Duration::from_millis(100)));
    let twins = (0..50).map(|_| {
        let world = std::sync::Arc::clone(&world);
        tokio::spawn(async move { world.place(cart, "pm_card_visa", "the-key").await.unwrap() })
    });
    let answers = futures_util::future::join_all(twins).await;
    let first = answers[0].as_ref().unwrap();
    assert_eq!(first.status, StatusCode::CREATED);
    for answer in &answers {
        let answer = answer.as_ref().unwrap();
        assert_eq!((answer.status, &answer.order), (first.status, &first.order));
    }
    assert_eq!(world.only_order().await, first.order.id);
    world.at_rest(first.order.id, Status::Confirmed).await;
    let mut other = request(cart, "pm_card_visa");
    other.email = Some("eve@example.com".to_owned());
    let problem = world.client.place(&world.guest(), &other, "the-key", false).await.unwrap_err();
    assert_eq!(problem.problem().unwrap().code, Code::IdempotencyKeyReused);
}

#[tokio::test]
async fn whoever_does_not_wait_gets_202_and_so_does_the_replay() {
    let world = World::start().await;
    let cart = world.cart("MUG", 1).await;
    let asked = request(cart, "pm_card_visa");
    let placed = world.client.place(&world.guest(), &asked, "k", true).await.unwrap();
    assert_eq!((placed.status, placed.order.status), (StatusCode::ACCEPTED, Status::Pending));
    world.at_rest(placed.order.id, Status::Confirmed).await;
    let replayed = world.client.place(&world.guest(), &asked, "k", false).await.unwrap();
    assert_eq!((replayed.status, &replayed.order), (StatusCode::ACCEPTED, &placed.order));
}

#[tokio::test]
async fn a_provider_that_is_away_queues_the_payment_and_confirms_later() {
    let world = World::start().await;
    world.siblings.always("authorize", Mishap::Unavailable);
    let placed = world.buy("pm_card_visa").await.unwrap();
    assert_eq!((placed.status, placed.order.status), (StatusCode::ACCEPTED, Status::PaymentQueued));
    assert_eq!(placed.order.payment_status, PaymentStatus::Queued);
    assert!(placed.order.held_until.is_some());
    world.siblings.mend();
    world.at_rest(placed.order.id, Status::Confirmed).await;
}

#[tokio::test]
async fn a_queued_payment_ends_at_its_deadline() {
    let (mut shop, siblings) = World::prepare().await;
    World::configure(&mut shop, |order| {
        order.payment_deadline = Duration::from_millis(300);
        order.wait = Duration::from_millis(50);
    });
    let world = World::open(shop, siblings).await;
    world.siblings.always("authorize", Mishap::Unavailable);
    let placed = world.buy("pm_card_visa").await.unwrap();
    world.at_rest(placed.order.id, Status::Expired).await;
    assert_eq!(world.siblings.available("MUG"), 100);
}

#[tokio::test]
async fn a_customer_calls_off_before_and_after_the_money_moved() {
    let world = World::start().await;
    world.siblings.always("authorize", Mishap::Unavailable);
    let queued = world.buy("pm_card_visa").await.unwrap().order;
    world.siblings.mend();
    let token = queued.access_token.as_deref();
    world.siblings.always("authorize", Mishap::Unavailable);
    let order = world.client.cancel(&world.guest(), queued.id, token, Some("changed my mind")).await.unwrap();
    assert_eq!(order.status, Status::Cancelled);
    world.at_rest(queued.id, Status::Cancelled).await;
    world.siblings.mend();

    let bought = world.buy("pm_card_visa").await.unwrap().order;
    let token = bought.access_token.as_deref();
    let order = world.client.cancel(&world.guest(), bought.id, token, None).await.unwrap();
    assert_eq!((order.status, order.payment_status), (Status::Cancelled, PaymentStatus::Refunded));
    assert_eq!(order.refunded, bought.total);
    world.at_rest(bought.id, Status::Cancelled).await;
    assert_eq!(world.siblings.available("MUG"), 100);
    let again = world.client.cancel(&world.guest(), bought.id, token, None).await.unwrap();
    assert_eq!(again.status, Status::Cancelled, "called off twice is called off");
}

#[tokio::test]
async fn staff_packs_ships_delivers_and_refunds() {
    let world = World::start().await;
    let id = world.buy("pm_card_visa").await.unwrap().order.id;
    world.at_rest(id, Status::Confirmed).await;
    let (client, staff) = (&world.client, world.staff());
    let early = client.ship(&staff, id, None).await.unwrap_err();
    assert_eq!(early.problem().unwrap().code, Code::OrderStateConflict);
    client.pack(&staff, id).await.unwrap();
    let shipped = client.ship(&staff, id, Some("1Z999")).await.unwrap();
    assert_eq!(shipped.tracking.as_deref(), Some("1Z999"));
    let delivered = client.deliver(&staff, id).await.unwrap();
    assert_eq!(delivered.fulfilment_status, FulfilmentStatus::Delivered);
    let refund = Refund { amount: None, reason: "broken".to_owned(), restock: true };
    let refunded = client.refund(&staff, id, &refund).await.unwrap();
    assert_eq!((refunded.status, refunded.payment_status), (Status::Delivered, PaymentStatus::Refunded));
    eventually("the goods are back on the shelf", || async {
        (world.siblings.available("MUG") == 100).then_some(())
    })
    .await;
    let guest = client.pack(&world.guest(), id).await.unwrap_err();
    assert_eq!(guest.problem().unwrap().code, Code::Unauthenticated);
    let sql = "SELECT action FROM order_audit ORDER BY at, id";
    let rows = world.shop.capabilities.db.read(sql, vec![]).await.unwrap();
    let actions: Vec<String> = rows.iter().map(|row| row.get("action").unwrap()).collect();
    assert_eq!(actions, ["pack", "ship", "deliver", "refund"]);
}

#[tokio::test]
async fn the_last_use_of_a_promotion_goes_to_one_of_two() {
    let world = World::start().await;
    let promotion = SavePromotion {
        code: "last1".to_owned(),
        title: "One only".to_owned(),
        benefit: Benefit::Percent { basis_points: 5_000 },
        min_subtotal: 0,
        uses_max: Some(1),
        uses_per_customer_max: None,
        starts_at: None,
        ends_at: None,
        active: true,
    };
    world.client.create_promotion(&world.staff(), &promotion).await.unwrap();
    let (one, two) = (world.cart("MUG", 1).await, world.cart("MUG", 1).await);
    for cart in [one, two] {
        let cart = world.client.apply_promotion(&world.guest(), cart, "LAST1").await.unwrap();
        assert_eq!((cart.discount, cart.promotion.as_deref()), (dollars(1_000), Some("LAST1")));
    }
    let answers = tokio::join!(world.place(one, "pm_card_visa", "k"), world.place(two, "pm_card_visa", "k"));
    let outcomes = [answers.0, answers.1];
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let refused = outcomes.iter().find_map(|outcome| outcome.as_ref().err()).unwrap();
    assert_eq!(refused.code, Code::PromotionInvalid);
    // An order that comes to nothing gives its use back.
    let id = world.only_order().await;
    world.client.admin_cancel(&world.staff(), id, None).await.unwrap();
    let cart = world.cart("MUG", 1).await;
    world.client.apply_promotion(&world.guest(), cart, "LAST1").await.unwrap();
}

#[tokio::test]
async fn a_stream_tells_everything_once_and_ends_with_the_checkout() {
    let world = World::start().await;
    world.siblings.next("capture", Mishap::Slow(Duration::from_millis(100)));
    let cart = world.cart("MUG", 1).await;
    let placed = world.client.place(&world.guest(), &request(cart, "pm_card_visa"), "k", true).await.unwrap();
    let token = placed.order.access_token.as_deref();
    let response = world.client.stream(&world.guest(), placed.order.id, token, Some("1")).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let ids: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(ids[..5], ["2", "3", "4", "5", "6"], "{text}");
    assert!(text.contains("event: payment_captured"), "{text}");
}

#[tokio::test]
async fn a_projection_that_was_spoilt_is_made_again_from_the_events() {
    let world = World::start().await;
    let id = world.buy("pm_card_visa").await.unwrap().order.id;
    world.at_rest(id, Status::Confirmed).await;
    let mut spoil = platform::storage::Batch::new();
    spoil.run("UPDATE order_orders SET status = 'cancelled', captured = 1 WHERE id = $1", vec![id.into()]);
    world.shop.capabilities.db.write(spoil).await.unwrap();
    let dry = world.client.rebuild(&world.staff(), id, true).await.unwrap();
    let fields: Vec<&str> = dry.differences.iter().map(|difference| difference.field.as_str()).collect();
    assert_eq!((fields, dry.written), (vec!["status", "captured"], false));
    assert!(world.client.rebuild(&world.staff(), id, false).await.unwrap().written);
    consistent(&world, id).await;
}
