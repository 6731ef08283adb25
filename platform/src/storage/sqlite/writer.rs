//! The thread that writes.
//!
//! It takes whatever batches wait, runs them in one transaction, commits once, and only then answers. A batch that
//! fails after it wrote something must not take its neighbours along: then the transaction is rolled back and run again
//! with a savepoint around each batch. Most groups have no such batch, and a savepoint costs a copy of every page that is
//! touched after it; so savepoints are set only in the group that failed and the next few.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::connection::{IDLE, failure, is_io, shrink};
use super::statements::Statements;
use super::{Answer, Counters, closed};
use crate::storage::{Batch, Expect, Statement, StorageError};

/// The most batches that share one commit.
const GROUP_MAX: usize = 256;
/// How many groups are run with savepoints after one in which a batch failed.
pub(super) const GROUPS_WATCHED: u32 = 32;

/// What the writer is asked.
pub(super) enum WriterJob {
    Batch { batch: Batch, answer: Answer<Vec<u64>> },
    Script { sql: String, answer: Answer<()> },
    Close { answer: oneshot::Sender<()> },
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

/// Writes until told to close, or until the engine is dropped and nothing waits any more.
pub(super) fn serve_writes(connection: Connection, jobs: Receiver<WriterJob>, counters: &Counters) {
    let closing = Writer::new(&connection, counters).run(&jobs);
    drop(connection);
    if let Some(answer) = closing {
        refuse(jobs);
        answer.send(()).ok();
    }
}

struct Writer<'thread> {
    connection: &'thread Connection,
    statements: RefCell<Statements<'thread>>,
    counters: &'thread Counters,
    /// How many more groups get a savepoint around each batch.
    watched: Cell<u32>,
}

impl<'thread> Writer<'thread> {
    fn new(connection: &'thread Connection, counters: &'thread Counters) -> Self {
        let statements = RefCell::new(Statements::new(connection));
        Self { connection, statements, counters, watched: Cell::new(0) }
    }

    /// Works until told to close; whoever waits for the end is handed back.
    fn run(&self, jobs: &Receiver<WriterJob>) -> Option<oneshot::Sender<()>> {
        let mut batches = Vec::with_capacity(GROUP_MAX);
        let mut answers = Vec::with_capacity(GROUP_MAX);
        while let Some(first) = self.next(jobs) {
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
                Some(WriterJob::Script { sql, answer }) => drop(answer.send(self.script(&sql))),
                Some(WriterJob::Close { answer }) => return Some(answer),
                Some(WriterJob::Batch { .. }) | None => {}
            }
        }
        None
    }

    /// The next job. A writer that has nothing to do for a while gives back the pages that it kept.
    fn next(&self, jobs: &Receiver<WriterJob>) -> Option<WriterJob> {
        match jobs.recv_timeout(IDLE) {
            Ok(job) => Some(job),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                shrink(self.connection);
                jobs.recv().ok()
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
        let before = self.connection.total_changes();
        match self.statements(batch) {
            Ok(touched) => Ran::Outcome(Ok(touched)),
            Err(error @ StorageError::Full(_)) => Ran::Lost(error),
            Err(error) if alone => Ran::Outcome(Err(error)),
            Err(error) if self.connection.is_autocommit() => Ran::Lost(error),
            // Most batches fail at their first statement, which then changed nothing.
            Err(error) if self.connection.total_changes() == before => Ran::Outcome(Err(error)),
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
        let touched =
            self.touched(statement).map_err(|error| failure(&error, Some((at, statement.name.as_ref()))))?;
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

    /// How many rows it touched, or answered.
    fn touched(&self, statement: &Statement) -> rusqlite::Result<u64> {
        let mut statements = self.statements.borrow_mut();
        let bound = statements.of(&statement.sql)?.bound(&statement.params)?;
        if bound.column_count() == 0 {
            return bound.raw_execute().map(|touched| touched as u64);
        }
        let mut rows = bound.raw_query();
        let mut touched = 0;
        while rows.next()?.is_some() {
            touched += 1;
        }
        Ok(touched)
    }

    fn script(&self, sql: &str) -> Result<(), StorageError> {
        let outcome = self
            .run_plain("BEGIN IMMEDIATE")
            .and_then(|()| self.connection.execute_batch(sql))
            .and_then(|()| self.run_plain("COMMIT"));
        if outcome.is_err() {
            self.roll_back();
        }
        outcome.map_err(|error| failure(&error, Some((0, crate::storage::migrations::CLAIMED))))
    }

    fn run_plain(&self, sql: &str) -> rusqlite::Result<()> {
        self.statements.borrow_mut().of(sql)?.bound(&[])?.raw_execute().map(drop)
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.run_plain("ROLLBACK")
        {
            tracing::error!(%error, "could not roll back");
        }
    }
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
