//! What every storage engine must do, run on every engine.

use std::sync::Arc;
use std::time::Duration;

use platform::storage::sqlite::Sqlite;
use platform::storage::{
    Batch, Db, Dialect, Engine, EngineConfig, Expect, FaultRule, FaultSwitch, FromValue, Kind, Migration,
    StorageError, StorageFault, Value,
};
use platform::testing::postgres;
use platform::vocabulary::{Env, Timestamp};
use serde_json::json;
use uuid::Uuid;

const CONNECTIONS: usize = 8;

const TABLES: &[Migration] = &[migration(
    1,
    "CREATE TABLE test_parents (id bigint NOT NULL PRIMARY KEY);
     CREATE TABLE test_rows (
       k text NOT NULL PRIMARY KEY, n bigint NOT NULL CHECK (n >= 0), parent bigint REFERENCES test_parents (id));
     CREATE TABLE test_kinds (
       id bigint NOT NULL PRIMARY KEY, truth boolean, number bigint, words text, octets bytea, name uuid,
       at timestamptz, document jsonb);
     CREATE TABLE test_pairs (id uuid NOT NULL, side text NOT NULL, PRIMARY KEY (id, side));",
)];

/// The same under another name.
const fn named(name: &'static str, migration: Migration) -> Migration {
    Migration { name, ..migration }
}

const fn migration(version: i64, sql: &'static str) -> Migration {
    Migration { service: "test", version, name: "tables", sql, sqlite: "", postgres: "" }
}

/// An engine with an empty database, and how to open it once more.
struct World {
    db: Db,
    config: EngineConfig,
    _folder: Option<tempfile::TempDir>,
}

async fn sqlite() -> World {
    let folder = tempfile::tempdir().unwrap();
    let config = EngineConfig::Sqlite { path: folder.path().join("shop.db") };
    World { db: Db::open(&config).await.unwrap(), config, _folder: Some(folder) }
}

async fn postgres() -> Option<World> {
    let config = EngineConfig::Postgres { url: postgres::database().await?, connections_max: CONNECTIONS };
    Some(World { db: Db::open(&config).await.unwrap(), config, _folder: None })
}

async fn empty_engines(check: impl AsyncFn(World)) {
    check(sqlite().await).await;
    if let Some(world) = postgres().await {
        check(world).await;
    }
}

async fn every_engine(check: impl AsyncFn(World)) {
    empty_engines(async |world| {
        world.db.migrate(TABLES, &Env::system()).await.unwrap();
        check(world).await;
    })
    .await;
}

fn put(key: &str, n: i64) -> Batch {
    let mut batch = Batch::new();
    batch.one("put", "INSERT INTO test_rows (k, n) VALUES ($1, $2)", vec![key.into(), n.into()]);
    batch
}

async fn number<T: FromValue>(db: &Db, sql: &str) -> T {
    db.read_one(sql, vec![]).await.unwrap().unwrap().get("n").unwrap()
}

async fn count(db: &Db, table: &str) -> i64 {
    number(db, &format!("SELECT COUNT(*) AS n FROM {table}")).await
}

#[tokio::test]
async fn placeholders_go_by_their_number() {
    every_engine(async |World { db, .. }| {
        let mut batch = Batch::new();
        batch.one(
            "put",
            "INSERT INTO test_rows (n, k) VALUES ($3 + $2 + $3, $1 || $1)",
            vec!["ab".into(), 10i64.into(), 1i64.into()],
        );
        assert_eq!(db.write(batch).await, Ok(vec![1]));
        let rows =
            db.read("SELECT k FROM test_rows WHERE n = $2 AND k <> $1", vec!["x".into(), 12i64.into()]).await;
        assert_eq!(rows.unwrap()[0].get::<String>("k").unwrap(), "abab");
    })
    .await;
}

#[tokio::test]
async fn every_kind_comes_back_as_it_went() {
    every_engine(async |World { db, .. }| {
        let time = |text: &str| -> Value { text.parse::<Timestamp>().unwrap().into() };
        let id = Uuid::from_u128(0x0192_0000_7000_8000_0000_0000_0001);
        let rows: Vec<Vec<Value>> = vec![
            vec![
                true.into(),
                i64::MAX.into(),
                "".into(),
                vec![0u8, 255].into(),
                id.into(),
                time("2026-11-23T12:00:00.123456Z"),
                json!({"a": [1, null, "ü"], "big": i64::MAX}).into(),
            ],
            vec![
                false.into(),
                i64::MIN.into(),
                "naïve 💸 'quoted' $1".into(),
                Vec::<u8>::new().into(),
                Uuid::max().into(),
                time("9999-12-30T22:00:00Z"),
                json!({}).into(),
            ],
            vec![
                true.into(),
                0i64.into(),
                "x".repeat(100_000).into(),
                vec![7u8; 100_000].into(),
                Uuid::nil().into(),
                time("0001-01-01T00:00:00Z"),
                json!({"n": 1.5, "s": "x".repeat(10_000)}).into(),
            ],
        ];
        let mut batch = Batch::new();
        for (at, row) in rows.iter().enumerate() {
            let params = [vec![Value::Int(i64::try_from(at).unwrap())], row.clone()].concat();
            batch.one("put", "INSERT INTO test_kinds VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", params);
        }
        db.write(batch).await.unwrap();
        let answered = db.read("SELECT * FROM test_kinds ORDER BY id", vec![]).await.unwrap();
        for (row, wanted) in answered.iter().zip(&rows) {
            assert_eq!(Value::from(row.get::<bool>("truth").unwrap()), wanted[0]);
            assert_eq!(Value::from(row.get::<i64>("number").unwrap()), wanted[1]);
            assert_eq!(Value::from(row.get::<String>("words").unwrap()), wanted[2]);
            assert_eq!(Value::from(row.get::<Vec<u8>>("octets").unwrap()), wanted[3]);
            assert_eq!(Value::from(row.get::<Uuid>("name").unwrap()), wanted[4]);
            assert_eq!(Value::from(row.get::<Timestamp>("at").unwrap()), wanted[5]);
            assert_eq!(Value::from(row.get::<serde_json::Value>("document").unwrap()), wanted[6]);
        }
        for (column, value) in
            ["truth", "number", "words", "octets", "name", "at", "document"].iter().zip(&rows[0])
        {
            let sql = format!("SELECT id AS n FROM test_kinds WHERE {column} = $1");
            let found = db.read(&sql, vec![value.clone()]).await.unwrap();
            assert!(found.iter().any(|row| row.get::<i64>("n") == Ok(0)), "{column} is found by its value");
        }
    })
    .await;
}

#[tokio::test]
async fn null_of_every_kind_comes_back_as_nothing() {
    every_engine(async |World { db, .. }| {
        let kinds = [Kind::Bool, Kind::Int, Kind::Text, Kind::Bytes, Kind::Uuid, Kind::Time, Kind::Json];
        let mut params = vec![Value::Int(1)];
        params.extend(kinds.map(Value::Null));
        let mut batch = Batch::new();
        batch.one("put", "INSERT INTO test_kinds VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", params);
        db.write(batch).await.unwrap();
        let row = db.read_one("SELECT * FROM test_kinds", vec![]).await.unwrap().unwrap();
        assert_eq!(row.get::<Option<bool>>("truth"), Ok(None));
        assert_eq!(row.get::<Option<i64>>("number"), Ok(None));
        assert_eq!(row.get::<Option<String>>("words"), Ok(None));
        assert_eq!(row.get::<Option<Vec<u8>>>("octets"), Ok(None));
        assert_eq!(row.get::<Option<Uuid>>("name"), Ok(None));
        assert_eq!(row.get::<Option<Timestamp>>("at"), Ok(None));
        assert_eq!(row.get::<Option<serde_json::Value>>("document"), Ok(None));
        assert!(matches!(row.get::<String>("words"), Err(StorageError::Invalid(_))));
        assert!(matches!(row.get::<String>("missing"), Err(StorageError::Invalid(_))));
    })
    .await;
}

#[tokio::test]
async fn an_expectation_that_fails_writes_nothing_and_says_which() {
    every_engine(async |World { db, .. }| {
        let mut batch = put("a", 1);
        batch.push("none", Expect::Rows(0), "UPDATE test_rows SET n = 9 WHERE k = $1", vec!["nobody".into()]);
        batch.run("UPDATE test_rows SET n = 2 WHERE k = $1", vec!["nobody".into()]);
        batch.one(
            "take",
            "UPDATE test_rows SET n = n - 1 WHERE k = $1 AND n >= $2",
            vec!["a".into(), 5i64.into()],
        );
        let failed = db.write(batch).await.unwrap_err();
        let wanted =
            StorageError::Expectation { statement: 3, name: "take".to_owned(), expected: 1, touched: 0 };
        assert_eq!(failed, wanted);
        assert!(failed.is_expectation("take"));
        assert_eq!(count(&db, "test_rows").await, 0);
        assert_eq!(db.write(put("a", 1)).await, Ok(vec![1]), "the engine goes on");
    })
    .await;
}

#[tokio::test]
async fn a_constraint_that_is_hit_writes_nothing_and_says_which() {
    every_engine(async |World { db, .. }| {
        db.write(put("taken", 1)).await.unwrap();
        let hits: &[(&str, Vec<Value>)] = &[
            ("INSERT INTO test_rows (k, n) VALUES ($1, 1)", vec!["taken".into()]),
            ("INSERT INTO test_rows (k, n, parent) VALUES ($1, 1, 77)", vec!["orphan".into()]),
            ("INSERT INTO test_rows (k, n) VALUES ($1, -1)", vec!["negative".into()]),
            ("INSERT INTO test_rows (k) VALUES ($1)", vec!["numberless".into()]),
            ("INSERT INTO test_rows (k, n) VALUES ($1, 1)", vec![Value::Null(Kind::Text)]),
        ];
        for (sql, params) in hits {
            let mut batch = put("before", 1);
            batch.one("hit", *sql, params.clone());
            let failed = db.write(batch).await.unwrap_err();
            assert!(failed.is_conflict("hit"), "{sql}: {failed:?}");
            assert!(matches!(failed, StorageError::Conflict { statement: 1, .. }), "{sql}: {failed:?}");
            assert_eq!(count(&db, "test_rows").await, 1, "{sql}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_wrong_statement_is_a_bug_and_harms_nobody() {
    every_engine(async |World { db, .. }| {
        let mut batch = put("a", 1);
        batch.run("UPDATE no_such_table SET n = 1", vec![]);
        assert!(matches!(db.write(batch).await, Err(StorageError::Invalid(_))));
        let short = db.read("SELECT * FROM test_rows WHERE k = $1 AND n = $2", vec!["a".into()]).await;
        assert!(matches!(short, Err(StorageError::Invalid(_))), "{short:?}");
        let writes = db.read("INSERT INTO test_rows (k, n) VALUES ('sly', 1)", vec![]).await;
        assert!(matches!(writes, Err(StorageError::Invalid(_))), "a read must not write: {writes:?}");
        assert_eq!(count(&db, "test_rows").await, 0);
        assert_eq!(db.write(Batch::new()).await, Ok(vec![]));
    })
    .await;
}

#[tokio::test]
async fn sums_are_whole_numbers_and_nothing_sums_to_nothing() {
    every_engine(async |World { db, .. }| {
        let sum = "SELECT CAST(SUM(n) AS BIGINT) AS n FROM test_rows";
        assert_eq!(number::<Option<i64>>(&db, sum).await, None);
        for n in 1..=4 {
            db.write(put(&n.to_string(), n)).await.unwrap();
        }
        assert_eq!(number::<i64>(&db, sum).await, 10);
    })
    .await;
}

#[tokio::test]
async fn many_rows_go_in_at_once() {
    every_engine(async |World { db, .. }| {
        let rows = |from: i64, to: i64| (from..to).map(|n| vec![format!("k{n}").into(), n.into()]).collect();
        let mut batch = Batch::new();
        batch.insert_many("INSERT INTO test_rows (k, n)", rows(0, 150), "");
        batch.insert_many("INSERT INTO test_rows (k, n)", rows(100, 200), "ON CONFLICT (k) DO NOTHING");
        let touched = db.write(batch).await.unwrap();
        assert_eq!(touched.iter().sum::<u64>(), 200);
        assert_eq!(number::<i64>(&db, "SELECT CAST(SUM(n) AS BIGINT) AS n FROM test_rows").await, 199 * 100);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_writers_of_one_row_lose_nothing() {
    every_engine(async |World { db, .. }| {
        db.write(put("row", 0)).await.unwrap();
        let writers: Vec<_> = (0..64)
            .map(|writer: i64| {
                let db = db.clone();
                tokio::spawn(async move {
                    for _ in 0..5 {
                        increment(&db, writer % 2 == 0).await;
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(number::<i64>(&db, "SELECT n FROM test_rows WHERE k = 'row'").await, 320);
    })
    .await;
}

/// Adds one, either in the statement or by what was read; the latter must notice when somebody else was faster.
async fn increment(db: &Db, blind: bool) {
    loop {
        let mut batch = Batch::new();
        if blind {
            batch.one("add", "UPDATE test_rows SET n = n + 1 WHERE k = $1", vec!["row".into()]);
        } else {
            let seen: i64 = number(db, "SELECT n FROM test_rows WHERE k = 'row'").await;
            let params = vec!["row".into(), seen.into(), (seen + 1).into()];
            batch.one("swap", "UPDATE test_rows SET n = $3 WHERE k = $1 AND n = $2", params);
        }
        match db.write(batch).await {
            Ok(_) => return,
            Err(error) => assert!(error.is_expectation("swap"), "{error}"),
        }
    }
}

#[tokio::test]
async fn batches_that_come_together_share_a_commit_where_the_engine_can() {
    every_engine(async |World { db, .. }| {
        let writes = (0..500).map(|n| {
            // Every tenth is refused, which must not cost the others their commit.
            let key = if n % 10 == 9 { "k0".to_owned() } else { format!("k{n}") };
            let db = db.clone();
            async move { db.write(put(&key, n)).await }
        });
        let outcomes = futures_util::future::join_all(writes).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 450);
        assert_eq!(count(&db, "test_rows").await, 450);
        let health = db.health();
        assert_eq!(health.batches_total, 450);
        assert_eq!(health.queue_depth, 0);
        let most = if db.dialect() == Dialect::Sqlite { 45 } else { 450 };
        assert!(health.commits_total <= most, "{health:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_whole_also_when_its_caller_goes_away() {
    every_engine(async |World { db, .. }| {
        let env = Env::system();
        let pair = |id: Uuid| {
            let mut batch = Batch::new();
            for side in ["left", "right"] {
                let sql = "INSERT INTO test_pairs (id, side) VALUES ($1, $2)";
                batch.one(side, sql, vec![id.into(), side.into()]);
            }
            batch
        };
        for patience_us in 0..200 {
            let write = db.write(pair(env.uuid()));
            let _either = tokio::time::timeout(Duration::from_micros(patience_us * 10), write).await;
        }
        // The last word: what was on its way when its caller left is done before or after this, never half.
        db.write(pair(env.uuid())).await.unwrap();
        let torn = "SELECT id FROM test_pairs GROUP BY id HAVING COUNT(*) <> 2";
        assert_eq!(db.read(torn, vec![]).await.unwrap().len(), 0);
        assert!(db.health().connections_open <= CONNECTIONS as u64);
    })
    .await;
}

#[tokio::test]
async fn a_read_sees_every_batch_that_was_answered() {
    every_engine(async |World { db, .. }| {
        for n in 0..100 {
            db.write(put(&format!("k{n}"), n)).await.unwrap();
            assert_eq!(count(&db, "test_rows").await, n + 1);
        }
    })
    .await;
}

#[tokio::test]
async fn migrations_run_once_in_order_and_only_forward() {
    empty_engines(async |World { db, .. }| {
        let env = Env::system();
        let one = migration(1, "CREATE TABLE test_a (n bigint NOT NULL)");
        let two = migration(2, "ALTER TABLE test_a ADD COLUMN m bigint");
        assert_eq!(db.migrate(&[one], &env).await, Ok(1));
        assert_eq!(db.migrate(&[one, two], &env).await, Ok(1));
        assert_eq!(db.migrate(&[one, two], &env).await, Ok(0));
        let newer = db.migrate(&[one], &env).await.unwrap_err();
        assert!(matches!(&newer, StorageError::Schema(why) if why.contains("newer")), "{newer:?}");
        let edited = migration(2, "ALTER TABLE test_a ADD COLUMN q bigint");
        let changed = db.migrate(&[one, edited], &env).await.unwrap_err();
        assert!(matches!(&changed, StorageError::Schema(why) if why.contains("changed")), "{changed:?}");

        let broken =
            migration(3, "CREATE TABLE test_b (n bigint NOT NULL); INSERT INTO no_such_table VALUES (1)");
        assert!(db.migrate(&[one, two, broken], &env).await.is_err());
        let half = db.read("SELECT n FROM test_b", vec![]).await;
        assert!(matches!(half, Err(StorageError::Invalid(_))), "a broken migration leaves nothing: {half:?}");
        assert_eq!(platform::storage::migrations::applied(&db).await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_older_binary_beside_a_newer_one_works_until_something_is_taken_away() {
    empty_engines(async |World { db, .. }| {
        let env = Env::system();
        let one = migration(1, "CREATE TABLE test_a (n bigint NOT NULL, old bigint)");
        assert_eq!(db.missing(&[one]).await, Ok(1), "nothing ran, and asking makes no table");
        assert!(db.read("SELECT version FROM shop_migrations", vec![]).await.is_err());

        let expand = migration(2, "ALTER TABLE test_a ADD COLUMN m bigint");
        assert_eq!(db.migrate(&[one], &env).await, Ok(1));
        assert_eq!(db.missing(&[one, expand]).await, Ok(1), "the newer one waits for its column");
        assert_eq!(db.migrate(&[one, expand], &env).await, Ok(1));
        assert_eq!(db.missing(&[one, expand]).await, Ok(0));
        assert_eq!(db.missing(&[one]).await, Ok(0), "the older one goes on beside it");

        let contract = named("contract_old", migration(3, "ALTER TABLE test_a DROP COLUMN old"));
        assert_eq!(db.migrate(&[one, expand, contract], &env).await, Ok(1));
        let refused = db.missing(&[one]).await.unwrap_err();
        assert!(matches!(&refused, StorageError::Schema(why) if why.contains("migration 3")), "{refused:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_migrate_at_once_do_not_collide() {
    empty_engines(async |World { config, .. }| {
        let starts: Vec<_> = (0..6)
            .map(|_| {
                let config = config.clone();
                tokio::spawn(async move {
                    let db = Db::open(&config).await.unwrap();
                    db.migrate(TABLES, &Env::system()).await
                })
            })
            .collect();
        let mut ran = 0;
        for start in starts {
            ran += start.await.unwrap().unwrap();
        }
        assert_eq!(ran, TABLES.len(), "each migration ran in one of them");
    })
    .await;
}

#[tokio::test]
async fn what_was_written_is_there_after_close_and_open() {
    every_engine(async |World { db, config, _folder }| {
        db.write(put("kept", 7)).await.unwrap();
        db.close().await;
        assert!(matches!(db.write(put("late", 1)).await, Err(StorageError::Unavailable(_))));
        let again = Db::open(&config).await.unwrap();
        assert_eq!(number::<i64>(&again, "SELECT n FROM test_rows").await, 7);
    })
    .await;
}

#[tokio::test]
async fn faults_strike_as_they_say() {
    every_engine(async |World { db, .. }| {
        let switch = FaultSwitch::new(&Env::system());
        let faulty = db.clone().with_faults(&switch);
        switch.set(FaultRule::once_at(StorageFault::BeforeCommit, "put"));
        assert!(matches!(faulty.write(put("a", 1)).await, Err(StorageError::Unavailable(_))));
        assert_eq!(count(&faulty, "test_rows").await, 0);
        assert_eq!(faulty.write(put("a", 1)).await, Ok(vec![1]), "once is once");

        switch.set(FaultRule::always(StorageFault::AfterCommit));
        assert!(matches!(faulty.write(put("b", 1)).await, Err(StorageError::Unknown(_))));
        assert!(faulty.write(put("b", 1)).await.unwrap_err().is_conflict("put"), "it was written");

        switch.set(FaultRule::always(StorageFault::Silence));
        let heard = tokio::time::timeout(Duration::from_millis(200), faulty.write(put("c", 1))).await;
        assert!(heard.is_err());
        assert_eq!(count(&faulty, "test_rows").await, 3);

        switch.set(FaultRule::always(StorageFault::Full));
        assert!(matches!(faulty.write(put("d", 1)).await, Err(StorageError::Full(_))));
        switch.set(FaultRule::always(StorageFault::Down));
        assert!(matches!(faulty.read("SELECT 1 AS n", vec![]).await, Err(StorageError::Unavailable(_))));
        switch.clear();
        assert_eq!(faulty.write(put("d", 1)).await, Ok(vec![1]));
        assert_eq!(switch.struck(), 6);
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_is_told_and_harms_nothing_that_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    let engine = Arc::new(Sqlite::open(&path).await.unwrap());
    let db = Db::with_engine(engine.clone());
    db.migrate(TABLES, &Env::system()).await.unwrap();
    db.write(put("before", 1)).await.unwrap();
    // What the engine does on ENOSPC, without filling anybody's disk.
    let pages: i64 = number(&db, "SELECT page_count AS n FROM pragma_page_count()").await;
    engine.script(format!("PRAGMA max_page_count = {}", pages + 4)).await.unwrap();
    let heavy = |key: &str| {
        let mut batch = Batch::new();
        batch.run(
            "INSERT INTO test_kinds (id, octets) VALUES ($1, $2)",
            vec![1i64.into(), vec![1u8; 100_000].into()],
        );
        batch.append(put(key, 1));
        batch
    };
    let (light, full, also_light) =
        tokio::join!(db.write(put("a", 1)), db.write(heavy("b")), db.write(put("c", 1)));
    assert!(matches!(full, Err(StorageError::Full(_))), "{full:?}");
    let kept: Vec<String> = db
        .read("SELECT k FROM test_rows ORDER BY k", vec![])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get("k").unwrap())
        .collect();
    let mut wanted = vec!["before"];
    for (key, outcome) in [("a", light), ("c", also_light)] {
        match outcome {
            Ok(_) => wanted.push(key),
            Err(error) => assert!(matches!(error, StorageError::Full(_)), "{error:?}"),
        }
    }
    wanted.sort_unstable();
    assert_eq!(kept, wanted, "what was answered is so");
    db.close().await;
    let roomy = Db::open(&EngineConfig::Sqlite { path }).await.unwrap();
    assert!(roomy.write(heavy("b")).await.is_ok(), "with room it goes on");
}
