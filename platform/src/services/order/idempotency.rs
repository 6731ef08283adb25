//! The memory of what was placed under which key: one order per (scope, key), and the answer that was given first.
//!
//! The row is written in the batch that places the order, its answer in the batch that settles the checkout. So a
//! twin finds either nothing, and then its own insert conflicts; or an order under way, and waits for it; or the answer.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::wire::PlaceOrder;
use crate::storage::{Batch, Db, Row, StorageError, Value};
use crate::vocabulary::{CartId, OrderId, Timestamp, UserId};

/// The name of the statement that conflicts when the key is taken.
pub(super) const TAKEN: &str = "idempotency";
/// How long a key is kept.
pub(super) const LIFE: Duration = Duration::from_secs(24 * 3600);

/// A status and a body, as they were answered first. A guest's access token is not in it: it is made again each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Names an act: whose, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) scope: String,
    pub(super) key: String,
}

/// What is remembered of a key.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub(super) fingerprint: String,
    pub(super) order_id: OrderId,
    pub(super) answer: Option<Answer>,
    pub(super) expires_at: Timestamp,
}

impl Remembered {
    /// From columns named `i_…`, as a join with the cart answers them; none when there was no such row.
    pub(super) fn from_joined(row: &Row) -> Result<Option<Self>, StorageError> {
        let Some(fingerprint) = row.get::<Option<String>>("i_fingerprint")? else { return Ok(None) };
        let status: Option<i64> = row.get("i_status")?;
        let body: Option<String> = row.get("i_body")?;
        let answer = status
            .zip(body)
            .map(|(status, body)| Answer { status: u16::try_from(status).unwrap_or(500), body });
        Ok(Some(Self {
            fingerprint,
            order_id: row.get("i_order_id")?,
            answer,
            expires_at: row.get("i_expires_at")?,
        }))
    }
}

impl Ticket {
    /// `key`, in the scope of the user, else of the cart.
    pub(super) fn new(user: Option<UserId>, cart: CartId, key: &str) -> Self {
        let scope = user.map_or_else(|| format!("cart:{cart}"), |user| format!("user:{user}"));
        Self { scope, key: key.to_owned() }
    }

    /// What is remembered of it.
    pub(super) async fn find(&self, db: &Db) -> Result<Option<Remembered>, StorageError> {
        let sql = "SELECT fingerprint AS i_fingerprint, order_id AS i_order_id, status AS i_status, body AS i_body, \
                   expires_at AS i_expires_at FROM order_idempotency WHERE scope = $1 AND key = $2";
        match db.read_one(sql, self.params()).await? {
            Some(row) => Remembered::from_joined(&row),
            None => Ok(None),
        }
    }

    fn params(&self) -> Vec<Value> {
        vec![self.scope.as_str().into(), self.key.as_str().into()]
    }

    /// Adds the row that takes the key; conflicts as [`TAKEN`].
    pub(super) fn take(
        &self,
        batch: &mut Batch,
        fingerprint: &str,
        order: OrderId,
        answer: Option<&Answer>,
        now: Timestamp,
    ) {
        let (status, body) = match answer {
            Some(answer) => (Some(i64::from(answer.status)), Some(answer.body.clone())),
            None => (None, None),
        };
        batch.one(
            TAKEN,
            "INSERT INTO order_idempotency (scope, key, fingerprint, order_id, status, body, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            vec![
                self.scope.as_str().into(),
                self.key.as_str().into(),
                fingerprint.into(),
                order.into(),
                status.into(),
                body.into(),
                crate::vocabulary::clock::add(now, LIFE).into(),
            ],
        );
    }

    /// Adds that a key whose time is over is free again.
    pub(super) fn free(&self, batch: &mut Batch, now: Timestamp) {
        let mut params = self.params();
        params.push(now.into());
        batch.run("DELETE FROM order_idempotency WHERE scope = $1 AND key = $2 AND expires_at < $3", params);
    }

    /// Adds the answer, unless one was given before.
    pub(super) fn answer(&self, batch: &mut Batch, answer: &Answer) {
        let mut params = self.params();
        params.extend([i64::from(answer.status).into(), answer.body.as_str().into()]);
        batch.run(
            "UPDATE order_idempotency SET status = $3, body = $4 WHERE scope = $1 AND key = $2 AND status IS NULL",
            params,
        );
    }
}

/// A digest of what was asked: the same key with another one is refused.
pub(super) fn fingerprint(request: &PlaceOrder) -> String {
    let text = serde_json::to_vec(request).unwrap_or_default();
    crate::telemetry::traces::hex(&Sha256::digest(text))
}

/// Forgets keys whose time is over.
pub(super) async fn sweep(db: &Db, now: Timestamp) -> Result<(), StorageError> {
    let mut batch = Batch::new();
    batch.run(
        "DELETE FROM order_idempotency WHERE expires_at < $1 AND expires_at IN \
         (SELECT expires_at FROM order_idempotency WHERE expires_at < $1 ORDER BY expires_at LIMIT 500)",
        vec![now.into()],
    );
    db.write(batch).await.map(drop)
}
