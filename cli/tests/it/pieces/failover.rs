//! The primary is killed and frozen under checkout load: its standby takes over, and nothing that was acknowledged is
//! lost, bought twice or charged twice.
//!
//! One kill and one freeze here; `SHOPCTL_FAILOVERS=10` (as `scripts/test-long` sets it) for ten and five.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use platform::client::ShopClient;
use platform::http::Context;
use platform::services::order::client::OrderFilter;
use platform::testing::postgres;
use platform::vocabulary::OrderId;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::shop::{
    admin, buy, data_dir, database_when, insist, insist_and_tell, pid_of, pids_below, project, send, settled,
    stock_up, until_gone,
};
use crate::running::Running;
use crate::shopctl::{PATIENCE, Project};

const BUYERS: usize = 6;
/// So many checkouts say how long one takes.
const CALM_CHECKOUTS: usize = 30;

fn up(project: &Project) -> Running {
    Running::up(project, &["--processes", "--standby", "--limits", "none"])
}

/// A shop with a standby, its admin, and something to buy.
struct Furnished {
    project: Project,
    runtime: tokio::runtime::Runtime,
    running: Running,
    client: ShopClient,
    staff: Context,
}

impl Furnished {
    /// None when there is no PostgreSQL here.
    fn up() -> Option<Self> {
        if !postgres::is_here() {
            return None;
        }
        let (project, runtime) = (project(), tokio::runtime::Runtime::new().expect("a runtime"));
        let running = up(&project);
        let client = ShopClient::new(&running.url());
        let staff = runtime.block_on(async {
            let staff = admin(&client, &running).await;
            stock_up(&client, &staff, "SAFE-1").await;
            staff
        });
        Some(Self { project, runtime, running, client, staff })
    }
}

fn folder(project: &Project) -> PathBuf {
    data_dir(project).join("postgres")
}

/// Sends `signal` to every process of the node that writes; answers the moment just before, and the epoch that was.
fn strike(project: &Project, signal: Signal) -> (Instant, u64) {
    let facts = database_when(project, |facts| facts["standby"] == "synchronous");
    let node = facts["writer"].as_str().expect("a node").to_owned();
    let pids = pids_below(&folder(project).join(node));
    let began = Instant::now();
    for pid in pids {
        // A backend may have ended by itself meanwhile.
        send_if_there(pid, signal);
    }
    (began, facts["epoch"].as_u64().expect("a number"))
}

fn send_if_there(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process(pid, signal).ok();
    }
}

/// Reads what the supervisor tells until the database tells `what`: when, and how long each step took that led to it.
fn until_told(running: &Running, what: &str) -> (Instant, Value) {
    loop {
        let event: Value = serde_json::from_str(&running.line()).expect("an event a line");
        if event["event"] == "database" && event["what"] == what {
            return (Instant::now(), event["took"].clone());
        }
    }
}

/// Buyers that insist on each order, and when they were answered.
#[derive(Default)]
struct Counter {
    placed: Mutex<Vec<(Instant, Instant, OrderId)>>,
    /// Of each cart that was made: when that was asked, and when it was answered.
    carts: Mutex<Vec<(Instant, Instant)>>,
    is_over: AtomicBool,
}

async fn keep_buying(client: ShopClient, name: String, counter: Arc<Counter>) {
    for at in 0.. {
        if counter.is_over.load(Ordering::Relaxed) {
            return;
        }
        let made_cart = |began| counter.carts.lock().expect("a list").push((began, Instant::now()));
        let (began, order) = insist_and_tell(&client, "SAFE-1", &format!("{name}-{at}"), made_cart).await;
        counter.placed.lock().expect("a list").push((began, Instant::now(), order));
    }
}

impl Counter {
    /// When the first order was answered whose last try had begun after `moment`.
    fn first_after(&self, moment: Instant) -> Instant {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let placed = self.placed.lock().expect("a list").clone();
            let after = placed.iter().filter(|(began, _, _)| *began > moment).map(|(_, ended, _)| *ended);
            if let Some(ended) = after.min() {
                return ended;
            }
            assert!(Instant::now() < deadline, "nobody can buy any more");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Counter {
    /// How long the next `count` orders take.
    fn checkouts(&self, count: usize) -> Value {
        let known = self.placed.lock().expect("a list").len();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let placed = self.placed.lock().expect("a list").clone();
            if placed.len() >= known + count {
                let took = |(began, ended, _): &(Instant, Instant, OrderId)| (*ended - *began).as_secs_f64();
                return figures(placed[known..].iter().map(took).collect());
            }
            assert!(Instant::now() < deadline, "nobody buys");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// When the first cart was answered that was asked for after `moment`.
    fn first_cart_after(&self, moment: Instant) -> Option<Instant> {
        let carts = self.carts.lock().expect("a list");
        carts.iter().filter(|(began, _)| *began > moment).map(|(_, ended)| *ended).min()
    }
}

/// Where the time went from each blow to the next good write, in seconds.
#[derive(Default)]
struct Times(BTreeMap<&'static str, Vec<f64>>);

impl Times {
    fn note(&mut self, what: &'static str, took: Duration) {
        self.0.entry(what).or_default().push(took.as_secs_f64());
    }

    fn note_ms(&mut self, what: &'static str, ms: &Value) {
        self.note(what, Duration::from_millis(ms.as_u64().expect("milliseconds")));
    }

    fn figures(self) -> Value {
        self.0.into_iter().map(|(what, seconds)| (what, figures(seconds))).collect()
    }
}

/// Asks both nodes again and again whether they may be written, and notes each moment at which both said yes.
async fn watch_for_two_writers(
    folder: PathBuf,
    over: Arc<AtomicBool>,
    both: Arc<Mutex<Vec<String>>>,
) -> usize {
    let mut looks = 0;
    let (mut a, mut b) = (None, None);
    while !over.load(Ordering::Relaxed) {
        let (one, two) = tokio::join!(is_writable(&folder, 5432, &mut a), is_writable(&folder, 5433, &mut b));
        if let (Some((from, to)), Some((other_from, other_to))) = (one, two) {
            // Each may be written at some moment of its interval; only when they overlap can it be the same one.
            if from <= other_to && other_from <= to {
                both.lock().expect("a list").push(format!("{from:?} to {to:?}"));
            }
        }
        looks += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    looks
}

/// The interval in which the node was asked and answered that it may be written.
async fn is_writable(
    folder: &Path,
    port: u16,
    client: &mut Option<tokio_postgres::Client>,
) -> Option<(Instant, Instant)> {
    let asking = async {
        if client.as_ref().is_none_or(tokio_postgres::Client::is_closed) {
            let mut config = tokio_postgres::Config::new();
            config.host_path(folder).port(port).user("shop").dbname("postgres");
            let (fresh, connection) = config.connect(tokio_postgres::NoTls).await.ok()?;
            tokio::spawn(connection);
            *client = Some(fresh);
        }
        let from = Instant::now();
        let row = client.as_ref()?.query_one("SELECT pg_is_in_recovery()", &[]).await.ok()?;
        (!row.get::<_, bool>(0)).then(|| (from, Instant::now()))
    };
    let answer = tokio::time::timeout(Duration::from_secs(1), asking).await;
    if answer.is_err() {
        *client = None;
    }
    answer.ok().flatten()
}

/// Every order that the shop has.
async fn all_orders(client: &ShopClient, admin: &Context) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut cursor = None;
    loop {
        let filter = OrderFilter { limit: Some(100), cursor: cursor.clone(), ..OrderFilter::default() };
        let page = client.orders.admin_orders(admin, &filter).await.expect("orders");
        found.extend(page.items.iter().map(|order| order.id.to_string()));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return found;
        }
    }
}

fn figures(mut seconds: Vec<f64>) -> Value {
    seconds.sort_by(f64::total_cmp);
    let round = |value: f64| (value * 1000.0).round() / 1000.0;
    json!({"median_s": round(seconds[seconds.len() / 2]), "worst_s": round(seconds[seconds.len() - 1])})
}

#[test]
fn a_primary_that_is_killed_or_frozen_takes_nothing_acknowledged_with_it() {
    let Some(Furnished { project, runtime, running, client, staff }) = Furnished::up() else { return };
    let kills: usize =
        std::env::var("SHOPCTL_FAILOVERS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let counter = Arc::new(Counter::default());
    let (over, both) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let watcher =
        runtime.spawn(watch_for_two_writers(folder(&project), Arc::clone(&over), Arc::clone(&both)));
    let buyers: Vec<_> = (0..BUYERS)
        .map(|buyer| {
            runtime.spawn(keep_buying(client.clone(), format!("safe-{buyer}"), Arc::clone(&counter)))
        })
        .collect();
    counter.first_after(Instant::now());
    // What a checkout takes here when nothing is wrong: the same machine makes the load.
    let calm = counter.checkouts(CALM_CHECKOUTS);

    let strikes = [(Signal::KILL, kills), (Signal::STOP, kills.div_ceil(2))];
    let mut measured = Vec::new();
    for (signal, rounds) in strikes {
        let mut times = Times::default();
        for _ in 0..rounds {
            let (began, epoch) = strike(&project, signal);
            let (detected, _) = until_told(&running, "primary_lost");
            let (promoted, took) = until_told(&running, "promoted");
            let written = counter.first_after(began);
            times.note("detect", detected - began);
            for (what, step) in [("fence", "fence_ms"), ("note_epoch", "note_ms"), ("promote", "promote_ms")]
            {
                times.note_ms(what, &took[step]);
            }
            times.note("promoted", promoted - began);
            let cart = counter.first_cart_after(began).map_or(written, |cart| cart.min(written));
            times.note("services_back_after_promoted", cart.saturating_duration_since(promoted));
            times.note("checkout_after_services_back", written.saturating_duration_since(cart.max(promoted)));
            times.note("next_good_write", written - began);
            let facts = database_when(&project, |facts| {
                facts["standby"] == "synchronous" && facts["epoch"].as_u64() == Some(epoch + 1)
            });
            assert!(facts["writer_pid"].is_u64() && facts["standby_pid"].is_u64(), "{facts}");
        }
        measured.push(times.figures());
    }
    counter.is_over.store(true, Ordering::Relaxed);
    for buyer in buyers {
        runtime.block_on(buyer).expect("a buyer");
    }
    over.store(true, Ordering::Relaxed);
    let looks = runtime.block_on(watcher).expect("the watcher");
    let acknowledged: Vec<OrderId> =
        counter.placed.lock().expect("a list").iter().map(|(_, _, order)| *order).collect();
    let report = json!({
        "checkout_in_calm": calm, "killed": strikes[0].1, "frozen": strikes[1].1, "orders": acknowledged.len(), "looks_at_both": looks,
        "kill": measured[0], "freeze": measured[1],
    });
    println!("{report:#}");
    assert_eq!(*both.lock().expect("a list"), Vec::<String>::new(), "two nodes could be written at once");
    runtime.block_on(async {
        settled(&client, &staff, &acknowledged).await;
        let known: BTreeSet<String> = acknowledged.iter().map(ToString::to_string).collect();
        assert_eq!(known.len(), acknowledged.len(), "two keys had one order");
        assert_eq!(all_orders(&client, &staff).await, known, "each key has one order, and there is no other");
    });
}

#[test]
fn a_supervisor_that_dies_in_the_middle_of_a_failover_finishes_it_when_it_is_back() {
    let Some(Furnished { project, runtime, mut running, staff, .. }) = Furnished::up() else { return };
    let mut orders = Vec::new();
    for (round, moment) in ["primary_lost", "promoted"].into_iter().enumerate() {
        let client = ShopClient::new(&running.url());
        for at in 0..5 {
            let placed = runtime.block_on(buy(&client, "SAFE-1", &format!("middle-{round}-{at}")));
            orders.push(placed.expect("an order").order.id);
        }
        strike(&project, Signal::STOP);
        until_told(&running, moment);
        let all = pids_below(&folder(&project));
        running.signal(Signal::KILL);
        until_gone(&all);
        running = up(&project);
        let facts = database_when(&project, |facts| facts["standby"] == "synchronous");
        if moment == "promoted" {
            assert!(facts["epoch"].as_u64() >= Some(2), "the new epoch is kept: {facts}");
        }
    }
    let client = ShopClient::new(&running.url());
    runtime.block_on(settled(&client, &staff, &orders));
}

#[test]
fn writes_go_on_without_a_standby_that_is_away_and_count_on_it_again_when_it_is_back() {
    let Some(Furnished { project, runtime, running, client, .. }) = Furnished::up() else { return };
    let facts = database_when(&project, |facts| facts["standby"] == "synchronous");
    let node = if facts["writer"] == "a" { "b" } else { "a" };
    let frozen = pids_below(&folder(&project).join(node));
    frozen.iter().for_each(|pid| send(*pid, Signal::STOP));
    let waiting = runtime.spawn(async move { insist(&client, "SAFE-1", "patient").await });
    until_told(&running, "standby_lost");
    runtime.block_on(waiting).expect("the buyer is served");
    let status = project.run("status");
    assert!(status.stdout.contains("ALERT: the standby is away"), "{}", status.picture());
    frozen.iter().for_each(|pid| send(*pid, Signal::CONT));
    until_told(&running, "standby_back");
    database_when(&project, |facts| facts["standby"] == "synchronous");
}

/// The node that writes and the other one.
fn nodes(facts: &Value) -> (&'static str, &'static str) {
    if facts["writer"] == "a" { ("a", "b") } else { ("b", "a") }
}

/// What `node` itself answers to `sql`, which is one text.
async fn told_by(folder: &Path, node: &str, sql: &str) -> String {
    let mut config = tokio_postgres::Config::new();
    config.host_path(folder).port(if node == "a" { 5432 } else { 5433 }).user("shop").dbname("postgres");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client.query_one(sql, &[]).await.expect("a row").get(0)
}

#[test]
fn a_primary_that_starts_again_waits_for_its_standby_before_that_one_may_replace_it() {
    let Some(Furnished { project, runtime, running, client, staff }) = Furnished::up() else { return };
    let (writer, other) = nodes(&database_when(&project, |facts| facts["standby"] == "synchronous"));
    let lost = pids_below(&folder(&project).join(other));
    lost.iter().for_each(|pid| send_if_there(*pid, Signal::KILL));
    until_gone(&lost);
    for pid in pids_below(&folder(&project).join(writer)) {
        send_if_there(pid, Signal::KILL);
    }
    until_told(&running, "primary_back");
    until_told(&running, "standby_back");
    let (writer, other) = nodes(&database_when(&project, |facts| facts["standby"] == "synchronous"));
    let (names, state) = runtime.block_on(async {
        let state = "SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'";
        let names = told_by(&folder(&project), writer, "SHOW synchronous_standby_names").await;
        (names, told_by(&folder(&project), writer, state).await)
    });
    assert_eq!((names, state.as_str()), (format!("FIRST 1 ({other})"), "sync"));

    // With the standby frozen nothing is acknowledged that it does not have.
    for pid in pids_below(&folder(&project).join(other)) {
        send_if_there(pid, Signal::STOP);
    }
    let patience = Duration::from_secs(2);
    let answer = runtime
        .block_on(async { tokio::time::timeout(patience, buy(&client, "SAFE-1", "only-on-one-node")).await });
    assert!(!matches!(answer, Ok(Ok(_))), "an order was acknowledged that only the primary has");
    for pid in pids_below(&folder(&project).join(writer)) {
        send_if_there(pid, Signal::KILL);
    }
    until_told(&running, "promoted");
    runtime.block_on(async {
        let (_, order) = insist(&client, "SAFE-1", "only-on-one-node").await;
        settled(&client, &staff, &[order]).await;
    });
}

/// The process of `node` that writes checkpoints: frozen, it keeps whoever waits for one waiting.
fn checkpointer(project: &Project, node: &str) -> u32 {
    let is_it = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|said| said.contains("checkpointer"))
    };
    pids_below(&folder(project).join(node)).into_iter().find(is_it).expect("a checkpointer")
}

impl Furnished {
    /// The standby was away, and is there again; the primary is told to wait for it and does not come to an end with
    /// that, since its checkpointer hangs. Answers the writer, the other one, and the checkpointer.
    fn until_binding_hangs(&self) -> (&'static str, &'static str, u32) {
        let (writer, other) = nodes(&database_when(&self.project, |facts| facts["standby"] == "synchronous"));
        let standby = pids_below(&folder(&self.project).join(other));
        standby.iter().for_each(|pid| send_if_there(*pid, Signal::STOP));
        until_told(&self.running, "standby_lost");
        let checkpointer = checkpointer(&self.project, writer);
        send(checkpointer, Signal::STOP);
        standby.iter().for_each(|pid| send_if_there(*pid, Signal::CONT));
        let (folder, deadline) = (folder(&self.project), Instant::now() + PATIENCE);
        let names = || self.runtime.block_on(told_by(&folder, writer, "SHOW synchronous_standby_names"));
        while names().is_empty() {
            assert!(Instant::now() < deadline, "the primary was never told to wait for its standby");
            std::thread::sleep(Duration::from_millis(10));
        }
        (writer, other, checkpointer)
    }
}

#[test]
fn a_primary_that_hangs_is_missed_also_while_its_standby_is_being_bound() {
    let Some(shop) = Furnished::up() else { return };
    let (writer, _, _) = shop.until_binding_hangs();
    let began = Instant::now();
    for pid in pids_below(&folder(&shop.project).join(writer)) {
        send_if_there(pid, Signal::STOP);
    }
    let (lost, _) = until_told(&shop.running, "primary_lost");
    // The binding alone would have been waited for 30 s.
    let missed_after = lost - began;
    assert!(missed_after < Duration::from_secs(25), "{missed_after:?}");
    until_told(&shop.running, "primary_back");
    let (_, order) = shop.runtime.block_on(insist(&shop.client, "SAFE-1", "after"));
    until_told(&shop.running, "standby_back");
    shop.runtime.block_on(settled(&shop.client, &shop.staff, &[order]));
}

#[test]
fn writes_that_wait_for_a_standby_which_does_not_count_yet_are_let_go_when_it_is_away() {
    let Some(shop) = Furnished::up() else { return };
    let (_, other, checkpointer) = shop.until_binding_hangs();
    let standby = pids_below(&folder(&shop.project).join(other));
    standby.iter().for_each(|pid| send_if_there(*pid, Signal::STOP));
    // From now on the primary waits for one who is away, and nothing that is written down says so.
    send(checkpointer, Signal::CONT);
    let client = shop.client.clone();
    let waiting = shop.runtime.spawn(async move { insist(&client, "SAFE-1", "waits").await });
    until_told(&shop.running, "standby_lost");
    let (_, order) = shop.runtime.block_on(waiting).expect("the buyer is served");
    standby.iter().for_each(|pid| send_if_there(*pid, Signal::CONT));
    until_told(&shop.running, "standby_back");
    shop.runtime.block_on(settled(&shop.client, &shop.staff, &[order]));
}

/// The process that ends the server of `node` when its supervisor is gone.
fn keeper_of(project: &Project, node: &str) -> u32 {
    let is_it = |pid: &u32| {
        let said = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        said.ends_with(&format!("\0keeper\0{node}\0"))
    };
    pids_below(&folder(project)).into_iter().find(is_it).expect("a keeper")
}

#[test]
fn a_frozen_primary_that_nobody_could_end_is_gone_before_another_one_starts() {
    let Some(Furnished { project, runtime, mut running, client, staff }) = Furnished::up() else { return };
    let order = runtime.block_on(buy(&client, "SAFE-1", "before")).expect("an order").order.id;
    let (over, both) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let watcher =
        runtime.spawn(watch_for_two_writers(folder(&project), Arc::clone(&over), Arc::clone(&both)));
    let (writer, _) = nodes(&database_when(&project, |facts| facts["standby"] == "synchronous"));
    let keeper = keeper_of(&project, writer);
    send(keeper, Signal::STOP);
    let frozen = pids_below(&folder(&project).join(writer));
    frozen.iter().for_each(|pid| send_if_there(*pid, Signal::STOP));
    let services =
        running.ready()["processes"].as_array().expect("processes").iter().map(pid_of).collect::<Vec<_>>();
    running.signal(Signal::KILL);
    until_gone(&services);
    running = up(&project);
    // Whatever of it were still there would write again.
    frozen.iter().for_each(|pid| send_if_there(*pid, Signal::CONT));
    until_gone(&frozen);
    // The system may have ended it with the supervisor: a stopped group that nobody minds is hung up on.
    send_if_there(keeper, Signal::KILL);
    let client = ShopClient::new(&running.url());
    runtime.block_on(async {
        let (_, later) = insist(&client, "SAFE-1", "after").await;
        settled(&client, &staff, &[order, later]).await;
    });
    over.store(true, Ordering::Relaxed);
    assert!(runtime.block_on(watcher).expect("the watcher") > 0);
    assert_eq!(*both.lock().expect("a list"), Vec::<String>::new(), "two nodes could be written at once");
}

#[test]
fn data_whose_making_was_cut_off_is_made_anew() {
    if !postgres::is_here() {
        return;
    }
    let project = project();
    let torn = |path: &str| {
        let path = folder(&project).join(path);
        std::fs::create_dir_all(&path).expect("a folder");
        std::fs::write(path.join("PG_VERSION"), "15\n").expect("a file");
    };
    torn("a.partial/data");
    torn("b.partial/data");
    let running = up(&project);
    database_when(&project, |facts| facts["standby"] == "synchronous");
    let all = pids_below(&folder(&project));
    running.signal(Signal::KILL);
    until_gone(&all);
    // A rewind that was cut off says so; a folder that was being removed has lost some of its files.
    std::fs::write(folder(&project).join("b.rewinding"), "").expect("a file");
    std::fs::remove_dir_all(folder(&project).join("b/base")).expect("removed");
    torn("b.partial");
    let _running = up(&project);
    database_when(&project, |facts| facts["standby"] == "synchronous");
    assert!(folder(&project).join("b/base/1/PG_VERSION").exists(), "it is copied anew");
    for left in ["a.partial", "b.partial", "b.rewinding"] {
        assert!(!folder(&project).join(left).exists(), "{left} is left behind");
    }
}
