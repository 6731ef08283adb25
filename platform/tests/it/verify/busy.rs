//! Verify beside a shop that lives, an empty one, one of tomorrow; and what heals by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use platform::storage::{Batch, Db, Dialect, Engine, EngineConfig, Row, StorageError, StorageHealth, Value};
use platform::testing::TestShop;
use platform::verify::journal::Journal;
use platform::verify::{Options, Outcome, Verdict, Verifier, VerifyError};
use platform::vocabulary::Env;

use super::complaints;
use super::story::{self, Buyer, SKU, at_rest, beside, journal_in, log_in, quiet, stock};

async fn verifier(shop: &TestShop) -> Verifier {
    let engine = EngineConfig::Sqlite { path: shop.folder().join("shop.db") };
    Verifier::open(&engine, &Env::system()).await.expect("the data of a running shop")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_shop_is_neither_well_nor_broken() {
    let shop = TestShop::start().await;
    let report = verifier(&shop).await.run(&Options::default(), |_| {}).await.expect("a report");
    assert_eq!((report.verdict, report.orders), (Verdict::Unknown, 0));
    assert_eq!(report.ids(Verdict::False), Vec::<&str>::new());
    let said = |id: &str| report.outcome(id).expect("asked").clone();
    assert_eq!((said("V1").verdict, said("V2").verdict), (Verdict::True, Verdict::True), "it has stock");
    assert_eq!(said("V11").why.as_deref(), Some("there are no orders that ended their checkout yet"));
    assert!(report.summary().contains("no orders yet"), "{}", report.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_is_being_written_to_is_not_accused() {
    let shop = TestShop::start().await;
    stock(&shop, SKU, 1_000, 500).await;
    std::fs::write(log_in(shop.folder()), "{}\n").expect("a log");
    let is_done = AtomicBool::new(false);
    let verifier = verifier(&shop).await;
    let mut buyer = Buyer::new(&shop);
    let mut options = Options { beside: beside(shop.folder()), ..Options::default() };
    options.beside.texts.push(("metrics".to_owned(), "orders_total 0\n".to_owned()));
    let options = options;
    let buying = async {
        for round in 0..40 {
            let method = if round % 5 == 4 { "pm_card_visa_chargeDeclined" } else { "pm_card_visa" };
            buyer.buy(SKU, 1, method).await;
        }
        is_done.store(true, Ordering::SeqCst);
    };
    let looking = async {
        let mut looks = 0;
        while !is_done.load(Ordering::SeqCst) {
            let report = verifier.run(&options, |_| {}).await.expect("a report");
            let broken: Vec<String> =
                complaints(&report).into_iter().filter(|line| line.contains(" false ")).collect();
            assert_eq!(broken, Vec::<String>::new());
            looks += 1;
        }
        looks
    };
    let ((), looks) = tokio::join!(buying, looking);
    assert!(looks > 0);
    quiet(&shop, &shop.admin().await).await;
    let report = verifier.run(&options, |_| {}).await.expect("a report");
    assert_eq!(complaints(&report), Vec::<String>::new());
    assert_eq!(report.outcome("V17").expect("asked").counts["acknowledged"], 32);
    let unread = Options { beside: beside(shop.folder()), only: vec!["V19"], ..Options::default() };
    let report = verifier.run(&unread, |_| {}).await.expect("a report");
    assert_eq!(report.verdict, Verdict::Unknown, "metrics that were not read may hold anything");
}

/// What V19 says of a shop in pods whose logs are these, of which `unread` could not be read.
async fn of_pods(shop: &TestShop, log: &str, unread: &[&str]) -> Outcome {
    let mut options = Options { only: vec!["V19"], ..Options::default() };
    options.beside.texts.push(("metrics of order-a-1".to_owned(), "orders_total 0\n".to_owned()));
    options.beside.log_texts.push(("order-a-1".to_owned(), log.to_owned()));
    options.beside.unread = unread.iter().map(|what| (*what).to_owned()).collect();
    let report = verifier(shop).await.run(&options, |_| {}).await.expect("a report");
    assert_eq!(report.looked.logs, ["order-a-1"]);
    report.outcome("V19").expect("asked").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_lines_of_pods_are_logs_and_one_that_was_not_read_may_hold_anything() {
    let shop = TestShop::start().await;
    let clean = of_pods(&shop, "{\"message\":\"one\"}\n{\"message\":\"two\"}\n", &[]).await;
    assert_eq!((clean.verdict, clean.counts["log lines"]), (Verdict::True, 2));
    assert!(clean.why.is_some_and(|why| why.contains("only the last lines")));
    let unread = of_pods(&shop, "{}\n", &["the log of the pod user-a-1"]).await;
    assert_eq!(unread.verdict, Verdict::Unknown);
    assert!(unread.why.is_some_and(|why| why.contains("the log of the pod user-a-1 could not be read")));
    let told = of_pods(&shop, "{}\n{\"message\":\"charged 4242 4242 4242 4242\"}\n", &["a log"]).await;
    assert_eq!((told.verdict, told.examples[0].id.as_str()), (Verdict::False, "order-a-1 line 2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_leaves_what_is_due_unknown_until_it_closes() {
    let shop = TestShop::start().await;
    let verifier = verifier(&shop).await;
    let whole = "metrics";
    let of_one = "metrics of payment-a-1";
    for (name, state, closes) in [(whole, 2, false), (of_one, 2, false), (whole, 1, true), (of_one, 0, true)]
    {
        let mut options = Options { only: vec!["V21"], ..Options::default() };
        let metrics = format!("breaker_state{{breaker=\"stripe-authorize\"}} {state}\n");
        options.beside.texts.push((name.to_owned(), metrics));
        let report = verifier.run(&options, |_| {}).await.expect("a report");
        let v21 = report.outcome("V21").expect("asked");
        let why = v21.why.as_deref().unwrap_or_default();
        assert_eq!(!why.contains("the breaker stripe-authorize is open"), closes, "{state}: {why}");
        assert_eq!(v21.broken, 0, "{state}");
    }
}

/// The data, written to as soon as it was looked at: what is under way looks so.
struct Moving {
    inner: Db,
    /// What the look that is followed by the write is known by.
    seen: &'static str,
    /// What is written after it.
    then: &'static str,
    has_moved: AtomicBool,
}

impl Engine for Moving {
    fn write(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<u64>, StorageError>> {
        Box::pin(self.inner.write(batch))
    }

    fn read(&self, sql: &str, params: Vec<Value>) -> BoxFuture<'_, Result<Vec<Row>, StorageError>> {
        let (sql, inner) = (sql.to_owned(), self.inner.clone());
        Box::pin(async move {
            let rows = inner.read(&sql, params).await?;
            if sql.contains(self.seen) && !rows.is_empty() {
                let mut batch = Batch::new();
                batch.run(self.then, vec![]);
                inner.write(batch).await?;
                self.has_moved.store(true, Ordering::SeqCst);
            }
            Ok(rows)
        })
    }

    fn script(&self, _: String) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async { Ok(()) })
    }

    fn dialect(&self) -> Dialect {
        self.inner.dialect()
    }

    fn health(&self) -> StorageHealth {
        self.inner.health()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.inner.close())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_heals_within_the_grace_is_not_reported_and_what_moves_on_broken_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shop.db");
    let db = Db::open(&EngineConfig::Sqlite { path }).await.expect("a database");
    let mut batch = Batch::new();
    for sql in [
        "CREATE TABLE order_orders (id uuid)",
        "CREATE TABLE product_stock (sku text, location text, on_hand bigint, reserved bigint)",
        "INSERT INTO product_stock VALUES ('STOCK', 'main', 1, 2)",
        "CREATE TABLE payments (id uuid, order_id uuid, authorized bigint, captured bigint, refunded bigint)",
        "CREATE TABLE payment_refunds (payment_id uuid, amount bigint, state text)",
        "INSERT INTO payments VALUES (x'00000000000000000000000000000001', x'00000000000000000000000000000002', 1, 2, 0)",
    ] {
        batch.run(sql, vec![]);
    }
    db.write(batch).await.expect("written");
    let verify = |db: Db, only: &'static str| async move {
        let options = Options { only: vec![only], grace: Duration::from_millis(1), ..Options::default() };
        let report = Verifier::on(db, &Env::system()).run(&options, |_| {}).await.expect("a report");
        (report.outcomes[0].verdict, report.outcomes[0].healed)
    };
    let moving =
        |seen, then| Arc::new(Moving { inner: db.clone(), seen, then, has_moved: AtomicBool::new(false) });
    // The broken SKU is sold on between the looks.
    let sold = moving("reserved > on_hand", "UPDATE product_stock SET reserved = reserved + 1");
    assert_eq!(verify(Db::with_engine(sold), "V1").await, (Verdict::False, 0));
    assert_eq!(verify(db.clone(), "V7").await, (Verdict::False, 0), "it stays as it is");
    let healing = moving("captured > authorized", "UPDATE payments SET captured = 1");
    assert_eq!(verify(Db::with_engine(healing.clone()), "V7").await, (Verdict::True, 1));
    assert!(healing.has_moved.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_a_newer_binary_and_no_data_are_refused() {
    let shop = TestShop::start().await;
    let path = shop.folder().join("shop.db");
    let engine = EngineConfig::Sqlite { path: path.clone() };
    let env = Env::system();
    let open = || Verifier::open(&engine, &env);
    open().await.expect("today's");
    let db = Db::open(&engine).await.expect("the data");
    let mut batch = Batch::new();
    batch.run("UPDATE shop_migrations SET version = 99 WHERE service = 'bus'", vec![]);
    db.write(batch).await.expect("tomorrow's");
    let refused = open().await.map(drop).unwrap_err();
    assert!(matches!(&refused, VerifyError::Schema(why) if why.contains("newer")), "{refused}");
    let nowhere = EngineConfig::Sqlite { path: path.with_extension("none") };
    let refused = Verifier::open(&nowhere, &Env::system()).await.map(drop).unwrap_err();
    assert!(matches!(refused, VerifyError::Absent(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_journal_and_missing_evidence_are_told() {
    let story = story::on_sqlite().await;
    let folder = story.folder.path();
    let whole = at_rest(&story.engine, beside(folder)).await.expect("a report");
    assert_eq!(complaints(&whole), Vec::<String>::new());

    let path = journal_in(folder);
    let text = std::fs::read(&path).expect("a journal");
    std::fs::write(&path, &text[..text.len() - 10]).expect("torn");
    let orders = Journal::read(&path).expect("a torn journal").orders.len() as u64;
    let torn = at_rest(&story.engine, beside(folder)).await.expect("a report");
    let v17 = torn.outcome("V17").expect("asked");
    assert_eq!(
        (v17.verdict, v17.counts["torn lines"], v17.counts["acknowledged"]),
        (Verdict::True, 1, orders)
    );

    let damaged = folder.join("damaged.ndjson");
    std::fs::write(&damaged, "damaged\n").expect("written");
    let mut handed = beside(folder);
    handed.journals.push(damaged);
    handed.journals_elsewhere.push((folder.join("other.ndjson"), "http://localhost:1".to_owned()));
    let blind = at_rest(&story.engine, handed.clone()).await.expect("a report");
    assert_eq!(blind.ids(Verdict::Unknown), ["V17"], "{:?}", complaints(&blind));
    handed.journals.pop();
    let told = at_rest(&story.engine, handed).await.expect("a report").outcome("V17").cloned();
    let told = told.map(|v17| (v17.verdict, v17.why.unwrap_or_default())).expect("asked");
    assert!(told.0 == Verdict::True && told.1.ends_with("they speak of http://localhost:1"), "{told:?}");

    let bare = at_rest(&story.engine, platform::verify::Beside::default()).await.expect("a report");
    assert_eq!(bare.ids(Verdict::Unknown), ["V9", "V17", "V19"], "what cannot be seen is not well");
    assert_eq!(bare.verdict, Verdict::Unknown);
}
