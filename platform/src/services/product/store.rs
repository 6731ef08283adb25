//! What every part of the service works with: the data, time, the cache, and what is remembered of orders.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::wire::Line;
use crate::bus::Bus;
use crate::cache::{CACHES, Cache, Tag};
use crate::capabilities::Capabilities;
use crate::http::Problem;
use crate::storage::{Db, Dialect, Value};
use crate::telemetry::Telemetry;
use crate::vocabulary::{Currency, Env, OrderId};

/// Where the units are. One place for now; the tables can hold more.
pub(super) const LOCATION: &str = "main";
/// The most that the catalogue's answers may take in memory.
const CACHE_BYTES_MAX: u64 = 4 << 20;
/// How many orders' lines are remembered between their reserve and their commit.
const ORDERS_REMEMBERED: usize = 1_024;
/// Where several processes may share the data, how long a page may show the stock as it was.
const SHARED_LIFE: Duration = Duration::from_secs(2);

/// The service's data and what it needs to work on it. Cheap to clone: handlers and each of their extractors get one.
#[derive(Clone, Debug)]
pub(super) struct Store(Arc<Tools>);

impl std::ops::Deref for Store {
    type Target = Tools;

    fn deref(&self) -> &Tools {
        &self.0
    }
}

/// What a store is made of.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) db: Db,
    pub(super) env: Env,
    pub(super) bus: Bus,
    pub(super) telemetry: Telemetry,
    /// Serialised answers of the catalogue.
    pub(super) cache: Cache<Problem>,
    pub(super) cache_life: Duration,
    pub(super) currency: Currency,
    pub(super) sweep_every: Duration,
    orders: Arc<Mutex<HashMap<OrderId, Arc<[Line]>>>>,
}

impl Store {
    pub(super) fn new(capabilities: &Capabilities) -> Self {
        let Capabilities { db, env, bus, config, telemetry, .. } = capabilities;
        let life = config.product.cache_life;
        Self(Arc::new(Tools {
            cache: Cache::new("catalogue", (CACHES[0].open)(CACHE_BYTES_MAX), env, telemetry),
            cache_life: match db.dialect() {
                Dialect::Sqlite => life,
                Dialect::Postgres => life.min(SHARED_LIFE),
            },
            currency: config.order.currency,
            sweep_every: config.product.sweep_every,
            orders: Arc::default(),
            db: db.clone(),
            env: env.clone(),
            bus: bus.clone(),
            telemetry: telemetry.clone(),
        }))
    }

    /// What `order_id` reserved, when it is remembered. It never changes, so memory cannot be wrong about it.
    pub(super) fn remembered(&self, order_id: OrderId) -> Option<Arc<[Line]>> {
        self.orders().get(&order_id).cloned()
    }

    pub(super) fn remember(&self, order_id: OrderId, lines: Arc<[Line]>) {
        let mut orders = self.orders();
        // Orders that were reserved and never ended: none is missed, each costs its next act one look.
        if orders.len() >= ORDERS_REMEMBERED {
            orders.clear();
        }
        orders.insert(order_id, lines);
    }

    /// The stock of `order_id` has come to its end.
    pub(super) fn forget(&self, order_id: OrderId) {
        self.orders().remove(&order_id);
    }

    fn orders(&self) -> MutexGuard<'_, HashMap<OrderId, Arc<[Line]>>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the cache that units of `lines` came or went.
    pub(super) fn stock_changed(&self, lines: &[Line]) {
        self.cache.invalidate(lines.iter().map(|line| stock_tag(&line.sku)).chain([any_stock_tag()]));
    }

    /// Tells the cache that the catalogue changed.
    pub(super) fn catalogue_changed(&self) {
        self.cache.invalidate([catalogue_tag()]);
    }
}

/// Everything that shows a product.
pub(super) fn catalogue_tag() -> Tag {
    Tag::new("catalogue", "")
}

/// Everything that shows how many units of `sku` there are.
pub(super) fn stock_tag(sku: &str) -> Tag {
    Tag::new("stock", sku)
}

/// Everything that was chosen by what is in stock.
pub(super) fn any_stock_tag() -> Tag {
    Tag::new("any stock", "")
}

/// Adds `values` to `params` and answers their placeholders for `IN (…)`. The list is filled up to the next power of
/// two by repeating the last value, so that there are few different statements to prepare.
pub(super) fn in_list(params: &mut Vec<Value>, values: impl ExactSizeIterator<Item = Value>) -> String {
    let room = values.len().next_power_of_two();
    let mut list = String::with_capacity(room * 5);
    let mut last = None;
    for value in values {
        params.push(value);
        last = Some(params.len());
        let comma = if list.is_empty() { "" } else { ", " };
        list.push_str(&format!("{comma}${}", params.len()));
    }
    let Some(last) = last else { return "NULL".to_owned() };
    let used = list.matches('$').count();
    for _ in used..room {
        let value = params[last - 1].clone();
        params.push(value);
        list.push_str(&format!(", ${}", params.len()));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_filled_up_to_a_power_of_two() {
        let mut params = vec![Value::from("x")];
        let list = in_list(&mut params, ["a", "b", "c"].into_iter().map(Value::from));
        assert_eq!(list, "$2, $3, $4, $5");
        assert_eq!(params.len(), 5);
        assert_eq!(params[4], Value::from("c"));
        assert_eq!(
            in_list(&mut Vec::new(), std::iter::empty::<Value>().collect::<Vec<_>>().into_iter()),
            "NULL"
        );
    }
}
