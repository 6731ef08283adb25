//! A shop of this machine behind an API server of the tests, as if it lived on a cluster: everything of it is real but the
//! cluster. `[env.lab]` is reached through forwarded ports only.

use std::net::SocketAddr;
use std::path::PathBuf;

use platform::testing::postgres;
use platform::verify::journal::Journal;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::fake::{Door, Fake, NAMESPACE};
use crate::buying::place;
use crate::load::GUESTS;
use crate::pieces::shop::project;
use crate::running::Running;
use crate::shopctl::Project;

const DATABASE: &str = "postgresql://shop@postgresql:5432/shop?sslmode=disable";

/// The shop, and what stands between it and whoever wants it.
struct Behind {
    fake: Fake,
    shop: Running,
}

fn service(name: &str, port: u16, target: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {
            "selector": {"app.kubernetes.io/name": name},
            "ports": [{"name": target, "port": port, "targetPort": target}],
        },
    })
}

fn pod(name: &str, of: &str, component: &str, port: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {
            "app.kubernetes.io/name": of, "app.kubernetes.io/part-of": "shop", "app.kubernetes.io/component": component,
        }},
        "spec": {"containers": [{"name": "main", "ports": [{"name": port, "containerPort": 1}]}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn deployment(of: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": format!("{of}-a"), "labels": {
            "app.kubernetes.io/name": of, "app.kubernetes.io/part-of": "shop",
        }},
        "spec": {"template": {"spec": {
            "containers": [{"name": "shopd", "envFrom": [{"configMapRef": {"name": format!("{of}-a")}}]}],
            "volumes": [
                {"name": "secrets", "secret": {"secretName": "keys"}},
                {"name": "database", "secret": {"secretName": "shop-database"}},
            ],
        }}},
    })
}

fn told(of: &str, database: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("{of}-a")},
        "data": {"SHOPCTL_DATABASE_URL": database, "SHOPD_PROVIDER_URL": "http://fakepay:8090"},
    })
}

fn secret(name: &str, key: &str, value: &[u8]) -> Value {
    use base64::Engine as _;
    let value = base64::engine::general_purpose::STANDARD.encode(value);
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {key: value}})
}

impl Behind {
    /// `shopctl up` with `words`, behind the API server.
    fn up(words: &[&str]) -> Self {
        let project = project();
        project.write(
            "shop.toml",
            "schema = 1\n[env.local]\n[env.lab]\ntarget = \"kubernetes\"\ncontext = \"fake\"\nkubeconfig = \"kubeconfig\"\n",
        );
        let shop = Running::up(&project, words);
        let folder = project.path().join(".shopctl/local");
        let secrets = std::fs::read(folder.join("secrets.json")).expect("secrets");
        let fake = Fake::of(project);
        fake.make_namespace(NAMESPACE);
        let objects = [
            service("gateway", 80, "http"),
            service("fakepay", 8090, "http"),
            service("postgresql", 5432, "postgresql"),
            pod("gateway-a-1", "gateway", "service", "http"),
            pod("payment-a-1", "payment", "service", "http"),
            pod("fakepay-0", "fakepay", "provider", "http"),
            pod("postgresql-0", "postgresql", "database", "postgresql"),
            deployment("gateway"),
            deployment("payment"),
            told("gateway", DATABASE),
            told("payment", DATABASE),
            secret("keys", "secrets.json", &secrets),
            secret("shop-database", "password", b"the server asks for none"),
        ];
        objects.into_iter().for_each(|object| fake.place(object));
        let holder: Value =
            serde_json::from_slice(&std::fs::read(folder.join("up.lock")).expect("a holder")).expect("JSON");
        let tcp = |url: &Value| -> Door {
            let url = url.as_str().expect("an address").trim_start_matches("http://");
            Door::Tcp(url.parse::<SocketAddr>().expect("an address"))
        };
        for name in ["gateway-a-1", "payment-a-1"] {
            fake.door(name, tcp(&holder["url"]));
            fake.log(name, "{\"message\":\"the shop is ready\"}\n{\"message\":\"all is well\"}\n");
        }
        fake.door("fakepay-0", tcp(&holder["fakepay_url"]));
        if let Some(url) = holder["database_url"].as_str() {
            fake.door("postgresql-0", Door::Unix(socket(url)));
        }
        Self { fake, shop }
    }

    /// `shopctl LINE -e lab -o json`, held to its exit code.
    fn lab(&self, code: i32, line: &str) -> Value {
        let ran = self.fake.project.run(&format!("{line} -e lab -o json"));
        assert_eq!(ran.code, code, "{line}: {}", ran.picture());
        ran.json()
    }

    /// The stable code of what `line` fails with.
    fn refused(&self, code: i32, line: &str) -> String {
        self.lab(code, line)["errors"][0]["code"].as_str().expect("a code").to_owned()
    }
}

/// The socket of `postgresql://USER@%2Ffolder:PORT/…`.
fn socket(url: &str) -> PathBuf {
    let (_, rest) = url.split_once('@').expect("a user");
    let (folder, rest) = rest.split_once(':').expect("a port");
    let port = rest.split(['/', ',']).next().expect("a port");
    let folder = folder.replace("%2F", "/").replace("%2f", "/").replace("%2E", ".").replace("%2e", ".");
    PathBuf::from(folder).join(format!(".s.PGSQL.{port}"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

#[test]
fn who_may_read_the_secret_runs_the_shop_and_nobody_else() {
    let behind = Behind::up(&[]);
    let order = runtime().block_on(place(&behind.shop.url(), "behind-1", false)).order_id;
    let sagas = behind.lab(0, "saga list");
    assert_eq!(sagas["data"][0]["order_id"], order.to_string());
    behind.lab(0, &format!("saga show {order}"));
    assert_eq!(behind.lab(0, "dlq list")["data"], json!([]));
    let breakers = behind.lab(0, "breaker list");
    let breaker = breakers["data"][0]["name"].as_str().expect("a breaker").to_owned();
    let opened = behind.lab(0, &format!("breaker open {breaker} --reason rehearsal --apply"));
    assert_eq!(opened["data"]["breaker"]["held_open"], "rehearsal");
    behind.lab(0, &format!("breaker close {breaker} --reason rehearsed --apply"));

    behind.fake.place(secret("keys", "secrets.json", b"{}"));
    assert_eq!(behind.refused(5, "saga list"), "E-NO-SECRETS");
    behind.fake.place(secret("keys", "another", b"{}"));
    assert_eq!(behind.refused(5, "saga list"), "E-NO-SECRETS");
    behind.fake.deny("secrets");
    assert_eq!(behind.refused(5, "saga list"), "E-NO-SECRETS");
    behind.fake.deny("portforward");
    assert_eq!(behind.refused(5, "saga list"), "E-KUBE-FORBIDDEN");
    assert_eq!(behind.refused(5, "verify"), "E-NO-SECRETS");
}

#[test]
fn a_pass_of_other_secrets_is_not_taken() {
    let behind = Behind::up(&["--empty"]);
    let text = std::fs::read_to_string(behind.fake.project.path().join(".shopctl/local/secrets.json"))
        .expect("secrets");
    let mut secrets: Value = serde_json::from_str(&text).expect("JSON");
    secrets["internal_keys"][0][1] = "a key that the shop does not have, of enough letters".into();
    behind.fake.place(secret("keys", "secrets.json", secrets.to_string().as_bytes()));
    let ran = behind.fake.project.run("saga list -e lab");
    assert_eq!(ran.code, 5, "{}", ran.picture());
    assert!(ran.stderr.contains("was the Secret changed after the pods began?"), "{}", ran.picture());
}

#[test]
fn a_page_is_open_as_long_as_somebody_wants_it() {
    let behind = Behind::up(&["--empty"]);
    let open = Running::begin(&behind.fake.project, &["open", "api", "-e", "lab", "--print"]);
    let url = open.line();
    assert!(url.starts_with("http://127.0.0.1:") && url.ends_with("/api"), "{url}");
    let body = runtime().block_on(async {
        let reply = shopctl::wire::get(&url, "/readyz", crate::shopctl::PATIENCE).await.expect("it answers");
        reply.status
    });
    assert!(body.is_success());
    open.signal(Signal::INT);
    assert_eq!(open.end().0, 130);

    behind.fake.place(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "gateway"},
        "spec": {"rules": [{"host": "shop.example.com"}], "tls": [{"hosts": ["shop.example.com"]}]},
    }));
    let ran = behind.fake.project.run("open storefront -e lab");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "https://shop.example.com/\n"), "{}", ran.picture());
}

fn outcome<'a>(report: &'a Value, id: &str) -> &'a Value {
    let outcomes = report["outcomes"].as_array().expect("outcomes");
    outcomes.iter().find(|outcome| outcome["id"] == id).expect("it was looked at")
}

#[test]
fn promises_are_checked_and_load_is_made_through_the_cluster() {
    if !postgres::is_here() {
        return;
    }
    let behind = Behind::up(&["--processes", "--limits", "none"]);
    runtime().block_on(place(&behind.shop.url(), "behind-2", false));
    behind.fake.project.write("guests.toml", GUESTS);
    let ran = behind.fake.project.run("load run --file guests.toml -e lab -o json");
    let run = ran.json();
    assert_eq!((ran.code, &run["data"]["verdict"]["word"]), (0, &"pass".into()), "{}", ran.picture());
    assert!(ran.stderr.contains("goes through the API server of fake"), "{}", ran.stderr);
    assert_eq!(run["data"]["verify"]["looked"]["engine"], "postgres");
    assert_eq!(run["data"]["target"]["environment"], "lab");
    let journal = Journal::read(&journal_of(&behind.fake.project, &run)).expect("a journal");
    assert_eq!(journal.head.shop, "kubernetes:shop/uid-of-shop", "the port was of that run only");
    assert!(!journal.orders.is_empty());

    let found = behind.lab(0, "verify")["data"].clone();
    assert_eq!((&found["verdict"], &found["looked"]["live"]), (&"true".into(), &true.into()), "{found}");
    let acknowledged = outcome(&found, "V17")["counts"]["acknowledged"].as_u64();
    assert_eq!(
        acknowledged,
        Some(journal.orders.len() as u64),
        "journals of runs on the environment are read"
    );
    assert_eq!(outcome(&found, "V9")["verdict"], "true", "the sandbox told its statement");
    let logs = found["looked"]["logs"].as_array().expect("logs");
    assert!(logs.contains(&"payment-a-1".into()) && logs.contains(&"postgresql-0".into()), "{logs:?}");
    let texts = json!(["metrics of gateway-a-1", "metrics of payment-a-1"]);
    assert_eq!(found["looked"]["texts"], texts);

    what_is_broken_or_cannot_be_seen_is_said(&behind);
}

fn what_is_broken_or_cannot_be_seen_is_said(behind: &Behind) {
    behind.fake.log("payment-a-1", "{}\n{\"message\":\"charged 4242 4242 4242 4242\"}\n");
    let leaked = behind.lab(16, "verify --only V19")["data"].clone();
    assert_eq!(outcome(&leaked, "V19")["examples"][0]["id"], "payment-a-1 line 2");
    let more_than_is_read = "é".repeat(1_100) + "\n";
    let last = "{\"message\":\"charged 4242 4242 4242 4242\"}\n";
    behind.fake.log("payment-a-1", &(more_than_is_read.repeat(2_500) + last));
    let leaked = behind.lab(16, "verify --only V19")["data"].clone();
    assert_eq!(
        outcome(&leaked, "V19")["examples"][0]["id"],
        "payment-a-1 line 500",
        "the end is what is read"
    );
    behind.fake.log("payment-a-1", "");
    behind.fake.door("payment-a-1", Door::Closed("connection refused"));
    let blind = behind.lab(17, "verify --only V19")["data"].clone();
    let why = outcome(&blind, "V19")["why"].as_str().expect("a reason");
    assert!(
        why.contains("the metrics of the pod payment-a-1") && why.contains("connection refused"),
        "{why}"
    );
    behind.fake.door("fakepay-0", Door::Closed("connection refused"));
    let blind = behind.lab(17, "verify --only V9")["data"].clone();
    let why = outcome(&blind, "V9")["why"].as_str().expect("a reason");
    assert!(why.contains("the pod fakepay-0 takes no connection: connection refused"), "{why}");
    behind.fake.door("postgresql-0", Door::Closed("connection refused"));
    assert_eq!(behind.refused(6, "verify --only V1"), "E-KUBE-NO-WAY");

    let outside = "postgresql://shop@db.example.com:5432/shop?sslmode=verify-full";
    behind.fake.place(told("payment", outside));
    assert_eq!(behind.refused(3, "verify --only V1"), "E-DATABASE-URL");
    let lock = std::fs::read(behind.fake.project.path().join(".shopctl/local/up.lock")).expect("a holder");
    let holder: Value = serde_json::from_slice(&lock).expect("JSON");
    let mut direct = behind.fake.project.command(&["verify", "--only", "V1", "-e", "lab"]);
    direct.env("SHOPCTL_DATABASE_URL", holder["database_url"].as_str().expect("an address"));
    assert_eq!(direct.output().expect("shopctl runs").status.code(), Some(0), "directly, where it is named");
}

fn journal_of(project: &Project, run: &Value) -> PathBuf {
    let id = run["data"]["id"].as_str().expect("a run");
    project.path().join(".shopctl/lab/runs").join(id).join("journal.ndjson")
}
