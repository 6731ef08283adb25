//! The product service on every engine, driven through its client as siblings and staff drive it: stock.

use std::sync::Arc;
use std::time::Duration;

use platform::config::ShopConfig;
use platform::http::{CallError, Code, Context, PageQuery, Problem};
use platform::services::product::SERVICE;
use platform::services::product::client::{
    Line, NewProduct, NewVariant, ProductClient, ProductQuery, ProductStatus, Reservation, ReservationState,
    Shortage,
};
use platform::services::{Job, Mounted};
use platform::storage::{Batch, Db, EngineConfig, Value};
use platform::testing::{self, postgres};
use platform::vocabulary::{Clock, Currency, Env, Identity, Money, OrderId, Role, Timestamp, UserId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) const TTL: Duration = Duration::from_secs(900);

/// A product service on an engine of its own, with time that a test moves.
pub(crate) struct World {
    pub(crate) client: ProductClient,
    pub(crate) capabilities: platform::capabilities::Capabilities,
    pub(crate) clock: Clock,
    pub(crate) env: Env,
    jobs: std::sync::Mutex<Vec<Job>>,
    _folder: tempfile::TempDir,
}

/// Runs `check` on SQLite, and on PostgreSQL where its binaries are installed.
pub(crate) async fn on_every_engine(check: impl AsyncFn(&World)) {
    let folder = tempfile::tempdir().unwrap();
    let config = EngineConfig::Sqlite { path: folder.path().join("shop.db") };
    check(&World::new(config, folder).await).await;
    if let Some(url) = postgres::database().await {
        let config = EngineConfig::Postgres { url, connections_max: 16 };
        check(&World::new(config, tempfile::tempdir().unwrap()).await).await;
    }
}

impl World {
    pub(crate) async fn new(engine: EngineConfig, folder: tempfile::TempDir) -> Self {
        let clock = Clock::manual("2026-11-01T12:00:00Z".parse::<Timestamp>().unwrap());
        let env = Env::seeded(clock.clone(), 7);
        let db = Db::open(&engine).await.unwrap();
        let mut config = ShopConfig::local(folder.path().to_owned());
        config.engine = engine;
        config.product.sweep_every = Duration::from_millis(20);
        let capabilities = testing::capabilities_on(env.clone(), config, db, &[SERVICE]).await;
        let Mounted { router, jobs, .. } = (SERVICE.mount)(&capabilities).await.unwrap();
        let endpoint = capabilities.endpoint("product");
        endpoint.bind(router);
        let client = ProductClient::new(endpoint);
        Self { client, capabilities, clock, env, jobs: jobs.into(), _folder: folder }
    }

    pub(crate) fn order(&self) -> Context {
        Context { caller: Some("order"), ..Context::new(&self.env) }
    }

    pub(crate) fn anybody(&self) -> Context {
        Context { caller: Some("gateway"), ..Context::new(&self.env) }
    }

    pub(crate) fn staff(&self, role: Role) -> Context {
        let identity = Identity {
            user_id: UserId::from_uuid(uuid::Uuid::from_u128(1)),
            email: "kim@shop.test".into(),
            roles: vec![role],
        };
        Context { identity: Some(Arc::new(identity)), ..self.anybody() }
    }

    /// A product on sale with these SKUs and units.
    pub(crate) async fn stocked(&self, units: &[(&str, i64)]) {
        let variants = units.iter().map(|(sku, _)| variant(sku, 1999)).collect();
        let product = new_product(&units[0].0.to_lowercase(), "A thing", "things", variants);
        self.client.create(&self.staff(Role::Merchandiser), &product).await.unwrap();
        for (sku, units) in units.iter().filter(|(_, units)| *units > 0) {
            self.receive(sku, *units).await;
        }
    }

    pub(crate) async fn receive(&self, sku: &str, units: i64) {
        let staff = self.staff(Role::Merchandiser);
        self.client.receive(&staff, sku, units, "delivery", None).await.unwrap();
    }

    pub(crate) async fn reserve(
        &self,
        order: OrderId,
        lines: &[(&str, i64)],
    ) -> Result<Reservation, Problem> {
        self.client.reserve(&self.order(), order, &to_lines(lines), TTL).await.map_err(problem)
    }

    /// (on the shelf, held)
    pub(crate) async fn level(&self, sku: &str) -> (i64, i64) {
        let level = self.client.stock(&self.staff(Role::Support), sku).await.unwrap();
        assert_eq!(level.available, level.on_hand - level.reserved);
        (level.on_hand, level.reserved)
    }

    pub(crate) async fn numbers(&self, sql: &str) -> Vec<i64> {
        let rows = self.capabilities.db.read(sql, vec![]).await.unwrap();
        rows.iter().map(|row| row.get("n").unwrap()).collect()
    }

    pub(crate) fn job(&self, name: &str) -> Job {
        let mut jobs = self.jobs.lock().unwrap();
        let place = jobs.iter().position(|job| job.name == name).expect("such a job");
        jobs.remove(place)
    }

    /// The stock promises: the ledger adds up to the balances, number by number, and the held units are those of the
    /// open reservations.
    pub(crate) async fn assert_stock_adds_up(&self) {
        let broken = [
            "SELECT COUNT(*) AS n FROM product_stock WHERE on_hand < 0 OR reserved < 0 OR reserved > on_hand",
            "SELECT COUNT(*) AS n FROM product_stock s WHERE on_hand <> (
               SELECT CAST(COALESCE(SUM(m.on_hand_delta), 0) AS BIGINT) FROM product_movements m
               WHERE m.sku = s.sku AND m.location = s.location)",
            "SELECT COUNT(*) AS n FROM product_stock s WHERE reserved <> (
               SELECT CAST(COALESCE(SUM(l.quantity), 0) AS BIGINT) FROM product_reservation_lines l
               WHERE l.sku = s.sku AND l.location = s.location AND l.state IN ('held', 'pinned'))",
            "SELECT COUNT(*) AS n FROM product_stock s WHERE movements <> (
               SELECT COUNT(*) FROM product_movements m WHERE m.sku = s.sku AND m.location = s.location)",
            "SELECT COUNT(*) AS n FROM product_movements m
             LEFT JOIN product_movements b ON b.sku = m.sku AND b.location = m.location AND b.seq = m.seq - 1
             WHERE m.on_hand_after <> COALESCE(b.on_hand_after, 0) + m.on_hand_delta
                OR m.reserved_after <> COALESCE(b.reserved_after, 0) + m.reserved_delta
                OR (m.seq > 1 AND b.seq IS NULL)",
        ];
        for sql in broken {
            assert_eq!(self.numbers(sql).await, [0], "{sql}");
        }
    }

    pub(crate) async fn add(&self, product: &NewProduct) {
        self.client.create(&self.staff(Role::Merchandiser), product).await.unwrap();
    }

    pub(crate) async fn slugs(&self, query: ProductQuery) -> Vec<String> {
        let page = self.client.list(&self.anybody(), &query).await.unwrap();
        page.items.into_iter().map(|item| item.slug).collect()
    }
}

pub(crate) fn problem(error: CallError) -> Problem {
    error.problem().unwrap_or_else(|| panic!("a problem, not {error}")).clone()
}

pub(crate) fn to_lines(lines: &[(&str, i64)]) -> Vec<Line> {
    lines.iter().map(|(sku, quantity)| Line { sku: (*sku).to_owned(), quantity: *quantity }).collect()
}

pub(crate) fn variant(sku: &str, price_minor: i64) -> NewVariant {
    NewVariant {
        sku: sku.into(),
        title: sku.into(),
        price: Money::new(price_minor, Currency::USD),
        tax_class: None,
        weight_g: None,
        active: None,
    }
}

pub(crate) fn new_product(slug: &str, title: &str, category: &str, variants: Vec<NewVariant>) -> NewProduct {
    NewProduct {
        slug: slug.into(),
        title: title.into(),
        description: String::new(),
        category: category.into(),
        status: ProductStatus::Active,
        attrs: serde_json::Map::new(),
        variants,
    }
}

fn reason(problem: &Problem) -> &str {
    problem.extra.get("reason").and_then(|reason| reason.as_str()).unwrap_or_default()
}

fn items(problem: &Problem) -> Vec<Shortage> {
    serde_json::from_value(problem.extra["items"].clone()).unwrap()
}

#[tokio::test]
async fn an_order_holds_pins_and_takes_its_units() {
    on_every_engine(async |world| {
        world.stocked(&[("TEE-M", 5), ("TEE-L", 2)]).await;
        let order: OrderId = world.env.id();
        // The same SKU twice counts once, with the sum.
        let held = world.reserve(order, &[("TEE-M", 1), ("TEE-L", 2), ("TEE-M", 2)]).await.unwrap();
        assert_eq!(held.state, ReservationState::Held);
        assert_eq!(held.expires_at, Some(world.env.after(TTL)));
        assert_eq!((world.level("TEE-M").await, world.level("TEE-L").await), ((5, 3), (2, 2)));

        let context = world.order();
        world.client.pin(&context, order).await.unwrap();
        for _ in 0..2 {
            let taken = world.client.commit(&context, order).await.unwrap();
            assert_eq!(taken.state, ReservationState::Committed);
        }
        assert_eq!((world.level("TEE-M").await, world.level("TEE-L").await), ((2, 0), (0, 0)));
        let refused = problem(world.client.release(&context, order).await.unwrap_err());
        assert_eq!((refused.code, reason(&refused)), (Code::Conflict, "reservation_committed"));

        let ledger = world
            .client
            .movements(&world.staff(Role::Support), "TEE-M", &PageQuery::default())
            .await
            .unwrap();
        let kinds: Vec<_> = ledger
            .items
            .iter()
            .map(|line| (line.kind.as_str(), line.on_hand_delta, line.reserved_delta))
            .collect();
        assert_eq!(kinds, [("commit", -3, -3), ("reserve", 0, 3), ("receipt", 5, 0)]);
        world.assert_stock_adds_up().await;
    })
    .await;
}

#[tokio::test]
async fn not_enough_of_one_line_holds_nothing_and_names_the_sku() {
    on_every_engine(async |world| {
        world.stocked(&[("A-1", 9), ("B-2", 1), ("C-3", 0)]).await;
        let refused = world.reserve(world.env.id(), &[("C-3", 1), ("B-2", 2), ("A-1", 9)]).await.unwrap_err();
        assert_eq!((refused.code, refused.status), (Code::OutOfStock, 409));
        let short = |sku: &str, requested, available| Shortage { sku: sku.into(), requested, available };
        assert_eq!(items(&refused), [short("B-2", 2, 1), short("C-3", 1, 0)]);
        assert_eq!(world.level("A-1").await, (9, 0));

        let unknown = world.reserve(world.env.id(), &[("A-1", 1), ("NO-SUCH", 1)]).await.unwrap_err();
        assert_eq!(unknown.code, Code::UnknownSku);
        assert_eq!(unknown.extra["sku"], "NO-SUCH");
        assert_eq!(world.numbers("SELECT COUNT(*) AS n FROM product_reservations").await, [0]);
        world.assert_stock_adds_up().await;
    })
    .await;
}

#[tokio::test]
async fn quantities_and_fields_that_make_no_sense_are_refused() {
    on_every_engine(async |world| {
        world.stocked(&[("A-1", 9)]).await;
        for quantity in [0, -1, i64::MIN, i64::MAX, 1_000_001] {
            let refused = world.reserve(world.env.id(), &[("A-1", quantity)]).await.unwrap_err();
            assert_eq!(
                (refused.code, refused.errors[0].pointer.as_str()),
                (Code::ValidationFailed, "/lines/0/quantity")
            );
            let quoted = world.client.quote(&world.order(), &to_lines(&[("A-1", quantity)])).await;
            assert_eq!(problem(quoted.unwrap_err()).code, Code::ValidationFailed);
        }
        let sum = world.reserve(world.env.id(), &[("A-1", 600_000), ("A-1", 600_000)]).await.unwrap_err();
        assert_eq!(sum.errors[0].pointer, "/lines/1/quantity");
        let endpoint = world.capabilities.endpoint("product");
        let body = serde_json::json!({ "lines": [{ "sku": "A-1", "quantity": 1, "price": 1 }] });
        let answer: Result<serde_json::Value, _> = endpoint
            .call(&world.order(), axum::http::Method::POST, "/internal/v1/prices/quote", Some(&body))
            .await;
        assert_eq!(problem(answer.unwrap_err()).code, Code::ValidationFailed);
        // From outside there is no such path.
        let outside = world.client.quote(&world.anybody(), &to_lines(&[("A-1", 1)])).await;
        assert_eq!(problem(outside.unwrap_err()).code, Code::NotFound);
    })
    .await;
}

#[tokio::test]
async fn every_act_can_be_repeated_and_a_late_reserve_holds_nothing() {
    on_every_engine(async |world| {
        world.stocked(&[("A-1", 9)]).await;
        let context = world.order();
        let order: OrderId = world.env.id();
        let first = world.reserve(order, &[("A-1", 2)]).await.unwrap();
        world.clock.advance(Duration::from_secs(5));
        assert_eq!(world.reserve(order, &[("A-1", 1), ("A-1", 1)]).await.unwrap(), first);
        let other = world.reserve(order, &[("A-1", 3)]).await.unwrap_err();
        assert_eq!(reason(&other), "reservation_differs");

        let longer = world.client.extend(&context, order, TTL).await.unwrap();
        assert_eq!(longer.expires_at, Some(world.env.after(TTL)));
        let not_shorter = world.client.extend(&context, order, Duration::from_secs(1)).await.unwrap();
        assert_eq!(not_shorter.expires_at, longer.expires_at);
        world.client.pin(&context, order).await.unwrap();
        let pinned = world.client.pin(&context, order).await.unwrap();
        assert_eq!((pinned.state, pinned.expires_at), (ReservationState::Pinned, None));
        assert_eq!(world.client.extend(&context, order, TTL).await.unwrap(), pinned);
        assert_eq!(world.reserve(order, &[("A-1", 2)]).await.unwrap(), pinned);
        for _ in 0..2 {
            world.client.release(&context, order).await.unwrap();
        }
        assert_eq!(world.level("A-1").await, (9, 0));
        for refused in [
            problem(world.client.pin(&context, order).await.unwrap_err()),
            problem(world.client.commit(&context, order).await.unwrap_err()),
            world.reserve(order, &[("A-1", 2)]).await.unwrap_err(),
        ] {
            assert_eq!((refused.code, reason(&refused)), (Code::Conflict, "reservation_released"));
        }

        let never: OrderId = world.env.id();
        assert_eq!(
            reason(&problem(world.client.pin(&context, never).await.unwrap_err())),
            "reservation_missing"
        );
        assert_eq!(world.client.reservation(&context, never).await.unwrap(), None);
        world.client.release(&context, never).await.unwrap();
        let late = world.reserve(never, &[("A-1", 1)]).await.unwrap_err();
        assert_eq!(reason(&late), "reservation_released");
        world.assert_stock_adds_up().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_forgotten_is_read_again() {
    on_every_engine(async |world| {
        world.stocked(&[("A-1", 9), ("B-2", 9)]).await;
        let order: OrderId = world.env.id();
        world.reserve(order, &[("B-2", 2), ("A-1", 1)]).await.unwrap();
        // Another process, which remembers nothing of the order.
        let Mounted { router, .. } = (SERVICE.mount)(&world.capabilities).await.unwrap();
        let endpoint = platform::http::Endpoint::in_process("product");
        endpoint.bind(router);
        let twin = ProductClient::new(endpoint);
        twin.pin(&world.order(), order).await.unwrap();
        twin.commit(&world.order(), order).await.unwrap();
        assert_eq!((world.level("A-1").await, world.level("B-2").await), ((8, 0), (7, 0)));
        world.assert_stock_adds_up().await;
    })
    .await;
}

#[tokio::test]
async fn of_two_hundred_buyers_for_a_hundred_units_a_hundred_get_one() {
    on_every_engine(async |world| {
        world.stocked(&[("FLASH", 100)]).await;
        let mut buyers = JoinSet::new();
        for _ in 0..200 {
            let (client, context, order) = (
                world.client.clone(),
                world.order(),
                world.env.id::<platform::vocabulary::ids::kind::Order>(),
            );
            buyers.spawn(async move {
                match client.reserve(&context, order, &to_lines(&[("FLASH", 1)]), TTL).await {
                    Ok(_) => {
                        client.pin(&context, order).await.unwrap();
                        client.commit(&context, order).await.unwrap();
                        true
                    }
                    Err(error) => {
                        let refused = problem(error);
                        assert_eq!((refused.code, refused.status), (Code::OutOfStock, 409));
                        false
                    }
                }
            });
        }
        let bought = buyers.join_all().await.into_iter().filter(|bought| *bought).count();
        assert_eq!(bought, 100);
        assert_eq!(world.level("FLASH").await, (0, 0));
        world.assert_stock_adds_up().await;
    })
    .await;
}

#[tokio::test]
async fn an_expired_reservation_is_given_back_and_told_once() {
    on_every_engine(async |world| {
        world.stocked(&[("A-1", 9)]).await;
        let (kept, lost, pinned): (OrderId, OrderId, OrderId) =
            (world.env.id(), world.env.id(), world.env.id());
        for order in [kept, lost, pinned] {
            world.reserve(order, &[("A-1", 2)]).await.unwrap();
        }
        world.client.pin(&world.order(), pinned).await.unwrap();
        world.clock.advance(TTL - Duration::from_secs(1));
        world.client.extend(&world.order(), kept, TTL).await.unwrap();
        world.clock.advance(Duration::from_secs(1));
        let stop = CancellationToken::new();
        let sweeping = tokio::spawn((world.job("product.sweep").run)(stop.clone()));
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while world.level("A-1").await != (9, 4) {
            assert!(tokio::time::Instant::now() < deadline, "{:?}", world.level("A-1").await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        sweeping.await.unwrap();
        let refused = problem(world.client.pin(&world.order(), lost).await.unwrap_err());
        assert_eq!((refused.code, reason(&refused)), (Code::Conflict, "reservation_expired"));
        world.client.release(&world.order(), lost).await.unwrap();
        let sql =
            "SELECT kind, aggregate, payload FROM product_outbox WHERE kind = 'stock_reservation_expired'";
        let told = world.capabilities.db.read(sql, vec![]).await.unwrap();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].get::<OrderId>("aggregate").unwrap(), lost);
        let data: serde_json::Value = told[0].get("payload").unwrap();
        assert_eq!(data["lines"], serde_json::json!([{ "sku": "A-1", "quantity": 2 }]));
        world.assert_stock_adds_up().await;
    })
    .await;
}

#[tokio::test]
async fn units_come_back_once_per_key_and_never_more_than_left() {
    on_every_engine(async |world| {
        world.stocked(&[("A-1", 9), ("B-2", 9)]).await;
        let context = world.order();
        let order: OrderId = world.env.id();
        world.reserve(order, &[("A-1", 3), ("B-2", 1)]).await.unwrap();
        let early = world.client.restock(&context, order, &to_lines(&[("A-1", 1)]), "r1").await.unwrap_err();
        assert_eq!(reason(&problem(early)), "reservation_not_committed");
        world.client.commit(&context, order).await.unwrap();
        for _ in 0..2 {
            world.client.restock(&context, order, &to_lines(&[("A-1", 2)]), "r1").await.unwrap();
        }
        assert_eq!(world.level("A-1").await, (8, 0));
        let again = world.client.restock(&context, order, &to_lines(&[("A-1", 1)]), "r1").await.unwrap_err();
        assert_eq!(reason(&problem(again)), "key_reused");
        for (sku, units) in [("A-1", 2), ("B-2", 2), ("C-3", 1)] {
            let refused =
                world.client.restock(&context, order, &to_lines(&[(sku, units)]), "r2").await.unwrap_err();
            assert_eq!(reason(&problem(refused)), "returns_exceed");
        }
        // Two returns at once of what only one can bring.
        let lines = to_lines(&[("A-1", 1), ("B-2", 1)]);
        let (one, two) = tokio::join!(
            world.client.restock(&context, order, &lines, "r3"),
            world.client.restock(&context, order, &lines, "r4")
        );
        assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
        assert_eq!((world.level("A-1").await, world.level("B-2").await), ((9, 0), (9, 0)));
        world.assert_stock_adds_up().await;
    })
    .await;
}

#[tokio::test]
async fn the_tables_themselves_refuse_what_must_not_be() {
    on_every_engine(async |world| {
        world.stocked(&[("A-1", 5)]).await;
        let order: OrderId = world.env.id();
        world.reserve(order, &[("A-1", 2)]).await.unwrap();
        for sql in [
            "UPDATE product_stock SET on_hand = 1",
            "UPDATE product_stock SET reserved = -1",
            "UPDATE product_stock SET on_hand = -1, reserved = -1",
            "UPDATE product_reservations SET state = 'pinned'",
            "UPDATE product_reservations SET expires_at = NULL",
            "UPDATE product_movements SET on_hand_delta = on_hand_delta - 1 WHERE kind = 'receipt' AND on_hand_delta = 1
               OR kind = 'reserve'",
        ] {
            let mut batch = Batch::new();
            batch.push("forbidden", platform::storage::Expect::Any, sql, Vec::<Value>::new());
            let error = world.capabilities.db.write(batch).await.unwrap_err();
            assert!(error.is_conflict("forbidden"), "{sql}: {error}");
        }
        world.assert_stock_adds_up().await;
    })
    .await;
}
