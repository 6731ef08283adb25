//! The worker: takes sagas by their lease, carries them step by step, and gives them back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{Advance, LEASE, LoadError, Patience, Saga, SagaLog, SagaRow, SagaState, Then};
use crate::storage::{Batch, Db, Dialect, StorageError};
use crate::telemetry::Telemetry;
use crate::vocabulary::{Env, clock};

/// How often in a row a worker decides anew because the service's own data had moved, before it pauses.
const STALE_MAX: u32 = 10;
/// How often the live sagas are counted.
const MEASURE_EVERY: Duration = Duration::from_secs(2);
/// How long a shutdown waits for the steps under way.
const DRAIN: Duration = Duration::from_secs(15);

/// Carries the sagas of one service. Cheap to clone.
pub struct Runner<S: Saga> {
    shared: Arc<Shared<S>>,
}

impl<S: Saga> Clone for Runner<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

struct Shared<S> {
    saga: S,
    log: SagaLog,
    db: Db,
    env: Env,
    patience: Patience,
    owner: String,
    stop: CancellationToken,
    tasks: TaskTracker,
    permits: Arc<Semaphore>,
    woken: Notify,
    telemetry: Telemetry,
}

/// Why a worker stops carrying a saga.
enum Left {
    /// It ended, waits, or is stuck: its row says so.
    Settled,
    /// Somebody else owns it.
    LostLease,
    /// Storage did not answer, or not in time; nothing is assumed.
    LetGo(StorageError),
}

impl<S: Saga> Runner<S> {
    /// A runner of `saga`, whose rows are in `log`.
    #[must_use]
    pub fn new(saga: S, log: SagaLog, db: Db, env: Env, patience: Patience, telemetry: &Telemetry) -> Self {
        let owner = env.uuid().simple().to_string();
        Self {
            shared: Arc::new(Shared {
                saga,
                log,
                db,
                env,
                permits: Arc::new(Semaphore::new(patience.workers_max)),
                patience,
                owner,
                stop: CancellationToken::new(),
                tasks: TaskTracker::new(),
                woken: Notify::new(),
                telemetry: telemetry.clone(),
            }),
        }
    }

    /// The service's part.
    #[must_use]
    pub fn saga(&self) -> &S {
        &self.shared.saga
    }

    /// The rows and their log.
    #[must_use]
    pub fn log(&self) -> &SagaLog {
        &self.shared.log
    }

    /// Makes a new row this worker's own from its first moment, so that whoever inserts it can [`Runner::drive`] it
    /// without a further write.
    pub fn lease_from_the_start(&self, row: &mut SagaRow) {
        row.owner = Some(self.shared.owner.clone());
        row.epoch = 1;
        row.lease_until = Some(self.shared.env.after(self.shared.patience.lease));
    }

    /// Carries a saga whose lease this worker holds, in a task of its own.
    pub fn drive(&self, row: SagaRow, work: S::Work) {
        let runner = self.clone();
        // Boxed: a saga is twenty kilobytes, and on its way into a task it is moved four times.
        self.shared.tasks.spawn(Box::pin(async move { runner.carry(row, work).await }));
    }

    /// Looks for due sagas now instead of at the next poll.
    pub fn wake(&self) {
        self.shared.woken.notify_one();
    }

    /// Resumes what is due, on schedule, until `stop`; then finishes the steps under way and gives the leases back.
    pub async fn run(self, stop: CancellationToken) {
        // Only one process can have an embedded database open: whoever owned a saga before this start is dead.
        let mut anybodys = self.shared.db.dialect() == Dialect::Sqlite;
        let mut measured_at = None;
        while !stop.is_cancelled() {
            self.measure(&mut measured_at).await;
            let more = match self.resume_due(anybodys).await {
                Ok(more) => {
                    anybodys = anybodys && more;
                    more
                }
                Err(error) => {
                    tracing::warn!(%error, "could not look for due sagas, will try again");
                    false
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.a_worker_is_free(), if more => {}
                () = self.shared.woken.notified() => {}
                () = tokio::time::sleep(self.shared.patience.poll) => {}
            }
        }
        self.shut_down().await;
    }

    /// Counts the sagas now and then: not at every poll, since it reads all that are live.
    async fn measure(&self, measured_at: &mut Option<tokio::time::Instant>) {
        if measured_at.is_some_and(|at| at.elapsed() < MEASURE_EVERY) {
            return;
        }
        *measured_at = Some(tokio::time::Instant::now());
        if let Ok((live, stuck)) = self.shared.log.counts(&self.shared.db).await {
            let count = |sagas| u64::try_from(sagas).unwrap_or(0);
            self.shared.telemetry.meters().sagas(count(live), count(stuck));
        }
    }

    async fn a_worker_is_free(&self) {
        drop(self.shared.permits.acquire().await);
    }

    async fn shut_down(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(DRAIN, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!("some sagas did not come to rest in time; another worker takes them from here");
        }
        if let Err(error) = self.shared.db.write(self.shared.log.give_all_back(&self.shared.owner)).await {
            tracing::warn!(%error, "could not give the leases back; they expire by themselves");
        }
    }

    /// Waits until nothing is being carried by this worker: for tests and simulation.
    pub async fn at_rest(&self) {
        while !self.shared.tasks.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Takes what is due now and carries it: one round of [`Runner::run`]. Answers whether there may be more. With
    /// `anybodys`, what another owner holds is taken too, although its lease has not ended.
    pub async fn resume_due(&self, anybodys: bool) -> Result<bool, StorageError> {
        let shared = &self.shared;
        let limit = shared.permits.available_permits().min(100);
        if limit == 0 {
            return Ok(true);
        }
        let due =
            shared.log.due(&shared.db, shared.env.now(), limit, anybodys.then_some(&shared.owner)).await?;
        if due.is_empty() {
            return Ok(false);
        }
        let taken = self.claim(&due).await?;
        for row in shared.log.get_many(&shared.db, &taken).await? {
            if row.owner.as_deref() != Some(&shared.owner) {
                continue;
            }
            let Ok(permit) = Arc::clone(&shared.permits).acquire_owned().await else { break };
            self.resume(row, permit);
        }
        Ok(due.len() == limit)
    }

    /// Takes those of `seen` that nobody else took meanwhile.
    async fn claim(&self, seen: &[(Uuid, i64)]) -> Result<Vec<Uuid>, StorageError> {
        let shared = &self.shared;
        let until = shared.env.after(shared.patience.lease);
        let mut batch = Batch::new();
        for (id, epoch) in seen {
            shared.log.claim(&mut batch, *id, *epoch, &shared.owner, until);
        }
        let touched = shared.db.write(batch).await?;
        Ok(seen.iter().zip(touched).filter(|(_, rows)| *rows == 1).map(|((id, _), _)| *id).collect())
    }

    fn resume(&self, row: SagaRow, permit: OwnedSemaphorePermit) {
        let runner = self.clone();
        self.shared.tasks.spawn(async move {
            match runner.load(row).await {
                Ok(Some((row, work))) => runner.carry(row, work).await,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "could not load a saga; it comes back when its lease ends")
                }
            }
            drop(permit);
        });
    }

    /// What a worker must know to carry `row`; none when this binary cannot carry it.
    async fn load(&self, row: SagaRow) -> Result<Option<(SagaRow, S::Work)>, StorageError> {
        let shared = &self.shared;
        let reason = if shared.saga.knows(&row.kind, row.version) {
            match shared.saga.load(&row).await {
                Ok(work) => return Ok(Some((row, work))),
                Err(LoadError::Storage(error)) => return Err(error),
                Err(LoadError::Unreadable(reason)) => reason,
            }
        } else {
            format!("this binary does not know version {} of the saga `{}`", row.version, row.kind)
        };
        tracing::error!(saga = %row.id, subject = %row.subject, reason, "a saga was abandoned and needs a person");
        shared.db.write(shared.log.abandon(&row, &reason, shared.env.now())).await?;
        Ok(None)
    }

    /// Carries a saga until it rests, and picks it up again when storage failed under it.
    async fn carry(&self, row: SagaRow, work: S::Work) {
        let (id, mut epoch) = (row.id, row.epoch);
        let mut carried = Some((row, work));
        let mut attempt = 0;
        while let Some((row, work)) = carried.take() {
            let subject = row.subject;
            match self.work(row, work, &mut epoch).await {
                Left::Settled => break,
                Left::LostLease => {
                    tracing::info!(saga = %id, %subject, epoch, "another worker took the saga over");
                    break;
                }
                Left::LetGo(error) => {
                    tracing::warn!(saga = %id, %subject, %error, "an outcome may not be written: reading the saga anew");
                    let give_up_at = self.shared.env.after(self.shared.patience.lease);
                    while carried.is_none()
                        && self.shared.env.now() < give_up_at
                        && !self.shared.stop.is_cancelled()
                    {
                        attempt += 1;
                        tokio::time::sleep(self.shared.patience.pause(attempt, &self.shared.env)).await;
                        match self.take_again(id, &mut epoch).await {
                            Ok(Some(again)) => carried = Some(again),
                            Ok(None) => break,
                            Err(error) => tracing::warn!(saga = %id, %error, "still cannot read the saga"),
                        }
                    }
                }
            }
        }
    }

    /// Takes the saga under a new epoch, which shuts out whatever was written under the old one and may still be on
    /// its way, and only then reads it.
    async fn take_again(
        &self,
        id: Uuid,
        epoch: &mut i64,
    ) -> Result<Option<(SagaRow, S::Work)>, StorageError> {
        let taken = self.claim(&[(id, *epoch)]).await?;
        if taken.is_empty() {
            // An earlier try to take it may have been written although its answer was lost.
            match self.shared.log.get(&self.shared.db, id).await? {
                Some(row) if row.owner.as_deref() == Some(&self.shared.owner) && row.state.is_live() => {
                    *epoch = row.epoch;
                    return Err(StorageError::Unavailable("the lease moved within this worker".to_owned()));
                }
                _ => return Ok(None),
            }
        }
        *epoch += 1;
        match self.shared.log.get(&self.shared.db, id).await? {
            Some(row) if row.epoch == *epoch && row.state.is_live() => self.load(row).await,
            _ => Ok(None),
        }
    }

    async fn work(&self, mut row: SagaRow, mut work: S::Work, epoch: &mut i64) -> Left {
        let shared = &self.shared;
        let mut stale = 0;
        loop {
            if shared.stop.is_cancelled() {
                return self.give_back(&row).await;
            }
            let began = tokio::time::Instant::now();
            let Some(advance) = self.advance_under_lease(&row, &mut work).await else {
                return Left::LostLease;
            };
            shared.telemetry.meters().saga_step(advance.step, advance.outcome, began.elapsed());
            let taken = advance.step;
            shared.env.reach(|| format!("saga.{}.{taken}.after", row.kind)).await;
            let (next, batch, pause) = self.outcome(&row, &mut work, advance);
            match shared.db.write(batch).await {
                Ok(_) => {
                    row = next;
                    stale = 0;
                    shared.env.reach(|| format!("saga.{}.{taken}.recorded", row.kind)).await;
                }
                Err(error) if error.is_expectation(LEASE) => return Left::LostLease,
                // The service's data moved under us: a customer cancelled, a colleague shipped. Decide anew.
                Err(StorageError::Expectation { .. } | StorageError::Conflict { .. })
                    if stale < STALE_MAX =>
                {
                    stale += 1;
                    match self.take_again(row.id, epoch).await {
                        Ok(Some(again)) => (row, work) = again,
                        Ok(None) => return Left::LostLease,
                        Err(error) => return Left::LetGo(error),
                    }
                    continue;
                }
                Err(error) => return Left::LetGo(error),
            }
            shared.saga.committed(&row, &mut work);
            if !row.state.is_live() || row.owner.is_none() {
                return Left::Settled;
            }
            if let Some(pause) = pause {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shared.stop.cancelled() => {}
                }
            }
        }
    }

    async fn give_back(&self, row: &SagaRow) -> Left {
        match self.shared.db.write(self.shared.log.give_back(row.id, row.epoch)).await {
            Ok(_) => Left::Settled,
            Err(error) if error.is_expectation(LEASE) => Left::LostLease,
            Err(error) => {
                tracing::warn!(saga = %row.id, %error, "could not give a saga back; its lease ends by itself");
                Left::Settled
            }
        }
    }

    /// Takes the step, with a sign of life every third of the lease. None when the lease was lost meanwhile: whatever
    /// the step would answer, it is no longer ours to write.
    async fn advance_under_lease(&self, row: &SagaRow, work: &mut S::Work) -> Option<Advance> {
        let shared = &self.shared;
        let mut step = std::pin::pin!(shared.saga.advance(row, work));
        loop {
            tokio::select! {
                biased;
                advance = &mut step => return Some(advance),
                () = tokio::time::sleep(shared.patience.lease / 3) => {
                    let until = shared.env.after(shared.patience.lease);
                    match shared.db.write(shared.log.renewal(row.id, row.epoch, until)).await {
                        Err(error) if error.is_expectation(LEASE) => return None,
                        Err(error) => tracing::warn!(saga = %row.id, %error, "could not renew a lease"),
                        Ok(_) => {}
                    }
                }
            }
        }
    }

    /// The row after `advance`, the one batch that makes it so, and how long to hold on before the next step.
    fn outcome(
        &self,
        row: &SagaRow,
        work: &mut S::Work,
        advance: Advance,
    ) -> (SagaRow, Batch, Option<Duration>) {
        let shared = &self.shared;
        let now = shared.env.now();
        let Advance { step: taken, outcome, batch: effects, then } = advance;
        let mut next = SagaRow { updated_at: now, attempt: 0, last_error: None, ..row.clone() };
        next.lease_until = Some(clock::add(now, shared.patience.lease));
        let mut pause = None;
        let mut alert = None;
        match then {
            Then::Next(step) => step.clone_into(&mut next.step),
            Then::Undo(step) => {
                step.clone_into(&mut next.step);
                next.state = SagaState::Compensating;
            }
            Then::Retry { step, why, not_before, gives_up } => {
                next.attempt = if row.step == step { row.attempt + 1 } else { 1 };
                step.clone_into(&mut next.step);
                if next.attempt == shared.patience.tries_max {
                    alert = Some(format!("step `{step}` did not end in {} tries: {why}", next.attempt));
                }
                next.last_error = Some(why);
                if gives_up && next.attempt >= shared.patience.tries_max {
                    rest(&mut next, SagaState::Stuck);
                } else {
                    let wait =
                        shared.patience.pause(next.attempt, &shared.env).max(not_before.unwrap_or_default());
                    next.next_at = Some(clock::add(now, wait));
                    if wait <= shared.patience.hold_max {
                        pause = Some(wait);
                    } else {
                        (next.owner, next.lease_until) = (None, None);
                    }
                }
            }
            Then::Done => {
                let end = if row.state == SagaState::Compensating {
                    SagaState::Compensated
                } else {
                    SagaState::Completed
                };
                rest(&mut next, end);
            }
            Then::Stuck(why) => {
                next.last_error = Some(why.clone());
                rest(&mut next, SagaState::Stuck);
                alert = Some(why);
            }
        }
        // A step that is tried for an hour would fill the log: of equal tries only the 1st, 2nd, 4th, 8th, … are kept.
        let told =
            next.attempt == 0 || next.attempt.unsigned_abs().is_power_of_two() || !next.state.is_live();
        next.log_n += i64::from(told);
        let mut batch = Batch::new();
        shared.log.advance(&mut batch, &next, told.then_some((taken, outcome, row.attempt + 1)));
        batch.append(effects);
        if let Some(reason) = alert {
            tracing::error!(saga = %row.id, subject = %row.subject, kind = row.kind, reason, "a saga needs a person");
            batch.append(shared.saga.alert(&next, work, &reason));
        }
        (next, batch, pause)
    }
}

/// An end, or a stop: nobody owns the saga and it is not due.
fn rest(row: &mut SagaRow, state: SagaState) {
    row.state = state;
    row.next_at = None;
    row.owner = None;
    row.lease_until = None;
}
