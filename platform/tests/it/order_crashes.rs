//! The saga's bad days, one at a time and at every step: an answer is lost, a call is repeated, a write fails or is
//! never answered, the process dies. Every order comes to the same end, and the money and the stock add up.

use std::time::Duration;

use platform::services::order::client::Status;
use platform::storage::faults::StorageFault;
use platform::vocabulary::OrderId;
use tokio_util::sync::CancellationToken;

use crate::order_checkout::consistent;
use crate::order_fakes::{Mishap, World, eventually, request};

/// The calls of a checkout, in their order.
const CALLS: [&str; 5] = ["reserve", "authorize", "pin", "capture", "commit"];
/// The calls of undoing a paid order.
const UNDO_CALLS: [&str; 3] = ["get", "refund", "restock"];

/// Buys one mug while `operation` meets `mishap`, and wants it confirmed in the end, whatever is answered first.
async fn buys_through(operation: &str, mishap: Mishap) {
    let said = format!("{operation} meets {mishap:?}");
    let world = World::start().await;
    world.siblings.next(operation, mishap);
    let id = match world.buy("pm_card_visa").await {
        Ok(placed) => placed.order.id,
        Err(problem) => panic!("{said}: {problem:?}"),
    };
    world.at_rest(id, Status::Confirmed).await;
    assert_eq!(world.siblings.available("MUG"), 99, "{said}");
}

#[tokio::test]
async fn a_lost_answer_at_any_step_is_asked_for_again() {
    for call in CALLS {
        for mishap in [Mishap::LostBefore, Mishap::LostAfter] {
            buys_through(call, mishap).await;
        }
    }
}

#[tokio::test]
async fn an_unknown_answer_of_the_provider_is_never_taken_for_a_failure() {
    for call in ["authorize", "capture"] {
        for mishap in [Mishap::UnknownBefore, Mishap::UnknownAfter, Mishap::Unavailable] {
            buys_through(call, mishap).await;
        }
    }
}

#[tokio::test]
async fn a_write_that_fails_at_any_step_is_not_assumed() {
    for call in CALLS {
        for fault in [StorageFault::BeforeCommit, StorageFault::AfterCommit, StorageFault::Full] {
            buys_through(call, Mishap::ThenStorage(fault)).await;
        }
    }
}

#[tokio::test]
async fn a_write_that_is_never_answered_loses_its_lease() {
    for call in CALLS {
        buys_through(call, Mishap::ThenStorage(StorageFault::Silence)).await;
    }
}

#[tokio::test]
async fn a_slow_call_keeps_its_lease() {
    for call in CALLS {
        let world = World::start().await;
        // Longer than the lease of 400 ms.
        world.siblings.next(call, Mishap::Slow(Duration::from_millis(900)));
        let id = world.buy("pm_card_visa").await.unwrap().order.id;
        world.at_rest(id, Status::Confirmed).await;
        assert_eq!(world.siblings.calls(call), 1, "{call} was asked by one worker only");
    }
}

#[tokio::test]
async fn undoing_a_paid_order_survives_the_same() {
    let mishaps = [
        Mishap::LostBefore,
        Mishap::LostAfter,
        Mishap::ThenStorage(StorageFault::BeforeCommit),
        Mishap::ThenStorage(StorageFault::AfterCommit),
    ];
    for call in UNDO_CALLS {
        for mishap in mishaps.clone() {
            let world = World::start().await;
            let order = world.buy("pm_card_visa").await.unwrap().order;
            world.at_rest(order.id, Status::Confirmed).await;
            world.siblings.next(call, mishap);
            let token = order.access_token.as_deref();
            world.client.cancel(&world.guest(), order.id, token, None).await.unwrap();
            world.at_rest(order.id, Status::Cancelled).await;
            assert_eq!(world.siblings.available("MUG"), 100);
        }
    }
}

#[tokio::test]
async fn an_order_called_off_while_its_payment_is_unknown_waits_for_the_answer() {
    for mishap in [Mishap::UnknownBefore, Mishap::UnknownAfter] {
        for call in ["authorize", "capture"] {
            let world = World::start().await;
            world.siblings.always(call, mishap.clone());
            let order = world.buy("pm_card_visa").await.unwrap().order;
            let token = order.access_token.as_deref();
            let _ = world.client.cancel(&world.guest(), order.id, token, None).await.unwrap();
            world.siblings.mend();
            world.at_rest(order.id, Status::Cancelled).await;
            assert_eq!(world.siblings.available("MUG"), 100);
        }
    }
}

/// Kills the process that runs the order service at the moment when `operation` hangs, and starts another one.
fn dies_at(operation: &str, mishap: Mishap, called_off: bool) {
    let outside = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (shop, siblings) = outside.block_on(World::prepare());
    let dying = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    siblings.next(operation, mishap);
    let first = dying.block_on(World::open(shop, siblings.clone()));
    let cart = dying.block_on(first.cart("MUG", 1));
    let (client, guest) = (first.client.clone(), first.guest());
    let buying = dying.spawn(async move {
        client.place(&guest, &request(cart, "pm_card_visa"), "the-key", false).await.map(drop)
    });
    outside.block_on(async {
        tokio::time::timeout(Duration::from_secs(10), siblings.hung.notified())
            .await
            .expect("it came that far");
    });
    dying.shutdown_background();
    drop(buying);
    outside.block_on(async {
        let (shop, siblings) = first.abandon();
        let world = World::open(shop, siblings).await;
        let id: OrderId = eventually("the order is found", || async {
            let orders = world.client.admin_orders(&world.staff(), &Default::default()).await.unwrap();
            orders.items.first().map(|order| order.id)
        })
        .await;
        if called_off {
            let token = world.shop.capabilities.secrets.order_access_token(id);
            world.client.cancel(&world.guest(), id, Some(token.expose()), None).await.unwrap();
            world.at_rest(id, Status::Cancelled).await;
            assert_eq!(world.siblings.available("MUG"), 100);
            return;
        }
        world.at_rest(id, Status::Confirmed).await;
        let again = world.place(cart, "pm_card_visa", "the-key").await.unwrap();
        assert_eq!(
            (again.order.id, again.order.status),
            (id, Status::Confirmed),
            "the buyer's retry finds it"
        );
        consistent(&world, id).await;
    });
}

#[test]
fn the_process_dies_at_any_call_and_the_next_one_finishes() {
    for call in CALLS {
        for mishap in [Mishap::HangBefore, Mishap::HangAfter] {
            dies_at(call, mishap, false);
        }
    }
}

#[test]
fn the_process_dies_at_any_call_and_the_order_is_called_off() {
    for call in CALLS {
        for mishap in [Mishap::HangBefore, Mishap::HangAfter] {
            dies_at(call, mishap, true);
        }
    }
}

#[tokio::test]
async fn two_processes_on_one_database_carry_each_order_once() {
    let (shop, siblings) = World::prepare().await;
    let one = World::open(shop, siblings.clone()).await;
    // The second one takes everything over at its start, and again and again, as if leases meant nothing.
    let stop = CancellationToken::new();
    let thief = tokio::spawn({
        let (capabilities, stop) = (one.shop.capabilities.clone(), stop.clone());
        async move {
            while !stop.is_cancelled() {
                let mounted = (platform::services::order::SERVICE.mount)(&capabilities).await.unwrap();
                let round = CancellationToken::new();
                let jobs: Vec<_> = mounted
                    .jobs
                    .into_iter()
                    .filter(|job| job.name == "order.sagas")
                    .map(|job| tokio::spawn((job.run)(round.clone())))
                    .collect();
                tokio::time::sleep(Duration::from_millis(15)).await;
                round.cancel();
                for job in jobs {
                    job.await.unwrap();
                }
            }
        }
    });
    for call in CALLS {
        one.siblings.always(call, Mishap::Slow(Duration::from_millis(10)));
    }
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(one.buy("pm_card_visa").await.unwrap().order.id);
    }
    for id in ids {
        one.at_rest(id, Status::Confirmed).await;
    }
    stop.cancel();
    thief.await.unwrap();
    assert_eq!(one.siblings.available("MUG"), 80);
}

#[tokio::test]
async fn a_shop_that_closes_gives_its_sagas_back_and_the_next_one_goes_on() {
    let world = World::start().await;
    world.siblings.always("authorize", Mishap::Unavailable);
    let id = world.buy("pm_card_visa").await.unwrap().order.id;
    let (shop, siblings) = world.stop().await;
    let sql = "SELECT owner, state FROM order_sagas";
    let row = shop.capabilities.db.read_one(sql, vec![]).await.unwrap().unwrap();
    assert_eq!(row.get::<Option<String>>("owner").unwrap(), None);
    assert_eq!(row.get::<String>("state").unwrap(), "running");
    siblings.mend();
    let world = World::open(shop, siblings).await;
    world.at_rest(id, Status::Confirmed).await;
}
