//! The whole shop, kept to its promises: no oversale, no second charge, no lost order.

use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use platform::services::order::client::Status;
use platform::storage::EngineConfig;
use platform::testing::TestShop;
use platform::testing::postgres::{self, Cluster};
use serde_json::{Value, json};

/// Gives a new product with `units` of one SKU to the shop.
async fn stock(shop: &TestShop, sku: &str, units: i64, price: i64) {
    let admin = shop.admin().await;
    let product = json!({
        "slug": sku.to_lowercase(), "title": sku, "category": "kitchen",
        "variants": [{"sku": sku, "title": "one size", "price": {"amount": price, "currency": "USD"}}],
    });
    let product = serde_json::from_value(product).expect("a product");
    shop.client.products.create(&admin, &product).await.expect("created");
    shop.client.products.receive(&admin, sku, units, "first delivery", None).await.expect("received");
}

async fn two_hundred_buyers_for_a_hundred_units(shop: &TestShop) {
    stock(shop, "FLASH-1", 100, 1_999).await;
    let mut carts = Vec::new();
    for _ in 0..200 {
        carts.push(shop.cart(&[("FLASH-1", 1)]).await);
    }
    let orders = carts.iter().enumerate().map(|(at, cart)| async move {
        shop.place(&TestShop::order_of(*cart), &format!("flash-{at}")).await
    });
    let answers = futures_util::future::join_all(orders).await;
    let count = |status: StatusCode| answers.iter().filter(|answer| answer.0 == status).count();
    let other = answers.iter().find(|answer| {
        ![StatusCode::CREATED, StatusCode::ACCEPTED, StatusCode::CONFLICT].contains(&answer.0)
    });
    assert_eq!(other, None);
    assert_eq!(count(StatusCode::CONFLICT), 100, "refused");

    let admin = shop.admin().await;
    for (status, body) in &answers {
        if *status == StatusCode::CONFLICT {
            assert_eq!(body["code"], "out_of_stock");
            assert_eq!(body["items"][0]["sku"], "FLASH-1");
            continue;
        }
        let id = body["id"].as_str().expect("an id").parse().expect("a uuid");
        shop.order_when(&admin, id, |order| order.status == Status::Confirmed).await;
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let stock = shop.client.products.stock(&admin, "FLASH-1").await.expect("stock");
        if (stock.on_hand, stock.reserved, stock.available) == (0, 0, 0) {
            break;
        }
        assert!(Instant::now() < deadline, "still {stock:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(captured(shop).await, 100);
}

/// How many orders the provider says it captured; none twice.
async fn captured(shop: &TestShop) -> usize {
    let mut orders: Vec<String> = shop
        .statement()
        .await
        .iter()
        .filter(|item| item["captured"].as_i64().is_some_and(|captured| captured > 0))
        .map(|item| item["order_id"].as_str().expect("an order").to_owned())
        .collect();
    let all = orders.len();
    orders.sort();
    orders.dedup();
    assert_eq!(orders.len(), all, "an order was charged twice");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_buyers_get_a_hundred_units_on_sqlite() {
    two_hundred_buyers_for_a_hundred_units(&TestShop::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_buyers_get_a_hundred_units_on_postgres() {
    let Some(shop) = TestShop::start_on_postgres().await else { return };
    two_hundred_buyers_for_a_hundred_units(&shop).await;
}

async fn one_key_fifty_times(shop: &TestShop) {
    stock(shop, "ONCE-1", 100, 500).await;
    let cart = shop.cart(&[("ONCE-1", 1)]).await;
    let order = TestShop::order_of(cart);
    let twins = (0..50).map(|_| shop.place(&order, "the same key"));
    let answers = futures_util::future::join_all(twins).await;
    for answer in &answers {
        assert_eq!(answer.0, StatusCode::CREATED, "{}", answer.1);
        assert_eq!(answer.1, answers[0].1, "every twin hears the same");
    }
    assert_eq!(captured(shop).await, 1);

    let mut other = order.clone();
    other["email"] = json!("somebody.else@example.com");
    let (status, body) = shop.place(&other, "the same key").await;
    assert_eq!((status, &body["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("idempotency_key_reused")));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_buys_once_on_sqlite() {
    one_key_fifty_times(&TestShop::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_buys_once_on_postgres() {
    let Some(shop) = TestShop::start_on_postgres().await else { return };
    one_key_fifty_times(&shop).await;
}

/// Buys one unit `count` times, one after the other in `lanes` lanes; answers what each heard and how long it took.
async fn buy_many(
    shop: &TestShop,
    sku: &str,
    lanes: usize,
    count: usize,
) -> Vec<(StatusCode, Value, Duration)> {
    let lane = |lane: usize| async move {
        let mut heard = Vec::new();
        for at in 0..count / lanes {
            let cart = shop.cart(&[(sku, 1)]).await;
            let began = Instant::now();
            let (status, body) = shop.place(&TestShop::order_of(cart), &format!("{sku}-{lane}-{at}")).await;
            heard.push((status, body, began.elapsed()));
        }
        heard
    };
    futures_util::future::join_all((0..lanes).map(lane)).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_whose_answer_got_lost_is_not_charged_again() {
    let shop = TestShop::start_with(|config| {
        config.payment.provider_timeout = Duration::from_millis(300);
    })
    .await;
    stock(&shop, "LOST-1", 1_000, 700).await;
    shop.provider_fault(&json!({"mode": "timeout_after", "rate": 0.5})).await;
    let heard = buy_many(&shop, "LOST-1", 20, 100).await;
    shop.provider_well().await;
    let admin = shop.admin().await;
    for (status, body, _) in &heard {
        assert!([StatusCode::CREATED, StatusCode::ACCEPTED].contains(status), "{status} {body}");
        let id = body["id"].as_str().expect("an id").parse().expect("a uuid");
        shop.order_when(&admin, id, |order| order.status == Status::Confirmed).await;
    }
    assert_eq!(captured(&shop).await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_queue_while_the_provider_refuses_and_finish_when_it_is_back() {
    let shop = TestShop::start().await;
    stock(&shop, "QUEUE-1", 1_000, 700).await;
    shop.provider_fault(&json!({"mode": "refuse"})).await;
    let heard = buy_many(&shop, "QUEUE-1", 20, 100).await;
    let admin = shop.admin().await;
    for (status, body, _) in &heard {
        assert!([StatusCode::CREATED, StatusCode::ACCEPTED].contains(status), "{status} {body}");
    }
    let breakers = shop.client.payments.breakers(&admin).await.expect("breakers");
    assert!(breakers.items.iter().any(|breaker| breaker.state != "closed"), "{breakers:?}");
    shop.provider_well().await;
    for (_, body, _) in &heard {
        let id = body["id"].as_str().expect("an id").parse().expect("a uuid");
        shop.order_when(&admin, id, |order| order.status == Status::Confirmed).await;
    }
    assert_eq!(captured(&shop).await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_ordered_is_there_after_a_restart() {
    let shop = TestShop::start().await;
    stock(&shop, "KEEP-1", 10, 700).await;
    let cart = shop.cart(&[("KEEP-1", 2)]).await;
    let (status, placed) = shop.place(&TestShop::order_of(cart), "keep").await;
    assert_eq!(status, StatusCode::CREATED, "{placed}");
    let shop = shop.restart().await;
    let token = format!("Bearer {}", placed["access_token"].as_str().expect("a guest's token"));
    let path = format!("/v1/orders/{}", placed["id"].as_str().expect("an id"));
    let (status, order) = shop.send(Method::GET, &path, None, &[("authorization", &token)]).await;
    assert_eq!(
        (status, &order["status"], &order["total"]),
        (StatusCode::OK, &json!("confirmed"), &placed["total"])
    );
    let (status, again) = shop.place(&TestShop::order_of(cart), "keep").await;
    assert_eq!((status, &again["id"]), (StatusCode::CREATED, &placed["id"]));
}

/// Buys with one key until the shop says what became of it, as a patient client does.
async fn insist(shop: &TestShop, sku: &str, name: String) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut cart = None;
    loop {
        if cart.is_none() {
            let nobody = shop.client.anonymous();
            if let Ok(made) = shop.client.orders.create_cart(&nobody).await
                && shop.client.orders.set_line(&nobody, made.id, sku, 1).await.is_ok()
            {
                cart = Some(made.id);
            }
        }
        if let Some(cart) = cart {
            let (status, body) = shop.place(&TestShop::order_of(cart), &name).await;
            if status == StatusCode::CREATED || status == StatusCode::ACCEPTED {
                return body["id"].as_str().expect("an id").to_owned();
            }
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
        }
        assert!(Instant::now() < deadline, "{name} was never placed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_crashes_under_load_and_every_order_is_there_once() {
    let mut cluster = match Cluster::start() {
        Ok(cluster) => cluster,
        Err(error) => {
            let required = std::env::var(postgres::REQUIRE).is_ok_and(|value| value == "1");
            assert!(!required, "PostgreSQL is required and cannot be had: {error}");
            eprintln!("skipped: {error}");
            return;
        }
    };
    let url = cluster.create_database().await.expect("a database");
    let shop =
        TestShop::start_with(|config| config.engine = EngineConfig::Postgres { url, connections_max: 16 })
            .await;
    stock(&shop, "CRASH-1", 1_000, 700).await;
    let buyers = (0..60).map(|at| insist(&shop, "CRASH-1", format!("crash-{at}")));
    let crash = async {
        while captured(&shop).await < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::task::spawn_blocking(move || cluster.crash_and_restart().map(|()| cluster))
            .await
            .expect("a thread")
            .expect("the database is back")
    };
    let (placed, _cluster) = tokio::join!(futures_util::future::join_all(buyers), crash);
    let admin = shop.admin().await;
    for id in &placed {
        let id = id.parse().expect("a uuid");
        shop.order_when(&admin, id, |order| order.status == Status::Confirmed).await;
    }
    assert_eq!(captured(&shop).await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_loses_and_doubles_nothing() {
    let shop = TestShop::start().await;
    stock(&shop, "CLOCK-1", 1_000, 700).await;
    for (at, skew_s) in [0, -3600, 30, -30, 0].into_iter().enumerate() {
        shop.running.skew_clock(skew_s);
        for twin in 0..4 {
            let cart = shop.cart(&[("CLOCK-1", 1)]).await;
            let key = format!("clock-{at}-{twin}");
            let (status, first) = shop.place(&TestShop::order_of(cart), &key).await;
            assert_eq!(status, StatusCode::CREATED, "{first}");
            let (status, again) = shop.place(&TestShop::order_of(cart), &key).await;
            assert_eq!((status, &again["id"]), (StatusCode::CREATED, &first["id"]));
        }
    }
    assert_eq!(captured(&shop).await, 20);
}
