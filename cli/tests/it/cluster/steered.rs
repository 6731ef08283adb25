//! Releases that a person holds, lets go on, and takes back, and a shop that helm brought out.
//!
//! On the lab only, whose Services can be reached from here.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::real::outcome;
use super::world::World;

/// Why the release of `order` stays where it is, as `rollout status` tells it.
fn why_it_stays(world: &World) -> String {
    let status = world.expect(0, "rollout status");
    let services = status["data"]["services"].as_array().expect("services");
    let order = services.iter().find(|service| service["service"] == "order").expect("order");
    order["why"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_person_holds_a_release_lets_it_go_on_and_takes_it_back() {
    let Some(world) = World::on_the_lab("steered", "") else { return };
    let [one, two] = &world.images;
    world.expect(0, &format!("deploy --image {one}"));
    let guests = world.buyer();

    let by_hand = format!("deploy order --image {two} --strategy blue-green --overlap 2s --by-hand");
    assert_eq!(outcome(&world.expect(0, &by_hand), "order"), "paused");
    assert_eq!(world.selected("order").as_deref(), Some("a"), "customers do not reach it yet");
    world.expect(0, &by_hand);
    assert_eq!(world.selected("order").as_deref(), Some("a"), "the same command again is no consent");
    assert_eq!(outcome(&world.expect(0, "rollout promote order"), "order"), "released");
    assert_eq!(world.selected("order").as_deref(), Some("b"));
    world.expect(2, "rollout promote order");

    let back = format!("deploy order --image {one} --strategy blue-green --overlap 5s");
    let mut paused = world.begun(&back, "order: overlap");
    world.expect(0, "rollout pause order --reason lunch");
    assert_eq!(paused.wait().expect("it ends").code(), Some(0));
    assert!(why_it_stays(&world).contains("lunch"), "{}", why_it_stays(&world));
    assert!(world.served("order") > 0);
    assert_eq!(outcome(&world.expect(0, "rollout promote order"), "order"), "released");
    assert_eq!(world.selected("order").as_deref(), Some("a"));

    // It is released, and the old pods are still there.
    let again = format!("deploy order --image {two} --strategy blue-green --overlap 2s");
    let mut released = world.begun(&again, "order: retire");
    world.expect(0, "rollout undo order --reason second-thoughts");
    assert_eq!(released.wait().expect("it ends").code(), Some(11));
    assert_eq!(world.selected("order").as_deref(), Some("a"));
    let history = world.expect(0, "history order");
    let newest = history["data"]["revisions"].as_array().and_then(|all| all.last()).expect("revisions");
    assert_eq!(newest["status"], "rolled-back", "{newest}");
    guests.stop().went_well();
    world.keeps_its_promises();
}

/// Installs the chart with helm, as somebody did who has it from before.
fn helm_install(world: &World, image: &str) {
    let helm = std::env::var("SHOPCTL_TEST_HELM").expect("SHOPCTL_TEST_HELM names helm");
    let (repository, tag) = image.rsplit_once(':').expect("a tag");
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/shop");
    let mut command = Command::new(helm);
    command.args(["install", "shop"]).arg(chart).args(world.cluster_words());
    command.args(["--kube-context", world.context(), "--create-namespace"]);
    command.args([
        "--set-string",
        &format!("image.repository={repository},image.tag={tag}"),
        "--wait",
        "--timeout",
        "3m",
    ]);
    if let Ok(values) = std::env::var("SHOPCTL_TEST_VALUES") {
        command.args(["--values", &values]);
    }
    let output = command.output().expect("helm runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_shop_that_helm_brought_out_is_taken_over_with_its_orders() {
    let Some(world) = World::alone_on_the_lab("helm") else { return };
    let [one, two] = &world.images;
    helm_install(&world, one);
    let guests = world.buyer();
    // Not the sandbox: on the lab its books go with its pod.
    let refused = world.expect(9, &format!("deploy --image {one}"));
    let code = refused["errors"][0]["code"].as_str().unwrap_or_default();
    assert!(["E-KUBE-FOREIGN", "E-KUBE-CONTESTED"].contains(&code), "{refused}");
    world.expect(0, &format!("deploy --image {one} --take-ownership"));
    let rolled = world.expect(0, &format!("deploy order --image {two}"));
    assert_eq!(outcome(&rolled, "order"), "released");
    guests.stop().went_well();
    world.keeps_its_promises();
    assert_eq!(world.expect(0, "drift")["data"]["drift"], Value::Array(vec![]));
    let again = world.expect(0, &format!("deploy order --image {two}"));
    assert_eq!(again["data"]["services"].as_array().map(Vec::len), Some(0), "nothing changed: {again}");
}
