//! Values drawn by lot: mostly such as the chart takes, with letters that have a meaning somewhere on their way.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use super::helm::Case;

const SERVICES: [&str; 6] = ["gateway", "user", "product", "order", "payment", "notification"];

/// What has a meaning in YAML, in a template, in Go or in JSON.
const ODD: &[&str] = &[
    "",
    " ",
    "yes",
    "No",
    "on",
    "y",
    "null",
    "~",
    "true",
    "0",
    "08",
    "0777",
    "0x1f",
    "1e3",
    "1_000",
    "1.5",
    ".5",
    "-1",
    "+1",
    "12:30",
    "2001-01-01",
    "2001-01-01T00:00:00Z",
    "<<",
    "=",
    "-",
    "- a",
    "? a",
    ": a",
    "a: b",
    "a:",
    "a #b",
    "#a",
    "&a",
    "*a",
    "!a",
    "|",
    ">",
    "%a",
    "@a",
    "`a",
    "'a'",
    "\"a\"",
    "it's",
    "a, b",
    "[a]",
    "{a}",
    "{{ .Values }}",
    "<no value>",
    "a\\b",
    "\\n",
    "$(HOME)",
    "a\nb",
    "a\nb\n",
    "\na",
    "a\n\n",
    " a\n b",
    "a \nb",
    "a\tb",
    "\ta",
    "a ",
    " a",
    "---",
    "--- a",
    "...",
    "é",
    "日本",
    "😀",
    "e\u{301}",
    "a\u{a0}b",
    "\u{ad}",
    "\u{0}",
    "\u{1b}[0m",
    "a line that is longer than the eighty letters after which a line is broken, and goes on for a while after that",
    "a-line-that-is-longer-than-the-eighty-letters-after-which-a-line-is-broken-but-has-no-space-anywhere-in-it",
];

fn odd() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => proptest::sample::select(ODD).prop_map(str::to_owned),
        2 => "[ -~]{1,12}",
        1 => "[a-z \n\"'#:-]{1,30}",
        1 => "([a-zA-Z:#'-]{1,9} ){12,20}[a-z]",
    ]
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![2 => "[a-z][a-z0-9.-]{0,8}[a-z0-9]", 1 => proptest::sample::select(&["1", "0", "on", "yes", "1e3"][..]).prop_map(str::to_owned)]
}

fn labels() -> impl Strategy<Value = Value> {
    let key = prop_oneof!["[a-z]{1,4}[0-9]{0,3}", "[a-z]{1,5}\\.[a-z]{2}/[a-z-]{1,6}[a-z]", odd()];
    btree_map(key, odd(), 0..4).prop_map(|labels| json!(labels))
}

fn quantity() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[1-9][0-9]{0,3}(m|Mi|Gi|k)?".prop_map(Value::from),
        (1_u64..5_000_000_000).prop_map(Value::from),
        proptest::sample::select(&[0.5, 1.5, 0.25, 0.001][..]).prop_map(Value::from),
    ]
}

fn resources() -> impl Strategy<Value = Value> {
    let amounts = || {
        (quantity(), quantity(), any::<bool>()).prop_map(|(cpu, memory, has_cpu)| {
            if has_cpu { json!({"cpu": cpu, "memory": memory}) } else { json!({"memory": memory}) }
        })
    };
    (amounts(), amounts()).prop_map(|(requests, limits)| json!({"requests": requests, "limits": limits}))
}

fn network() -> impl Strategy<Value = Value> {
    let networks = ["0.0.0.0/0", "10.0.0.0/8", "192.168.7.0/24", "2001:db8::/32"];
    proptest::sample::select(networks.to_vec()).prop_map(Value::from)
}

fn peers() -> impl Strategy<Value = Value> {
    let peer = prop_oneof![
        network().prop_map(|network| json!({"ipBlock": {"cidr": network}})),
        labels().prop_map(|labels| json!({"podSelector": {"matchLabels": labels}})),
        labels().prop_map(|labels| json!({"namespaceSelector": {"matchLabels": labels}, "podSelector": {}})),
    ];
    vec(peer, 0..3).prop_map(Value::from)
}

fn slot() -> impl Strategy<Value = Value> {
    let replicas = prop_oneof![2 => Just(json!("")), 2 => (0_u32..1000).prop_map(Value::from)];
    let image = prop_oneof![3 => Just(String::new()), 2 => odd()];
    (prop::bool::weighted(0.7), image, replicas).prop_map(
        |(enabled, image, replicas)| json!({"enabled": enabled, "image": image, "replicas": replicas}),
    )
}

fn slots() -> impl Strategy<Value = Value> {
    let live = prop_oneof![4 => Just("a"), 1 => Just("b")];
    let selector = prop_oneof![Just("narrow"), Just("wide")];
    // Mostly the live one is there: otherwise nothing but a refusal comes of it.
    let lives = prop::bool::weighted(0.98);
    (live, selector, slot(), slot(), lives).prop_map(|(live, selector, a, b, lives)| {
        let mut slots = json!({"live": live, "selector": selector, "a": a, "b": b});
        if lives {
            slots[live]["enabled"] = json!(true);
        }
        slots
    })
}

fn service() -> impl Strategy<Value = Value> {
    let variable = prop_oneof![
        ("[A-Z_]{1,8}", odd()).prop_map(|(name, value)| json!({"name": name, "value": value})),
        ("[A-Z]{1,8}", labels()).prop_map(|(name, labels)| json!({"name": name, "valueFrom": labels})),
    ];
    let external =
        proptest::sample::select(vec!["saga_inflight", "queue_oldest_seconds"]).prop_flat_map(|metric| {
            "[1-9][0-9]{0,2}m?".prop_map(move |target| json!({"metric": metric, "target": target}))
        });
    let rule = peers().prop_map(|to| json!({"to": to, "ports": [{"port": 1}]}));
    let numbers = (1_u32..1000, 2_u32..500, 1_u32..9, 1_u32..9_000_000);
    (numbers, resources(), vec(odd(), 0..3), vec(variable, 0..3), vec(rule, 0..2), vec(external, 0..2))
        .prop_map(
            |((replicas, connections, least, most), resources, arguments, variables, rules, external)| {
                let arguments: Vec<String> = arguments.into_iter().map(|text| format!("--{text}")).collect();
                json!({
                    "replicas": replicas,
                    "connections": connections,
                    "resources": resources,
                    "autoscaling": {"minReplicas": least, "maxReplicas": most, "external": external},
                    "extraArgs": arguments,
                    "extraEnv": variables,
                    "extraEgress": rules,
                })
            },
        )
}

/// Each of these may be there or not.
fn parts() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let switch = || any::<bool>().prop_map(Value::from).boxed();
    let text = || odd().prop_map(Value::from).boxed();
    let name = || word().prop_map(Value::from).boxed();
    // What names an object is a text: a number there is taken for a name by helm, and by no cluster.
    let own_name = || "([a-z]{1,5}-own)?".prop_map(Value::from).boxed();
    let filled = || odd().prop_filter("it is filled", |text| !text.is_empty()).prop_map(Value::from).boxed();
    // What the chart does not quote may be an anchor, whose name has other letters in YAML 1.1 than in 1.2.
    let unquoted = |strategy: BoxedStrategy<Value>| {
        strategy
            .prop_filter("it is no anchor", |text| {
                !text.as_str().is_some_and(|text| text.trim().starts_with(['&', '*']))
            })
            .boxed()
    };
    let number = |numbers: std::ops::Range<u64>| numbers.prop_map(Value::from).boxed();
    let one_of =
        |words: &'static [&'static str]| proptest::sample::select(words).prop_map(Value::from).boxed();
    let networks = || vec(network(), 0..3).prop_map(Value::from).boxed();
    let share = || {
        prop_oneof![(1_u64..2_000_000).prop_map(Value::from), "[1-9][0-9]?%".prop_map(Value::from)].boxed()
    };
    let mut parts = vec![
        ("environment", "[a-z0-9][a-z0-9-]{0,6}".prop_map(Value::from).boxed()),
        ("image.repository", filled()),
        ("image.tag", text()),
        ("image.digest", "(sha256:[0-9a-f]{64})?".prop_map(Value::from).boxed()),
        ("image.pullPolicy", one_of(&["Always", "IfNotPresent", "Never"])),
        ("image.pullSecrets", vec(word(), 0..3).prop_map(|names| json!(names)).boxed()),
        ("listenAddress", one_of(&["0.0.0.0", "[::]"])),
        ("shopUrl", "(https?://[a-z.#: ]{1,9})?".prop_map(Value::from).boxed()),
        ("allowFaults", switch()),
        ("limits", one_of(&["default", "none"])),
        ("waitSeconds", number(0..3601)),
        ("prepare.image", text()),
        ("prepare.demoData", switch()),
        ("prepare.deadlineSeconds", number(60..10_000_000)),
        ("prepare.resources", resources().boxed()),
        ("database.name", "[a-z_][a-z0-9_]{0,6}".prop_map(Value::from).boxed()),
        ("database.existingSecret", own_name()),
        ("database.external.host", "[A-Za-z0-9.-]{0,9}".prop_map(Value::from).boxed()),
        ("database.external.sslmode", one_of(&["verify-full", "disable"])),
        ("database.external.caSecret", name()),
        ("database.external.cidrs", networks()),
        ("postgresql.image.tag", text()),
        ("postgresql.runAsUser", number(1..5_000_000_000)),
        ("postgresql.readiness", one_of(&["pg_isready", "port"])),
        ("postgresql.persistence.size", quantity().boxed()),
        ("postgresql.persistence.storageClass", name()),
        ("provider.url", "(https?://[a-z/]{1,9})?".prop_map(Value::from).boxed()),
        ("provider.cidrs", networks()),
        ("fakepay.persistence.enabled", switch()),
        ("fakepay.resources", resources().boxed()),
        ("smtp.host", "[a-z0-9.-]{0,9}".prop_map(Value::from).boxed()),
        ("smtp.user", text()),
        ("smtp.existingSecret", name()),
        ("smtp.sender", filled()),
        ("smtp.cidrs", networks()),
        ("secrets.existingSecret", own_name()),
        ("secrets.existingAdminSecret", own_name()),
        ("secrets.revision", text()),
        ("externalSecrets.enabled", switch()),
        ("externalSecrets.store.name", name()),
        ("externalSecrets.keys.secrets", unquoted(filled())),
        ("gateway.service.type", one_of(&["ClusterIP", "NodePort", "LoadBalancer"])),
        ("gateway.service.annotations", labels().boxed()),
        ("gateway.proxies", number(0..11)),
        ("ingress.enabled", switch()),
        ("ingress.className", name()),
        ("ingress.annotations", labels().boxed()),
        ("ingress.tls.enabled", switch()),
        ("ingress.tls.secretName", name()),
        ("ingress.aws.enabled", switch()),
        ("ingress.aws.certificateArn", "(arn:[ -~]{1,9})?".prop_map(Value::from).boxed()),
        ("ingress.aws.sslPolicy", unquoted(filled())),
        ("shutdown.preStopSeconds", number(5..30)),
        ("shutdown.graceSeconds", number(35..90)),
        ("rolling.maxSurge", share()),
        ("rolling.maxUnavailable", share()),
        ("rolling.minReadySeconds", number(0..10_000_000)),
        ("rolling.progressDeadlineSeconds", number(30..9_007_199_254_740_993)),
        ("disruption.maxUnavailable", share()),
        ("scheduling.zones", one_of(&["ScheduleAnyway", "DoNotSchedule"])),
        ("scheduling.lostNodeSeconds", number(0..10_000_000)),
        ("scheduling.nodeSelector", labels().boxed()),
        ("scheduling.priorityClassName", name()),
        ("autoscaling.enabled", switch()),
        ("autoscaling.external", switch()),
        ("metrics.enabled", switch()),
        ("metrics.caBundle", unquoted(text())),
        ("metrics.tlsSecret", name()),
        ("monitoring.serviceMonitor.enabled", switch()),
        ("monitoring.serviceMonitor.labels", labels().boxed()),
        ("monitoring.rules.enabled", switch()),
        ("monitoring.rules.labels", labels().boxed()),
        ("monitoring.prometheusAdapter.enabled", switch()),
        ("telemetry.otlp.url", "(https?://[ -~]{1,9})?".prop_map(Value::from).boxed()),
        ("telemetry.otlp.to", peers().boxed()),
        ("networkPolicy.enabled", switch()),
        ("networkPolicy.publicFrom", peers().boxed()),
        ("networkPolicy.dnsTo", peers().boxed()),
        ("networkPolicy.apiServerCidrs", networks()),
        ("tests.order", switch()),
    ];
    for name in SERVICES {
        parts.push((name, (service(), slots()).prop_map(|(service, slots)| json!([service, slots])).boxed()));
    }
    parts
}

/// So many cases, the same every time.
pub(super) fn cases(count: usize) -> Vec<Case> {
    let mut runner = TestRunner::deterministic();
    let parts = parts();
    let drawn = |runner: &mut TestRunner, number: usize| {
        let mut values = json!({});
        // Some cases change little, so that few of their values can hide what another does.
        let share = [0.1, 0.3, 0.6][number % 3];
        for (path, strategy) in &parts {
            let is_there = prop::bool::weighted(share).new_tree(runner).expect("a value").current();
            if is_there {
                put(&mut values, path, strategy.new_tree(runner).expect("a value").current());
            }
        }
        Case::new(&format!("random {number}"), values)
    };
    (0..count).map(|number| drawn(&mut runner, number)).collect()
}

fn put(values: &mut Value, path: &str, value: Value) {
    if SERVICES.contains(&path) {
        let Value::Array(both) = value else { panic!("a service and its slots") };
        let [service, slots] = <[Value; 2]>::try_from(both).expect("two");
        values["services"][path] = service;
        values["slots"][path] = slots;
        return;
    }
    let mut into = values;
    for name in path.split('.') {
        if into.is_null() {
            *into = Value::Object(Map::new());
        }
        into = &mut into[name];
    }
    *into = value;
}
