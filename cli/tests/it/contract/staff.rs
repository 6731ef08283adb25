//! What staff does: orders, stock, and the machinery behind them.

use serde_json::json;

use super::world::{NOBODY, World, order_of};

pub(super) async fn an_order_goes_its_way(world: &World) {
    let (_, sku) = world.product(4_000, 9).await;
    let cart = world.cart(&sku, 1).await;
    let placed = world.place(&order_of(&cart), &world.fresh("way"), &[]).await;
    // A replica whose breaker is still open from an outage before queues the payment for a moment.
    assert!([201, 202].contains(&placed.status.as_u16()), "{}", placed.body);
    let id = placed.text("id");
    let path = format!("/v1/admin/orders/{id}");
    let seen = world.until(&world.staff, &path, |answer| answer.body["status"] == "confirmed").await;
    assert!(seen.body["events"].is_array(), "{}", seen.body);
    world
        .post_as(&world.staff, &format!("{path}/ship"), json!({}))
        .await
        .refuses(409, "order_state_conflict");
    // Packing needs the stock committed, which follows the confirmation.
    world.until(&world.staff, &format!("/v1/admin/stock/{sku}"), |answer| answer.body["on_hand"] == 8).await;
    let packed = loop {
        let answer = world.post_as(&world.staff, &format!("{path}/pack"), json!({})).await;
        if answer.status.as_u16() != 409 {
            break answer.is(200);
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(packed.body["fulfilment_status"], "packed");
    let shipped =
        world.post_as(&world.staff, &format!("{path}/ship"), json!({"tracking": "T-1"})).await.is(200);
    assert_eq!(shipped.body["status"], "shipped");
    let delivered = world.post_as(&world.staff, &format!("{path}/deliver"), json!({})).await.is(200);
    assert_eq!(delivered.body["fulfilment_status"], "delivered");
    let refund = json!({"amount": 1_000, "reason": "a scratch", "restock": false});
    let refunded = world.post_as(&world.staff, &format!("{path}/refund"), refund).await;
    assert!([200, 202].contains(&refunded.status.as_u16()), "{}", refunded.body);
    world.until(&world.staff, &path, |answer| answer.body["payment_status"] == "partially_refunded").await;
    let dry = world.post_as(&world.staff, &format!("{path}/rebuild?dry_run=true"), json!({})).await;
    assert!(dry.status.is_success(), "{}", dry.body);

    let list = world.get_as(&world.staff, "/v1/admin/orders?status=delivered").await.is(200);
    assert!(list.items().iter().any(|order| order["id"] == json!(id)));
    world.get_as(&world.staff, &format!("/v1/admin/orders/{NOBODY}")).await.refuses(404, "not_found");
    world.get("/v1/admin/orders").await.refuses(401, "unauthenticated");
}

pub(super) async fn stock_is_received_and_adjusted(world: &World) {
    let (_, sku) = world.product(4_000, 10).await;
    let path = format!("/v1/admin/stock/{sku}");
    let change = |delta: i64| json!({"delta": delta, "reason": "counted"});
    let less = world.post_as(&world.staff, &format!("{path}/adjust"), change(-4)).await.is(200);
    assert_eq!(less.body["on_hand"], 6);
    assert_eq!(less.body["available"], 6);
    let too_much = world.post_as(&world.staff, &format!("{path}/adjust"), change(-7)).await;
    assert_eq!(too_much.status.as_u16(), 409, "{}", too_much.body);
    let more = json!({"quantity": 4, "reason": "delivery"});
    let received = world.post_as(&world.staff, &format!("{path}/receive"), more).await.is(200);
    assert_eq!((&received.body["on_hand"], &received.body["reserved"]), (&json!(10), &json!(0)));
    let none = json!({"quantity": 0, "reason": "nothing"});
    world.post_as(&world.staff, &format!("{path}/receive"), none).await.refuses(422, "validation_failed");
    world.get_as(&world.staff, "/v1/admin/stock/NO-SUCH-SKU").await.refuses(404, "unknown_sku");
}

pub(super) async fn the_machinery_is_shown(world: &World) {
    for path in
        ["/v1/admin/sagas", "/v1/admin/dlq", "/v1/admin/breakers", "/v1/admin/payments", "/v1/admin/users"]
    {
        let list = world.get_as(&world.staff, path).await.is(200);
        assert!(list.body["items"].is_array(), "{path}: {}", list.body);
        world.get(path).await.refuses(401, "unauthenticated");
    }
    let reconciled = world.get_as(&world.staff, "/v1/admin/reconcile").await.is(200);
    assert_eq!(reconciled.body["differences"], json!([]));
}
