//! `user_login_attempts`: wrong passwords in a row, for e-mails with and without an account alike.

use serde_json::json;

use super::{AccountRow, Store};
use crate::http::Context;
use crate::services::user::model;
use crate::storage::{Batch, StorageError};
use crate::vocabulary::{Timestamp, clock};

/// How often it went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Wrong passwords in a row.
    pub failures: i64,
    /// Until when sign-ins are refused.
    pub locked_until: Option<Timestamp>,
}

impl Store {
    /// The count for an e-mail.
    pub async fn attempts(&self, email_digest: &[u8]) -> Result<Attempts, StorageError> {
        let sql = "SELECT failures, locked_until, last_at FROM user_login_attempts WHERE email_digest = $1";
        let Some(row) = self.db.read_one(sql, vec![email_digest.to_vec().into()]).await? else {
            return Ok(Attempts::default());
        };
        let last_at: Timestamp = row.get("last_at")?;
        if clock::since(last_at, self.env.now()) >= model::FAILURES_FORGOTTEN {
            return Ok(Attempts::default());
        }
        Ok(Attempts { failures: row.get("failures")?, locked_until: row.get("locked_until")? })
    }

    /// Counts one more wrong password; when that locks an account, tells so.
    pub async fn count_failure(
        &self,
        context: &Context,
        email_digest: &[u8],
        before: Attempts,
        account: Option<&AccountRow>,
    ) -> Result<(), StorageError> {
        let now = self.env.now();
        let locked_until = model::locked_until(before.failures + 1, now);
        let mut batch = Batch::new();
        batch.one(
            "attempt",
            "INSERT INTO user_login_attempts (email_digest, failures, locked_until, last_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (email_digest) DO UPDATE SET failures = $2, locked_until = $3, last_at = $4",
            vec![email_digest.to_vec().into(), (before.failures + 1).into(), locked_until.into(), now.into()],
        );
        let (Some(account), Some(until)) = (account, locked_until) else { return self.write(batch).await };
        let mut telling = batch.clone();
        self.next_version(&mut telling, account);
        let data =
            json!({ "user_id": account.id, "email": account.email, "name": account.name, "until": until });
        self.tell(&mut telling, context, account.id, account.version + 1, "user_locked", data);
        match self.write_and_tell(telling).await {
            // The account changed meanwhile. The lock matters more than the news of it.
            Err(StorageError::Expectation { .. } | StorageError::Conflict { .. }) => self.write(batch).await,
            other => other,
        }
    }

    /// Forgets the wrong passwords of an e-mail.
    pub(super) fn forget_failures(batch: &mut Batch, email_digest: &[u8]) {
        batch.run(
            "DELETE FROM user_login_attempts WHERE email_digest = $1",
            vec![email_digest.to_vec().into()],
        );
    }
}
