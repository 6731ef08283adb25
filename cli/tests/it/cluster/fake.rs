//! An API server of our own, with controllers that are done at once: enough of Kubernetes that a whole shop is deployed to
//! it, kept up, and taken away, and that one which is there is reached through the ports of its pods. It remembers what was
//! asked of it.
//!
//! An apply is a merge that takes away what its manager named before and names no more; nobody contests a field. What only a
//! real cluster can show is in `real.rs` and `real_daily.rs`.

mod controllers;
mod doors;
mod route;
mod server;
mod sockets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

pub(super) use self::doors::Door;
use crate::shopctl::{Project, Ran};

/// The namespace of the shop.
pub(super) const NAMESPACE: &str = "shop";

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) body: Value,
}

/// What the server keeps.
#[derive(Default)]
pub(super) struct Kept {
    /// By their paths.
    objects: BTreeMap<String, Value>,
    /// What each manager named last, by path.
    applied: BTreeMap<(String, String), Value>,
    version: u64,
    /// Every change: its version, the path, the event.
    changes: Vec<(u64, String, Value)>,
    /// Who watches which collection.
    watchers: Vec<(String, UnboundedSender<Bytes>)>,
    /// Lines of pods, each with its moment in front; and of the life before.
    logs: BTreeMap<String, Vec<String>>,
    previous_logs: BTreeMap<String, Vec<String>>,
    /// Who follows which pod's log.
    followers: Vec<(String, UnboundedSender<Bytes>)>,
    /// Images that cannot be pulled.
    missing_images: BTreeSet<String>,
    /// Names of objects that do not go when they are deleted.
    stuck: BTreeSet<String>,
    /// What the ports of each pod lead to.
    doors: BTreeMap<String, Door>,
    /// The ways to pods; one that is let go of is cut.
    ways: Vec<(String, oneshot::Sender<()>)>,
    /// The pods that ways were asked to.
    asked_ways: Vec<String>,
    /// What the account may not ask for.
    denied: BTreeSet<&'static str>,
    pub(super) asked: Vec<Asked>,
}

/// A cluster, and a folder whose environment `lab` lives on it.
pub(super) struct Fake {
    pub(super) project: Project,
    pub(super) kept: Arc<Mutex<Kept>>,
}

impl Fake {
    /// A cluster with nothing on it but its own namespaces; `layer` is added to the environment.
    pub(super) fn new(layer: &str) -> Self {
        Self::of(Project::with_config(&format!(
            "schema = 1\n[env.lab]\ntarget = \"kubernetes\"\nkubeconfig = \"kubeconfig\"\ncontext = \"fake\"\nnamespace = \"{NAMESPACE}\"\n{layer}\n"
        )))
    }

    /// The same for a folder that has its shop.toml. The context `fake` of its `kubeconfig` leads to the cluster.
    pub(super) fn of(project: Project) -> Self {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let address = server::start(Arc::clone(&kept));
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
        });
        project.write("kubeconfig", &kubeconfig.to_string());
        let fake = Self { project, kept };
        ["kube-system", "default"].into_iter().for_each(|name| fake.make_namespace(name));
        fake
    }

    /// Makes a namespace, whose id tells its name.
    pub(super) fn make_namespace(&self, name: &str) {
        let metadata = json!({"name": name, "uid": format!("uid-of-{name}")});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        self.put(&format!("/api/v1/namespaces/{name}"), namespace);
    }

    /// A cluster with a shop on it, brought there by a deploy.
    pub(super) fn with_a_shop() -> Self {
        let fake = Self::new("image = \"shop:1\"");
        fake.expect(0, "deploy");
        fake.lock().asked.clear();
        fake
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nobody panicked with it")
    }

    /// `shopctl LINE -e lab`.
    pub(super) fn run(&self, line: &str) -> Ran {
        self.project.run(&format!("{line} -e lab"))
    }

    /// The same, held to its exit code. Answers the document that it prints.
    pub(super) fn expect(&self, code: i32, line: &str) -> Value {
        let ran = self.run(&format!("{line} -o json"));
        assert_eq!(ran.code, code, "{line}: {}", ran.picture());
        ran.json()
    }

    /// The object at a path below the namespace: `deployments/order-a`.
    pub(super) fn object(&self, path: &str) -> Option<Value> {
        let end = format!("/namespaces/{NAMESPACE}/{path}");
        let kept = self.lock();
        kept.objects.iter().find(|(path, _)| path.ends_with(&end)).map(|(_, object)| object.clone())
    }

    /// The kinds and names of what is in the namespace.
    pub(super) fn names(&self) -> Vec<String> {
        let kept = self.lock();
        let inside = format!("/namespaces/{NAMESPACE}/");
        let all = kept.objects.iter().filter(|(path, _)| path.contains(&inside));
        all.map(|(_, object)| {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            format!("{}/{}", text("/kind"), text("/metadata/name"))
        })
        .collect()
    }

    /// Puts an object onto the cluster, as somebody else would.
    pub(super) fn put(&self, path: &str, object: Value) {
        self.lock().put(path, object);
    }

    /// Puts an object into the shop's namespace.
    pub(super) fn place(&self, mut object: Value) {
        object["metadata"]["namespace"] = NAMESPACE.into();
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).expect("a name");
        let path = route::path(text("/apiVersion"), text("/kind"), NAMESPACE, text("/metadata/name"));
        self.put(&path, object);
    }

    /// From now on the account may not ask for this: `portforward`, `secrets`.
    pub(super) fn deny(&self, resource: &'static str) {
        self.lock().denied.insert(resource);
    }

    /// Changes an object, as somebody else would.
    pub(super) fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let end = format!("/namespaces/{NAMESPACE}/{path}");
        let mut kept = self.lock();
        let found = kept.objects.iter().find(|(path, _)| path.ends_with(&end));
        let (path, mut object) =
            found.map(|(path, object)| (path.clone(), object.clone())).expect("an object");
        change(&mut object);
        kept.put(&path, object);
    }

    /// Takes an object away, as somebody else would: `deployments/order-a`.
    pub(super) fn take(&self, path: &str) {
        let end = format!("/namespaces/{NAMESPACE}/{path}");
        let mut kept = self.lock();
        let found = kept.objects.keys().find(|path| path.ends_with(&end)).cloned();
        kept.remove(&found.expect("an object"));
    }

    /// Nodes find this image no more.
    pub(super) fn lose_image(&self, image: &str) {
        self.lock().missing_images.insert(image.to_owned());
    }

    /// The object stays when it is deleted.
    pub(super) fn hold(&self, name: &str, is_held: bool) {
        let mut kept = self.lock();
        if is_held {
            kept.stuck.insert(name.to_owned());
        } else {
            kept.stuck.remove(name);
            kept.objects.retain(|_, object| {
                object["metadata"]["name"] != name || object.pointer("/metadata/deletionTimestamp").is_none()
            });
        }
    }

    /// A pod writes a line.
    pub(super) fn write(&self, pod: &str, at: &str, text: &str) {
        let mut kept = self.lock();
        let line = format!("{at} {text}");
        kept.followers.retain(|(followed, sender)| {
            followed != pod || sender.send(Bytes::from(format!("{line}\n"))).is_ok()
        });
        kept.logs.entry(pod.to_owned()).or_default().push(line);
    }

    /// What the log of a pod has, all of one moment.
    pub(super) fn log(&self, pod: &str, text: &str) {
        let lines = text.lines().map(|line| format!("2026-11-30T10:00:00Z {line}")).collect();
        self.lock().logs.insert(pod.to_owned(), lines);
    }

    /// Whoever follows a log is cut off; the pods go on.
    pub(super) fn cut_logs(&self) {
        self.lock().followers.clear();
    }

    /// A pod has written a line before its container was started again.
    pub(super) fn write_before(&self, pod: &str, at: &str, text: &str) {
        self.lock().previous_logs.entry(pod.to_owned()).or_default().push(format!("{at} {text}"));
    }

    /// The pods of a service, by name.
    pub(super) fn pods(&self, service: &str) -> Vec<String> {
        let start = format!("Pod/{service}-");
        self.names()
            .into_iter()
            .filter_map(|name| Some(format!("{service}-{}", name.strip_prefix(&start)?)))
            .collect()
    }

    /// What was asked: `PATCH deployments/order-a`, with the query.
    pub(super) fn writes(&self) -> Vec<Asked> {
        self.lock().asked.iter().filter(|asked| asked.method != "GET").cloned().collect()
    }
}

/// Takes out of `object` what `before` names and `now` does not.
fn disown(object: &mut Value, before: &Value, now: &Value) {
    let (Value::Object(object), Value::Object(before)) = (object, before) else { return };
    for (name, was) in before {
        match now.get(name) {
            None => drop(object.remove(name)),
            Some(now) => disown(object.get_mut(name).unwrap_or(&mut Value::Null), was, now),
        }
    }
}

/// Puts `change` into `object`: maps are merged, null takes away when it is a merge patch.
fn merge(object: &mut Value, change: &Value, takes_away: bool) {
    match (object, change) {
        (Value::Object(object), Value::Object(change)) => {
            for (name, value) in change {
                if takes_away && value.is_null() {
                    object.remove(name);
                } else {
                    merge(object.entry(name.clone()).or_insert(Value::Null), value, takes_away);
                }
            }
        }
        (object, change) => *object = change.clone(),
    }
}
