//! Sagas: work that spans services and must come to an end although processes die, answers get lost, and two workers
//! believe that they own it. Knows no service.
//!
//! A service says what its saga does next ([`Saga::advance`]); the [`Runner`] does the rest:
//!
//! * the outcome of a step, the intent of the next one, the saga's row and a line of its log are **one** batch, guarded
//!   by the lease's epoch (the statement named [`LEASE`]): a worker that lost its lease writes nothing;
//! * an answer that never came is `Unknown`: it is asked again under the same key, and never undone on suspicion;
//! * what was done is undone in reverse order, retried with a capped back-off, and after [`Patience::tries_max`] tries
//!   the saga is `stuck`: told, and waiting for a person. Nothing vanishes.
//!
//! # What a crash leaves behind
//! | The process dies | What is there | Who goes on |
//! |---|---|---|
//! | before the batch of an outcome | the step's intent | the next owner repeats the step under the same key |
//! | after it, before the next call | the next step's intent | the next owner takes that step |
//! | during the call | the step's intent; the other side may have acted | the next owner repeats it under the same key |
//! | the batch is never answered | either of the first two | a new epoch is taken, which shuts out a late commit, and the row is read |
//!
//! Leases are for progress, epochs for safety: no correctness rests on a clock.

mod log;
mod runner;

use std::time::Duration;

use uuid::Uuid;

pub use log::{LogLine, SagaFilter, SagaLog};
pub use runner::Runner;

use crate::storage::{Batch, Row, StorageError};
use crate::vocabulary::{Env, Timestamp};

/// The name of the statement that fails when the lease was lost.
pub const LEASE: &str = "lease";

/// Where a saga stands as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SagaState {
    /// Goes forward.
    Running,
    /// Undoes what was done.
    Compensating,
    /// Reached its end.
    Completed,
    /// Undid everything.
    Compensated,
    /// Waits for a person.
    Stuck,
    /// Cannot be carried on by this binary.
    Abandoned,
}

impl SagaState {
    /// The word in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
            Self::Stuck => "stuck",
            Self::Abandoned => "abandoned",
        }
    }

    /// The state of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Running, Self::Compensating, Self::Completed, Self::Compensated, Self::Stuck, Self::Abandoned]
            .into_iter()
            .find(|state| state.as_str() == word)
    }

    /// Whether a worker may have something to do.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Compensating)
    }
}

/// One saga as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct SagaRow {
    /// Names it.
    pub id: Uuid,
    /// What it carries: an order.
    pub subject: Uuid,
    /// What it does: `checkout`.
    pub kind: String,
    /// Which version of the code began it.
    pub version: i64,
    /// Where it stands.
    pub state: SagaState,
    /// The step whose intent is written: it may have been begun.
    pub step: String,
    /// How often this step was tried without an end.
    pub attempt: i64,
    /// When it is due.
    pub next_at: Option<Timestamp>,
    /// When the service's patience ends; what then is the service's to say.
    pub deadline_at: Option<Timestamp>,
    /// The worker that owns it.
    pub owner: Option<String>,
    /// Counts the owners; a write under an older one touches nothing.
    pub epoch: i64,
    /// Until when the owner may be silent.
    pub lease_until: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// What the service wants to remember.
    pub params: serde_json::Value,
    /// How many lines its log has.
    pub log_n: i64,
    /// When it began.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl SagaRow {
    /// A saga that begins now, due now, owned by nobody.
    #[must_use]
    pub fn begin(
        id: Uuid,
        subject: Uuid,
        kind: &str,
        version: i64,
        step: &str,
        params: serde_json::Value,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            subject,
            kind: kind.to_owned(),
            version,
            state: SagaState::Running,
            step: step.to_owned(),
            attempt: 0,
            next_at: Some(now),
            deadline_at: None,
            owner: None,
            epoch: 0,
            lease_until: None,
            last_error: None,
            params,
            log_n: 0,
            created_at: now,
            updated_at: now,
        }
    }

    fn from_row(row: &Row) -> Result<Self, StorageError> {
        let state: String = row.get("state")?;
        Ok(Self {
            id: row.get("id")?,
            subject: row.get("subject")?,
            kind: row.get("kind")?,
            version: row.get("version")?,
            state: SagaState::parse(&state)
                .ok_or_else(|| StorageError::Invalid(format!("a saga has the state `{state}`")))?,
            step: row.get("step")?,
            attempt: row.get("attempt")?,
            next_at: row.get("next_at")?,
            deadline_at: row.get("deadline_at")?,
            owner: row.get("owner")?,
            epoch: row.get("epoch")?,
            lease_until: row.get("lease_until")?,
            last_error: row.get("last_error")?,
            params: row.get("params")?,
            log_n: row.get("log_n")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
        })
    }
}

/// How a step came out, and what follows.
#[derive(Debug)]
pub struct Advance {
    /// The step that was taken.
    pub step: &'static str,
    /// The outcome in a word, for the log and the metrics: `done`, `declined`, `unknown`. A bounded set.
    pub outcome: &'static str,
    /// The service's own effects; written with the saga's row or not at all.
    pub batch: Batch,
    /// What follows.
    pub then: Then,
}

/// What follows a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// Forward: this step, at once.
    Next(&'static str),
    /// Back: this step, at once; the saga undoes from here on.
    Undo(&'static str),
    /// This step is tried again later: after a back-off that grows with every try, and not before `not_before`.
    Retry {
        /// The step.
        step: &'static str,
        /// Why, for the person who looks at it.
        why: String,
        /// The other side asked for so much patience.
        not_before: Option<Duration>,
        /// Whether it becomes stuck after [`Patience::tries_max`] tries; if not, it is only told, and goes on.
        gives_up: bool,
    },
    /// The end: completed, or compensated when it was undoing.
    Done,
    /// Cannot go on without a person.
    Stuck(String),
}

/// Why the worker's memory of a saga could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not now.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Never: what is stored makes no sense to this binary.
    #[error("{0}")]
    Unreadable(String),
}

/// What a service's sagas do.
pub trait Saga: Send + Sync + 'static {
    /// What a worker keeps in memory while it owns a saga, so that it need not read between two steps.
    type Work: Send + 'static;

    /// Whether this binary can carry on a saga of `kind` that was begun as `version`.
    fn knows(&self, kind: &str, version: i64) -> bool;

    /// Reads what a worker must know.
    fn load(&self, row: &SagaRow) -> impl Future<Output = Result<Self::Work, LoadError>> + Send;

    /// Takes the step that is due and says how it came out. May be repeated after any crash, so every call it makes
    /// carries a key that stays the same. `work` is dropped when the outcome could not be written.
    fn advance(&self, row: &SagaRow, work: &mut Self::Work) -> impl Future<Output = Advance> + Send;

    /// What is told when the saga needs a person.
    fn alert(&self, row: &SagaRow, work: &mut Self::Work, reason: &str) -> Batch;

    /// The outcome is durable: whoever waits for it may know.
    fn committed(&self, row: &SagaRow, work: &mut Self::Work);
}

/// How patient the runner is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long a worker may own a saga without a sign of life.
    pub lease: Duration,
    /// The first pause after a try that came to nothing; doubles with each further one.
    pub pause_min: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// A pause up to this long is waited out with the lease held; a longer one gives the saga back until it is due.
    pub hold_max: Duration,
    /// After so many tries of one step a person is told.
    pub tries_max: i64,
    /// How often the runner looks for what is due.
    pub poll: Duration,
    /// How many resumed sagas it carries at once.
    pub workers_max: usize,
}

impl Patience {
    /// The usual one, with `lease`.
    #[must_use]
    pub fn with_lease(lease: Duration) -> Self {
        Self {
            lease,
            pause_min: Duration::from_millis(50),
            pause_max: Duration::from_secs(4),
            hold_max: Duration::from_millis(250),
            tries_max: 20,
            poll: Duration::from_millis(250),
            workers_max: 64,
        }
    }

    /// The pause before try number `attempt` (from 1): doubling, capped, and drawn from its upper half so that many
    /// sagas that failed together do not come back together.
    #[must_use]
    pub fn pause(&self, attempt: i64, env: &Env) -> Duration {
        let doublings = u32::try_from(attempt.clamp(1, 20) - 1).unwrap_or(0);
        let longest = self.pause_min.saturating_mul(2u32.saturating_pow(doublings)).min(self.pause_max);
        longest / 2 + env.jitter(longest / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Clock;

    #[test]
    fn pauses_double_up_to_their_cap() {
        let env = Env::seeded(Clock::manual(Timestamp::UNIX_EPOCH), 1);
        let patience = Patience::with_lease(Duration::from_secs(10));
        for attempt in 1..100 {
            let pause = patience.pause(attempt, &env);
            let longest = (50u64 << (attempt - 1).min(7)).min(4_000);
            assert!(pause.as_millis() >= u128::from(longest / 2), "{attempt}: {pause:?}");
            assert!(pause.as_millis() <= u128::from(longest), "{attempt}: {pause:?}");
        }
    }
}
