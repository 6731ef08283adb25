//! What is left of a batch when the process, the server or the connection goes away: all of it or nothing, and
//! everything that was acknowledged.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use platform::storage::{Batch, Db, EngineConfig, Migration, StorageError, Value};
use platform::testing::postgres::{self, Cluster};
use platform::vocabulary::Env;
use tokio_util::sync::CancellationToken;

const TABLES: &[Migration] = &[Migration {
    service: "test",
    version: 1,
    name: "pairs",
    sql: "CREATE TABLE test_pairs (n bigint NOT NULL, side text NOT NULL, PRIMARY KEY (n, side))",
    sqlite: "",
    postgres: "",
}];

/// Names the database that [`writes_until_it_is_killed`] writes to, in its own process.
const VICTIM: &str = "SHOP_TEST_VICTIM";
const WRITERS: i64 = 8;

fn pair(n: i64) -> Batch {
    let mut batch = Batch::new();
    for side in ["left", "right"] {
        let sql = "INSERT INTO test_pairs (n, side) VALUES ($1, $2)";
        batch.one(side, sql, vec![n.into(), side.into()]);
    }
    batch
}

async fn open(config: &EngineConfig) -> Db {
    let db = Db::open(config).await.unwrap();
    db.migrate(TABLES, &Env::system()).await.unwrap();
    db
}

/// The numbers of all pairs; fails when one is torn.
async fn pairs(db: &Db) -> BTreeSet<i64> {
    let rows = db.read("SELECT n, COUNT(*) AS sides FROM test_pairs GROUP BY n", vec![]).await.unwrap();
    rows.iter()
        .map(|row| {
            assert_eq!(row.get::<i64>("sides"), Ok(2), "a torn batch");
            row.get("n").unwrap()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_keeps_what_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    for round in 1..=3 {
        let acknowledged = kill_a_writer(&path, round).await;
        let db = open(&EngineConfig::Sqlite { path: path.clone() }).await;
        let kept = pairs(&db).await;
        assert!(acknowledged.is_subset(&kept), "lost {:?}", acknowledged.difference(&kept));
        db.close().await;
    }
}

async fn kill_a_writer(path: &Path, round: i64) -> BTreeSet<i64> {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["engine_failures::writes_until_it_is_killed", "--exact", "--nocapture"])
        .env(VICTIM, format!("{round}:{}", path.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = BufReader::new(victim.stdout.take().unwrap());
    tokio::task::spawn_blocking(move || {
        let mut acknowledged = BTreeSet::new();
        for line in said.lines() {
            let line = line.unwrap();
            // The last line may be cut; a whole one ends with a full stop.
            if let Some(n) = line.strip_prefix("written ").and_then(|rest| rest.strip_suffix('.')) {
                acknowledged.insert(n.parse().unwrap());
            }
            if acknowledged.len() == 300 {
                victim.kill().unwrap();
            }
        }
        victim.wait().unwrap();
        assert!(acknowledged.len() >= 300, "the writer stopped by itself");
        acknowledged
    })
    .await
    .unwrap()
}

/// Not a test of its own: [`a_killed_process_keeps_what_it_acknowledged`] runs it as another process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_until_it_is_killed() {
    let Ok(victim) = std::env::var(VICTIM) else { return };
    let (round, path) = victim.split_once(':').unwrap();
    let db = open(&EngineConfig::Sqlite { path: path.into() }).await;
    let first = round.parse::<i64>().unwrap() * 1_000_000;
    let writers = (0..WRITERS).map(|writer| {
        let db = db.clone();
        tokio::spawn(async move {
            for n in 0.. {
                let n = first + n * WRITERS + writer;
                db.write(pair(n)).await.unwrap();
                writeln!(std::io::stdout().lock(), "written {n}.").unwrap();
            }
        })
    });
    futures_util::future::join_all(writers).await;
}

/// Writers that go on whatever happens, and what they were told.
struct Writers {
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    told: Arc<Mutex<Told>>,
}

#[derive(Debug, Default)]
struct Told {
    written: BTreeSet<i64>,
    not_written: BTreeSet<i64>,
    unknown: BTreeSet<i64>,
}

impl Writers {
    fn start(db: &Db) -> Self {
        let (stop, told) = (CancellationToken::new(), Arc::<Mutex<Told>>::default());
        let tasks = (0..WRITERS)
            .map(|writer| {
                let (db, stop, told) = (db.clone(), stop.clone(), Arc::clone(&told));
                tokio::spawn(async move {
                    for n in (writer..).step_by(usize::try_from(WRITERS).unwrap()) {
                        if stop.is_cancelled() {
                            return;
                        }
                        let outcome = db.write(pair(n)).await;
                        let mut told = told.lock().unwrap();
                        match outcome {
                            Ok(_) => told.written.insert(n),
                            Err(StorageError::Unavailable(_)) => told.not_written.insert(n),
                            Err(StorageError::Unknown(_)) => told.unknown.insert(n),
                            Err(other) => panic!("an outage is {other:?}"),
                        };
                    }
                })
            })
            .collect();
        Self { stop, tasks, told }
    }

    fn written(&self) -> usize {
        self.told.lock().unwrap().written.len()
    }

    fn felt_an_outage(&self) -> bool {
        let told = self.told.lock().unwrap();
        !told.not_written.is_empty() || !told.unknown.is_empty()
    }

    async fn until_written(&self, more: usize) {
        let wanted = self.written() + more;
        let started = Instant::now();
        while self.written() < wanted {
            assert!(started.elapsed() < Duration::from_secs(60), "writing never went on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn stop(self) -> Told {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        std::mem::take(&mut self.told.lock().unwrap())
    }
}

fn check(told: &Told, kept: &BTreeSet<i64>) {
    assert!(told.written.is_subset(kept), "lost {:?}", told.written.difference(kept));
    assert!(told.not_written.is_disjoint(kept), "came back {:?}", told.not_written.intersection(kept));
    let expected: BTreeSet<i64> = told.written.union(&told.unknown).copied().collect();
    assert!(kept.is_subset(&expected), "nobody wrote {:?}", kept.difference(&expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_and_comes_back_keeps_what_was_acknowledged() {
    if postgres::database().await.is_none() {
        return;
    }
    let mut cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap().unwrap();
    let url = cluster.create_database().await.unwrap();
    let db = open(&EngineConfig::Postgres { url, connections_max: 6 }).await;
    let writers = Writers::start(&db);
    // Whether a writer is told of a crash is chance: a server without its postmaster ends what is under way, and whoever
    // has nothing under way waits for the next one.
    for crash in 0..40 {
        if crash >= 3 && writers.felt_an_outage() {
            break;
        }
        writers.until_written(100).await;
        cluster = tokio::task::spawn_blocking(move || {
            let crashed = cluster.pid().unwrap();
            cluster.crash_and_restart().unwrap();
            assert_ne!(cluster.pid().unwrap(), crashed);
            cluster
        })
        .await
        .unwrap();
    }
    writers.until_written(100).await;
    assert!(writers.felt_an_outage(), "the outage was felt");
    let told = writers.stop().await;
    check(&told, &pairs(&db).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_are_replaced() {
    let Some(url) = postgres::database().await else { return };
    let config = EngineConfig::Postgres { url, connections_max: 6 };
    let db = open(&config).await;
    let other = Db::open(&config).await.unwrap();
    let writers = Writers::start(&db);
    for _ in 0..5 {
        writers.until_written(50).await;
        let cut = "SELECT COUNT(pg_terminate_backend(pid)) AS n FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let row = other.read_one(cut, vec![]).await.unwrap().unwrap();
        assert!(row.get::<i64>("n").unwrap() > 0);
    }
    writers.until_written(50).await;
    let told = writers.stop().await;
    check(&told, &pairs(&db).await);
    assert!(db.health().connections_open <= 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_freezes_is_given_up() {
    let Some(url) = postgres::database().await else { return };
    let config = EngineConfig::Postgres { url, connections_max: 2 };
    let (db, other) = (open(&config).await, Db::open(&config).await.unwrap());
    db.write(pair(1)).await.unwrap();
    let theirs =
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let pids: Vec<i64> =
        other.read(theirs, vec![]).await.unwrap().iter().map(|row| row.get("pid").unwrap()).collect();
    let signal = |name: &str| {
        for pid in &pids {
            assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
        }
    };
    signal("-STOP");
    let answered = tokio::time::timeout(Duration::from_secs(20), db.write(pair(2))).await;
    signal("-CONT");
    // The batch lay in the frozen server's hands: it may still have been written when the server woke.
    assert!(matches!(answered, Ok(Err(StorageError::Unknown(_)))), "{answered:?}");
    assert_eq!(db.write(pair(3)).await, Ok(vec![1, 1]), "a new connection works");
    let kept = pairs(&db).await;
    assert!(kept.is_superset(&BTreeSet::from([1, 3])), "{kept:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_stays_locked_does_not_hold_up_the_shop() {
    let Some(url) = postgres::database().await else { return };
    let db = open(&EngineConfig::Postgres { url: url.clone(), connections_max: 2 }).await;
    db.write(pair(1)).await.unwrap();
    let (holder, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let driven = tokio::spawn(connection);
    holder.batch_execute("BEGIN; UPDATE test_pairs SET side = side WHERE n = 1").await.unwrap();
    let mut batch = Batch::new();
    batch.run("UPDATE test_pairs SET side = side WHERE n = $1", vec![Value::Int(1)]);
    let waits = db.write(batch.clone()).await;
    assert!(matches!(waits, Err(StorageError::Unavailable(_))), "{waits:?}");
    assert_eq!(db.write(pair(2)).await, Ok(vec![1, 1]));
    drop(holder);
    driven.await.ok();
    let started = Instant::now();
    while db.write(batch.clone()).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "the lock was never given back");
    }
}

/// A certificate authority and a certificate for 127.0.0.1, made in `folder` and owned as it is.
fn certificates(folder: &Path) {
    let script = r#"
        set -eu
        key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2'
        openssl req -x509 $key -keyout ca.key -out ca.crt -subj /CN=test-authority
        openssl req $key -keyout server.key -out server.csr -subj /CN=server
        printf 'subjectAltName=IP:127.0.0.1' >names
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile names
        chmod 600 server.key
        chown --reference=. server.key server.crt
    "#;
    let made = Command::new("sh").args(["-c", script]).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_spoken_and_verified_when_the_url_asks_for_it() {
    if postgres::database().await.is_none() {
        return;
    }
    if Command::new("openssl").arg("version").output().is_err() {
        assert!(std::env::var_os(postgres::REQUIRE).is_none(), "openssl is not installed");
        eprintln!("SKIPPED TLS to PostgreSQL: openssl is not installed");
        return;
    }
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap().unwrap();
    certificates(cluster.folder());
    let url = cluster.create_database().await.unwrap();
    let file = |name: &str| cluster.folder().join(name).display().to_string();
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let driven = tokio::spawn(connection);
    for setting in [
        format!("ssl_cert_file = '{}'", file("server.crt")),
        format!("ssl_key_file = '{}'", file("server.key")),
        "ssl = on".to_owned(),
    ] {
        client.batch_execute(&format!("ALTER SYSTEM SET {setting}")).await.unwrap();
    }
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    drop(client);
    driven.await.ok();

    let open = async |url: String| Db::open(&EngineConfig::Postgres { url, connections_max: 2 }).await;
    let verified = format!("{url}?sslmode=verify-full&sslrootcert={}", file("ca.crt"));
    let started = Instant::now();
    let db = loop {
        match open(verified.clone()).await {
            Ok(db) => break db,
            Err(error) => assert!(started.elapsed() < Duration::from_secs(20), "{error}"),
        }
    };
    let spoken = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(db.read_one(spoken, vec![]).await.unwrap().unwrap().get::<bool>("ssl"), Ok(true));
    let stranger = open(format!("{url}?sslmode=require")).await.err();
    assert!(matches!(stranger, Some(StorageError::Unavailable(_))), "an unknown authority: {stranger:?}");
    let other_name = verified.replace("127.0.0.1", "localhost");
    let misnamed = open(other_name).await.err();
    assert!(matches!(misnamed, Some(StorageError::Unavailable(_))), "another name: {misnamed:?}");
}
