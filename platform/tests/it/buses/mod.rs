//! What every bus must do, run on every bus.

mod dead_letters;
mod delivery;
mod failures;

use std::sync::Mutex;
use std::time::Duration;

use platform::bus::{
    self, Bus, BusFaults, DeadLetterFilter, HandleError, QueueHealth, QueueSpec, Relay, outbox,
};
use platform::storage::{
    Batch, Db, EngineConfig, FaultRule, FaultSwitch, Migration, StorageError, StorageFault,
};
use platform::testing::postgres;
use platform::vocabulary::{Clock, Env, Event, Topic};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const QUEUES: &[QueueSpec] = &[
    QueueSpec {
        name: "notification",
        topics: &[Topic::Order, Topic::Payment],
        kinds: &[],
        receives_max: 3,
        visibility: Duration::from_millis(600),
    },
    QueueSpec {
        name: "product",
        topics: &[Topic::Order],
        kinds: &[],
        receives_max: 3,
        visibility: Duration::from_secs(30),
    },
];

const INBOX: &str = "notification_inbox";

const TABLES: &[Migration] = &[
    Migration {
        service: "order",
        version: 1,
        name: "messages",
        sql: platform::message_tables!("order"),
        sqlite: "",
        postgres: "",
    },
    Migration {
        service: "notification",
        version: 1,
        name: "messages",
        sql: concat!(
            platform::message_tables!("notification"),
            "CREATE TABLE notification_seen (n bigint NOT NULL, event_id uuid NOT NULL);"
        ),
        sqlite: "",
        postgres: "",
    },
];

struct World {
    db: Db,
    env: Env,
    bus: Bus,
    /// Makes the storage below the bus fail.
    storage: FaultSwitch,
    _folder: Option<tempfile::TempDir>,
}

async fn sqlite() -> World {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&EngineConfig::Sqlite { path: folder.path().join("shop.db") }).await.unwrap();
    world(db, Some(folder)).await
}

async fn world(db: Db, folder: Option<tempfile::TempDir>) -> World {
    let env = Env::system();
    let migrations: Vec<Migration> = bus::MIGRATIONS.iter().chain(TABLES).copied().collect();
    db.migrate(&migrations, &env).await.unwrap();
    let storage = FaultSwitch::new(&env);
    let faulty = db.clone().with_faults(&storage);
    World { bus: Bus::embedded(faulty, env.clone(), QUEUES), db, env, storage, _folder: folder }
}

impl World {
    fn event(&self, aggregate: Uuid, seq: i64) -> Event {
        Event {
            id: self.env.id(),
            topic: Topic::Order,
            kind: "order_confirmed".to_owned(),
            aggregate,
            aggregate_seq: seq,
            at: self.env.now(),
            request_id: Some("req_1".to_owned()),
            traceparent: None,
            data: serde_json::json!({"seq": seq}),
        }
    }

    async fn tell(&self, events: &[Event]) {
        let mut batch = Batch::new();
        for event in events {
            outbox::append(&mut batch, "order_outbox", event);
        }
        self.db.write(batch).await.unwrap();
        self.bus.wake(Topic::Order);
    }

    /// Tells one event of an aggregate of its own and brings it into the queues.
    async fn publish_one(&self) -> Event {
        let event = self.event(self.env.uuid(), 1);
        self.tell(std::slice::from_ref(&event)).await;
        assert_eq!(self.relay().drain().await, Ok(1));
        event
    }

    fn relay(&self) -> Relay {
        Relay::new(&self.bus, "order_outbox")
    }

    /// Handles what is due in the notification's queue by noting it.
    async fn note_due(&self) -> usize {
        self.bus.consume_due("notification", INBOX, async |event| Ok(note(&event))).await.unwrap()
    }

    async fn queue(&self, name: &str) -> QueueHealth {
        let health = self.bus.health().await.unwrap();
        health.queues.into_iter().find(|queue| queue.name == name).unwrap()
    }

    async fn seen(&self) -> Vec<(i64, Uuid)> {
        let rows =
            self.db.read("SELECT n, event_id FROM notification_seen ORDER BY n", vec![]).await.unwrap();
        rows.iter().map(|row| (row.get("n").unwrap(), row.get("event_id").unwrap())).collect()
    }
}

/// The effect of an event in these tests: one row, so that an effect that happened twice is two rows.
fn note(event: &Event) -> Batch {
    let mut effects = Batch::new();
    effects.one(
        "note",
        "INSERT INTO notification_seen (n, event_id) VALUES ($1, $2)",
        vec![event.aggregate_seq.into(), event.id.into()],
    );
    effects
}

async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let told = tokio::time::timeout(Duration::from_secs(20), async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(told.await.is_ok(), "never came: {what}");
}

async fn postgres() -> Option<World> {
    let url = postgres::database().await?;
    let db = Db::open(&EngineConfig::Postgres { url, connections_max: 8 }).await.unwrap();
    Some(world(db, None).await)
}

async fn every_bus(check: impl AsyncFn(World)) {
    check(sqlite().await).await;
    if let Some(world) = postgres().await {
        check(world).await;
    }
}
