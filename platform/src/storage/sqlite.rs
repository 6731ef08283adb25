//! SQLite: one file, one writer thread that commits many batches per fsync, and a few readers.
//!
//! The writer takes whatever batches wait, runs them in one transaction, commits once, and only then answers. A batch
//! is handed over whole, so a caller that goes away cannot leave half of it behind. A batch that fails must not take
//! its neighbours along: then the transaction is rolled back and run again with a savepoint around each batch. Most
//! groups have no such batch, and a savepoint costs a copy of every page that is touched after it; so savepoints
//! are set only in the group that failed and the next few.

mod cells;

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::oneshot;

use cells::{bind, cell};

use super::{Batch, Dialect, Engine, Expect, Row, Statement, StorageError, StorageHealth, Value};

/// The most batches that share one commit.
const GROUP_MAX: usize = 256;
/// The most batches that may wait; more are turned away, so that an overload cannot eat the memory.
const QUEUE_MAX: u64 = 8_192;
const READERS_MAX: usize = 4;
const STATEMENTS_CACHED: usize = 256;
/// In KiB when negative, as SQLite wants it. The operating system caches the file too; this only saves a copy.
const READER_CACHE_KIB: i64 = -2_048;
const WRITER_CACHE_KIB: i64 = -8_192;
/// How many groups are run with savepoints after one in which a batch failed.
const GROUPS_WATCHED: u32 = 32;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

type Answer<T> = oneshot::Sender<Result<T, StorageError>>;

enum WriterJob {
    Batch { batch: Batch, answer: Answer<Vec<u64>> },
    Script { sql: String, answer: Answer<()> },
    Close { answer: oneshot::Sender<()> },
}

enum ReaderJob {
    Read { sql: String, params: Vec<Value>, answer: Answer<Vec<Row>> },
    Close { answer: oneshot::Sender<()> },
}

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
    readers: Sender<ReaderJob>,
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
        let writer_of = move || Writer { connection, counters: told, watched: Cell::new(0) }.run(jobs);
        spawn("sqlite-writer".to_owned(), writer_of)?;

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

/// Tells whoever came too late that certainly nothing was written.
fn refuse(jobs: Receiver<WriterJob>) {
    for job in jobs.try_iter() {
        match job {
            WriterJob::Batch { answer, .. } => drop(answer.send(Err(closed()))),
            WriterJob::Script { answer, .. } => drop(answer.send(Err(closed()))),
            WriterJob::Close { answer } => drop(answer.send(())),
        }
    }
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<(), StorageError> {
    thread::Builder::new()
        .name(name)
        .spawn(work)
        .map(drop)
        .map_err(|error| StorageError::Unavailable(format!("cannot start a thread: {error}")))
}

fn connect(path: &Path, extra: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | extra;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "cache_size", READER_CACHE_KIB)?;
    // Else a statement whose parameter meets the condition of a partial index is prepared anew at every run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // A checkpoint syncs the whole file, so it pays to let the log grow to 16 MiB first.
    connection.pragma_update(None, "wal_autocheckpoint", 4_096)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(connection)
}

/// How it went with one batch of a transaction.
enum Ran {
    /// It was written, or it failed and left nothing behind.
    Outcome(Result<Vec<u64>, StorageError>),
    /// It failed and may have left something behind: all batches have to be run again.
    Again,
    /// The whole transaction is lost.
    Lost(StorageError),
}

/// A connection that cannot write, whatever it is asked.
fn look(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "cache_size", -8_192)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(connection)
}

/// Starts a few threads that read, each with a connection of its own; answers the way to them and how many they are.
fn start_readers(
    counters: &Arc<Counters>,
    open: impl Fn() -> Result<Connection, StorageError>,
) -> Result<(Sender<ReaderJob>, usize), StorageError> {
    let (readers, jobs) = mpsc::channel();
    let jobs = Arc::new(Mutex::new(jobs));
    let count = thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, READERS_MAX));
    for number in 1..=count {
        let connection = open()?;
        let (jobs, told) = (Arc::clone(&jobs), Arc::clone(counters));
        spawn(format!("sqlite-reader-{number}"), move || serve_reads(connection, &jobs, &told))?;
    }
    Ok((readers, count))
}

struct Writer {
    connection: Connection,
    counters: Arc<Counters>,
    /// How many more groups get a savepoint around each batch.
    watched: Cell<u32>,
}

impl Writer {
    /// Works until told to close, or until the engine is dropped and nothing waits any more.
    fn run(self, jobs: Receiver<WriterJob>) {
        let mut batches = Vec::with_capacity(GROUP_MAX);
        let mut answers = Vec::with_capacity(GROUP_MAX);
        while let Ok(first) = jobs.recv() {
            let mut next = Some(first);
            let mut after = None;
            while let Some(job) = next {
                match job {
                    WriterJob::Batch { batch, answer } => {
                        batches.push(batch);
                        answers.push(answer);
                    }
                    other => {
                        after = Some(other);
                        break;
                    }
                }
                next = if batches.len() < GROUP_MAX { jobs.try_recv().ok() } else { None };
            }
            self.write(&mut batches, &mut answers);
            match after {
                Some(WriterJob::Script { sql, answer }) => {
                    answer.send(self.script(&sql)).ok();
                }
                Some(WriterJob::Close { answer }) => {
                    drop(self.connection);
                    refuse(jobs);
                    answer.send(()).ok();
                    return;
                }
                Some(WriterJob::Batch { .. }) | None => {}
            }
        }
    }

    fn write(&self, batches: &mut Vec<Batch>, answers: &mut Vec<Answer<Vec<u64>>>) {
        if batches.is_empty() {
            return;
        }
        self.counters.waiting.fetch_sub(batches.len() as u64, Ordering::Relaxed);
        let outcomes = self.group(batches);
        batches.clear();
        for (answer, outcome) in answers.drain(..).zip(outcomes) {
            answer.send(outcome).ok();
        }
    }

    /// Runs `batches` in one transaction, each standing or falling by itself.
    fn group(&self, batches: &[Batch]) -> Vec<Result<Vec<u64>, StorageError>> {
        let watched = self.watched.get();
        self.watched.set(watched.saturating_sub(1));
        if watched == 0
            && let Some(outcomes) = self.transaction(batches, Self::unwatched)
        {
            return outcomes;
        }
        self.transaction(batches, Self::within_savepoint).unwrap_or_else(|| {
            let why = StorageError::Unavailable("the transaction was given up".to_owned());
            vec![Err(why); batches.len()]
        })
    }

    /// One transaction over `batches`, each run by `one`. None when `one` wants all of them run again.
    fn transaction(
        &self,
        batches: &[Batch],
        one: impl Fn(&Self, &Batch, bool) -> Ran,
    ) -> Option<Vec<Result<Vec<u64>, StorageError>>> {
        // What one batch saw of another no longer holds once the transaction is gone, so all share its fate.
        let all = |error: StorageError| Some(vec![Err(error); batches.len()]);
        if let Err(error) = self.run_plain("BEGIN IMMEDIATE") {
            return all(failure(&error, None));
        }
        let mut outcomes = Vec::with_capacity(batches.len());
        for batch in batches {
            match one(self, batch, batches.len() == 1) {
                Ran::Outcome(outcome) => outcomes.push(outcome),
                Ran::Lost(error) => {
                    self.roll_back();
                    return all(error);
                }
                Ran::Again => {
                    self.roll_back();
                    return None;
                }
            }
        }
        let written = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        if written == 0 {
            self.roll_back();
            return Some(outcomes);
        }
        match self.run_plain("COMMIT") {
            Ok(()) => {
                self.counters.batches.fetch_add(written as u64, Ordering::Relaxed);
                self.counters.commits.fetch_add(1, Ordering::Relaxed);
                Some(outcomes)
            }
            Err(error) => {
                self.roll_back();
                match failure(&error, None) {
                    // A deferred constraint speaks only now, and cannot say whose it is: ask each batch alone.
                    StorageError::Conflict { .. } if batches.len() > 1 => Some(
                        batches.iter().flat_map(|batch| self.group(std::slice::from_ref(batch))).collect(),
                    ),
                    // The frames may lie in the log with their commit mark although the sync failed; a crash now
                    // could bring them back.
                    StorageError::Unavailable(why) if is_io(&error) => all(StorageError::Unknown(why)),
                    other => all(other),
                }
            }
        }
    }

    /// Runs one batch in the hope that it succeeds. A batch that is `alone` may fail: nothing is written then.
    fn unwatched(&self, batch: &Batch, alone: bool) -> Ran {
        match self.statements(batch) {
            Ok(touched) => Ran::Outcome(Ok(touched)),
            Err(error @ StorageError::Full(_)) => Ran::Lost(error),
            Err(error) if alone => Ran::Outcome(Err(error)),
            Err(error) if self.connection.is_autocommit() => Ran::Lost(error),
            Err(_) => {
                self.watched.set(GROUPS_WATCHED);
                Ran::Again
            }
        }
    }

    fn within_savepoint(&self, batch: &Batch, _alone: bool) -> Ran {
        let outcome = (|| {
            let plain = |sql| self.run_plain(sql).map_err(|error| failure(&error, None));
            plain("SAVEPOINT batch")?;
            let outcome = self.statements(batch);
            if let Err(error) = &outcome {
                // A full disk or a failed read makes SQLite give up the whole transaction, not only the savepoint.
                if self.connection.is_autocommit() {
                    return Err(error.clone());
                }
                plain("ROLLBACK TO batch")?;
            }
            plain("RELEASE batch")?;
            match outcome {
                // The others could go on, but there is nowhere to go.
                Err(error @ StorageError::Full(_)) => Err(error),
                outcome => Ok(outcome),
            }
        })();
        match outcome {
            Ok(outcome) => Ran::Outcome(outcome),
            Err(error) => Ran::Lost(error),
        }
    }

    fn statements(&self, batch: &Batch) -> Result<Vec<u64>, StorageError> {
        batch.statements.iter().enumerate().map(|(at, statement)| self.execute(at, statement)).collect()
    }

    fn execute(&self, at: usize, statement: &Statement) -> Result<u64, StorageError> {
        let touched = run_statement(&self.connection, statement)
            .map_err(|error| failure(&error, Some((at, statement.name.as_ref()))))?;
        match statement.expect {
            Expect::Rows(expected) if expected != touched => Err(StorageError::Expectation {
                statement: at,
                name: statement.name.to_string(),
                expected,
                touched,
            }),
            _ => Ok(touched),
        }
    }

    fn script(&self, sql: &str) -> Result<(), StorageError> {
        let outcome = self
            .run_plain("BEGIN IMMEDIATE")
            .and_then(|()| self.connection.execute_batch(sql))
            .and_then(|()| self.run_plain("COMMIT"));
        if outcome.is_err() {
            self.roll_back();
        }
        outcome.map_err(|error| failure(&error, Some((0, super::migrations::CLAIMED))))
    }

    fn run_plain(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.raw_execute().map(drop)
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.run_plain("ROLLBACK")
        {
            tracing::error!(%error, "could not roll back");
        }
    }
}

fn serve_reads(connection: Connection, jobs: &Mutex<Receiver<ReaderJob>>, counters: &Counters) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(ReaderJob::Read { sql, params, answer }) => {
                if answer.is_closed() {
                    continue;
                }
                counters.busy.fetch_add(1, Ordering::Relaxed);
                let outcome =
                    query(&connection, &sql, &params).map_err(|error| match error.sqlite_error_code() {
                        Some(ErrorCode::ReadOnly) => {
                            StorageError::Invalid(format!("a read must not write: {error}"))
                        }
                        _ => failure(&error, None),
                    });
                counters.busy.fetch_sub(1, Ordering::Relaxed);
                answer.send(outcome).ok();
            }
            Ok(ReaderJob::Close { answer }) => {
                // Gone before it says so: the writer must be the last, or the log stays beside the file.
                drop(connection);
                answer.send(()).ok();
                return;
            }
            Err(_) => return,
        }
    }
}

fn run_statement(connection: &Connection, statement: &Statement) -> rusqlite::Result<u64> {
    let mut prepared = connection.prepare_cached(&statement.sql)?;
    bind(&mut prepared, &statement.params)?;
    if prepared.column_count() == 0 {
        return prepared.raw_execute().map(|touched| touched as u64);
    }
    let mut rows = prepared.raw_query();
    let mut touched = 0;
    while rows.next()?.is_some() {
        touched += 1;
    }
    Ok(touched)
}

fn query(connection: &Connection, sql: &str, params: &[Value]) -> rusqlite::Result<Vec<Row>> {
    let mut prepared = connection.prepare_cached(sql)?;
    bind(&mut prepared, params)?;
    let columns: Arc<[String]> = prepared.column_names().map(str::to_owned).collect();
    let mut answered = Vec::new();
    let mut rows = prepared.raw_query();
    while let Some(row) = rows.next()? {
        let values = (0..columns.len()).map(|at| row.get_ref(at).and_then(cell)).collect::<Result<_, _>>()?;
        answered.push(Row { columns: Arc::clone(&columns), values });
    }
    Ok(answered)
}

/// What `error` means to the caller; `statement` is whose fault a constraint is.
fn failure(error: &rusqlite::Error, statement: Option<(usize, &str)>) -> StorageError {
    let why = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => {
            let (statement, name) = statement.unwrap_or((0, "commit"));
            StorageError::Conflict { statement, name: name.to_owned(), constraint: why }
        }
        Some(ErrorCode::DiskFull) => StorageError::Full(why),
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::OperationInterrupted
            | ErrorCode::OutOfMemory
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::PermissionDenied,
        ) => StorageError::Unavailable(why),
        _ => StorageError::Invalid(why),
    }
}

fn is_io(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for round in 1..=u64::from(GROUPS_WATCHED) + 2 {
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
