//! A shop that is loaded while it is changed, while a node is emptied or lost, and while its autoscalers work.
//!
//! On the lab only, whose Services can be reached from here. Each test prints what the guests met; the figures stand in
//! docs/performance.md.

use std::time::{Duration, Instant};

use platform::vocabulary::Env;
use serde_json::Value;

use super::real::outcome;
use super::world::{Bought, World, lab};

const SERVICES: [&str; 6] = ["user", "product", "order", "payment", "notification", "gateway"];

/// The longest that a release of one service by turns of blue and green takes, to draw a moment from.
const RELEASE: Duration = Duration::from_secs(40);

#[expect(clippy::print_stderr, reason = "figures of a test that is run for them")]
fn tell(what: &str, met: &Bought) {
    let Bought { requests, orders, failed, record } = met;
    let p99_ms = |step: &str| {
        let steps = record["steps"].as_array().into_iter().flatten();
        let found =
            steps.filter(|one| one["step"] == step).find_map(|one| one["response"]["p99_us"].as_f64());
        found.map_or("-".to_owned(), |us| format!("{:.0} ms", us / 1000.0))
    };
    eprintln!(
        "{what}: {requests} requests, {orders} orders, failed {failed:?}, p99 of the catalogue {}, of checkout {}",
        p99_ms("catalogue"),
        p99_ms("checkout")
    );
}

#[test]
fn each_service_is_released_both_ways_and_no_guest_notices() {
    let Some(world) = World::on_the_lab("each", "") else { return };
    let [one, two] = &world.images;
    world.expect(0, &format!("deploy --image {one}"));
    let guests = world.load("mixed --rate 10 --duration 1h");
    for service in SERVICES {
        let rolled = world.expect(0, &format!("deploy {service} --image {two}"));
        assert_eq!(outcome(&rolled, service), "released");
        let line = format!("deploy {service} --image {one} --strategy blue-green --overlap 2s");
        let moved = world.expect(0, &line);
        assert_eq!(outcome(&moved, service), "released");
        assert_eq!(world.selected(service).as_deref(), Some("b"));
    }
    let met = guests.stop();
    tell("six services released rolling and blue-green", &met);
    met.went_well();
    world.keeps_its_promises();
}

#[test]
fn killed_at_any_instant_the_same_command_ends_it() {
    let Some(world) = World::on_the_lab("instants", "") else { return };
    let [one, two] = &world.images;
    world.expect(0, &format!("deploy --image {one}"));
    let kills = std::env::var("SHOPCTL_KILLS").map_or(3, |kills| kills.parse().expect("a number"));
    let moments = Env::system();
    let guests = world.load("checkout --rate 2 --duration 2h");
    for turn in 0..kills {
        let image = if turn % 2 == 0 { two } else { one };
        let line = format!("deploy order --image {image} --strategy blue-green --overlap 2s");
        let after = RELEASE.mul_f64(moments.fraction());
        let mut killed = world.spawn(&line);
        std::thread::sleep(after);
        // It may have come to its end before.
        killed.kill().ok();
        killed.wait().expect("it ends");
        assert!(world.served("order") > 0, "neither old nor new, killed after {after:?}");
        world.expect(0, &format!("{line} --lock-wait 3m"));
        assert!(world.served("order") > 0, "killed after {after:?}");
        let history = world.expect(0, "history order");
        let newest = history["data"]["revisions"].as_array().and_then(|all| all.last()).expect("revisions");
        let ended = (&newest["status"], &newest["image"]);
        assert_eq!(ended, (&"deployed".into(), &image.as_str().into()), "killed after {after:?}");
    }
    let met = guests.stop();
    tell(&format!("{kills} releases killed at any instant"), &met);
    met.went_well();
    world.keeps_its_promises();
}

#[test]
fn a_node_is_emptied_and_no_guest_notices() {
    let Some(world) = World::alone_on_the_lab("drained") else { return };
    let one = &world.images[0];
    world.expect(0, &format!("deploy --image {one}"));
    let node = node_without_data(&world);
    let guests = world.load("checkout --rate 5 --duration 1h");
    let began = Instant::now();
    world.kubectl(&format!("drain {node} --ignore-daemonsets --delete-emptydir-data --force --timeout=120s"));
    let is_whole = world.comes(|| is_whole(&world));
    let took = began.elapsed();
    world.kubectl(&format!("uncordon {node}"));
    assert!(is_whole, "the other nodes have the pods");
    let met = guests.stop();
    tell(&format!("{node} emptied, whole after {:.0} s", took.as_secs_f64()), &met);
    met.went_well();
    world.keeps_its_promises();
}

#[test]
fn a_node_that_is_lost_is_replaced_and_no_order_is_lost() {
    let Some(world) = World::alone_on_the_lab("lost") else { return };
    let one = &world.images[0];
    world.expect(0, &format!("deploy --image {one}"));
    let node = node_without_data(&world);
    let guests = world.load("checkout --rate 5 --duration 1h --timeout 5s");
    let began = Instant::now();
    lab(&format!("partition {node}"));
    let is_replaced = world.comes(|| pods_on(&world, &node).is_empty() && is_whole(&world));
    let took = began.elapsed();
    lab(&format!("heal {node}"));
    assert!(is_replaced, "its pods run elsewhere");
    let met = guests.stop();
    tell(&format!("{node} lost, whole after {:.0} s", took.as_secs_f64()), &met);
    world.keeps_its_promises();
}

#[test]
fn autoscalers_follow_the_load_and_no_release_fights_them() {
    let Some(world) = World::alone_on_the_lab("autoscaled") else { return };
    let [one, two] = &world.images;
    let scaling = "--set metrics.enabled=true,autoscaling.enabled=true,autoscaling.external=true,\
                   autoscaling.scaleDownSeconds=15,services.order.resources.requests.cpu=10m,\
                   services.user.autoscaling.maxReplicas=2,services.product.autoscaling.maxReplicas=2,\
                   services.payment.autoscaling.maxReplicas=2,services.notification.autoscaling.maxReplicas=2,\
                   services.gateway.autoscaling.maxReplicas=4,services.order.autoscaling.maxReplicas=4";
    let _answer = ExternalMetrics { world: &world };
    world.expect(0, &format!("deploy --image {one} {scaling}"));
    let pods =
        || world.kubectl("get deployment order-a -o json")["spec"]["replicas"].as_u64().unwrap_or_default();
    let own_metric = || {
        let scaler = world.kubectl("get hpa order-a -o json");
        let seen = scaler["status"]["currentMetrics"].as_array().cloned().unwrap_or_default();
        seen.iter().any(|metric| metric["external"]["metric"]["name"] == "saga_inflight")
    };
    assert!(world.comes(own_metric), "the shop's own metric is read");
    let mut guests = world.load("spike --rate 5");
    let grown = world.comes(|| pods() > 2);
    assert!(grown, "nobody scaled: {}", world.kubectl("get hpa order-a -o json")["status"]);
    let before = pods();
    world.expect(0, &format!("deploy product --image {two} {scaling}"));
    let mut most = before.max(pods());
    assert!(pods() >= before, "a release of another service took pods away");
    while guests.is_under_way() {
        most = most.max(pods());
        std::thread::sleep(Duration::from_secs(1));
    }
    let met = guests.end();
    tell(&format!("spike, 2 to {most} pods of order"), &met);
    assert!(world.comes(|| pods() == 2), "the load is over");
    met.went_well();
    world.keeps_its_promises();
}

/// Who answers for the metrics of the whole cluster while a test goes on; nobody does after it, since the namespace goes.
struct ExternalMetrics<'a> {
    world: &'a World,
}

impl Drop for ExternalMetrics<'_> {
    fn drop(&mut self) {
        self.world.clear_away("apiservice", "v1beta1.external.metrics.k8s.io");
    }
}

/// A node that has neither the database nor the sandbox's data, whose one pod each nobody can replace.
fn node_without_data(world: &World) -> String {
    let pods = world.kubectl("get pods -o json");
    let holders: Vec<&str> = pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pod| pod["metadata"]["name"].as_str().is_some_and(|name| !is_of_a_service(name)))
        // What only migrated the tables is over, wherever it was.
        .filter(|pod| pod["status"]["phase"] == "Running")
        .filter_map(|pod| pod["spec"]["nodeName"].as_str())
        .collect();
    let free = ["node-c", "node-b", "node-a"].into_iter().find(|node| !holders.contains(node));
    free.expect("three nodes, two with data").to_owned()
}

fn is_of_a_service(pod: &str) -> bool {
    SERVICES.iter().any(|service| pod.starts_with(&format!("{service}-a-")))
}

/// The pods of services on `node` that are not on their way out.
fn pods_on(world: &World, node: &str) -> Vec<String> {
    let pods = world.kubectl(&format!("get pods --field-selector spec.nodeName={node} -o json"));
    let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    let pods = pods["items"].as_array().into_iter().flatten().filter(stays);
    pods.filter_map(|pod| {
        pod["metadata"]["name"].as_str().filter(|name| is_of_a_service(name)).map(str::to_owned)
    })
    .collect()
}

/// Whether every service has all its pods ready.
fn is_whole(world: &World) -> bool {
    let deployments = world.kubectl("get deployments -o json");
    let mut all = deployments["items"].as_array().into_iter().flatten();
    all.all(|one| {
        one["status"]["readyReplicas"].as_u64().unwrap_or_default()
            >= one["spec"]["replicas"].as_u64().unwrap_or(1)
    })
}
