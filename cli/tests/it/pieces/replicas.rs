//! Two replicas of each service, one killed at a time under load: nobody who tries once more hears of it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use platform::client::ShopClient;
use platform::http::{CallError, Context};
use platform::services::order::client::PlaceOrder;
use platform::services::product::client::ProductQuery;
use platform::testing::postgres;
use platform::vocabulary::OrderId;
use rustix::process::Signal;
use serde_json::json;

use super::shop::{admin, order_of, pid_of, process_when, project, send, settled, stock_up};
use crate::running::Running;

const BUYERS: usize = 8;
const SERVICES: [&str; 5] = ["user", "product", "order", "payment", "notification"];
pub(crate) const TWO_OF_EACH: &str = "user=2,product=2,order=2,payment=2,notification=2";

/// What all buyers saw.
#[derive(Default)]
struct Seen {
    answers: AtomicUsize,
    retries: AtomicUsize,
    failures: Mutex<Vec<String>>,
    /// When each request that succeeded was answered.
    successes: Mutex<Vec<Instant>>,
    acknowledged: Mutex<Vec<OrderId>>,
    is_over: AtomicBool,
}

impl Seen {
    /// One request, tried once more when it fails.
    async fn ask<T, F: Future<Output = Result<T, CallError>>>(
        &self,
        what: &str,
        request: impl Fn() -> F,
    ) -> Option<T> {
        for is_last in [false, true] {
            match request().await {
                Ok(answer) => {
                    self.answers.fetch_add(1, Ordering::Relaxed);
                    self.successes.lock().expect("a list").push(Instant::now());
                    return Some(answer);
                }
                Err(error) if is_last => {
                    self.failures.lock().expect("a list").push(format!("{what}: {error}"));
                }
                Err(_) => {
                    self.retries.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        None
    }

    /// The longest time without any good answer, from `from` on.
    fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let mut moments: Vec<Instant> = self.successes.lock().expect("a list").clone();
        moments.retain(|moment| (from..to).contains(moment));
        moments.sort_unstable();
        moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

/// Looks around and buys, until it is over.
async fn shop_around(client: ShopClient, staff: Context, sku: &'static str, name: String, seen: Arc<Seen>) {
    let nobody = client.anonymous();
    for at in 0.. {
        if seen.is_over.load(Ordering::Relaxed) {
            return;
        }
        let query = ProductQuery::default();
        seen.ask("list", || client.products.list(&nobody, &query)).await;
        seen.ask("me", || client.users.me(&staff)).await;
        let Some(cart) = seen.ask("cart", || client.orders.create_cart(&nobody)).await else { continue };
        if seen.ask("line", || client.orders.set_line(&nobody, cart.id, sku, 1)).await.is_none() {
            continue;
        }
        let order: PlaceOrder = serde_json::from_value(order_of(cart.id)).expect("an order");
        let key = format!("{name}-{at}");
        if let Some(placed) = seen.ask("order", || client.orders.place(&nobody, &order, &key, false)).await {
            seen.acknowledged.lock().expect("a list").push(placed.order.id);
        }
    }
}

#[test]
fn one_of_two_replicas_is_killed_and_nobody_who_tries_once_more_hears_of_it() {
    if !postgres::is_here() {
        return;
    }
    let (project, runtime) = (project(), tokio::runtime::Runtime::new().expect("a runtime"));
    let running = Running::up(&project, &["--processes", "--replicas", TWO_OF_EACH, "--limits", "none"]);
    let client = ShopClient::new(&running.url());
    let staff = runtime.block_on(async {
        let staff = admin(&client, &running).await;
        stock_up(&client, &staff, "TWIN-1").await;
        staff
    });
    let seen = Arc::new(Seen::default());
    let buyers: Vec<_> = (0..BUYERS)
        .map(|buyer| {
            let (client, staff, seen) = (client.clone(), staff.clone(), Arc::clone(&seen));
            runtime.spawn(shop_around(client, staff, "TWIN-1", format!("twin-{buyer}"), seen))
        })
        .collect();
    let orders_at_least = |count: usize| {
        let deadline = Instant::now() + crate::shopctl::PATIENCE;
        while seen.acknowledged.lock().expect("a list").len() < count {
            assert!(Instant::now() < deadline, "nobody buys: {:?}", seen.failures.lock().expect("a list"));
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    orders_at_least(20);
    let calm_began = Instant::now();
    orders_at_least(100);
    let calm = seen.longest_gap(calm_began, Instant::now());

    let kills_began = Instant::now();
    for service in SERVICES {
        let name = format!("{service}-1");
        let victim = process_when(&project, &name, |process| process["state"] == "ready");
        send(pid_of(&victim), Signal::KILL);
        process_when(&project, &name, |process| process["state"] == "ready" && process["restarts"] == 1);
        let so_far = seen.acknowledged.lock().expect("a list").len();
        orders_at_least(so_far + 20);
    }
    let gap = seen.longest_gap(kills_began, Instant::now());
    seen.is_over.store(true, Ordering::Relaxed);
    for buyer in buyers {
        runtime.block_on(buyer).expect("a buyer");
    }
    let acknowledged = seen.acknowledged.lock().expect("a list").clone();
    let failures = seen.failures.lock().expect("a list").clone();
    let report = json!({
        "kills": SERVICES.len(), "answers": seen.answers.load(Ordering::Relaxed),
        "orders": acknowledged.len(), "retries": seen.retries.load(Ordering::Relaxed),
        "failed_after_one_retry": failures.len(),
        "longest_gap_ms": u64::try_from(gap.as_millis()).expect("milliseconds"),
        "longest_gap_in_calm_ms": u64::try_from(calm.as_millis()).expect("milliseconds"),
    });
    println!("{report}");
    assert_eq!(failures, Vec::<String>::new(), "{report}");
    runtime.block_on(settled(&client, &staff, &acknowledged));
}
