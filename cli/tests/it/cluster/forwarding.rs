//! An API server to test against. It holds objects, tells watches of changes, and carries forwarded ports over WebSockets
//! in the words of Kubernetes: two channels for a port, one for data and one for what went wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

use super::sockets::{self, BINARY, CLOSE};

const PROTOCOL: &str = "v4.channel.k8s.io";
/// What there is: API version, kind, its name in paths.
const KINDS: &[(&str, &str, &str)] = &[
    ("v1", "Namespace", "namespaces"),
    ("v1", "Service", "services"),
    ("v1", "Pod", "pods"),
    ("v1", "Secret", "secrets"),
    ("v1", "ConfigMap", "configmaps"),
    ("apps/v1", "Deployment", "deployments"),
    ("networking.k8s.io/v1", "Ingress", "ingresses"),
];

/// What a pod's ports lead to.
#[derive(Clone, Debug)]
pub(super) enum Door {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// The node cannot connect, and says this.
    Closed(&'static str),
}

/// The API server. It lives as long as the test's process.
pub(super) struct Api {
    pub(super) address: String,
    shared: Arc<Shared>,
}

struct Shared {
    objects: Mutex<BTreeMap<(String, String), Value>>,
    /// All that ever changed; a version is the number of changes until then.
    history: Mutex<Vec<Value>>,
    version: watch::Sender<usize>,
    doors: Mutex<BTreeMap<String, Door>>,
    logs: Mutex<BTreeMap<String, String>>,
    denied: Mutex<BTreeSet<&'static str>>,
    cuts: broadcast::Sender<String>,
    /// The pods that ways were asked to, in order.
    ways: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Api {
    /// One that holds `objects`, and the namespaces that every cluster with a shop has.
    pub(super) fn start(objects: impl IntoIterator<Item = Value>) -> Self {
        let shared = Arc::new(Shared {
            objects: Mutex::default(),
            history: Mutex::default(),
            version: watch::channel(0).0,
            doors: Mutex::default(),
            logs: Mutex::default(),
            denied: Mutex::default(),
            cuts: broadcast::channel(64).0,
            ways: Mutex::default(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("an address").to_string();
        let api = Self { address, shared: Arc::clone(&shared) };
        for name in ["kube-system", "shop"] {
            api.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "uid": format!("uid-of-{name}")}}));
        }
        objects.into_iter().for_each(|object| api.put(object));
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let router = Router::new().fallback(answer).with_state(shared);
                axum::serve(listener, router).await.expect("it serves");
            });
        });
        api
    }

    /// A kubeconfig whose context `fake` leads here.
    pub(super) fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
        })
        .to_string()
    }

    /// Makes or changes an object.
    pub(super) fn put(&self, object: Value) {
        let mut objects = lock(&self.shared.objects);
        let known = objects.insert(key(&object), object.clone());
        self.tell(if known.is_some() { "MODIFIED" } else { "ADDED" }, object);
    }

    /// Takes an object away.
    pub(super) fn delete(&self, kind: &str, name: &str) {
        let mut objects = lock(&self.shared.objects);
        let gone = objects.remove(&(kind.to_owned(), name.to_owned()));
        self.tell("DELETED", gone.expect("it was there"));
    }

    fn tell(&self, word: &str, object: Value) {
        let mut history = lock(&self.shared.history);
        history.push(json!({"type": word, "object": object}));
        self.shared.version.send_replace(history.len());
    }

    /// From now on the ports of `pod` lead there.
    pub(super) fn door(&self, pod: &str, door: Door) {
        lock(&self.shared.doors).insert(pod.to_owned(), door);
    }

    /// What the log of `pod` has.
    pub(super) fn log(&self, pod: &str, text: &str) {
        lock(&self.shared.logs).insert(pod.to_owned(), text.to_owned());
    }

    /// From now on the account may not ask for this: `portforward`, `secrets`.
    pub(super) fn deny(&self, resource: &'static str) {
        lock(&self.shared.denied).insert(resource);
    }

    /// Breaks the ways to `pod` off, without a word.
    pub(super) fn cut(&self, pod: &str) {
        self.shared.cuts.send(pod.to_owned()).ok();
    }

    /// The pods that ways were asked to, in order.
    pub(super) fn ways(&self) -> Vec<String> {
        lock(&self.shared.ways).clone()
    }
}

fn key(object: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().expect("a name").to_owned();
    (text(&object["kind"]), text(&object["metadata"]["name"]))
}

fn status(code: u16, reason: &str, message: &str) -> Response {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    (StatusCode::from_u16(code).expect("a status"), status.to_string()).into_response()
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (version, rest) = match parts.as_slice() {
        ["version"] => return json!({"gitVersion": "v1.34.0"}).to_string().into_response(),
        ["api", version, rest @ ..] => ((*version).to_owned(), rest),
        ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
        _ => return status(404, "NotFound", "no such path"),
    };
    let rest = match rest {
        [] => return resources(&version),
        ["namespaces", name] => return one(&shared, "Namespace", name),
        ["namespaces", _, rest @ ..] => rest,
        _ => return status(404, "NotFound", "no such path"),
    };
    let last = *rest.last().expect("a part");
    for word in [rest[0], last] {
        if lock(&shared.denied).contains(word) {
            let message = format!(
                "pods is forbidden: User \"me\" cannot get resource \"{word}\" in the namespace \"shop\""
            );
            return status(403, "Forbidden", &message);
        }
    }
    let kind = KINDS.iter().find(|(of, _, plural)| *of == version && *plural == rest[0]);
    let Some((_, kind, _)) = kind else { return status(404, "NotFound", "no such resource") };
    match rest {
        [_] => list(&shared, kind, request.uri().query().unwrap_or_default()),
        [_, name] => one(&shared, kind, name),
        [_, pod, "log"] => log(&shared, pod, request.uri().query().unwrap_or_default()),
        [_, pod, "portforward"] => forward(&shared, pod, request),
        _ => status(404, "NotFound", "no such path"),
    }
}

fn resources(version: &str) -> Response {
    let known = KINDS.iter().filter(|(of, _, _)| *of == version);
    let resources: Vec<Value> = known
        .map(|(_, kind, plural)| json!({"name": plural, "kind": kind, "namespaced": *kind != "Namespace"}))
        .collect();
    json!({"kind": "APIResourceList", "resources": resources}).to_string().into_response()
}

fn one(shared: &Shared, kind: &str, name: &str) -> Response {
    match lock(&shared.objects).get(&(kind.to_owned(), name.to_owned())) {
        Some(object) => object.to_string().into_response(),
        None => status(404, "NotFound", &format!("{kind} \"{name}\" not found")),
    }
}

/// The value of `name=` in a query.
fn said<'a>(query: &'a str, name: &str) -> &'a str {
    query.split('&').find_map(|part| part.strip_prefix(name)).unwrap_or_default()
}

/// The last lines, of which so many bytes are told, whatever they cut through.
fn log(shared: &Shared, pod: &str, query: &str) -> Response {
    let text = lock(&shared.logs).get(pod).cloned().unwrap_or_default();
    let number = |name: &str| said(query, name).parse::<usize>().expect("a number");
    let skipped = text.lines().count().saturating_sub(number("tailLines="));
    let last: String = text.split_inclusive('\n').skip(skipped).collect();
    let bytes = last.as_bytes();
    Bytes::copy_from_slice(&bytes[..bytes.len().min(number("limitBytes="))]).into_response()
}

fn list(shared: &Arc<Shared>, kind: &str, query: &str) -> Response {
    if said(query, "watch=") == "true" {
        let from: usize = said(query, "resourceVersion=").parse().expect("a version");
        return Body::from_stream(changes(Arc::clone(shared), kind.to_owned(), from)).into_response();
    }
    let selector = said(query, "labelSelector=").replace("%3D", "=").replace("%2C", ",");
    let is_meant = |object: &Value| {
        selector
            .split(',')
            .filter_map(|part| part.split_once('='))
            .all(|(name, value)| object["metadata"]["labels"][name] == value)
    };
    let objects = lock(&shared.objects);
    let version = *shared.version.borrow();
    let items: Vec<&Value> = objects
        .iter()
        .filter(|(key, object)| key.0 == kind && is_meant(object))
        .map(|(_, object)| object)
        .collect();
    json!({"kind": "List", "metadata": {"resourceVersion": version.to_string()}, "items": items})
        .to_string()
        .into_response()
}

/// The changes of a kind after version `at`, a line each.
fn changes(shared: Arc<Shared>, kind: String, at: usize) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let versions = shared.version.subscribe();
    stream::unfold((versions, at), move |(mut versions, mut at)| {
        let (shared, kind) = (Arc::clone(&shared), kind.clone());
        async move {
            loop {
                versions.wait_for(|version| *version > at).await.ok()?;
                let event = lock(&shared.history)[at].clone();
                at += 1;
                if event["object"]["kind"] == *kind {
                    return Some((Ok(Bytes::from(format!("{event}\n"))), (versions, at)));
                }
            }
        }
    })
}

fn forward(shared: &Arc<Shared>, pod: &str, mut request: Request) -> Response {
    lock(&shared.ways).push(pod.to_owned());
    let Some(door) = lock(&shared.doors).get(pod).cloned() else {
        return status(404, "NotFound", &format!("pods \"{pod}\" not found"));
    };
    let query = request.uri().query().unwrap_or_default();
    let port: u16 = query.rsplit_once("ports=").and_then(|(_, port)| port.parse().ok()).expect("a port");
    let text = |name: header::HeaderName| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    assert!(text(header::SEC_WEBSOCKET_PROTOCOL).contains(PROTOCOL));
    let accept = sockets::accept(&text(header::SEC_WEBSOCKET_KEY));
    let upgrading = hyper::upgrade::on(&mut request);
    let (mut cuts, pod) = (shared.cuts.subscribe(), pod.to_owned());
    tokio::spawn(async move {
        let Ok(upgraded) = upgrading.await else { return };
        let is_cut = async {
            while let Ok(cut) = cuts.recv().await {
                if cut == pod {
                    return;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            _ = carry(TokioIo::new(upgraded), door, port) => {}
            () = is_cut => {}
        }
    });
    let headers = [
        (header::UPGRADE, "websocket"),
        (header::CONNECTION, "Upgrade"),
        (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
        (header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

async fn carry(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    door: Door,
    port: u16,
) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = split(socket);
    for channel in [0, 1] {
        let [low, high] = port.to_le_bytes();
        sockets::write(&mut to_client, BINARY, &[channel, low, high]).await?;
    }
    // Reading a frame must not be given up in its middle.
    let (frames, mut received) = mpsc::channel(1);
    let mut reading = JoinSet::new();
    reading.spawn(async move {
        while let Ok(frame) = sockets::read(&mut from_client).await {
            if frames.send(frame).await.is_err() {
                return;
            }
        }
    });
    let (mut from_pod, mut to_pod): (Box<dyn AsyncRead + Unpin + Send>, Box<dyn AsyncWrite + Unpin + Send>) =
        match door {
            Door::Closed(why) => {
                sockets::write(&mut to_client, BINARY, &[&[1], why.as_bytes()].concat()).await?;
                return sockets::write(&mut to_client, CLOSE, &[]).await;
            }
            Door::Tcp(address) => {
                let (read, write) = tokio::net::TcpStream::connect(address).await?.into_split();
                (Box::new(read), Box::new(write))
            }
            Door::Unix(path) => {
                let (read, write) = tokio::net::UnixStream::connect(path).await?.into_split();
                (Box::new(read), Box::new(write))
            }
        };
    let mut buffer = vec![0; 32 * 1024];
    loop {
        tokio::select! {
            frame = received.recv() => match frame {
                Some((BINARY, payload)) if payload.first() == Some(&0) => to_pod.write_all(&payload[1..]).await?,
                Some((CLOSE, payload)) => {
                    to_pod.shutdown().await?;
                    sockets::write(&mut to_client, CLOSE, &payload).await?;
                    break;
                }
                Some(_) => {}
                None => break,
            },
            read = from_pod.read(&mut buffer) => match read? {
                0 => {
                    sockets::write(&mut to_client, CLOSE, &[]).await?;
                    break;
                }
                length => sockets::write(&mut to_client, BINARY, &[&[0], &buffer[..length]].concat()).await?,
            },
        }
    }
    Ok(())
}
