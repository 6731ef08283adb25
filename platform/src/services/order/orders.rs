//! What the handlers share: the way to the data, the siblings, the sagas and whoever waits.

use std::sync::Arc;
use std::time::Duration;

use super::events::Event;
use super::hub::Hub;
use super::model::Refused;
use super::sagas::OrderSagas;
use super::store::{self, Aggregate, By, MOVED};
use super::wire::Order;
use super::{carts::Carts, saga_log, views};
use crate::bus::Bus;
use crate::capabilities::Capabilities;
use crate::config::OrderConfig;
use crate::http::{Code, Context, Problem};
use crate::saga::{Patience, Runner};
use crate::secrets::Secrets;
use crate::services::payment::client::PaymentClient;
use crate::services::product::client::ProductClient;
use crate::storage::{Batch, Db, StorageError};
use crate::telemetry::Telemetry;
use crate::vocabulary::{Env, OrderId, Topic};

/// How often an act is decided anew because the order moved meanwhile.
const TRIES_MAX: usize = 8;
/// How often whoever waits looks into the database: another process may carry the order.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The order service. Cheap to clone.
#[derive(Clone)]
pub(super) struct Orders {
    pub(super) db: Db,
    pub(super) env: Env,
    pub(super) config: Arc<OrderConfig>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) products: ProductClient,
    pub(super) bus: Bus,
    pub(super) hub: Hub,
    pub(super) telemetry: Telemetry,
    pub(super) runner: Runner<OrderSagas>,
}

impl Orders {
    pub(super) fn new(capabilities: &Capabilities) -> Self {
        let config = capabilities.config.order.clone();
        Self::with_patience(capabilities, Patience::with_lease(config.lease))
    }

    pub(super) fn with_patience(capabilities: &Capabilities, patience: Patience) -> Self {
        let Capabilities { db, env, bus, telemetry, secrets, .. } = capabilities.clone();
        let config = capabilities.config.order.clone();
        let hub = Hub::default();
        let products = ProductClient::new(capabilities.endpoint("product"));
        let sagas = OrderSagas {
            db: db.clone(),
            env: env.clone(),
            config: config.clone(),
            products: products.clone(),
            payments: PaymentClient::new(capabilities.endpoint("payment")),
            hub: hub.clone(),
            bus: bus.clone(),
            telemetry: telemetry.clone(),
        };
        let runner = Runner::new(sagas, saga_log().clone(), db.clone(), env.clone(), patience, &telemetry);
        Self { db, env, config: Arc::new(config), secrets, products, bus, hub, telemetry, runner }
    }

    pub(super) fn carts(&self) -> Carts<'_> {
        Carts { db: &self.db, env: &self.env, products: &self.products, config: &self.config }
    }

    /// The order, when whoever asks may see it: its owner, or whoever holds its access token. Absent otherwise.
    pub(super) async fn visible(
        &self,
        context: &Context,
        id: OrderId,
        token: Option<&str>,
    ) -> Result<views::Owned, Problem> {
        let owned = views::one(&self.db, id).await?.ok_or_else(|| Problem::not_found("order"))?;
        let bearer = context.bearer.as_ref().map(crate::http::context::Bearer::expose);
        let opened = [token, bearer].into_iter().flatten().any(|token| self.secrets.opens_order(id, token));
        let mine = context.identity.as_ref().is_some_and(|who| owned.user_id == Some(who.user_id));
        if mine || opened { Ok(owned) } else { Err(Problem::not_found("order")) }
    }

    /// Records `event` on an order, with `more` in the same batch, and tells whoever waits. What the order knows
    /// already is no error and writes nothing; what its state does not allow is a conflict.
    ///
    /// A process that dies before the write has done nothing; one that dies after it has done all: what must follow
    /// is a saga in the same batch. A write without an answer may be asked again: the event is then known.
    pub(super) async fn record(
        &self,
        id: OrderId,
        by: &By,
        event: impl Fn(&Aggregate) -> Result<Event, Problem>,
        more: impl Fn(&mut Batch, &Aggregate, &Aggregate),
    ) -> Result<Aggregate, Problem> {
        for _ in 0..TRIES_MAX {
            let before = store::load(&self.db, id).await?.ok_or_else(|| Problem::not_found("order"))?;
            let mut order = before.clone();
            let mut batch = Batch::new();
            let event = event(&before)?;
            if !order.record(&[event], by, &self.env, &mut batch).map_err(conflict)? {
                return Ok(order);
            }
            // A checkout that waits may have something else to do now.
            saga_log().wake(&mut batch, id.uuid(), self.env.now());
            more(&mut batch, &before, &order);
            match self.db.write(batch).await {
                Ok(_) => {
                    self.recorded(&before, &order);
                    return Ok(order);
                }
                Err(error) if error.is_expectation(MOVED) || error.is_conflict(MOVED) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Problem::new(Code::OrderStateConflict, "the order keeps changing, try again"))
    }

    fn recorded(&self, before: &Aggregate, after: &Aggregate) {
        if before.state.status != after.state.status {
            self.telemetry.order_reached(after.state.status.as_str());
        }
        self.bus.wake(Topic::Order);
        self.hub.tell(after.id, after.state.seq, None, false);
        self.runner.wake();
    }

    /// Waits until `done` holds of the order, or the patience ends; answers the order as it then is.
    pub(super) async fn wait_until(
        &self,
        id: OrderId,
        patience: Duration,
        done: impl Fn(&Order) -> bool,
    ) -> Result<Order, Problem> {
        let until = tokio::time::Instant::now() + patience;
        let mut watch = self.hub.watch(id);
        loop {
            let owned = views::one(&self.db, id).await?.ok_or_else(|| Problem::not_found("order"))?;
            if done(&owned.order) || tokio::time::Instant::now() >= until {
                return Ok(owned.order);
            }
            tokio::select! {
                () = watch.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Adds to `batch` what a member of staff did.
    pub(super) fn audit(
        &self,
        batch: &mut Batch,
        context: &Context,
        action: &str,
        subject: &str,
        before: serde_json::Value,
        after: serde_json::Value,
    ) {
        let actor = context.identity.as_ref().map_or("staff", |who| who.email.as_str());
        batch.one(
            "audit",
            "INSERT INTO order_audit (id, at, actor, action, subject, before, after, request_id) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            vec![
                self.env.uuid().into(),
                self.env.now().into(),
                actor.into(),
                action.into(),
                subject.into(),
                before.into(),
                after.into(),
                context.request_id.as_ref().into(),
            ],
        );
    }

    /// Writes `batch`; a statement named `name` that fails is `problem`.
    pub(super) async fn write_or(
        &self,
        batch: Batch,
        name: &str,
        problem: impl FnOnce() -> Problem,
    ) -> Result<(), Problem> {
        match self.db.write(batch).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_expectation(name) || error.is_conflict(name) => Err(problem()),
            Err(error) => Err(StorageError::into(error)),
        }
    }
}

/// What an order's state does not allow, as a problem.
pub(super) fn conflict(refused: Refused) -> Problem {
    Problem::new(Code::OrderStateConflict, refused.to_string()).with("order_status", refused.status)
}
