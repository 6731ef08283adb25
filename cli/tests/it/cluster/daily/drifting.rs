//! `drift`: what others changed is found and put right, and what nobody changed is silent.

use serde_json::{Value, json};

use super::code;
use crate::cluster::fake::{Fake, NAMESPACE};

type Row = (String, String, Vec<String>);

/// Class, object and the paths of the fields of all that was found.
fn found(document: &Value) -> Vec<Row> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let all = document["data"]["drift"].as_array().expect("drift");
    all.iter()
        .map(|drift| {
            let fields = drift["fields"].as_array().expect("fields");
            let paths = fields.iter().map(|field| text(&field["path"])).collect();
            (text(&drift["class"]), text(&drift["object"]), paths)
        })
        .collect()
}

fn is(class: &str, object: &str, paths: &[&str]) -> Row {
    (class.to_owned(), object.to_owned(), paths.iter().map(|path| (*path).to_owned()).collect())
}

/// Somebody gives the pods of order a host name, and lets them count as available sooner.
fn meddle(fake: &Fake) {
    fake.change("deployments/order-a", |order| {
        order["spec"]["minReadySeconds"] = 7.into();
        order["spec"]["template"]["spec"]["hostname"] = "x".into();
        order["metadata"]["managedFields"] = json!([{
            "manager": "kubectl-patch", "operation": "Update", "time": "2026-11-30T11:00:00Z",
            "fieldsV1": {"f:spec": {"f:minReadySeconds": {}, "f:template": {"f:spec": {"f:hostname": {}}}}},
        }]);
    });
}

/// One of each class.
fn with_drift() -> Fake {
    let fake = Fake::with_a_shop();
    fake.take("poddisruptionbudgets/order");
    meddle(&fake);
    let label = "applyset.kubernetes.io/part-of";
    let set = fake.object("configmaps/order-a").expect("a ConfigMap")["metadata"]["labels"][label].clone();
    fake.put(
        &format!("/api/v1/namespaces/{NAMESPACE}/configmaps/stray"),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "stray", "namespace": NAMESPACE, "labels": {label: set}},
        }),
    );
    fake
}

#[test]
fn what_nobody_changed_is_silent_whatever_the_next_deploy_would_bring() {
    let fake = Fake::new("image = \"shop:1\"");
    fake.expect(0, "deploy --set services.order.replicas=3 --set limits=none");
    assert_eq!(found(&fake.expect(0, "drift --exit-code")), []);
    fake.expect(10, "diff --exit-code");
    fake.expect(0, "scale user=3");
    fake.expect(0, "restart payment");
    assert_eq!(found(&fake.expect(0, "drift --exit-code")), []);
    fake.expect(0, "deploy order --image shop:2 --strategy blue-green --overlap 0s");
    assert_eq!(found(&fake.expect(0, "drift --exit-code")), [], "each service has its own revision");
    fake.expect(0, "rollback order");
    assert_eq!(found(&fake.expect(0, "drift --exit-code")), []);
}

#[test]
fn an_autoscaler_has_the_number_of_pods() {
    let fake = Fake::new("image = \"shop:1\"");
    fake.expect(0, "deploy --set autoscaling.enabled=true");
    fake.change("deployments/order-a", |order| order["spec"]["replicas"] = 5.into());
    assert_eq!(found(&fake.expect(0, "drift --exit-code")), []);
    fake.take("horizontalpodautoscalers/order-a");
    let seen = found(&fake.expect(10, "drift --exit-code"));
    assert_eq!(seen, [is("missing", "HorizontalPodAutoscaler/order-a", &[])]);
    fake.expect(0, "drift --fix --yes");
    assert!(fake.object("horizontalpodautoscalers/order-a").is_some());
}

#[test]
fn all_four_classes_are_told_and_put_right() {
    let fake = with_drift();
    fake.lock().asked.clear();
    let seen = fake.expect(10, "drift --exit-code");
    let all = [
        is("missing", "PodDisruptionBudget/order", &[]),
        is("changed", "Deployment/order-a", &["spec.minReadySeconds"]),
        is("foreign", "Deployment/order-a", &["spec.template.spec.hostname"]),
        is("extra", "ConfigMap/stray", &[]),
    ];
    assert_eq!(found(&seen), all);
    let foreign = &seen["data"]["drift"][2]["fields"][0];
    assert_eq!((&foreign["manager"], &foreign["theirs"]), (&"kubectl-patch".into(), &"x".into()));
    assert_eq!(foreign["since"], "2026-11-30T11:00:00Z");
    assert_eq!(fake.run("drift").code, 0, "without --exit-code it is a look");
    let writes = fake.writes();
    assert!(
        writes.iter().all(|asked| asked.query.contains("dryRun=All")),
        "a look changes nothing: {writes:?}"
    );

    let ran = fake.run("drift --fix --yes");
    assert_eq!(ran.code, 0, "{}", ran.picture());
    for word in [
        "made PodDisruptionBudget/order",
        "changed Deployment/order-a",
        "removed spec.template.spec.hostname of kubectl-patch from Deployment/order-a",
        "put right: 3",
        "--fix --prune",
    ] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.picture());
    }
    let order = fake.object("deployments/order-a").expect("a Deployment");
    assert!(order["spec"]["template"]["spec"]["hostname"].is_null());
    assert_eq!(found(&fake.expect(10, "drift --exit-code")), [is("extra", "ConfigMap/stray", &[])]);
    let pruned = fake.expect(0, "drift --fix --prune --yes --exit-code");
    assert_eq!(found(&pruned), []);
    assert_eq!(pruned["data"]["fixed"][0]["object"], "ConfigMap/stray");
    assert!(fake.object("configmaps/stray").is_none());
    assert_eq!(found(&fake.expect(0, "drift --exit-code")), []);
    assert_eq!(fake.expect(0, "lock status")["data"]["held"], false);
}

#[test]
fn a_deployment_that_is_gone_comes_back_with_its_pods() {
    let fake = Fake::with_a_shop();
    fake.take("deployments/order-a");
    assert_eq!(fake.pods("order").len(), 0);
    assert_eq!(found(&fake.expect(10, "drift --exit-code")), [is("missing", "Deployment/order-a", &[])]);
    fake.expect(0, "drift --fix --yes");
    assert_eq!(fake.pods("order").len(), 2);
}

#[test]
fn a_service_that_selects_the_other_slot_is_changed() {
    let fake = Fake::with_a_shop();
    fake.change("services/order", |order| order["spec"]["selector"]["shopctl.dev/slot"] = "b".into());
    let path = "spec.selector[\"shopctl.dev/slot\"]";
    assert_eq!(found(&fake.expect(10, "drift --exit-code")), [is("changed", "Service/order", &[path])]);
    fake.expect(0, "drift --fix --yes");
    let order = fake.object("services/order").expect("a Service");
    assert_eq!(order["spec"]["selector"]["shopctl.dev/slot"], "a");
}

#[test]
fn values_of_a_secret_are_neither_shown_nor_made_up() {
    let fake = Fake::with_a_shop();
    fake.change("secrets/shop-database", |secret| {
        secret["data"].as_object_mut().expect("data").remove("password").expect("a password");
    });
    fake.take("secrets/shop-secrets");
    let all = [
        is("changed", "Secret/shop-database", &["data.password"]),
        is("missing", "Secret/shop-secrets", &[]),
    ];
    assert_eq!(found(&fake.expect(10, "drift --exit-code")), all);
    let left = fake.expect(10, "drift --fix --yes --exit-code");
    assert_eq!(found(&left), all, "a key that is made up opens nothing");
    assert!(fake.object("secrets/shop-secrets").is_none());
}

#[test]
fn a_service_in_the_middle_of_its_release_is_left_out() {
    let fake = Fake::with_a_shop();
    fake.expect(0, "deploy order --image shop:2 --strategy blue-green --by-hand");
    let seen = fake.expect(0, "drift --exit-code");
    assert_eq!(found(&seen), []);
    assert_eq!(seen["data"]["left_out"][0]["service"], "order");
    assert!(seen["warnings"][0].as_str().is_some_and(|warning| warning.contains("a release goes on")));
}

#[test]
fn nothing_is_undone_without_consent_or_under_somebody_elses_lock() {
    let fake = with_drift();
    let before = fake.object("deployments/order-a");
    let ran = fake.run("drift --fix");
    assert_eq!(ran.code, 8, "{}", ran.picture());
    assert!(ran.stderr.contains("hostname: x  (kubectl-patch"), "it is shown before: {}", ran.picture());
    fake.expect(0, "lock acquire -m freeze");
    assert_eq!(code(&fake.expect(7, "drift --fix --yes")), "E-LOCKED");
    assert_eq!(fake.object("deployments/order-a"), before);
    let protected = Fake::new("protected = true\nimage = \"shop:1\"");
    protected.expect(0, "deploy --confirm lab");
    meddle(&protected);
    assert_eq!(code(&protected.expect(8, "drift --fix --yes")), "E-CONSENT");
    protected.expect(0, "drift --fix --confirm lab --exit-code");
    assert_eq!(code(&Fake::new("").expect(6, "drift")), "E-KUBE-NO-SHOP");
    fake.expect(2, "drift --prune");
}

#[test]
fn it_is_told_as_lines_and_tables_too() {
    let fake = with_drift();
    let text = fake.run("drift");
    insta::assert_snapshot!(text.picture(), @r"
    exit 0
    --- stdout
    missing  PodDisruptionBudget/order
    changed  Deployment/order-a
        spec.minReadySeconds: 5 -> 7  (kubectl-patch, 2026-11-30T11:00:00Z)
    foreign  Deployment/order-a
        spec.template.spec.hostname: x  (kubectl-patch, 2026-11-30T11:00:00Z)
    extra    ConfigMap/stray
    --- stderr
    otherwise than the last deploy made it: 4; `shopctl drift --fix` puts it right
    ");
    let lines = fake.run("drift -o ndjson").stdout;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    let events: Vec<&Value> = lines.iter().filter(|line| line["event"] == "drift").collect();
    assert_eq!(events.len(), 4);
    let first = (&events[0]["class"], &events[0]["object"]);
    assert_eq!(first, (&"missing".into(), &"PodDisruptionBudget/order".into()));
    let table = fake.run("drift -o md").stdout;
    let row = "| foreign | Deployment/order-a | spec.template.spec.hostname | (nothing) | x | kubectl-patch | 2026-11-30T11:00:00Z |";
    assert!(table.lines().any(|line| line == row), "{table}");
}

#[test]
fn a_shop_that_an_older_deploy_made_is_held_against_the_values() {
    let fake = Fake::new("");
    fake.expect(0, "deploy --image shop:1");
    fake.take("secrets/shopctl-deployed");
    let seen = fake.expect(0, "drift --exit-code");
    assert_eq!(found(&seen), []);
    assert!(seen["warnings"][0].as_str().is_some_and(|warning| warning.contains("no record")));
}
