//! PostgreSQL: two small pools, prepared statements, and a batch as one call of a function that holds its statements
//! (`routines`). A batch that does not fit into a function goes in two flights: `BEGIN` and every statement go out
//! without waiting for each other; `COMMIT` or `ROLLBACK` follows once the row counts are known. So does a batch whose
//! call ended at a constraint: only then does the server say which statement it was.
//!
//! Reads and flights share the guarded pool: a session there may only read unless it says `BEGIN READ WRITE`. So
//! should a `BEGIN` ever fail, what is already on its way behind it is refused instead of being committed statement
//! by statement. A call is one statement, and needs no such guard.

mod cells;
mod connect;
pub mod installed;
mod lease;
mod route;
mod routines;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deadpool_postgres::{Client, Pool};
use futures_util::future::{BoxFuture, MaybeDone, maybe_done};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::{Batch, Dialect, Engine, Expect, Row, StorageError, StorageHealth, Value, migrations};
use cells::Bound;
use connect::Session;
use lease::Lease;
use route::{Habits, Route};
use routines::Routines;

/// How long a call may take before the connection is given up: a frozen server answers nothing, not even an error.
/// Longer than the server's own `statement_timeout`, which says more.
const CALL: Duration = Duration::from_secs(6);
/// Building an index over a large table takes its time.
const SCRIPT: Duration = Duration::from_secs(30 * 60);
/// Without a time-out: PostgreSQL makes a success of a commit whose wait for the standby is cut short, and a primary
/// that dies then would take an acknowledged write with it. In an aborted transaction the `SET` fails, so the `COMMIT`
/// is not quietly turned into a `ROLLBACK`.
const COMMIT: &str = "SET LOCAL statement_timeout = 0; COMMIT";
/// Two processes that migrate at once take turns by this advisory lock.
const MIGRATION_LOCK: i64 = 0x7368_6f70;

#[derive(Debug, Default)]
struct Counters {
    batches: AtomicU64,
    commits: AtomicU64,
}

/// The engine for PostgreSQL 15 and later. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// For reads, for scripts, and for batches that go statement by statement.
    guarded: Pool,
    /// For batches that are one call.
    calls: Pool,
    route: Arc<Route>,
    routines: Arc<Routines>,
    counters: Arc<Counters>,
}

impl Postgres {
    /// Makes the pools and their first connection, so that a wrong address is known at once. With several hosts in
    /// `url`, the one that accepts writes is used.
    pub async fn open(url: &str, connections_max: usize) -> Result<Self, StorageError> {
        Self::open_with(url, connections_max, Habits::default()).await
    }

    async fn open_with(url: &str, connections_max: usize, habits: Habits) -> Result<Self, StorageError> {
        let route = Arc::new(Route::new(habits));
        let calls_max = (connections_max * 2 / 3).max(1);
        let guarded_max = connections_max.saturating_sub(calls_max).max(1);
        let engine = Self {
            guarded: lease::pool(url, Session::Guarded, guarded_max, &route)?,
            calls: lease::pool(url, Session::Calls, calls_max, &route)?,
            route,
            routines: Arc::default(),
            counters: Arc::default(),
        };
        engine.lease(&engine.guarded).await?.keep();
        Ok(engine)
    }

    async fn lease(&self, pool: &Pool) -> Result<Lease<'_>, StorageError> {
        lease::lease(pool, &self.route).await
    }

    /// A call was not answered in time: nobody waits for a connection as old as that one.
    fn silent(&self, what: &str) -> StorageError {
        self.route.fell_silent(Instant::now());
        StorageError::Unavailable(format!("no answer to {what} within the time allowed"))
    }

    /// A commit was not answered in time.
    fn unanswered(&self) -> StorageError {
        self.route.fell_silent(Instant::now());
        StorageError::Unknown(format!("no answer within {} s", CALL.as_secs()))
    }

    async fn run(self, batch: Batch) -> Result<Vec<u64>, StorageError> {
        if let Some(routine) = self.routines.of(&batch)
            && let Some(outcome) = self.call(&routine, &batch).await
        {
            return outcome;
        }
        self.fly(batch).await
    }

    /// The batch as one call. None when it must go statement by statement; nothing was written then.
    async fn call(
        &self,
        routine: &routines::Routine,
        batch: &Batch,
    ) -> Option<Result<Vec<u64>, StorageError>> {
        let lease = match self.lease(&self.calls).await {
            Ok(lease) => lease,
            Err(error) => return Some(Err(error)),
        };
        let prepared = match timeout(CALL, routine.prepared(lease.client(), &self.routines)).await {
            Ok(Ok(Some(prepared))) => prepared,
            Ok(Ok(None)) => {
                lease.keep();
                return None;
            }
            Ok(Err(error)) => {
                // What is wrong with a statement itself is said better when it goes alone.
                let known = error.code().is_some_and(|code| !closes(code));
                if known {
                    lease.keep();
                    return None;
                }
                return Some(Err(failure(&error, None)));
            }
            Err(_) => return Some(Err(self.silent("the preparation of a batch"))),
        };
        match timeout(CALL, routine.call(lease.client(), &prepared, batch)).await {
            Ok(Ok(touched)) => {
                lease.keep();
                self.counters.batches.fetch_add(1, Ordering::Relaxed);
                self.counters.commits.fetch_add(1, Ordering::Relaxed);
                Some(Ok(touched))
            }
            // An error that the server itself reports means that it did not commit, unless it says good-bye.
            Ok(Err(error)) => match error.code() {
                Some(code) if !closes(code) => {
                    lease.keep();
                    match failure(&error, None) {
                        StorageError::Conflict { .. } => None,
                        other => Some(Err(unmet(&error, batch).unwrap_or(other))),
                    }
                }
                Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => Some(Err(failure(&error, None))),
                _ => Some(Err(StorageError::Unknown(error.to_string()))),
            },
            Err(_) => Some(Err(self.unanswered())),
        }
    }

    /// The batch in two flights.
    async fn fly(&self, batch: Batch) -> Result<Vec<u64>, StorageError> {
        let lease = self.lease(&self.guarded).await?;
        let touched = match timeout(CALL, attempt(lease.client(), &batch)).await {
            Ok(Ok(touched)) => touched,
            Ok(Err(refusal)) => {
                // The connection goes back only with its transaction surely over.
                if !refusal.closes && roll_back(lease.client()).await {
                    lease.keep();
                }
                return Err(refusal.error);
            }
            Err(_) => return Err(self.silent("the statements")),
        };
        match timeout(CALL, lease.client().batch_execute(COMMIT)).await {
            Ok(Ok(())) => {
                lease.keep();
                self.counters.batches.fetch_add(1, Ordering::Relaxed);
                self.counters.commits.fetch_add(1, Ordering::Relaxed);
                Ok(touched)
            }
            // An error that the server itself reports means that it did not commit, unless it says good-bye.
            Ok(Err(error)) => match error.code() {
                Some(code) if !closes(code) => {
                    if roll_back(lease.client()).await {
                        lease.keep();
                    }
                    Err(failure(&error, Some((batch.statements.len(), "commit"))))
                }
                _ => Err(StorageError::Unknown(error.to_string())),
            },
            Err(_) => Err(self.unanswered()),
        }
    }

    async fn query(self, sql: String, params: Vec<Value>) -> Result<Vec<Row>, StorageError> {
        let lease = self.lease(&self.guarded).await?;
        let outcome = timeout(CALL, async {
            let types: Vec<Type> = params.iter().map(|value| cells::type_of(value.kind())).collect();
            let prepared = lease.client().prepare_typed_cached(&sql, &types).await?;
            if let Err(error) = counted(&prepared, &types) {
                return Ok(Err(error));
            }
            let bound: Vec<Bound<'_>> = params.iter().map(Bound).collect();
            let bound: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
                bound.iter().map(|bound| bound as _).collect();
            Ok::<_, tokio_postgres::Error>(Ok(lease.client().query(&prepared, &bound).await?))
        })
        .await;
        match outcome {
            Ok(Ok(rows)) => {
                lease.keep();
                cells::rows(&rows?)
            }
            Ok(Err(error)) => {
                if error.code().is_some_and(|code| !closes(code)) {
                    lease.keep();
                }
                Err(match failure(&error, None) {
                    StorageError::Unavailable(why)
                        if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) =>
                    {
                        StorageError::Invalid(why)
                    }
                    other => other,
                })
            }
            Err(_) => Err(self.silent("the query")),
        }
    }

    async fn run_script(self, sql: String) -> Result<(), StorageError> {
        let lease = self.lease(&self.guarded).await?;
        // Waits as long as it must for another process that migrates, but not for the locks of running traffic:
        // behind a waiting ALTER TABLE everybody else would queue.
        let begin = format!(
            "BEGIN READ WRITE; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
             SELECT pg_advisory_xact_lock({MIGRATION_LOCK}); SET LOCAL lock_timeout = '10s'"
        );
        let work = async {
            lease.client().batch_execute(&begin).await?;
            lease.client().batch_execute(&sql).await
        };
        match timeout(SCRIPT, work).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                if roll_back(lease.client()).await {
                    lease.keep();
                }
                return Err(failure(&error, Some((0, migrations::CLAIMED))));
            }
            Err(_) => return Err(self.silent("the script")),
        }
        match timeout(SCRIPT, lease.client().batch_execute(COMMIT)).await {
            Ok(Ok(())) => {
                lease.keep();
                Ok(())
            }
            Ok(Err(error)) => Err(StorageError::Unknown(error.to_string())),
            Err(_) => Err(StorageError::Unknown("no answer to the script's commit".to_owned())),
        }
    }
}

impl Engine for Postgres {
    fn write(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<u64>, StorageError>> {
        // A task of its own: a caller who goes away must not cost a connection.
        let work = tokio::spawn(self.clone().run(batch));
        Box::pin(async move {
            work.await
                .unwrap_or_else(|error| Err(StorageError::Unknown(format!("the batch was cut off: {error}"))))
        })
    }

    fn read(&self, sql: &str, params: Vec<Value>) -> BoxFuture<'_, Result<Vec<Row>, StorageError>> {
        let sql = sql.to_owned();
        Box::pin(async move {
            let work = tokio::spawn(self.clone().query(sql, params));
            work.await.unwrap_or_else(|error| {
                Err(StorageError::Unavailable(format!("the read was cut off: {error}")))
            })
        })
    }

    fn script(&self, sql: String) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(self.clone().run_script(sql))
    }

    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn health(&self) -> StorageHealth {
        let (guarded, calls) = (self.guarded.status(), self.calls.status());
        let open = guarded.size + calls.size;
        StorageHealth {
            batches_total: self.counters.batches.load(Ordering::Relaxed),
            commits_total: self.counters.commits.load(Ordering::Relaxed),
            queue_depth: (guarded.waiting + calls.waiting) as u64,
            connections_in_use: open.saturating_sub(guarded.available + calls.available) as u64,
            connections_open: open as u64,
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.guarded.close();
            self.calls.close();
        })
    }
}

/// The expectation that a function raised.
fn unmet(error: &tokio_postgres::Error, batch: &Batch) -> Option<StorageError> {
    let told = error.as_db_error().filter(|told| told.code().code() == routines::EXPECTATION)?;
    let at = told.message().parse::<usize>().ok()?.checked_sub(1)?;
    let touched = told.detail()?.parse().ok()?;
    let statement = batch.statements.get(at)?;
    let Expect::Rows(expected) = statement.expect else { return None };
    Some(StorageError::Expectation { statement: at, name: statement.name.to_string(), expected, touched })
}

struct Refusal {
    error: StorageError,
    /// Whether the connection is of no more use.
    closes: bool,
}

impl Refusal {
    fn new(error: &tokio_postgres::Error, statement: Option<(usize, &str)>) -> Self {
        let closes = error.code().is_none_or(closes);
        Self { error: failure(error, statement), closes }
    }
}

/// Prepares what is new, then sends `BEGIN` and all statements in one flight, and checks their answers in order.
async fn attempt(client: &Client, batch: &Batch) -> Result<Vec<u64>, Refusal> {
    let types: Vec<Vec<Type>> = batch
        .statements
        .iter()
        .map(|statement| statement.params.iter().map(|value| cells::type_of(value.kind())).collect())
        .collect();
    let mut prepared = Vec::with_capacity(batch.statements.len());
    for (at, (statement, types)) in batch.statements.iter().zip(&types).enumerate() {
        let ready = client.prepare_typed_cached(&statement.sql, types).await;
        let ready = ready.map_err(|error| Refusal::new(&error, Some((at, statement.name.as_ref()))))?;
        counted(&ready, types).map_err(|error| Refusal { error, closes: false })?;
        prepared.push(ready);
    }
    let begin = client.batch_execute("BEGIN READ WRITE");
    let runs = batch.statements.iter().zip(&prepared).map(|(statement, prepared)| {
        client.execute_raw(prepared, statement.params.iter().map(Bound).collect::<Vec<_>>())
    });
    let (begun, answers) = in_flight(begin, runs).await;
    begun.map_err(|error| Refusal { error: StorageError::Unavailable(error.to_string()), closes: true })?;
    let mut touched = Vec::with_capacity(answers.len());
    for (at, (answer, statement)) in answers.into_iter().zip(&batch.statements).enumerate() {
        // The first error is the cause; those behind it only say that the transaction is aborted.
        let rows = answer.map_err(|error| Refusal::new(&error, Some((at, statement.name.as_ref()))))?;
        match statement.expect {
            Expect::Rows(expected) if expected != rows => {
                let name = statement.name.to_string();
                let error = StorageError::Expectation { statement: at, name, expected, touched: rows };
                return Err(Refusal { error, closes: false });
            }
            _ => touched.push(rows),
        }
    }
    Ok(touched)
}

/// PostgreSQL guesses the type of a parameter that nobody gave it; the driver would then refuse to run.
fn counted(prepared: &tokio_postgres::Statement, given: &[Type]) -> Result<(), StorageError> {
    let wanted = prepared.params().len();
    if wanted == given.len() {
        return Ok(());
    }
    Err(StorageError::Invalid(format!("the statement has {wanted} parameters, {} were given", given.len())))
}

/// Polls each future once, in order, which sends it; then awaits the answers, which come in the same order.
async fn in_flight<B: Future, R: Future>(
    begin: B,
    runs: impl Iterator<Item = R>,
) -> (B::Output, Vec<R::Output>) {
    let mut begin = Box::pin(maybe_done(begin));
    let mut runs: Vec<_> = runs.map(|run| Box::pin(maybe_done(run))).collect();
    std::future::poll_fn(|context| {
        let _sent = begin.as_mut().poll(context);
        for run in &mut runs {
            let _sent = run.as_mut().poll(context);
        }
        std::task::Poll::Ready(())
    })
    .await;
    let begun = answer(&mut begin).await;
    let mut answers = Vec::with_capacity(runs.len());
    for run in &mut runs {
        answers.push(answer(run).await);
    }
    (begun, answers)
}

async fn answer<F: Future>(future: &mut std::pin::Pin<Box<MaybeDone<F>>>) -> F::Output {
    future.as_mut().await;
    match future.as_mut().take_output() {
        Some(output) => output,
        None => unreachable!("each future is asked once, after it is done"),
    }
}

async fn roll_back(client: &Client) -> bool {
    matches!(timeout(CALL, client.batch_execute("ROLLBACK")).await, Ok(Ok(())))
}

/// Whether after this error the connection is of no more use: the server goes away, or may only be read.
fn closes(code: &SqlState) -> bool {
    let code = code.code();
    code.starts_with("08") || code.starts_with("57P") || matches!(code, "25006" | "0A000" | "XX000" | "XX001")
}

/// What `error` means to the caller; `statement` is whose fault a constraint is.
fn failure(error: &tokio_postgres::Error, statement: Option<(usize, &str)>) -> StorageError {
    let Some(told) = error.as_db_error() else {
        // Without the source, the driver only says "error communicating with the server".
        let why = std::error::Error::source(error).map_or_else(String::new, |source| format!(": {source}"));
        let why = format!("{error}{why}");
        let at_fault = why.contains("error serializing parameter") || why.contains("error deserializing");
        return if at_fault { StorageError::Invalid(why) } else { StorageError::Unavailable(why) };
    };
    let why = || format!("{} ({})", told.message(), told.code().code());
    let code = told.code().code();
    match &code[..2.min(code.len())] {
        "23" => {
            let (statement, name) = statement.unwrap_or((0, ""));
            let constraint = told.constraint().or(told.column()).unwrap_or(told.message());
            StorageError::Conflict { statement, name: name.to_owned(), constraint: constraint.to_owned() }
        }
        _ if code == "53100" => StorageError::Full(why()),
        // Connections, serialization and deadlocks, resources, operators, the system, log-in while starting up.
        "08" | "40" | "53" | "57" | "58" | "55" | "XX" => StorageError::Unavailable(why()),
        _ if matches!(code, "25006" | "0A000" | "25P02") => StorageError::Unavailable(why()),
        _ => StorageError::Invalid(why()),
    }
}

#[cfg(test)]
mod tests;
