//! What every bus must do, run on every bus.

use std::sync::Mutex;
use std::time::Duration;

use platform::bus::{self, Bus, BusFaults, QueueSpec, Relay, outbox};
use platform::storage::{Batch, Db, EngineConfig, Migration};
use platform::vocabulary::{Env, Event, Topic};
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
    World { bus: Bus::embedded(db.clone(), env.clone(), QUEUES), db, env, _folder: folder }
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

async fn every_bus(check: impl AsyncFn(World)) {
    check(sqlite().await).await;
}

#[tokio::test]
async fn an_event_reaches_every_queue_that_subscribes() {
    every_bus(async |world| {
        let event = world.event(world.env.uuid(), 1);
        world.tell(std::slice::from_ref(&event)).await;
        assert_eq!(Relay::new(&world.bus, "order_outbox").drain().await, Ok(1));
        assert_eq!(Relay::new(&world.bus, "order_outbox").drain().await, Ok(0));
        let got = Mutex::new(Vec::new());
        for queue in ["notification", "product"] {
            let handler = async |event: Event| {
                got.lock().unwrap().push(event);
                Ok(Batch::new())
            };
            assert_eq!(
                world.bus.consume_due(queue, "notification_inbox", |event| handler(event)).await,
                Ok(1)
            );
        }
        assert_eq!(*got.lock().unwrap(), [event.clone(), event]);
        let health = world.bus.health().await.unwrap();
        assert!(health.queues.iter().all(|queue| queue.depth == 0), "{health:?}");
        assert_eq!(health.outboxes[0].waiting, 0);
    })
    .await;
}

#[tokio::test]
async fn effects_happen_once_under_duplicates_delays_and_disorder() {
    every_bus(async |world| {
        world.bus.set_faults(BusFaults {
            duplicate_rate: 0.5,
            delay_rate: 0.3,
            delay: Duration::from_millis(50),
            reorder_rate: 0.5,
            drop_rate: 0.1,
        });
        let stop = CancellationToken::new();
        let relay = tokio::spawn(Relay::new(&world.bus, "order_outbox").run(stop.clone()));
        let consumers: Vec<_> = (0..2)
            .map(|_| {
                let (bus, stop) = (world.bus.clone(), stop.clone());
                tokio::spawn(async move {
                    bus.consume("notification", "notification_inbox", stop, async |event| Ok(note(&event)))
                        .await
                })
            })
            .collect();
        let mut told = Vec::new();
        for _ in 0..40 {
            let aggregate = world.env.uuid();
            let events: Vec<Event> = (1..=5).map(|seq| world.event(aggregate, seq)).collect();
            world.tell(&events).await;
            told.extend(events.iter().map(|event| (event.aggregate_seq, event.id.uuid())));
        }
        until("all events handled", async || {
            let queues = world.bus.health().await.unwrap().queues;
            world.seen().await.len() >= told.len()
                && queues.iter().all(|one| one.name != "notification" || one.depth == 0)
        })
        .await;
        stop.cancel();
        relay.await.unwrap();
        for consumer in consumers {
            consumer.await.unwrap().unwrap();
        }
        let mut seen = world.seen().await;
        seen.sort_unstable();
        told.sort_unstable();
        assert_eq!(seen, told);
        assert!(world.bus.counts().duplicates > 0);
    })
    .await;
}
