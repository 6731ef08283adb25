//! A namespace of its own on the cluster that `SHOPCTL_TEST_CONTEXT` names.
//!
//! | variable | |
//! |---|---|
//! | `SHOPCTL_TEST_CONTEXT` | the context; without it these tests are skipped, and say so |
//! | `SHOPCTL_TEST_KUBECONFIG` | the kubeconfig, when it is not the usual one |
//! | `SHOPCTL_TEST_IMAGES` | two tags of the shop's image that the nodes have or can pull, with a comma between them |
//! | `SHOPCTL_TEST_LAB` | `scripts/lab`, when it is the lab: its disks are emptied for the next test, its parts broken |
//! | `SHOPCTL_TEST_KEEP` | anything: what a test made stays |
//! | `SHOPCTL_TEST_VALUES` | a values file for that cluster: where PostgreSQL's image is |

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value};

use crate::running::Running;
use crate::shopctl::Project;

/// How long anything may take on a busy cluster.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The cluster that all tests are on. Whoever breaks or changes what is everybody's there is alone on it.
static CLUSTER: RwLock<()> = RwLock::new(());

/// How a test has the cluster, for as long as its world is there.
#[derive(Debug)]
#[expect(dead_code, reason = "what counts is when they are dropped")]
enum Share {
    WithOthers(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Share {
    // A test that failed gives the cluster back like any other.
    fn with_others() -> Self {
        Self::WithOthers(CLUSTER.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn alone() -> Self {
        Self::Alone(CLUSTER.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Does `what` on the lab.
pub(super) fn lab(what: &str) {
    let lab = variable("SHOPCTL_TEST_LAB").expect("the lab");
    let output =
        Command::new(&lab).arg("kubernetes").args(what.split(' ')).output().expect("scripts/lab runs");
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What a variable says, if anything.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn has_lab() -> bool {
    let has = variable("SHOPCTL_TEST_LAB").is_some();
    if !has {
        eprintln!("skipped: SHOPCTL_TEST_LAB names no lab (see docs/guides/lab.md)");
    }
    has
}

/// Waits until `child` says something with `words` in it. What it says after that is read on and on.
fn told(child: &mut Child, words: &str) {
    let mut talk = BufReader::new(child.stderr.take().expect("stderr")).lines().map_while(Result::ok);
    let mut said = Vec::new();
    let is_there = talk.by_ref().any(|one| {
        said.push(one.clone());
        one.contains(words)
    });
    assert!(is_there, "it never said {words}: {said:#?}");
    std::thread::spawn(move || talk.for_each(drop));
}

/// Guests who buy while something happens.
pub(super) struct Buyer {
    /// Until it is told to stop.
    child: Option<Child>,
    /// Reads what it tells at its end, which is more than a pipe holds.
    said: Option<JoinHandle<String>>,
}

impl Drop for Buyer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// What the guests met.
pub(super) struct Bought {
    /// How many requests ended how, but for those that ended well, or as a declined card should.
    pub(super) failed: Map<String, Value>,
    /// How many requests there were.
    pub(super) requests: u64,
    /// How many orders they were promised.
    pub(super) orders: u64,
    /// The whole record of the load.
    pub(super) record: Value,
}

impl Bought {
    /// Holds it to no guest having noticed anything.
    pub(super) fn went_well(&self) {
        assert!(self.failed.is_empty(), "guests met {:?}", self.failed);
    }
}

impl Buyer {
    /// Ends it, and answers what the guests met.
    pub(super) fn stop(self) -> Bought {
        let child = self.child.as_ref().expect("it was not stopped");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::INT).expect("it runs");
        self.end()
    }

    /// Whether it has not come to its end.
    pub(super) fn is_under_way(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().expect("it can be asked").is_none())
    }

    /// Waits until it ends by itself, and answers what the guests met.
    pub(super) fn end(mut self) -> Bought {
        let mut child = self.child.take().expect("it was not stopped");
        child.wait().expect("it ends");
        let said = self.said.take().expect("it is read").join().expect("it was read");
        let run: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error} in {said}"));
        let record = run["data"].clone();
        let mut failed = record["outcomes"].as_object().expect("outcomes").clone();
        let requests = failed.values().filter_map(Value::as_u64).sum();
        failed.retain(|how, _| !["ok", "expected"].contains(&how.as_str()));
        let orders = record["journal"]["orders"].as_u64().unwrap_or_default();
        assert_ne!(orders, 0, "nobody bought anything: {record}");
        Bought { failed, requests, orders, record }
    }
}

/// A shop's namespace. It goes when this is dropped.
pub(super) struct World {
    pub(super) project: Project,
    pub(super) images: [String; 2],
    kubeconfig: Option<String>,
    context: String,
    namespace: String,
    /// Given back when the namespace is gone.
    _share: Share,
}

impl World {
    /// A namespace called `name`; none where no cluster is named.
    pub(super) fn on_a_cluster(name: &str) -> Option<Self> {
        Self::on_a_cluster_with(name, "")
    }

    /// The same, with more lines in its shop.toml.
    pub(super) fn on_a_cluster_with(name: &str, more: &str) -> Option<Self> {
        Self::made(name, more, Share::with_others)
    }

    /// A world on the lab, whose Services can be reached from here; none elsewhere.
    pub(super) fn on_the_lab(name: &str, more: &str) -> Option<Self> {
        has_lab().then(|| Self::on_a_cluster_with(name, more)).flatten()
    }

    /// The same with no other test on the lab, for whoever breaks or changes what is everybody's there.
    pub(super) fn alone_on_the_lab(name: &str) -> Option<Self> {
        has_lab().then(|| Self::made(name, "", Share::alone)).flatten()
    }

    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    fn made(name: &str, more: &str, share: impl FnOnce() -> Share) -> Option<Self> {
        let Some(context) = variable("SHOPCTL_TEST_CONTEXT") else {
            eprintln!("skipped: SHOPCTL_TEST_CONTEXT names no cluster (see docs/guides/deploy.md)");
            return None;
        };
        let share = share();
        if variable("SHOPCTL_TEST_LAB").is_some() {
            lab("recycle");
        }
        let images = variable("SHOPCTL_TEST_IMAGES").expect("SHOPCTL_TEST_IMAGES");
        let (first, second) = images.split_once(',').expect("two images");
        let kubeconfig = variable("SHOPCTL_TEST_KUBECONFIG");
        let namespace = format!("shop-{name}-{}", std::process::id());
        let values = variable("SHOPCTL_TEST_VALUES");
        let mut config = format!(
            "schema = 1\n[env.lab]\ntarget = \"kubernetes\"\ncontext = \"{context}\"\nnamespace = \"{namespace}\"\n"
        );
        if let Some(kubeconfig) = &kubeconfig {
            config.push_str(&format!("kubeconfig = \"{kubeconfig}\"\n"));
        }
        if let Some(values) = &values {
            assert!(Path::new(values).is_absolute(), "SHOPCTL_TEST_VALUES is meant from any folder");
            config.push_str(&format!("values = [\"{values}\"]\n"));
        }
        config.push_str(more);
        let project = Project::with_config(&config);
        let images = [first.to_owned(), second.to_owned()];
        Some(Self { project, images, kubeconfig, context, namespace, _share: share })
    }

    /// `shopctl LINE -e lab`, to its end.
    pub(super) fn run(&self, line: &str) -> Output {
        self.spawn(line).wait_with_output().expect("shopctl runs")
    }

    /// The same, begun.
    pub(super) fn spawn(&self, line: &str) -> Child {
        let words: Vec<&str> = line.split(' ').chain(["-e", "lab"]).collect();
        let mut command = self.project.command(&words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("shopctl starts")
    }

    /// Begins it, and answers it once it says something with `words` in it.
    pub(super) fn begun(&self, line: &str, words: &str) -> Child {
        let mut child = self.spawn(line);
        told(&mut child, words);
        child
    }

    /// Runs it, and holds it to its exit code. Answers the document that it prints.
    pub(super) fn expect(&self, code: i32, line: &str) -> Value {
        let output = self.run(&format!("{line} -o json"));
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{line}\n{out}\n{err}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error} in {out}"))
    }

    /// What kubectl answers, as JSON.
    pub(super) fn kubectl(&self, line: &str) -> Value {
        let words: Vec<&str> = line.split(' ').collect();
        serde_json::from_slice(&self.kubectl_words(&words)).unwrap_or(Value::Null)
    }

    fn kubectl_words(&self, words: &[&str]) -> Vec<u8> {
        self.try_kubectl(words).unwrap_or_else(|said| panic!("{said}"))
    }

    fn try_kubectl(&self, words: &[&str]) -> Result<Vec<u8>, String> {
        let mut command = Command::new("kubectl");
        command.args(["--context", &self.context]).args(self.cluster_words());
        let output = command.args(words).output().map_err(|error| format!("kubectl: {error}"))?;
        let said = || format!("kubectl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.status.success().then_some(output.stdout).ok_or_else(said)
    }

    /// Has something deleted at the end of a test. One that failed has said why: were this said on top of it, that would
    /// end all the others.
    pub(super) fn clear_away(&self, kind: &str, name: &str) {
        let gone = self.try_kubectl(&["delete", kind, name, "--wait=false", "--ignore-not-found"]);
        assert!(gone.is_ok() || std::thread::panicking(), "{gone:?}");
    }

    /// The words that kubectl and helm have in common: the kubeconfig, and the namespace.
    pub(super) fn cluster_words(&self) -> Vec<&str> {
        let kubeconfig = self.kubeconfig.as_deref().map(|path| ["--kubeconfig", path]);
        kubeconfig.into_iter().flatten().chain(["--namespace", &self.namespace]).collect()
    }

    /// The name of the context in the kubeconfig.
    pub(super) fn context(&self) -> &str {
        &self.context
    }

    /// What the shop's own PostgreSQL answers to `sql`, as text.
    pub(super) fn psql(&self, sql: &str) -> String {
        let read = "read -r p < /run/shop/database/password || true; PGPASSWORD=$p exec psql -h 127.0.0.1 -U shop -d shop -tAc \"$0\"";
        let server = ["exec", "postgresql-0", "--", "sh", "-c", read, sql];
        String::from_utf8_lossy(&self.kubectl_words(&server)).trim().to_owned()
    }

    /// Holds the shop to its promises, those to every guest of this test among them, once nothing is under way any more.
    pub(super) fn keeps_its_promises(&self) {
        let mut said = String::new();
        let kept = self.comes(|| {
            let output = self.run("verify -o json");
            said = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success()
        });
        assert!(kept, "{said}");
    }

    /// The namespace of the shop.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether `what` comes to be so before anybody's patience ends.
    pub(super) fn comes(&self, mut what: impl FnMut() -> bool) -> bool {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if what() {
                return true;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        false
    }

    /// A kubeconfig like ours, whose user has nothing but this token.
    pub(super) fn kubeconfig_with_token(&self, token: &str) -> PathBuf {
        let config = self.kubectl("config view --minify --raw -o json");
        let mut config = config;
        config["users"][0]["user"] = serde_json::json!({ "token": token });
        self.project.write("kubeconfig", &config.to_string());
        self.project.path().join("kubeconfig")
    }

    /// Guests who buy, a few a second, at the gateway's own address, until the buyer is told to stop.
    pub(super) fn buyer(&self) -> Buyer {
        self.load("checkout --rate 5 --duration 1h")
    }

    /// `shopctl load run LINE` at the gateway's own address, once it has begun.
    pub(super) fn load(&self, line: &str) -> Buyer {
        let service = self.kubectl("get service gateway -o json");
        let address = service["spec"]["clusterIP"].as_str().expect("an address");
        let port = &service["spec"]["ports"][0]["port"];
        let target = format!("--i-own-this-target --url http://{address}:{port} -o json");
        let mut child = self.spawn(&format!("load run {line} {target}"));
        let stdout = child.stdout.take().expect("stdout");
        let said = std::thread::spawn(move || std::io::read_to_string(stdout).expect("text"));
        told(&mut child, "asked");
        Buyer { child: Some(child), said: Some(said) }
    }

    /// Does `work` with the shop's address, to which a forwarded port leads meanwhile.
    pub(super) fn at_the_shop<T>(&self, work: impl AsyncFnOnce(&str) -> T) -> T {
        let open = Running::begin(&self.project, &["open", "storefront", "-e", "lab", "--print"]);
        let url = open.line();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let done = runtime.block_on(work(url.trim_end_matches('/')));
        open.signal(Signal::INT);
        assert_eq!(open.end().0, 130);
        done
    }

    /// The names of the objects of a kind.
    pub(super) fn names(&self, kind: &str) -> Vec<String> {
        let found = self.kubectl(&format!("get {kind} -o json"));
        let items = found["items"].as_array().into_iter().flatten();
        items.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
    }

    /// The slot that the Service of `service` selects alone; none when it selects both.
    pub(super) fn selected(&self, service: &str) -> Option<String> {
        let service = self.kubectl(&format!("get service {service} -o json"));
        service["spec"]["selector"]["shopctl.dev/slot"].as_str().map(str::to_owned)
    }

    /// How many endpoints of `service` are given requests.
    pub(super) fn served(&self, service: &str) -> usize {
        let slices =
            self.kubectl(&format!("get endpointslices -l kubernetes.io/service-name={service} -o json"));
        let endpoints = slices["items"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
        endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false).count()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::env::var_os("SHOPCTL_TEST_KEEP").is_none() {
            self.clear_away("namespace", &self.namespace);
        }
    }
}
