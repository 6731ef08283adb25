//! What only looks: `status`, `logs`, `events`.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::code;
use crate::cluster::fake::{Fake, NAMESPACE};
use crate::running::Running;
use crate::shopctl::steady;

fn followed(fake: &Fake, line: &str) -> Running {
    let words: Vec<&str> = line.split(' ').chain(["-e", "lab"]).collect();
    Running::begin(&fake.project, &words)
}

/// Waits for a line that has `word` in it.
fn until(running: &Running, word: &str) -> String {
    loop {
        let line = running.line();
        if line.contains(word) {
            return line;
        }
    }
}

fn interrupted(running: Running) {
    running.signal(Signal::INT);
    assert_eq!(running.end().0, 130);
}

#[test]
fn a_shop_that_is_well_is_told_in_a_line_a_service() {
    let fake = Fake::with_a_shop();
    let ran = fake.run("status");
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"–( +)\d+[smhd]\n", "–${1}[AGE]\n");
    settings.bind(|| steady(|| insta::assert_snapshot!("status", ran.picture())));
    let document = fake.expect(0, "status");
    assert_eq!(document["data"]["ready"], true);
    assert_eq!(document["data"]["services"].as_array().map(Vec::len), Some(6));
    let csv = fake.run("status -o csv").stdout;
    assert_eq!((csv.lines().count(), csv.lines().next().unwrap().split(',').count()), (7, 8), "{csv}");
}

#[test]
fn nobody_behind_a_service_is_an_outage_and_names_the_way_to_why() {
    let fake = Fake::with_a_shop();
    fake.lose_image("shop:1");
    for pod in fake.pods("payment") {
        fake.change(&format!("pods/{pod}"), |pod| pod["status"]["conditions"][0]["status"] = "False".into());
    }
    let ran = fake.run("status");
    assert_eq!(ran.code, 12, "{}", ran.picture());
    assert!(ran.stdout.contains("shopctl why payment-a -e lab"), "{}", ran.picture());
    let document = fake.expect(12, "status");
    let wrong = document["data"]["wrong"].as_array().expect("what is wrong");
    let payment = wrong.iter().find(|wrong| wrong["object"] == "payment-a").expect("payment");
    assert_eq!((&payment["out"], &payment["next"]), (&true.into(), &"shopctl why payment-a -e lab".into()));
}

#[test]
fn where_no_shop_is_none_is_shown() {
    let fake = Fake::new("");
    for line in ["status", "logs"] {
        let ran = fake.run(line);
        assert_eq!(ran.code, 6, "{}", ran.picture());
        assert!(ran.stderr.contains("there is no shop in the namespace shop"), "{}", ran.picture());
    }
    assert_eq!(fake.expect(2, "status --data-dir x")["errors"][0]["code"], "E-ON-KUBERNETES");
}

#[test]
fn who_holds_the_lock_is_told() {
    let fake = Fake::with_a_shop();
    fake.expect(0, "lock acquire -m freeze");
    let document = fake.expect(0, "status");
    assert_eq!(document["data"]["lock"]["command"], "lock acquire");
}

#[test]
fn a_watch_says_a_line_when_something_changes() {
    let fake = Fake::with_a_shop();
    let watching = followed(&fake, "status -w");
    assert!(watching.line().contains("order a r1 2/2"));
    fake.change("deployments/order-a", |order| order["spec"]["replicas"] = 3.into());
    until(&watching, "order a r1 3/3");
    interrupted(watching);
}

/// Two pods of the order service, and the database's.
fn with_logs() -> (Fake, Vec<String>) {
    let fake = Fake::with_a_shop();
    let order = fake.pods("order");
    let entry = |message: &str| json!({"level": "info", "service": "order", "message": message}).to_string();
    fake.write(&order[0], "2026-11-30T10:00:01.5Z", &entry("first"));
    fake.write(&order[1], "2026-11-30T10:00:02.25Z", &entry("second"));
    fake.write("postgresql-0", "2026-11-30T10:00:03Z", "database system is ready");
    fake.write(&order[0], "2026-11-30T10:00:04Z", &entry("fourth"));
    (fake, order)
}

fn messages(document: &Value) -> Vec<&str> {
    let entries = document["data"].as_array().expect("entries");
    entries.iter().filter_map(|entry| entry["message"].as_str()).collect()
}

#[test]
fn logs_of_many_pods_are_one_in_the_order_of_time() {
    let (fake, order) = with_logs();
    let all = fake.expect(0, "logs");
    assert_eq!(messages(&all), ["first", "second", "database system is ready", "fourth"]);
    assert_eq!(
        (&all["data"][1]["pod"], &all["data"][1]["timestamp"]),
        (&order[1].as_str().into(), &"2026-11-30T10:00:02.25Z".into())
    );
    assert_eq!(all["data"][2]["container"], "postgresql");
    let shown = fake.run("logs order").stdout;
    assert_eq!(shown.lines().count(), 3, "{shown}");
    assert!(shown.lines().next().unwrap().contains(&format!("{} ", order[0])), "{shown}");
}

#[test]
fn logs_are_narrowed_by_service_time_and_count() {
    let (fake, order) = with_logs();
    assert_eq!(messages(&fake.expect(0, "logs postgresql")), ["database system is ready"]);
    assert_eq!(messages(&fake.expect(0, "logs order -n 2")), ["second", "fourth"]);
    // A node compares to the second, and we to the end.
    assert_eq!(messages(&fake.expect(0, "logs order --since 2026-11-30T10:00:02.3Z")), ["fourth"]);
    let asked =
        fake.lock().asked.iter().filter(|asked| asked.path.ends_with("/log")).cloned().collect::<Vec<_>>();
    assert!(asked.iter().any(|asked| asked.query.contains("tailLines=2")), "{asked:?}");
    fake.write_before(&order[0], "2026-11-30T09:00:00Z", "thread panicked");
    fake.change(&format!("pods/{}", order[0]), |pod| {
        let container = &mut pod["status"]["containerStatuses"][0];
        container["restartCount"] = 1.into();
        container["lastState"] = json!({"terminated": {"exitCode": 101}});
    });
    assert_eq!(messages(&fake.expect(0, "logs order --previous")), ["thread panicked"]);
    assert_eq!(code(&fake.expect(2, "logs ordr")), "E-SERVICE");
}

#[test]
fn logs_that_are_followed_go_on_with_pods_that_are_new() {
    let (fake, order) = with_logs();
    let following = followed(&fake, "logs order -f");
    until(&following, "fourth");
    fake.write(&order[1], "2026-11-30T10:00:05Z", "plain words");
    assert!(until(&following, "plain words").contains(&order[1]));
    fake.change("deployments/order-a", |order| order["spec"]["template"]["spec"]["priority"] = 1.into());
    let new = fake.pods("order");
    assert_ne!(new, order);
    fake.write(&new[0], "2026-11-30T10:00:06Z", "from a new pod");
    assert!(until(&following, "from a new pod").contains(&new[0]));
    interrupted(following);
}

#[test]
fn logs_that_break_off_are_read_on_and_no_line_is_shown_twice() {
    let (fake, order) = with_logs();
    let following = followed(&fake, "logs order -f");
    until(&following, "fourth");
    fake.cut_logs();
    fake.write(&order[0], "2026-11-30T10:00:04.5Z", "after the cut");
    let next = following.line();
    assert!(next.contains("after the cut"), "{next}");
    interrupted(following);
}

fn event(fake: &Fake, about: &str, second: &str, reason: &str) {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/events/{about}.{second}");
    fake.put(
        &path,
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": format!("{about}.{second}"), "namespace": NAMESPACE},
            "involvedObject": {"kind": "Pod", "name": about}, "reason": reason, "message": "so it is",
            "type": "Warning", "count": 4, "lastTimestamp": format!("2026-11-30T10:00:{second}Z"),
        }),
    );
}

#[test]
fn events_of_the_shop_are_told_the_newest_last() {
    let fake = Fake::with_a_shop();
    let order = fake.pods("order").remove(0);
    event(&fake, &order, "09", "Unhealthy");
    event(&fake, "postgresql-0", "02", "Pulled");
    event(&fake, "somebody-else", "05", "Killing");
    let document = fake.expect(0, "events");
    let reasons: Vec<&Value> =
        document["data"]["events"].as_array().expect("events").iter().map(|one| &one["reason"]).collect();
    assert_eq!(reasons, ["Pulled", "Unhealthy"]);
    let of_order = fake.run("events order");
    assert!(
        of_order.stdout.contains("Unhealthy") && !of_order.stdout.contains("Pulled"),
        "{}",
        of_order.picture()
    );

    let watching = followed(&fake, "events order -w");
    until(&watching, "Unhealthy");
    event(&fake, &order, "11", "BackOff");
    assert!(until(&watching, "BackOff").contains("(4 times)"));
    interrupted(watching);
}
