//! The process kills itself at a named point while people buy, decline and call off: at each step of the sagas, each
//! call and each batch of the background workers, one after the other, always on the same data. Afterwards every
//! acknowledged order is there and at an end, and the provider's statement and our ledger agree to the cent.
//!
//! A few points here; `SHOPCTL_KILL_ROUNDS=2` kills at every point twice, the second time at its third passing.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use platform::client::ShopClient;
use platform::services::order::client::PlaceOrder;
use platform::vocabulary::OrderId;
use serde_json::json;

use crate::kills::{Shop, check, stock_up};
use crate::shopctl::PATIENCE;

const BUYERS: usize = 4;
/// Points of a run that is not told how many rounds to go.
const A_FEW: usize = 5;

type Acknowledged = Arc<Mutex<Vec<OrderId>>>;

/// Buys until the shop is gone or `orders` were placed: every third payment is declined, every other third order is
/// called off when it was paid.
async fn buy(client: ShopClient, sku: String, acknowledged: Acknowledged, name: String, orders: usize) {
    for at in 0..orders {
        let nobody = client.anonymous();
        let Ok(cart) = client.orders.create_cart(&nobody).await else { return };
        if client.orders.set_line(&nobody, cart.id, &sku, 1).await.is_err() {
            return;
        }
        let method = if at % 3 == 1 { "pm_card_visa_chargeDeclined" } else { "pm_card_visa" };
        let order: PlaceOrder = serde_json::from_value(json!({
            "cart_id": cart.id, "email": "ada@example.com", "payment_method": method,
            "shipping_address": {"name": "Ada", "line1": "1 Road", "city": "London", "postal_code": "N1", "country": "GB"},
        }))
        .expect("an order");
        let placed = match client.orders.place(&nobody, &order, &format!("{name}-{at}"), false).await {
            Ok(placed) => placed.order,
            Err(error) if error.problem().is_some_and(|problem| problem.status == 402) => continue,
            Err(_) => return,
        };
        acknowledged.lock().expect("a list").push(placed.id);
        let token = placed.access_token.as_deref();
        if at % 3 == 2 && client.orders.cancel(&nobody, placed.id, token, None).await.is_err() {
            return;
        }
    }
}

struct World {
    runtime: tokio::runtime::Runtime,
    sku: String,
    acknowledged: Acknowledged,
}

impl World {
    fn crowd(&self, shop: &Shop, name: &str, orders: usize) -> Vec<tokio::task::JoinHandle<()>> {
        let client = ShopClient::new(shop.url());
        let one = |buyer: usize| {
            let (name, sku) = (format!("{name}-{buyer}"), self.sku.clone());
            self.runtime.spawn(buy(client.clone(), sku, Arc::clone(&self.acknowledged), name, orders))
        };
        (0..BUYERS).map(one).collect()
    }

    /// The points that this crowd passes.
    fn points(&self, data_dir: &Path) -> Vec<String> {
        let notes = data_dir.join("points");
        let mut shop = Shop::fated(data_dir, &format!("note:{}", notes.display()));
        for buyer in self.crowd(&shop, "listening", 6) {
            self.runtime.block_on(buyer).expect("a buyer");
        }
        let deadline = Instant::now() + PATIENCE;
        let read = || std::fs::read_to_string(&notes).expect("notes");
        while !read().contains("sender.") {
            assert!(Instant::now() < deadline, "no mail was handed over");
            std::thread::sleep(Duration::from_millis(20));
        }
        shop.kill();
        let text = read();
        // What staff did before may still be on its way; buyers alone do not come there again.
        let by_buyers = |point: &&str| !point.starts_with("call.user.") && !point.contains("product_outbox");
        text.lines().filter(by_buyers).map(str::to_owned).collect()
    }

    fn die_at(&self, data_dir: &Path, point: &str, time: usize) {
        let name = format!("{point}#{time}");
        let mut shop = Shop::fated(data_dir, &name);
        let crowd = self.crowd(&shop, &name, usize::MAX);
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = shop.process.try_wait().expect("a status") {
                break status;
            }
            assert!(Instant::now() < deadline, "nobody came to {name}");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.signal(), Some(9), "{name}: {status}");
        for buyer in crowd {
            self.runtime.block_on(buyer).expect("a buyer");
        }
    }
}

#[test]
fn nothing_is_lost_when_the_process_dies_at_a_named_point() {
    let rounds: usize =
        std::env::var("SHOPCTL_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut shop = Shop::start(folder.path());
    let admin = shop.admin();
    let sku = runtime.block_on(stock_up(&shop, &admin));
    shop.kill();
    let world = World { runtime, sku, acknowledged: Acknowledged::default() };

    let points = world.points(folder.path());
    let every = if rounds == 0 { points.len() / A_FEW } else { 1 };
    let mut kills = 0;
    for round in 0..rounds.max(1) {
        for point in points.iter().step_by(every) {
            world.die_at(folder.path(), point, 1 + 2 * round);
            kills += 1;
        }
    }
    let shop = Shop::start(folder.path());
    let acknowledged = world.acknowledged.lock().expect("a list").clone();
    println!("{kills} kills at {} points, {} orders acknowledged", points.len(), acknowledged.len());
    world.runtime.block_on(check(&shop, &admin, &acknowledged));
}
