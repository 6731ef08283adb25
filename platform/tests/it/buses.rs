//! What every bus must do, run on every bus.

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

#[tokio::test]
async fn an_event_reaches_every_queue_that_subscribes() {
    every_bus(async |world| {
        let event = world.event(world.env.uuid(), 1);
        world.tell(std::slice::from_ref(&event)).await;
        assert_eq!(world.relay().drain().await, Ok(1));
        assert_eq!(world.relay().drain().await, Ok(0));
        let got = Mutex::new(Vec::new());
        for queue in ["notification", "product"] {
            let handler = async |event: Event| {
                got.lock().unwrap().push(event);
                Ok(Batch::new())
            };
            assert_eq!(world.bus.consume_due(queue, INBOX, handler).await, Ok(1));
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
        let relay = tokio::spawn(world.relay().run(stop.clone()));
        let consumers: Vec<_> = (0..2)
            .map(|_| {
                let (bus, stop) = (world.bus.clone(), stop.clone());
                tokio::spawn(async move {
                    bus.consume("notification", INBOX, stop, async |event| Ok(note(&event))).await
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

#[tokio::test]
async fn an_aggregate_is_published_strictly_in_its_order() {
    every_bus(async |world| {
        let aggregate = world.env.uuid();
        // The third comes from a process whose clock is behind, and is written first to the table's eye.
        let mut events: Vec<Event> = (1..=250).map(|seq| world.event(aggregate, seq)).collect();
        events[2].at = "2020-01-01T00:00:00Z".parse().unwrap();
        world.tell(&events).await;
        assert_eq!(world.relay().drain().await, Ok(250));
        let rows = world
            .db
            .read(
                "SELECT aggregate_seq FROM bus_messages WHERE queue = 'product' ORDER BY visible_at, aggregate_seq",
                vec![],
            )
            .await
            .unwrap();
        let order: Vec<i64> = rows.iter().map(|row| row.get("aggregate_seq").unwrap()).collect();
        assert_eq!(order, (1..=250).collect::<Vec<_>>());
        assert_eq!(world.relay().lag().await, Ok(Duration::ZERO));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_relays_of_one_outbox_publish_each_event_once() {
    every_bus(async |world| {
        let events: Vec<Event> = (0..300).map(|_| world.event(world.env.uuid(), 1)).collect();
        world.tell(&events).await;
        let drains: Vec<_> = (0..4)
            .map(|_| {
                let relay = world.relay();
                tokio::spawn(async move { relay.drain().await })
            })
            .collect();
        let mut published = 0;
        for drain in drains {
            published += drain.await.unwrap().unwrap();
        }
        assert_eq!(published, 300);
        assert_eq!(world.queue("product").await.depth, 300);
    })
    .await;
}

#[tokio::test]
async fn a_lost_answer_to_publishing_neither_loses_nor_doubles() {
    every_bus(async |world| {
        for fault in [StorageFault::BeforeCommit, StorageFault::AfterCommit] {
            let event = world.event(world.env.uuid(), 1);
            world.tell(std::slice::from_ref(&event)).await;
            world.storage.set(FaultRule::once_at(fault, bus::MARK));
            assert!(world.relay().drain().await.is_err());
            world.relay().drain().await.unwrap();
            assert_eq!(world.queue("notification").await.depth, 1, "{fault:?}");
            assert_eq!(world.note_due().await, 1);
        }
        assert_eq!(world.seen().await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_lost_answer_to_settling_neither_loses_nor_doubles() {
    every_bus(async |world| {
        for fault in [StorageFault::BeforeCommit, StorageFault::AfterCommit] {
            let before = world.seen().await.len();
            world.publish_one().await;
            world.storage.set(FaultRule::once_at(fault, bus::INBOX));
            let struck = world.storage.struck();
            world.note_due().await;
            assert_eq!(world.storage.struck(), struck + 1, "{fault:?}");
            until("the message is settled", async || {
                world.note_due().await;
                world.queue("notification").await.depth == 0
            })
            .await;
            assert_eq!(world.seen().await.len(), before + 1, "{fault:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_poison_message_dies_at_once_and_others_flow() {
    every_bus(async |world| {
        world.bus.inject("notification", serde_json::json!({"not": "an event"})).await.unwrap();
        let refused = world.publish_one().await;
        let good = world.publish_one().await;
        let handler = async |event: Event| match event.id == refused.id {
            true => Err(HandleError::poison("no such template")),
            false => Ok(note(&event)),
        };
        assert_eq!(world.bus.consume_due("notification", INBOX, handler).await, Ok(3));
        assert_eq!(world.seen().await, [(1, good.id.uuid())]);
        let dead = world.bus.dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap();
        assert_eq!(dead.len(), 2);
        assert!(dead[0].reason.starts_with("malformed event"), "{}", dead[0].reason);
        assert_eq!((dead[1].event_id, dead[1].reason.as_str()), (refused.id.uuid(), "no such template"));
        let health = world.queue("notification").await;
        assert_eq!((health.depth, health.dead), (0, 2));
    })
    .await;
}

#[tokio::test]
async fn what_never_succeeds_dies_after_its_receives_and_lives_again_when_redriven() {
    every_bus(async |world| {
        let event = world.publish_one().await;
        let tries = Mutex::new(0);
        until("the message died", async || {
            let handler = async |_: Event| {
                *tries.lock().unwrap() += 1;
                Err(HandleError::retry("the printer is out of paper"))
            };
            world.bus.consume_due("notification", INBOX, handler).await.unwrap();
            world.queue("notification").await.dead == 1
        })
        .await;
        assert_eq!(*tries.lock().unwrap(), 3);
        assert_eq!(world.bus.counts().retried, 2);

        let all = DeadLetterFilter::default();
        let others = DeadLetterFilter { queue: Some("product".to_owned()), ..all.clone() };
        assert_eq!(world.bus.redrive(&others, 10, false).await.unwrap().ids.len(), 0);
        let planned = world.bus.redrive(&all, 10, true).await.unwrap();
        assert_eq!((planned.ids.len(), planned.dry_run), (1, true));
        assert_eq!(world.queue("notification").await.dead, 1, "a dry run does nothing");
        let letter = world.bus.dead_letters(&all, None, 10).await.unwrap().remove(0);
        assert_eq!((letter.event_id, letter.receives), (event.id.uuid(), 3));
        let named = DeadLetterFilter { ids: vec![letter.id], kind: Some(event.kind.clone()), queue: None };
        assert_eq!(world.bus.redrive(&named, 10, false).await.unwrap().ids, [letter.id]);
        assert!(world.bus.redrive(&named, 10, false).await.unwrap().ids.is_empty());
        assert_eq!(world.note_due().await, 1);
        assert_eq!(world.seen().await, [(1, event.id.uuid())]);
    })
    .await;
}

#[tokio::test]
async fn a_redriven_message_whose_event_was_handled_after_all_has_no_effect() {
    every_bus(async |world| {
        world.bus.set_faults(BusFaults { duplicate_rate: 1.0, ..BusFaults::default() });
        world.publish_one().await;
        let first = std::sync::atomic::AtomicBool::new(true);
        let handler = async |event: Event| match first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            true => Err(HandleError::poison("unlucky")),
            false => Ok(note(&event)),
        };
        assert_eq!(world.bus.consume_due("notification", INBOX, handler).await, Ok(2));
        assert_eq!(world.seen().await.len(), 1);
        let redriven = world.bus.redrive(&DeadLetterFilter::default(), 10, false).await.unwrap();
        assert_eq!(redriven.ids.len(), 1);
        assert_eq!(world.note_due().await, 1);
        assert_eq!(world.seen().await.len(), 1);
        assert_eq!(world.queue("notification").await.depth, 0);
    })
    .await;
}

#[tokio::test]
async fn a_discarded_letter_stays_on_record() {
    every_bus(async |world| {
        world.bus.inject("notification", serde_json::json!([])).await.unwrap();
        world.note_due().await;
        let all = DeadLetterFilter::default();
        assert_eq!(world.bus.discard(&all, 10, "a drill left it").await.unwrap().len(), 1);
        assert_eq!(world.bus.discard(&all, 10, "twice").await.unwrap().len(), 0);
        assert_eq!(world.bus.redrive(&all, 10, false).await.unwrap().ids.len(), 0);
        let row = world.db.read_one("SELECT discard_reason FROM bus_dead_letters", vec![]).await.unwrap();
        assert_eq!(row.unwrap().get::<String>("discard_reason").unwrap(), "a drill left it");
        assert_eq!(world.queue("notification").await.dead, 0);
    })
    .await;
}

#[tokio::test]
async fn a_message_that_kills_its_consumer_dies_too() {
    every_bus(async |world| {
        world.publish_one().await;
        for _ in 0..3 {
            // A consumer that is gone in the middle of handling, as if the process had died.
            until("the message came back", async || {
                let never = async |_: Event| std::future::pending::<Result<Batch, HandleError>>().await;
                let handling = world.bus.consume_due("notification", INBOX, never);
                tokio::time::timeout(Duration::from_millis(50), handling).await.is_err()
            })
            .await;
        }
        until("the message died", async || {
            let healthy = async |_: Event| -> Result<Batch, HandleError> { panic!("it was given up before") };
            world.bus.consume_due("notification", INBOX, healthy).await.unwrap();
            world.queue("notification").await.dead == 1
        })
        .await;
        let dead = world.bus.dead_letters(&DeadLetterFilter::default(), None, 1).await.unwrap();
        assert_eq!(dead[0].reason, "received 3 times and never answered");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_consumer_that_lost_its_claim_writes_nothing() {
    every_bus(async |world| {
        let event = world.publish_one().await;
        let (entered, gate) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
        let slow = world.bus.consume_due("notification", INBOX, async |event: Event| {
            entered.notify_one();
            gate.notified().await;
            Ok(note(&event))
        });
        let fast = async {
            entered.notified().await;
            // As if the visibility had passed.
            let mut batch = Batch::new();
            batch.run(
                "UPDATE bus_messages SET visible_at = $1 WHERE queue = 'notification'",
                vec![world.env.now().into()],
            );
            world.db.write(batch).await.unwrap();
            assert_eq!(world.note_due().await, 1);
            gate.notify_one();
        };
        let (slow, ()) = tokio::join!(slow, fast);
        assert_eq!(slow, Ok(1));
        assert_eq!(world.seen().await, [(1, event.id.uuid())]);
    })
    .await;
}

#[tokio::test]
async fn a_refused_effect_is_decided_again_and_does_not_hold_up_others() {
    every_bus(async |world| {
        for _ in 0..4 {
            world.publish_one().await;
        }
        let asked = Mutex::new(std::collections::BTreeMap::<uuid::Uuid, i64>::new());
        let stubborn = Mutex::new(None);
        let handler = async |event: Event| {
            let times =
                *asked.lock().unwrap().entry(event.id.uuid()).and_modify(|times| *times += 1).or_insert(1);
            let is_stubborn = *stubborn.lock().unwrap().get_or_insert(event.id) == event.id;
            let mut effects = note(&event);
            if is_stubborn && times == 1 {
                effects.one("stale", "UPDATE notification_seen SET n = 0 WHERE n = $1", vec![(-1i64).into()]);
            }
            Ok(effects)
        };
        assert_eq!(world.bus.consume_due("notification", INBOX, handler).await, Ok(4));
        assert_eq!(world.seen().await.len(), 4);
        let mut times: Vec<i64> = asked.lock().unwrap().values().copied().collect();
        times.sort_unstable();
        assert_eq!(times, [1, 1, 1, 2], "only the refused one was asked again");
        assert_eq!(world.queue("notification").await.depth, 0);
    })
    .await;
}

#[tokio::test]
async fn an_effect_that_tells_wakes_its_own_relay() {
    every_bus(async |world| {
        let stop = CancellationToken::new();
        let jobs = [
            tokio::spawn(world.relay().run(stop.clone())),
            tokio::spawn(Relay::new(&world.bus, "notification_outbox").run(stop.clone())),
        ];
        let (bus, env, token) = (world.bus.clone(), world.env.clone(), stop.clone());
        let consumer = tokio::spawn(async move {
            let handler = async |event: Event| {
                let mut effects = note(&event);
                let told = Event { id: env.id(), topic: Topic::Notification, ..event };
                outbox::append(&mut effects, "notification_outbox", &told);
                Ok(effects)
            };
            bus.consume("notification", INBOX, token, handler).await
        });
        world.tell(&[world.event(world.env.uuid(), 1)]).await;
        until("its own event was published", async || {
            let sql = "SELECT COUNT(*) AS n FROM notification_outbox WHERE published_at IS NOT NULL";
            world.db.read_one(sql, vec![]).await.unwrap().unwrap().get::<i64>("n").unwrap() == 1
        })
        .await;
        stop.cancel();
        for job in jobs {
            job.await.unwrap();
        }
        consumer.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn stopping_publishes_what_is_left_and_finishes_what_was_received() {
    every_bus(async |world| {
        let stop = CancellationToken::new();
        let (entered, gate) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
        world.publish_one().await;
        let consuming = world.bus.consume("notification", INBOX, stop.clone(), async |event| {
            entered.notify_one();
            gate.notified().await;
            Ok(note(&event))
        });
        let stopping = async {
            entered.notified().await;
            world.tell(&[world.event(world.env.uuid(), 1)]).await;
            stop.cancel();
            world.relay().run(stop.clone()).await;
            gate.notify_one();
        };
        let (consumed, ()) = tokio::join!(consuming, stopping);
        consumed.unwrap();
        assert_eq!(world.seen().await.len(), 1);
        assert_eq!(
            world.queue("notification").await.depth,
            1,
            "published, and for the next process to handle"
        );
    })
    .await;
}

#[tokio::test]
async fn a_bus_goes_on_after_its_storage_was_away() {
    every_bus(async |world| {
        let stop = CancellationToken::new();
        let relay = tokio::spawn(world.relay().run(stop.clone()));
        let (bus, token) = (world.bus.clone(), stop.clone());
        let consumer = tokio::spawn(async move {
            bus.consume("notification", INBOX, token, async |event| Ok(note(&event))).await
        });
        world.storage.set(FaultRule::always(StorageFault::Down));
        let event = world.event(world.env.uuid(), 1);
        world.tell(std::slice::from_ref(&event)).await;
        until("the outage was felt", async || world.storage.struck() >= 4).await;
        assert_eq!(
            world.bus.health().await.err(),
            Some(StorageError::Unavailable("a fault switch is on".to_owned()))
        );
        world.storage.clear();
        until("the event was handled", async || world.seen().await.len() == 1).await;
        stop.cancel();
        relay.await.unwrap();
        consumer.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_effect_that_storage_never_takes_dies_alone() {
    every_bus(async |world| {
        let poisonous = world.publish_one().await;
        for _ in 0..5 {
            world.publish_one().await;
        }
        // As a statement would that runs into its time-out every time.
        let rule = FaultRule::always(StorageFault::BeforeCommit);
        world.storage.set(FaultRule { statement: Some("endless".to_owned()), ..rule });
        let handler = async |event: Event| {
            let mut effects = note(&event);
            if event.id == poisonous.id {
                effects.run("UPDATE notification_seen SET n = n", vec![]);
                effects.statements[1].name = "endless".into();
            }
            Ok(effects)
        };
        assert_eq!(world.bus.consume_due("notification", INBOX, handler).await, Ok(6));
        assert_eq!(world.seen().await.len(), 5);
        until("the message died", async || {
            world.bus.consume_due("notification", INBOX, handler).await.unwrap();
            world.queue("notification").await.dead == 1
        })
        .await;
        assert_eq!(world.seen().await.len(), 5);
    })
    .await;
}

#[tokio::test]
async fn what_is_long_done_is_swept_and_what_may_come_back_is_remembered() {
    every_bus(async |world| {
        let long_ago = world.env.now() - Duration::from_secs(48 * 3600);
        let then = Env::seeded(Clock::manual(long_ago), 7);
        let old = |seq| Event { id: then.id(), ..world.event(world.env.uuid(), seq) };
        let events: Vec<Event> = (0..1200).map(|_| old(1)).collect();
        for some in events.chunks(100) {
            world.tell(some).await;
        }
        let waiting = old(1);
        let fresh = world.event(world.env.uuid(), 1);
        world.relay().drain().await.unwrap();
        while world.note_due().await > 0 {}
        // One of them died once more after it was handled: its inbox row must outlive it.
        let mut batch = Batch::new();
        batch.run(
            "INSERT INTO bus_dead_letters (id, queue, event_id, topic, kind, aggregate, aggregate_seq, body, sent_at,
               receives, redrives, reason, dead_at)
             VALUES ($1, 'notification', $1, 'order', 'order_placed', $1, 1, $2, $3, 1, 0, 'unlucky', $3)",
            vec![events[0].id.into(), serde_json::json!({}).into(), world.env.now().into()],
        );
        world.db.write(batch).await.unwrap();
        world.tell(&[waiting.clone(), fresh.clone()]).await;
        world.storage.set(FaultRule { statement: Some(bus::MARK.to_owned()), ..FaultRule::always(StorageFault::BeforeCommit) });

        let stop = CancellationToken::new();
        let relay = tokio::spawn(world.relay().run(stop.clone()));
        let (bus, token) = (world.bus.clone(), stop.clone());
        let consumer = tokio::spawn(async move { bus.consume("notification", INBOX, token, async |_| Ok(Batch::new())).await });
        let ids = async |table: &str, column: &str| -> Vec<Uuid> {
            let rows = world.db.read(&format!("SELECT {column} AS id FROM {table} ORDER BY {column}"), vec![]).await.unwrap();
            rows.iter().map(|row| row.get("id").unwrap()).collect()
        };
        until("the outbox was swept", async || {
            ids("order_outbox", "id").await == [waiting.id.uuid(), fresh.id.uuid()]
        })
        .await;
        until("the inbox was swept", async || ids(INBOX, "event_id").await == [events[0].id.uuid()]).await;
        stop.cancel();
        relay.await.unwrap();
        consumer.await.unwrap().unwrap();
    })
    .await;
}
