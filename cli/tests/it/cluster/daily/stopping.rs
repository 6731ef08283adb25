//! `down`: all that a deploy made goes, what cannot be made again stays.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::code;
use crate::cluster::fake::Fake;
use crate::shopctl::PATIENCE;

/// What is in the namespace after a `down` that keeps the data.
const KEPT: [&str; 6] = [
    "PersistentVolumeClaim/data-fakepay-0",
    "PersistentVolumeClaim/data-postgresql-0",
    "Secret/shop-admin",
    "Secret/shop-database",
    "Secret/shop-secrets",
    "Secret/shopctl-set",
];

#[test]
fn everything_goes_but_the_data_and_what_opens_it() {
    let fake = Fake::with_a_shop();
    let secret = fake.object("secrets/shop-database").expect("a Secret");
    let ran = fake.run("down --yes");
    assert_eq!(ran.code, 0, "{}", ran.picture());
    assert_eq!(fake.names(), KEPT);
    for word in
        ["data-postgresql-0", "shop-database", "Namespace/shop", "down -e lab --volumes --confirm lab"]
    {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.picture());
    }
    let again = fake.expect(0, "down --yes");
    assert_eq!((&again["data"]["stopped"], &again["data"]["objects_removed"]), (&false.into(), &0.into()));
    assert_eq!(fake.names(), KEPT, "nothing more goes");

    fake.expect(0, "deploy");
    assert_eq!(fake.object("secrets/shop-database").expect("it is kept")["data"], secret["data"]);
    assert_eq!(fake.expect(0, "status")["data"]["ready"], true);
}

#[test]
fn the_public_face_goes_first_and_the_database_after_its_writers() {
    let fake = Fake::with_a_shop();
    fake.expect(0, "down --yes");
    let deleted: Vec<String> = fake
        .writes()
        .into_iter()
        .filter(|asked| asked.method == "DELETE")
        .filter_map(|asked| Some(asked.path.split_once("/namespaces/shop/")?.1.to_owned()))
        .collect();
    let at = |path: &str| {
        deleted.iter().position(|one| one == path).unwrap_or_else(|| panic!("{path} in {deleted:?}"))
    };
    assert!(at("deployments/gateway-a") < at("deployments/order-a"));
    assert!(at("deployments/order-a") < at("statefulsets/postgresql"));
    assert!(at("statefulsets/postgresql") < at("networkpolicies/shop-nothing"));
    assert!(at("networkpolicies/shop-nothing") < at("secrets/shopctl.rev.order.v1"));
    assert_eq!(
        deleted.last().map(String::as_str),
        Some("leases/shopctl-deploy"),
        "the lock is held to the end"
    );
}

#[test]
fn with_the_volumes_nothing_is_left() {
    let fake = Fake::with_a_shop();
    assert_eq!(code(&fake.expect(8, "down --volumes --yes")), "E-CONSENT");
    let all = fake.names();
    fake.expect(0, "down --volumes --confirm lab");
    assert_eq!(fake.names(), [""; 0], "{all:?}");
}

#[test]
fn what_a_down_kept_can_be_taken_later() {
    let fake = Fake::with_a_shop();
    fake.expect(0, "down --yes");
    fake.expect(0, "down --volumes --confirm lab");
    assert_eq!(fake.names(), [""; 0]);
    assert_eq!(fake.expect(0, "down --yes")["data"]["stopped"], false);
}

#[test]
fn nobody_is_cut_off_without_consent() {
    let fake = Fake::with_a_shop();
    assert_eq!(code(&fake.expect(8, "down")), "E-CONSENT");
    assert_eq!(code(&fake.expect(8, "down --confirm other")), "E-CONSENT");
    assert!(fake.writes().is_empty());
    let protected = Fake::new("protected = true\nimage = \"shop:1\"");
    protected.expect(0, "deploy --confirm lab");
    assert_eq!(code(&protected.expect(8, "down --yes")), "E-CONSENT");
    protected.expect(0, "down --confirm lab");
    assert_eq!(protected.names(), KEPT);
}

#[test]
fn a_down_that_was_cut_off_is_gone_on_with() {
    let fake = Fake::with_a_shop();
    fake.hold("order", true);
    let ran = fake.run("down --yes --timeout 1s");
    assert_eq!(ran.code, 13, "{}", ran.picture());
    assert!(
        ran.stderr.contains("order is still there after 1 s: held by example.com/held"),
        "{}",
        ran.picture()
    );
    assert!(fake.object("statefulsets/postgresql").is_none());
    fake.hold("order", false);
    fake.expect(0, "down --yes");
    assert_eq!(fake.names(), KEPT);
}

#[test]
fn a_down_that_was_killed_is_gone_on_with() {
    let fake = Fake::with_a_shop();
    fake.hold("order", true);
    let mut command = fake.project.command(&["down", "--yes", "-e", "lab"]);
    let mut killed = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("shopctl starts");
    let deadline = Instant::now() + PATIENCE;
    while fake.object("statefulsets/postgresql").is_some() {
        assert!(Instant::now() < deadline, "the database is never taken away");
        std::thread::sleep(Duration::from_millis(20));
    }
    killed.kill().expect("it runs");
    killed.wait().expect("it ends");
    fake.hold("order", false);
    // Its lock was that of a process of this machine, which is gone.
    fake.expect(0, "down --yes");
    assert_eq!(fake.names(), KEPT);
}

#[test]
fn where_nothing_is_nothing_is_stopped() {
    let fake = Fake::new("");
    let ran = fake.run("down --yes");
    assert_eq!(ran.code, 0, "{}", ran.picture());
    assert!(ran.stderr.contains("nothing to stop"), "{}", ran.picture());
    assert!(fake.writes().is_empty());
    assert_eq!(code(&fake.expect(2, "down --data-dir x")), "E-ON-KUBERNETES");
    assert_eq!(
        code(&crate::shopctl::Project::new().run("down --volumes -o json").json()),
        "E-NOT-KUBERNETES"
    );
}
