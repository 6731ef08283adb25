//! `shopctl verify`, against a shop that runs and against what it leaves behind.

use platform::storage::{Batch, Db, EngineConfig};
use platform::verify::journal::{Acknowledged, Head, JournalWriter};
use platform::vocabulary::{Env, OrderId};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::buying::place;
use crate::running::Running;
use crate::shopctl::{PATIENCE, Project, Ran, steady};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The verdicts of a document that are not `true`, by invariant.
fn not_true(ran: &Ran) -> Vec<(String, String)> {
    let document = ran.json();
    let outcomes = document["data"]["outcomes"].as_array().expect("outcomes").clone();
    let text = |value: &Value| value.as_str().expect("a word").to_owned();
    let bad = outcomes.iter().filter(|outcome| outcome["verdict"] != "true");
    bad.map(|outcome| (text(&outcome["id"]), text(&outcome["verdict"]))).collect()
}

#[test]
fn there_is_nothing_to_verify() {
    let project = Project::new();
    let ran = project.run("verify");
    assert_eq!(ran.code, 4, "{}", ran.picture());
    steady(|| insta::assert_snapshot!("verify_no_data", ran.picture()));
    steady(|| insta::assert_snapshot!("verify_unknown_id", project.run("verify --only V3,V99").picture()));
    steady(|| insta::assert_snapshot!("verify_list", project.run("verify list").picture()));
    let listed = project.run("verify list -o json").json();
    assert_eq!(listed["data"].as_array().expect("a list").len(), 21);
    assert_eq!(listed["schema"], "shopctl/v1/verify.list");
}

#[test]
fn a_shop_is_verified_while_it_runs_and_after() {
    let project = Project::new();
    let shop = Running::up(&project, &[]);
    let empty = project.run("verify");
    assert_eq!(empty.code, 17, "{}", empty.picture());
    assert!(
        empty.stderr.contains("no orders yet") && empty.stderr.contains("walkthrough"),
        "{}",
        empty.picture()
    );

    // The journal of a load run of the shop's own, where load keeps it.
    let run = project.path().join(".shopctl/local/runs/r1");
    std::fs::create_dir_all(&run).expect("a folder");
    let mut journal =
        JournalWriter::create(&run.join("journal.ndjson"), &Head::new("r1", shop.url())).expect("a journal");
    let first = runtime().block_on(place(&shop.url(), "first", false));
    journal.append(&first).expect("written");
    let running = all_kept(&project);
    assert_eq!(running["data"]["looked"]["live"], true);
    assert_eq!(running["data"]["looked"]["texts"], json!(["metrics"]));
    assert_eq!(running["data"]["orders"], 1);

    shop.signal(Signal::TERM);
    assert_eq!(shop.end().0, 143);
    let left = all_kept(&project);
    assert_eq!(left["data"]["looked"]["live"], false);
    let kept = std::fs::read(project.path().join(".shopctl/local/verify.json")).expect("the last report");
    let kept: Value = serde_json::from_slice(&kept).expect("a document");
    assert_eq!((&kept["at"], &kept["verdict"]), (&left["data"]["at"], &json!("true")));

    let lost: OrderId = Env::system().id();
    let second = Acknowledged { order_id: lost, key: "second".to_owned(), at: Env::system().now(), ..first };
    journal.append(&second).expect("written");
    let ran = project.run("verify -o json");
    assert_eq!(ran.code, 16, "{}", ran.picture());
    assert_eq!(not_true(&ran), [("V17".to_owned(), "false".to_owned())]);
    let text = project.run("verify");
    assert!(text.stdout.contains(&format!("{lost}: was acknowledged with 201")), "{}", text.picture());
    assert!(project.run("verify -o md").stdout.starts_with("| id | promise | kept |"));
    let lines = project.run("verify -o ndjson --only V1,V17");
    let events: Vec<Value> =
        lines.stdout.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let ids: Vec<&str> = events.iter().filter_map(|event| event["outcome"]["id"].as_str()).collect();
    assert_eq!((ids, lines.code), (vec!["V1", "V17"], 16), "{}", lines.picture());
    assert_eq!(events.last().expect("a verdict")["report"]["verdict"], "false");

    runtime().block_on(make_newer(&project));
    let newer = project.run("verify");
    assert_eq!(newer.code, 4, "{}", newer.picture());
    steady(|| insta::assert_snapshot!("verify_newer_data", newer.picture()));
}

/// The document of a verification in which every promise is kept, once what was under way is done.
fn all_kept(project: &Project) -> Value {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let ran = project.run("verify -o json");
        if ran.code == 0 {
            return ran.json();
        }
        // The mail may not have been handed over yet.
        assert!(std::time::Instant::now() < deadline, "{:?}", not_true(&ran));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

async fn make_newer(project: &Project) {
    let path = project.path().join(".shopctl/local/shop.db");
    let db = Db::open(&EngineConfig::Sqlite { path }).await.expect("the data");
    let mut batch = Batch::new();
    batch.run("UPDATE shop_migrations SET version = 99 WHERE service = 'bus'", vec![]);
    db.write(batch).await.expect("tomorrow's");
    db.close().await;
}

#[test]
fn watching_tells_a_verdict_a_round() {
    let project = Project::new();
    let _shop = Running::up(&project, &["--empty"]);
    let watch =
        Running::begin(&project, &["verify", "--watch", "--every", "10ms", "--only", "V1", "-o", "ndjson"]);
    for _ in 0..2 {
        let outcome: Value = serde_json::from_str(&watch.line()).expect("an event");
        assert_eq!(outcome["outcome"]["id"], "V1");
        let verdict: Value = serde_json::from_str(&watch.line()).expect("an event");
        assert_eq!(verdict["report"]["verdict"], "unknown", "an empty shop has no stock");
    }
    watch.signal(Signal::INT);
    assert_eq!(watch.end().0, 130);
}
