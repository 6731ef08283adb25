//! The way to the server that may be written, on real servers: demoted, away, back, and behind a door that we shut.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::*;
use crate::storage::Migration;
use crate::testing::postgres::{self, Cluster};

const TABLES: &[Migration] = &[Migration {
    service: "test",
    version: 1,
    name: "marks",
    sql: "CREATE TABLE test_marks (n bigint NOT NULL PRIMARY KEY)",
    sqlite: "",
    postgres: "",
}];

const HOUR: Duration = Duration::from_secs(3_600);

fn mark(n: i64) -> Batch {
    let mut batch = Batch::new();
    batch.one("mark", "INSERT INTO test_marks (n) VALUES ($1)", vec![n.into()]);
    batch
}

async fn ask(engine: &Postgres, sql: &str) -> Result<i64, StorageError> {
    Ok(engine.read(sql, vec![]).await?[0].get("n").unwrap())
}

async fn backend(engine: &Postgres) -> Result<i64, StorageError> {
    ask(engine, "SELECT pg_backend_pid()::bigint AS n").await
}

/// A server of the test's own with the table, and the URL of its database.
async fn cluster() -> Option<(Cluster, String)> {
    postgres::database().await?;
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap().unwrap();
    let (client, connection) =
        tokio_postgres::connect(&cluster.url("postgres"), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("CREATE DATABASE shop").await.unwrap();
    let url = cluster.url("shop");
    let db = crate::storage::Db::open(&crate::storage::EngineConfig::Postgres {
        url: url.clone(),
        connections_max: 2,
    })
    .await
    .unwrap();
    db.migrate(TABLES, &crate::vocabulary::Env::system()).await.unwrap();
    db.close().await;
    Some((cluster, url))
}

/// Two servers that know nothing of each other, and a URL that names the first one first.
async fn two() -> Option<([Cluster; 2], String)> {
    let (first, _) = cluster().await?;
    let (second, _) = cluster().await?;
    let host = |cluster: &Cluster| format!("127.0.0.1:{}", cluster.port());
    let user = installed::USER;
    let url = format!("postgresql://{user}@{},{}/shop", host(&first), host(&second));
    Some(([first, second], url))
}

/// From when this answers, sessions of `cluster` refuse to write, those that are open too.
async fn demote(cluster: &Cluster) {
    let client = async || {
        let (client, connection) =
            tokio_postgres::connect(&cluster.url("postgres"), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    };
    let telling = client().await;
    telling.batch_execute("ALTER SYSTEM SET default_transaction_read_only = on").await.unwrap();
    telling.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let row = telling.query_one("SHOW default_transaction_read_only", &[]).await.unwrap();
        if row.get::<_, &str>(0) == "on" {
            break;
        }
        assert!(Instant::now() < deadline, "the setting is never read");
    }
    // The server tells its sessions one after the other, and takes the next connection when it has told them all.
    client().await;
}

async fn port_of_writer(engine: &Postgres) -> u16 {
    let lease = engine.lease(&engine.calls).await.unwrap();
    let row = lease.client().query_one("SELECT inet_server_port()", &[]).await.unwrap();
    lease.keep();
    u16::try_from(row.get::<_, i32>(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_lived_long_enough_is_replaced_and_no_other_is() {
    let Some(url) = postgres::database().await else { return };
    let engine = Postgres::open(&url, 2).await.unwrap();
    assert_eq!(backend(&engine).await, backend(&engine).await);
    let old = Habits { life: Duration::ZERO, again_every: HOUR, ..Habits::default() };
    let engine = Postgres::open_with(&url, 2, old).await.unwrap();
    let first = backend(&engine).await;
    assert_eq!(
        backend(&engine).await,
        first,
        "one was replaced a moment ago, and the others wait for their turn"
    );
    let ages = Habits { again_every: Duration::ZERO, ..old };
    let engine = Postgres::open_with(&url, 2, ages).await.unwrap();
    let first = backend(&engine).await.unwrap();
    assert_ne!(backend(&engine).await.unwrap(), first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_to_a_server_that_was_demoted_is_left_before_anybody_uses_it() {
    let Some(([first, second], url)) = two().await else { return };
    let wary = Habits { idle_max: Duration::ZERO, ..Habits::default() };
    let engine = Postgres::open_with(&url, 4, wary).await.unwrap();
    engine.write(mark(1)).await.unwrap();
    assert_eq!(port_of_writer(&engine).await, first.port());
    demote(&first).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    for n in 2.. {
        engine.write(mark(n)).await.unwrap();
        if port_of_writer(&engine).await == second.port() {
            return;
        }
        assert!(Instant::now() < deadline, "it is never left");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_refusal_to_write_makes_every_connection_look_for_the_writer_anew() {
    let Some(([first, second], url)) = two().await else { return };
    let trusting = Habits { idle_max: HOUR, again_every: HOUR, ..Habits::default() };
    let engine = Postgres::open_with(&url, 9, trusting).await.unwrap();
    let many = async |from: i64| {
        let writes = (from..from + 40).map(|n| engine.write(mark(n)));
        futures_util::future::join_all(writes).await
    };
    assert!(many(0).await.iter().all(Result::is_ok));
    assert!(engine.calls.status().size > 1, "there are several connections");
    demote(&first).await;
    let refused = engine.write(mark(1_000)).await.unwrap_err();
    assert!(matches!(refused, StorageError::Unavailable(_)), "nothing was written: {refused:?}");
    let after = many(1_000_000).await;
    assert!(after.iter().all(Result::is_ok), "{after:?}");
    assert_eq!(port_of_writer(&engine).await, second.port());
}

/// A door to a server that can be shut: then nobody listens there, and whoever was inside is cut off.
struct Door {
    address: SocketAddr,
    server: SocketAddr,
    /// Keeps the port while nobody listens.
    _reserve: TcpSocket,
    open: Option<JoinHandle<()>>,
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

impl Door {
    fn to(cluster: &Cluster) -> Self {
        let reserve = socket(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = reserve.local_addr().unwrap();
        let server = SocketAddr::from(([127, 0, 0, 1], cluster.port()));
        let mut door = Self { address, server, _reserve: reserve, open: None };
        door.open();
        door
    }

    fn open(&mut self) {
        let (listener, server) = (socket(self.address).listen(64).unwrap(), self.server);
        self.open = Some(tokio::spawn(async move {
            let mut inside = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                inside.spawn(async move {
                    let mut there = TcpStream::connect(server).await.unwrap();
                    tokio::io::copy_bidirectional(&mut client, &mut there).await.ok();
                });
            }
        }));
    }

    async fn shut(&mut self) {
        if let Some(open) = self.open.take() {
            open.abort();
            open.await.ok();
        }
    }

    fn url(&self) -> String {
        format!("postgresql://{}@{}/shop", installed::USER, self.address)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_while_nobody_can_be_written_waits_for_a_moment_and_hears_nothing_of_it() {
    let Some((cluster, _)) = cluster().await else { return };
    let mut door = Door::to(&cluster);
    let engine = Postgres::open(&door.url(), 6).await.unwrap();
    engine.write(mark(1)).await.unwrap();
    door.shut().await;
    for pool in [&engine.guarded, &engine.calls] {
        // Whoever used one of these would hear that it broke.
        pool.retain(|_, _| false);
    }
    let (reader, writer) = (engine.clone(), engine.clone());
    let reading = tokio::spawn(async move { ask(&reader, "SELECT COUNT(*) AS n FROM test_marks").await });
    let writing = tokio::spawn(async move { writer.write(mark(2)).await });
    let deadline = Instant::now() + Duration::from_secs(20);
    while !engine.route.is_lost() {
        assert!(Instant::now() < deadline, "that nobody is there is never noticed");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    door.open();
    assert!(reading.await.unwrap().is_ok());
    assert_eq!(writing.await.unwrap(), Ok(vec![1]));
    assert!(!engine.route.is_lost());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absence_that_lasts_is_told_at_once_until_somebody_may_look_again() {
    let Some((cluster, _)) = cluster().await else { return };
    let mut door = Door::to(&cluster);
    let impatient = Habits { waited_for: Duration::ZERO, again_every: HOUR, ..Habits::default() };
    let engine = Postgres::open_with(&door.url(), 6, impatient).await.unwrap();
    door.shut().await;
    let deadline = Instant::now() + Duration::from_secs(20);
    // What was still open has to be seen to be closed first.
    while !engine.route.is_lost() {
        assert!(Instant::now() < deadline, "that nobody is there is never noticed");
        ask(&engine, "SELECT 1::bigint AS n").await.ok();
    }
    door.open();
    let told = ask(&engine, "SELECT 1::bigint AS n").await;
    assert!(matches!(told, Err(StorageError::Unavailable(_))), "nobody looks again so soon: {told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_hangs_keeps_nobody_from_the_next_one_and_is_not_asked_first_again() {
    let Some((cluster, _)) = cluster().await else { return };
    // The system takes the connection, and nobody ever answers.
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let user = installed::USER;
    let hosts = format!("{},127.0.0.1:{}", hanging.local_addr().unwrap(), cluster.port());
    let engine = Postgres::open(&format!("postgresql://{user}@{hosts}/shop"), 4).await.unwrap();
    engine.write(mark(1)).await.unwrap();
    assert_eq!((engine.route.writer(), port_of_writer(&engine).await), (1, cluster.port()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_no_for_good_is_not_waited_for() {
    let Some(url) = postgres::database().await else { return };
    let nowhere = url.rsplit_once('/').unwrap().0.to_owned() + "/no_such_database";
    let refused = Postgres::open(&nowhere, 2).await.err();
    assert!(matches!(refused, Some(StorageError::Invalid(_))), "{refused:?}");
    let engine = Postgres::open(&url, 2).await.unwrap();
    let route = Arc::clone(&engine.route);
    assert!(route.was_found() && !route.is_lost());
}
