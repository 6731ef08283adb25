//! What there is to judge a shop by: its data, whether somebody writes it now, the provider's statement, the journals
//! of what clients were promised, its logs and its metrics.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper::Method;
use platform::app::EngineConfig;
use platform::verify::{Beside, Statement, StatementSource, journal};

use super::lock::{self, Holder, Standing};
use crate::config::{Engine, Settings};
use crate::failure::{Exit, Failure};
use crate::wire::{self, Connection};

/// How long a running shop may take to answer what is asked beside its data.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that a look takes from PostgreSQL.
const CONNECTIONS_MAX: usize = 4;

/// Where a shop's data lies, and what lies beside it.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The data.
    pub engine: EngineConfig,
    /// Whether somebody may be writing it: then nothing stands still.
    pub live: bool,
    /// The folder of the shop.
    pub data_dir: PathBuf,
    /// The rest.
    pub beside: Beside,
}

impl Evidence {
    /// What there is of the shop that `settings` name; `names_database` says whether the caller named the database,
    /// instead of leaving that to the shop's folder. `journals` are added to those of the shop's own runs.
    ///
    /// # Errors
    /// When it cannot be told where the data is.
    pub async fn of(settings: &Settings, names_database: bool, journals: &[PathBuf]) -> anyhow::Result<Self> {
        let data_dir = settings.data_dir.clone();
        let (holder, is_held) = match lock::standing(&data_dir)? {
            Standing::Held(holder) => (holder, true),
            Standing::Ended(holder) => (Some(holder), false),
            Standing::Never => (None, false),
        };
        let theirs = holder.as_ref().filter(|_| !names_database);
        let engine = engine(settings, theirs)?;
        // A database that others can reach may have a writer that this folder knows nothing of.
        let live = is_held || (names_database && matches!(engine, EngineConfig::Postgres { .. }));
        let running = holder.as_ref().filter(|_| is_held);
        let mut beside = Beside {
            statement: statement(&data_dir, running),
            journals: journals.to_vec(),
            logs: logs(&data_dir, holder.as_ref()),
            texts: Vec::new(),
        };
        if let Some(url) = theirs.and_then(|holder| holder.url.as_deref()) {
            let own = journal::of_runs(&data_dir, url);
            beside.journals.extend(own.into_iter().filter(|path| !journals.contains(path)));
        }
        if let Some(url) = running.and_then(|holder| holder.url.as_deref())
            && let Ok(reply) = wire::get(url, "/metrics", PATIENCE).await
            && reply.status.is_success()
        {
            beside.texts.push(("metrics".to_owned(), reply.text()));
        }
        Ok(Self { engine, live, data_dir, beside })
    }
}

fn engine(settings: &Settings, holder: Option<&Holder>) -> Result<EngineConfig, Failure> {
    let is_postgres = match holder {
        Some(holder) => holder.engine == Engine::Postgres.to_string(),
        None => settings.engine == Engine::Postgres,
    };
    if !is_postgres {
        return Ok(EngineConfig::Sqlite { path: settings.data_dir.join("shop.db") });
    }
    let named = settings.database_url.as_ref().map(|url| url.reveal().to_owned());
    let url = holder.and_then(|holder| holder.database_url.clone()).or(named).ok_or_else(|| {
        let message = "the shop keeps its data in PostgreSQL and there is no database address";
        Failure::new(Exit::Config, "E-DATABASE-URL", message)
            .hint("set SHOPCTL_DATABASE_URL, or SHOPCTL_DATABASE_URL_FILE to a file that holds it")
    })?;
    Ok(EngineConfig::Postgres { url, connections_max: CONNECTIONS_MAX })
}

/// The running sandbox is asked; when it does not answer, or does not run, what it wrote down says the same.
fn statement(data_dir: &Path, running: Option<&Holder>) -> Option<(String, StatementSource)> {
    let folder = data_dir.join("fakepay");
    let asked = running.and_then(|holder| holder.fakepay_url.clone()).zip(control_token(data_dir));
    if asked.is_none() && !folder.is_dir() {
        return None;
    }
    let from = asked.as_ref().map_or_else(|| folder.display().to_string(), |(url, _)| url.clone());
    let source: StatementSource = Arc::new(move || {
        let (folder, asked) = (folder.clone(), asked.clone());
        Box::pin(async move {
            if let Some((url, token)) = asked
                && let Ok(statement) = ask(&url, &token).await
            {
                return Ok(statement);
            }
            let read = tokio::task::spawn_blocking(move || Statement::at_rest(&folder)).await;
            let read = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            read.ok_or_else(|| "the sandbox left none".to_owned())
        })
    });
    Some((from, source))
}

async fn ask(url: &str, token: &str) -> anyhow::Result<Statement> {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let whole =
        async { Connection::open(url).await?.send(Method::GET, "/control/statement", &headers, None).await };
    let reply = tokio::time::timeout(PATIENCE, whole).await.context("no answer in time")??;
    anyhow::ensure!(reply.status.is_success(), "the sandbox answered {}", reply.status);
    Ok(Statement::from_json(&reply.body)?)
}

/// The token that opens the sandbox's control routes, for whoever may read the shop's secrets.
fn control_token(data_dir: &Path) -> Option<String> {
    let text = std::fs::read(data_dir.join("secrets.json")).ok()?;
    let secrets: serde_json::Value = serde_json::from_slice(&text).ok()?;
    secrets["provider_control"].as_str().map(str::to_owned)
}

fn logs(data_dir: &Path, holder: Option<&Holder>) -> Vec<PathBuf> {
    let mut logs = vec![data_dir.join("shop.log")];
    logs.extend(holder.map(|holder| holder.log.clone()).filter(|log| *log != logs[0]));
    logs.retain(|log| log.is_file());
    logs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(statement(folder.path(), None).is_none());
        assert!(logs(folder.path(), None).is_empty());
    }
}
