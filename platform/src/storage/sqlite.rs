//! SQLite: one file, one writer thread that commits many batches per fsync, and a few readers.
//!
//! A batch is handed to the writer whole, so a caller that goes away cannot leave half of it behind. `writer` groups
//! and commits, `readers` answer; both keep their `statements` prepared. `connection` says how a file is opened and what
//! its errors mean.

mod cells;
mod connection;
mod readers;
mod statements;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;

use futures_util::future::BoxFuture;
use rusqlite::OpenFlags;
use tokio::sync::oneshot;

use connection::{connect, look};
use readers::{ReaderJob, start_readers};
use writer::{WriterJob, serve_writes};

use super::{Batch, Dialect, Engine, Row, StorageError, StorageHealth, Value};

/// The most batches that may wait; more are turned away, so that an overload cannot eat the memory.
const QUEUE_MAX: u64 = 8_192;
/// In KiB when negative, as SQLite wants it. The operating system caches the file too; this only saves a copy.
const WRITER_CACHE_KIB: i64 = -8_192;

type Answer<T> = oneshot::Sender<Result<T, StorageError>>;

#[derive(Debug, Default)]
struct Counters {
    batches: AtomicU64,
    commits: AtomicU64,
    waiting: AtomicU64,
    busy: AtomicU64,
    open: AtomicU64,
}

/// The embedded engine.
#[derive(Debug)]
pub struct Sqlite {
    writer: Sender<WriterJob>,
    readers: crossbeam_channel::Sender<ReaderJob>,
    readers_count: usize,
    counters: Arc<Counters>,
}

impl Sqlite {
    /// Opens the file at `path`, making it and its folder when absent, and starts the threads.
    pub async fn open(path: &Path) -> Result<Self, StorageError> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || Self::start(&path))
            .await
            .map_err(|error| StorageError::Unavailable(error.to_string()))?
    }

    /// Opens the file at `path`, which must be there, for reading only. Another process may write it meanwhile.
    pub async fn open_read_only(path: &Path) -> Result<Self, StorageError> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || Self::start_reading(&path))
            .await
            .map_err(|error| StorageError::Unavailable(error.to_string()))?
    }

    fn start_reading(path: &Path) -> Result<Self, StorageError> {
        let cannot = |what: &dyn std::fmt::Display| {
            StorageError::Unavailable(format!("cannot read {}: {what}", path.display()))
        };
        let counters = Arc::new(Counters::default());
        let (readers, readers_count) =
            start_readers(&counters, || look(path).map_err(|error| cannot(&error)))?;
        // Nobody takes what is written: the channel ends here.
        let (writer, _) = mpsc::channel();
        Ok(Self { writer, readers, readers_count, counters })
    }

    fn start(path: &Path) -> Result<Self, StorageError> {
        let cannot = |what: &dyn std::fmt::Display| {
            StorageError::Unavailable(format!("cannot open {}: {what}", path.display()))
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| cannot(&error))?;
        }
        let counters = Arc::new(Counters::default());
        let connection = connect(path, OpenFlags::SQLITE_OPEN_CREATE).map_err(|error| cannot(&error))?;
        let (writer, jobs) = mpsc::channel();
        let told = Arc::clone(&counters);
        connection.pragma_update(None, "cache_size", WRITER_CACHE_KIB).map_err(|error| cannot(&error))?;
        spawn("sqlite-writer".to_owned(), move || serve_writes(connection, jobs, &told))?;

        let (readers, readers_count) = start_readers(&counters, || {
            let connection = connect(path, OpenFlags::empty()).map_err(|error| cannot(&error))?;
            connection.pragma_update(None, "query_only", true).map_err(|error| cannot(&error))?;
            Ok(connection)
        })?;
        counters.open.store(1 + readers_count as u64, Ordering::Relaxed);
        Ok(Self { writer, readers, readers_count, counters })
    }
}

impl Engine for Sqlite {
    fn write(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<u64>, StorageError>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            if self.counters.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE_MAX {
                self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
                return Err(StorageError::Unavailable("too many batches wait for the writer".to_owned()));
            }
            if self.writer.send(WriterJob::Batch { batch, answer }).is_err() {
                self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
                return Err(closed());
            }
            answered.await.unwrap_or_else(|_| Err(StorageError::Unknown("the writer stopped".to_owned())))
        })
    }

    fn read(&self, sql: &str, params: Vec<Value>) -> BoxFuture<'_, Result<Vec<Row>, StorageError>> {
        let (answer, answered) = oneshot::channel();
        let sent = self.readers.send(ReaderJob::Read { sql: sql.to_owned(), params, answer });
        Box::pin(async move {
            sent.map_err(|_| closed())?;
            answered.await.unwrap_or_else(|_| Err(closed()))
        })
    }

    fn script(&self, sql: String) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            self.writer.send(WriterJob::Script { sql, answer }).map_err(|_| closed())?;
            answered.await.unwrap_or_else(|_| Err(StorageError::Unknown("the writer stopped".to_owned())))
        })
    }

    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn health(&self) -> StorageHealth {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StorageHealth {
            batches_total: read(&self.counters.batches),
            commits_total: read(&self.counters.commits),
            queue_depth: read(&self.counters.waiting),
            connections_in_use: read(&self.counters.busy),
            connections_open: read(&self.counters.open),
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // Readers first: the last connection to close is the one that folds the log into the file.
            for _ in 0..self.readers_count {
                let (answer, answered) = oneshot::channel();
                if self.readers.send(ReaderJob::Close { answer }).is_ok() {
                    answered.await.ok();
                }
            }
            let (answer, answered) = oneshot::channel();
            if self.writer.send(WriterJob::Close { answer }).is_ok() {
                answered.await.ok();
            }
            self.counters.open.store(0, Ordering::Relaxed);
        })
    }
}

fn closed() -> StorageError {
    StorageError::Unavailable("the database is closed".to_owned())
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<(), StorageError> {
    thread::Builder::new()
        .name(name)
        .spawn(work)
        .map(drop)
        .map_err(|error| StorageError::Unavailable(format!("cannot start a thread: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Expect;

    async fn fresh() -> (tempfile::TempDir, Sqlite) {
        let folder = tempfile::tempdir().unwrap();
        let engine = Sqlite::open(&folder.path().join("shop.db")).await.unwrap();
        engine
            .script("CREATE TABLE t (k text NOT NULL PRIMARY KEY, n bigint NOT NULL)".to_owned())
            .await
            .unwrap();
        (folder, engine)
    }

    #[tokio::test]
    async fn placeholders_are_bound_by_their_number() {
        let (_folder, engine) = fresh().await;
        let mut batch = Batch::new();
        batch.one("put", "INSERT INTO t (n, k) VALUES ($2 + $2, $1)", vec!["a".into(), 21i64.into()]);
        assert_eq!(engine.write(batch).await, Ok(vec![1]));
        let rows = engine.read("SELECT n FROM t WHERE k = $1", vec!["a".into()]).await.unwrap();
        assert_eq!(rows[0].get::<i64>("n"), Ok(42));
    }

    #[tokio::test]
    async fn a_failed_batch_leaves_its_neighbours_alone() {
        let (_folder, engine) = fresh().await;
        let put = |key: &str, expect_row: &str| {
            let mut batch = Batch::new();
            batch.one("put", "INSERT INTO t (k, n) VALUES ($1, 1)", vec![key.into()]);
            batch.one("bump", "UPDATE t SET n = n + 1 WHERE k = $1", vec![expect_row.into()]);
            batch
        };
        let (good, bad, twin) = tokio::join!(
            engine.write(put("a", "a")),
            engine.write(put("b", "nobody")),
            engine.write(put("a", "a"))
        );
        assert_eq!(good, Ok(vec![1, 1]));
        assert!(bad.unwrap_err().is_expectation("bump"));
        assert!(twin.unwrap_err().is_conflict("put"));
        let rows = engine.read("SELECT k FROM t", vec![]).await.unwrap();
        assert_eq!(rows.len(), 1);
    }

    /// The first group of three is run twice, the second with savepoints at once, and one after the watch without.
    #[tokio::test]
    async fn a_failed_batch_leaves_nothing_behind_whether_or_not_it_was_expected() {
        let (_folder, engine) = fresh().await;
        let put = |key: String, expected: u64| {
            let mut batch = Batch::new();
            batch.one("put", "INSERT INTO t (k, n) VALUES ($1, 1)", vec![key.into()]);
            batch.push("bump", Expect::Rows(expected), "UPDATE t SET n = n + 1 WHERE k = 'a0'", vec![]);
            batch
        };
        assert_eq!(engine.write(put("a0".to_owned(), 1)).await, Ok(vec![1, 1]));
        for round in 1..=u64::from(writer::GROUPS_WATCHED) + 2 {
            let (first, bad, last) = tokio::join!(
                engine.write(put(format!("a{round}"), 1)),
                engine.write(put(format!("b{round}"), 2)),
                engine.write(put(format!("c{round}"), 1))
            );
            assert_eq!((first, last), (Ok(vec![1, 1]), Ok(vec![1, 1])));
            assert!(bad.unwrap_err().is_expectation("bump"));
            let rows = engine.read("SELECT n FROM t WHERE k = 'a0'", vec![]).await.unwrap();
            assert_eq!(rows[0].get::<i64>("n"), Ok(i64::try_from(2 * (round + 1)).unwrap()));
        }
        let bad = engine.read("SELECT k FROM t WHERE k LIKE 'b%'", vec![]).await.unwrap();
        assert!(bad.is_empty());
    }
}
