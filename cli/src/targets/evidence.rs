//! What there is to judge a shop by, wherever it lives: its data, whether somebody writes it now, the provider's
//! statement, the journals of what clients were promised, its logs and its metrics. Each target gathers it in its own way
//! ([`super::local::evidence`], [`super::kubernetes::evidence`]); there is one way to verify.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use hyper::Method;
use platform::app::EngineConfig;
use platform::verify::{Beside, Statement, journal};

use super::local::evidence::Opened;
use crate::cluster::forward::Forward;
use crate::failure::Failure;
use crate::wire::Connection;

/// How long a running shop may take to answer what is asked beside its data.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that a look takes from PostgreSQL.
pub(super) const CONNECTIONS_MAX: usize = 4;

/// Where a shop's data lies, and what lies beside it.
#[derive(Debug)]
pub struct Evidence {
    /// The data.
    pub engine: EngineConfig,
    /// Whether somebody may be writing it: then nothing stands still.
    pub live: bool,
    /// The folder of this machine that what is found is kept in, when it is there.
    pub data_dir: PathBuf,
    /// The rest.
    pub beside: Beside,
    /// What was opened for this look.
    pub(super) held: Held,
}

/// What a look needs until it ends.
#[derive(Debug)]
pub(super) enum Held {
    /// Nothing that was not there before.
    Nothing,
    /// A database of the folder's own, which was started.
    Database(Box<Opened>),
    /// The shop lives on a cluster.
    Way {
        /// The cluster and the namespace, for whoever reads a failure.
        place: String,
        /// The way to the database, when that is on the cluster too.
        database: Option<Forward>,
    },
}

impl Evidence {
    /// Where the shop is, for whoever reads a failure.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.held {
            Held::Way { place, .. } => place.clone(),
            _ => self.data_dir.display().to_string(),
        }
    }

    /// Whether the shop lives on a cluster.
    #[must_use]
    pub fn is_on_cluster(&self) -> bool {
        matches!(self.held, Held::Way { .. })
    }

    /// Why a look at the data came to nothing, when a way into the cluster knows.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        match &self.held {
            Held::Way { database: Some(way), .. } => way.failure("verify the shop"),
            _ => None,
        }
    }

    /// Ends what was opened for the look.
    pub async fn close(self) {
        if let Held::Database(opened) = self.held {
            opened.close().await;
        }
    }
}

/// Adds the journals that load runs against the shop `name` left in `data_dir`; `named` are those of the caller.
pub(super) fn add_journals(beside: &mut Beside, data_dir: &std::path::Path, name: &str, named: &[PathBuf]) {
    let of_runs = journal::of_runs(data_dir, name);
    beside.journals.extend(of_runs.own.into_iter().filter(|path| !named.contains(path)));
    beside.journals_elsewhere = of_runs.elsewhere;
    beside.journals_elsewhere.retain(|(path, _)| !named.contains(path));
}

/// The statement of the sandbox that answers on `url`, by its control token.
pub(super) async fn ask_provider(url: &str, token: &str) -> anyhow::Result<Statement> {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let whole =
        async { Connection::open(url).await?.send(Method::GET, "/control/statement", &headers, None).await };
    let reply = tokio::time::timeout(PATIENCE, whole).await.context("no answer in time")??;
    anyhow::ensure!(reply.status.is_success(), "the sandbox answered {}", reply.status);
    Ok(Statement::from_json(&reply.body)?)
}

/// The token that opens the sandbox's control routes, for whoever may read the shop's secrets.
pub(super) fn control_token(secrets: &[u8]) -> Option<String> {
    let secrets: serde_json::Value = serde_json::from_slice(secrets).ok()?;
    secrets["provider_control"].as_str().map(str::to_owned)
}
