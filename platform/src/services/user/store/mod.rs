//! What the user service keeps: one file per table family. Reads answer rows as values; writes are batches, whole.

mod accounts;
mod addresses;
mod attempts;
mod keys;
mod sessions;

use serde_json::json;

pub use accounts::{AccountPage, AccountRow, NewAccount};
pub use attempts::Attempts;
pub use keys::StoredKey;
pub use sessions::{NewSession, SessionRow, token_digest};

use crate::bus::Bus;
use crate::bus::outbox;
use crate::http::Context;
use crate::storage::{Batch, Db, StorageError};
use crate::vocabulary::{Env, Event, Identity, Topic, UserId};

/// The outbox of the service.
pub const OUTBOX: &str = "user_outbox";

/// The tables of the service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
    bus: Bus,
    env: Env,
}

impl Store {
    /// The tables in `db`; events leave through `bus`.
    #[must_use]
    pub fn new(db: Db, bus: Bus, env: Env) -> Self {
        Self { db, bus, env }
    }

    async fn write(&self, batch: Batch) -> Result<(), StorageError> {
        self.db.write(batch).await.map(|_| ())
    }

    /// Writes a batch that tells events.
    async fn write_and_tell(&self, batch: Batch) -> Result<(), StorageError> {
        self.write(batch).await?;
        self.bus.wake(Topic::User);
        Ok(())
    }

    /// Adds the event that is the account's `version`-th.
    fn tell(
        &self,
        batch: &mut Batch,
        context: &Context,
        user_id: UserId,
        version: i64,
        kind: &str,
        data: serde_json::Value,
    ) {
        let event = Event {
            id: self.env.id(),
            topic: Topic::User,
            kind: kind.to_owned(),
            aggregate: user_id.uuid(),
            aggregate_seq: version,
            at: self.env.now(),
            request_id: Some(context.request_id.to_string()),
            traceparent: Some(context.traceparent.to_string()),
            data,
        };
        outbox::append(batch, OUTBOX, &event);
    }

    /// Adds the row that remembers what staff did.
    fn audit(
        &self,
        batch: &mut Batch,
        context: &Context,
        action: &str,
        subject: &str,
        before: serde_json::Value,
        after: serde_json::Value,
    ) {
        let actor = context.identity.as_deref().map_or_else(|| "shop".to_owned(), Identity::actor);
        batch.one(
            "audit",
            "INSERT INTO user_audit (id, at, actor, action, subject, before, after, request_id)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            vec![
                self.env.uuid().into(),
                self.env.now().into(),
                actor.into(),
                action.into(),
                subject.into(),
                before.into(),
                after.into(),
                (&*context.request_id).into(),
            ],
        );
    }

    /// Remembers that staff changed the signing key.
    pub async fn audit_key_rotation(
        &self,
        context: &Context,
        before: &str,
        after: &str,
    ) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        let (before, after) = (json!({ "kid": before }), json!({ "kid": after }));
        self.audit(&mut batch, context, "signing_key_rotated", "signing_key", before, after);
        self.write(batch).await
    }
}
