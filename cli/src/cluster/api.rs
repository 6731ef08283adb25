//! The verbs of a cluster's API, on objects of any kind: what is asked and answered is JSON, so that nothing is sent
//! that was not meant, and nothing is lost that this program does not know.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http_body_util::BodyExt as _;
use hyper::{Method, Request};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Portforwarder;
use kube::core::{Status, WatchEvent};
use platform::client::escaped;
use platform::vocabulary::{Env, Timestamp};
use serde_json::Value;

use super::object::{Key, Object};

/// Tries of a call that failed for a reason that passes.
const TRIES: u32 = 5;
/// Tries when no answer comes from a cluster that answered before: its API server may be started anew, which takes half a
/// minute. One that never answered may be the wrong address.
const TRIES_AT_A_RESTART: u32 = 9;
/// The wait before the second try; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// How long a watch lasts before it is begun anew, in seconds.
const WATCH_S: u32 = 180;

/// A cluster's API. Cheap to share.
pub struct Api {
    client: kube::Client,
    env: Env,
    kinds: Mutex<HashMap<(String, String), Resource>>,
    /// Whether it has answered at all.
    has_answered: AtomicBool,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api")
    }
}

/// How a kind is called in paths.
#[derive(Clone, Debug)]
struct Resource {
    plural: String,
    is_namespaced: bool,
}

/// A kind of objects: `apps/v1` and `Deployment`.
pub type Kind<'a> = (&'a str, &'a str);

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The API answered, and said no.
    #[error("{}", told(.0))]
    Refused(Box<Status>),
    /// The API knows no such kind.
    #[error("the cluster knows no {kind} of {version}")]
    UnknownKind {
        /// The API version that was asked for.
        version: String,
        /// The kind.
        kind: String,
    },
    /// No answer came.
    #[error("the cluster's API does not answer")]
    Unreachable(#[source] kube::Error),
    /// The answer was none.
    #[error("the cluster's API answered with something that is no object")]
    Garbage(#[source] anyhow::Error),
}

fn told(status: &Status) -> String {
    if status.message.is_empty() {
        format!("{} {}", status.code, status.reason)
    } else {
        status.message.clone()
    }
}

impl ApiError {
    /// The status code of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused(status) => Some(status.code),
            _ => None,
        }
    }

    /// Whether the object changed, or exists, or is owned otherwise than the caller thought.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// Whether it is worth asking again.
    fn passes(&self) -> bool {
        match self {
            Self::Refused(status) => status.code == 429 || status.code >= 500,
            Self::Unreachable(_) => true,
            _ => false,
        }
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status),
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Self::Garbage(error.into()),
            other => Self::Unreachable(other),
        }
    }
}

/// How an object is applied.
#[derive(Clone, Copy, Debug)]
pub struct Applying<'a> {
    /// Who owns the fields from then on.
    pub manager: &'a str,
    /// Only say what would come of it.
    pub is_dry: bool,
    /// Take fields that others own.
    pub takes_over: bool,
}

/// Which lines of a container's log are wanted.
#[derive(Clone, Copy, Debug)]
pub struct LogWish<'a> {
    /// The pod.
    pub pod: &'a str,
    /// The container in it.
    pub container: &'a str,
    /// Those of the life before this one.
    pub is_previous: bool,
    /// Those that are yet to come too.
    pub follows: bool,
    /// Only those since; to the second.
    pub since: Option<Timestamp>,
    /// Only so many of the last.
    pub lines: Option<usize>,
}

/// A change of one object, or the need to look at all of them again.
#[derive(Debug)]
pub enum Change {
    /// It is there, and so.
    Is(Object),
    /// It went.
    Went(Key),
}

impl Api {
    /// The API behind `client`.
    #[must_use]
    pub fn new(client: kube::Client, env: Env) -> Self {
        Self { client, env, kinds: Mutex::default(), has_answered: AtomicBool::new(false) }
    }

    /// The object; absent when there is none.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer.
    pub async fn get(&self, kind: Kind<'_>, namespace: &str, name: &str) -> Result<Option<Object>, ApiError> {
        let path = match self.path(kind, namespace, Some(name)).await {
            Err(ApiError::UnknownKind { .. }) => return Ok(None),
            path => path?,
        };
        absent_when_missing(self.call(&Call::get(path)).await)
    }

    /// The objects of a kind in `namespace` (empty: all) whose labels match `selector` (empty: all).
    ///
    /// # Errors
    /// When the cluster refuses or does not answer.
    pub async fn list(
        &self,
        kind: Kind<'_>,
        namespace: &str,
        selector: &str,
    ) -> Result<Vec<Object>, ApiError> {
        Ok(self.list_at(kind, namespace, selector).await?.0)
    }

    /// The same, with the version that the list is of.
    async fn list_at(
        &self,
        kind: Kind<'_>,
        namespace: &str,
        selector: &str,
    ) -> Result<(Vec<Object>, String), ApiError> {
        let path = self.path(kind, namespace, None).await?;
        let answer = self.answer(&Call::get(with_selector(path, selector))).await?;
        let items = answer["items"].as_array().into_iter().flatten();
        let (version, word) = kind;
        let objects = items.map(|item| {
            // The items of a list do not say what they are.
            let mut item = item.clone();
            item["apiVersion"] = version.into();
            item["kind"] = word.into();
            object(item)
        });
        let at = answer.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        Ok((objects.collect::<Result<_, _>>()?, at.to_owned()))
    }

    /// The objects of a kind as they are, and then each change, until the cluster ends the watch: then it is for the
    /// caller to begin anew.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer; 403 where lists are allowed and watches are not.
    pub async fn watch(
        &self,
        kind: Kind<'_>,
        namespace: &str,
        selector: &str,
    ) -> Result<(Vec<Object>, impl Stream<Item = Result<Change, ApiError>> + Send + use<>), ApiError> {
        let (objects, from) = self.list_at(kind, namespace, selector).await?;
        let path = with_selector(self.path(kind, namespace, None).await?, selector);
        let joint = if path.contains('?') { '&' } else { '?' };
        let uri = format!(
            "{path}{joint}watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_S}&resourceVersion={from}"
        );
        let request = Request::get(uri).body(Vec::new()).map_err(|error| ApiError::Garbage(error.into()))?;
        let events = self.client.request_events::<Value>(request).await?;
        let changes = events.filter_map(|event| {
            std::future::ready(match event {
                Ok(WatchEvent::Added(value) | WatchEvent::Modified(value)) => {
                    Some(object(value).map(Change::Is))
                }
                Ok(WatchEvent::Deleted(value)) => {
                    Some(object(value).map(|gone| Change::Went(gone.key().clone())))
                }
                Ok(WatchEvent::Bookmark(_)) => None,
                Ok(WatchEvent::Error(status)) => Some(Err(ApiError::Refused(status))),
                Err(error) => Some(Err(error.into())),
            })
        });
        Ok((objects, changes))
    }

    /// Applies `object`: the fields that it names are so afterwards, and are `how.manager`'s. Unknown fields are
    /// refused. Answers the object as it is then, or would be.
    ///
    /// # Errors
    /// A conflict when somebody else owns one of the fields; when the cluster refuses or does not answer.
    pub async fn apply(&self, object: &Object, how: Applying<'_>) -> Result<Object, ApiError> {
        let key = object.key();
        let path = self.path((object.api_version(), object.kind()), &key.namespace, Some(&key.name)).await?;
        let dry = if how.is_dry { "&dryRun=All" } else { "" };
        let uri = format!(
            "{path}?fieldManager={}&fieldValidation=Strict&force={}{dry}",
            how.manager, how.takes_over
        );
        self.call(&Call::new(Method::PATCH, uri, "application/apply-patch+yaml", object.value())).await
    }

    /// Makes `object`, which must not be there yet.
    ///
    /// # Errors
    /// A conflict when it is; when the cluster refuses or does not answer.
    pub async fn create(&self, object: &Object) -> Result<Object, ApiError> {
        let path = self.path((object.api_version(), object.kind()), &object.key().namespace, None).await?;
        self.call(&Call::new(Method::POST, path, JSON, object.value())).await
    }

    /// Puts `object` in the place of the one whose `resourceVersion` it names.
    ///
    /// # Errors
    /// A conflict when that one changed meanwhile; when the cluster refuses or does not answer.
    pub async fn replace(&self, object: &Object) -> Result<Object, ApiError> {
        let key = object.key();
        let path = self.path((object.api_version(), object.kind()), &key.namespace, Some(&key.name)).await?;
        self.call(&Call::new(Method::PUT, path, JSON, object.value())).await
    }

    /// Merges `patch` into an object, or into its part (`scale`, `status`).
    ///
    /// # Errors
    /// When it is not there; when the cluster refuses or does not answer.
    pub async fn merge(
        &self,
        kind: Kind<'_>,
        namespace: &str,
        name: &str,
        part: Option<&str>,
        patch: &Value,
    ) -> Result<Object, ApiError> {
        let mut path = self.path(kind, namespace, Some(name)).await?;
        if let Some(part) = part {
            path = format!("{path}/{part}");
        }
        let uri = format!("{path}?fieldManager={}", super::MANAGER);
        self.call(&Call::new(Method::PATCH, uri, "application/merge-patch+json", patch)).await
    }

    /// Changes an object by the operations of a JSON patch: all of them or, when one of its tests does not hold, none.
    ///
    /// # Errors
    /// When it is not there or a test does not hold; when the cluster refuses or does not answer.
    pub async fn amend(
        &self,
        kind: Kind<'_>,
        namespace: &str,
        name: &str,
        operations: &Value,
    ) -> Result<Object, ApiError> {
        let path = self.path(kind, namespace, Some(name)).await?;
        let uri = format!("{path}?fieldManager={}", super::MANAGER);
        self.call(&Call::new(Method::PATCH, uri, "application/json-patch+json", operations)).await
    }

    /// Deletes an object and what it owns, if it is still the one with `uid`. One that is not there is fine.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer.
    pub async fn delete(
        &self,
        kind: Kind<'_>,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
    ) -> Result<(), ApiError> {
        let path = self.path(kind, namespace, Some(name)).await?;
        let mut options = serde_json::json!({"propagationPolicy": "Foreground"});
        if let Some(uid) = uid {
            options["preconditions"] = serde_json::json!({"uid": uid});
        }
        match self.answer(&Call::new(Method::DELETE, path, JSON, &options)).await {
            Err(error) if error.code() == Some(404) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// The last `lines` lines that a container logged, in its current life or the one before it. Empty when there are none.
    ///
    /// # Errors
    /// When the cluster refuses for another reason than that there are none, or does not answer.
    pub async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        is_previous: bool,
        lines: u32,
    ) -> Result<String, ApiError> {
        let uri = format!(
            "/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&previous={is_previous}&tailLines={lines}"
        );
        match self.text(&Call::get(uri)).await {
            Err(error) if matches!(error.code(), Some(400 | 404)) => Ok(String::new()),
            answer => answer,
        }
    }

    /// What a container logged, as it comes: each line has the moment in front at which the node took it down.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer; 400 and 404 when there is no such log.
    pub async fn log_stream(
        &self,
        namespace: &str,
        wish: &LogWish<'_>,
    ) -> Result<impl Stream<Item = Result<Bytes, ApiError>> + Send + use<>, ApiError> {
        let LogWish { pod, container, is_previous, follows, since, lines } = *wish;
        let mut uri = format!(
            "/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&timestamps=true&previous={is_previous}&follow={follows}"
        );
        if let Some(since) = since {
            uri.push_str(&format!("&sinceTime={}", escaped(&since.to_string())));
        }
        if let Some(lines) = lines {
            uri.push_str(&format!("&tailLines={lines}"));
        }
        let request = Request::get(uri).body(kube::client::Body::from(Vec::new()));
        let answer = self.client.send(request.map_err(|error| ApiError::Garbage(error.into()))?).await?;
        let (head, body) = answer.into_parts();
        if !head.status.is_success() {
            let said = body.collect().await?.to_bytes();
            let status = serde_json::from_slice::<Status>(&said).unwrap_or_default();
            return Err(ApiError::Refused(Box::new(Status { code: head.status.as_u16(), ..status })));
        }
        Ok(body.into_data_stream().map_err(ApiError::from))
    }

    /// What lies at `path`, as text: `/version`, `/readyz`, a pod's port by way of the API.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer.
    pub async fn read(&self, path: &str) -> Result<String, ApiError> {
        self.text(&Call::get(path.to_owned())).await
    }

    /// A way to `port` of a pod, through the API server and the pod's node.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer. That the pod takes no connection is told later, by the way itself.
    pub async fn way_to(&self, namespace: &str, pod: &str, port: u16) -> Result<Portforwarder, ApiError> {
        let pods: kube::Api<Pod> = kube::Api::namespaced(self.client.clone(), namespace);
        Ok(pods.portforward(pod, &[port]).await?)
    }

    /// The path of a kind's objects, or of one of them.
    async fn path(
        &self,
        (version, kind): Kind<'_>,
        namespace: &str,
        name: Option<&str>,
    ) -> Result<String, ApiError> {
        let resource = self.resource(version, kind).await?;
        let mut path = root(version);
        if resource.is_namespaced && !namespace.is_empty() {
            path = format!("{path}/namespaces/{namespace}");
        }
        path = format!("{path}/{}", resource.plural);
        Ok(match name {
            Some(name) => format!("{path}/{name}"),
            None => path,
        })
    }

    async fn resource(&self, version: &str, kind: &str) -> Result<Resource, ApiError> {
        let key = (version.to_owned(), kind.to_owned());
        if let Some(resource) = self.kinds.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(resource.clone());
        }
        let unknown = || ApiError::UnknownKind { version: version.to_owned(), kind: kind.to_owned() };
        let answer = match self.answer(&Call::get(root(version))).await {
            Err(error) if error.code() == Some(404) => return Err(unknown()),
            answer => answer?,
        };
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in answer["resources"].as_array().into_iter().flatten() {
            let text = |field: &str| resource[field].as_str().unwrap_or_default().to_owned();
            // `deployments/scale` is a part of a resource.
            if !text("name").contains('/') {
                let is_namespaced = resource["namespaced"] == true;
                let known = Resource { plural: text("name"), is_namespaced };
                kinds.insert((version.to_owned(), text("kind")), known);
            }
        }
        kinds.get(&key).cloned().ok_or_else(unknown)
    }

    /// Between half of `wait` and all of it.
    fn jittered(&self, wait: Duration) -> Duration {
        let [byte] = self.env.bytes::<1>();
        wait.mul_f64(0.5 + f64::from(byte) / 510.0)
    }

    async fn call(&self, call: &Call) -> Result<Object, ApiError> {
        object(self.answer(call).await?)
    }

    async fn answer(&self, call: &Call) -> Result<Value, ApiError> {
        let text = self.text(call).await?;
        serde_json::from_str(&text).map_err(|error| ApiError::Garbage(error.into()))
    }

    /// Makes the call, again when what stood in its way passes: each of them may be made twice, but a `POST`, whose second
    /// try would only say that the first one came through.
    async fn text(&self, call: &Call) -> Result<String, ApiError> {
        let mut wait = FIRST_WAIT;
        for attempt in 1.. {
            let failed = match self.client.request_text(call.request()?).await {
                Ok(text) => {
                    self.has_answered.store(true, Ordering::Relaxed);
                    return Ok(text);
                }
                Err(error) => ApiError::from(error),
            };
            let is_away =
                matches!(failed, ApiError::Unreachable(_)) && self.has_answered.load(Ordering::Relaxed);
            let tries = if is_away { TRIES_AT_A_RESTART } else { TRIES };
            if attempt >= tries || !failed.passes() || call.method == Method::POST {
                return Err(failed);
            }
            tokio::time::sleep(self.jittered(wait)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        unreachable!("the loop ends by returning")
    }
}

/// A call that can be made again.
struct Call {
    method: Method,
    uri: String,
    content_type: &'static str,
    body: Vec<u8>,
}

const JSON: &str = "application/json";

impl Call {
    fn get(uri: String) -> Self {
        Self { method: Method::GET, uri, content_type: JSON, body: Vec::new() }
    }

    fn new(method: Method, uri: String, content_type: &'static str, body: &Value) -> Self {
        Self { method, uri, content_type, body: body.to_string().into_bytes() }
    }

    fn request(&self) -> Result<Request<Vec<u8>>, ApiError> {
        Request::builder()
            .method(self.method.clone())
            .uri(&self.uri)
            .header("content-type", self.content_type)
            .body(self.body.clone())
            .map_err(|error| ApiError::Garbage(error.into()))
    }
}

fn root(version: &str) -> String {
    if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") }
}

fn with_selector(path: String, selector: &str) -> String {
    if selector.is_empty() {
        return path;
    }
    format!("{path}?labelSelector={}", escaped(selector))
}

fn object(value: Value) -> Result<Object, ApiError> {
    Object::new(value).map_err(|error| ApiError::Garbage(error.into()))
}

fn absent_when_missing(answer: Result<Object, ApiError>) -> Result<Option<Object>, ApiError> {
    match answer {
        Err(error) if error.code() == Some(404) => Ok(None),
        answer => answer.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(root("v1"), "/api/v1");
        assert_eq!(root("apps/v1"), "/apis/apps/v1");
        assert_eq!(with_selector("/x".into(), ""), "/x");
        assert_eq!(with_selector("/x".into(), "a/b=c,!d"), "/x?labelSelector=a%2Fb%3Dc%2C%21d");
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        let refused = |code| ApiError::Refused(Box::new(Status { code, ..Status::default() }));
        assert!(refused(429).passes() && refused(503).passes());
        assert!(!refused(404).passes() && !refused(409).passes() && !refused(422).passes());
    }
}
