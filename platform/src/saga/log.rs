//! The sagas' rows and their log, as batches and reads: every statement that touches them is here.

use uuid::Uuid;

use super::{LEASE, SagaRow, SagaState};
use crate::storage::{Batch, Db, Expect, JsonText, StorageError, Value};
use crate::vocabulary::Timestamp;

/// The tables of one service's sagas. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SagaLog {
    sagas: &'static str,
    log: &'static str,
    advance: String,
    line: String,
}

/// One line of a saga's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The saga.
    pub saga_id: Uuid,
    /// Its place, from 1.
    pub n: i64,
    /// The step that was worked on.
    pub step: String,
    /// How it came out.
    pub outcome: String,
    /// What comes next.
    pub next: String,
    /// Which try it was.
    pub attempt: i64,
    /// When.
    pub at: Timestamp,
}

/// Which sagas a list shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct SagaFilter {
    /// Only those in this state; live ones come as `running` and `compensating`.
    pub state: Option<SagaState>,
    /// Only those before this one; ids sort by time.
    pub before: Option<Uuid>,
}

const COLUMNS: &str = "id, subject, kind, version, state, step, attempt, next_at, deadline_at, owner, epoch, \
                       lease_until, last_error, params, log_n, created_at, updated_at";
const LIVE: &str = "state IN ('running', 'compensating')";

impl SagaLog {
    /// The tables `sagas` and `log`.
    #[must_use]
    pub fn new(sagas: &'static str, log: &'static str) -> Self {
        Self {
            sagas,
            log,
            advance: format!(
                "UPDATE {sagas} SET state = $3, step = $4, attempt = $5, next_at = $6, owner = $7, lease_until = $8, \
                 last_error = $9, log_n = $10, updated_at = $11 WHERE id = $1 AND epoch = $2"
            ),
            line: format!(
                "INSERT INTO {log} (saga_id, n, step, outcome, next, attempt, epoch, at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
            ),
        }
    }

    /// Adds a new saga; the batch conflicts with name `saga` when it was begun before.
    pub fn insert(&self, batch: &mut Batch, row: &SagaRow) {
        batch.push(
            "saga",
            Expect::Rows(1),
            format!(
                "INSERT INTO {} ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, \
                 $16, $17)",
                self.sagas
            ),
            vec![
                row.id.into(),
                row.subject.into(),
                row.kind.as_str().into(),
                row.version.into(),
                row.state.as_str().into(),
                row.step.as_str().into(),
                row.attempt.into(),
                row.next_at.into(),
                row.deadline_at.into(),
                row.owner.clone().into(),
                row.epoch.into(),
                row.lease_until.into(),
                row.last_error.clone().into(),
                JsonText::of(&row.params).into(),
                row.log_n.into(),
                row.created_at.into(),
                row.updated_at.into(),
            ],
        );
    }

    /// Adds the outcome of a step: the row as it stands `after`, under the lease's epoch, and a line of the log.
    pub(super) fn advance(&self, batch: &mut Batch, after: &SagaRow, line: Option<(&str, &str, i64)>) {
        batch.one(
            LEASE,
            self.advance.clone(),
            vec![
                after.id.into(),
                after.epoch.into(),
                after.state.as_str().into(),
                after.step.as_str().into(),
                after.attempt.into(),
                after.next_at.into(),
                after.owner.clone().into(),
                after.lease_until.into(),
                after.last_error.clone().into(),
                after.log_n.into(),
                after.updated_at.into(),
            ],
        );
        if let Some((step, outcome, attempt)) = line {
            let next = if after.state.is_live() { after.step.as_str() } else { after.state.as_str() };
            batch.push(
                "saga_log",
                Expect::Any,
                self.line.clone(),
                vec![
                    after.id.into(),
                    after.log_n.into(),
                    step.into(),
                    outcome.into(),
                    next.into(),
                    attempt.into(),
                    after.epoch.into(),
                    after.updated_at.into(),
                ],
            );
        }
    }

    /// Adds the taking of a saga whose epoch was seen to be `epoch`; touches nothing when somebody was faster.
    pub(super) fn claim(&self, batch: &mut Batch, id: Uuid, epoch: i64, owner: &str, until: Timestamp) {
        batch.push(
            "claim",
            Expect::Any,
            format!(
                "UPDATE {} SET owner = $3, epoch = epoch + 1, lease_until = $4 WHERE id = $1 AND epoch = $2 AND {LIVE}",
                self.sagas
            ),
            vec![id.into(), epoch.into(), owner.into(), until.into()],
        );
    }

    /// A sign of life: the lease goes on until `until`.
    pub(super) fn renewal(&self, id: Uuid, epoch: i64, until: Timestamp) -> Batch {
        let mut batch = Batch::new();
        batch.one(
            LEASE,
            format!("UPDATE {} SET lease_until = $3 WHERE id = $1 AND epoch = $2", self.sagas),
            vec![id.into(), epoch.into(), until.into()],
        );
        batch
    }

    /// Gives one saga back, due at once for whoever comes next.
    pub(super) fn give_back(&self, id: Uuid, epoch: i64) -> Batch {
        let mut batch = Batch::new();
        batch.one(
            LEASE,
            format!(
                "UPDATE {} SET owner = NULL, lease_until = NULL WHERE id = $1 AND epoch = $2",
                self.sagas
            ),
            vec![id.into(), epoch.into()],
        );
        batch
    }

    /// Gives everything back that `owner` still holds.
    pub(super) fn give_all_back(&self, owner: &str) -> Batch {
        let mut batch = Batch::new();
        batch.run(
            format!("UPDATE {} SET owner = NULL, lease_until = NULL WHERE owner = $1 AND {LIVE}", self.sagas),
            vec![owner.into()],
        );
        batch
    }

    /// Declares a saga that this binary cannot carry on.
    pub(super) fn abandon(&self, row: &SagaRow, reason: &str, now: Timestamp) -> Batch {
        let after = SagaRow {
            state: SagaState::Abandoned,
            next_at: None,
            owner: None,
            lease_until: None,
            last_error: Some(reason.to_owned()),
            log_n: row.log_n + 1,
            updated_at: now,
            ..row.clone()
        };
        let mut batch = Batch::new();
        self.advance(&mut batch, &after, Some((&row.step, "abandoned", row.attempt)));
        batch
    }

    /// Adds that a waiting saga of `subject` is due now: something that it waits for may have happened. One that is
    /// being worked on, or ended, is left alone.
    pub fn wake(&self, batch: &mut Batch, subject: Uuid, now: Timestamp) {
        batch.run(
            format!(
                "UPDATE {} SET next_at = $2 WHERE subject = $1 AND {LIVE} AND owner IS NULL AND next_at > $2",
                self.sagas
            ),
            vec![subject.into(), now.into()],
        );
    }

    /// Adds that a stuck, abandoned or waiting saga is tried again from `now` on, with fresh patience. Touches no row
    /// when the saga ended, or is being worked on now.
    pub fn revive(&self, batch: &mut Batch, name: &'static str, id: Uuid, now: Timestamp) {
        batch.one(
            name,
            format!(
                "UPDATE {} SET next_at = $2, attempt = 0, last_error = NULL, epoch = epoch + 1, updated_at = $2, state = \
                 CASE WHEN state IN ('stuck', 'abandoned') THEN 'running' ELSE state END \
                 WHERE id = $1 AND owner IS NULL AND state IN ('running', 'compensating', 'stuck', 'abandoned')",
                self.sagas
            ),
            vec![id.into(), now.into()],
        );
    }

    /// Makes every saga that waits due now, spread over `over`; answers how many there were.
    pub async fn hasten(
        &self,
        db: &Db,
        now: Timestamp,
        over: std::time::Duration,
    ) -> Result<usize, StorageError> {
        const GROUPS: u32 = 20;
        let waiting = db
            .read(
                &format!("SELECT id FROM {} WHERE {LIVE} AND owner IS NULL AND next_at > $1", self.sagas),
                vec![now.into()],
            )
            .await?;
        let ids: Vec<Uuid> = waiting.iter().map(|row| row.get("id")).collect::<Result<_, _>>()?;
        let mut batch = Batch::new();
        for (group, ids) in ids.chunks(ids.len().div_ceil(GROUPS as usize).max(1)).enumerate() {
            let due = crate::vocabulary::clock::add(now, over / GROUPS * u32::try_from(group).unwrap_or(0));
            for ids in ids.chunks(200) {
                let places = (2..=ids.len() + 1).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
                let mut params: Vec<Value> = vec![due.into()];
                params.extend(ids.iter().map(|id| Value::from(*id)));
                batch.run(
                    format!(
                        "UPDATE {} SET next_at = $1 WHERE id IN ({places}) AND {LIVE} AND owner IS NULL AND next_at > $1",
                        self.sagas
                    ),
                    params,
                );
            }
        }
        db.write(batch).await?;
        Ok(ids.len())
    }

    /// What is due at `now` and owned by nobody who lives: id and epoch, the longest due first. With `only_survivor`,
    /// whatever somebody else owns counts too: for an engine that only one process can have open.
    pub(super) async fn due(
        &self,
        db: &Db,
        now: Timestamp,
        limit: usize,
        only_survivor: Option<&String>,
    ) -> Result<Vec<(Uuid, i64)>, StorageError> {
        let owned = match only_survivor {
            Some(_) => "AND (owner IS NULL OR owner <> $3)",
            None => "AND (lease_until IS NULL OR lease_until < $1)",
        };
        let sql = format!(
            "SELECT id, epoch FROM {} WHERE {LIVE} AND next_at <= $1 {owned} ORDER BY next_at LIMIT $2",
            self.sagas
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut params: Vec<Value> = vec![now.into(), limit.into()];
        params.extend(only_survivor.map(Value::from));
        let rows = db.read(&sql, params).await?;
        rows.iter().map(|row| Ok((row.get("id")?, row.get("epoch")?))).collect()
    }

    /// One saga.
    pub async fn get(&self, db: &Db, id: Uuid) -> Result<Option<SagaRow>, StorageError> {
        let sql = format!("SELECT {COLUMNS} FROM {} WHERE id = $1", self.sagas);
        db.read_one(&sql, vec![id.into()]).await?.as_ref().map(SagaRow::from_row).transpose()
    }

    /// Some sagas.
    pub(super) async fn get_many(&self, db: &Db, ids: &[Uuid]) -> Result<Vec<SagaRow>, StorageError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let places = (1..=ids.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT {COLUMNS} FROM {} WHERE id IN ({places})", self.sagas);
        let rows = db.read(&sql, ids.iter().map(|id| Value::from(*id)).collect()).await?;
        rows.iter().map(SagaRow::from_row).collect()
    }

    /// The sagas of one subject, oldest first.
    pub async fn of_subject(&self, db: &Db, subject: Uuid) -> Result<Vec<SagaRow>, StorageError> {
        let sql = format!("SELECT {COLUMNS} FROM {} WHERE subject = $1 ORDER BY created_at, id", self.sagas);
        db.read(&sql, vec![subject.into()]).await?.iter().map(SagaRow::from_row).collect()
    }

    /// A page of sagas, the latest first.
    pub async fn list(
        &self,
        db: &Db,
        filter: SagaFilter,
        limit: usize,
    ) -> Result<Vec<SagaRow>, StorageError> {
        let mut params: Vec<Value> = vec![i64::try_from(limit).unwrap_or(i64::MAX).into()];
        let mut conditions = Vec::new();
        if let Some(state) = filter.state {
            params.push(state.as_str().into());
            conditions.push(format!("state = ${}", params.len()));
        }
        if let Some(before) = filter.before {
            params.push(before.into());
            conditions.push(format!("id < ${}", params.len()));
        }
        let only =
            if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
        let sql = format!("SELECT {COLUMNS} FROM {} {only} ORDER BY id DESC LIMIT $1", self.sagas);
        db.read(&sql, params).await?.iter().map(SagaRow::from_row).collect()
    }

    /// The log of one saga.
    pub async fn lines(&self, db: &Db, id: Uuid) -> Result<Vec<LogLine>, StorageError> {
        let sql = format!(
            "SELECT saga_id, n, step, outcome, next, attempt, at FROM {} WHERE saga_id = $1 ORDER BY n",
            self.log
        );
        let rows = db.read(&sql, vec![id.into()]).await?;
        rows.iter()
            .map(|row| {
                Ok(LogLine {
                    saga_id: row.get("saga_id")?,
                    n: row.get("n")?,
                    step: row.get("step")?,
                    outcome: row.get("outcome")?,
                    next: row.get("next")?,
                    attempt: row.get("attempt")?,
                    at: row.get("at")?,
                })
            })
            .collect()
    }

    /// How many sagas are in each of the states that are not an end: live ones, and those that need a person.
    pub async fn counts(&self, db: &Db) -> Result<(i64, i64), StorageError> {
        let sql = format!(
            "SELECT (SELECT COUNT(*) FROM {0} WHERE {LIVE}) AS live, \
             (SELECT COUNT(*) FROM {0} WHERE state IN ('stuck', 'abandoned')) AS stuck",
            self.sagas
        );
        match db.read_one(&sql, vec![]).await? {
            Some(row) => Ok((row.get("live")?, row.get("stuck")?)),
            None => Ok((0, 0)),
        }
    }
}
