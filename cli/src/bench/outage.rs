//! The provider goes away under load and comes back: how long a buyer waits meanwhile, and what becomes of the orders.
//!
//! Buyers in lanes place orders all the time. The sandbox provider refuses connections, or takes them and never answers.
//! Then it is well again, and the clock runs until the last order is confirmed. At the end its statement is read: every
//! order is charged, and none twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use hdrhistogram::Histogram;
use hyper::Method;
use platform::client::Operator;
use platform::client::order::{OrderFilter, Status};
use platform::vocabulary::{Env, OrderId, Role};
use serde_json::{Value, json};

use super::Ground;
use super::buyer::Buyer;
use super::figures::to_tenth;
use super::ground::Shop;
use crate::failure::{Exit, Failure};
use crate::output::{Printer, Progress, Report};
use crate::wire::Connection;

/// Between two orders of a lane.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a measurement waits for the last order.
const GIVE_UP: Duration = Duration::from_secs(60);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a checkout waits for its end before it answers that the order is taken.
const WAIT: Duration = Duration::from_secs(2);
const AS: &[Role] = &[Role::Ops];
/// Where an order stands that is not at its end.
const UNDER_WAY: [Status; 5] =
    [Status::Pending, Status::Reserved, Status::Authorizing, Status::PaymentQueued, Status::Authorized];

/// How the provider is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Nobody listens: a connection is refused.
    Refuse,
    /// Requests are taken and never answered.
    Blackhole,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Blackhole => "blackhole",
        }
    }

    /// How long the slowest answer may take.
    fn answer_max(self) -> Duration {
        match self {
            Self::Refuse => Duration::from_secs(1),
            Self::Blackhole => WAIT + Duration::from_millis(300),
        }
    }
}

/// The last order must be confirmed so soon after the recovery.
const RECOVERY_MAX: Duration = Duration::from_secs(10);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// How the provider is away.
    pub mode: Mode,
    /// How long.
    pub duration: Duration,
    /// Buyers at once.
    pub lanes: usize,
}

/// What the buyers of one lane heard.
struct Heard {
    answer_us: Histogram<u64>,
    by_status: BTreeMap<u16, u64>,
    orders: Vec<OrderId>,
}

/// The whole measurement.
struct Measured {
    heard: Heard,
    breaker_opened: Option<Duration>,
    recovered: Option<Duration>,
    unconfirmed: usize,
    charged_twice: usize,
    not_charged: usize,
}

/// Runs the outage and reports the slowest answer, the recovery, and whether the books are right.
///
/// # Errors
/// When the shop does not start, or its sandbox cannot be told to fail.
pub fn run(ground: &Ground, outage: Outage, env: &Env, printer: &Printer) -> anyhow::Result<Report> {
    let folder = ground.folder("outage");
    let mut progress = Progress::new(printer);
    progress.step(&format!("starting a shop on {}", ground.engine), 0, 0);
    let shop = ground.start(&folder, &["--reset-admin"])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let measured = runtime.block_on(measure(&shop, outage, env, &mut progress))?;
    shop.stop()?;
    progress.clear();
    Ok(report(ground, outage, &measured))
}

async fn measure(
    shop: &Shop,
    outage: Outage,
    env: &Env,
    progress: &mut Progress<'_>,
) -> anyhow::Result<Measured> {
    let skus = Buyer::at(&shop.url(), env).await?.skus().await?;
    shop.receive_stock(&skus, 1_000_000).await?;
    let operator = Operator::with_token(&shop.url(), &shop.admin_token().await?);
    let provider = Provider::of(shop)?;

    provider.fault(&json!({"mode": outage.mode.word()})).await?;
    progress.step(&format!("the provider is away: {}", outage.mode.word()), 0, 0);
    let began = Instant::now();
    let end = began + outage.duration;
    let lanes = (0..outage.lanes).map(|lane| buy_until(end, shop, &skus[lane % skus.len()], env));
    let (lanes, breaker_opened) =
        tokio::join!(futures_util::future::try_join_all(lanes), breaker_opens(&operator, began, end));
    let mut heard = Heard::new()?;
    for lane in lanes? {
        heard.add(lane)?;
    }
    anyhow::ensure!(!heard.orders.is_empty(), "no order was taken: {:?}", heard.by_status);

    provider.fault(&json!({"mode": "none"})).await?;
    progress.step("the provider is back", 0, 0);
    let recovered = recovery(&operator).await?;
    let unconfirmed = missing(&operator, &heard.orders).await?;
    let charges = provider.charges().await?;
    let count = |times: fn(usize) -> bool| {
        heard.orders.iter().filter(|id| times(charges.get(&id.to_string()).copied().unwrap_or(0))).count()
    };
    let (charged_twice, not_charged) = (count(|times| times > 1), count(|times| times == 0));
    Ok(Measured { heard, breaker_opened, recovered, unconfirmed, charged_twice, not_charged })
}

async fn buy_until(end: Instant, shop: &Shop, sku: &str, env: &Env) -> anyhow::Result<Heard> {
    let mut heard = Heard::new()?;
    let mut buyer = Buyer::at(&shop.url(), env).await?;
    while Instant::now() < end {
        let basket = buyer.fill_basket(sku).await?;
        let (placed, answer) = buyer.place_and_read(&basket).await?;
        let took_us = u64::try_from(placed.took.as_micros()).unwrap_or(u64::MAX);
        heard.answer_us.saturating_record(took_us);
        *heard.by_status.entry(placed.status.as_u16()).or_default() += 1;
        if let Some(id) = answer["id"].as_str().filter(|_| placed.status.is_success()) {
            heard.orders.push(id.parse().context("an order without an id")?);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(heard)
}

/// When a breaker was first seen open.
async fn breaker_opens(operator: &Operator, began: Instant, end: Instant) -> Option<Duration> {
    while Instant::now() < end {
        if let Ok(page) = operator.shop().payments.breakers(&operator.acting(AS)).await
            && page.items.iter().any(|breaker| breaker.state != "closed")
        {
            return Some(began.elapsed());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    None
}

/// How long it takes until no order is under way; nothing when that does not come in time.
async fn recovery(operator: &Operator) -> anyhow::Result<Option<Duration>> {
    let began = Instant::now();
    'looking: while began.elapsed() < GIVE_UP {
        for status in UNDER_WAY {
            let filter = OrderFilter { status: Some(status), limit: Some(1), ..OrderFilter::default() };
            let page = operator.shop().orders.admin_orders(&operator.acting(AS), &filter).await?;
            if !page.items.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
                continue 'looking;
            }
        }
        return Ok(Some(began.elapsed()));
    }
    Ok(None)
}

/// How many of `orders` are not confirmed.
async fn missing(operator: &Operator, orders: &[OrderId]) -> anyhow::Result<usize> {
    let mut left: HashSet<OrderId> = orders.iter().copied().collect();
    let mut cursor = None;
    loop {
        let filter = OrderFilter { status: Some(Status::Confirmed), limit: Some(100), cursor, q: None };
        let page = operator.shop().orders.admin_orders(&operator.acting(AS), &filter).await?;
        for order in &page.items {
            left.remove(&order.id);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(left.len());
        }
    }
}

/// The sandbox's switchboard.
struct Provider {
    url: String,
    bearer: String,
}

impl Provider {
    fn of(shop: &Shop) -> anyhow::Result<Self> {
        let url = shop.word("/fakepay/url");
        if url.is_empty() {
            let message = "the provider of this shop is not the sandbox: it cannot be sent away";
            return Err(Failure::new(Exit::Config, "E-NO-SANDBOX", message).into());
        }
        let bearer = format!("Bearer {}", shop.word("/fakepay/control_token"));
        Ok(Self { url, bearer })
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let headers = [("authorization", self.bearer.as_str())];
        let body = body.map(|body| Bytes::from(body.to_string()));
        let mut connection = Connection::open(&self.url).await?;
        let reply = connection.send_bytes(method, path, &headers, body).await?;
        anyhow::ensure!(reply.status.is_success(), "the sandbox answered {} {}", reply.status, reply.text());
        Ok(reply.json())
    }

    async fn fault(&self, fault: &Value) -> anyhow::Result<()> {
        self.send(Method::PUT, "/control/faults", Some(fault)).await.map(drop)
    }

    /// How often each order was charged.
    async fn charges(&self) -> anyhow::Result<HashMap<String, usize>> {
        let statement = self.send(Method::GET, "/control/statement", None).await?;
        let mut charges = HashMap::new();
        for item in statement["items"].as_array().into_iter().flatten() {
            if item["captured"].as_i64().unwrap_or(0) > 0 {
                *charges.entry(item["order_id"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
        Ok(charges)
    }
}

impl Heard {
    fn new() -> anyhow::Result<Self> {
        let answer_us = Histogram::new_with_bounds(1, 60_000_000, 3).context("could not make a histogram")?;
        Ok(Self { answer_us, by_status: BTreeMap::new(), orders: Vec::new() })
    }

    fn add(&mut self, lane: Self) -> anyhow::Result<()> {
        self.answer_us.add(&lane.answer_us).context("could not add histograms")?;
        for (status, count) in lane.by_status {
            *self.by_status.entry(status).or_default() += count;
        }
        self.orders.extend(lane.orders);
        Ok(())
    }

    fn others(&self) -> u64 {
        self.by_status.iter().filter(|(status, _)| !matches!(status, 201 | 202)).map(|(_, count)| count).sum()
    }
}

fn ms(span: Duration) -> f64 {
    to_tenth(span.as_secs_f64() * 1000.0)
}

fn report(ground: &Ground, outage: Outage, measured: &Measured) -> Report {
    let heard = &measured.heard;
    let answer = |quantile: f64| ms(Duration::from_micros(heard.answer_us.value_at_quantile(quantile)));
    let (slowest, slowest_max) =
        (ms(Duration::from_micros(heard.answer_us.max())), ms(outage.mode.answer_max()));
    let broken = broken(outage, measured);
    let data = json!({
        "engine": ground.engine,
        "mode": outage.mode.word(),
        "away_s": outage.duration.as_secs_f64(),
        "lanes": outage.lanes,
        "orders": heard.orders.len(),
        "answers": heard.by_status,
        "other_answers": heard.others(),
        "answer_p50_ms": answer(0.5),
        "answer_p99_ms": answer(0.99),
        "answer_max_ms": slowest,
        "breaker_opened_ms": measured.breaker_opened.map(ms),
        "recovered_ms": measured.recovered.map(ms),
        "unconfirmed": measured.unconfirmed,
        "charged_twice": measured.charged_twice,
        "not_charged": measured.not_charged,
        "broken": broken,
    });
    let span = |span: Option<Duration>| {
        span.map_or_else(|| "never".to_owned(), |span| format!("{:.0} ms", ms(span)))
    };
    let answers: Vec<String> =
        heard.by_status.iter().map(|(status, count)| format!("{count} of {status}")).collect();
    let facts = [
        ("provider", format!("{} for {:.0} s", outage.mode.word(), outage.duration.as_secs_f64())),
        ("answers", answers.join(", ")),
        ("slowest", format!("{slowest:.0} ms of at most {slowest_max:.0} ms (p50 {:.0} ms)", answer(0.5))),
        ("breaker", format!("open after {}", span(measured.breaker_opened))),
        (
            "recovery",
            format!("the last order was confirmed {} after the provider was back", span(measured.recovered)),
        ),
        ("orders", format!("{}, {} not confirmed", heard.orders.len(), measured.unconfirmed)),
        ("charges", format!("{} twice, {} missing", measured.charged_twice, measured.not_charged)),
    ];
    let report = Report::facts(data, facts);
    if broken.is_empty() {
        report.last_line("every promise was kept")
    } else {
        report.exit(Exit::Threshold).last_line(broken.join("; "))
    }
}

/// The promises that were not kept.
fn broken(outage: Outage, measured: &Measured) -> Vec<String> {
    let heard = &measured.heard;
    let slowest = Duration::from_micros(heard.answer_us.max());
    let checks = [
        (heard.others() == 0, format!("{} answers were neither 201 nor 202", heard.others())),
        (slowest <= outage.mode.answer_max(), format!("an answer took {:.0} ms", ms(slowest))),
        (measured.breaker_opened.is_some(), "no breaker opened".to_owned()),
        (
            measured.recovered.is_some_and(|took| took <= RECOVERY_MAX),
            format!("the recovery took longer than {} s", RECOVERY_MAX.as_secs()),
        ),
        (measured.unconfirmed == 0, format!("{} orders are not confirmed", measured.unconfirmed)),
        (measured.charged_twice == 0, format!("{} orders were charged twice", measured.charged_twice)),
        (measured.not_charged == 0, format!("{} orders were not charged", measured.not_charged)),
    ];
    checks.into_iter().filter(|(kept, _)| !kept).map(|(_, what)| what).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        let mut heard = Heard::new().unwrap();
        heard.answer_us.record(900_000).unwrap();
        heard.by_status.insert(202, 1);
        Measured {
            heard,
            breaker_opened: Some(Duration::from_millis(100)),
            recovered: Some(Duration::from_secs(3)),
            unconfirmed: 0,
            charged_twice: 0,
            not_charged: 0,
        }
    }

    #[test]
    fn each_promise_is_named_when_it_is_broken() {
        let outage = |mode| Outage { mode, duration: Duration::from_secs(1), lanes: 1 };
        assert_eq!(broken(outage(Mode::Refuse), &measured()), [""; 0]);
        let mut all = measured();
        all.heard.answer_us.record(2_250_000).unwrap();
        assert_eq!(broken(outage(Mode::Blackhole), &all), [""; 0], "the wait and 0.3 s");
        all.heard.by_status.insert(503, 2);
        (all.breaker_opened, all.recovered) = (None, Some(Duration::from_secs(11)));
        (all.unconfirmed, all.charged_twice, all.not_charged) = (1, 2, 3);
        assert_eq!(broken(outage(Mode::Refuse), &all).len(), 7);
    }
}
