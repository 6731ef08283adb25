//! The plug is pulled under load, again and again. Afterwards every acknowledged order is there, every order has
//! reached an end, and the provider's statement and our ledger agree to the cent.
//!
//! Three kills here; `SHOPCTL_KILLS=30` (as `scripts/test --full` sets it) for as many as one likes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use platform::client::ShopClient;
use platform::services::order::client::{OrderFilter, PlaceOrder};
use platform::services::user::client::Login;
use platform::vocabulary::OrderId;
use serde_json::{Value, json};

const BUYERS: usize = 12;

/// A shop in a process of its own, which ends with this.
pub(crate) struct Shop {
    pub(crate) process: Child,
    ready: Value,
}

impl Shop {
    pub(crate) fn start(data_dir: &Path) -> Self {
        Self::fated(data_dir, "")
    }

    /// One that dies as `fate` says.
    pub(crate) fn fated(data_dir: &Path, fate: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_shopctl"))
            .args(["up", "-o", "ndjson", "--port", "0", "--limits", "none", "--data-dir"])
            .arg(data_dir)
            .env("SHOPCTL_FATE", fate)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("shopctl starts");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let ready = lines
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find(|event| event["event"] == "ready")
            .expect("the shop becomes ready");
        Self { process, ready }
    }

    pub(crate) fn admin(&self) -> Value {
        self.ready["admin"].clone()
    }

    pub(crate) fn url(&self) -> &str {
        self.ready["url"].as_str().expect("a url")
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("SIGKILL");
        self.process.wait().expect("reaped");
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the buyers were told, before the plug was pulled and after.
#[derive(Default)]
struct Journal {
    acknowledged: Vec<OrderId>,
}

/// Buys until the shop is gone.
async fn buy_until_gone(client: ShopClient, sku: String, journal: Arc<Mutex<Journal>>, name: String) {
    for at in 0.. {
        let nobody = client.anonymous();
        let Ok(cart) = client.orders.create_cart(&nobody).await else { return };
        if client.orders.set_line(&nobody, cart.id, &sku, 1).await.is_err() {
            return;
        }
        let order: PlaceOrder = serde_json::from_value(json!({
            "cart_id": cart.id, "email": "ada@example.com", "payment_method": "pm_card_visa",
            "shipping_address": {"name": "Ada", "line1": "1 Road", "city": "London", "postal_code": "N1", "country": "GB"},
        }))
        .expect("an order");
        match client.orders.place(&nobody, &order, &format!("{name}-{at}"), false).await {
            Ok(placed) => journal.lock().expect("journal").acknowledged.push(placed.order.id),
            Err(_) => return,
        }
    }
}

/// The next of a row of numbers that `seed` decides, below `below`.
fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}

#[test]
fn nothing_is_lost_or_charged_twice_when_the_plug_is_pulled() {
    let kills: usize = std::env::var("SHOPCTL_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let journal = Arc::new(Mutex::new(Journal::default()));
    let mut seed = 42;

    let mut shop = Shop::start(folder.path());
    let admin = shop.admin();
    let sku = runtime.block_on(stock_up(&shop, &admin));
    for round in 0..kills {
        let client = ShopClient::new(shop.url());
        let buyers: Vec<_> = (0..BUYERS)
            .map(|buyer| {
                let name = format!("kill-{round}-{buyer}");
                runtime.spawn(buy_until_gone(client.clone(), sku.clone(), Arc::clone(&journal), name))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(60 + draw(&mut seed, 900)));
        shop.kill();
        for buyer in buyers {
            runtime.block_on(buyer).expect("a buyer");
        }
        shop = Shop::start(folder.path());
    }
    let acknowledged = journal.lock().expect("journal").acknowledged.clone();
    assert!(acknowledged.len() > kills, "only {} orders were acknowledged", acknowledged.len());
    runtime.block_on(check(&shop, &admin, &acknowledged));
}

/// A SKU with more units than anybody can buy here.
pub(crate) async fn stock_up(shop: &Shop, admin: &Value) -> String {
    let client = ShopClient::new(shop.url());
    let context = sign_in(&client, admin).await;
    let product = serde_json::from_value(json!({
        "slug": "plug", "title": "Plug", "category": "kitchen",
        "variants": [{"sku": "PLUG-1", "title": "one size", "price": {"amount": 999, "currency": "USD"}}],
    }))
    .expect("a product");
    client.products.create(&context, &product).await.expect("created");
    client.products.receive(&context, "PLUG-1", 1_000_000, "delivery", None).await.expect("received");
    "PLUG-1".to_owned()
}

async fn sign_in(client: &ShopClient, admin: &Value) -> platform::http::Context {
    let word = |field: &str| admin[field].as_str().expect("the admin is shown at the first start").to_owned();
    let login = Login { email: word("email"), password: word("password") };
    let session = client.users.login(&client.anonymous(), &login).await.expect("signed in");
    client.bearing(&session.access_token)
}

pub(crate) async fn check(shop: &Shop, admin: &Value, acknowledged: &[OrderId]) {
    let client = ShopClient::new(shop.url());
    let context = sign_in(&client, admin).await;
    for id in acknowledged {
        let order = client.orders.admin_order(&context, *id).await;
        assert!(order.is_ok(), "acknowledged order {id} is lost: {order:?}");
    }

    let deadline = Instant::now() + Duration::from_secs(60);
    let mut cursor = None;
    let mut total = 0;
    loop {
        let filter = OrderFilter { limit: Some(100), cursor: cursor.clone(), ..OrderFilter::default() };
        let page = client.orders.admin_orders(&context, &filter).await.expect("orders");
        let open = page.items.iter().find(|order| {
            let status = serde_json::to_value(order.status).expect("a word");
            !["confirmed", "cancelled", "rejected", "expired"].contains(&status.as_str().expect("a word"))
        });
        if let Some(open) = open {
            assert!(Instant::now() < deadline, "order {} is still {:?}", open.id, open.status);
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        total += page.items.len();
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert!(total >= acknowledged.len());

    let report = client.payments.reconcile(&context, None).await.expect("reconciled");
    assert!(report.differences.is_empty(), "our ledger and the provider's statement differ: {report:?}");
    assert!(report.matches > 0, "nothing was compared: {report:?}");
}
