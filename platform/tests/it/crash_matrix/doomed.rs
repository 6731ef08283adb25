//! A whole shop in a runtime of its own, which dies with everything in it; and the one that takes over.

use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use platform::app::{self, RunningShop, ShopConfig, UpOptions};
use platform::client::{Operator, notification, order};
use platform::services::order::client::{Order, PlaceOrder, Refund, Status};
use platform::storage::EngineConfig;
use platform::testing::postgres;
use platform::verify::{self, Beside, Options, Statement, Verifier};
use platform::vocabulary::{Env, Fate, OrderId, Role, Verdict};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::stories::{Act, Case, Ending, Provider, Story};

const SKU: &str = "DOOM-1";
const UNITS: i64 = 100_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// Workers that every order keeps busy.
const ALWAYS: [&str; 3] = ["sender.log.", "consumer.notification.", "outbox.order_outbox."];
/// How long a test waits for a worker that may not come.
const NOW_AND_THEN: Duration = Duration::from_secs(5);
/// How long orders are given to come to their points before one more is sent there.
const AROUND: Duration = Duration::from_secs(2);
/// By how much the next process's clock is ahead: whatever the dead one had claimed or leased is over then.
const LATER_S: i64 = 130;
const STAFF: &[Role] = &[Role::Ops, Role::Support, Role::Merchandiser];

/// Where shops live. The runtime is the world outside: buyers, staff, and the database server.
pub(super) struct Ground {
    outside: Runtime,
    is_postgres: bool,
}

impl Ground {
    pub(super) fn sqlite() -> Self {
        Self { outside: runtime(), is_postgres: false }
    }

    /// None where there is no PostgreSQL.
    pub(super) fn postgres() -> Option<Self> {
        let outside = runtime();
        let is_there = outside.block_on(postgres::database()).is_some();
        is_there.then_some(Self { outside, is_postgres: true })
    }

    pub(super) fn name(&self) -> &'static str {
        if self.is_postgres { "PostgreSQL" } else { "SQLite" }
    }

    fn engine(&self, folder: &Path) -> EngineConfig {
        if !self.is_postgres {
            return EngineConfig::Sqlite { path: folder.join("shop.db") };
        }
        let url = self.outside.block_on(postgres::database()).expect("a database");
        EngineConfig::Postgres { url, connections_max: 8 }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Decides for one shop, and remembers.
#[derive(Clone, Default)]
pub(super) struct Judge(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    heard: Vec<String>,
    armed: Vec<Case>,
}

impl Judge {
    fn fate(&self) -> Fate {
        let this = self.clone();
        Fate::new(move |point| {
            let mut known = this.0.lock().expect("a judge");
            if !known.heard.iter().any(|heard| heard == point) {
                known.heard.push(point.to_owned());
            }
            match known.armed.iter().position(|case| case.point == point) {
                Some(place) => known.armed.remove(place).verdict,
                None => Verdict::GoOn,
            }
        })
    }

    fn arm(&self, cases: &[Case]) {
        self.0.lock().expect("a judge").armed.extend_from_slice(cases);
    }

    fn disarm(&self, point: &str) {
        self.0.lock().expect("a judge").armed.retain(|case| case.point != point);
    }

    /// Points that nobody has come to yet.
    fn left(&self) -> Vec<Case> {
        self.0.lock().expect("a judge").armed.clone()
    }

    pub(super) fn listen(&self) {
        self.0.lock().expect("a judge").heard.clear();
    }

    /// Whether whoever came before an act was also heard behind it.
    fn is_passed(&self) -> bool {
        let heard = self.heard();
        heard.iter().filter_map(|point| point.strip_suffix(".before")).all(|room| {
            let last = if room.starts_with("call.") { "after" } else { "recorded" };
            heard.contains(&format!("{room}.{last}"))
        })
    }

    /// What the orders of the shop pass: not what runs anyway, nor what only reads.
    pub(super) fn heard(&self) -> Vec<String> {
        let known = self.0.lock().expect("a judge");
        known.heard.iter().filter(|point| !point.starts_with("call.user.")).cloned().collect()
    }
}

/// A shop that will die.
pub(super) struct Shop<'ground> {
    ground: &'ground Ground,
    folder: TempDir,
    config: ShopConfig,
    inside: Runtime,
    running: RunningShop,
    operator: Operator,
    pub(super) fate: Judge,
}

impl<'ground> Shop<'ground> {
    /// An open shop.
    pub(super) fn open(ground: &'ground Ground, provider: Provider) -> Self {
        Self::open_with(ground, provider, |_| {})
    }

    fn open_with(ground: &'ground Ground, provider: Provider, change: impl FnOnce(&mut ShopConfig)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let fate = Judge::default();
        let mut config = ShopConfig::local(folder.path().to_owned());
        config.engine = ground.engine(folder.path());
        config.listen.set_port(0);
        config.demo_data = false;
        config.user.bcrypt_cost = 4;
        config.gateway.limits = false;
        let is_short = provider == Provider::HeldAwayTooLong;
        config.order.payment_deadline = Duration::from_secs(if is_short { 5 } else { 600 });
        config.fate = Some(fate.fate());
        change(&mut config);
        let inside = runtime();
        let running =
            inside.block_on(app::up(config.clone(), UpOptions::default(), |_| {})).expect("it starts");
        let operator = Operator::of_folder(running.url(), folder.path(), "test").expect("the owner");
        let shop = Self { ground, folder, config, inside, running, operator, fate };
        shop.stock_up(provider);
        shop
    }

    fn wait<F: Future>(&self, future: F) -> F::Output {
        self.ground.outside.block_on(future)
    }

    fn stock_up(&self, provider: Provider) {
        let product = serde_json::from_value(json!({
            "slug": "doom", "title": "Doom", "category": "kitchen",
            "variants": [{"sku": SKU, "title": "one size", "price": {"amount": 999, "currency": "USD"}}],
        }))
        .expect("a product");
        let (shop, acting) = (self.operator.shop(), self.operator.acting(STAFF));
        self.wait(async {
            shop.products.create(&acting, &product).await.expect("created");
            shop.products.receive(&acting, SKU, UNITS, "delivery", None).await.expect("received");
            if provider != Provider::Well {
                let held = shop.payments.open_breaker(&acting, "stripe-authorize", "the test holds it").await;
                held.expect("held open");
            }
        });
    }

    /// The requests of a story that have these numbers, brought to where its act begins.
    pub(super) fn prepare(&self, story: &'static Story, numbers: Range<usize>) -> Vec<Ending> {
        let mut acts: Vec<Ending> = numbers.map(|number| self.request(story, number)).collect();
        if story.act == Act::Place {
            return acts;
        }
        let is_held = story.provider != Provider::Well;
        let from = if is_held { Status::PaymentQueued } else { Status::Confirmed };
        for act in &mut acts {
            self.place_now(act);
            self.order_when(act, |order| order.status == from);
            if !is_held {
                self.until("its sagas are at their end", async || self.is_at_rest(act).await);
            }
        }
        acts
    }

    async fn is_at_rest(&self, act: &Ending) -> bool {
        let (Some(id), acting) = (act.id, self.operator.acting(STAFF)) else { return false };
        let sagas = self.operator.shop().orders.order_sagas(&acting, id).await;
        sagas.is_ok_and(|sagas| {
            sagas.items.iter().all(|saga| ["completed", "compensated"].contains(&&*saga.state))
        })
    }

    fn request(&self, story: &'static Story, number: usize) -> Ending {
        let client = self.operator.shop();
        let cart = self.wait(async {
            let nobody = client.anonymous();
            let cart = client.orders.create_cart(&nobody).await.expect("a cart").id;
            client.orders.set_line(&nobody, cart, SKU, 1).await.expect("a line");
            cart
        });
        let order = json!({
            "cart_id": cart, "email": "ada@example.com", "payment_method": story.payment_method,
            "shipping_address": {"name": "Ada", "line1": "1 Road", "city": "London", "postal_code": "N1", "country": "GB"},
        });
        Ending {
            story: story.name,
            key: format!("{} {number}", story.name),
            order,
            id: None,
            act: story.act,
            ends: std::slice::from_ref(&story.ends),
        }
    }

    fn place_now(&self, act: &mut Ending) {
        act.id = Some(self.wait(place(self.operator.clone(), act.clone())).expect("placed"));
    }

    /// Begins the act of each; nobody waits for answers that may never come.
    pub(super) fn act(&self, story: &Story, acts: &[Ending]) {
        for act in acts {
            if let Some(call) = story.loses {
                self.fate.arm(&[Case { point: call.to_owned(), verdict: Verdict::Lost }]);
            }
            let (operator, act, kind) = (self.operator.clone(), act.clone(), story.act);
            self.ground.outside.spawn(async move { begin(operator, act, kind).await });
        }
    }

    /// Waits until the story has come to its end for each, and its sagas to theirs.
    pub(super) fn wait_for(&self, story: &Story, acts: &[Ending]) {
        for act in acts {
            let mut act = act.clone();
            if act.id.is_none() {
                self.place_now(&mut act);
            }
            self.order_when(&act, |order| order.status == story.ends && is_over(order, story.act));
        }
    }

    fn order_when(&self, act: &Ending, is_so: impl Fn(&Order) -> bool) {
        let id = act.id.expect("it was placed");
        self.until(&format!("{} {id}", act.story), async || {
            let acting = self.operator.acting(STAFF);
            let order = self.operator.shop().orders.admin_order(&acting, id).await;
            order.is_ok_and(|order| is_so(&order.order))
        });
    }

    fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        self.wait(until(what, is_so));
    }

    /// Nothing is under way any more: no saga, no message, no event that was not told.
    pub(super) fn wait_until_quiet(&self) {
        self.until("it is quiet", async || is_quiet(&self.operator).await);
    }

    /// What a story passes, told with its order of that number; None when it was led around a point.
    pub(super) fn tell(&self, story: &'static Story, number: usize) -> Option<Vec<String>> {
        self.fate.listen();
        let acts = self.prepare(story, number..number + 1);
        // What the preparation comes to is none of the story's.
        self.gets_past();
        self.fate.listen();
        self.act(story, &acts);
        self.wait_for(story, &acts);
        self.wait_until_quiet();
        self.gets_past().then(|| self.fate.heard())
    }

    /// Waits for whoever came before an act to be behind it too, and whether they are: what is written tells of its end a
    /// moment earlier.
    fn gets_past(&self) -> bool {
        self.wait(within(AROUND, async || self.fate.is_passed()))
    }

    /// Brings orders of `story` to stand at the points of `cases`, one at each; and more orders for those that were led
    /// around a point.
    pub(super) fn stand_at(&self, story: &'static Story, cases: &[Case]) -> Vec<Ending> {
        let mut acts = self.prepare(story, 0..cases.len());
        self.fate.arm(cases);
        self.act(story, &acts);
        let deadline = Instant::now() + PATIENCE;
        while !self.all_come(cases, AROUND) {
            assert!(Instant::now() < deadline, "nobody came to {:?}", self.missing(cases));
            let more = self.prepare(story, acts.len()..acts.len() + 1);
            self.act(story, &more);
            acts.extend(more);
        }
        acts
    }

    /// Tells a story until a background worker stands still at `point`, and whether one does: some only come now and
    /// then, when an answer was late.
    pub(super) fn stand_still(&self, story: &'static Story, point: &str) -> (Ending, bool) {
        let mut act = self.prepare(story, 0..1).remove(0);
        if act.id.is_none() {
            act.key = point.to_owned();
        }
        self.fate.arm(&[Case { point: point.to_owned(), verdict: Verdict::Never }]);
        self.act(story, std::slice::from_ref(&act));
        let always = ALWAYS.iter().any(|room| point.starts_with(room));
        let came = async || self.fate.left().iter().all(|case| case.point != point);
        let came = self.wait(within(if always { PATIENCE } else { NOW_AND_THEN }, came));
        if !came {
            assert!(!always, "nobody came to {point}");
            self.fate.disarm(point);
            println!("nobody came to {point} this time");
        }
        (act, came)
    }

    /// Waits for somebody to stand at each of `cases`, and whether that is so within `time`.
    fn all_come(&self, cases: &[Case], time: Duration) -> bool {
        self.wait(within(time, async || self.missing(cases).is_empty()))
    }

    fn missing<'case>(&self, cases: &'case [Case]) -> Vec<&'case str> {
        let left = self.fate.left();
        let is_left = |point: &&str| left.iter().any(|one| one.point == *point);
        cases.iter().map(|case| &*case.point).filter(is_left).collect()
    }

    pub(super) fn close(self) {
        let Self { inside, running, .. } = self;
        assert!(inside.block_on(running.drain()), "it drains");
    }

    /// The process is gone, with everything that it held in memory.
    pub(super) fn die(self) -> Heir<'ground> {
        let Self { ground, folder, mut config, inside, running, .. } = self;
        inside.shutdown_timeout(Duration::from_secs(5));
        drop(running);
        config.fate = None;
        config.order.reservation_ttl = ShopConfig::local(folder.path().to_owned()).order.reservation_ttl;
        Heir { ground, folder, config }
    }
}

/// Whether the money went where the act wanted it.
fn is_over(order: &Order, act: Act) -> bool {
    act != Act::Refund || order.refunded == order.total
}

async fn place(operator: Operator, act: Ending) -> Result<OrderId, String> {
    let client = operator.shop();
    let order: PlaceOrder = serde_json::from_value(act.order).expect("an order");
    match client.orders.place(&client.anonymous(), &order, &act.key, true).await {
        Ok(placed) => Ok(placed.order.id),
        // Declined: the problem names the order.
        Err(error) => error
            .problem()
            .and_then(|problem| problem.extra.get("order_id")?.as_str()?.parse().ok())
            .ok_or_else(|| error.to_string()),
    }
}

async fn begin(operator: Operator, act: Ending, kind: Act) {
    let (orders, acting) = (&operator.shop().orders, operator.acting(STAFF));
    match (kind, act.id) {
        (Act::CallOff, Some(id)) => drop(orders.admin_cancel(&acting, id, Some("the test")).await),
        (Act::Refund, Some(id)) => {
            let refund = Refund { amount: None, reason: "the test".to_owned(), restock: true };
            drop(orders.refund(&acting, id, &refund).await);
        }
        _ => drop(place(operator.clone(), act).await),
    }
}

/// Whether something comes true in that time.
async fn within(time: Duration, is_so: impl AsyncFn() -> bool) -> bool {
    let deadline = Instant::now() + time;
    while !is_so().await {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    assert!(within(PATIENCE, is_so).await, "{what}: that never came true");
}

async fn is_quiet(operator: &Operator) -> bool {
    let acting = operator.acting(STAFF);
    for state in ["running", "compensating"] {
        let filter = order::SagaFilter { state: Some(state.to_owned()), ..Default::default() };
        let page = operator.shop().orders.sagas(&acting, &filter).await;
        if !page.is_ok_and(|page| page.items.is_empty()) {
            return false;
        }
    }
    let Ok(queues) = operator.shop().notifications.queues(&acting).await else { return false };
    let filter = notification::DeliveryFilter { state: Some("pending".to_owned()), ..Default::default() };
    let pending = operator.shop().notifications.deliveries(&acting, &filter).await;
    queues.queues.iter().all(|queue| queue.depth == 0)
        && queues.outboxes.iter().all(|outbox| outbox.waiting == 0)
        && pending.is_ok_and(|page| page.items.is_empty())
}

/// What the dead process left.
pub(super) struct Heir<'ground> {
    ground: &'ground Ground,
    folder: TempDir,
    config: ShopConfig,
}

impl Heir<'_> {
    /// Starts the next process, lets the buyers ask again, waits until nothing is under way, and says what does not add
    /// up.
    pub(super) fn take_over(self, endings: &[Ending]) -> Vec<String> {
        let inside = runtime();
        let deadline = Instant::now() + PATIENCE;
        let running = loop {
            match inside.block_on(app::up(self.config.clone(), UpOptions::default(), |_| {})) {
                Ok(running) => break running,
                // The thread that writes the statement lets go of it a moment after those that it served are gone.
                Err(error) if is_held(&error) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => panic!("the next one does not start: {error:?}"),
            }
        };
        running.skew_clock(LATER_S);
        let later = Env::system();
        later.clock().skew(LATER_S * 1_000_000);
        let operator = Operator::of_folder(running.url(), self.folder.path(), "test").expect("the owner");
        let operator = operator.in_time_of(&later);
        let found = self.ground.outside.block_on(audit(&operator, endings));
        assert!(inside.block_on(running.drain()), "it drains");
        found.into_iter().chain(self.ground.outside.block_on(self.promises())).collect()
    }

    /// What the shop's own verification says of what is left, at rest.
    async fn promises(&self) -> Vec<String> {
        let verifier = Verifier::open(&self.config.engine, &Env::system()).await.expect("the data");
        let folder = self.folder.path().join("fakepay");
        let source = move || -> futures_util::future::BoxFuture<'static, Result<Statement, String>> {
            let read = Statement::at_rest(&folder).map_err(|error| error.to_string());
            Box::pin(async move { read?.ok_or_else(|| "there is none".to_owned()) })
        };
        let beside =
            Beside { statement: Some(("fakepay".to_owned(), Arc::new(source))), ..Beside::default() };
        let options = Options { live: false, beside, ..Options::default() };
        let report = verifier.run(&options, |_| {}).await.expect("a report");
        verifier.close().await;
        let broken = report.outcomes.iter().filter(|outcome| outcome.verdict == verify::Verdict::False);
        broken.map(|outcome| format!("{outcome:?}")).collect()
    }
}

/// Whether somebody still has what only one process may have.
fn is_held(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
    })
}

/// What is answered at last: what fails is asked again until the deadline.
async fn answered<T, E>(deadline: Instant, ask: impl AsyncFn() -> Result<T, E>) -> Result<T, E> {
    loop {
        match ask().await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
            answer => return answer,
        }
    }
}

/// The buyers' retries, the ends of their orders, and the books.
async fn audit(operator: &Operator, endings: &[Ending]) -> Vec<String> {
    let mut violations = Vec::new();
    let mut orders = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    for ending in endings {
        // A buyer who is told to come again does.
        let again = answered(deadline, async || place(operator.clone(), ending.clone()).await).await;
        match (ending.id, again) {
            (Some(was), Ok(is)) if was != is => {
                violations.push(format!("{}: its key bought twice", ending.story))
            }
            (_, Ok(id)) => orders.push((ending, id)),
            (_, Err(error)) => violations.push(format!("{}: cannot be bought again: {error}", ending.story)),
        }
    }
    // Staff whose request may have died on its way asks again; what was heard is not done twice.
    for (ending, id) in orders.iter().filter(|(ending, _)| ending.act != Act::Place) {
        let known = operator.shop().orders.order_sagas(&operator.acting(STAFF), *id).await;
        if known.is_ok_and(|sagas| sagas.items.len() == 1) {
            begin(operator.clone(), (*ending).clone(), ending.act).await;
        }
    }
    if !within(PATIENCE, async || is_quiet(operator).await).await {
        violations.push("something is still under way".to_owned());
    }
    let mut sold = 0;
    for (ending, id) in &orders {
        let order =
            operator.shop().orders.admin_order(&operator.acting(STAFF), *id).await.expect("an order").order;
        if !(ending.ends.contains(&order.status) && is_over(&order, ending.act)) {
            violations.push(format!("{} ({}): {id} ended {:?}", ending.story, ending.key, order.status));
        }
        sold += i64::from(order.status == Status::Confirmed && order.refunded != order.total);
    }
    books(operator, sold, violations).await
}

async fn books(operator: &Operator, sold: i64, mut violations: Vec<String>) -> Vec<String> {
    let acting = operator.acting(STAFF);
    let stock = operator.shop().products.stock(&acting, SKU).await.expect("stock");
    if (stock.on_hand, stock.reserved) != (UNITS - sold, 0) {
        violations.push(format!("{sold} units were sold of {UNITS}, and the stock is {stock:?}"));
    }
    let ask = async || operator.shop().payments.reconcile(&acting, None).await;
    let report = answered(Instant::now() + PATIENCE, ask).await.expect("reconciled");
    if !report.differences.is_empty() {
        violations.push(format!("our ledger and the provider's statement differ: {report:?}"));
    }
    violations
}

/// The sweeper dies while it gives back the stock of an order whose saga stands still; answers how many cases that were,
/// and what did not add up.
pub(super) fn die_sweeping(ground: &Ground) -> (usize, Vec<String>) {
    // The saga may be faster than the sweep that goes on: then it is bought after all.
    const ENDS: &[Status] = &[Status::Cancelled, Status::Expired, Status::Confirmed];
    let points = ["sweeper.reservations.before", "sweeper.reservations.recorded"];
    let die_at = |point: &&str| {
        let shop = Shop::open_with(ground, Provider::Well, |config| {
            config.order.reservation_ttl = Duration::from_secs(1);
            config.product.sweep_every = Duration::from_millis(50);
        });
        let case = |point: &str| Case { point: point.to_owned(), verdict: Verdict::Never };
        let cases = [case("saga.checkout.reserve.recorded"), case(point)];
        shop.fate.arm(&cases);
        let story = &super::STORIES[0];
        let act = Ending { ends: ENDS, ..shop.request(story, 0) };
        shop.act(story, std::slice::from_ref(&act));
        assert!(shop.all_come(&cases, PATIENCE), "nobody came to {:?}", shop.missing(&cases));
        shop.die().take_over(&[act])
    };
    (points.len(), points.iter().flat_map(die_at).collect())
}
