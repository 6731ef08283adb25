//! The door to an engine, and what can go wrong behind it.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::faults::{self, FaultSwitch};
use super::{Batch, Migration, Row, Value, migrations, postgres, read_only, sqlite};
use crate::vocabulary::Env;

/// Why a batch or a read did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// A statement touched another number of rows than it must. Nothing was written.
    #[error("`{name}` touched {touched} rows where {expected} were expected")]
    Expectation {
        /// The statement's place in the batch, from 0.
        statement: usize,
        /// The statement's name.
        name: String,
        /// How many rows it must touch.
        expected: u64,
        /// How many it did touch.
        touched: u64,
    },
    /// A unique, foreign-key, not-null or check constraint refused a statement. Nothing was written.
    #[error("`{name}` conflicts with {constraint}")]
    Conflict {
        /// The statement's place in the batch, from 0.
        statement: usize,
        /// The statement's name.
        name: String,
        /// What the engine says was violated.
        constraint: String,
    },
    /// The engine could not be reached or gave up before the commit. Nothing was written; the same batch may be tried again.
    #[error("storage is unavailable: {0}")]
    Unavailable(String),
    /// The commit was sent and its answer never came: written or not, nobody knows. Only an idempotent batch may be tried again.
    #[error("storage never answered the commit: {0}")]
    Unknown(String),
    /// There is no room left. Nothing was written.
    #[error("storage is full: {0}")]
    Full(String),
    /// The statement itself is wrong: a bug.
    #[error("invalid statement: {0}")]
    Invalid(String),
    /// The data was written by a newer binary, or a migration that ran was changed since.
    #[error("{0}")]
    Schema(String),
}

impl StorageError {
    /// Whether the failure is the expectation named `name`.
    #[must_use]
    pub fn is_expectation(&self, name: &str) -> bool {
        matches!(self, Self::Expectation { name: failed, .. } if failed == name)
    }

    /// Whether the failure is a constraint hit by the statement named `name`.
    #[must_use]
    pub fn is_conflict(&self, name: &str) -> bool {
        matches!(self, Self::Conflict { name: failed, .. } if failed == name)
    }
}

/// Which SQL dialect answers, for the few places where one text cannot serve both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite, with FTS5.
    Sqlite,
    /// PostgreSQL 15 or later.
    Postgres,
}

/// Where the data lives.
#[derive(Clone, Debug)]
pub enum EngineConfig {
    /// One file, embedded.
    Sqlite {
        /// The database file; made when absent.
        path: PathBuf,
    },
    /// A PostgreSQL server.
    Postgres {
        /// A connection URL; may hold a password, so it never goes into a log.
        url: String,
        /// The most connections to hold.
        connections_max: usize,
    },
}

/// What an engine tells of itself, for metrics and the operations page.
#[derive(Clone, Debug, Default)]
pub struct StorageHealth {
    /// Batches committed since the start.
    pub batches_total: u64,
    /// Commits that made them durable: fewer than batches where the engine groups them.
    pub commits_total: u64,
    /// Batches that wait for a writer now.
    pub queue_depth: u64,
    /// Connections in use and open.
    pub connections_in_use: u64,
    /// Connections open.
    pub connections_open: u64,
}

/// What every engine does. Implementations: [`sqlite`], [`postgres`].
pub trait Engine: Send + Sync + 'static {
    /// Runs `batch` as one transaction and answers, after it is durable, with the rows that each statement touched.
    fn write(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<u64>, StorageError>>;
    /// Reads what is committed; sees every batch that was answered before the read began.
    fn read(&self, sql: &str, params: Vec<Value>) -> BoxFuture<'_, Result<Vec<Row>, StorageError>>;
    /// Runs a script of several statements in one transaction (migrations only).
    fn script(&self, sql: String) -> BoxFuture<'_, Result<(), StorageError>>;
    /// The dialect.
    fn dialect(&self) -> Dialect;
    /// What it tells of itself.
    fn health(&self) -> StorageHealth;
    /// Writes out what is pending and lets go of the data.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// The shop's data. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    engine: Arc<dyn Engine>,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Db({:?})", self.dialect())
    }
}

impl Db {
    /// Opens the engine that `config` names. Does not migrate.
    pub async fn open(config: &EngineConfig) -> Result<Self, StorageError> {
        let engine: Arc<dyn Engine> = match config {
            EngineConfig::Sqlite { path } => Arc::new(sqlite::Sqlite::open(path).await?),
            EngineConfig::Postgres { url, connections_max } => {
                Arc::new(postgres::Postgres::open(url, *connections_max).await?)
            }
        };
        Ok(Self { engine })
    }

    /// Opens data that is there for reading only, also while another process writes it: every write is refused.
    pub async fn open_read_only(config: &EngineConfig) -> Result<Self, StorageError> {
        let inner = match config {
            EngineConfig::Sqlite { path } => {
                Self { engine: Arc::new(sqlite::Sqlite::open_read_only(path).await?) }
            }
            EngineConfig::Postgres { .. } => Self::open(config).await?,
        };
        Ok(Self { engine: Arc::new(read_only::ReadOnly { inner: inner.engine }) })
    }

    /// Wraps an engine of the caller's: a test that makes the engine fail, or a simulation.
    #[must_use]
    pub fn with_engine(engine: Arc<dyn Engine>) -> Self {
        Self { engine }
    }

    /// The same data behind a switch that makes it fail on request.
    #[must_use]
    pub fn with_faults(self, switch: &FaultSwitch) -> Self {
        Self { engine: Arc::new(faults::Faulty { inner: self.engine, switch: switch.clone() }) }
    }

    /// Brings every service's tables to the newest version; holds the migration lock meanwhile. Answers how many ran.
    pub async fn migrate(&self, all: &[Migration], env: &Env) -> Result<usize, StorageError> {
        migrations::migrate(self, all, env).await
    }

    /// How many of `all` have not run yet. Writes nothing, and lets a newer binary's additions be.
    pub async fn missing(&self, all: &[Migration]) -> Result<usize, StorageError> {
        migrations::missing(self, all).await
    }

    /// Runs `batch` as one transaction: all of it, durable when this answers, or nothing.
    pub async fn write(&self, batch: Batch) -> Result<Vec<u64>, StorageError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.engine.write(batch).await
    }

    /// The rows that `sql` answers.
    pub async fn read(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, StorageError> {
        self.engine.read(sql, params).await
    }

    /// The first row that `sql` answers, if there is one.
    pub async fn read_one(&self, sql: &str, params: Vec<Value>) -> Result<Option<Row>, StorageError> {
        Ok(self.read(sql, params).await?.into_iter().next())
    }

    /// Runs a migration's script.
    pub(crate) async fn script(&self, sql: String) -> Result<(), StorageError> {
        self.engine.script(sql).await
    }

    /// The dialect.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.engine.dialect()
    }

    /// What the engine tells of itself.
    #[must_use]
    pub fn health(&self) -> StorageHealth {
        self.engine.health()
    }

    /// Writes out what is pending and lets go of the data.
    pub async fn close(&self) {
        self.engine.close().await;
    }
}
