//! Pools and what is lent from them: a connection is used only while it is known to lead to the server that may be
//! written, and goes back only when nothing hangs on it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::{
    Client, ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod,
    Runtime, TimeoutType,
};
use tokio::time::timeout;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::config::TargetSessionAttrs;

use super::connect::{self, Session};
use super::failure;
use super::route::{Route, Trust};
use crate::storage::StorageError;

/// How long to wait for a free connection, and for a new one.
pub(super) const ACQUIRE: Duration = Duration::from_secs(2);

/// A pool of connections that all are `session`s.
pub(super) fn pool(
    url: &str,
    session: Session,
    connections_max: usize,
    route: &Arc<Route>,
) -> Result<Pool, StorageError> {
    let (config, connector) = connect::from_url(url, session, route)?;
    let session = (config.get_target_session_attrs() != TargetSessionAttrs::Any).then_some(session);
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let (ages, asks) = (Arc::clone(route), Arc::clone(route));
    let replaced_at = Mutex::new(None);
    Pool::builder(Manager::from_connect(config, connector, recycling))
        .max_size(connections_max)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(ACQUIRE))
        .create_timeout(Some(ACQUIRE))
        .recycle_timeout(Some(ACQUIRE))
        .pre_recycle(Hook::sync_fn(move |_, metrics| {
            if metrics.age() >= ages.habits.life && is_due(&replaced_at, ages.habits.again_every) {
                return Err(HookError::message("it is as old as a connection gets"));
            }
            Ok(())
        }))
        .post_recycle(Hook::async_fn(move |client, metrics| {
            let now = Instant::now();
            let used = now.checked_sub(metrics.last_used()).unwrap_or(now);
            let trust = asks.trust(used, now);
            let route = Arc::clone(&asks);
            Box::pin(async move {
                match trust {
                    Trust::Used => Ok(()),
                    Trust::Gone => Err(HookError::message("others as old as it do not answer")),
                    Trust::Ask => vouch(client, session, &route).await.map_err(HookError::message),
                }
            })
        }))
        .build()
        .map_err(|error| StorageError::Invalid(error.to_string()))
}

/// Whether the last time was long enough ago; then this is the last time.
fn is_due(last: &Mutex<Option<Instant>>, every: Duration) -> bool {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_some_and(|at| at.elapsed() < every) {
        return false;
    }
    *last = Some(Instant::now());
    true
}

/// Asks whether the connection still leads to a server that may be written; whether to any, without a `session`.
async fn vouch(client: &ClientWrapper, session: Option<Session>, route: &Route) -> Result<(), &'static str> {
    let question = session.map_or("", Session::question);
    match timeout(route.habits.vouch_max, client.simple_query(question)).await {
        Ok(Ok(_)) if session.is_none() => Ok(()),
        Ok(Ok(answer)) => {
            let says_no = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("off"));
            if answer.iter().any(says_no) {
                return Ok(());
            }
            tracing::warn!("a PostgreSQL that could be written cannot any more");
            Err("it may only be read")
        }
        Ok(Err(_)) => Err("it does not work any more"),
        Err(_) => {
            route.fell_silent(Instant::now());
            Err("it did not answer in time")
        }
    }
}

/// A connection of `pool`: [`ACQUIRE`] for its turn, and as much for making one.
pub(super) async fn lease<'a>(pool: &Pool, route: &'a Route) -> Result<Lease<'a>, StorageError> {
    if route.is_lost()
        && pool.status().available == 0
        && let Some(why) = route.turned_away()
    {
        return Err(StorageError::Unavailable(why));
    }
    let late = |what: &str| {
        let why = route.why_lost().map_or_else(String::new, |why| format!(": {why}"));
        Err(StorageError::Unavailable(format!("no connection {what} within {} s{why}", ACQUIRE.as_secs())))
    };
    match timeout(ACQUIRE * 2, pool.get()).await {
        Ok(Ok(client)) => Ok(Lease { client: Some(client), route }),
        Ok(Err(PoolError::Backend(error))) => Err(failure(&error, None)),
        Ok(Err(PoolError::Timeout(TimeoutType::Create))) => late("was made"),
        Ok(Err(PoolError::Timeout(_))) | Err(_) => late("was free"),
        Ok(Err(error)) => Err(StorageError::Unavailable(error.to_string())),
    }
}

/// A connection that is discarded unless [`Lease::keep`] says that nothing hangs on it: dropping a batch midway closes
/// the connection, and the server rolls back. Why it is not kept may be true of others too, so they are asked.
pub(super) struct Lease<'a> {
    client: Option<Client>,
    route: &'a Route,
}

impl Lease<'_> {
    pub(super) fn client(&self) -> &Client {
        match &self.client {
            Some(client) => client,
            None => unreachable!("only keep and drop take it, and both end the lease"),
        }
    }

    pub(super) fn keep(mut self) {
        drop(self.client.take());
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            self.route.suspect(Instant::now());
            drop(Object::take(client));
        }
    }
}
