//! A shop with a past: orders that went through, were declined, called off, returned, and one that waits for the
//! provider. Stopped in order, with what it leaves behind.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use platform::http::Context;
use platform::services::order::client::{FulfilmentStatus, PaymentStatus, Refund, Status};
use platform::storage::EngineConfig;
use platform::testing::TestShop;
use platform::testing::postgres;
use platform::verify::journal::{Acknowledged, Head, JournalWriter};
use platform::verify::{Beside, Options, Statement, Verifier, VerifyError};
use platform::vocabulary::{Env, OrderId};
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;

/// The SKU that everybody buys.
pub(super) const SKU: &str = "VERIFY-A";
/// The SKU that the waiting order holds.
pub(super) const HELD: &str = "VERIFY-HELD";

/// Orders of every kind, by what became of them.
pub(super) struct Orders {
    pub(super) confirmed: OrderId,
    pub(super) delivered: OrderId,
    pub(super) declined: OrderId,
    pub(super) waiting: OrderId,
}

/// What the shop left behind.
pub(super) struct Story {
    pub(super) folder: TempDir,
    pub(super) engine: EngineConfig,
    pub(super) orders: Orders,
}

/// Gives a new product with `units` of one SKU to the shop.
pub(super) async fn stock(shop: &TestShop, sku: &str, units: i64, price: i64) {
    let admin = shop.admin().await;
    let product = json!({
        "slug": sku.to_lowercase(), "title": sku, "category": "kitchen",
        "variants": [{"sku": sku, "title": "one size", "price": {"amount": price, "currency": "USD"}}],
    });
    let product = serde_json::from_value(product).expect("a product");
    shop.client.products.create(&admin, &product).await.expect("created");
    shop.client.products.receive(&admin, sku, units, "first delivery", None).await.expect("received");
}

/// A buyer who writes down what was promised.
pub(super) struct Buyer<'shop> {
    pub(super) shop: &'shop TestShop,
    journal: JournalWriter,
    bought: usize,
}

impl<'shop> Buyer<'shop> {
    pub(super) fn new(shop: &'shop TestShop) -> Self {
        let head = Head::new("story", shop.running.url());
        let journal = JournalWriter::create(&journal_in(shop.folder()), &head).expect("a journal");
        Self { shop, journal, bought: 0 }
    }

    /// Buys, and answers the order with the status of the answer.
    pub(super) async fn buy(&mut self, sku: &str, quantity: i64, method: &str) -> (OrderId, StatusCode) {
        self.bought += 1;
        let key = format!("story-{}", self.bought);
        let cart = self.shop.cart(&[(sku, quantity)]).await;
        let mut order = TestShop::order_of(cart);
        order["payment_method"] = method.into();
        let (status, body) = self.shop.place(&order, &key).await;
        let id: OrderId = order_in(&body);
        if status == StatusCode::CREATED || status == StatusCode::ACCEPTED {
            let scope = format!("cart:{cart}");
            let at = Env::system().now();
            let order = Acknowledged { order_id: id, scope, key, status: status.as_u16(), at };
            self.journal.append(&order).expect("written down");
        }
        (id, status)
    }
}

fn order_in(body: &Value) -> OrderId {
    let id = body["id"].as_str().or(body["order_id"].as_str());
    id.unwrap_or_else(|| panic!("no order in {body}")).parse().expect("an id")
}

pub(super) fn journal_in(folder: &Path) -> PathBuf {
    folder.join("journal.ndjson")
}

/// A log as the shop writes it; in a test all shops of a process log to the first one's file.
pub(super) fn log_in(folder: &Path) -> PathBuf {
    folder.join("story.log")
}

/// Everything that can happen to orders, and then the end of the day.
pub(super) async fn tell(shop: TestShop, engine: EngineConfig) -> Story {
    stock(&shop, SKU, 100, 1_999).await;
    stock(&shop, HELD, 5, 700).await;
    let admin = shop.admin().await;
    let mut buyer = Buyer::new(&shop);

    let (confirmed, status) = buyer.buy(SKU, 2, "pm_card_visa").await;
    assert_eq!(status, StatusCode::CREATED);
    let (delivered, _) = buyer.buy(SKU, 3, "pm_card_visa").await;
    deliver(&shop, &admin, delivered).await;
    let (returned, _) = buyer.buy(SKU, 1, "pm_card_visa").await;
    deliver(&shop, &admin, returned).await;
    let back = Refund { amount: None, reason: "it broke".to_owned(), restock: true };
    shop.client.orders.refund(&admin, returned, &back).await.expect("refunded");
    shop.order_when(&admin, returned, |order| order.payment_status == PaymentStatus::Refunded).await;
    let (partly, _) = buyer.buy(SKU, 2, "pm_card_visa").await;
    let part = Refund { amount: Some(500), reason: "a scratch".to_owned(), restock: false };
    shop.order_when(&admin, partly, |order| order.status == Status::Confirmed).await;
    shop.client.orders.refund(&admin, partly, &part).await.expect("refunded in part");
    let (called_off, _) = buyer.buy(SKU, 4, "pm_card_visa").await;
    shop.client.orders.admin_cancel(&admin, called_off, Some("by phone")).await.expect("called off");
    shop.order_when(&admin, called_off, |order| order.status == Status::Cancelled).await;
    let (declined, status) = buyer.buy(SKU, 1, "pm_card_visa_chargeDeclined").await;
    assert_eq!(status, StatusCode::PAYMENT_REQUIRED);
    let (_, status) = buyer.buy(SKU, 500, "pm_card_visa").await;
    assert_eq!(status, StatusCode::CONFLICT, "there are not so many");
    free(&shop, &mut buyer).await;

    // The charge happens and its answer is lost: found out, and charged once.
    shop.provider_fault(&json!({"mode": "timeout_after", "rate": 1.0, "count": 1})).await;
    let (doubted, _) = buyer.buy(SKU, 1, "pm_card_visa").await;
    shop.provider_well().await;
    for id in [confirmed, doubted] {
        shop.order_when(&admin, id, |order| order.status == Status::Confirmed).await;
    }
    quiet(&shop, &admin).await;

    // Cut connections, which leave open what happened.
    shop.provider_fault(&json!({"mode": "refuse", "count": 1_000_000})).await;
    let (waiting, status) = buyer.buy(HELD, 2, "pm_card_visa").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    // Whether the call never left or its answer is missing: the order holds its stock, and its saga tries again.
    let waits = |status| matches!(status, PaymentStatus::Queued | PaymentStatus::Unknown);
    shop.order_when(&admin, waiting, |order| waits(order.payment_status)).await;
    quiet(&shop, &admin).await;

    let folder = shop.stop().await;
    let log = "{\"timestamp\":\"2026-11-23T15:00:00Z\",\"level\":\"INFO\",\"message\":\"the shop is up\"}\n";
    std::fs::write(log_in(folder.path()), log).expect("a log");
    Story { folder, engine, orders: Orders { confirmed, delivered, declined, waiting } }
}

async fn deliver(shop: &TestShop, admin: &Context, id: OrderId) {
    let orders = &shop.client.orders;
    // Packing wants the stock to have left the shelf, which follows on the confirmation.
    let deadline = Instant::now() + Duration::from_secs(30);
    while orders.pack(admin, id).await.is_err() {
        assert!(Instant::now() < deadline, "{id} cannot be packed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    orders.ship(admin, id, Some("1Z-999")).await.expect("shipped");
    orders.deliver(admin, id).await.expect("delivered");
    shop.order_when(admin, id, |order| order.fulfilment_status == FulfilmentStatus::Delivered).await;
}

/// An order that costs nothing.
async fn free(shop: &TestShop, buyer: &mut Buyer<'_>) {
    let nobody = shop.client.anonymous();
    let cart = shop.cart(&[(SKU, 1)]).await;
    shop.client.orders.apply_promotion(&nobody, cart, "GIFT100").await.expect("a gift");
    buyer.bought += 1;
    let (status, body) = shop.place(&TestShop::order_of(cart), &format!("story-{}", buyer.bought)).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
}

/// Until every message found its consumer and every saga its end, or its rest.
pub(super) async fn quiet(shop: &TestShop, admin: &Context) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let queues = shop.client.notifications.queues(admin).await.expect("queues");
        let waiting: i64 = queues.queues.iter().map(|queue| queue.depth).sum();
        let unpublished: i64 = queues.outboxes.iter().map(|outbox| outbox.waiting).sum();
        let sagas = shop.running.vitals().sagas_in_flight;
        if (waiting, unpublished) == (0, 0) && sagas <= 1 {
            return;
        }
        assert!(Instant::now() < deadline, "{waiting} messages, {unpublished} events, {sagas} sagas");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A shop on SQLite that has ended.
pub(super) async fn on_sqlite() -> Story {
    let shop = TestShop::start_with(|config| {
        config.payment.provider_timeout = Duration::from_millis(500);
    })
    .await;
    let path = shop.folder().join("shop.db");
    tell(shop, EngineConfig::Sqlite { path }).await
}

/// A shop on PostgreSQL that has ended; none when there is no PostgreSQL.
pub(super) async fn on_postgres() -> Option<Story> {
    let url = postgres::database().await?;
    let engine = EngineConfig::Postgres { url, connections_max: 8 };
    let told = engine.clone();
    let shop = TestShop::start_with(|config| {
        config.payment.provider_timeout = Duration::from_millis(500);
        config.engine = engine;
    })
    .await;
    Some(tell(shop, told).await)
}

/// What lies beside the data in `folder`.
pub(super) fn beside(folder: &Path) -> Beside {
    let statement = folder.join("fakepay");
    let read = move || -> futures_util::future::BoxFuture<'static, Result<Statement, String>> {
        let read = Statement::at_rest(&statement).map_err(|error| error.to_string());
        Box::pin(async move { read?.ok_or_else(|| "there is none".to_owned()) })
    };
    Beside {
        statement: Some(("fakepay".to_owned(), Arc::new(read))),
        journals: vec![journal_in(folder)],
        logs: vec![log_in(folder)],
        ..Beside::default()
    }
}

/// Verifies data at rest.
pub(super) async fn at_rest(
    engine: &EngineConfig,
    beside: Beside,
) -> Result<platform::verify::Report, VerifyError> {
    let verifier = Verifier::open(engine, &Env::system()).await?;
    let options = Options { live: false, beside, ..Options::default() };
    let report = verifier.run(&options, |_| {}).await;
    verifier.close().await;
    report
}
