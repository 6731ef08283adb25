//! What is told arrives, in order of publication, and has its effects once.

use super::*;

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
