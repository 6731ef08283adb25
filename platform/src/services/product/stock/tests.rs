//! Races and histories: many at once on little stock, and long random histories beside a model that is too simple to
//! be wrong. More of them with `SHOPCTL_SEEDS`.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::task::JoinSet;

use super::*;
use crate::config::ShopConfig;
use crate::http::Context;
use crate::services::product::SERVICE;
use crate::services::product::editing::Author;
use crate::services::product::ledger::StockAct;
use crate::storage::{Db, EngineConfig};
use crate::testing::{capabilities_on, postgres};
use crate::vocabulary::{Clock, Currency, Env, Identity, Money, Role, UserId};

const TTL: Duration = Duration::from_secs(60);

struct World {
    store: Store,
    clock: Clock,
    context: Context,
    identity: Identity,
    _folder: tempfile::TempDir,
}

async fn world(engine: Option<EngineConfig>) -> World {
    let folder = tempfile::tempdir().unwrap();
    let mut config = ShopConfig::local(folder.path().to_owned());
    if let Some(engine) = engine {
        config.engine = engine;
    }
    let clock = Clock::manual("2026-11-01T12:00:00Z".parse().unwrap());
    let env = Env::seeded(clock.clone(), 11);
    let db = Db::open(&config.engine).await.unwrap();
    let capabilities = capabilities_on(env.clone(), config, db, &[SERVICE]).await;
    World {
        store: Store::new(&capabilities),
        clock,
        context: Context::background("product", &env),
        identity: Identity {
            user_id: UserId::from_uuid(uuid::Uuid::from_u128(1)),
            email: "kim@shop.test".into(),
            roles: vec![Role::Merchandiser],
        },
        _folder: folder,
    }
}

async fn postgres_world() -> Option<World> {
    let url = postgres::database().await?;
    Some(world(Some(EngineConfig::Postgres { url, connections_max: 16 })).await)
}

async fn on_every_engine(check: impl AsyncFn(&World)) {
    check(&world(None).await).await;
    if let Some(world) = postgres_world().await {
        check(&world).await;
    }
}

/// How many random cases a test tries.
fn cases(usual: u32) -> u32 {
    std::env::var("SHOPCTL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(usual)
}

impl World {
    fn author(&self) -> Author<'_> {
        Author { identity: &self.identity, context: &self.context }
    }

    /// A product with a variant per name; answers their SKUs, which nobody else has.
    async fn shelf(&self, names: usize) -> Vec<String> {
        let prefix = self.store.env.uuid().simple().to_string();
        let skus: Vec<String> = (0..names).map(|number| format!("{prefix}-{number}")).collect();
        let variant = |sku: &String| crate::services::product::wire::NewVariant {
            sku: sku.clone(),
            title: "One size".into(),
            price: Money::new(100, Currency::USD),
            tax_class: None,
            weight_g: None,
            active: None,
        };
        let product = crate::services::product::wire::NewProduct {
            slug: prefix,
            title: "Thing".into(),
            description: String::new(),
            category: "things".into(),
            status: Default::default(),
            attrs: Default::default(),
            variants: skus.iter().map(variant).collect(),
        };
        self.store.create(self.author(), product).await.unwrap();
        skus
    }

    async fn move_units(&self, sku: &str, delta: i64) -> Result<(), Problem> {
        let kind = if delta > 0 { MovementKind::Receipt } else { MovementKind::Adjust };
        let act = StockAct { kind, sku, delta, reason: "test", key: None };
        self.store.change_shelf(self.author(), act).await.map(drop)
    }

    async fn level(&self, sku: &str) -> (i64, i64) {
        let level = self.store.stock(sku).await.unwrap();
        (level.on_hand, level.reserved)
    }

    /// The balance of each SKU, after checking that its ledger leads there.
    async fn audited(&self, skus: &[String]) -> Vec<(i64, i64)> {
        let mut levels = Vec::new();
        for sku in skus {
            let sql = "SELECT CAST(COALESCE(SUM(on_hand_delta), 0) AS BIGINT) AS on_hand,
                   CAST(COALESCE(SUM(reserved_delta), 0) AS BIGINT) AS reserved, COUNT(*) AS lines,
                   COALESCE(MAX(seq), 0) AS last FROM product_movements WHERE sku = $1";
            let row = self.store.db.read_one(sql, vec![sku.into()]).await.unwrap().unwrap();
            let get = |column: &str| row.get::<i64>(column).unwrap();
            let level = self.level(sku).await;
            assert_eq!((get("on_hand"), get("reserved")), level);
            assert_eq!(get("lines"), get("last"), "the ledger has a gap");
            levels.push(level);
        }
        levels
    }
}

fn line(sku: &str, quantity: i64) -> Line {
    Line { sku: sku.to_owned(), quantity }
}

/// A number below `below`, from the world's seed.
fn draw(env: &Env, below: u64) -> u64 {
    u64::from_le_bytes(env.bytes()) % below
}

fn word(problem: &Problem) -> String {
    let reason = problem.extra.get("reason").and_then(|reason| reason.as_str());
    reason.map_or_else(|| format!("{:?}", problem.code), str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_races_for_the_last_units_no_unit_is_sold_twice() {
    on_every_engine(async |world| {
        for _ in 0..cases(40) {
            let env = &world.store.env;
            let sku = world.shelf(1).await.remove(0);
            let units = 1 + draw(env, 6) as i64;
            world.move_units(&sku, units).await.unwrap();
            let mut buyers = JoinSet::new();
            for _ in 0..2 + draw(env, 10) {
                let (store, order, quantity, keeps) =
                    (world.store.clone(), env.id(), 1 + draw(env, 3) as i64, draw(env, 3) > 0);
                let lines = [line(&sku, quantity)];
                buyers.spawn(async move {
                    match store.reserve(order, &lines, TTL).await {
                        Ok(_) if keeps => {
                            store.pin(order).await.unwrap();
                            store.commit(order).await.unwrap();
                            quantity
                        }
                        Ok(_) => {
                            store.release(order).await.unwrap();
                            0
                        }
                        Err(problem) => {
                            assert_eq!(problem.code, Code::OutOfStock);
                            0
                        }
                    }
                });
            }
            let sold: i64 = buyers.join_all().await.into_iter().sum();
            assert_eq!(world.audited(&[sku]).await, [(units - sold, 0)]);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn carts_in_any_order_and_counts_that_change_never_lock_each_other_out() {
    on_every_engine(async |world| {
        for _ in 0..cases(15) {
            let env = &world.store.env;
            let skus = world.shelf(5).await;
            for sku in &skus {
                world.move_units(sku, 8).await.unwrap();
            }
            let mut tasks = JoinSet::new();
            for _ in 0..12 {
                let mut lines: Vec<Line> = Vec::new();
                for _ in 0..2 + draw(env, 4) {
                    lines.push(line(&skus[draw(env, 5) as usize], 1 + draw(env, 2) as i64));
                }
                let (store, order, ends) = (world.store.clone(), env.id(), draw(env, 3));
                tasks.spawn(async move {
                    match store.reserve(order, &lines, TTL).await {
                        Err(problem) => assert_eq!(problem.code, Code::OutOfStock, "{problem:?}"),
                        Ok(_) if ends == 0 => drop(store.release(order).await.unwrap()),
                        Ok(_) if ends == 1 => drop(store.commit(order).await.unwrap()),
                        Ok(_) => drop(store.pin(order).await.unwrap()),
                    }
                });
            }
            for sku in &skus {
                // A count that would cut into held units is refused, never written.
                if let Err(problem) = world.move_units(sku, -3).await {
                    assert_eq!(word(&problem), "below_reserved");
                }
                world.move_units(sku, 1).await.unwrap();
            }
            while let Some(ended) = tasks.join_next().await {
                ended.unwrap();
            }
            world.audited(&skus).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_expiry_and_a_pin_at_once_one_wins() {
    on_every_engine(async |world| {
        for _ in 0..cases(12) {
            let sku = world.shelf(1).await.remove(0);
            world.move_units(&sku, 20).await.unwrap();
            let orders: Vec<OrderId> = (0..20).map(|_| world.store.env.id()).collect();
            for order in &orders {
                world.store.reserve(*order, &[line(&sku, 1)], TTL).await.unwrap();
            }
            world.clock.advance(TTL);
            let mut pins = JoinSet::new();
            for order in &orders {
                let (store, order) = (world.store.clone(), *order);
                pins.spawn(async move { store.pin(order).await });
            }
            // Two sweepers, as two replicas have.
            let (one, two) =
                tokio::join!(world.store.sweep(&world.context), world.store.sweep(&world.context));
            let expired = one.unwrap() + two.unwrap();
            let mut pinned = 0;
            for outcome in pins.join_all().await {
                match outcome {
                    Ok(reservation) => {
                        assert_eq!(reservation.state, ReservationState::Pinned);
                        pinned += 1;
                    }
                    Err(problem) => assert_eq!(word(&problem), "reservation_expired"),
                }
            }
            assert_eq!((pinned + expired, world.level(&sku).await), (20, (20, pinned as i64)));
            world.audited(&[sku]).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_commit_and_a_release_at_once_one_wins() {
    on_every_engine(async |world| {
        for _ in 0..cases(20) {
            let sku = world.shelf(1).await.remove(0);
            world.move_units(&sku, 3).await.unwrap();
            let order: OrderId = world.store.env.id();
            world.store.reserve(order, &[line(&sku, 2)], TTL).await.unwrap();
            world.store.pin(order).await.unwrap();
            let (commit, again, release) = tokio::join!(
                world.store.commit(order),
                world.store.commit(order),
                world.store.release(order)
            );
            match release {
                Ok(_) => {
                    assert_eq!(word(&commit.unwrap_err()), "reservation_released");
                    assert_eq!(word(&again.unwrap_err()), "reservation_released");
                    assert_eq!(world.audited(&[sku]).await, [(3, 0)]);
                }
                Err(problem) => {
                    assert_eq!(word(&problem), "reservation_committed");
                    commit.unwrap();
                    again.unwrap();
                    assert_eq!(world.audited(&[sku]).await, [(1, 0)]);
                }
            }
        }
    })
    .await;
}

/// One thing that may happen. SKUs and orders are numbers, so that histories are short to read.
#[derive(Clone, Debug)]
enum Step {
    Move(usize, i64),
    Reserve(usize, Vec<(usize, i64)>),
    Extend(usize),
    Pin(usize),
    Commit(usize),
    Release(usize),
    Restock(usize, usize, i64, u8),
    ExpireAll,
}

const SKUS: usize = 3;
const ORDERS: usize = 4;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (sku, order) = (0..SKUS, 0..ORDERS);
    let lines = prop::collection::vec((sku.clone(), 1..4i64), 1..4);
    let step = prop_oneof![
        2 => (sku.clone(), prop_oneof![-4..0i64, 1..6i64]).prop_map(|(sku, delta)| Step::Move(sku, delta)),
        4 => (order.clone(), lines).prop_map(|(order, lines)| Step::Reserve(order, lines)),
        1 => order.clone().prop_map(Step::Extend),
        3 => order.clone().prop_map(Step::Pin),
        3 => order.clone().prop_map(Step::Commit),
        2 => order.clone().prop_map(Step::Release),
        2 => (order, sku, 1..3i64, 0..3u8).prop_map(|(o, s, units, key)| Step::Restock(o, s, units, key)),
        1 => Just(Step::ExpireAll),
    ];
    prop::collection::vec(step, 1..30)
}

/// What the shelf must look like: numbers in a map, no database, no batches.
#[derive(Default)]
struct Model {
    on_hand: [i64; SKUS],
    orders: BTreeMap<usize, ModelOrder>,
    returns: BTreeMap<(usize, u8), (usize, i64)>,
}

#[derive(Default)]
struct ModelOrder {
    state: &'static str,
    lines: BTreeMap<usize, i64>,
    back: BTreeMap<usize, i64>,
}

impl Model {
    fn reserved(&self, sku: usize) -> i64 {
        let open = self.orders.values().filter(|order| matches!(order.state, "held" | "pinned"));
        open.map(|order| order.lines.get(&sku).copied().unwrap_or(0)).sum()
    }

    /// What `step` answers: a state, or the reason of the refusal.
    fn apply(&mut self, step: &Step) -> String {
        let gone = |state: &str| format!("reservation_{state}");
        match step {
            Step::Move(sku, delta) if self.on_hand[*sku] + delta < self.reserved(*sku) => {
                return "below_reserved".to_owned();
            }
            Step::Move(sku, delta) => self.on_hand[*sku] += delta,
            Step::Reserve(number, lines) => {
                let mut sums: BTreeMap<usize, i64> = BTreeMap::new();
                for (sku, quantity) in lines {
                    *sums.entry(*sku).or_default() += quantity;
                }
                if let Some(order) = self.orders.get(number) {
                    return match order.state {
                        "released" | "expired" => gone(order.state),
                        _ if order.lines != sums => "reservation_differs".to_owned(),
                        state => state.to_owned(),
                    };
                }
                if sums.iter().any(|(sku, quantity)| self.on_hand[*sku] - self.reserved(*sku) < *quantity) {
                    return "OutOfStock".to_owned();
                }
                self.orders.insert(*number, ModelOrder { state: "held", lines: sums, ..Default::default() });
                return "held".to_owned();
            }
            Step::Extend(number) | Step::Pin(number) | Step::Commit(number) => {
                let Some(order) = self.orders.get_mut(number) else {
                    return "reservation_missing".to_owned();
                };
                if matches!(order.state, "released" | "expired") {
                    return gone(order.state);
                }
                match step {
                    Step::Pin(_) if order.state == "held" => order.state = "pinned",
                    Step::Commit(_) if order.state != "committed" => {
                        order.state = "committed";
                        for (sku, quantity) in &order.lines {
                            self.on_hand[*sku] -= quantity;
                        }
                    }
                    _ => {}
                }
                return order.state.to_owned();
            }
            Step::Release(number) => {
                let order = self.orders.entry(*number).or_default();
                match order.state {
                    "committed" => return "reservation_committed".to_owned(),
                    "expired" => {}
                    _ => order.state = "released",
                }
                return order.state.to_owned();
            }
            Step::Restock(number, sku, units, key) => {
                let Some(order) = self.orders.get_mut(number) else {
                    return "reservation_missing".to_owned();
                };
                if order.state != "committed" {
                    return "reservation_not_committed".to_owned();
                }
                if let Some(before) = self.returns.get(&(*number, *key)) {
                    let same = *before == (*sku, *units);
                    return if same { "committed".to_owned() } else { "key_reused".to_owned() };
                }
                let back = order.back.entry(*sku).or_default();
                if *back + units > order.lines.get(sku).copied().unwrap_or(0) {
                    return "returns_exceed".to_owned();
                }
                *back += units;
                self.on_hand[*sku] += units;
                self.returns.insert((*number, *key), (*sku, *units));
                return "committed".to_owned();
            }
            Step::ExpireAll => {
                for order in self.orders.values_mut().filter(|order| order.state == "held") {
                    order.state = "expired";
                }
            }
        }
        "done".to_owned()
    }
}

async fn real(world: &World, skus: &[String], orders: &[OrderId], step: &Step) -> String {
    let store = &world.store;
    let outcome = match step {
        Step::Move(sku, delta) => {
            let moved = world.move_units(&skus[*sku], *delta).await;
            return moved.map_or_else(|problem| word(&problem), |()| "done".to_owned());
        }
        Step::ExpireAll => {
            world.clock.advance(TTL);
            store.sweep(&world.context).await.unwrap();
            return "done".to_owned();
        }
        Step::Reserve(order, lines) => {
            let lines: Vec<Line> = lines.iter().map(|(sku, quantity)| line(&skus[*sku], *quantity)).collect();
            store.reserve(orders[*order], &lines, TTL).await
        }
        Step::Extend(order) => store.extend(orders[*order], TTL).await,
        Step::Pin(order) => store.pin(orders[*order]).await,
        Step::Commit(order) => store.commit(orders[*order]).await,
        Step::Release(order) => store.release(orders[*order]).await,
        Step::Restock(order, sku, units, key) => {
            store.restock(orders[*order], &[line(&skus[*sku], *units)], &key.to_string()).await
        }
    };
    outcome.map_or_else(|problem| word(&problem), |reservation| reservation.state.as_str().to_owned())
}

fn histories(world: &World, runtime: &tokio::runtime::Runtime, usual: u32) {
    let mut runner =
        TestRunner::new(Config { cases: cases(usual), failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&steps(), |history| {
        runtime.block_on(async {
            let skus = world.shelf(SKUS).await;
            let orders: Vec<OrderId> = (0..ORDERS).map(|_| world.store.env.id()).collect();
            let mut model = Model::default();
            for step in &history {
                let (expected, answered) = (model.apply(step), real(world, &skus, &orders, step).await);
                prop_assert_eq!(answered, expected, "{:?}", step);
                for (number, sku) in skus.iter().enumerate() {
                    let must_be = (model.on_hand[number], model.reserved(number));
                    prop_assert_eq!(world.level(sku).await, must_be, "{:?}", step);
                }
            }
            world.audited(&skus).await;
            Ok(())
        })
    });
    outcome.unwrap();
}

#[test]
fn any_history_ends_as_the_simple_model_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    histories(&runtime.block_on(world(None)), &runtime, 60);
    if let Some(world) = runtime.block_on(postgres_world()) {
        histories(&world, &runtime, 25);
    }
}

/// Every statement of the hot path finds its rows by an index.
#[tokio::test]
async fn no_statement_of_an_order_scans_a_table() {
    let world = world(None).await;
    let skus = world.shelf(2).await;
    let lines = [line(&skus[0], 1), line(&skus[1], 2)];
    let now = world.store.env.now();
    let order: OrderId = world.store.env.id();
    let mut batch = Batch::new();
    balance(&mut batch, RESERVE, &lines);
    ledger(&mut batch, MovementKind::Reserve, Some(order), "reserve", "", &lines, now);
    batch.append(closing(order, ReservationState::Committed, &lines, now));
    batch.append(closing(order, ReservationState::Expired, &lines, now));
    for statement in batch.statements {
        let sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
        for row in world.store.db.read(&sql, statement.params).await.unwrap() {
            let plan: String = row.get("detail").unwrap();
            // The lines of the request itself are walked, nothing else.
            let walks_request = plan.ends_with("VALUES CLAUSE") || plan == "SCAN m";
            assert!(!plan.starts_with("SCAN") || walks_request, "{plan}: {}", statement.sql);
        }
    }
}
