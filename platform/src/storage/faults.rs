//! An engine that fails on request, around a real one: for tests, drills and the operator's fault switches.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Batch, Dialect, Engine, Row, StorageError, StorageHealth, Value};
use crate::vocabulary::Env;

/// How a batch fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageFault {
    /// Nothing is written, and the caller is told so.
    BeforeCommit,
    /// It is written, and the caller is told that nobody knows.
    AfterCommit,
    /// It is written, and the caller never hears of it.
    Silence,
    /// There is no room left. Reads go on.
    Full,
    /// Reads and writes come after this long.
    Slow(Duration),
    /// Neither reads nor writes reach the engine.
    Down,
}

/// What strikes whom, how often.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    /// What happens.
    pub fault: StorageFault,
    /// The share of calls that it strikes, from 0 to 1.
    pub rate: f64,
    /// How often it strikes before it is over; without end when absent.
    pub times: Option<u64>,
    /// Only batches that hold a statement of this name.
    pub statement: Option<String>,
}

impl FaultRule {
    /// `fault` on every call, until it is cleared.
    #[must_use]
    pub fn always(fault: StorageFault) -> Self {
        Self { fault, rate: 1.0, times: None, statement: None }
    }

    /// `fault` once, on the next batch that holds a statement named `statement`.
    #[must_use]
    pub fn once_at(fault: StorageFault, statement: &str) -> Self {
        Self { times: Some(1), statement: Some(statement.to_owned()), ..Self::always(fault) }
    }
}

/// Turns a fault on and off while the shop runs. Clones share it.
#[derive(Clone, Debug)]
pub struct FaultSwitch {
    env: Env,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    rule: Option<FaultRule>,
    struck: u64,
}

impl FaultSwitch {
    /// A switch that is off; draws by `env`.
    #[must_use]
    pub fn new(env: &Env) -> Self {
        Self { env: env.clone(), state: Arc::default() }
    }

    /// Turns `rule` on, in place of what was on.
    pub fn set(&self, rule: FaultRule) {
        self.lock().rule = Some(rule);
    }

    /// Turns faults off.
    pub fn clear(&self) {
        self.lock().rule = None;
    }

    /// What is on.
    #[must_use]
    pub fn rule(&self) -> Option<FaultRule> {
        self.lock().rule.clone()
    }

    /// How often a fault has struck.
    #[must_use]
    pub fn struck(&self) -> u64 {
        self.lock().struck
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault that strikes this call; `batch` is absent for a read.
    fn draw(&self, batch: Option<&Batch>) -> Option<StorageFault> {
        let mut state = self.lock();
        let rule = state.rule.as_mut()?;
        let meets = match (&rule.statement, batch) {
            (None, Some(_)) => true,
            (None, None) => matches!(rule.fault, StorageFault::Slow(_) | StorageFault::Down),
            (Some(name), Some(batch)) => {
                batch.statements.iter().any(|statement| statement.name == name.as_str())
            }
            (Some(_), None) => false,
        };
        if !meets || (rule.rate < 1.0 && self.env.fraction() >= rule.rate) {
            return None;
        }
        if let Some(times) = &mut rule.times {
            *times = times.checked_sub(1)?;
        }
        let fault = rule.fault;
        state.struck += 1;
        Some(fault)
    }
}

pub(super) struct Faulty {
    pub(super) inner: Arc<dyn Engine>,
    pub(super) switch: FaultSwitch,
}

fn down() -> StorageError {
    StorageError::Unavailable("a fault switch is on".to_owned())
}

impl Engine for Faulty {
    fn write(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<u64>, StorageError>> {
        Box::pin(async move {
            match self.switch.draw(Some(&batch)) {
                None => self.inner.write(batch).await,
                Some(StorageFault::BeforeCommit | StorageFault::Down) => Err(down()),
                Some(StorageFault::Full) => Err(StorageError::Full("a fault switch is on".to_owned())),
                Some(StorageFault::Slow(by)) => {
                    tokio::time::sleep(by).await;
                    self.inner.write(batch).await
                }
                // A batch that is refused is refused: only the answer to a commit can be lost.
                Some(StorageFault::AfterCommit) => {
                    self.inner.write(batch).await?;
                    Err(StorageError::Unknown("a fault switch is on".to_owned()))
                }
                Some(StorageFault::Silence) => {
                    self.inner.write(batch).await?;
                    std::future::pending().await
                }
            }
        })
    }

    fn read(&self, sql: &str, params: Vec<Value>) -> BoxFuture<'_, Result<Vec<Row>, StorageError>> {
        let sql = sql.to_owned();
        Box::pin(async move {
            match self.switch.draw(None) {
                Some(StorageFault::Down) => return Err(down()),
                Some(StorageFault::Slow(by)) => tokio::time::sleep(by).await,
                _ => {}
            }
            self.inner.read(&sql, params).await
        })
    }

    fn script(&self, sql: String) -> BoxFuture<'_, Result<(), StorageError>> {
        self.inner.script(sql)
    }

    fn dialect(&self) -> Dialect {
        self.inner.dialect()
    }

    fn health(&self) -> StorageHealth {
        self.inner.health()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
