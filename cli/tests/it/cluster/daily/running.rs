//! What changes a shop that runs: `scale`, `restart`.

use serde_json::{Value, json};

use super::code;
use crate::cluster::fake::{Fake, NAMESPACE};

fn replicas(fake: &Fake, name: &str) -> Value {
    fake.object(&format!("deployments/{name}")).expect("a Deployment")["spec"]["replicas"].clone()
}

#[test]
fn a_service_that_was_scaled_stays_so_until_the_values_change() {
    let fake = Fake::with_a_shop();
    let scaled = fake.expect(0, "scale order=3 user=1");
    assert_eq!(
        scaled["data"]["services"],
        json!([
            {"service": "order", "pods_before": 2, "pods": 3},
            {"service": "user", "pods_before": 2, "pods": 1},
        ])
    );
    assert_eq!((replicas(&fake, "order-a"), replicas(&fake, "user-a")), (3.into(), 1.into()));
    let writes = fake.writes();
    let scale = writes.iter().find(|asked| asked.path.ends_with("/deployments/order-a")).expect("a write");
    assert!(scale.query.contains("fieldManager=shopctl-scale"), "{scale:?}");
    assert_eq!(scale.body["spec"], json!({"replicas": 3}), "nothing else is named");

    let same = fake.expect(0, "deploy");
    assert_eq!(same["data"]["services"], json!([]), "what was scaled is no change");
    let ran = fake.run("deploy --image shop:2");
    assert_eq!(ran.code, 0, "{}", ran.picture());
    assert!(ran.stderr.contains("order: keeps 3 pods"), "{}", ran.picture());
    assert_eq!((replicas(&fake, "order-a"), replicas(&fake, "user-a")), (3.into(), 1.into()));
    fake.expect(0, "deploy order --image shop:3 --strategy blue-green --overlap 0s");
    assert_eq!(replicas(&fake, "order-b"), 3, "another slot has as many");
    fake.expect(0, "rollback order");
    assert_eq!(fake.expect(0, "status")["data"]["services"][3]["wanted"], 3);

    fake.expect(0, "deploy --image shop:2 --set services.order.replicas=4");
    assert_eq!(fake.expect(0, "status")["data"]["services"][3]["wanted"], 4, "somebody changed the values");
}

#[test]
fn an_autoscaler_is_not_fought() {
    let fake = Fake::new("image = \"shop:1\"");
    fake.expect(0, "deploy --set autoscaling.enabled=true");
    let ran = fake.run("scale order=3");
    assert_eq!(ran.code, 18, "{}", ran.picture());
    assert!(ran.stderr.contains("services.order.autoscaling.minReplicas"), "{}", ran.picture());
    assert_eq!(code(&fake.expect(18, "scale user=1 order=3")), "E-AUTOSCALED");
    assert!(fake.writes().iter().all(|asked| !asked.query.contains("fieldManager=shopctl-scale")));
    // What the hint says takes effect.
    let line = "deploy --set autoscaling.enabled=true --set services.order.autoscaling.minReplicas=3";
    assert_eq!(fake.expect(0, line)["data"]["objects_changed"], 1);
    let scaler = fake.object("horizontalpodautoscalers/order-a").expect("an autoscaler");
    assert_eq!(scaler["spec"]["minReplicas"], 3);
}

#[test]
fn what_may_not_be_scaled_or_restarted_is_left_alone() {
    let fake = Fake::with_a_shop();
    for line in ["scale ordr=3", "restart ordr", "scale order=1 order=2", "restart order order"] {
        assert_eq!(code(&fake.expect(2, line)), "E-SERVICE", "{line}");
    }
    fake.expect(2, "scale order=0");
    fake.expect(0, "lock acquire -m freeze");
    assert_eq!(code(&fake.expect(7, "scale order=3")), "E-LOCKED");
    assert_eq!(code(&fake.expect(7, "restart order")), "E-LOCKED");
    fake.expect(0, "lock release");
    let empty = Fake::new("");
    empty.put(
        &format!("/api/v1/namespaces/{NAMESPACE}"),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
    );
    assert_eq!(code(&empty.expect(6, "restart order")), "E-NOT-RUNNING");
    let protected = Fake::new("protected = true");
    assert_eq!(code(&protected.expect(8, "scale order=3")), "E-CONSENT");
    assert_eq!(code(&protected.expect(8, "restart order")), "E-CONSENT");
    assert_eq!(protected.writes().len(), 0);
}

#[test]
fn a_release_in_the_middle_is_not_disturbed() {
    let fake = Fake::with_a_shop();
    let line = "deploy order --image shop:2 --strategy blue-green --by-hand";
    let paused = fake.expect(0, line);
    assert_eq!(paused["data"]["services"][0]["outcome"], "paused");
    for line in ["scale order=3", "restart order"] {
        assert_eq!(code(&fake.expect(9, line)), "E-RELEASE", "{line}");
    }
    fake.expect(0, "restart user");
}

#[test]
fn a_restart_makes_new_pods_and_is_no_drift() {
    let fake = Fake::with_a_shop();
    let before = fake.pods("order");
    let document = fake.expect(0, "restart order");
    assert_eq!(document["data"]["services"][0]["workload"], "order-a");
    let after = fake.pods("order");
    assert!(after.len() == 2 && after.iter().all(|pod| !before.contains(pod)), "{before:?} {after:?}");
    let writes = fake.writes();
    let restart = writes.iter().find(|asked| asked.path.ends_with("/deployments/order-a")).expect("a write");
    assert!(restart.query.contains("fieldManager=shopctl-restart"), "{restart:?}");
    let annotations = restart.body.pointer("/spec/template/metadata/annotations").expect("annotations");
    assert!(annotations["kubectl.kubernetes.io/restartedAt"].is_string());
    assert_eq!(fake.expect(0, "diff --exit-code")["data"]["changes"], json!([]));
    let same = fake.expect(0, "deploy");
    assert_eq!((&same["data"]["services"], &same["data"]["objects_changed"]), (&json!([]), &json!(0)));
    assert_eq!(fake.pods("order"), after, "the next deploy leaves them");
}

#[test]
fn a_restart_that_does_not_get_well_says_why_and_goes_no_further() {
    let fake = Fake::with_a_shop();
    fake.lose_image("shop:1");
    let user = fake.pods("user");
    let ran = fake.run("restart order user");
    assert_eq!(ran.code, 12, "{}", ran.picture());
    for word in ["order-a does not get well", "no such image", "shopctl why order-a -e lab"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.picture());
    }
    assert_eq!(fake.pods("user"), user, "the next service is left alone");
    assert_eq!(fake.expect(0, "lock status")["data"]["held"], false, "the lock is given back");
}

#[test]
fn a_shop_on_this_machine_is_not_scaled() {
    let ran = crate::shopctl::Project::new().run("scale order=3");
    assert_eq!(ran.code, 2, "{}", ran.picture());
    assert!(ran.stderr.contains("up --processes --replicas"), "{}", ran.picture());
}
