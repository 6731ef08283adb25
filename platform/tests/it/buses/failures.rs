//! What happens when the storage, a claim or an effect fails midway.

use super::*;

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
