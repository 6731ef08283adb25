//! A planted violation for every invariant: the data is broken in exactly that promise, and verify names exactly that
//! one, with the broken thing. Each on both engines, on a copy of the same shop.

use std::io::Write as _;

use futures_util::future::BoxFuture;
use platform::verify::journal::{Acknowledged, Journal, JournalWriter};
use platform::verify::{INVARIANTS, StatementLine, Verdict};
use platform::vocabulary::{Env, OrderId};

use super::complaints;
use super::patient::Patient;
use super::story::{self, HELD, SKU, Story};

/// Breaks one promise, and answers what is broken.
type Plant = for<'a> fn(&'a mut Patient<'_>) -> BoxFuture<'a, String>;

/// One for each invariant, some twice: where a promise has two sides.
const PLANTS: &[(&str, &str, Plant)] = &[
    ("V1", "more is reserved than is there", |patient| Box::pin(v1(patient))),
    ("V2", "a unit appears without a movement", |patient| Box::pin(v2(patient))),
    ("V3", "units were sold that never came in", |patient| Box::pin(v3(patient))),
    ("V4", "a reservation is held past its time", |patient| Box::pin(v4(patient))),
    ("V5", "a confirmed order lost its units", |patient| Box::pin(v5(patient))),
    ("V6", "a discount is off by a cent", |patient| Box::pin(v6(patient))),
    ("V7", "more was taken than was held", |patient| Box::pin(v7(patient))),
    ("V8", "a ledger line is off by a cent", |patient| Box::pin(v8(patient))),
    ("V9", "the provider charged twice", |patient| Box::pin(v9_duplicate(patient))),
    ("V9", "the provider does not know a charge", |patient| Box::pin(v9_missing(patient))),
    ("V9", "the provider charged twice behind an open attempt", |patient| Box::pin(v9_hidden(patient))),
    ("V10", "two captures succeeded", |patient| Box::pin(v10(patient))),
    ("V11", "money is held for a declined order", |patient| Box::pin(v11(patient))),
    ("V12", "the projection says something else", |patient| Box::pin(v12(patient))),
    ("V12", "an event is gone", |patient| Box::pin(v12_gap(patient))),
    ("V13", "a delivered order is packed", |patient| Box::pin(v13(patient))),
    ("V14", "an event was never published", |patient| Box::pin(v14(patient))),
    ("V14", "an event was published and lost", |patient| Box::pin(v14_lost(patient))),
    ("V15", "an event was handled twice", |patient| Box::pin(v15(patient))),
    ("V16", "a dead letter was handled too", |patient| Box::pin(v16(patient))),
    ("V17", "an acknowledged order is lost", |patient| Box::pin(v17(patient))),
    ("V17", "two orders under one key", |patient| Box::pin(v17_twins(patient))),
    ("V18", "nobody was told", |patient| Box::pin(v18(patient))),
    ("V18", "somebody was told twice", |patient| Box::pin(v18_twice(patient))),
    ("V19", "a card number in the log", |patient| Box::pin(v19(patient))),
    ("V19", "a card number in the data", |patient| Box::pin(v19_data(patient))),
    ("V20", "a waiting order has no saga", |patient| Box::pin(v20(patient))),
    ("V20", "a saga is stuck and nobody was told", |patient| Box::pin(v20_untold(patient))),
    ("V20", "a saga is held by nobody that lives", |patient| Box::pin(v20_dead_hand(patient))),
    ("V20", "a saga was given up", |patient| Box::pin(v20_abandoned(patient))),
    ("V21", "a saga is due and nobody takes it", |patient| Box::pin(v21(patient))),
];

async fn v1(patient: &mut Patient<'_>) -> String {
    patient.either("", "ALTER TABLE product_stock DROP CONSTRAINT product_stock_check").await;
    patient.either("", "ALTER TABLE product_movements DROP CONSTRAINT product_movements_check").await;
    // Taken off the shelf by the book: the ledger agrees, and two units are promised of the one that is left.
    patient
        .run(&format!(
            "UPDATE product_stock SET on_hand = on_hand - 4, movements = movements + 1 WHERE sku = '{HELD}';
             INSERT INTO product_movements (sku, location, seq, kind, on_hand_delta, reserved_delta, on_hand_after,
               reserved_after, act, reason, at)
             SELECT s.sku, s.location, s.movements, 'adjust', -4, 0, s.on_hand, s.reserved, 'planted', 'planted', m.at
             FROM product_stock s JOIN product_movements m ON m.sku = s.sku AND m.kind = 'receipt'
             WHERE s.sku = '{HELD}'"
        ))
        .await;
    HELD.to_owned()
}

async fn v2(patient: &mut Patient<'_>) -> String {
    patient.run(&format!("UPDATE product_stock SET on_hand = on_hand + 1 WHERE sku = '{SKU}'")).await;
    SKU.to_owned()
}

async fn v3(patient: &mut Patient<'_>) -> String {
    // What came in is called a return, and no order ever took it.
    let sql =
        format!("UPDATE product_movements SET kind = 'return' WHERE sku = '{SKU}' AND kind = 'receipt'");
    patient.run(&sql).await;
    SKU.to_owned()
}

async fn v4(patient: &mut Patient<'_>) -> String {
    let (order, at) = (patient.order(patient.orders.waiting), patient.long_before());
    patient.run(&format!("UPDATE product_reservations SET expires_at = {at} WHERE order_id = {order}")).await;
    patient.orders.waiting.to_string()
}

async fn v5(patient: &mut Patient<'_>) -> String {
    let order = patient.order(patient.orders.confirmed);
    patient
        .run(&format!("UPDATE product_reservations SET state = 'released' WHERE order_id = {order}"))
        .await;
    patient.orders.confirmed.to_string()
}

async fn v6(patient: &mut Patient<'_>) -> String {
    let order = patient.order(patient.orders.confirmed);
    // In the event too: what the shop tells of the order agrees with itself, and not with its lines.
    patient.run(&format!("UPDATE order_orders SET discount = discount + 1 WHERE id = {order}")).await;
    let of = format!("WHERE order_id = {order} AND seq = 1");
    patient
        .either(
            &format!("UPDATE order_events SET data = json_set(data, '$.discount.amount', 1) {of}"),
            &format!("UPDATE order_events SET data = jsonb_set(data, '{{discount,amount}}', '1') {of}"),
        )
        .await;
    patient.orders.confirmed.to_string()
}

async fn v7(patient: &mut Patient<'_>) -> String {
    let order = patient.order(patient.orders.confirmed);
    patient.run(&format!("UPDATE payments SET authorized = authorized - 1 WHERE order_id = {order}")).await;
    patient.orders.confirmed.to_string()
}

async fn v8(patient: &mut Patient<'_>) -> String {
    let order = patient.order(patient.orders.confirmed);
    let entry =
        format!("payment_id = (SELECT id FROM payments WHERE order_id = {order}) AND account = 'sales'");
    patient.run(&format!("UPDATE payment_ledger SET credit = credit - 1 WHERE {entry}")).await;
    patient.find(&format!("SELECT tx_id AS found FROM payment_ledger WHERE {entry}")).await.to_string()
}

fn line_of<'a>(patient: &'a mut Patient<'_>, order: OrderId) -> &'a mut StatementLine {
    let order = order.to_string();
    let mut lines = patient.statement.items.iter_mut();
    lines.find(|line| line.order_id.as_deref() == Some(&order)).expect("the order's line")
}

async fn v9_duplicate(patient: &mut Patient<'_>) -> String {
    let order = patient.orders.confirmed;
    let again = line_of(patient, order).clone();
    patient.statement.items.push(again);
    order.to_string()
}

/// The outcome of the order's capture is not known yet.
async fn settling(patient: &Patient<'_>, order: OrderId) {
    let (order, at) = (patient.order(order), patient.moment(patient.ended));
    patient
        .run(&format!(
            "UPDATE payment_attempts SET state = 'lookup', next_at = {at} WHERE operation = 'capture'
               AND payment_id = (SELECT id FROM payments WHERE order_id = {order})"
        ))
        .await;
}

async fn v9_hidden(patient: &mut Patient<'_>) -> String {
    settling(patient, patient.orders.confirmed).await;
    v9_duplicate(patient).await
}

async fn v9_missing(patient: &mut Patient<'_>) -> String {
    let order = patient.orders.confirmed.to_string();
    patient.statement.items.retain(|line| line.order_id.as_deref() != Some(&order));
    order
}

async fn v10(patient: &mut Patient<'_>) -> String {
    let (order, id) = (patient.order(patient.orders.confirmed), patient.id(Env::system().uuid()));
    patient
        .run(&format!(
            "INSERT INTO payment_attempts (id, payment_id, n, operation, act_key, idem_key, amount, state, tries,
               next_at, created_at, updated_at)
             SELECT {id}, a.payment_id, 99, a.operation, 'planted', 'planted', a.amount, a.state, a.tries, a.next_at,
               a.created_at, a.updated_at
             FROM payment_attempts a JOIN payments p ON p.id = a.payment_id
             WHERE p.order_id = {order} AND a.operation = 'capture'"
        ))
        .await;
    patient.orders.confirmed.to_string()
}

async fn v11(patient: &mut Patient<'_>) -> String {
    let declined = patient.orders.declined;
    let order = patient.order(declined);
    patient
        .run(&format!(
            "UPDATE payments SET status = 'authorized', authorized = amount WHERE order_id = {order}"
        ))
        .await;
    // The provider holds it as well, so the two sides agree.
    let amount = line_of(patient, patient.orders.confirmed).clone();
    let total = total_of(patient, declined).await;
    patient.statement.items.push(StatementLine {
        payment_intent: "pi_planted".to_owned(),
        order_id: Some(declined.to_string()),
        authorized: total,
        captured: 0,
        refunded: 0,
        status: "requires_capture".to_owned(),
        ..amount
    });
    declined.to_string()
}

async fn total_of(patient: &Patient<'_>, order: OrderId) -> i64 {
    let sql = format!("SELECT total AS found FROM order_orders WHERE id = {}", patient.order(order));
    patient.number(&sql).await
}

async fn v12(patient: &mut Patient<'_>) -> String {
    let order = patient.order(patient.orders.delivered);
    patient.run(&format!("UPDATE order_orders SET tracking = 'elsewhere' WHERE id = {order}")).await;
    patient.orders.delivered.to_string()
}

async fn v12_gap(patient: &mut Patient<'_>) -> String {
    let order = patient.order(patient.orders.delivered);
    patient.run(&format!("DELETE FROM order_events WHERE order_id = {order} AND seq = 3")).await;
    patient.orders.delivered.to_string()
}

async fn v13(patient: &mut Patient<'_>) -> String {
    let order = patient.order(patient.orders.delivered);
    patient
        .run(&format!(
            "INSERT INTO order_events (order_id, seq, type, data, actor, request_id, at)
             SELECT e.order_id, l.seq + 1, e.type, e.data, e.actor, e.request_id, e.at FROM order_events e,
               (SELECT MAX(seq) AS seq FROM order_events WHERE order_id = {order}) AS l
             WHERE e.order_id = {order} AND e.type = 'packed'"
        ))
        .await;
    patient.orders.delivered.to_string()
}

/// The last event that was told of an order.
async fn last_told(patient: &Patient<'_>, order: OrderId) -> uuid::Uuid {
    let order = patient.order(order);
    let sql = format!(
        "SELECT id AS found FROM order_outbox WHERE aggregate = {order} ORDER BY aggregate_seq DESC LIMIT 1"
    );
    patient.find(&sql).await
}

async fn v14(patient: &mut Patient<'_>) -> String {
    let event = last_told(patient, patient.orders.delivered).await;
    let (id, at) = (patient.id(event), patient.long_before());
    patient.run(&format!("UPDATE order_outbox SET published_at = NULL, at = {at} WHERE id = {id}")).await;
    event.to_string()
}

async fn v14_lost(patient: &mut Patient<'_>) -> String {
    let event = last_told(patient, patient.orders.delivered).await;
    let id = patient.id(event);
    patient
        .run(&format!(
            "DELETE FROM notification_inbox WHERE event_id = {id};
             DELETE FROM notification_deliveries WHERE event_id = {id}"
        ))
        .await;
    event.to_string()
}

async fn v15(patient: &mut Patient<'_>) -> String {
    let event = last_told(patient, patient.orders.delivered).await;
    let id = patient.id(event);
    patient.unguard("notification_inbox").await;
    patient
        .run(&format!(
            "INSERT INTO notification_inbox SELECT * FROM notification_inbox WHERE event_id = {id}"
        ))
        .await;
    event.to_string()
}

async fn v16(patient: &mut Patient<'_>) -> String {
    let event = last_told(patient, patient.orders.delivered).await;
    let letter = Env::system().uuid();
    let (letter_id, event) = (patient.id(letter), patient.id(event));
    patient
        .run(&format!(
            "INSERT INTO bus_dead_letters (id, queue, event_id, topic, kind, aggregate, aggregate_seq, body, sent_at,
               receives, redrives, reason, dead_at)
             SELECT {letter_id}, 'notification', id, topic, kind, aggregate, aggregate_seq, payload, at, 9, 0,
               'planted', at FROM order_outbox WHERE id = {event}"
        ))
        .await;
    letter.to_string()
}

async fn v17(patient: &mut Patient<'_>) -> String {
    let mut journal = Journal::read(&patient.journal()).expect("a journal");
    std::fs::remove_file(patient.journal()).expect("removed");
    let lost: OrderId = Env::system().id();
    let mut writer = JournalWriter::create(&patient.journal(), &journal.head).expect("a journal");
    journal.orders.insert(1, Acknowledged { order_id: lost, ..journal.orders[0].clone() });
    for order in &journal.orders {
        writer.append(order).expect("written");
    }
    lost.to_string()
}

async fn v17_twins(patient: &mut Patient<'_>) -> String {
    // Refused orders are in no journal, so only the shop's own memory of the key is doubled.
    let (first, second) = (patient.order(patient.orders.confirmed), patient.order(patient.orders.declined));
    patient
        .run(&format!(
            "UPDATE order_sagas SET params = (SELECT params FROM order_sagas WHERE id = {first}) WHERE id = {second}"
        ))
        .await;
    patient.orders.declined.to_string()
}

async fn v18(patient: &mut Patient<'_>) -> String {
    let event = last_told(patient, patient.orders.delivered).await;
    let id = patient.id(event);
    patient.run(&format!("DELETE FROM notification_deliveries WHERE event_id = {id}")).await;
    event.to_string()
}

async fn v18_twice(patient: &mut Patient<'_>) -> String {
    let event = last_told(patient, patient.orders.delivered).await;
    let (id, again) = (patient.id(event), patient.id(Env::system().uuid()));
    patient
        .run(&format!(
            "INSERT INTO notification_deliveries (id, event_id, channel, recipient, template, facts, order_id, state,
               next_at, created_at)
             SELECT {again}, event_id, channel, UPPER(recipient), template, facts, order_id, state, next_at, created_at
             FROM notification_deliveries WHERE event_id = {id}"
        ))
        .await;
    event.to_string()
}

async fn v19(patient: &mut Patient<'_>) -> String {
    let mut log = std::fs::OpenOptions::new().append(true).open(patient.log()).expect("the log");
    writeln!(log, "{{\"message\":\"charged 4242 4242 4242 4242\"}}").expect("written");
    "story.log line 2".to_owned()
}

async fn v19_data(patient: &mut Patient<'_>) -> String {
    let event = last_told(patient, patient.orders.delivered).await;
    let delivery = format!("FROM notification_deliveries WHERE event_id = {}", patient.id(event));
    let delivery = patient.find(&format!("SELECT id AS found {delivery}")).await;
    let id = patient.id(delivery);
    patient
        .run(&format!(
            "UPDATE notification_deliveries SET last_error = 'refused 4242424242424242' WHERE id = {id}"
        ))
        .await;
    format!("notification_deliveries.last_error {delivery}")
}

async fn v20(patient: &mut Patient<'_>) -> String {
    let order = patient.order(patient.orders.waiting);
    patient
        .run(&format!(
            "UPDATE order_sagas SET state = 'completed', next_at = NULL, owner = NULL, lease_until = NULL
             WHERE subject = {order}"
        ))
        .await;
    patient.orders.waiting.to_string()
}

async fn v20_untold(patient: &mut Patient<'_>) -> String {
    let order = patient.order(patient.orders.delivered);
    patient.run(&format!("UPDATE order_sagas SET state = 'stuck' WHERE subject = {order}")).await;
    patient.orders.delivered.to_string()
}

async fn v20_dead_hand(patient: &mut Patient<'_>) -> String {
    let (order, at) = (patient.order(patient.orders.waiting), patient.long_before());
    patient
        .run(&format!(
            "UPDATE order_sagas SET state = 'running', next_at = NULL, owner = 'gone', lease_until = {at}
             WHERE subject = {order}"
        ))
        .await;
    patient.orders.waiting.to_string()
}

async fn v20_abandoned(patient: &mut Patient<'_>) -> String {
    let order = patient.order(patient.orders.waiting);
    patient
        .run(&format!(
            "UPDATE order_sagas SET state = 'abandoned', last_error = 'planted', next_at = NULL, owner = NULL,
               lease_until = NULL
             WHERE subject = {order}"
        ))
        .await;
    patient.orders.waiting.to_string()
}

async fn v21(patient: &mut Patient<'_>) -> String {
    let (order, at) = (patient.order(patient.orders.waiting), patient.long_before());
    patient.run(&format!("UPDATE order_sagas SET next_at = {at} WHERE subject = {order}")).await;
    patient.orders.waiting.to_string()
}

#[test]
fn every_invariant_has_a_planted_violation() {
    let planted: Vec<&str> = PLANTS.iter().map(|(id, ..)| *id).collect();
    for invariant in INVARIANTS {
        assert!(
            planted.contains(&invariant.id),
            "{} was never seen to fail: plant a violation",
            invariant.id
        );
    }
}

async fn planted_is_named(story: &Story) {
    let sound = Patient::of(story).await.verify().await;
    assert_eq!(complaints(&sound), Vec::<String>::new(), "before anything is broken");
    assert_eq!(sound.outcomes.len(), INVARIANTS.len());
    let mut wrong = Vec::new();
    for (id, title, plant) in PLANTS {
        let mut patient = Patient::of(story).await;
        let thing = plant(&mut patient).await;
        let report = patient.verify().await;
        let first = report.outcome(id).and_then(|outcome| outcome.examples.first().cloned());
        let named = report.ids(Verdict::False) == [*id] && report.ids(Verdict::Unknown).is_empty();
        if !named || first.as_ref().map(|example| example.id.as_str()) != Some(&thing) {
            wrong.push(format!("{id} ({title}, {thing}): {:?}", complaints(&report)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn money_behind_a_stuck_saga_is_not_on_its_way_back() {
    let story = story::on_sqlite().await;
    let mut patient = Patient::of(&story).await;
    let declined = v11(&mut patient).await;
    let order = patient.order(patient.orders.declined);
    patient.run(&format!("UPDATE order_sagas SET state = 'stuck' WHERE subject = {order}")).await;
    let report = patient.verify().await;
    assert_eq!(report.ids(Verdict::False), ["V11", "V20"], "{:?}", complaints(&report));
    assert_eq!(report.outcome("V11").expect("asked").examples[0].id, declined);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_attempt_of_a_stopped_shop_leaves_its_difference_unknown() {
    let story = story::on_sqlite().await;
    let mut patient = Patient::of(&story).await;
    settling(&patient, patient.orders.confirmed).await;
    v9_missing(&mut patient).await;
    let report = patient.verify().await;
    let v9 = report.outcome("V9").expect("asked");
    assert_eq!((v9.verdict, v9.counts["settling"]), (Verdict::Unknown, 1), "{:?}", complaints(&report));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_planted_violation_is_named_and_nothing_else_on_sqlite() {
    planted_is_named(&story::on_sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_planted_violation_is_named_and_nothing_else_on_postgres() {
    let Some(story) = story::on_postgres().await else { return };
    planted_is_named(&story).await;
}
