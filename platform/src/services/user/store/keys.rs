//! `user_signing_keys`.

use super::Store;
use crate::storage::{Batch, Row, StorageError};
use crate::vocabulary::Timestamp;

/// A signing key as it is kept.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// Its name.
    pub kid: String,
    /// The nonce and the encrypted key.
    pub private_key: Vec<u8>,
    /// When it began to sign.
    pub created_at: Timestamp,
    /// When it stopped.
    pub retired_at: Option<Timestamp>,
}

impl StoredKey {
    fn from_row(row: &Row) -> Result<Self, StorageError> {
        Ok(Self {
            kid: row.get("kid")?,
            private_key: row.get("private_key")?,
            created_at: row.get("created_at")?,
            retired_at: row.get("retired_at")?,
        })
    }
}

impl Store {
    /// Every key, the oldest first.
    pub async fn signing_keys(&self) -> Result<Vec<StoredKey>, StorageError> {
        let sql =
            "SELECT kid, private_key, created_at, retired_at FROM user_signing_keys ORDER BY created_at, kid";
        self.db.read(sql, vec![]).await?.iter().map(StoredKey::from_row).collect()
    }

    /// Adds `key` and retires the one named `retires`. Fails with the expectation `retire` when another replica
    /// retired it first.
    pub async fn add_signing_key(&self, key: &StoredKey, retires: Option<&str>) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        if let Some(kid) = retires {
            batch.one(
                "retire",
                "UPDATE user_signing_keys SET retired_at = $2 WHERE kid = $1 AND retired_at IS NULL",
                vec![kid.into(), key.created_at.into()],
            );
        }
        batch.one(
            "signing_key",
            "INSERT INTO user_signing_keys (kid, private_key, created_at) VALUES ($1, $2, $3)",
            vec![key.kid.as_str().into(), key.private_key.clone().into(), key.created_at.into()],
        );
        self.write(batch).await
    }
}
