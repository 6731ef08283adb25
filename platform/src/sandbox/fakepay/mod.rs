//! `fakepay`: a payment provider to test against. It answers Stripe's wire format well enough for Stripe's own client
//! libraries, keeps a durable statement of its own, and has bad days on request.
//!
//! What it promises: a change is durable before it is answered, also over `kill -9`; a key replays its answer for
//! 24 hours, failures of ours included; webhooks are signed and told at least once. What it leaves out: customers,
//! disputes, payouts, every method but cards.
//!
//! - `journal`: the file. `book`: where in it things stand. `intents`: the rules.
//! - `form`, `answers`: the wire. `api`: the door and the changes. `queries`: the reads. `control`: the switchboard.
//! - `door`: who is let in. `faults`: the bad days. `webhooks`: telling the shop.

mod answers;
mod api;
mod book;
mod control;
mod door;
mod faults;
mod form;
mod intents;
mod journal;
mod queries;
mod webhooks;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::api::{Call, Outcome};
use self::book::Book;
use self::door::OwnDoor;
use self::faults::Faults;
pub use self::faults::{Fault, FaultMode};
use self::webhooks::Webhooks;
use crate::http::HttpClient;
use crate::secrets::{Secret, Secrets};
use crate::vocabulary::Env;

/// The most a request may have, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What the sandbox is told at its start.
#[derive(Clone, Debug)]
pub struct FakepayConfig {
    /// Where it listens; port 0 asks the system for one.
    pub listen: SocketAddr,
    /// The port of the door for the shop beside it; 0 takes a free one.
    pub own_port: u16,
    /// Where its statement lives; made when absent.
    pub data_dir: PathBuf,
    /// Where it tells what happened; none tells nobody until [`Fakepay::tell_to`].
    pub webhook_url: Option<String>,
    /// Its keys.
    pub secrets: FakepaySecrets,
}

/// The keys of the sandbox.
#[derive(Clone, Debug)]
pub struct FakepaySecrets {
    /// Opens the provider's API.
    pub api_key: Secret,
    /// Signs webhooks.
    pub webhook_secret: Secret,
    /// Opens the control routes.
    pub control_token: Secret,
}

impl From<&Secrets> for FakepaySecrets {
    fn from(secrets: &Secrets) -> Self {
        Self {
            api_key: secrets.provider_api_key.clone(),
            webhook_secret: secrets.provider_webhook.clone(),
            control_token: secrets.provider_control.clone(),
        }
    }
}

/// Why the sandbox could not start.
#[derive(Debug, thiserror::Error)]
pub enum FakepayError {
    /// The address is taken or not ours.
    #[error("the sandbox provider cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The statement could not be opened.
    #[error("the sandbox provider cannot open its statement: {0}")]
    Statement(#[from] std::io::Error),
}

/// The sandbox's parts, shared by all requests.
#[derive(Debug)]
struct Sandbox {
    env: Env,
    book: Arc<Book>,
    faults: Faults,
    webhooks: Webhooks,
    secrets: FakepaySecrets,
}

/// A running sandbox.
#[derive(Debug)]
pub struct Fakepay {
    address: SocketAddr,
    own_address: SocketAddr,
    sandbox: Arc<Sandbox>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Fakepay {
    /// Opens the statement, listens, and serves until [`Fakepay::drain`].
    pub async fn start(config: FakepayConfig, env: Env) -> Result<Self, FakepayError> {
        let cannot = |source| FakepayError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let own_door = OwnDoor::beside(address, config.own_port).map_err(cannot)?;
        let own_address = own_door.address();
        let (folder, now) = (config.data_dir.clone(), env.now().as_second());
        let book = tokio::task::spawn_blocking(move || Book::open(&folder, now))
            .await
            .map_err(|error| std::io::Error::other(error.to_string()))??;
        let book = Arc::new(book);
        let http = HttpClient::new(Duration::from_secs(2));
        let webhooks = Webhooks::new(
            env.clone(),
            http,
            Arc::clone(&book),
            config.secrets.webhook_secret.clone(),
            config.webhook_url.as_deref(),
        );
        let faults = Faults::new(env.clone());
        let sandbox = Arc::new(Sandbox { env, book, faults, webhooks, secrets: config.secrets });
        let stop = CancellationToken::new();
        let tasks = vec![
            tokio::spawn(sandbox.webhooks.clone().run(stop.clone())),
            tokio::spawn(door::keep_open(listener, Arc::clone(&sandbox), stop.clone())),
            tokio::spawn(own_door.keep(Arc::clone(&sandbox), stop.clone())),
        ];
        Ok(Self { address, own_address, sandbox, stop, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Its API's address, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address for the shop that runs beside it: the same API, and nobody listens there while the provider refuses.
    #[must_use]
    pub fn own_url(&self) -> String {
        format!("http://{}", self.own_address)
    }

    /// Tells webhooks to `url` from now on, those that waited too.
    pub fn tell_to(&self, url: &str) {
        self.sandbox.webhooks.set_url(url);
    }

    /// Stops listening, finishes what is under way, and lets go of the statement.
    pub async fn drain(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.ok();
        }
        self.sandbox.book.close().await;
    }
}

/// Reads the statement that a sandbox keeps in `folder`, whether it runs or not, and hands it over line by line, as
/// `GET /control/statement` has them. Answers false when there is none. Changes nothing there.
///
/// # Errors
/// When the file cannot be read, or `tell` does not want to go on.
pub fn read_statement(
    folder: &Path,
    mut tell: impl FnMut(serde_json::Value) -> std::io::Result<()>,
) -> std::io::Result<bool> {
    book::read_only(folder, |intent| tell(answers::statement_line(intent)))
}

/// Cutting a connection is an error to hyper: it closes without a word.
#[derive(Debug, thiserror::Error)]
#[error("cut on purpose")]
struct Cut;

async fn answer(sandbox: Arc<Sandbox>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let controls = !path.starts_with("/v1/");
    if !controls && sandbox.faults.strike(|mode| mode == FaultMode::Refuse) == FaultMode::Refuse {
        return Err(Cut);
    }
    let body = match axum::body::to_bytes(Body::new(body), BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(_) => return Err(Cut),
    };
    if controls {
        let answered: Result<_, Infallible> = Ok(sandbox.control(&parts, &body).await);
        return answered.map_err(|never| match never {});
    }
    let query = parts.uri.query().unwrap_or_default();
    let call = Call { method: &parts.method, path, query, headers: &parts.headers, body: &body };
    match sandbox.serve(call).await {
        Outcome::Answer(response) => Ok(response),
        Outcome::Cut => Err(Cut),
    }
}
