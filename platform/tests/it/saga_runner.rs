//! The runner by itself, with a saga that does what a script says: patience, leases, epochs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use platform::saga::{Advance, LoadError, Patience, Runner, Saga, SagaLog, SagaRow, SagaState, Then};
use platform::services::order;
use platform::storage::{Batch, Db, EngineConfig};
use platform::telemetry::Telemetry;
use platform::vocabulary::{Clock, Env, Timestamp};
use tokio::sync::Notify;
use uuid::Uuid;

#[derive(Clone, Default)]
struct Script {
    steps: Arc<Mutex<VecDeque<Then>>>,
    alerts: Arc<Mutex<Vec<String>>>,
    /// When set, every step waits for it.
    gate: Option<Arc<Notify>>,
}

impl Saga for Script {
    type Work = ();

    fn knows(&self, kind: &str, version: i64) -> bool {
        kind == "toy" && version == 1
    }

    async fn load(&self, _: &SagaRow) -> Result<(), LoadError> {
        Ok(())
    }

    async fn advance(&self, _: &SagaRow, _: &mut ()) -> Advance {
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        let then = self.steps.lock().unwrap().pop_front().unwrap_or(Then::Done);
        Advance { step: "turn", outcome: "done", batch: Batch::new(), then }
    }

    fn alert(&self, _: &SagaRow, _: &mut (), reason: &str) -> Batch {
        self.alerts.lock().unwrap().push(reason.to_owned());
        Batch::new()
    }

    fn committed(&self, _: &SagaRow, _: &mut ()) {}
}

struct Stage {
    db: Db,
    env: Env,
    clock: Clock,
    log: SagaLog,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&EngineConfig::Sqlite { path: folder.path().join("shop.db") }).await.unwrap();
        let clock = Clock::manual(Timestamp::from_second(1_800_000_000).unwrap());
        let env = Env::seeded(clock.clone(), 7);
        db.migrate(order::SERVICE.migrations, &env).await.unwrap();
        let log = SagaLog::new("order_sagas", "order_saga_log");
        Self { db, env, clock, log, _folder: folder }
    }

    fn runner(&self, script: &Script) -> Runner<Script> {
        let patience = Patience {
            hold_max: Duration::ZERO,
            tries_max: 5,
            ..Patience::with_lease(Duration::from_secs(10))
        };
        Runner::new(
            script.clone(),
            self.log.clone(),
            self.db.clone(),
            self.env.clone(),
            patience,
            &Telemetry::new(),
        )
    }

    fn row(&self, kind: &str) -> SagaRow {
        let id = self.env.uuid();
        SagaRow::begin(id, id, kind, 1, "turn", serde_json::json!({}), self.env.now())
    }

    async fn begin(&self, row: &SagaRow) {
        let mut batch = Batch::new();
        self.log.insert(&mut batch, row);
        self.db.write(batch).await.unwrap();
    }

    async fn get(&self, id: Uuid) -> SagaRow {
        self.log.get(&self.db, id).await.unwrap().unwrap()
    }

    /// Lets time pass, and the runner do what is due then.
    async fn later(&self, runner: &Runner<Script>, by: Duration) {
        self.clock.advance(by);
        runner.resume_due(false).await.unwrap();
        runner.at_rest().await;
    }
}

fn retry(gives_up: bool) -> Then {
    Then::Retry { step: "turn", why: "not yet".to_owned(), not_before: None, gives_up }
}

#[tokio::test]
async fn what_cannot_be_done_is_stuck_after_so_many_tries_and_can_be_revived() {
    let stage = Stage::set().await;
    let script = Script::default();
    script.steps.lock().unwrap().extend((0..5).map(|_| retry(true)));
    let runner = stage.runner(&script);
    let row = stage.row("toy");
    stage.begin(&row).await;
    for _ in 0..5 {
        stage.later(&runner, Duration::from_secs(5)).await;
    }
    let stuck = stage.get(row.id).await;
    assert_eq!((stuck.state, stuck.attempt, stuck.next_at), (SagaState::Stuck, 5, None));
    assert_eq!(script.alerts.lock().unwrap().len(), 1);
    stage.later(&runner, Duration::from_secs(600)).await;
    assert_eq!(stage.get(row.id).await.state, SagaState::Stuck, "a person decides");
    let mut batch = Batch::new();
    stage.log.revive(&mut batch, "revive", row.id, stage.env.now());
    stage.db.write(batch).await.unwrap();
    stage.later(&runner, Duration::ZERO).await;
    assert_eq!(stage.get(row.id).await.state, SagaState::Completed);
}

#[tokio::test]
async fn what_only_takes_long_is_told_once_and_goes_on() {
    let stage = Stage::set().await;
    let script = Script::default();
    script.steps.lock().unwrap().extend((0..12).map(|_| retry(false)));
    let runner = stage.runner(&script);
    let row = stage.row("toy");
    stage.begin(&row).await;
    for _ in 0..12 {
        stage.later(&runner, Duration::from_secs(5)).await;
    }
    assert_eq!(stage.get(row.id).await.state, SagaState::Running);
    assert_eq!(script.alerts.lock().unwrap().len(), 1);
    stage.later(&runner, Duration::from_secs(5)).await;
    assert_eq!(stage.get(row.id).await.state, SagaState::Completed);
    let lines = stage.log.lines(&stage.db, row.id).await.unwrap();
    assert!(lines.len() < 12, "equal tries do not fill the log: {lines:?}");
}

#[tokio::test]
async fn undoing_ends_compensated() {
    let stage = Stage::set().await;
    let script = Script::default();
    script.steps.lock().unwrap().extend([Then::Next("two"), Then::Undo("back"), Then::Done]);
    let runner = stage.runner(&script);
    let row = stage.row("toy");
    stage.begin(&row).await;
    stage.later(&runner, Duration::ZERO).await;
    assert_eq!(stage.get(row.id).await.state, SagaState::Compensated);
    let next: Vec<String> =
        stage.log.lines(&stage.db, row.id).await.unwrap().into_iter().map(|line| line.next).collect();
    assert_eq!(next, ["two", "back", "compensated"]);
}

#[tokio::test]
async fn an_unknown_version_is_abandoned_with_its_reason() {
    let stage = Stage::set().await;
    let runner = stage.runner(&Script::default());
    let row = SagaRow { version: 2, ..stage.row("toy") };
    stage.begin(&row).await;
    stage.later(&runner, Duration::ZERO).await;
    let row = stage.get(row.id).await;
    assert_eq!(row.state, SagaState::Abandoned);
    assert_eq!(row.last_error.unwrap(), "this binary does not know version 2 of the saga `toy`");
}

#[tokio::test]
async fn a_dead_workers_saga_is_taken_when_its_lease_ends() {
    let stage = Stage::set().await;
    let runner = stage.runner(&Script::default());
    let row = SagaRow {
        owner: Some("the dead".to_owned()),
        epoch: 3,
        lease_until: Some(stage.env.after(Duration::from_secs(10))),
        ..stage.row("toy")
    };
    stage.begin(&row).await;
    stage.later(&runner, Duration::from_secs(9)).await;
    assert_eq!(stage.get(row.id).await.state, SagaState::Running, "its owner may still live");
    stage.later(&runner, Duration::from_secs(2)).await;
    let row = stage.get(row.id).await;
    assert_eq!((row.state, row.epoch), (SagaState::Completed, 4));
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_writes_nothing() {
    let stage = Stage::set().await;
    let gate = Arc::new(Notify::new());
    let slow = Script { gate: Some(Arc::clone(&gate)), ..Script::default() };
    slow.steps.lock().unwrap().push_back(Then::Next("of the slow one"));
    let sleeper = stage.runner(&slow);
    let row = stage.row("toy");
    stage.begin(&row).await;
    sleeper.resume_due(false).await.unwrap();
    let quick = stage.runner(&Script::default());
    stage.later(&quick, Duration::from_secs(11)).await;
    assert_eq!(stage.get(row.id).await.state, SagaState::Completed);
    gate.notify_one();
    sleeper.at_rest().await;
    let lines = stage.log.lines(&stage.db, row.id).await.unwrap();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(stage.get(row.id).await.epoch, 2);
}

#[tokio::test]
async fn waiting_sagas_are_hastened_over_a_while() {
    let stage = Stage::set().await;
    let now = stage.env.now();
    for _ in 0..50 {
        let row = SagaRow { next_at: Some(stage.env.after(Duration::from_secs(600))), ..stage.row("toy") };
        stage.begin(&row).await;
    }
    let hastened = stage.log.hasten(&stage.db, now, Duration::from_secs(2)).await.unwrap();
    assert_eq!(hastened, 50);
    let rows = stage.log.list(&stage.db, Default::default(), 100).await.unwrap();
    let due: Vec<f64> = rows
        .iter()
        .map(|row| platform::vocabulary::clock::since(now, row.next_at.unwrap()).as_secs_f64())
        .collect();
    assert!(due.iter().all(|seconds| *seconds < 2.0), "{due:?}");
    assert!(due.iter().any(|seconds| *seconds > 1.0), "{due:?}");
}
