//! A shop on a real cluster: brought out, changed, taken back, killed in the middle, and guarded.

use serde_json::Value;

use super::world::World;

/// How the release of a service came out.
pub(super) fn outcome<'a>(document: &'a Value, service: &str) -> &'a str {
    let rows = document["data"]["services"].as_array().expect("services");
    let row = rows.iter().find(|row| row["service"] == service);
    row.and_then(|row| row["outcome"].as_str()).unwrap_or("none")
}

#[test]
fn a_shop_is_brought_out_changed_and_taken_back() {
    let Some(world) = World::on_a_cluster("life") else { return };
    let [one, two] = &world.images;
    let first = world.expect(0, &format!("deploy --image {one}"));
    for service in ["user", "product", "order", "payment", "notification", "gateway"] {
        assert_eq!(outcome(&first, service), "released", "{service}");
        assert!(world.served(service) > 0, "{service}");
    }
    let again = world.expect(0, &format!("deploy --image {one}"));
    assert_eq!(again["data"]["services"].as_array().map(Vec::len), Some(0), "nothing changed");
    assert_eq!(again["data"]["objects_changed"], 0);
    assert_eq!(
        world.expect(0, &format!("diff --image {one} --exit-code"))["data"]["changes"],
        Value::Array(vec![])
    );
    world.expect(10, &format!("diff --image {two} --exit-code"));

    let rolled = world.expect(0, &format!("deploy order --image {two}"));
    assert_eq!(outcome(&rolled, "order"), "released");
    assert_eq!(world.selected("order").as_deref(), Some("a"), "a rolling release stays in its slot");
    let moved = world.expect(0, &format!("deploy order --image {one} --strategy blue-green --overlap 2s"));
    assert_eq!(outcome(&moved, "order"), "released");
    assert_eq!(world.selected("order").as_deref(), Some("b"));
    let back = world.expect(0, "rollback order");
    assert_eq!(outcome(&back, "order"), "released");
    let history = world.expect(0, "history order");
    let newest = history["data"]["revisions"].as_array().and_then(|all| all.last()).expect("revisions");
    assert_eq!(
        (&newest["number"], &newest["rollback_of"], &newest["image"]),
        (&4.into(), &2.into(), &two.as_str().into())
    );
    let service = world.expect(0, "why order-b");
    assert_eq!(service["data"]["causes"], Value::Array(vec![]));
}

#[test]
fn what_does_not_get_well_goes_back_by_itself() {
    let Some(world) = World::on_a_cluster("bad") else { return };
    let [one, two] = &world.images;
    world.expect(0, &format!("deploy --image {one}"));
    let nowhere = world.expect(11, "deploy --image lab.local/shop:no-such-tag");
    assert_eq!(nowhere["errors"][0]["code"], "E-PREPARE");
    for strategy in ["rolling", "blue-green"] {
        let line = format!(
            "deploy order --image {two} --set services.order.extraArgs={{--nonsense}} --strategy {strategy}"
        );
        let crashed = world.expect(11, &line);
        assert_eq!(outcome(&crashed, "order"), "rolled back", "{strategy}");
        assert_eq!(world.selected("order").as_deref(), Some("a"), "{strategy}");
        assert!(world.served("order") > 0, "{strategy}");
    }
    let history = world.expect(0, "history order");
    let fates: Vec<&str> = history["data"]["revisions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|revision| revision["status"].as_str())
        .collect();
    assert_eq!(fates, ["deployed", "failed", "failed"]);
}

#[test]
fn one_deploy_at_a_time_and_one_that_was_killed_is_gone_on_with() {
    let Some(world) = World::on_a_cluster("killed") else { return };
    let [one, two] = &world.images;
    world.expect(0, &format!("deploy --image {one}"));
    world.expect(0, "lock acquire -m nobody-today");
    let held = world.expect(7, &format!("deploy --image {two}"));
    assert_eq!(held["errors"][0]["code"], "E-LOCKED");
    world.expect(0, "lock release");

    let line = format!("deploy order --image {two} --strategy blue-green --overlap 5s");
    let mut killed = world.begun(&line, "select both slots");
    killed.kill().expect("it runs");
    killed.wait().expect("it ends");
    let gone_on = world.expect(0, &format!("{line} --lock-wait 3m"));
    assert_eq!(outcome(&gone_on, "order"), "released");
    assert_eq!(world.selected("order").as_deref(), Some("b"));
    assert!(world.served("order") > 0);
}

#[test]
fn what_others_changed_is_seen_and_not_trodden_on() {
    let Some(world) = World::on_a_cluster("others") else { return };
    let one = &world.images[0];
    world.expect(0, &format!("deploy --image {one}"));
    world.kubectl("delete service payment");
    world.kubectl("delete poddisruptionbudget user");
    let restored = world.expect(0, &format!("deploy --image {one}"));
    assert_eq!(restored["data"]["objects_changed"], 2);
    assert!(world.served("payment") > 0);

    world.kubectl("patch configmap product-a --field-manager=somebody --type=merge -p {\"data\":{\"SHOPD_LOG\":\"trace\"}}");
    world.kubectl("patch deployment product-a --field-manager=somebody --type=merge -p {\"spec\":{\"minReadySeconds\":7}}");
    let contested = world.expect(9, &format!("deploy --image {one}"));
    assert_eq!(contested["errors"][0]["code"], "E-KUBE-CONTESTED");
    world.expect(0, &format!("deploy --image {one} --take-ownership"));

    let other = world.project.run("history -e lab");
    assert_eq!(other.code, 0);
    let wrong =
        world.project.command(&["deploy", "-e", "lab"]).env("SHOPCTL_CLUSTER_UID", "another").output();
    assert_eq!(
        wrong.expect("shopctl runs").status.code(),
        Some(18),
        "another cluster than the one that is meant"
    );
    let protected = world.project.command(&["deploy", "-e", "lab"]).env("SHOPCTL_PROTECTED", "true").output();
    assert_eq!(protected.expect("shopctl runs").status.code(), Some(8), "nobody was asked");
}
