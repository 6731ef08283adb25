//! What no consumer can handle becomes a dead letter, and may live again.

use tokio::sync::Notify;

use super::*;

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
                let begun = Notify::new();
                let never = async |_: Event| {
                    begun.notify_one();
                    std::future::pending::<Result<Batch, HandleError>>().await
                };
                tokio::select! {
                    _ = world.bus.consume_due("notification", INBOX, never) => false,
                    () = begun.notified() => true,
                }
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
