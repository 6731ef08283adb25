//! The binary as a container runs it: one role per process, told by arguments, environment and files.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use axum::http::{Request, StatusCode};
use http_body_util::Full;
use platform::http::HttpClient;
use platform::testing::postgres;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const PREFLIGHT: i32 = 4;
const UNREACHABLE: i32 = 6;

/// A folder for the secrets and the data, as pods of one shop share what is mounted.
struct World {
    folder: TempDir,
    database_url: Option<String>,
}

impl World {
    /// On SQLite, where every process is given the same folder.
    fn embedded() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), database_url: None }
    }

    /// On a PostgreSQL of its own, when there is one here.
    async fn on_postgres() -> Option<Self> {
        let database_url = Some(postgres::database().await?);
        Some(Self { folder: tempfile::tempdir().unwrap(), database_url })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shopd"));
        command.args(words).env("SHOPCTL_DATA_DIR", self.folder.path()).stdin(Stdio::null());
        if let Some(url) = &self.database_url {
            command.env("SHOPCTL_ENGINE", "postgres").env("SHOPCTL_DATABASE_URL", url);
        }
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn start(&self, words: &[&str]) -> Process {
        Process::start(&mut self.command(words))
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

/// A running `shopd`; killed when it is dropped.
struct Process {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    log: Lines<BufReader<ChildStderr>>,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, out, log }
    }

    /// Reads its log until a line has `words` in it.
    fn until_logged(&mut self, words: &str) {
        let found = self.log.by_ref().map_while(Result::ok).any(|line| line.contains(words));
        assert!(found, "it ended without a word of `{words}`");
    }

    /// The addresses that it tells when it is ready, by role.
    fn url(&mut self, role: &str) -> String {
        let line = self.out.next().expect("it ended before it was ready").unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(told["event"], "ready", "{line}");
        url_of(&told, role)
    }

    fn ask_to_end(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    fn end(&mut self) -> ExitStatus {
        self.ask_to_end();
        // Whoever does not read must not make it wait.
        while self.log.next().is_some() {}
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn url_of(told: &Value, role: &str) -> String {
    let roles = told["roles"].as_array().unwrap();
    let found = roles.iter().find(|one| one["role"] == role).unwrap_or_else(|| panic!("no {role} in {told}"));
    found["url"].as_str().unwrap().to_owned()
}

fn told(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn get(url: &str) -> (StatusCode, String) {
    let client = HttpClient::new(Duration::from_secs(5));
    let request = Request::get(url).body(Full::default()).unwrap();
    let answer = client.send(request, Duration::from_secs(5)).await.unwrap();
    (answer.status(), String::from_utf8_lossy(answer.body()).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_runs_no_migrations_waits_until_another_has() {
    let Some(world) = World::on_postgres().await else { return };
    let serve = ["serve", "product", "--listen", "127.0.0.1:0", "--migrate", "never"];
    let mut early = world.start(&[&serve[..], &["--wait-seconds", "120"]].concat());
    early.until_logged("waiting for the tables");
    let prepared = told(&world.run(&["prepare", "--demo-data"]));
    assert!(prepared["ran"].as_u64().unwrap() > 0, "{prepared}");
    let url = early.url("product");
    assert_eq!(get(&format!("{url}/readyz")).await.0, StatusCode::OK);
    assert!(early.end().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_runs_no_migrations_says_so_when_nobody_does() {
    let Some(world) = World::on_postgres().await else { return };
    let output = world.run(&["serve", "product", "--listen", "127.0.0.1:0", "--migrate", "never"]);
    assert_eq!(output.status.code(), Some(PREFLIGHT));
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(why.contains("migrations have not run"), "{why}");
}

#[test]
fn a_process_that_waits_for_its_database_hears_that_it_should_end() {
    let mut world = World::embedded();
    world.database_url = Some("postgresql://shop@127.0.0.1:1/shop".to_owned());
    let mut waiting = world.start(&["serve", "order", "--listen", "127.0.0.1:0", "--wait-seconds", "600"]);
    waiting.until_logged("does not answer yet");
    assert!(waiting.end().success());

    let output = world.run(&["serve", "order", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(UNREACHABLE), "without patience it says so at once");
}

#[test]
fn an_admin_signs_in_with_the_password_of_a_file_which_is_not_repeated() {
    let world = World::embedded();
    let password = world.write("password", "correct-horse-battery\n");
    let mut prepare = world.command(&["prepare"]);
    let prepared = told(&prepare.env("SHOPD_ADMIN_PASSWORD_FILE", &password).output().unwrap());
    assert_eq!(prepared["admin"]["email"], "admin@shop.local");
    assert!(!prepared.to_string().contains("horse"), "{prepared}");
    let again = told(&prepare.env("SHOPD_ADMIN_PASSWORD_FILE", &password).output().unwrap());
    assert_eq!((&again["ran"], &again["admin"]), (&0.into(), &Value::Null), "a second time changes nothing");
    let generated = told(&World::embedded().run(&["prepare"]));
    assert!(generated["admin"]["password"].is_string(), "{generated}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_buys_in_a_shop_of_processes() {
    let world = World::embedded();
    told(&world.run(&["prepare", "--demo-data"]));
    let mut fakepay = world.start(&["serve", "fakepay", "--listen", "127.0.0.1:0"]);
    let provider = fakepay.url("fakepay");
    let mut shop = world.start(&[
        "serve",
        "all",
        "--listen",
        "127.0.0.1:0",
        "--metrics-listen",
        "127.0.0.1:0",
        "--provider-url",
        &provider,
        "--migrate",
        "never",
        "--twins",
    ]);
    let line = shop.out.next().unwrap().unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let (url, metrics) = (url_of(&ready, "all"), url_of(&ready, "metrics"));

    let looked = told(&world.run(&["buy", "--url", &url, "--no-order"]));
    assert_eq!(looked["event"], "looked");
    let bought = told(&world.run(&["buy", "--url", &url]));
    assert_eq!((&bought["event"], &bought["status"]), (&"bought".into(), &"confirmed".into()), "{bought}");
    assert_eq!(bought["payment_status"], "captured");
    let declined = world.run(&["buy", "--url", &url, "--payment-method", "pm_card_visa_chargeDeclined"]);
    assert!(!declined.status.success(), "a purchase that is not paid is a failure");

    assert_eq!(get(&format!("{url}/metrics")).await.0, StatusCode::NOT_FOUND, "the public face has none");
    let (status, figures) = get(&format!("{metrics}/metrics")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(figures.contains("http_requests_total"), "{figures}");
    assert!(shop.end().success() && fakepay.end().success());
}

#[test]
fn a_shop_that_cannot_be_reached_sells_nothing() {
    let output = World::embedded().run(&["buy", "--url", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(UNREACHABLE));
}

#[test]
fn a_password_file_that_is_not_there_is_told_by_its_name() {
    let world = World::embedded();
    let missing = Path::new("/nowhere/password");
    let mut command = world.command(&["migrate"]);
    command
        .env("SHOPCTL_ENGINE", "postgres")
        .env("SHOPCTL_DATABASE_URL", "postgresql://shop@127.0.0.1:1/shop");
    let output = command.env("SHOPCTL_DATABASE_PASSWORD_FILE", missing).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/password"));
}

/// Asks until the answer is well and has `wanted` in it.
async fn until_told(url: &str, wanted: &str) -> String {
    let began = Instant::now();
    loop {
        let (status, answer) = get(url).await;
        if status == StatusCode::OK && answer.contains(wanted) {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{url} still tells {status}: {answer}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubernetes_is_told_what_the_services_count() {
    let world = World::embedded();
    told(&world.run(&["prepare", "--demo-data"]));
    let services = ["user", "product", "order", "payment", "notification"];
    let serve = [&["serve", "gateway"], &services[..]].concat();
    // A provider that is away: what is bought stays under way.
    let settings = ["--listen", "127.0.0.1:0", "--provider-url", "http://127.0.0.1:1", "--migrate", "never"];
    let mut shop = world.start(&[&serve[..], &settings[..]].concat());
    let ready: Value = serde_json::from_str(&shop.out.next().unwrap().unwrap()).unwrap();
    let peers = services.map(|name| format!("--peer={name}={}", url_of(&ready, name)));
    let mut words = vec!["serve", "metrics", "--listen", "127.0.0.1:0", "--namespace", "shop"];
    words.extend(peers.iter().map(String::as_str));
    let mut metrics = world.start(&words);
    let api = format!("{}/apis/external.metrics.k8s.io/v1beta1/namespaces/shop", metrics.url("metrics"));

    let sagas = format!("{api}/saga_inflight?labelSelector=service%3Dorder");
    until_told(&sagas, "\"value\":\"0\"").await;
    let buying = world.start(&["buy", "--url", &url_of(&ready, "gateway")]);
    until_told(&sagas, "\"value\":\"1\"").await;
    let oldest = format!("{api}/queue_oldest_seconds?labelSelector=service%3Dnotification");
    let labels = "\"metricLabels\":{\"queue\":\"notification\",\"service\":\"notification\"}";
    until_told(&oldest, labels).await;
    drop(buying);
    assert!(metrics.end().success() && shop.end().success());
}

#[test]
fn the_role_metrics_runs_by_itself_and_its_words_are_nobody_elses() {
    for (words, why) in [
        (&["serve", "metrics", "order"][..], "runs by itself"),
        (&["serve", "order", "--namespace", "shop"], "--namespace is for the role `metrics`"),
        (&["serve", "order", "--only-api-server"], "--only-api-server is for the role `metrics`"),
        (&["serve", "metrics", "--only-api-server"], "KUBERNETES_SERVICE_HOST"),
        (&["serve", "metrics", "--tls-certificate", "a.crt"], "--tls-key"),
        (&["serve", "metrics", "--client-name", "proxy"], "--client-ca"),
        (
            &["serve", "metric"],
            "there are all, gateway, fakepay, user, product, order, payment, notification, metrics",
        ),
    ] {
        let world = World::embedded();
        let output = world.command(words).env_remove("KUBERNETES_SERVICE_HOST").output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {told}");
        assert!(told.contains(why), "{words:?}: {told}");
        assert_eq!(
            std::fs::read_dir(world.folder.path()).unwrap().count(),
            0,
            "{words:?} left something behind"
        );
    }
}

#[test]
fn the_role_metrics_has_no_secrets_and_says_when_its_certificate_is_not_there() {
    let world = World::embedded();
    let mut metrics = world.start(&["serve", "metrics", "--listen", "127.0.0.1:0"]);
    assert!(metrics.url("metrics").starts_with("http://127.0.0.1:"));
    assert!(metrics.end().success());
    assert_eq!(std::fs::read_dir(world.folder.path()).unwrap().count(), 0, "it has no data of its own");

    let words =
        ["serve", "metrics", "--tls-certificate", "/nowhere/tls.crt", "--tls-key", "/nowhere/tls.key"];
    let output = world.run(&[&words[..], &["--listen", "127.0.0.1:0"]].concat());
    assert_eq!(output.status.code(), Some(PREFLIGHT));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/tls.crt"));
}
