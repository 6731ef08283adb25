//! How little a shop takes: resident memory after its start and some orders, once it is idle.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use hyper::StatusCode;
use platform::vocabulary::Env;
use serde_json::json;

use super::Ground;
use super::buyer::Buyer;
use super::figures::to_tenth;
use super::ground::Shop;
use crate::output::{Printer, Progress, Report};
use crate::process::{self, Memory};
use crate::targets::local::figures::Figures;

/// How long a shop may take to come to rest.
const REST_TIMEOUT: Duration = Duration::from_secs(60);

/// Places `orders`, waits until no saga is in flight and then for `idle`, and reads what the system says.
///
/// # Errors
/// When the shop does not start, an order is not confirmed, or the system does not say.
pub fn run(
    ground: &Ground,
    orders: u32,
    idle: Duration,
    env: &Env,
    printer: &Printer,
) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = ground.folder("memory");
    let mut progress = Progress::new(printer);
    progress.step("starting a shop", 0, 0);
    let shop = ground.start(&folder, &[])?;
    let at_start = read(&shop)?;
    let after_orders = runtime.block_on(async {
        place(&shop, orders, env, &mut progress).await?;
        let after_orders = read(&shop)?;
        progress.step("waiting until it is idle", 0, 0);
        rest(&shop).await?;
        tokio::time::sleep(idle).await;
        anyhow::Ok(after_orders)
    })?;
    let at_rest = read(&shop)?;
    shop.stop()?;
    progress.clear();
    Ok(report(ground, orders, at_start, after_orders, at_rest))
}

async fn place(shop: &Shop, orders: u32, env: &Env, progress: &mut Progress<'_>) -> anyhow::Result<()> {
    let mut buyer = Buyer::at(&shop.url(), env).await?;
    let skus = buyer.skus().await?;
    for (number, sku) in (0..orders).zip(skus.iter().cycle()) {
        progress.step("placing orders", number.into(), orders.into());
        let basket = buyer.fill_basket(sku).await?;
        let placed = buyer.place(&basket).await?;
        anyhow::ensure!(placed.status == StatusCode::CREATED, "order {number} answered {}", placed.status);
    }
    Ok(())
}

/// Waits until no saga is in flight.
pub(super) async fn rest(shop: &Shop) -> anyhow::Result<()> {
    let deadline = Instant::now() + REST_TIMEOUT;
    while Figures::of(&shop.url(), Duration::from_secs(2)).await?.sagas_in_flight.unwrap_or(0) > 0 {
        anyhow::ensure!(Instant::now() < deadline, "sagas are still in flight");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn read(shop: &Shop) -> anyhow::Result<Memory> {
    process::memory(shop.pid()).context("the system does not say how much memory a process has")
}

fn report(ground: &Ground, orders: u32, at_start: Memory, after_orders: Memory, at_rest: Memory) -> Report {
    let mib = |kib: u64| format!("{:.1} MiB", to_mib(kib));
    let data = json!({
        "engine": ground.engine,
        "orders": orders,
        "at_start_mib": to_mib(at_start.resident_kib),
        "after_orders_mib": to_mib(after_orders.resident_kib),
        "idle_mib": to_mib(at_rest.resident_kib),
        "peak_mib": to_mib(at_rest.peak_kib),
    });
    Report::facts(
        data,
        [
            ("after start".to_owned(), mib(at_start.resident_kib)),
            (format!("after {orders} orders"), mib(after_orders.resident_kib)),
            ("idle".to_owned(), mib(at_rest.resident_kib)),
            ("peak".to_owned(), mib(at_rest.peak_kib)),
        ],
    )
    .last_line(format!("resident memory of the whole shop on {}", ground.engine))
}

/// To a tenth.
#[expect(clippy::cast_precision_loss, reason = "no memory is that large")]
pub(super) fn to_mib(kib: u64) -> f64 {
    to_tenth(kib as f64 / 1024.0)
}
