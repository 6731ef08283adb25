//! What a client may not do: others' carts and orders, nonsense in every field, prices of its own.

use axum::body::Body;
use axum::http::{Method, Request};
use platform::http::{Code, Context};
use platform::services::order::client::{Order, Refund};
use platform::vocabulary::{CartId, Identity, OrderId, Role};
use serde_json::{Value, json};

use crate::order_fakes::{World, request};

impl World {
    fn user(&self, number: u128) -> Context {
        let identity = Identity {
            user_id: uuid::Uuid::from_u128(number).into(),
            email: format!("user{number}@example.com"),
            roles: vec![Role::Customer],
        };
        Context { identity: Some(identity.into()), ..self.guest() }
    }

    /// Sends raw text and answers the status and the problem's code.
    async fn raw(
        &self,
        context: &Context,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: &str,
    ) -> (u16, String) {
        let mut request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.endpoint().send(context, request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        (status, body["code"].as_str().unwrap_or_default().to_owned())
    }
}

#[tokio::test]
async fn a_quantity_is_a_whole_number_from_0_to_999() {
    let world = World::start().await;
    let cart = world.client.create_cart(&world.guest()).await.unwrap().id;
    let path = format!("/v1/carts/{cart}/lines/MUG");
    for (body, expected) in [
        (r#"{"quantity": -1}"#, (422, "validation_failed")),
        (r#"{"quantity": 1000}"#, (422, "validation_failed")),
        (r#"{"quantity": 9223372036854775807}"#, (422, "validation_failed")),
        (r#"{"quantity": 9223372036854775808}"#, (422, "validation_failed")),
        (r#"{"quantity": 1.5}"#, (422, "validation_failed")),
        (r#"{"quantity": "2"}"#, (422, "validation_failed")),
        (r#"{"quantity": 1, "unit_price": 1}"#, (422, "validation_failed")),
        (r#"{"quantity": 1"#, (400, "malformed")),
    ] {
        let (status, code) = world.raw(&world.guest(), Method::PUT, &path, None, body).await;
        assert_eq!((status, code.as_str()), expected, "{body}");
    }
    let nowhere = world.client.set_line(&world.guest(), cart, "NO-SUCH", 1).await.unwrap_err();
    assert_eq!(nowhere.problem().unwrap().code, Code::UnknownSku);
    let twice = world.client.set_line(&world.guest(), cart, "MUG", 2).await.unwrap();
    assert_eq!((twice.lines.len(), twice.subtotal.amount), (1, 3_998));
    let gone = world.client.set_line(&world.guest(), cart, "MUG", 0).await.unwrap();
    assert_eq!((gone.lines.len(), gone.total.amount), (0, 0));
}

#[tokio::test]
async fn an_order_wants_a_key_a_cart_and_sound_fields() {
    let world = World::start().await;
    let cart = world.cart("MUG", 1).await;
    let good = serde_json::to_value(request(cart, "pm_card_visa")).unwrap();
    let with = |pointer: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        body.to_string()
    };
    let place = |key: Option<&'static str>, body: String| {
        let world = &world;
        async move { world.raw(&world.guest(), Method::POST, "/v1/orders", key, &body).await }
    };
    assert_eq!(place(None, good.to_string()).await, (400, "idempotency_key_required".to_owned()));
    for body in [
        with("/email", json!("nobody")),
        with("/email", json!(null)),
        with("/payment_method", json!("4242424242424242")),
        with("/payment_method", json!("")),
        with("/shipping_address/country", json!("usa")),
        with("/shipping_address/name", json!("  ")),
        with("/shipping_address/line1", json!("x".repeat(201))),
        good.to_string().replacen('{', "{\"total\": 1, ", 1),
    ] {
        assert_eq!(place(Some("k"), body.clone()).await, (422, "validation_failed".to_owned()), "{body}");
    }
    let nowhere = with("/cart_id", json!(uuid::Uuid::from_u128(5)));
    assert_eq!(place(Some("k"), nowhere).await, (404, "not_found".to_owned()));
    let empty = world.client.create_cart(&world.guest()).await.unwrap().id;
    assert_eq!(place(Some("k"), with("/cart_id", json!(empty))).await, (422, "validation_failed".to_owned()));
}

#[tokio::test]
async fn nobody_sees_or_touches_what_belongs_to_somebody_else() {
    let world = World::start().await;
    let (owner, other) = (world.user(1), world.user(2));
    let cart: CartId = world.client.create_cart(&owner).await.unwrap().id;
    world.client.set_line(&owner, cart, "MUG", 1).await.unwrap();
    for stranger in [&other, &world.guest()] {
        let seen = world.client.cart(stranger, cart).await.unwrap_err();
        assert_eq!(seen.problem().unwrap().code, Code::NotFound);
        let set = world.client.set_line(stranger, cart, "MUG", 5).await.unwrap_err();
        assert_eq!(set.problem().unwrap().code, Code::NotFound);
        let placed =
            world.client.place(stranger, &request(cart, "pm_card_visa"), "k", false).await.unwrap_err();
        assert_eq!(placed.problem().unwrap().code, Code::NotFound);
    }
    let placed = world.client.place(&owner, &request(cart, "pm_card_visa"), "k", false).await.unwrap();
    assert_eq!(placed.order.access_token, None, "a user signs in instead");
    let id = placed.order.id;
    assert_eq!(world.client.order(&owner, id, None).await.unwrap().id, id);
    let forged =
        world.shop.capabilities.secrets.order_access_token(OrderId::from_uuid(uuid::Uuid::from_u128(9)));
    for (stranger, token) in [(&other, None), (&world.guest(), None), (&world.guest(), Some(forged.expose()))]
    {
        for error in [
            world.client.order(stranger, id, token).await.unwrap_err(),
            world.client.events(stranger, id, token).await.unwrap_err(),
            world.client.cancel(stranger, id, token, None).await.unwrap_err(),
        ] {
            assert_eq!(error.problem().unwrap().code, Code::NotFound);
        }
        let streamed = world.client.stream(stranger, id, token, None).await.unwrap();
        assert_eq!(streamed.status(), 404);
    }
    let orders = world.client.orders(&other, &Default::default()).await.unwrap();
    assert!(orders.items.is_empty());
    let mine: Vec<Order> = world.client.orders(&owner, &Default::default()).await.unwrap().items;
    assert_eq!(mine.len(), 1);
}

#[tokio::test]
async fn a_guests_cart_becomes_the_users_and_takes_theirs_in() {
    let world = World::start().await;
    let user = world.user(7);
    let own = world.client.create_cart(&user).await.unwrap().id;
    world.client.set_line(&user, own, "MUG", 990).await.unwrap();
    world.client.set_line(&user, own, "GIFT", 1).await.unwrap();
    let guests = world.cart("MUG", 20).await;
    let merged = world.client.merge_cart(&user, guests).await.unwrap();
    let quantities: Vec<(&str, i64)> =
        merged.lines.iter().map(|line| (line.sku.as_str(), line.quantity)).collect();
    assert_eq!(merged.id, guests);
    assert!(quantities.contains(&("MUG", 999)) && quantities.contains(&("GIFT", 1)), "{quantities:?}");
    assert_eq!(world.client.merge_cart(&user, guests).await.unwrap(), merged, "merging twice merges once");
    assert_eq!(world.client.create_cart(&user).await.unwrap().id, guests, "a user has one cart");
    let stolen = world.client.merge_cart(&world.user(8), guests).await.unwrap_err();
    assert_eq!(stolen.problem().unwrap().code, Code::NotFound);
}

#[tokio::test]
async fn only_staff_with_the_right_role_acts_on_orders_and_sagas() {
    let world = World::start().await;
    let id = world.buy("pm_card_visa").await.unwrap().order.id;
    let customer = world.user(1);
    let refund = Refund { amount: None, reason: "please".to_owned(), restock: false };
    let refused = [
        world.client.admin_order(&customer, id).await.map(drop).unwrap_err(),
        world.client.refund(&customer, id, &refund).await.map(drop).unwrap_err(),
        world.client.retry_saga(&customer, id, None).await.map(drop).unwrap_err(),
        world.client.rebuild(&customer, id, false).await.map(drop).unwrap_err(),
        world.client.promotions(&customer).await.map(drop).unwrap_err(),
        world.client.dashboard(&customer).await.map(drop).unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.problem().unwrap().code, Code::Forbidden);
    }
    let outside = Context { caller: Some("gateway"), ..world.staff() };
    let (status, _) =
        world.raw(&outside, Method::GET, &format!("/internal/v1/orders/{id}/access"), None, "").await;
    assert_eq!(status, 404, "an internal route does not exist for the gateway");
}

#[tokio::test]
async fn lists_go_on_from_their_cursor() {
    let world = World::start().await;
    let user = world.user(3);
    for number in 0..5 {
        let cart = world.client.create_cart(&user).await.unwrap().id;
        world.client.set_line(&user, cart, "MUG", 1).await.unwrap();
        let key = format!("key-{number}");
        world.client.place(&user, &request(cart, "pm_card_visa"), &key, false).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut filter = platform::services::order::client::OrderFilter { limit: Some(2), ..Default::default() };
    loop {
        let page = world.client.orders(&user, &filter).await.unwrap();
        seen.extend(page.items.iter().map(|order| order.id));
        match page.next_cursor {
            Some(cursor) => filter.cursor = Some(cursor),
            None => break,
        }
    }
    let mut sorted = seen.clone();
    sorted.sort_unstable_by(|one, two| two.cmp(one));
    sorted.dedup();
    assert_eq!((seen.len(), &seen), (5, &sorted), "newest first, each once");
    filter.cursor = Some("nonsense".to_owned());
    let error = world.client.orders(&user, &filter).await.unwrap_err();
    assert_eq!(error.problem().unwrap().code, Code::ValidationFailed);
}
