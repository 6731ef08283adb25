//! `-o ndjson` of what changes a shop: each line an event with the same fields, and none is missing.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cluster::fake::Fake;
use crate::running::Running;
use crate::shopctl::Project;

/// The events of `lines`, each held to what every event has.
fn events<'a>(lines: impl IntoIterator<Item = &'a str>, env: &str) -> Vec<Value> {
    let event = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    let all: Vec<Value> = lines.into_iter().map(event).collect();
    for (event, seq) in all.iter().zip(1..) {
        assert_eq!(event["seq"], seq, "{event}");
        assert_eq!(event["env"], env, "{event}");
        assert!(event["event"].is_string(), "{event}");
        assert!(event["ts"].as_str().is_some_and(|at| at.ends_with('Z')), "{event}");
        assert!(event["run"].as_str().is_some_and(|run| !run.is_empty()), "{event}");
    }
    let runs: BTreeSet<&str> = all.iter().filter_map(|event| event["run"].as_str()).collect();
    assert_eq!(runs.len(), 1, "one command is one run");
    all
}

/// The events of `shopctl LINE`, which ends with `code`.
fn told(fake: &Fake, code: i32, line: &str) -> Vec<Value> {
    let ran = fake.run(&format!("{line} -o ndjson"));
    assert_eq!(ran.code, code, "{line}: {}", ran.picture());
    events(ran.stdout.lines(), "lab")
}

/// Whether one of them is called `event` and has `value` as its `field`.
fn has(events: &[Value], event: &str, field: &str, value: &str) -> bool {
    events.iter().any(|one| one["event"] == event && one[field] == value)
}

fn last(events: &[Value]) -> &Value {
    events.last().expect("a line")
}

#[test]
fn a_deploy_and_what_follows_it() {
    let fake = Fake::new("image = \"shop:1\"");
    let first = told(&fake, 0, "deploy");
    assert!(has(&first, "applied", "object", "Deployment/order-a"));
    assert!(has(&first, "phase", "unit", "order") && has(&first, "phase", "service", "order"));
    let end = last(&first);
    assert_eq!((&end["event"], &end["exit"]), (&"summary".into(), &0.into()));
    assert_eq!(end["services"].as_array().map(Vec::len), Some(6));
    let unchanged = told(&fake, 0, "deploy");
    assert_eq!((unchanged.len(), &unchanged[0]["event"]), (1, &"summary".into()));

    told(&fake, 0, "deploy order --image shop:2");
    let back = told(&fake, 0, "rollback order");
    assert!(has(&back, "did", "unit", "order"));
    let history = fake.expect(0, "history order");
    let newest = history["data"]["revisions"].as_array().and_then(|all| all.last()).expect("revisions");
    assert_eq!(newest["run"], last(&back)["run"], "a revision names the run that made it");

    told(&fake, 0, "deploy order --image shop:3 --strategy blue-green --by-hand");
    assert_eq!(told(&fake, 0, "rollout status").len(), 1);
    let aborted = told(&fake, 0, "rollout abort order");
    assert_eq!((last(&aborted)["event"].as_str(), &last(&aborted)["exit"]), (Some("summary"), &0.into()));
    let refused = told(&fake, 2, "rollout abort order");
    assert_eq!(
        (&refused[0]["event"], &refused[0]["errors"][0]["code"]),
        (&"failed".into(), &"E-NO-RELEASE".into())
    );
}

#[test]
fn a_shop_comes_up_and_goes_down() {
    let fake = Fake::new("image = \"shop:1\"");
    let up = told(&fake, 0, "up");
    assert!(has(&up, "applied", "object", "StatefulSet/postgresql"));
    assert_eq!(last(&up)["ready"], true);
    let down = told(&fake, 0, "down --yes");
    assert!(has(&down, "pruned", "object", "Deployment/gateway-a"));
    assert_eq!((&last(&down)["event"], &last(&down)["stopped"]), (&"summary".into(), &true.into()));
}

#[test]
fn pods_more_or_fewer_and_anew() {
    let fake = Fake::with_a_shop();
    let scaled = told(&fake, 0, "scale order=3 user=1");
    assert!(has(&scaled, "did", "unit", "order") && has(&scaled, "did", "unit", "user"));
    assert_eq!(last(&scaled)["services"][0]["pods"], 3);
    let restarted = told(&fake, 0, "restart order");
    assert!(has(&restarted, "did", "unit", "order"));
    fake.lose_image("shop:1");
    let failed = told(&fake, 12, "restart order");
    assert!(has(&failed, "waits", "unit", "order") && has(&failed, "waits", "object", "Deployment/order-a"));
    assert_eq!(last(&failed)["errors"][0]["code"], "E-NOT-WELL");
}

#[test]
fn a_shop_of_this_machine() {
    let project = Project::new();
    let shop = Running::up(&project, &["--empty"]);
    let mut lines: Vec<String> = shop.told.iter().map(Value::to_string).collect();
    shop.signal(rustix::process::Signal::TERM);
    let (code, rest) = shop.end();
    assert_eq!(code, 143);
    lines.extend(rest);
    let all = events(lines.iter().map(String::as_str), "local");
    assert_eq!(last(&all)["event"], "stopped");
}
