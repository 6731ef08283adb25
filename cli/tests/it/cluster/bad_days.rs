//! Bad days: what goes wrong while a shop is changed, and that it is served all the same.
//!
//! The cluster's own parts are broken where it is the lab (`SHOPCTL_TEST_LAB` names `scripts/lab`); elsewhere these tests are
//! skipped, and say so.

use serde_json::Value;

use super::real::outcome;
use super::world::{World, lab};

/// Gates that a release of `order` is held to.
const GATES: &str = "[bake]\nrounds = 2\ninterval_s = 1\n[services.order]\ngates = [\"speed\"]\n\
                     [gates.speed]\nquery = \"p99_ms\"\nmax = 0.001\nmin_samples = 1\n";

fn why(document: &Value, service: &str) -> String {
    let rows = document["data"]["services"].as_array().expect("services");
    let row = rows.iter().find(|row| row["service"] == service).expect("the service");
    row["why"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn pods_that_never_get_ready_are_taken_back() {
    let Some(world) = World::on_a_cluster("never") else { return };
    let [one, two] = &world.images;
    world.expect(0, &format!("deploy --image {one}"));
    // It waits for a database that is nowhere, and is not ready meanwhile.
    let nowhere = "services.order.extraEnv[0].name=SHOPCTL_DATABASE_URL,services.order.extraEnv[0].value=postgres://shop@nowhere/shop";
    for strategy in ["rolling", "blue-green"] {
        let line = format!("deploy order --image {two} --set {nowhere} --strategy {strategy} --timeout 15s");
        let late = world.expect(11, &line);
        assert_eq!(outcome(&late, "order"), "rolled back", "{strategy}");
        assert!(world.served("order") > 0, "{strategy}");
    }
    world.expect(0, &format!("deploy --image {one}"));
}

#[test]
fn a_release_that_does_not_hold_what_it_should_goes_back() {
    let Some(world) = World::on_the_lab("gate", GATES) else { return };
    let [one, two] = &world.images;
    world.expect(0, &format!("deploy --image {one}"));
    let buyer = world.buyer();
    for strategy in ["rolling", "blue-green --overlap 2s"] {
        let slow = world.expect(11, &format!("deploy order --image {two} --strategy {strategy}"));
        assert_eq!(outcome(&slow, "order"), "rolled back", "{strategy}");
        assert!(why(&slow, "order").contains("gate speed: p99_ms is"), "{strategy}: {slow}");
        assert_eq!(world.selected("order").as_deref(), Some("a"), "{strategy}");
    }
    buyer.stop().went_well();
    world.keeps_its_promises();
    // Without anybody who asks there is no figure, and no figure is no pass: a person decides.
    let unclear = world.expect(0, &format!("deploy order --image {two}"));
    assert_eq!(outcome(&unclear, "order"), "paused", "{unclear}");
    world.expect(0, "rollout abort order");
    assert!(world.served("order") > 0);
}

#[test]
fn what_the_namespace_does_not_let_in_is_named_and_taken_back() {
    let Some(world) = World::on_a_cluster("refused") else { return };
    let [one, two] = &world.images;
    world.expect(0, &format!("deploy --image {one}"));
    let running = world.kubectl("get pods --field-selector=status.phase=Running -o json");
    let running = running["items"].as_array().map_or(0, Vec::len);
    // No room for the Job that brings the tables up to date; then for that, and one of two new pods.
    world.kubectl(&format!("create quota tight --hard=pods={running}"));
    let full = world.expect(11, &format!("deploy order --image {two}"));
    let said = full["errors"][0]["message"].as_str().unwrap_or_default();
    assert!(said.contains("exceeded quota"), "{full}");
    world.kubectl("delete quota tight");
    world.kubectl(&format!("create quota tight --hard=pods={}", running + 1));
    let full = world.expect(11, &format!("deploy order --image {two} --strategy blue-green"));
    assert!(why(&full, "order").contains("exceeded quota"), "{full}");
    assert!(world.served("order") > 0);
    world.kubectl("delete quota tight");

    // Somebody else's field, which our own apply leaves alone.
    world.kubectl("patch deployment order-a --field-manager=somebody --type=merge -p {\"spec\":{\"template\":{\"spec\":{\"hostNetwork\":true}}}}");
    // Its field stays on the way back too, so that a person is needed.
    let insecure = world.run(&format!("deploy order --image {two} --timeout 30s"));
    let said = String::from_utf8_lossy(&insecure.stderr);
    assert_eq!(insecure.status.code(), Some(12), "{said}");
    assert!(said.contains("violates PodSecurity"), "{said}");
    assert!(world.served("order") > 0);
}

#[test]
fn tables_that_a_newer_version_changed_stop_a_deploy_before_it_touches_what_serves() {
    let Some(world) = World::on_the_lab("tables", "") else { return };
    let [one, two] = &world.images;
    world.expect(0, &format!("deploy --image {one}"));
    world.psql("insert into shop_migrations(service,version,name,digest,applied_at) values('order',9999,'contract_away','x',now())");
    let buyer = world.buyer();
    let stopped = world.expect(11, &format!("deploy --image {two}"));
    assert_eq!(stopped["errors"][0]["code"], "E-PREPARE");
    buyer.stop().went_well();
    world.psql("delete from shop_migrations where version=9999");
    world.keeps_its_promises();
    world.expect(0, &format!("deploy --image {two}"));
}

#[test]
fn credentials_that_are_not_good_any_more_are_told_from_a_cluster_that_is_away() {
    let Some(world) = World::on_a_cluster("expired") else { return };
    let expired = world.kubeconfig_with_token("eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjF9.x");
    let refused = world
        .project
        .command(&["deploy", "-e", "lab", "-o", "json"])
        .env("SHOPCTL_KUBECONFIG", expired)
        .output();
    let refused = refused.expect("shopctl runs");
    assert_eq!(refused.status.code(), Some(5), "{}", String::from_utf8_lossy(&refused.stderr));
}

#[test]
fn two_deploys_at_once_are_one_after_the_other() {
    let Some(world) = World::on_a_cluster("two") else { return };
    let [one, two] = &world.images;
    world.expect(0, &format!("deploy --image {one}"));
    let mut first = world.begun(&format!("deploy order --image {two}"), "order:");
    let held = world.expect(7, &format!("deploy user --image {two}"));
    assert_eq!(held["errors"][0]["code"], "E-LOCKED");
    let second = world.expect(0, &format!("deploy user --image {two} --lock-wait 5m"));
    assert_eq!(outcome(&second, "user"), "released");
    assert_eq!(first.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_number_of_pods_that_an_autoscaler_chose_is_not_fought() {
    let Some(world) = World::on_a_cluster("scaled") else { return };
    let [one, two] = &world.images;
    // No target is ever met by accident: nobody scales but this test.
    let scaling = "--set autoscaling.enabled=true,services.order.autoscaling.minReplicas=1,services.order.autoscaling.maxReplicas=5";
    world.expect(0, &format!("deploy --image {one} {scaling}"));
    let mut release = world.begun(&format!("deploy order --image {two} {scaling}"), "order: update");
    world.kubectl("patch hpa order-a --type=merge -p {\"spec\":{\"minReplicas\":3}}");
    assert_eq!(release.wait().expect("it ends").code(), Some(0));
    let grown = || world.kubectl("get deployment order-a -o json")["status"]["readyReplicas"] == 3;
    assert!(world.comes(grown), "the autoscaler has its way");
}

#[test]
fn killed_at_any_phase_the_same_command_ends_it() {
    let Some(world) = World::on_the_lab("phases", "") else { return };
    let [one, two] = &world.images;
    world.expect(0, &format!("deploy --image {one}"));
    let buyer = world.buyer();
    for (turn, phase) in ["start", "overlap", "narrow", "release", "retire"].into_iter().enumerate() {
        let image = if turn % 2 == 0 { two } else { one };
        let line = format!("deploy order --image {image} --strategy blue-green --overlap 2s");
        let mut killed = world.begun(&line, &format!("order: {phase}"));
        killed.kill().expect("it runs");
        killed.wait().expect("it ends");
        world.expect(0, &format!("{line} --lock-wait 3m"));
        assert!(world.served("order") > 0, "{phase}");
        let history = world.expect(0, "history order");
        let newest = history["data"]["revisions"].as_array().and_then(|all| all.last()).expect("revisions");
        assert_eq!(
            (&newest["status"], &newest["image"]),
            (&"deployed".into(), &image.as_str().into()),
            "{phase}"
        );
    }
    buyer.stop().went_well();
    world.keeps_its_promises();
}

#[test]
fn an_api_server_that_goes_in_the_middle_is_waited_for() {
    let Some(world) = World::alone_on_the_lab("apiserver") else { return };
    let [one, two] = &world.images;
    world.expect(0, &format!("deploy --image {one}"));
    let buyer = world.buyer();
    let line = format!("deploy order --image {two} --strategy blue-green --overlap 2s");
    let mut release = world.begun(&line, "order: start");
    lab("restart apiserver");
    let code = release.wait().expect("it ends").code();
    assert!(matches!(code, Some(0 | 6)), "{code:?}");
    world.expect(0, &format!("{line} --lock-wait 3m"));
    assert_eq!(world.selected("order").as_deref(), Some("b"));
    // The nodes learn late of pods that came and went meanwhile, so that a guest may have to try again.
    buyer.stop();
    world.keeps_its_promises();
}

#[test]
fn a_database_that_is_cut_off_takes_a_release_back_and_loses_nothing() {
    let Some(world) = World::on_the_lab("database", "") else { return };
    let [one, two] = &world.images;
    world.expect(0, &format!("deploy --image {one}"));
    let buyer = world.buyer();
    let pod = format!("{}/postgresql-0", world.namespace());
    lab(&format!("partition {pod}"));
    let cut = world.run(&format!("deploy order --image {two} --timeout 20s -o json"));
    lab(&format!("heal {pod}"));
    assert_eq!(cut.status.code(), Some(13), "{}", String::from_utf8_lossy(&cut.stdout));
    world.expect(0, &format!("deploy order --image {two}"));
    buyer.stop();
    world.keeps_its_promises();
}

#[test]
fn a_node_that_is_cut_off_during_a_release_is_waited_out() {
    let Some(world) = World::alone_on_the_lab("node") else { return };
    let [one, two] = &world.images;
    world.expect(0, &format!("deploy --image {one}"));
    // Not the node of the database, whose one pod nobody can replace.
    let database = world.kubectl("get pod postgresql-0 -o json");
    let database = database["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    let node = ["node-c", "node-b"].into_iter().find(|node| *node != database).expect("another node");
    let line = format!("deploy order --image {two}");
    let mut release = world.begun(&line, "order: update");
    lab(&format!("partition {node}"));
    let code = release.wait().expect("it ends").code();
    let is_served = world.comes(|| world.served("order") > 0);
    lab(&format!("heal {node}"));
    assert!(is_served, "the pods of the other nodes serve");
    assert!(matches!(code, Some(0 | 11 | 12)), "{code:?}");
    let again = world.expect(0, &format!("{line} --lock-wait 3m"));
    assert!(["released", "none"].contains(&outcome(&again, "order")), "{again}");
    let history = world.expect(0, "history order");
    let newest = history["data"]["revisions"].as_array().and_then(|all| all.last()).expect("revisions");
    assert_eq!(newest["image"], two.as_str());
}
