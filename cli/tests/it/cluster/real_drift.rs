//! What others change of a shop on a real cluster is found, told apart, and put right.

use serde_json::Value;

use super::world::World;

/// Class, object, and the paths of the fields of all that was found.
fn found(document: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = document["data"]["drift"].as_array().expect("drift");
    let told = |drift: &Value| {
        let fields = drift["fields"].as_array().into_iter().flatten();
        let paths: Vec<String> = fields.map(|field| text(&field["path"])).collect();
        format!("{} {} {}", text(&drift["class"]), text(&drift["object"]), paths.join(" ")).trim().to_owned()
    };
    all.iter().map(told).collect()
}

#[test]
fn what_others_changed_is_found_and_put_right() {
    let Some(world) = World::on_a_cluster("drift") else { return };
    let [one, two] = &world.images;
    world.expect(0, &format!("deploy --image {one}"));
    assert_eq!(found(&world.expect(0, "drift --exit-code")), [""; 0], "nobody changed anything");
    world.expect(0, &format!("deploy user --image {two} --strategy blue-green --overlap 2s"));
    world.expect(0, "scale order=3");
    world.expect(0, "restart payment");
    assert_eq!(found(&world.expect(0, "drift --exit-code")), [""; 0], "nor does any of this count");

    world.kubectl("delete poddisruptionbudget order");
    let patch = |patch: &str| {
        world.kubectl(&format!("patch deployment order-a --field-manager=somebody -p {patch}"));
    };
    patch("{\"spec\":{\"minReadySeconds\":7}}");
    patch("{\"spec\":{\"template\":{\"spec\":{\"hostname\":\"mine\"}}}}");
    let label = "applyset.kubernetes.io/part-of";
    let member = world.kubectl("get deployment order-a -o json")["metadata"]["labels"][label].clone();
    world.kubectl("create configmap stray");
    world.kubectl(&format!("label configmap stray {label}={}", member.as_str().expect("a set")));

    let seen = world.expect(10, "drift --exit-code");
    assert_eq!(
        found(&seen),
        [
            "missing PodDisruptionBudget/order",
            "changed Deployment/order-a spec.minReadySeconds",
            "foreign Deployment/order-a spec.template.spec.hostname",
            "extra ConfigMap/stray",
        ]
    );
    for drift in [1, 2] {
        let field = &seen["data"]["drift"][drift]["fields"][0];
        assert_eq!(field["manager"], "somebody", "{field}");
        assert!(field["since"].is_string(), "{field}");
    }
    world.expect(8, "drift --fix");
    assert_eq!(found(&world.expect(0, "drift --fix --yes")), ["extra ConfigMap/stray"]);
    let order = world.kubectl("get deployment order-a -o json");
    assert!(order["spec"]["template"]["spec"]["hostname"].is_null(), "it was removed");
    assert_eq!(order["status"]["readyReplicas"], 3, "all pods are ready, and as many as before");
    world.expect(0, "drift --fix --prune --yes");
    assert_eq!(found(&world.expect(0, "drift --exit-code")), [""; 0]);
    let again = world.expect(0, &format!("deploy order --image {one}"));
    assert_eq!(again["data"]["services"], Value::Array(vec![]), "nothing is left for a deploy to change");
}
