//! A registry of our own: it checks every digest, asks for logins, and breaks where it is told to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// How the registry asks who is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    Nobody,
    Basic,
    Token,
}

/// What goes wrong with the next upload of a blob, or the next tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: this one arrives.
    Nothing,
    /// Half of the blob is read, then the connection ends.
    CutInTheMiddle,
    /// The blob is kept, and the answer is lost.
    CutBeforeTheAnswer,
    /// This status is answered.
    Answer(u16),
    /// Half of the blob is read, then nothing happens any more.
    Hang,
}

pub(crate) const USER: &str = "anna";
pub(crate) const PASSWORD: &str = "s3cret";
const TOKEN: &str = "a-token-for-the-shop";

#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) blobs: HashMap<String, Bytes>,
    pub(crate) tags: BTreeMap<String, Bytes>,
    pub(crate) uploads: u32,
    pub(crate) faults: VecDeque<Fault>,
    pub(crate) hanging: u32,
    pub(crate) may_push: bool,
    pub(crate) has_repository: bool,
}

/// The registry; it ends with the test's process.
pub(crate) struct Registry {
    pub(crate) address: String,
    pub(crate) kept: Arc<Mutex<Kept>>,
}

#[derive(Clone)]
struct Shared {
    kept: Arc<Mutex<Kept>>,
    login: Login,
    address: String,
}

impl Registry {
    pub(crate) fn start(login: Login) -> Self {
        let kept = Arc::new(Mutex::new(Kept { may_push: true, has_repository: true, ..Kept::default() }));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("an address").to_string();
        let shared = Shared { kept: Arc::clone(&kept), login, address: address.clone() };
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let router = Router::new().fallback(answer).with_state(shared);
                axum::serve(listener, router).await.expect("it serves");
            });
        });
        Self { address, kept }
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.kept.lock().expect("nobody panicked with it").faults.push_back(fault);
    }

    /// What every blob and tag names is there, under its own digest.
    pub(crate) fn is_whole(&self) -> bool {
        let kept = self.kept.lock().expect("nobody panicked with it");
        let names = |manifest: &Bytes| {
            let manifest: serde_json::Value = serde_json::from_slice(manifest).expect("a manifest");
            let layers = manifest["layers"].as_array().expect("layers").clone();
            layers
                .into_iter()
                .chain([manifest["config"].clone()])
                .all(|named| kept.blobs.contains_key(named["digest"].as_str().expect("a digest")))
        };
        kept.blobs.iter().all(|(name, bytes)| *name == digest(bytes)) && kept.tags.values().all(names)
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path == "/token" {
        return token(&request);
    }
    if !is_known(&shared, request.headers()) {
        return challenge(&shared);
    }
    let Some(rest) = path.strip_prefix("/v2/acme/shop/") else { return no("NAME_UNKNOWN", 404) };
    let (may_push, has_repository) = {
        let kept = shared.kept.lock().expect("nobody panicked with it");
        (kept.may_push, kept.has_repository)
    };
    let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
    if !has_repository && !is_reading {
        return no("NAME_UNKNOWN", 404);
    }
    if !may_push && !is_reading {
        return no("DENIED", 403);
    }
    let tag = rest.strip_prefix("manifests/").map(str::to_owned);
    match (request.method().clone(), rest, tag) {
        (Method::HEAD, rest, None) => {
            let name = rest.strip_prefix("blobs/").unwrap_or("");
            let is_there = shared.kept.lock().expect("nobody panicked with it").blobs.contains_key(name);
            if is_there { StatusCode::OK.into_response() } else { StatusCode::NOT_FOUND.into_response() }
        }
        (Method::POST, "blobs/uploads/", _) => {
            // As registries behind a proxy do: the whole address, and a query of their own.
            let location = format!("http://{}/v2/acme/shop/blobs/uploads/1?state=x", shared.address);
            (StatusCode::ACCEPTED, [(header::LOCATION, location)]).into_response()
        }
        (Method::PUT, "blobs/uploads/1", _) => upload(&shared, request).await,
        (Method::GET, _, Some(tag)) => {
            match shared.kept.lock().expect("nobody panicked with it").tags.get(&tag) {
                Some(manifest) => manifest.clone().into_response(),
                None => no("MANIFEST_UNKNOWN", 404),
            }
        }
        (Method::PUT, _, Some(tag)) => {
            let bytes = to_bytes(request.into_body(), usize::MAX).await.expect("a body");
            shared.kept.lock().expect("nobody panicked with it").tags.insert(tag, bytes);
            StatusCode::CREATED.into_response()
        }
        _ => no("UNSUPPORTED", 405),
    }
}

async fn upload(shared: &Shared, request: Request) -> Response {
    let query = request.uri().query().unwrap_or("").to_owned();
    let named =
        query.split('&').find_map(|pair| pair.strip_prefix("digest=")).expect("a digest").replace("%3A", ":");
    let length: usize = request.headers()[header::CONTENT_LENGTH]
        .to_str()
        .expect("a registry of a test")
        .parse()
        .expect("a registry of a test");
    let fault = shared.kept.lock().expect("nobody panicked with it").faults.pop_front();
    let mut body = request.into_body().into_data_stream();
    let mut bytes = Vec::new();
    let is_halfway = matches!(fault, Some(Fault::CutInTheMiddle | Fault::Hang));
    while let Some(Ok(piece)) = body.next().await {
        bytes.extend_from_slice(&piece);
        if is_halfway && bytes.len() >= length / 2 {
            break;
        }
    }
    match fault {
        Some(Fault::CutInTheMiddle) => return cut(),
        Some(Fault::Answer(status)) => return no("UNAVAILABLE", status),
        Some(Fault::Hang) => {
            shared.kept.lock().expect("nobody panicked with it").hanging += 1;
            std::future::pending::<()>().await;
        }
        Some(Fault::Nothing | Fault::CutBeforeTheAnswer) | None => {}
    }
    if bytes.len() != length || digest(&bytes) != named {
        return no("DIGEST_INVALID", 400);
    }
    let mut kept = shared.kept.lock().expect("nobody panicked with it");
    kept.uploads += 1;
    kept.blobs.insert(named, bytes.into());
    if fault == Some(Fault::CutBeforeTheAnswer) { cut() } else { StatusCode::CREATED.into_response() }
}

/// An answer that breaks off before its body, and takes the connection with it.
fn cut() -> Response {
    let broken = stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
    ([(header::CONTENT_LENGTH, "100")], Body::from_stream(broken)).into_response()
}

fn no(code: &str, status: u16) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    let document = json!({"errors": [{"code": code, "message": "no", "detail": null}]}).to_string();
    (status, document).into_response()
}

fn is_known(shared: &Shared, headers: &HeaderMap) -> bool {
    let login = headers.get(header::AUTHORIZATION).map(|value| value.to_str().expect("text").to_owned());
    match shared.login {
        Login::Nobody => true,
        Login::Basic => login == Some(basic()),
        Login::Token => login == Some(format!("Bearer {TOKEN}")),
    }
}

fn challenge(shared: &Shared) -> Response {
    let header = match shared.login {
        Login::Token => {
            format!(
                r#"Bearer realm="http://{}/token",service="registry",scope="repository:acme/shop:pull""#,
                shared.address
            )
        }
        _ => "Basic realm=\"registry\"".to_owned(),
    };
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, header)], "").into_response()
}

fn token(request: &Request) -> Response {
    let login =
        request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().expect("text").to_owned());
    let asks_to_push = request.uri().query().is_some_and(|query| query.contains("pull%2Cpush"));
    if login == Some(basic()) && asks_to_push {
        json!({ "token": TOKEN }).to_string().into_response()
    } else {
        no("UNAUTHORIZED", 401)
    }
}

fn basic() -> String {
    format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")))
}
