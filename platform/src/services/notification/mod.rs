//! Notifications: what happened in the shop, told to the people it concerns, once.
//!
//! ```text
//! queue ─▶ reactions: who is told what ─▶ deliveries ─▶ senders, one per channel ─▶ log | smtp
//!          (one row per event, channel          ▲  claimed for a lease, in batches
//!           and recipient, ever)                └─ later │ failed ─▶ redeliver
//! ```
//!
//! A delivery's row is unique by event, channel and recipient, and is written with the acknowledgement of the event: a
//! duplicate event changes nothing. Handing over happens at least once: a process that dies between the hand-over and
//! the note of it hands over again, with the same `Message-ID`.
//!
//! The queues and dead letters of the whole shop are shown and redriven here too (`queues.rs`).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

mod api;
mod channels;
pub mod client;
mod model;
mod queues;
mod reactions;
mod senders;
mod store;
mod templates;

use channels::{CHANNELS, Channel, ChannelSpec};

use super::{Job, Mounted, Service};
use crate::bus::{Bus, QueueSpec};
use crate::capabilities::Capabilities;
use crate::manifest::{Manifest, Objective, Route, RouteClass};
use crate::secrets::Secrets;
use crate::storage::{Db, Migration};
use crate::telemetry::Telemetry;
use crate::vocabulary::{Env, Topic};

const NAME: &str = "notification";
const INBOX: &str = "notification_inbox";
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// The kinds of [`model::MESSAGES`], as the queue wants them.
const KINDS: [&str; model::MESSAGES.len()] = {
    let mut kinds = [""; model::MESSAGES.len()];
    let mut at = 0;
    while at < kinds.len() {
        kinds[at] = model::MESSAGES[at].event;
        at += 1;
    }
    kinds
};

/// The notification service.
pub const SERVICE: Service = Service {
    manifest: Manifest {
        name: NAME,
        about: "mails about orders and accounts; the shop's queues and dead letters",
        port: 8085,
        routes: &[
            Route { prefix: "/v1/me/notifications", class: RouteClass::Read },
            Route { prefix: "/v1/admin/deliveries", class: RouteClass::Admin },
            Route { prefix: "/v1/admin/dlq", class: RouteClass::Admin },
            Route { prefix: "/v1/admin/queues", class: RouteClass::Admin },
        ],
        deprecated: &[],
        keyed: &[],
        needs: &[],
        objectives: &[Objective { name: "availability", ratio: 0.999, within: None }],
    },
    migrations: &[
        Migration {
            service: NAME,
            version: 1,
            name: "deliveries",
            sql: concat!(
                crate::message_tables!("notification"),
                include_str!("../../../migrations/notification/0001_deliveries.sql")
            ),
            sqlite: "",
            postgres: "",
        },
        Migration {
            service: NAME,
            version: 2,
            name: "narrow",
            sql: "",
            sqlite: include_str!("../../../migrations/notification/0002_narrow_sqlite.sql"),
            postgres: "",
        },
    ],
    queues: &[QueueSpec {
        name: NAME,
        topics: &Topic::ALL,
        kinds: &KINDS,
        receives_max: 8,
        visibility: Duration::from_secs(30),
    }],
    outbox: None,
    mount: |capabilities| mount(capabilities.clone()),
};

/// What all parts of the service share. Cheap to clone.
#[derive(Clone)]
struct Notifications {
    env: Env,
    db: Db,
    bus: Bus,
    telemetry: Telemetry,
    secrets: Arc<Secrets>,
    /// Without a slash at its end.
    shop_url: Arc<str>,
    shop_name: Arc<str>,
    channels: Arc<[OpenChannel]>,
}

/// A channel that this shop uses.
struct OpenChannel {
    spec: &'static ChannelSpec,
    channel: Box<dyn Channel>,
    /// Says that there may be something to send.
    woken: Notify,
}

impl Notifications {
    fn new(capabilities: &Capabilities) -> anyhow::Result<Self> {
        let config = &capabilities.config.notification;
        let open = |spec: &'static ChannelSpec| {
            let channel = (spec.open)(capabilities)?;
            Ok(OpenChannel { spec, channel, woken: Notify::new() })
        };
        let channels: anyhow::Result<Arc<[OpenChannel]>> =
            CHANNELS.iter().filter(|spec| (spec.is_active)(config)).map(open).collect();
        let listener = || format!("http://{}", capabilities.config.listen);
        let shop_url = config.shop_url.clone().unwrap_or_else(listener);
        let name = config.sender.split('<').next().unwrap_or_default().trim();
        Ok(Self {
            env: capabilities.env.clone(),
            db: capabilities.db.clone(),
            bus: capabilities.bus.clone(),
            telemetry: capabilities.telemetry.clone(),
            secrets: Arc::clone(&capabilities.secrets),
            shop_url: shop_url.trim_end_matches('/').into(),
            shop_name: if name.is_empty() { "Shop" } else { name }.into(),
            channels: channels?,
        })
    }

    fn channel_names(&self) -> Vec<&'static str> {
        self.channels.iter().map(|channel| channel.spec.name).collect()
    }

    fn wake_senders(&self) {
        for channel in self.channels.iter() {
            channel.woken.notify_one();
        }
    }

    async fn consume(self, stop: CancellationToken) {
        let handler = |event| self.react(event);
        if let Err(error) = self.bus.consume(NAME, INBOX, stop, handler).await {
            tracing::error!(%error, "notifications are not consumed");
        }
    }

    /// Forgets what was sent long ago.
    async fn sweep(self, stop: CancellationToken) {
        loop {
            match store::sweep(&self.db, self.env.now()).await {
                Ok(true) if !stop.is_cancelled() => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "could not sweep deliveries"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP_EVERY) => {}
            }
        }
    }
}

fn mount(capabilities: Capabilities) -> BoxFuture<'static, anyhow::Result<Mounted>> {
    Box::pin(async move {
        let service = Notifications::new(&capabilities)?;
        let (consumer, sweeper) = (service.clone(), service.clone());
        let mut jobs = vec![
            Job::new("notification.consumer", move |stop| consumer.consume(stop)),
            Job::new("notification.sweeper", move |stop| sweeper.sweep(stop)),
        ];
        for at in 0..service.channels.len() {
            let sender = senders::Sender::new(service.clone(), at);
            jobs.push(Job::new("notification.sender", move |stop| sender.run(stop)));
        }
        Ok(Mounted { router: api::router(service), openapi: api::openapi(), jobs })
    })
}
