//! The verbs.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::route::{KINDS, Route, field, root, route};
use super::{Asked, Kept, controllers, disown, doors, merge};

type Shared = Arc<Mutex<Kept>>;

/// Starts to answer. Ends with the test's process.
pub(super) fn start(kept: Shared) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a listener");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, Router::new().fallback(answer).with_state(kept)).await.expect("it serves");
        });
    });
    address
}

async fn answer(State(kept): State<Shared>, request: Request) -> Response {
    if let Route::Forward(pod) = route(request.uri().path()) {
        let mut kept = kept.lock().expect("nobody panicked with it");
        let path = request.uri().path();
        return denied(&kept, path).unwrap_or_else(|| doors::forward(&mut kept, &pod, request));
    }
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let (path, query) = (head.uri.path().to_owned(), head.uri.query().unwrap_or_default().to_owned());
    let mut kept = kept.lock().expect("nobody panicked with it");
    let asked = Asked { method: head.method.to_string(), path: path.clone(), query: query.clone(), body };
    kept.asked.push(asked.clone());
    if let Some(denied) = denied(&kept, &path) {
        return denied;
    }
    match (route(&path), &head.method) {
        (Route::Version, _) => json!({"gitVersion": "v1.34.4"}).to_string().into_response(),
        (Route::Kinds(of), _) => kinds(&of),
        (Route::Log(pod), _) => log(&mut kept, &pod, &query),
        (Route::Collection(path), &Method::GET) if field(&query, "watch").is_some() => {
            watch(&mut kept, &path, &query)
        }
        (Route::Collection(path), &Method::GET) => list(&kept, &path, &query),
        (Route::Collection(path), &Method::POST) => create(&mut kept, &path, asked.body),
        (Route::Object(path), &Method::GET) => found(&kept, &path),
        (Route::Object(path), &Method::PUT) => replace(&mut kept, &path, asked.body),
        (Route::Object(path), &Method::PATCH) if asked.body.is_array() => {
            amend(&mut kept, &path, &asked.body)
        }
        (Route::Object(path), &Method::PATCH) => {
            let manager = field(&query, "fieldManager").filter(|_| query.contains("force="));
            patch(&mut kept, &path, &asked.body, manager, query.contains("dryRun=All"))
        }
        (Route::Object(path), &Method::DELETE) => delete(&mut kept, &path, &asked.body),
        _ => no(404, "NotFound", "no such path"),
    }
}

/// The refusal of what the account may not ask for.
fn denied(kept: &Kept, path: &str) -> Option<Response> {
    let word = path.split('/').find(|word| kept.denied.contains(word))?;
    let message =
        format!("pods is forbidden: User \"me\" cannot get resource \"{word}\" in the namespace \"shop\"");
    Some(no(403, "Forbidden", &message))
}

pub(super) fn no(code: u16, reason: &str, message: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": message});
    (StatusCode::from_u16(code).expect("a status"), status.to_string()).into_response()
}

fn kinds(of: &str) -> Response {
    let all: Vec<Value> = KINDS
        .iter()
        .filter(|(version, ..)| root(version) == of)
        .map(|(_, kind, plural, is_namespaced)| {
            json!({"name": plural, "kind": kind, "namespaced": is_namespaced})
        })
        .collect();
    json!({"kind": "APIResourceList", "resources": all}).to_string().into_response()
}

fn found(kept: &Kept, path: &str) -> Response {
    match kept.objects.get(path) {
        Some(object) => object.to_string().into_response(),
        None => no(404, "NotFound", &format!("{path} not found")),
    }
}

/// Whether the object at `own` is of the collection `of`: one of a namespace, or of all.
fn is_in(own: &str, of: &str) -> bool {
    let Some((collection, _)) = own.rsplit_once('/') else { return false };
    let everywhere = || {
        let (before, after) = collection.split_once("/namespaces/")?;
        Some(format!("{before}/{}", after.split_once('/')?.1))
    };
    collection == of || everywhere().as_deref() == Some(of)
}

fn is_selected(object: &Value, selector: &str) -> bool {
    selector.split(',').filter(|part| !part.is_empty()).all(|part| {
        let label = |name: &str| object.pointer("/metadata/labels").and_then(|labels| labels.get(name));
        match part.split_once('=') {
            Some((name, value)) => label(name).is_some_and(|label| label == value),
            None => label(part).is_some(),
        }
    })
}

fn list(kept: &Kept, path: &str, query: &str) -> Response {
    let selector = field(query, "labelSelector").unwrap_or_default();
    let items: Vec<&Value> = kept
        .objects
        .iter()
        .filter(|(own, object)| is_in(own, path) && is_selected(object, &selector))
        .map(|(_, object)| object)
        .collect();
    json!({"kind": "List", "metadata": {"resourceVersion": kept.version.to_string()}, "items": items})
        .to_string()
        .into_response()
}

fn watch(kept: &mut Kept, path: &str, query: &str) -> Response {
    let from: u64 = field(query, "resourceVersion").and_then(|from| from.parse().ok()).unwrap_or(0);
    let (sender, receiver) = unbounded_channel();
    let missed = kept.changes.iter().filter(|(version, own, _)| *version > from && is_in(own, path));
    for (_, _, event) in missed {
        sender.send(Bytes::from(format!("{event}\n"))).expect("the receiver is here");
    }
    kept.watchers.push((path.to_owned(), sender));
    streamed(receiver)
}

fn streamed(receiver: UnboundedReceiver<Bytes>) -> Response {
    let lines = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    Body::from_stream(lines.map(Ok::<_, std::io::Error>)).into_response()
}

fn log(kept: &mut Kept, pod: &str, query: &str) -> Response {
    let is = |name: &str| field(query, name).as_deref() == Some("true");
    let is_there = kept.objects.keys().any(|path| path.ends_with(&format!("/pods/{pod}")));
    let lines = if is("previous") { kept.previous_logs.get(pod) } else { kept.logs.get(pod) };
    let Some(lines) = lines.cloned().or_else(|| (is_there && !is("previous")).then(Vec::new)) else {
        return no(if is_there { 400 } else { 404 }, "BadRequest", "there is no such log");
    };
    let since = field(query, "sinceTime").unwrap_or_default();
    let tail = field(query, "tailLines").and_then(|tail| tail.parse().ok()).unwrap_or(usize::MAX);
    // To the second, as the node compares them.
    let mut wanted: Vec<&String> =
        lines.iter().filter(|line| line[..19] >= since[..since.len().min(19)]).collect();
    wanted.drain(..wanted.len().saturating_sub(tail));
    let shown = |line: &str| {
        let text = if is("timestamps") { line } else { line.split_once(' ').map_or(line, |(_, text)| text) };
        Bytes::from(format!("{text}\n"))
    };
    // Of all lines so many bytes are told, whatever they cut through.
    let mut told: Vec<u8> = wanted.into_iter().flat_map(|line| shown(line)).collect();
    let most = field(query, "limitBytes").and_then(|most| most.parse().ok()).unwrap_or(usize::MAX);
    told.truncate(most);
    let (sender, receiver) = unbounded_channel();
    sender.send(Bytes::from(told)).expect("the receiver is here");
    if is("follow") {
        kept.followers.push((pod.to_owned(), sender));
    }
    streamed(receiver)
}

fn create(kept: &mut Kept, collection: &str, object: Value) -> Response {
    let path = format!("{collection}/{}", object["metadata"]["name"].as_str().expect("a name"));
    if kept.objects.contains_key(&path) {
        return no(409, "AlreadyExists", &format!("{path} already exists"));
    }
    if let Some((_, rest)) = path.split_once("/namespaces/")
        && let Some((namespace, _)) = rest.split_once('/')
        && !kept.objects.contains_key(&format!("/api/v1/namespaces/{namespace}"))
    {
        return no(404, "NotFound", &format!("namespaces \"{namespace}\" not found"));
    }
    kept.put(&path, object);
    found(kept, &path)
}

fn replace(kept: &mut Kept, path: &str, object: Value) -> Response {
    let version = |object: &Value| object.pointer("/metadata/resourceVersion").cloned();
    match kept.objects.get(path) {
        None => no(404, "NotFound", "it is not there"),
        Some(live) if version(live) != version(&object) => no(409, "Conflict", "it was changed meanwhile"),
        Some(_) => {
            kept.put(path, object);
            found(kept, path)
        }
    }
}

/// An apply when there is a `manager` to it, else a merge patch.
fn patch(kept: &mut Kept, path: &str, change: &Value, manager: Option<String>, is_dry: bool) -> Response {
    let live = kept.objects.get(path).cloned();
    if live.is_none() && manager.is_none() {
        return no(404, "NotFound", "it is not there");
    }
    let mut object = live.clone().unwrap_or_else(|| json!({}));
    let key = manager.map(|manager| (path.to_owned(), manager));
    if let Some(before) = key.as_ref().and_then(|key| kept.applied.get(key)).filter(|_| live.is_some()) {
        disown(&mut object, before, change);
    }
    merge(&mut object, change, key.is_none());
    if is_dry {
        return object.to_string().into_response();
    }
    if let Some(key) = key {
        kept.applied.insert(key, change.clone());
    }
    kept.put(path, object);
    found(kept, path)
}

/// A JSON patch of tests and removals: all of it, or nothing when a test does not hold.
fn amend(kept: &mut Kept, path: &str, operations: &Value) -> Response {
    let Some(mut object) = kept.objects.get(path).cloned() else {
        return no(404, "NotFound", "it is not there");
    };
    for operation in operations.as_array().expect("operations") {
        let pointer = operation["path"].as_str().expect("a path");
        let is_held = object.pointer(pointer).is_some_and(|value| match operation["op"].as_str() {
            Some("test") => *value == operation["value"],
            _ => true,
        });
        if !is_held {
            return no(422, "Invalid", &format!("{operation} does not hold"));
        }
        if operation["op"] == "remove" {
            let (parent, name) = pointer.rsplit_once('/').expect("a parent");
            match object.pointer_mut(parent) {
                Some(Value::Object(fields)) => {
                    drop(fields.remove(&name.replace("~1", "/").replace("~0", "~")));
                }
                Some(Value::Array(items)) => drop(items.remove(name.parse().expect("a number"))),
                other => panic!("{parent} is {other:?}"),
            }
        }
    }
    kept.put(path, object);
    found(kept, path)
}

fn delete(kept: &mut Kept, path: &str, options: &Value) -> Response {
    let Some(live) = kept.objects.get(path).cloned() else { return no(404, "NotFound", "it is not there") };
    let wanted = options.pointer("/preconditions/uid");
    if wanted.is_some_and(|uid| live.pointer("/metadata/uid") != Some(uid)) {
        return no(409, "Conflict", "another object has that name");
    }
    kept.remove(path);
    live.to_string().into_response()
}

impl Kept {
    /// Puts an object in its place, and lets the controllers do what follows from it.
    pub(super) fn put(&mut self, path: &str, mut object: Value) {
        let live = self.objects.get(path);
        let metadata = |object: &Value, name: &str| object["metadata"][name].clone();
        let generation = match live {
            Some(live) if live["spec"] == object["spec"] => {
                metadata(live, "generation").as_u64().unwrap_or(1)
            }
            Some(live) => metadata(live, "generation").as_u64().unwrap_or(0) + 1,
            None => 1,
        };
        let is_same = live.is_some_and(|live| *live == object);
        if is_same {
            return;
        }
        let (uid, made) = match live {
            Some(live) => (metadata(live, "uid"), metadata(live, "creationTimestamp")),
            None if object["metadata"]["uid"].is_string() => {
                (metadata(&object, "uid"), "2026-11-30T10:00:00Z".into())
            }
            None => (format!("uid-{}", self.version + 1).into(), "2026-11-30T10:00:00Z".into()),
        };
        object["metadata"]["uid"] = uid;
        object["metadata"]["creationTimestamp"] = made;
        object["metadata"]["generation"] = generation.into();
        self.change(|objects| drop(objects.insert(path.to_owned(), object)));
    }

    pub(super) fn remove(&mut self, path: &str) {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let is_stuck = self.stuck.contains(&name);
        self.change(|objects| {
            if !is_stuck {
                objects.remove(path);
            } else if let Some(object) = objects.get_mut(path) {
                object["metadata"]["deletionTimestamp"] = "2026-11-30T10:00:00Z".into();
                object["metadata"]["finalizers"] = json!(["example.com/held"]);
            }
        });
    }

    /// Makes a change with all that follows from it, and tells whoever watches.
    fn change(&mut self, act: impl FnOnce(&mut std::collections::BTreeMap<String, Value>)) {
        let before = self.objects.clone();
        act(&mut self.objects);
        controllers::work(&mut self.objects, &self.missing_images);
        let paths: std::collections::BTreeSet<String> =
            before.keys().chain(self.objects.keys()).cloned().collect();
        for path in paths {
            let (was, is) = (before.get(&path), self.objects.get(&path));
            if was == is {
                continue;
            }
            self.version += 1;
            let kind = match (was, is) {
                (None, _) => "ADDED",
                (_, None) => "DELETED",
                _ => "MODIFIED",
            };
            if let Some(object) = self.objects.get_mut(&path) {
                object["metadata"]["resourceVersion"] = self.version.to_string().into();
                if object["metadata"]["uid"].is_null() {
                    object["metadata"]["uid"] = format!("uid-{}", self.version).into();
                }
            }
            let object = self.objects.get(&path).or(was).expect("one of them is there");
            let event = json!({"type": kind, "object": object});
            let line = Bytes::from(format!("{event}\n"));
            self.watchers.retain(|(of, sender)| !is_in(&path, of) || sender.send(line.clone()).is_ok());
            if kind == "DELETED" {
                self.followers.retain(|(pod, _)| !path.ends_with(&format!("/pods/{pod}")));
            }
            self.changes.push((self.version, path, event));
        }
    }
}
