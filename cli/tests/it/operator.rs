//! The operator's commands, against a shop that runs: as its owner from the data folder, and as staff by a token.

use platform::client::{Operator, ShopClient, user::Login};
use platform::storage::{Batch, Db, EngineConfig};
use platform::testing::postgres;
use platform::vocabulary::Env;
use rustix::process::Signal;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::buying::place;
use crate::pieces::shop::project;
use crate::running::Running;
use crate::shopctl::{Project, Ran, steady};

const LETTERS: [Uuid; 3] = [Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3)];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

fn folder(project: &Project) -> std::path::PathBuf {
    project.path().join(".shopctl/local")
}

async fn data(project: &Project) -> Db {
    Db::open(&EngineConfig::Sqlite { path: folder(project).join("shop.db") }).await.expect("the data")
}

/// What the audit of `service` says: (actor, action, what is known of it after).
async fn audit(project: &Project, service: &str) -> Vec<(String, String, Value)> {
    let db = data(project).await;
    let sql = format!("SELECT actor, action, after FROM {service}_audit ORDER BY at, id");
    let rows = db.read(&sql, vec![]).await.expect("the audit");
    let rows = rows.iter().map(|row| {
        let text = |name: &str| row.get::<String>(name).expect("text");
        (text("actor"), text("action"), row.get("after").expect("json"))
    });
    let rows = rows.collect();
    db.close().await;
    rows
}

fn stop(shop: Running) {
    shop.signal(Signal::TERM);
    assert_eq!(shop.end().0, 143);
}

fn ok(ran: Ran) -> Ran {
    assert_eq!(ran.code, 0, "{}", ran.picture());
    ran
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + crate::shopctl::PATIENCE;
    while !is_so().await {
        assert!(std::time::Instant::now() < deadline, "{what} never came true");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[test]
fn an_empty_shop_has_nothing_to_operate_and_says_so() {
    let project = Project::new();
    let _shop = Running::up(&project, &["--empty"]);
    for line in
        ["saga list", "saga list --state stuck", "dlq list", "dlq redrive --all --reason drill --apply"]
    {
        let ran = ok(project.run(line));
        let name = format!("empty_{}", line.replace(|letter: char| !letter.is_alphanumeric(), "_"));
        steady(|| insta::assert_snapshot!(name, ran.picture()));
        let document = project.run(&format!("{line} -o json")).json();
        assert_eq!((&document["ok"], &document["exit"]), (&json!(true), &json!(0)), "{line}");
    }
    let breakers = ok(project.run("breaker list -o json")).json();
    let names: Vec<&str> = breakers["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, ["stripe-authorize", "stripe-settle"]);
}

#[test]
fn mistakes_are_told_with_the_next_thing_to_do() {
    let project = Project::new();
    let nobody = project.run("saga list");
    assert_eq!(nobody.code, 6, "{}", nobody.picture());
    let shop = Running::up(&project, &["--empty"]);
    let cases = [
        (2, "saga show 0199f3a2-7c1e-7cc3-98c4-dc0c0c07398f".to_owned()),
        (2, "saga show K7-93QX-2M4D".to_owned()),
        (2, "saga retry 0199f3a2-7c1e-7cc3-98c4-dc0c0c07398f".to_owned()),
        (2, "dlq show 0199f3a2-7c1e-7cc3-98c4-dc0c0c07398f".to_owned()),
        (2, "dlq redrive --reason drill".to_owned()),
        (2, "dlq redrive --all --queue x --reason drill".to_owned()),
        (2, "breaker open stripe-authorise --reason drill".to_owned()),
        (2, "saga list --state stcuk".to_owned()),
        (5, format!("saga list --url {}", shop.url())),
        (18, "breaker list --url http://shop.example".to_owned()),
        (6, "breaker list --url http://127.0.0.1:9".to_owned()),
    ];
    let told = cases.map(|(code, line)| {
        let with_token = (code != 5).then_some(("SHOPCTL_TOKEN", "eyJ.eyJ.x"));
        let mut command = project.command(&line.split(' ').collect::<Vec<_>>());
        let output = command.envs(with_token).output().expect("it runs");
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(code), "{line}: {stderr}");
        format!("$ shopctl {line}\n{stderr}\n")
    });
    steady(|| insta::assert_snapshot!("operator_mistakes", told.concat()));
    let forged =
        project.command(&["saga", "list", "--url", &shop.url()]).env("SHOPCTL_TOKEN", "eyJ.eyJ.x").output();
    let forged = forged.expect("it runs");
    assert_eq!(forged.status.code(), Some(5), "{}", String::from_utf8_lossy(&forged.stderr));
}

#[test]
fn a_waiting_saga_is_shown_tried_again_and_given_up() {
    let project = Project::new();
    let shop = Running::up(&project, &[]);
    let runtime = runtime();
    ok(project.run("breaker open stripe-authorize --reason drill --apply"));
    let order = runtime.block_on(async {
        let order = place(&shop.url(), "one", true).await.order_id;
        until("the payment waits", async || {
            let saga = project.run(&format!("saga show {order} -o json")).json();
            saga["data"][0]["step"] == "authorize" && saga["data"][0]["attempt"].as_i64() > Some(0)
        })
        .await;
        order
    });
    let listed = ok(project.run("saga list --state running -o json")).json();
    assert_eq!(listed["data"][0]["order_id"], json!(order));
    let shown = ok(project.run(&format!("saga show {order}")));
    assert!(
        shown.stdout.contains("checkout of order") && shown.stdout.contains("reserve"),
        "{}",
        shown.picture()
    );

    let tried = ok(project.run(&format!("saga compensate {order} --reason drill -o json"))).json();
    assert_eq!((&tried["data"]["applied"], &tried["data"]["saga"]), (&json!(false), &Value::Null));
    let mut applied = Value::Null;
    runtime.block_on(until("it is tried again", async || {
        let ran = project.run(&format!("saga retry {order} --reason drill --apply -o json"));
        assert!(
            [0, 9].contains(&ran.code),
            "9 is the instant at which it is tried anyway: {}",
            ran.picture()
        );
        applied = ran.json()["data"]["applied"].clone();
        ran.code == 0
    }));
    assert_eq!(applied, true);
    let given_up = ok(project.run(&format!("saga compensate {order} --reason drill --apply")));
    assert!(given_up.stdout.contains("given up"), "{}", given_up.picture());
    runtime.block_on(async {
        until("it is undone", async || {
            let saga = project.run(&format!("saga show {order} -o json")).json();
            saga["data"]
                .as_array()
                .expect("sagas")
                .iter()
                .all(|saga| ["completed", "compensated"].contains(&saga["state"].as_str().expect("a state")))
        })
        .await;
        let operator = Operator::of_folder(&shop.url(), &folder(&project), "test").expect("the owner");
        let acting = operator.acting(&[platform::vocabulary::Role::Ops]);
        let ended = operator.shop().orders.admin_order(&acting, order).await.expect("the order");
        assert_eq!(serde_json::to_value(ended.order.status).expect("a word"), "cancelled");
    });
    let over = project.run(&format!("saga retry {order} --reason drill --apply"));
    assert_eq!(over.code, 9, "{}", over.picture());
    let log = std::fs::read_to_string(folder(&project).join("shop.log")).expect("a log");
    assert!(!log.contains("op_eyJ"), "a pass is in the log");
    stop(shop);
    let acts = runtime.block_on(audit(&project, "order"));
    let names: Vec<&str> = acts.iter().map(|(_, action, _)| action.as_str()).collect();
    assert_eq!(names, ["saga_retry", "saga_compensate"], "what was only tried is no act");
    assert!(acts.iter().all(|(actor, ..)| actor.starts_with("operator ")), "{acts:?}");
    assert_eq!(acts[0].2["reason"], "drill");
}

#[test]
fn a_breaker_is_held_open_until_it_is_closed_by_staff_too() {
    let project = Project::new();
    let shop = Running::up(&project, &["--empty"]);
    let state = || {
        let list = project.run("breaker list -o json").json();
        list["data"][0]["state"].as_str().expect("a state").to_owned()
    };
    let open = "breaker open stripe-authorize --reason maintenance";
    let tried = ok(project.run(open));
    assert!(tried.stderr.contains("add --apply"), "{}", tried.picture());
    assert_eq!(state(), "closed");
    ok(project.run(&format!("{open} --apply")));
    assert_eq!(state(), "open");
    let held = ok(project.run("breaker list"));
    assert!(
        held.stdout.contains("maintenance") && held.stderr.contains("breaker close"),
        "{}",
        held.picture()
    );

    let token = runtime().block_on(async {
        let client = ShopClient::new(&shop.url());
        let word = |field: &str| shop.ready()["admin"][field].as_str().expect("the admin").to_owned();
        let login = Login { email: word("email"), password: word("password") };
        client.users.login(&client.anonymous(), &login).await.expect("signed in").access_token
    });
    project.write("token", &token);
    let path = project.path().join("token");
    let url = shop.url();
    let words = ["breaker", "close", "stripe-authorize", "--reason", "over", "--apply", "--url", &url];
    let closed = project.command(&words).env("SHOPCTL_TOKEN_FILE", path).output().expect("it runs");
    assert!(closed.status.success(), "{}", String::from_utf8_lossy(&closed.stderr));
    assert_eq!(state(), "closed");
    stop(shop);
    let acts = runtime().block_on(audit(&project, "payment"));
    assert_eq!(acts.len(), 2, "{acts:?}");
    assert!(acts[0].0.starts_with("operator ") && acts[1].0.parse::<Uuid>().is_ok(), "{acts:?}");
}

/// Three letters that died long ago, of a kind that nobody minds.
async fn kill_letters(project: &Project) {
    let db = data(project).await;
    let env = Env::system();
    for id in LETTERS {
        let mut batch = Batch::new();
        batch.one(
            "letter",
            "INSERT INTO bus_dead_letters (id, queue, event_id, topic, kind, aggregate, aggregate_seq, body, sent_at, \
             receives, redrives, reason, dead_at) \
             VALUES ($1, 'notification', $2, 'order', 'order_teleported', $3, 1, $4, $5, 5, 0, 'no such kind', $5)",
            vec![id.into(), env.uuid().into(), env.uuid().into(), json!({}).into(), env.now().into()],
        );
        db.write(batch).await.expect("written");
    }
    db.close().await;
}

#[test]
fn dead_letters_are_seen_put_back_and_given_up() {
    let project = Project::new();
    stop(Running::up(&project, &["--empty"]));
    let runtime = runtime();
    runtime.block_on(kill_letters(&project));
    let shop = Running::up(&project, &["--empty"]);
    let count = |line: &str| {
        let list = ok(project.run(&format!("{line} -o json"))).json();
        list["data"].as_array().expect("a list").len()
    };
    assert_eq!(count("dlq list"), 3);
    assert_eq!((count("dlq list --limit 2"), count("dlq list --queue product")), (2, 0));
    let shown = ok(project.run(&format!("dlq show {}", LETTERS[0])));
    assert!(shown.stdout.contains("no such kind"), "{}", shown.picture());

    let tried = ok(project.run("dlq discard --kind order_teleported --reason drill"));
    assert!(tried.stderr.contains("3 would be given up"), "{}", tried.picture());
    assert_eq!(count("dlq list"), 3);
    let gone = ok(project.run(&format!("dlq discard {} --reason drill --apply", LETTERS[0])));
    assert!(gone.stderr.contains("1 were given up"), "{}", gone.picture());
    assert_eq!(project.run(&format!("dlq show {}", LETTERS[0])).code, 2);
    let event = project.run(&format!("dlq show {} -o json", LETTERS[1])).json()["data"]["event_id"].clone();
    let back =
        ok(project.run("dlq redrive --queue notification --reason mended --rate 10 --apply -o json")).json();
    assert_eq!(back["data"]["moved"], json!([LETTERS[1], LETTERS[2]]), "{back}");
    stop(shop);

    runtime.block_on(async {
        let db = data(&project).await;
        let sql = "SELECT event_id FROM bus_messages WHERE id = $1 UNION ALL SELECT event_id FROM bus_dead_letters WHERE id = $1";
        let rows = db.read(sql, vec![LETTERS[1].into()]).await.expect("rows");
        if let Some(row) = rows.first() {
            assert_eq!(json!(row.get::<Uuid>("event_id").expect("an id")), event, "the event keeps its id");
        }
        let sql = "SELECT discard_reason FROM bus_dead_letters WHERE id = $1";
        let row = db.read(sql, vec![LETTERS[0].into()]).await.expect("rows").remove(0);
        assert_eq!(row.get::<String>("discard_reason").expect("text"), "drill");
        db.close().await;
        let acts = audit(&project, "notification").await;
        let names: Vec<&str> = acts.iter().map(|(_, action, _)| action.as_str()).collect();
        assert_eq!(names, ["dlq_discard", "dlq_redrive", "dlq_redrive"], "one a second's tenth");
    });
}

/// How long anything takes is for the claim; what becomes of the orders holds on any machine.
#[test]
fn an_outage_of_the_provider_loses_no_order_and_charges_none_twice() {
    let project = Project::new();
    for mode in ["refuse", "blackhole"] {
        let ran = project.run(&format!("bench outage --mode {mode} --duration 3s --lanes 25 -o json"));
        assert!([0, 14].contains(&ran.code), "{}", ran.picture());
        let data = &ran.json()["data"];
        for promise in ["other_answers", "unconfirmed", "charged_twice", "not_charged"] {
            assert_eq!(data[promise], 0, "{promise} in {data}");
        }
        assert!(data["breaker_opened_ms"].is_number() && data["recovered_ms"].is_number(), "{data}");
        assert!(data["orders"].as_u64() > Some(10), "{data}");
    }
}

/// What comes out is for the documentation; that both run on one server, and that nothing of it is left, holds anywhere.
#[test]
fn the_shop_and_pgbench_take_turns_on_a_server_that_is_gone_afterwards() {
    if !postgres::is_here() {
        return;
    }
    let project = project();
    let ran = project.run("bench postgres --buyers 4 --orders 12 --warm-up 4 --rounds 2 --seconds 1 -o json");
    assert_eq!(ran.code, 0, "{}", ran.picture());
    let data = &ran.json()["data"];
    assert_eq!((&data["failed"], data["rounds"].as_array().map(Vec::len)), (&json!(0), Some(2)), "{data}");
    for figure in ["orders_per_second", "pgbench_per_second", "ratio", "server_cpu_us_per_order"] {
        assert!(data[figure].as_f64() > Some(0.0), "{figure} in {data}");
    }
    let left: Vec<_> =
        std::fs::read_dir(project.path().join(".shopctl")).expect("a folder").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}
