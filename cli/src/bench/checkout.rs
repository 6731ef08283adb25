//! How fast a shop takes orders: a closed loop of buyers, each of whom places the next order as soon as the
//! last one is answered.
//!
//! Carts are filled before the clock runs, so that what is measured is the checkout: the whole saga, on the
//! disk before the answer. The driver runs on the same machine, on threads of its own, each with a runtime
//! that never leaves it; what it costs is told beside what the shop costs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use hyper::StatusCode;
use platform::vocabulary::Env;
use serde_json::json;
use tokio::sync::Barrier;

use super::Ground;
use super::buyer::{Basket, Buyer};
use super::figures::{to_hundredth, to_tenth};
use super::ground::Shop;
use crate::failure::Exit;
use crate::output::{Printer, Progress, Report};
use crate::process;

/// How the load is made.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Buyers at once.
    pub buyers: usize,
    /// Orders that are measured.
    pub orders: usize,
    /// Orders before the clock runs.
    pub warm_up: usize,
    /// Threads of the driver.
    pub threads: usize,
}

/// What the buyers of one thread saw.
struct Seen {
    /// Microseconds from request to answer.
    latency_us: Histogram<u64>,
    by_status: BTreeMap<u16, u64>,
    broken: u64,
}

impl Seen {
    fn new() -> anyhow::Result<Self> {
        let latency_us =
            Histogram::new_with_bounds(1, 60_000_000, 3).context("could not make a histogram")?;
        Ok(Self { latency_us, by_status: BTreeMap::new(), broken: 0 })
    }

    fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.latency_us.add(&other.latency_us).context("could not add histograms")?;
        for (status, count) in &other.by_status {
            *self.by_status.entry(*status).or_default() += count;
        }
        self.broken += other.broken;
        Ok(())
    }

    fn of_status(&self, status: StatusCode) -> u64 {
        self.by_status.get(&status.as_u16()).copied().unwrap_or(0)
    }

    fn all(&self) -> u64 {
        self.by_status.values().sum::<u64>() + self.broken
    }
}

/// The whole measurement.
pub(super) struct Measured {
    seen: Seen,
    took: Duration,
    shop_cpu: Option<Duration>,
    beneath_cpu: Option<Duration>,
    driver_cpu: Option<Duration>,
    resident_kib: Option<u64>,
}

#[expect(clippy::cast_precision_loss, reason = "counts and microseconds far below 2^52")]
impl Measured {
    fn confirmed(&self) -> u64 {
        self.seen.of_status(StatusCode::CREATED)
    }

    fn accepted(&self) -> u64 {
        self.seen.of_status(StatusCode::ACCEPTED)
    }

    /// Orders that were neither confirmed nor accepted for later.
    pub(super) fn failed(&self) -> u64 {
        self.seen.all() - self.confirmed() - self.accepted()
    }

    /// Confirmed orders a second.
    pub(super) fn orders_per_second(&self) -> f64 {
        to_tenth(self.confirmed() as f64 / self.took.as_secs_f64().max(f64::EPSILON))
    }

    /// Microseconds of the shop's processor time an order, where the system tells.
    pub(super) fn shop_us_per_order(&self) -> Option<f64> {
        self.per_order_us(self.shop_cpu)
    }

    /// Microseconds of processor time an order of what the shop stands on, where somebody asked.
    pub(super) fn beneath_us_per_order(&self) -> Option<f64> {
        self.per_order_us(self.beneath_cpu)
    }

    fn driver_us_per_order(&self) -> Option<f64> {
        self.per_order_us(self.driver_cpu)
    }

    fn per_order_us(&self, cpu: Option<Duration>) -> Option<f64> {
        cpu.map(|cpu| to_tenth(cpu.as_secs_f64() * 1e6 / (self.seen.all().max(1) as f64)))
    }

    /// Milliseconds that this part of the answers came within.
    fn quantile_ms(&self, quantile: f64) -> f64 {
        to_hundredth(self.seen.latency_us.value_at_quantile(quantile) as f64 / 1000.0)
    }
}

/// A shop that is ready for buyers.
pub(super) struct Course<'a> {
    shop: &'a Shop,
    load: Load,
    skus: Vec<String>,
    env: &'a Env,
    /// Processor time so far of what the shop stands on and is no part of its process; none when it is of no interest.
    beneath_cpu: &'a dyn Fn() -> Option<Duration>,
}

/// Runs the load and reports rate, latency and processor time per order. Fewer than `at_least` orders a second are a missed
/// objective.
///
/// # Errors
/// When the shop does not start, or carts cannot be filled.
pub fn run(
    ground: &Ground,
    load: Load,
    at_least: Option<f64>,
    env: &Env,
    printer: &Printer,
) -> anyhow::Result<Report> {
    let folder = ground.folder("checkout");
    let mut progress = Progress::new(printer);
    progress.step(&format!("starting a shop on {}", ground.engine), 0, 0);
    // A database that was used before has an admin already, whose password nobody knows any more.
    let shop = ground.start(&folder, &["--reset-admin"])?;
    let course = Course::prepare(&shop, load, load.orders, env, &|| None)?;
    course.warm_up(&mut progress)?;
    let measured = course.drive(load.orders, &mut progress)?;
    shop.stop()?;
    progress.clear();
    Ok(report(ground, load, at_least, &measured))
}

impl<'a> Course<'a> {
    /// What is for sale, with enough of each for the warm-up and for `orders` more.
    pub(super) fn prepare(
        shop: &'a Shop,
        load: Load,
        orders: usize,
        env: &'a Env,
        beneath_cpu: &'a dyn Fn() -> Option<Duration>,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let skus = runtime.block_on(async {
            let skus = Buyer::at(&shop.url(), env).await?.skus().await?;
            let each = u64::try_from((orders + load.warm_up) / skus.len() + load.buyers + 1)?;
            shop.receive_stock(&skus, each).await?;
            anyhow::Ok(skus)
        })?;
        Ok(Self { shop, load, skus, env, beneath_cpu })
    }

    /// The orders before the clock runs, if any were asked for.
    pub(super) fn warm_up(&self, progress: &mut Progress<'_>) -> anyhow::Result<()> {
        if self.load.warm_up > 0 {
            progress.step("warming up", 0, 0);
            self.drive(self.load.warm_up, progress)?;
        }
        Ok(())
    }

    /// Fills `orders` carts, then lets all buyers go at once.
    pub(super) fn drive(&self, orders: usize, progress: &mut Progress<'_>) -> anyhow::Result<Measured> {
        let Self { shop, load, .. } = self;
        let threads = load.threads.clamp(1, load.buyers);
        // The buyers and this thread, which reads the clocks.
        let gate = Arc::new(Barrier::new(load.buyers + 1));
        let filled = Arc::new(AtomicU64::new(0));
        let mut workers = Vec::new();
        for thread in 0..threads {
            let buyers = (0..load.buyers).filter(|buyer| buyer % threads == thread);
            let part = Part {
                url: shop.url(),
                shares: buyers.map(|buyer| share(orders, load.buyers, buyer)).collect(),
                first: thread,
                skus: self.skus.clone(),
                env: self.env.clone(),
            };
            let (gate, filled) = (Arc::clone(&gate), Arc::clone(&filled));
            workers.push(std::thread::spawn(move || part.run(&gate, &filled)));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let total = u64::try_from(orders).unwrap_or(u64::MAX);
        let is_open = runtime.block_on(wait_for_gate(&gate, &workers, || {
            progress.step("filling carts", filled.load(Ordering::Relaxed), total);
        }));
        if !is_open {
            let failed = workers.into_iter().find(std::thread::JoinHandle::is_finished).map(joined);
            return Err(failed.and_then(Result::err).context("could not fill the carts")?);
        }
        progress.step("placing orders", 0, 0);
        let began = Instant::now();
        let clocks = || {
            let driver = process::cpu_time(std::process::id());
            [process::cpu_time(shop.pid()), (self.beneath_cpu)(), driver]
        };
        let before = clocks();
        let mut seen = Seen::new()?;
        for worker in workers {
            seen.add(&joined(worker)?)?;
        }
        let took = began.elapsed();
        let after = clocks();
        let used = |clock: usize| Some(after[clock]?.saturating_sub(before[clock]?));
        let resident_kib = process::memory(shop.pid()).map(|memory| memory.resident_kib);
        let (shop_cpu, beneath_cpu, driver_cpu) = (used(0), used(1), used(2));
        Ok(Measured { seen, took, shop_cpu, beneath_cpu, driver_cpu, resident_kib })
    }
}

/// Waits until every buyer has its carts. False when a thread ended before: it has failed, and the others
/// would wait for it for ever.
async fn wait_for_gate<T>(
    gate: &Barrier,
    workers: &[std::thread::JoinHandle<T>],
    mut while_waiting: impl FnMut(),
) -> bool {
    let arrival = gate.wait();
    tokio::pin!(arrival);
    loop {
        tokio::select! {
            _ = &mut arrival => return true,
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
        while_waiting();
        if workers.iter().any(std::thread::JoinHandle::is_finished) {
            return false;
        }
    }
}

fn joined(worker: std::thread::JoinHandle<anyhow::Result<Seen>>) -> anyhow::Result<Seen> {
    worker.join().map_err(|_| anyhow::anyhow!("a thread of the driver panicked"))?
}

/// How many of `orders` the buyer number `buyer` of `buyers` places.
fn share(orders: usize, buyers: usize, buyer: usize) -> usize {
    orders / buyers + usize::from(buyer < orders % buyers)
}

/// The buyers of one thread.
struct Part {
    url: String,
    shares: Vec<usize>,
    first: usize,
    skus: Vec<String>,
    env: Env,
}

impl Part {
    fn run(self, gate: &Arc<Barrier>, filled: &Arc<AtomicU64>) -> anyhow::Result<Seen> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            let mut tasks = Vec::new();
            for (number, share) in self.shares.iter().enumerate() {
                // Buyers start at different shelves, as people do.
                let mut skus = self.skus.clone();
                skus.rotate_left((self.first + number * 7) % self.skus.len());
                let (url, env, share) = (self.url.clone(), self.env.clone(), *share);
                let (gate, filled) = (Arc::clone(gate), Arc::clone(filled));
                tasks.push(tokio::spawn(async move { buy(&url, &env, share, &skus, &gate, &filled).await }));
            }
            // The first buyer that fails ends the thread: the others would wait for it at the gate.
            let parts = try_join_all(tasks.into_iter().map(|task| async { task.await? })).await?;
            let mut seen = Seen::new()?;
            parts.iter().try_for_each(|part| seen.add(part))?;
            Ok(seen)
        })
    }
}

/// One buyer: fills its carts, waits for the others, and then places one order after the other.
async fn buy(
    url: &str,
    env: &Env,
    orders: usize,
    skus: &[String],
    gate: &Barrier,
    filled: &AtomicU64,
) -> anyhow::Result<Seen> {
    let mut buyer = Buyer::at(url, env).await?;
    let mut baskets: Vec<Basket> = Vec::with_capacity(orders);
    for sku in skus.iter().cycle().take(orders) {
        baskets.push(buyer.fill_basket(sku).await?);
        filled.fetch_add(1, Ordering::Relaxed);
    }
    gate.wait().await;
    let mut seen = Seen::new()?;
    for basket in &baskets {
        match buyer.place(basket).await {
            Ok(placed) => {
                *seen.by_status.entry(placed.status.as_u16()).or_default() += 1;
                let us = u64::try_from(placed.took.as_micros()).unwrap_or(u64::MAX);
                seen.latency_us.saturating_record(us.max(1));
            }
            Err(_) => {
                seen.broken += 1;
                buyer = Buyer::at(url, env).await?;
            }
        }
    }
    Ok(seen)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds far below 2^52")]
fn report(ground: &Ground, load: Load, at_least: Option<f64>, measured: &Measured) -> Report {
    let seen = &measured.seen;
    let (confirmed, accepted, failed) = (measured.confirmed(), measured.accepted(), measured.failed());
    let seconds = measured.took.as_secs_f64();
    let rate = measured.orders_per_second();
    let quantile = |quantile: f64| measured.quantile_ms(quantile);
    let (shop_us, driver_us) = (measured.shop_us_per_order(), measured.driver_us_per_order());
    let data = json!({
        "engine": ground.engine,
        "buyers": load.buyers,
        "orders": seen.all(),
        "confirmed": confirmed,
        "accepted": accepted,
        "failed": failed,
        "by_status": seen.by_status,
        "broken_connections": seen.broken,
        "took_s": to_hundredth(seconds),
        "orders_per_second": rate,
        "latency_ms": {
            "p50": quantile(0.5), "p95": quantile(0.95), "p99": quantile(0.99),
            "max": to_hundredth(seen.latency_us.max() as f64 / 1000.0),
        },
        "shop_cpu_us_per_order": shop_us,
        "driver_cpu_us_per_order": driver_us,
        "shop_resident_kib": measured.resident_kib,
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
    });
    let report = Report::facts(
        data,
        [
            ("orders a second", format!("{rate:.0}")),
            ("confirmed", format!("{confirmed} of {} in {seconds:.2} s", seen.all())),
            ("accepted for later", accepted.to_string()),
            ("failed", failed.to_string()),
            (
                "latency",
                format!("p50 {} ms, p95 {} ms, p99 {} ms", quantile(0.5), quantile(0.95), quantile(0.99)),
            ),
            ("shop CPU per order", told_us(shop_us)),
            ("driver CPU per order", told_us(driver_us)),
        ],
    );
    verdict(report, load, at_least, rate, failed, ground)
}

fn verdict(
    report: Report,
    load: Load,
    at_least: Option<f64>,
    rate: f64,
    failed: u64,
    ground: &Ground,
) -> Report {
    let whole = format!(
        "{} buyers at once on {}, whole saga, on the disk before the answer",
        load.buyers, ground.engine
    );
    match at_least {
        _ if failed > 0 => report.exit(Exit::Partial).last_line(format!("{failed} orders failed; {whole}")),
        Some(least) if rate < least => report
            .exit(Exit::Threshold)
            .last_line(format!("under the {least} orders a second that were asked for")),
        _ => report.last_line(whole),
    }
}

/// A figure of processor time, for people.
pub(super) fn told_us(us: Option<f64>) -> String {
    us.map_or_else(|| "not told by the system".to_owned(), |us| format!("{us:.0} µs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_all_orders() {
        for (orders, buyers) in [(10, 3), (64, 64), (1, 8), (1000, 7)] {
            let shares: Vec<usize> = (0..buyers).map(|buyer| share(orders, buyers, buyer)).collect();
            assert_eq!(shares.iter().sum::<usize>(), orders);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn a_missed_rate_is_a_missed_objective_and_a_failed_order_is_worse() {
        let ground = Ground { folder: "/".into(), engine: crate::config::Engine::Sqlite };
        let load = Load { buyers: 1, orders: 1, warm_up: 0, threads: 1 };
        let exit =
            |rate, failed| verdict(Report::default(), load, Some(100.0), rate, failed, &ground).exit_code();
        assert_eq!(exit(99.0, 0), Exit::Threshold);
        assert_eq!(exit(100.0, 0), Exit::Ok);
        assert_eq!(exit(100.0, 1), Exit::Partial);
    }
}
