//! A shop on a real cluster, day by day: brought up, looked at, scaled, restarted, taken down, and brought up again with
//! its data.

use std::sync::atomic::{AtomicBool, Ordering};

use platform::client::ShopClient;
use serde_json::Value;

use super::world::World;

/// The facts of a service in `status`.
fn service(world: &World, name: &str) -> Value {
    let status = world.expect(0, "status");
    let all = status["data"]["services"].as_array().expect("services");
    all.iter().find(|service| service["name"] == name).expect("a service").clone()
}

/// The fewest endpoints that `service` ever had while `work` was done, looked at again and again.
fn fewest_served(world: &World, service: &str, work: impl FnOnce()) -> usize {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut fewest = world.served(service);
            while !is_done.load(Ordering::SeqCst) {
                fewest = fewest.min(world.served(service));
            }
            fewest
        });
        work();
        is_done.store(true, Ordering::SeqCst);
        looking.join().expect("it looked")
    })
}

#[test]
fn a_shop_lives_through_its_days() {
    let Some(world) = World::on_a_cluster("daily") else { return };
    let [one, two] = &world.images;
    let up = world.expect(0, &format!("up --image {one}"));
    assert_eq!(up["data"]["ready"], true);
    let cart = world.at_the_shop(async |url| {
        let client = ShopClient::new(url);
        client.orders.create_cart(&client.anonymous()).await.expect("a cart").id
    });

    let logs = world.expect(0, "logs order -n 50");
    let entries = logs["data"].as_array().expect("entries");
    assert!(!entries.is_empty(), "a service that has started has written");
    for entry in entries {
        assert!(entry["pod"].as_str().is_some_and(|pod| pod.starts_with("order-a-")), "{entry}");
    }
    let database = world.expect(0, "logs postgresql");
    assert_ne!(database["data"], Value::Array(vec![]));
    let events = world.expect(0, "events order");
    assert!(events["data"]["events"].as_array().is_some_and(|all| !all.is_empty()), "pods were started");

    let before = service(&world, "order")["wanted"].as_u64().expect("a number");
    let wanted = if before == 2 { 3 } else { 2 };
    world.expect(0, &format!("scale order={wanted}"));
    assert_eq!(service(&world, "order")["ready"], wanted);
    world.expect(0, &format!("deploy order --image {two}"));
    assert_eq!(service(&world, "order")["wanted"], wanted, "a deploy keeps it");

    let old = world.names("pods");
    let fewest = fewest_served(&world, "order", || drop(world.expect(0, "restart order")));
    assert!(fewest > 0, "somebody served all the time");
    let new = service(&world, "order");
    assert_eq!((&new["ready"], &new["wanted"]), (&wanted.into(), &wanted.into()));
    // Those that end are still there for a moment, and none of the old ones is behind the Service any more.
    let ready = world.kubectl("get pods -l app.kubernetes.io/name=order -o json");
    let stay = ready["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    for pod in stay {
        let name = pod["metadata"]["name"].as_str().expect("a name");
        assert!(!old.contains(&name.to_owned()), "{name} is not new");
    }
    let same = world.expect(0, &format!("deploy order --image {two}"));
    assert_eq!(same["data"]["services"], Value::Array(vec![]), "a restart is no drift");

    let down = world.expect(0, "down --yes");
    assert_eq!(down["data"]["stopped"], true);
    assert_eq!(world.names("deployments"), [""; 0]);
    assert_eq!(world.names("pods"), [""; 0], "all of it has ended");
    assert!(world.names("persistentvolumeclaims").contains(&"data-postgresql-0".to_owned()));
    world.expect(6, "status");
    assert_eq!(world.expect(0, "down --yes")["data"]["stopped"], false);

    world.expect(0, &format!("up --image {two}"));
    let found = world.at_the_shop(async |url| {
        let client = ShopClient::new(url);
        client.orders.cart(&client.anonymous(), cart).await.expect("the cart").id
    });
    assert_eq!(found, cart, "the data were kept");

    world.expect(8, "down --volumes");
    world.expect(0, "down --volumes --confirm lab");
    for kind in ["deployments", "statefulsets", "pods", "persistentvolumeclaims", "networkpolicies", "leases"]
    {
        assert_eq!(world.names(kind), [""; 0], "{kind}");
    }
    let left: Vec<String> = ["secrets", "configmaps", "services"]
        .into_iter()
        .flat_map(|kind| world.names(kind))
        // The cluster's own.
        .filter(|name| name != "kube-root-ca.crt")
        .collect();
    assert_eq!(left, [""; 0]);
}
