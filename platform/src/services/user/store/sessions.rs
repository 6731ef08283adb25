//! `user_sessions`: refresh tokens, by their digests. A token is used once; the next takes its place.

use std::time::Duration;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{AccountRow, Store};
use crate::http::Context;
use crate::services::user::model::FAILURES_FORGOTTEN;
use crate::storage::{Batch, Row, StorageError, Value};
use crate::vocabulary::{SessionId, Timestamp, UserId};

/// How long a retired signing key is kept; what it signed ended long before.
const KEYS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// A refresh token as it is kept.
#[derive(Clone, Debug)]
pub struct SessionRow {
    /// Names it.
    pub id: SessionId,
    /// The sign-in that it descends from.
    pub family: Uuid,
    /// Whose it is.
    pub user_id: UserId,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The token that took its place.
    pub replaced_by: Option<SessionId>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl SessionRow {
    fn from_row(row: &Row) -> Result<Self, StorageError> {
        Ok(Self {
            id: row.get("id")?,
            family: row.get("family")?,
            user_id: row.get("user_id")?,
            expires_at: row.get("expires_at")?,
            replaced_by: row.get("replaced_by")?,
            revoked_at: row.get("revoked_at")?,
        })
    }
}

/// A session that is about to be written.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Names it.
    pub id: SessionId,
    /// The sign-in that it descends from.
    pub family: Uuid,
    /// Whose it is.
    pub user_id: UserId,
    /// The digest of its token.
    pub token_digest: Vec<u8>,
    /// When it ends.
    pub expires_at: Timestamp,
    /// What the client called itself.
    pub user_agent: Option<String>,
}

/// What is kept of a refresh token. It has 256 random bits, so a plain digest cannot be guessed back.
#[must_use]
pub fn token_digest(token: &str) -> Vec<u8> {
    Sha256::digest(token).to_vec()
}

impl Store {
    /// The session that `token` belongs to.
    pub async fn session(&self, token: &str) -> Result<Option<SessionRow>, StorageError> {
        let sql = "SELECT id, family, user_id, expires_at, replaced_by, revoked_at FROM user_sessions
                   WHERE token_hash = $1";
        let row = self.db.read_one(sql, vec![token_digest(token).into()]).await?;
        row.as_ref().map(SessionRow::from_row).transpose()
    }

    /// Adds a session to a batch.
    pub(super) fn add_session(&self, batch: &mut Batch, context: &Context, session: &NewSession) {
        batch.one(
            "session",
            "INSERT INTO user_sessions (id, family, user_id, token_hash, created_at, expires_at, user_agent, ip)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            vec![
                session.id.into(),
                session.family.into(),
                session.user_id.into(),
                session.token_digest.clone().into(),
                self.env.now().into(),
                session.expires_at.into(),
                session.user_agent.clone().into(),
                context.client_ip.map(|ip| ip.to_string()).into(),
            ],
        );
    }

    /// Opens a session after a right password: forgets the wrong ones, and keeps `password_hash` when it was made anew.
    pub async fn open_session(
        &self,
        context: &Context,
        account: &AccountRow,
        email_digest: &[u8],
        had_failures: bool,
        password_hash: Option<String>,
        session: &NewSession,
    ) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        if had_failures {
            Self::forget_failures(&mut batch, email_digest);
        }
        if let Some(hash) = password_hash {
            // Not when the password was changed meanwhile.
            batch.run(
                "UPDATE user_accounts SET password_hash = $2 WHERE id = $1 AND password_hash = $3",
                vec![account.id.into(), hash.into(), account.password_hash.as_str().into()],
            );
        }
        self.still_of_epoch(&mut batch, account);
        self.add_session(&mut batch, context, session);
        self.write(batch).await
    }

    /// Fails the batch with the expectation `epoch` when the password or the account changed since `account` was read.
    fn still_of_epoch(&self, batch: &mut Batch, account: &AccountRow) {
        batch.one(
            "epoch",
            "UPDATE user_accounts SET token_epoch = token_epoch
             WHERE id = $1 AND token_epoch = $2 AND status = 'active'",
            vec![account.id.into(), account.token_epoch.into()],
        );
    }

    /// Puts `next` in the place of `used`. Fails with the expectation `rotate` when it was used or revoked meanwhile.
    pub async fn rotate_session(
        &self,
        context: &Context,
        account: &AccountRow,
        used: SessionId,
        next: &NewSession,
    ) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        batch.one(
            "rotate",
            "UPDATE user_sessions SET replaced_by = $2
             WHERE id = $1 AND replaced_by IS NULL AND revoked_at IS NULL",
            vec![used.into(), next.id.into()],
        );
        self.still_of_epoch(&mut batch, account);
        self.add_session(&mut batch, context, next);
        self.write(batch).await
    }

    /// Ends every session of a sign-in.
    pub async fn revoke_family(&self, family: Uuid) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        batch.run(
            "UPDATE user_sessions SET revoked_at = $2 WHERE family = $1 AND revoked_at IS NULL",
            vec![family.into(), self.env.now().into()],
        );
        self.write(batch).await
    }

    /// Ends every session of a user.
    pub(super) fn revoke_all(&self, batch: &mut Batch, user_id: UserId) {
        batch.run(
            "UPDATE user_sessions SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL",
            vec![user_id.into(), self.env.now().into()],
        );
    }

    /// Forgets what is over: ended sessions, old wrong passwords, keys that were retired long ago. Answers how many rows.
    pub async fn sweep(&self) -> Result<u64, StorageError> {
        let now: Value = self.env.now().into();
        let mut batch = Batch::new();
        batch.run(
            "DELETE FROM user_sessions WHERE id IN
               (SELECT id FROM user_sessions WHERE expires_at < $1 ORDER BY expires_at LIMIT 1000)",
            vec![now],
        );
        batch.run(
            "DELETE FROM user_login_attempts WHERE email_digest IN
               (SELECT email_digest FROM user_login_attempts WHERE last_at < $1 ORDER BY last_at LIMIT 1000)",
            vec![self.ago(FAILURES_FORGOTTEN).into()],
        );
        batch.run("DELETE FROM user_signing_keys WHERE retired_at < $1", vec![self.ago(KEYS_KEPT).into()]);
        Ok(self.db.write(batch).await?.iter().sum())
    }
}
