//! What there is to judge a shop of this machine by, while it runs and after it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use platform::app::EngineConfig;
use platform::verify::{Beside, Statement, StatementSource};

use super::lock::{self, Holder, Lock, Standing};
use crate::config::{Engine, Settings};
use crate::failure::{Exit, Failure};
use crate::targets::evidence::{
    CONNECTIONS_MAX, Evidence, Held, PATIENCE, add_journals, ask_provider, control_token,
};
use crate::targets::pieces::database::at_rest::AtRest;
use crate::wire;

/// A database of the folder's own whose shop does not run; nobody else may start it meanwhile.
#[derive(Debug)]
pub(in crate::targets) struct Opened {
    database: AtRest,
    lock: Lock,
    /// What stood there of the shop that ended.
    left: Holder,
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
        let opened = match theirs.filter(|holder| !is_held && holder.database_url.is_some()) {
            Some(left) => Some(open(&data_dir, left).await?),
            None => None,
        };
        let mut engine = engine(settings, theirs)?;
        if let (EngineConfig::Postgres { url, .. }, Some(opened)) = (&mut engine, &opened) {
            opened.database.url().clone_into(url);
        }
        let live = is_held || is_reachable(&engine, theirs);
        let running = holder.as_ref().filter(|_| is_held);
        let mut beside = Beside {
            statement: statement(&data_dir, running),
            journals: journals.to_vec(),
            logs: logs(&data_dir, holder.as_ref()),
            ..Beside::default()
        };
        if let Some(url) = theirs.and_then(|holder| holder.url.as_deref()) {
            add_journals(&mut beside, &data_dir, url, journals);
        }
        if let Some(url) = running.and_then(|holder| holder.url.as_deref())
            && let Ok(reply) = wire::get(url, "/metrics", PATIENCE).await
            && reply.status.is_success()
        {
            beside.texts.push(("metrics".to_owned(), reply.text()));
        }
        let held = opened.map_or(Held::Nothing, |opened| Held::Database(Box::new(opened)));
        Ok(Self { engine, live, data_dir, beside, held })
    }
}

impl Opened {
    /// Ends what was started for the look.
    pub(in crate::targets) async fn close(self) {
        let Self { database, lock, left } = self;
        if let Err(error) = database.end().await {
            tracing::warn!(%error, "the database that was started for the look did not end in order");
        }
        // Whoever asks next hears of the shop that ended, as before.
        if let Err(error) = lock.publish(&left) {
            tracing::warn!(%error, "could not write into the data folder");
        }
    }
}

async fn open(data_dir: &Path, left: &Holder) -> anyhow::Result<Opened> {
    let lock = Lock::acquire(data_dir)?;
    let left = Holder { looks: false, ..left.clone() };
    let looker = Holder { pid: std::process::id(), looks: true, ..left.clone() };
    lock.publish(&looker).context("could not write into the data folder")?;
    Ok(Opened { database: AtRest::begin(data_dir).await?, lock, left })
}

/// A database that others can reach may have a writer that this folder knows nothing of, however it was named. Only the
/// one that the folder's own shop started for itself ended with that shop.
fn is_reachable(engine: &EngineConfig, holder: Option<&Holder>) -> bool {
    let is_own = holder.is_some_and(|holder| holder.database_url.is_some());
    matches!(engine, EngineConfig::Postgres { .. }) && !is_own
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
    let asked = running.and_then(|holder| holder.fakepay_url.clone()).zip(token(data_dir));
    if asked.is_none() && !folder.is_dir() {
        return None;
    }
    let from = asked.as_ref().map_or_else(|| folder.display().to_string(), |(url, _)| url.clone());
    let source: StatementSource = Arc::new(move || {
        let (folder, asked) = (folder.clone(), asked.clone());
        Box::pin(async move {
            if let Some((url, token)) = asked
                && let Ok(statement) = ask_provider(&url, &token).await
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

fn token(data_dir: &Path) -> Option<String> {
    control_token(&std::fs::read(data_dir.join("secrets.json")).ok()?)
}

fn logs(data_dir: &Path, holder: Option<&Holder>) -> Vec<PathBuf> {
    let mut logs = vec![data_dir.join("shop.log")];
    logs.extend(holder.map(|holder| holder.log.clone()).filter(|log| *log != logs[0]));
    // What was turned over is a log too: the writer keeps one older file.
    let mut logs: Vec<PathBuf> = logs
        .into_iter()
        .flat_map(|log| {
            let mut older = log.clone().into_os_string();
            older.push(".1");
            [log, PathBuf::from(older)]
        })
        .collect();
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

    #[test]
    fn only_a_database_of_the_folders_own_has_ended_with_its_shop() {
        let holder = |database_url: Option<&str>| Holder {
            pid: 1,
            url: None,
            fakepay_url: None,
            started_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            version: "0".to_owned(),
            engine: "postgres".to_owned(),
            database_url: database_url.map(str::to_owned),
            log: PathBuf::from("shop.log"),
            looks: false,
        };
        let postgres =
            EngineConfig::Postgres { url: "postgres://db/shop".to_owned(), connections_max: CONNECTIONS_MAX };
        assert!(is_reachable(&postgres, None), "named by a file or a variable, with no shop in the folder");
        assert!(is_reachable(&postgres, Some(&holder(None))), "others may write where this shop wrote");
        assert!(!is_reachable(&postgres, Some(&holder(Some("postgres://localhost/shop")))));
        assert!(!is_reachable(&EngineConfig::Sqlite { path: PathBuf::from("shop.db") }, None));
    }

    #[test]
    fn a_log_that_was_turned_over_is_read_too() {
        let folder = tempfile::tempdir().unwrap();
        let named = |name: &str| folder.path().join(name);
        for name in ["shop.log", "shop.log.1"] {
            std::fs::write(named(name), "{}\n").unwrap();
        }
        assert_eq!(logs(folder.path(), None), [named("shop.log"), named("shop.log.1")]);
    }
}
