//! The chart rendered here, held equal to the same chart rendered by the real helm: object for object, the notes to the
//! letter, and a refusal where helm refuses. And, without a helm, a small chart with each function and each rule.

mod helm;
mod random;

use std::cell::Cell;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Value, json};
use shopctl::cluster::chart::{Chart, Cluster, Outside, Release, Rendered, render};

use helm::{Case, KUBE_VERSION, NAMESPACE, RELEASE, named};

/// So many sets of values are drawn by lot, unless `SHOPCTL_TEST_CASES` says otherwise.
const RANDOM_CASES: usize = 90;

const SERVICES: [&str; 6] = ["gateway", "user", "product", "order", "payment", "notification"];

fn product_chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/shop")
}

fn small_chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/chart/small")
}

fn cluster() -> Cluster {
    Cluster::new(KUBE_VERSION, vec!["v1".to_owned()]).expect("a version")
}

/// Numbers that are never the same, and always the same again.
fn counted() -> impl Fn() -> u64 {
    let number = Cell::new(0_u64);
    move || {
        number.set(number.get() + 1);
        number.get().wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

fn nothing_there(_: &str, _: &str, _: &str, _: &str) -> anyhow::Result<Value> {
    Ok(Value::Null)
}

/// A case rendered here, or why it is refused.
fn ours(chart: &Chart, case: &Case) -> Result<Rendered, String> {
    let mut values = chart.values();
    for file in &case.files {
        values = values.file(file).map_err(|error| error.to_string())?;
    }
    values = values.text("case.yaml", &case.text()).map_err(|error| error.to_string())?;
    for set in &case.sets {
        values = values.set(set).map_err(|error| error.to_string())?;
    }
    let values = values.merged().map_err(|error| error.to_string())?;
    let random = counted();
    let outside = Outside { lookup: &nothing_there, random: &random };
    let rendered = render(chart, &values, &Release::first(RELEASE, NAMESPACE), &cluster(), &outside);
    rendered.map_err(|error| error.to_string())
}

/// Holds every case to what helm makes of it; tells how many helm refused.
fn hold(helm: &Path, folder: &Path, chart: &Chart, cases: &[Case]) -> usize {
    let mut wrong = Vec::new();
    let mut refused = 0;
    for (case, theirs) in cases.iter().zip(helm::made(helm, folder, cases)) {
        let called = format!("{} with {:?} {:?} {}", case.called, case.files, case.sets, case.values);
        match (ours(chart, case), theirs) {
            (Ok(ours), Ok((objects, notes))) => {
                let apart = difference(&ours, objects, &notes);
                wrong.extend(apart.map(|apart| format!("{called}\n{apart}")));
            }
            (Err(_), Err(_)) => refused += 1,
            (Ok(_), Err(error)) => wrong.push(format!("{called}\nhelm refuses it: {error}")),
            (Err(error), Ok(_)) => wrong.push(format!("{called}\nhelm takes it, and here: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ\n\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
    refused
}

fn difference(ours: &Rendered, objects: Vec<Value>, notes: &str) -> Option<String> {
    let (hooks, others): (Vec<Value>, Vec<Value>) =
        objects.into_iter().partition(|one| one.pointer("/metadata/annotations/helm.sh~1hook").is_some());
    for (ours, theirs) in [(&ours.objects, others), (&ours.hooks, hooks)] {
        let ours = named(ours.iter().map(|object| object.value().clone()));
        let theirs = named(theirs);
        for name in ours.keys().chain(theirs.keys()) {
            let (here, there) = (ours.get(name), theirs.get(name));
            if here != there {
                return Some(format!("{name}\nhere: {}\nhelm: {}", told(here), told(there)));
            }
        }
    }
    (ours.notes != notes).then(|| format!("notes here:\n{}\nnotes of helm:\n{notes}", ours.notes))
}

fn told(object: Option<&Value>) -> String {
    object.map_or_else(|| "not there".to_owned(), Value::to_string)
}

/// Every switch that no values file turns on, at once, as `charts/tests/renderings.py` has it.
fn everything() -> Value {
    let slot = json!({"live": "b", "selector": "wide", "b": {"enabled": true, "image": format!("registry.example/shop@sha256:{:064}", 0)}});
    let slots: Value = SERVICES.iter().map(|name| ((*name).to_owned(), slot.clone())).collect();
    json!({
        "allowFaults": true,
        "slots": slots,
        "autoscaling": {"enabled": true, "external": true},
        "metrics": {"enabled": true, "tlsSecret": "metrics-tls", "caBundle": "Q0E="},
        "monitoring": {
            "serviceMonitor": {"enabled": true, "labels": {"release": "prometheus"}},
            "rules": {"enabled": true},
            "prometheusAdapter": {"enabled": true},
        },
        "smtp": {"host": "mail.example.com", "user": "shop", "existingSecret": "smtp"},
        "telemetry": {"otlp": {"url": "http://collector:4318", "to": [{"podSelector": {"matchLabels": {"app": "collector"}}}]}},
        "ingress": {"enabled": true, "className": "alb", "aws": {"enabled": true}},
        "secrets": {"revision": "2"},
        "image": {"pullSecrets": ["registry"]},
        "scheduling": {"nodeSelector": {"pool": "shop"}, "priorityClassName": "shop"},
        "services": {"product": {
            "extraArgs": ["--log-level=debug"],
            "extraEnv": [{"name": "CACHE", "value": "redis"}],
            "extraEgress": [{"to": [{"podSelector": {"matchLabels": {"app": "redis"}}}], "ports": [{"port": 6379}]}],
        }},
    })
}

fn with_files() -> Vec<Case> {
    let mut cases =
        vec![Case::new("the defaults", Value::Null), Case::new("everything at once", everything())];
    for file in ["values-dev.yaml", "values-staging.yaml", "values-prod.yaml"] {
        for values in [Value::Null, everything()] {
            cases.push(Case { files: vec![file], ..Case::new(file, values) });
        }
    }
    let files = vec!["values-prod.yaml", "values-dev.yaml"];
    cases.push(Case::new("nothing where there is nothing", json!({"smtp": {"nonsense": null}})));
    cases.push(Case {
        files,
        ..Case::new(
            "one file over another",
            json!({"fakepay": {"resources": {"limits": {"cpu": null}}}, "logLevel": "warn"}),
        )
    });
    cases
}

/// Every state that a rollout brings a service's slots into.
fn with_slots() -> Vec<Case> {
    let mut cases = Vec::new();
    for live in ["a", "b"] {
        for selector in ["narrow", "wide"] {
            for (idle, image, replicas) in [
                (false, "", json!("")),
                (true, "", json!(0)),
                (true, "shop:2", json!("")),
                (true, "shop@sha256:0", json!(7)),
            ] {
                let other = if live == "a" { "b" } else { "a" };
                let mut state = json!({"live": live, "selector": selector});
                state[live] = json!({"enabled": true, "replicas": replicas});
                state[other] = json!({"enabled": idle, "image": image, "replicas": replicas});
                for is_scaled in [false, true] {
                    let values = json!({
                        "slots": {"order": state, "gateway": state},
                        "autoscaling": {"enabled": is_scaled},
                        "prepare": {"image": image},
                    });
                    cases.push(Case::new("slots", values));
                }
            }
        }
    }
    cases
}

fn with_sets() -> Vec<Case> {
    let sets = |sets: &[&'static str]| Case {
        sets: sets.to_vec(),
        ..Case::new("sets", json!({"image": {"tag": "1"}}))
    };
    vec![
        sets(&["image.tag=v2,slots.order.b.enabled=true", "slots.order.b.image=shop:3"]),
        sets(&[
            "image.pullSecrets={one,two}",
            "services.product.extraEnv[0].name=A,services.product.extraEnv[0].value=x\\,y",
        ]),
        sets(&["scheduling.nodeSelector.kubernetes\\.io/os=linux", "allowFaults=TRUE", "gateway.proxies=3"]),
        sets(&[
            "rolling.maxSurge=1234567,postgresql.runAsUser=1000660000",
            "rolling.progressDeadlineSeconds=1234567",
        ]),
        sets(&["fakepay.persistence=null"]),
        sets(&["image.tag=3"]),
        sets(&["slots.order.live=c"]),
        sets(&["nonsense=1"]),
        sets(&["image.tag"]),
    ]
}

/// What one of the two might take and the other not.
fn to_refuse() -> Vec<Case> {
    let refused = |values| Case::new("to refuse", values);
    vec![
        refused(json!({"nonsense": 1})),
        refused(json!({"smtp": {"nonsense": {}}})),
        refused(json!({"nonsense": null})),
        refused(json!({"image": null})),
        refused(json!({"services": {"order": {"port": 1}}})),
        refused(json!({"services": {"order": {"resources": {"requests": {"memory": "lots"}}}}})),
        refused(json!({"slots": {"order": {"a": {"replicas": "three"}}}})),
        refused(json!({"slots": {"order": {"a": {"enabled": false}}}})),
        refused(json!({"shutdown": {"preStopSeconds": 20}})),
        refused(json!({"database": {"external": {"host": "db", "cidrs": ["10.0.0.0/8"]}}})),
        refused(json!({"database": {"existingSecret": "x", "external": {"host": "db"}}})),
        refused(json!({"smtp": {"host": "mail", "user": "shop"}})),
        refused(json!({"waitSeconds": 1.5})),
        refused(json!({"waitSeconds": true})),
        refused(json!([1])),
    ]
}

#[test]
fn the_chart_renders_as_helm_renders_it() {
    let Some(helm) = helm::find() else { return };
    let cases = [with_files(), with_slots(), with_sets()].concat();
    let refused = hold(&helm, &product_chart(), Chart::embedded(), &cases);
    assert_eq!(refused, 5, "of those with single values");
}

#[test]
fn what_helm_refuses_is_refused() {
    let Some(helm) = helm::find() else { return };
    let cases = to_refuse();
    assert_eq!(hold(&helm, &product_chart(), Chart::embedded(), &cases), cases.len());
}

#[test]
fn values_drawn_by_lot_render_as_helm_renders_them() {
    let Some(helm) = helm::find() else { return };
    let count =
        std::env::var("SHOPCTL_TEST_CASES").map_or(RANDOM_CASES, |count| count.parse().expect("a number"));
    let refused = hold(&helm, &product_chart(), Chart::embedded(), &random::cases(count));
    assert!(refused * 2 < count, "{refused} of {count} were refused: too few were compared");
}

#[test]
fn a_small_chart_renders_as_helm_renders_it() {
    let Some(helm) = helm::find() else { return };
    let chart = Chart::read(&small_chart()).expect("a chart");
    let cases = [
        Case::new("the defaults", Value::Null),
        Case::new("odd", json!({"text": "a: b", "list": ["- x", "#"], "resources": null})),
    ];
    assert_eq!(hold(&helm, &small_chart(), &chart, &cases), 0);
}

#[test]
fn each_function_and_each_rule_is_known() {
    let chart = Chart::read(&small_chart()).expect("a chart");
    let rendered = ours(&chart, &Case::default()).expect("it renders");
    insta::assert_snapshot!("chart_notes", rendered.notes);
    let objects: Vec<&Value> =
        rendered.objects.iter().chain(&rendered.hooks).map(|object| object.value()).collect();
    insta::assert_json_snapshot!("chart_objects", objects);
}

#[test]
fn secrets_that_are_in_the_cluster_are_kept() {
    let chart = Chart::embedded();
    let values = chart.values().merged().expect("the defaults");
    let random = counted();
    let secrets = |lookup: &shopctl::cluster::chart::Lookup<'_>, release: &Release| -> Vec<Value> {
        let outside = Outside { lookup, random: &random };
        let rendered = render(chart, &values, release, &cluster(), &outside).expect("it renders");
        let secrets = rendered.objects.iter().filter(|object| object.kind() == "Secret");
        secrets.map(|object| object.value().clone()).collect()
    };
    let first = Release::first(RELEASE, NAMESPACE);
    let made = secrets(&nothing_there, &first);
    assert_eq!(made.len(), 3);
    let find = |version: &str, kind: &str, namespace: &str, name: &str| {
        let is_it = |one: &&Value| {
            one["apiVersion"] == version && one["kind"] == kind && one["metadata"]["name"] == name
        };
        assert_eq!(namespace, NAMESPACE);
        Ok(made.iter().find(is_it).cloned().unwrap_or_default())
    };
    assert_eq!(secrets(&find, &Release { revision: 2, is_upgrade: true, ..first.clone() }), made);
    let others = secrets(&nothing_there, &first);
    assert!(
        made.iter().zip(&others).all(|(one, other)| one["data"] != other["data"]),
        "without looking, new ones are made"
    );
}

#[test]
fn secrets_are_made_as_the_shop_makes_them() {
    let rendered = ours(Chart::embedded(), &Case::default()).expect("it renders");
    let secret = rendered.objects.iter().find(|object| object.name() == "shop-secrets").expect("a Secret");
    let coded = secret.text("/data/secrets.json").expect("text");
    let bytes = base64::engine::general_purpose::STANDARD.decode(coded).expect("base64");
    let made: Value = serde_json::from_slice(&bytes).expect("JSON");
    let key = made["csrf"].as_str().expect("text");
    assert!(key.len() == 43 && key.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{key}");
    assert_ne!(made["csrf"], made["order_access"]);
    assert!(made["provider_webhook"].as_str().expect("text").starts_with("whsec_"));
}

#[test]
fn an_overlay_is_a_values_file() {
    let chart = Chart::embedded();
    let file = chart.values().text("case.yaml", &everything().to_string()).and_then(|values| values.merged());
    let overlay = chart.values().overlay("a test", &everything()).and_then(|values| values.merged());
    assert_eq!(file.expect("values").to_json(), overlay.expect("values").to_json());
}
