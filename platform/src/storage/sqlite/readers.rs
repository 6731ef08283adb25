//! The threads that read, each with a connection of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::cells::cell;
use super::connection::{IDLE, failure, shrink};
use super::statements::Statements;
use super::{Answer, Counters, spawn};
use crate::storage::{Row, StorageError, Value};

const READERS_MAX: usize = 4;

/// What a reader is asked.
pub(super) enum ReaderJob {
    Read { sql: String, params: Vec<Value>, answer: Answer<Vec<Row>> },
    Close { answer: oneshot::Sender<()> },
}

/// Starts a few threads that read, each with a connection of its own; answers the way to them and how many they are.
pub(super) fn start_readers(
    counters: &Arc<Counters>,
    open: impl Fn() -> Result<Connection, StorageError>,
) -> Result<(Sender<ReaderJob>, usize), StorageError> {
    // One that many can wait at: a job wakes one of them.
    let (readers, jobs) = crossbeam_channel::unbounded();
    let count = thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, READERS_MAX));
    for number in 1..=count {
        let connection = open()?;
        let (jobs, told) = (jobs.clone(), Arc::clone(counters));
        spawn(format!("sqlite-reader-{number}"), move || serve_reads(connection, &jobs, &told))?;
    }
    Ok((readers, count))
}

fn serve_reads(connection: Connection, jobs: &Receiver<ReaderJob>, counters: &Counters) {
    let closing = answer_reads(&connection, jobs, counters);
    // Gone before it says so: the writer must be the last, or the log stays beside the file.
    drop(connection);
    if let Some(answer) = closing {
        answer.send(()).ok();
    }
}

/// Answers until told to close, or until the engine is dropped; whoever waits for the end is handed back.
fn answer_reads(
    connection: &Connection,
    jobs: &Receiver<ReaderJob>,
    counters: &Counters,
) -> Option<oneshot::Sender<()>> {
    let statements = &mut Statements::new(connection);
    loop {
        match next(connection, jobs)? {
            ReaderJob::Read { sql, params, answer } => {
                if answer.is_closed() {
                    continue;
                }
                counters.busy.fetch_add(1, Ordering::Relaxed);
                let outcome =
                    query(statements, &sql, &params).map_err(|error| match error.sqlite_error_code() {
                        Some(ErrorCode::ReadOnly) => {
                            StorageError::Invalid(format!("a read must not write: {error}"))
                        }
                        _ => failure(&error, None),
                    });
                counters.busy.fetch_sub(1, Ordering::Relaxed);
                answer.send(outcome).ok();
            }
            ReaderJob::Close { answer } => return Some(answer),
        }
    }
}

/// The next job. A reader that has nothing to do for a while gives back the pages that it kept.
fn next(connection: &Connection, jobs: &Receiver<ReaderJob>) -> Option<ReaderJob> {
    match jobs.recv_timeout(IDLE) {
        Ok(job) => Some(job),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => {
            shrink(connection);
            jobs.recv().ok()
        }
    }
}

fn query(statements: &mut Statements<'_>, sql: &str, params: &[Value]) -> rusqlite::Result<Vec<Row>> {
    let prepared = statements.of(sql)?;
    let columns = prepared.columns();
    let mut answered = Vec::new();
    let mut rows = prepared.bound(params)?.raw_query();
    while let Some(row) = rows.next()? {
        let values = (0..columns.len()).map(|at| row.get_ref(at).and_then(cell)).collect::<Result<_, _>>()?;
        answered.push(Row { columns: Arc::clone(&columns), values });
    }
    Ok(answered)
}
