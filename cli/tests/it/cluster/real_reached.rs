//! A shop on a real cluster, reached from here: an order is placed through a forwarded port, its promises are checked, its
//! operator looks, and it is put under load.

use std::path::PathBuf;
use std::time::Instant;

use platform::verify::journal::{Acknowledged, Head, JournalWriter};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::world::World;
use crate::buying::place;
use crate::load::GUESTS;
use crate::running::Running;
use crate::shopctl::PATIENCE;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// A journal that promises `orders`.
fn journal(world: &World, orders: &[Acknowledged]) -> PathBuf {
    let path = world.project.path().join("promised.ndjson");
    let mut writer = JournalWriter::create(&path, &Head::new("by hand", "the lab")).expect("a journal");
    orders.iter().for_each(|order| writer.append(order).expect("written"));
    path
}

/// The sagas of the shop, once all of them are over.
fn sagas_when_over(world: &World) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let sagas = world.expect(0, "saga list")["data"].as_array().expect("sagas").clone();
        if !sagas.is_empty() && sagas.iter().all(|saga| saga["state"] == "completed") {
            return sagas;
        }
        assert!(Instant::now() < deadline, "they never end: {sagas:?}");
    }
}

fn outcome<'a>(report: &'a Value, id: &str) -> &'a Value {
    let outcomes = report["outcomes"].as_array().expect("outcomes");
    outcomes.iter().find(|outcome| outcome["id"] == id).expect("it was looked at")
}

fn names(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn a_shop_on_a_cluster_is_reached_like_a_local_one() {
    let Some(world) = World::on_a_cluster("reached") else { return };
    let one = &world.images[0];
    world.expect(0, &format!("deploy --image {one} --set limits=none"));

    let open = Running::begin(&world.project, &["open", "storefront", "-e", "lab", "--print"]);
    let url = open.line();
    let order = runtime().block_on(place(url.trim_end_matches('/'), "reached-1", false));
    open.signal(Signal::INT);
    assert_eq!(open.end().0, 130);

    let sagas = world.expect(0, "saga list");
    let saga = &sagas["data"][0];
    assert_eq!(
        (&saga["order_id"], &saga["state"]),
        (&order.order_id.to_string().into(), &"completed".into())
    );
    world.expect(0, &format!("saga show {}", order.order_id));
    assert_eq!(world.expect(0, "dlq list")["data"], json!([]));
    assert_eq!(world.expect(0, "breaker list")["data"][0]["state"], "closed");

    let journal = journal(&world, &[order]);
    let found = world.expect(0, &format!("verify --journal {}", journal.display()))["data"].clone();
    assert_eq!((&found["verdict"], &found["orders"]), (&"true".into(), &1.into()), "{found}");
    assert_eq!((&found["looked"]["engine"], &found["looked"]["live"]), (&"postgres".into(), &true.into()));
    assert_eq!(outcome(&found, "V9")["verdict"], "true", "the sandbox told its statement");
    assert_eq!(outcome(&found, "V17")["counts"]["acknowledged"], 1);
    for service in ["user", "product", "order", "payment", "notification", "gateway"] {
        let logs = names(&found["looked"]["logs"]);
        assert!(logs.iter().any(|pod| pod.starts_with(&format!("{service}-a-"))), "{service} in {logs:?}");
        let texts = names(&found["looked"]["texts"]);
        assert!(
            texts.iter().any(|text| text.starts_with(&format!("metrics of {service}-a-"))),
            "{service} in {texts:?}"
        );
    }

    world.project.write("guests.toml", GUESTS);
    let ran = world.run("load run --file guests.toml -o json");
    let run: Value = serde_json::from_slice(&ran.stdout).expect("a document");
    assert_eq!(ran.status.code(), Some(0), "{run}");
    assert_eq!(run["data"]["verify"]["verdict"], "true");
    let placed = run["data"]["journal"]["orders"].as_u64().expect("a count");
    let again = world.expect(0, "verify --only V17")["data"].clone();
    assert_eq!(outcome(&again, "V17")["counts"]["acknowledged"], placed, "runs on the environment are known");
}

#[test]
fn a_forwarded_port_outlives_a_release() {
    let Some(world) = World::on_a_cluster("forward") else { return };
    let [one, two] = &world.images;
    world.expect(0, &format!("deploy --image {one} --set limits=none"));
    let open = Running::begin(&world.project, &["open", "storefront", "-e", "lab", "--print"]);
    let url = open.line();
    let url = url.trim_end_matches('/');
    let first = runtime().block_on(place(url, "forward-1", false));
    let line = format!("deploy gateway --image {two} --set limits=none --strategy blue-green --overlap 2s");
    world.expect(0, &line);
    assert_eq!(world.selected("gateway").as_deref(), Some("b"));
    let second = runtime().block_on(place(url, "forward-2", false));
    open.signal(Signal::INT);
    assert_eq!(open.end().0, 130);
    assert_eq!(sagas_when_over(&world).len(), 2);
    let journal = journal(&world, &[first, second]);
    let found = world.expect(0, &format!("verify --journal {}", journal.display()))["data"].clone();
    assert_eq!((&found["orders"], &outcome(&found, "V17")["counts"]["acknowledged"]), (&2.into(), &2.into()));
}
