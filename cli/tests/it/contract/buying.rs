//! Carts and orders, from the first line to the confirmation, and what keeps one from being bought.

use hyper::Method;
use serde_json::{Value, json};

use super::world::{NOBODY, World, order_of};

pub(super) async fn carts_add_up(world: &World) {
    let (_, sku) = world.product(1_000, 50).await;
    let cart = world.cart(&sku, 3).await;
    let path = format!("/v1/carts/{cart}");
    let seen = world.get(&path).await.is(200);
    assert_eq!(seen.body["lines"][0]["line_total"], json!({"amount": 3_000, "currency": "USD"}));
    let amount = |field: &str| seen.body[field]["amount"].as_i64().expect("an amount");
    assert_eq!(amount("total"), amount("subtotal") - amount("discount") + amount("tax") + amount("shipping"));
    let reduced = world.post(&format!("{path}/promotion"), json!({"code": "WELCOME10"})).await.is(200);
    assert_eq!(reduced.body["discount"]["amount"], 300);
    world
        .post(&format!("{path}/promotion"), json!({"code": "NONSENSE"}))
        .await
        .refuses(422, "promotion_invalid");
    let empty = world.line(&cart, &sku, 0).await.is(200);
    assert_eq!(empty.body["lines"], json!([]));
    world.line(&cart, "NO-SUCH-SKU", 1).await.refuses(404, "unknown_sku");
    world.line(&cart, &sku, 1_000).await.refuses(422, "validation_failed");
    world.line(&cart, &sku, -1).await.refuses(422, "validation_failed");
    world.get(&format!("/v1/carts/{NOBODY}")).await.refuses(404, "not_found");
}

pub(super) async fn a_guest_buys_and_nobody_else_sees_it(world: &World) {
    let (_, sku) = world.product(2_500, 5).await;
    let cart = world.cart(&sku, 2).await;
    let placed = world.place(&order_of(&cart), &world.fresh("guest"), &[]).await.is(201);
    let id = placed.text("id");
    assert_eq!(placed.header("location"), format!("/v1/orders/{id}"));
    assert_eq!(
        (&placed.body["status"], &placed.body["payment_status"]),
        (&json!("confirmed"), &json!("captured"))
    );
    assert_eq!(placed.body["lines"][0]["quantity"], 2);
    let path = format!("/v1/orders/{id}");
    let token = placed.text("access_token");
    world.get(&path).await.refuses(404, "not_found");
    world.get_as("Bearer somebody", &path).await.status.is_client_error().then_some(()).expect("refused");
    let seen = world.get_as(&format!("Bearer {token}"), &path).await.is(200);
    assert_eq!((&seen.body["total"], &seen.body["number"]), (&placed.body["total"], &placed.body["number"]));
    world.get(&format!("{path}?access_token={token}")).await.is(200);
    let events = world.get(&format!("{path}/events?access_token={token}")).await.is(200);
    let seqs: Vec<i64> = events.items().iter().filter_map(|event| event["seq"].as_i64()).collect();
    assert_eq!(seqs, (1..=i64::try_from(seqs.len()).expect("a few")).collect::<Vec<_>>());
    let stream = world.get(&format!("{path}/stream?access_token={token}")).await;
    let text = stream.body.as_str().unwrap_or_default().to_owned();
    assert!(stream.header("content-type").starts_with("text/event-stream"), "{:?}", stream.headers);
    assert!(text.contains("event: ") && text.contains("id: 1"), "{text}");

    let reason = json!({"reason": "changed my mind"});
    let who = format!("Bearer {token}");
    let cancelled = world.post_as(&who, &format!("{path}/cancel"), reason).await;
    assert!([200, 202].contains(&cancelled.status.as_u16()), "{}", cancelled.body);
    let end = world.until(&who, &path, |answer| answer.body["status"] == "cancelled").await;
    assert_eq!(end.body["payment_status"], "refunded");
    let stock = format!("/v1/admin/stock/{sku}");
    world.until(&world.staff, &stock, |answer| answer.body["available"] == 5).await;
}

pub(super) async fn a_customer_buys_what_the_guest_collected(world: &World) {
    let (_, sku) = world.product(700, 5).await;
    let cart = world.cart(&sku, 1).await;
    let email = format!("{}@example.com", world.fresh("buyer"));
    let account = json!({"email": email, "password": "correct horse battery"});
    let session = world.post("/v1/auth/register", account).await.is(201);
    let me = format!("Bearer {}", session.text("access_token"));
    let merged = world.post_as(&me, &format!("/v1/carts/{cart}/merge"), json!({})).await.is(200);
    let cart = merged.text("id");
    world.get(&format!("/v1/carts/{cart}")).await.refuses(404, "not_found");
    let placed =
        world.place(&order_of(&cart), &world.fresh("customer"), &[("authorization", &me)]).await.is(201);
    let mine = world.get_as(&me, "/v1/orders").await.is(200);
    assert_eq!(mine.items().len(), 1);
    assert_eq!(mine.items()[0]["id"], placed.body["id"]);
    world.get("/v1/orders").await.refuses(401, "unauthenticated");
}

pub(super) async fn one_key_is_one_order(world: &World) {
    let (_, sku) = world.product(900, 50).await;
    let cart = world.cart(&sku, 1).await;
    let (order, key) = (order_of(&cart), world.fresh("once"));
    let twins = futures_util::future::join_all((0..8).map(|_| world.place(&order, &key, &[]))).await;
    for twin in &twins {
        assert!([201, 202].contains(&twin.status.as_u16()), "{}", twin.body);
        assert_eq!(twin.body["id"], twins[0].body["id"]);
    }
    let again = world.place(&order, &key, &[]).await.is(201);
    assert_eq!(again.body["id"], twins[0].body["id"]);
    let stock = format!("/v1/admin/stock/{sku}");
    let sold = world.until(&world.staff, &stock, |answer| answer.body["reserved"] == 0).await;
    assert_eq!(sold.body["on_hand"], 49);
    let mut other = order.clone();
    other["email"] = json!("somebody.else@example.com");
    world.place(&other, &key, &[]).await.refuses(422, "idempotency_key_reused");
    world.post("/v1/orders", order).await.refuses(400, "idempotency_key_required");

    let cart = world.cart(&sku, 1).await;
    let answer =
        world.place(&order_of(&cart), &world.fresh("async"), &[("prefer", "respond-async")]).await.is(202);
    let path = format!("/v1/orders/{}", answer.text("id"));
    let who = format!("Bearer {}", answer.text("access_token"));
    world.until(&who, &path, |answer| answer.body["status"] == "confirmed").await;
}

pub(super) async fn what_cannot_be_bought_is_said(world: &World) {
    let (_, sku) = world.product(900, 2).await;
    let cart = world.cart(&sku, 3).await;
    let short = world.place(&order_of(&cart), &world.fresh("short"), &[]).await.refuses(409, "out_of_stock");
    assert_eq!(short.body["items"][0], json!({"sku": sku, "requested": 3, "available": 2}));
    assert!(short.body["order_id"].is_string());

    world.line(&cart, &sku, 1).await.is(200);
    let mut declined: Value = order_of(&cart);
    declined["payment_method"] = json!("pm_card_visa_chargeDeclined");
    let answer = world.place(&declined, &world.fresh("declined"), &[]).await.refuses(402, "payment_declined");
    let order =
        world.get_as(&world.staff, &format!("/v1/admin/orders/{}", answer.text("order_id"))).await.is(200);
    assert_eq!(order.body["status"], "cancelled");
    assert_eq!(order.body["payment_status"], "failed");
    // The cart stays usable, and another try is a new order.
    world.place(&order_of(&cart), &world.fresh("second"), &[]).await.is(201);

    let empty = world.post("/v1/carts", json!({})).await.is(201).text("id");
    world.place(&order_of(&empty), &world.fresh("empty"), &[]).await.refuses(422, "validation_failed");
    world.place(&order_of(NOBODY), &world.fresh("nobody"), &[]).await.refuses(404, "not_found");
    let cart = world.cart(&sku, 1).await;
    let mut nameless = order_of(&cart);
    nameless.as_object_mut().expect("an object").remove("email");
    let refused =
        world.place(&nameless, &world.fresh("nameless"), &[]).await.refuses(422, "validation_failed");
    assert!(refused.body["errors"][0]["pointer"].is_string(), "{}", refused.body);
}

pub(super) async fn an_order_waits_for_a_provider_that_is_away(world: &World) {
    let (_, sku) = world.product(900, 5).await;
    let cart = world.cart(&sku, 1).await;
    world.provider(Some(json!({"mode": "refuse", "rate": 1.0}))).await;
    let queued = world.place(&order_of(&cart), &world.fresh("away"), &[]).await;
    world.provider(None).await;
    let queued = queued.is(202);
    let path = format!("/v1/orders/{}", queued.text("id"));
    let who = format!("Bearer {}", queued.text("access_token"));
    world.until(&who, &path, |answer| answer.body["status"] == "confirmed").await;
    let reason = json!({"reason": "no more"});
    let cancel = format!("{path}/cancel");
    let answer = world.ask(Method::POST, &cancel, Some(&reason), &[("authorization", &who)]).await;
    assert!([200, 202].contains(&answer.status.as_u16()), "{}", answer.body);
}
