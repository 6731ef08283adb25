//! The notification service: events come in over the bus, mails go out once, and staff see what happened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use platform::bus::{BusFaults, Relay, outbox};
use platform::config::ShopConfig;
use platform::http::{CallError, Code, Context, Endpoint};
use platform::services::notification::SERVICE;
use platform::services::notification::client::{
    DeadLetterAction, DeadLetterQuery, Delivery, DeliveryFilter, NotificationClient, Preferences,
};
use platform::storage::{Batch, Db, FaultRule, FaultSwitch, StorageFault};
use platform::testing::{self, postgres};
use platform::vocabulary::{Clock, Env, Event, Identity, OrderId, Role, Timestamp, Topic};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A notification service on a database of its own, with its consumer and senders at work.
pub(crate) struct Mailroom {
    pub(crate) capabilities: platform::capabilities::Capabilities,
    pub(crate) clock: Clock,
    client: NotificationClient,
    endpoint: Endpoint,
    stop: CancellationToken,
    jobs: Vec<tokio::task::JoinHandle<()>>,
    folder: tempfile::TempDir,
}

impl Mailroom {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ShopConfig)) -> Self {
        Self::on(None, None, change).await
    }

    async fn on(
        database: Option<String>,
        faults: Option<&FaultSwitch>,
        change: impl FnOnce(&mut ShopConfig),
    ) -> Self {
        let clock = Clock::manual("2026-11-01T12:00:00Z".parse::<Timestamp>().unwrap());
        let env = Env::seeded(clock.clone(), 11);
        let folder = tempfile::tempdir().unwrap();
        let mut config = ShopConfig::local(folder.path().to_owned());
        config.notification.shop_url = Some("https://shop.example/".to_owned());
        if let Some(url) = database {
            config.engine = platform::storage::EngineConfig::Postgres { url, connections_max: 4 };
        }
        change(&mut config);
        let mut db = Db::open(&config.engine).await.unwrap();
        if let Some(faults) = faults {
            db = db.with_faults(faults);
        }
        let capabilities = testing::capabilities_on(env, config, db, &[SERVICE]).await;
        let mounted = (SERVICE.mount)(&capabilities).await.unwrap();
        assert!(mounted.openapi.paths.paths.contains_key("/v1/admin/deliveries/{id}/redeliver"));
        let endpoint = capabilities.endpoint("notification");
        endpoint.bind(mounted.router);
        let stop = CancellationToken::new();
        let jobs = mounted.jobs.into_iter().map(|job| tokio::spawn((job.run)(stop.clone()))).collect();
        let client = NotificationClient::new(endpoint.clone());
        Self { capabilities, clock, client, endpoint, stop, jobs, folder }
    }

    /// Stops the consumer and the senders, as a process that ends in order does.
    async fn close(mut self) -> platform::capabilities::Capabilities {
        self.stop.cancel();
        for job in self.jobs.drain(..) {
            job.await.unwrap();
        }
        self.capabilities.clone()
    }

    pub(crate) fn event(&self, topic: Topic, kind: &str, data: Value) -> Event {
        let env = &self.capabilities.env;
        let context = Context::background("order", env);
        Event {
            id: env.id(),
            topic,
            kind: kind.to_owned(),
            aggregate: env.uuid(),
            aggregate_seq: 1,
            at: env.now(),
            request_id: Some(context.request_id.to_string()),
            traceparent: Some(context.traceparent.to_string()),
            data,
        }
    }

    pub(crate) fn confirmed(&self, email: &str) -> Event {
        self.event(
            Topic::Order,
            "order_confirmed",
            json!({
                "number": "K7-93QX", "email": email, "user_id": null,
                "total": {"amount": 2598, "currency": "USD"},
                "lines": [{"sku": "MUG", "title": "Mug", "quantity": 2,
                           "line_total": {"amount": 2598, "currency": "USD"}}],
            }),
        )
    }

    pub(crate) async fn hear(&self, event: &Event) {
        self.capabilities.bus.inject("notification", serde_json::to_value(event).unwrap()).await.unwrap();
    }

    fn as_role(&self, role: Role) -> Context {
        let env = &self.capabilities.env;
        let identity =
            Identity { user_id: env.id(), email: format!("{role}@shop.example"), roles: vec![role] };
        Context { identity: Some(Arc::new(identity)), caller: Some("gateway"), ..Context::new(env) }
    }

    /// What was handed to the log channel, oldest first.
    fn mails(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("mails.ndjson")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) async fn deliveries(&self) -> Vec<Delivery> {
        let filter = DeliveryFilter { limit: Some(100), ..DeliveryFilter::default() };
        self.client.deliveries(&self.as_role(Role::Ops), &filter).await.unwrap().items
    }

    /// Waits until the delivery of `event` is in `state`.
    pub(crate) async fn ends(&self, event: &Event, state: &str) -> Delivery {
        let filter = DeliveryFilter { event_id: Some(event.id), ..DeliveryFilter::default() };
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut found = self.client.deliveries(&self.as_role(Role::Ops), &filter).await.unwrap().items;
            match found.pop() {
                Some(delivery) if delivery.state == state => return delivery,
                seen => assert!(Instant::now() < deadline, "wanted {state}, saw {seen:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until a delivery of `event` is pending with an error.
    pub(crate) async fn put_off(&self, event: &Event) -> Delivery {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let delivery = self.ends(event, "pending").await;
            if delivery.last_error.is_some() && delivery.next_at > Some(self.clock.now()) {
                let due = delivery.next_at.unwrap().as_microsecond() - self.clock.now().as_microsecond();
                // A claim lasts two minutes; what is put off for less was given back.
                if due < 110_000_000 {
                    return delivery;
                }
            }
            assert!(Instant::now() < deadline, "{delivery:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn dead(&self) -> Vec<platform::services::notification::client::DeadLetter> {
        let query = DeadLetterQuery::default();
        self.client.dead_letters(&self.as_role(Role::Ops), &query).await.unwrap().items
    }

    async fn count(&self, sql: &str) -> i64 {
        self.capabilities.db.read_one(sql, vec![]).await.unwrap().unwrap().get("n").unwrap()
    }
}

async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn code<T: std::fmt::Debug>(answer: Result<T, CallError>) -> Code {
    answer.unwrap_err().problem().expect("a problem").code
}

async fn an_event_is_told_once(mailroom: Mailroom) {
    let event = mailroom.confirmed("ada@example.com");
    for _ in 0..5 {
        mailroom.hear(&event).await;
    }
    let delivery = mailroom.ends(&event, "sent").await;
    assert_eq!((delivery.attempts, delivery.channel.as_str()), (1, "log"));
    mailroom.hear(&event).await;
    eventually("all six were acknowledged", async || {
        (mailroom.count("SELECT count(*) AS n FROM bus_messages").await == 0).then_some(())
    })
    .await;
    assert_eq!(mailroom.deliveries().await.len(), 1);
    let mails = mailroom.mails();
    assert_eq!(mails.len(), 1, "{mails:?}");
    let mail = &mails[0];
    assert_eq!(mail["to"], "ada@example.com");
    assert_eq!(mail["message_id"], delivery.id.to_string());
    assert_eq!(mail["template"], "order_confirmed.en.1");
    let body = mail["body"].as_str().unwrap();
    assert!(body.contains("2 x Mug  $25.98") && body.contains("Total: $25.98"), "{body}");
    mailroom.close().await;
}

#[tokio::test]
async fn an_event_is_told_once_however_often_it_comes() {
    an_event_is_told_once(Mailroom::new().await).await;
}

#[tokio::test]
async fn an_event_is_told_once_on_postgres_too() {
    if let Some(url) = postgres::database().await {
        an_event_is_told_once(Mailroom::on(Some(url), None, |_| {}).await).await;
    }
}

#[tokio::test]
async fn a_guests_link_carries_the_key_to_the_order_and_a_users_does_not() {
    let mailroom = Mailroom::new().await;
    let guest = mailroom.confirmed("guest@example.com");
    let mut user = mailroom.confirmed("user@example.com");
    user.data["user_id"] = json!("0199f3a2-7c1e-7cc3-98c4-dc0c0c07398f");
    mailroom.hear(&guest).await;
    mailroom.hear(&user).await;
    mailroom.ends(&guest, "sent").await;
    mailroom.ends(&user, "sent").await;
    let body = |to: &str| {
        let mails = mailroom.mails();
        let mail = mails.iter().find(|mail| mail["to"] == to).unwrap().clone();
        mail["body"].as_str().unwrap().to_owned()
    };
    let order = OrderId::from_uuid(guest.aggregate);
    let link = format!("https://shop.example/orders/{order}?access_token=");
    let body_of_guest = body("guest@example.com");
    let token = body_of_guest.split_once(&link).expect(&body_of_guest).1.lines().next().unwrap();
    assert!(mailroom.capabilities.secrets.opens_order(order, token));
    assert!(!body("user@example.com").contains("access_token"));
    let kept: Value = mailroom
        .capabilities
        .db
        .read_one("SELECT facts FROM notification_deliveries WHERE recipient = 'guest@example.com'", vec![])
        .await
        .unwrap()
        .unwrap()
        .get("facts")
        .unwrap();
    assert!(!kept.to_string().contains(token), "the key is made for the mail and never stored");
    mailroom.close().await;
}

#[tokio::test]
async fn under_duplicates_delays_and_disorder_everybody_hears_exactly_once() {
    let mailroom = Mailroom::new().await;
    let bus = &mailroom.capabilities.bus;
    bus.set_faults(BusFaults {
        duplicate_rate: 0.5,
        delay_rate: 0.2,
        delay: Duration::from_secs(1),
        reorder_rate: 0.2,
        drop_rate: 0.05,
    });
    let mut batch = Batch::new();
    for number in 0..200 {
        let event = mailroom.confirmed(&format!("buyer{number}@example.com"));
        outbox::append(&mut batch, "notification_outbox", &event);
        // Nobody is told of this: it does not even reach the queue.
        let unheard = mailroom.event(Topic::Order, "stock_reserved", json!({"email": "x@example.com"}));
        outbox::append(&mut batch, "notification_outbox", &unheard);
    }
    mailroom.capabilities.db.write(batch).await.unwrap();
    Relay::new(bus, "notification_outbox").drain().await.unwrap();
    let queued = mailroom.count("SELECT count(*) AS n FROM bus_messages WHERE kind = 'stock_reserved'").await;
    assert_eq!(queued, 0);
    eventually("the queue ran dry", async || {
        mailroom.clock.advance(Duration::from_secs(1));
        let left = mailroom.count("SELECT count(*) AS n FROM bus_messages").await;
        let pending = "SELECT count(*) AS n FROM notification_deliveries WHERE state = 'pending'";
        (left == 0 && mailroom.count(pending).await == 0).then_some(())
    })
    .await;
    let mut told: Vec<String> =
        mailroom.mails().iter().map(|mail| mail["to"].as_str().unwrap().to_owned()).collect();
    told.sort();
    let mut expected: Vec<String> = (0..200).map(|number| format!("buyer{number}@example.com")).collect();
    expected.sort();
    assert_eq!(told, expected);
    let twice = "SELECT count(*) AS n FROM (SELECT event_id FROM notification_deliveries \
                 GROUP BY event_id, channel, recipient HAVING count(*) > 1) AS twice";
    assert_eq!(mailroom.count(twice).await, 0);
    mailroom.close().await;
}

async fn two_replicas_share_the_work(mailroom: Mailroom) {
    let stop = CancellationToken::new();
    let second = (SERVICE.mount)(&mailroom.capabilities).await.unwrap();
    let jobs: Vec<_> = second.jobs.into_iter().map(|job| tokio::spawn((job.run)(stop.clone()))).collect();
    let mut batch = Batch::new();
    for number in 0..300 {
        let event = mailroom.confirmed(&format!("buyer{number}@example.com"));
        outbox::append(&mut batch, "notification_outbox", &event);
    }
    mailroom.capabilities.db.write(batch).await.unwrap();
    Relay::new(&mailroom.capabilities.bus, "notification_outbox").drain().await.unwrap();
    let sent = "SELECT count(*) AS n FROM notification_deliveries WHERE state = 'sent'";
    eventually("all were sent", async || (mailroom.count(sent).await == 300).then_some(())).await;
    stop.cancel();
    for job in jobs {
        job.await.unwrap();
    }
    let mails = mailroom.mails();
    let told: std::collections::BTreeSet<&str> =
        mails.iter().map(|mail| mail["to"].as_str().unwrap()).collect();
    assert_eq!((mails.len(), told.len()), (300, 300));
    mailroom.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_send_each_mail_once() {
    two_replicas_share_the_work(Mailroom::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_send_each_mail_once_on_postgres_too() {
    if let Some(url) = postgres::database().await {
        two_replicas_share_the_work(Mailroom::on(Some(url), None, |_| {}).await).await;
    }
}

#[tokio::test]
async fn a_poison_event_becomes_a_dead_letter_with_its_reason_while_others_flow() {
    let mailroom = Mailroom::new().await;
    let mut nameless = mailroom.confirmed("x@example.com");
    nameless.data.as_object_mut().unwrap().remove("email");
    mailroom.hear(&nameless).await;
    mailroom.capabilities.bus.inject("notification", json!({"not": "an event"})).await.unwrap();
    let good = mailroom.confirmed("ada@example.com");
    mailroom.hear(&good).await;
    mailroom.ends(&good, "sent").await;

    let dead = eventually("both are dead", async || {
        let dead = mailroom.dead().await;
        (dead.len() == 2).then_some(dead)
    })
    .await;
    let letter = dead.iter().find(|letter| letter.body["id"] == nameless.id.to_string()).unwrap();
    assert_eq!(letter.reason, "the event carries no e-mail: whoever publishes it must add `email`");
    assert!(dead.iter().any(|letter| letter.reason.starts_with("malformed event")), "{dead:?}");

    let ops = mailroom.as_role(Role::Ops);
    let action = |ids: Vec<uuid::Uuid>, reason: &str, dry_run: bool| DeadLetterAction {
        ids,
        reason: reason.to_owned(),
        dry_run,
        ..DeadLetterAction::default()
    };
    let client = &mailroom.client;
    assert_eq!(
        code(client.redrive(&ops, &action(vec![letter.id], " ", false)).await),
        Code::ValidationFailed
    );
    assert_eq!(code(client.redrive(&ops, &action(vec![], "all of it", false)).await), Code::ValidationFailed);
    let support = mailroom.as_role(Role::Support);
    assert_eq!(code(client.redrive(&support, &action(vec![letter.id], "x", false)).await), Code::Forbidden);
    let tried = client.redrive(&ops, &action(vec![letter.id], "look first", true)).await.unwrap();
    assert_eq!((tried.ids, tried.dry_run), (vec![letter.id], true));
    assert_eq!(mailroom.dead().await.len(), 2);

    // It dies again: nothing about it has changed.
    client.redrive(&ops, &action(vec![letter.id], "the publisher was mended", false)).await.unwrap();
    eventually("it died again", async || {
        let dead = mailroom.dead().await;
        dead.iter().any(|again| again.event_id == letter.event_id && again.redrives == 1).then_some(())
    })
    .await;
    mailroom.clock.advance(Duration::from_millis(1));
    let queue = DeadLetterAction {
        queue: Some("notification".to_owned()),
        reason: "nobody can be told".to_owned(),
        ..DeadLetterAction::default()
    };
    let given_up = client.discard(&ops, &queue).await.unwrap();
    assert_eq!((given_up.ids.len(), given_up.more), (2, false));
    assert!(mailroom.dead().await.is_empty());

    let rows = mailroom
        .capabilities
        .db
        .read("SELECT actor, action, after FROM notification_audit ORDER BY id", vec![])
        .await
        .unwrap();
    let deeds: Vec<(String, String)> =
        rows.iter().map(|row| (row.get("actor").unwrap(), row.get("action").unwrap())).collect();
    let by_ops = |action: &str| ("ops@shop.example".to_owned(), action.to_owned());
    assert_eq!(deeds, [by_ops("dlq_redrive"), by_ops("dlq_discard")]);
    assert_eq!(rows[0].get::<Value>("after").unwrap()["reason"], "the publisher was mended");

    let queues = client.queues(&ops).await.unwrap();
    let own = queues.queues.iter().find(|queue| queue.name == "notification").unwrap();
    assert_eq!((own.depth, own.dead), (0, 0));
    mailroom.close().await;
}

#[tokio::test]
async fn what_was_handed_over_is_noted_even_when_the_storage_stumbles() {
    let faults = FaultSwitch::new(&Env::system());
    let mailroom = Mailroom::on(None, Some(&faults), |_| {}).await;
    let rule =
        FaultRule { times: Some(3), ..FaultRule::once_at(StorageFault::BeforeCommit, "notification_settle") };
    faults.set(rule);
    let event = mailroom.confirmed("ada@example.com");
    mailroom.hear(&event).await;
    mailroom.ends(&event, "sent").await;
    assert_eq!(faults.struck(), 3);
    assert_eq!(mailroom.mails().len(), 1);

    let lost_answer = mailroom.confirmed("bob@example.com");
    faults.set(FaultRule::once_at(StorageFault::AfterCommit, "notification_settle"));
    mailroom.hear(&lost_answer).await;
    mailroom.ends(&lost_answer, "sent").await;
    assert_eq!(mailroom.mails().len(), 2);
    mailroom.close().await;
}

/// The one gap that no mail server lets us close: the mail went out and the process died before it could say so.
#[tokio::test]
async fn a_process_that_dies_before_it_notes_the_mail_sends_it_again_under_the_same_id() {
    let mailroom = Mailroom::new().await;
    let event = mailroom.confirmed("ada@example.com");
    mailroom.hear(&event).await;
    let sent = mailroom.ends(&event, "sent").await;
    // As the row stood a moment before: claimed, handed over, not noted.
    let lease_ends = platform::vocabulary::clock::add(mailroom.clock.now(), Duration::from_secs(120));
    let mut batch = Batch::new();
    batch.one(
        "rewind",
        "UPDATE notification_deliveries SET state = 'pending', claim = $1, next_at = $2, sent_at = NULL \
         WHERE id = $3",
        vec![mailroom.capabilities.env.uuid().into(), lease_ends.into(), sent.id.into()],
    );
    mailroom.capabilities.db.write(batch).await.unwrap();
    mailroom.clock.advance(Duration::from_secs(119));
    let other = mailroom.confirmed("bob@example.com");
    mailroom.hear(&other).await;
    mailroom.ends(&other, "sent").await;
    assert_eq!(mailroom.mails().len(), 2, "while the claim lasts nobody else sends it");
    mailroom.clock.advance(Duration::from_secs(2));
    let again = mailroom.ends(&event, "sent").await;
    assert_eq!(again.attempts, 2);
    let mails = mailroom.mails();
    let ids: Vec<&Value> =
        mails.iter().filter(|mail| mail["to"] == "ada@example.com").map(|mail| &mail["message_id"]).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1], "the recipient can tell that it is one mail");
    mailroom.close().await;
}

#[tokio::test]
async fn people_choose_their_language_and_what_is_only_kind_but_not_what_is_needed() {
    let mailroom = Mailroom::new().await;
    let user = mailroom.as_role(Role::Customer);
    let email = "customer@shop.example";
    let client = &mailroom.client;
    let chosen = client.preferences(&user).await.unwrap();
    assert_eq!(chosen, Preferences { locale: "en".to_owned(), optional_mails: true });
    let wanted = Preferences { locale: "de".to_owned(), optional_mails: false };
    client.set_preferences(&user, &wanted).await.unwrap();
    assert_eq!(client.preferences(&user).await.unwrap(), wanted);
    let unknown = Preferences { locale: "xx".to_owned(), ..wanted };
    assert_eq!(code(client.set_preferences(&user, &unknown).await), Code::ValidationFailed);

    let welcome = mailroom.event(Topic::User, "user_registered", json!({"email": email, "name": "Ada"}));
    let warning = mailroom.event(Topic::User, "password_changed", json!({"email": email}));
    mailroom.hear(&welcome).await;
    mailroom.hear(&warning).await;
    mailroom.ends(&welcome, "skipped").await;
    mailroom.ends(&warning, "sent").await;
    let mails = mailroom.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0]["subject"], "Ihr Passwort wurde geändert");
    mailroom.close().await;
}

#[tokio::test]
async fn staff_see_deliveries_page_by_page_and_send_one_again() {
    let mailroom = Mailroom::new().await;
    let events: Vec<Event> =
        (0..5).map(|number| mailroom.confirmed(&format!("buyer{number}@example.com"))).collect();
    for event in &events {
        mailroom.hear(event).await;
        mailroom.ends(event, "sent").await;
        mailroom.clock.advance(Duration::from_millis(5));
    }
    let (client, support) = (&mailroom.client, mailroom.as_role(Role::Support));
    let mut seen = Vec::new();
    let mut filter = DeliveryFilter { limit: Some(2), ..DeliveryFilter::default() };
    loop {
        let page = client.deliveries(&support, &filter).await.unwrap();
        seen.extend(page.items.into_iter().map(|delivery| delivery.event_id));
        filter.cursor = page.next_cursor;
        if filter.cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, events.iter().rev().map(|event| event.id).collect::<Vec<_>>());

    let sent = mailroom.ends(&events[0], "sent").await;
    let customer = mailroom.as_role(Role::Customer);
    assert_eq!(code(client.redeliver(&customer, sent.id, "please").await), Code::Forbidden);
    assert_eq!(code(client.redeliver(&support, mailroom.capabilities.env.id(), "x").await), Code::NotFound);
    let asked = client.redeliver(&support, sent.id, "the customer says it never came").await.unwrap();
    assert_eq!(asked.delivery.redeliveries, 1);
    mailroom.ends(&events[0], "sent").await;
    let mails = mailroom.mails();
    let ids: Vec<&str> = mails
        .iter()
        .filter(|mail| mail["to"] == "buyer0@example.com")
        .map(|mail| mail["message_id"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        [sent.id.to_string(), format!("{}.1", sent.id)],
        "a mail that was asked for is a new mail"
    );
    let failed = DeliveryFilter { state: Some("failed".to_owned()), ..DeliveryFilter::default() };
    assert!(client.deliveries(&support, &failed).await.unwrap().items.is_empty());
    let bad = DeliveryFilter { state: Some("lost".to_owned()), ..DeliveryFilter::default() };
    assert_eq!(code(client.deliveries(&support, &bad).await), Code::ValidationFailed);
    let nobody = Context::new(&mailroom.capabilities.env);
    assert_eq!(code(client.deliveries(&nobody, &DeliveryFilter::default()).await), Code::Unauthenticated);
    assert_eq!(mailroom.endpoint.service(), "notification");
    mailroom.close().await;
}

#[tokio::test]
async fn a_trace_leads_from_the_event_to_the_mail() {
    let mailroom = Mailroom::new().await;
    let event = mailroom.confirmed("ada@example.com");
    mailroom.hear(&event).await;
    mailroom.ends(&event, "sent").await;
    let query = platform::telemetry::TraceQuery {
        order_id: Some(OrderId::from_uuid(event.aggregate)),
        limit: 5,
        ..Default::default()
    };
    let trace = eventually("the trace is whole", async || {
        let found = mailroom.capabilities.telemetry.traces().find(&query);
        found.into_iter().find(|trace| trace.spans.len() == 2)
    })
    .await;
    assert_eq!(Some(trace.request_id), event.request_id);
    assert_eq!(trace.trace_id, event.traceparent.unwrap()[3..35]);
    let spans: Vec<_> = trace.spans.iter().map(|span| (span.name.as_str(), span.depth)).collect();
    assert_eq!(spans, [("notify", 0), ("deliver", 1)]);
    mailroom.close().await;
}
