//! `user_addresses`: a user's address book.

use super::Store;
use crate::services::user::client::{Address, NewAddress};
use crate::services::user::model;
use crate::storage::{Batch, Row, StorageError};
use crate::vocabulary::{AddressId, UserId};

fn from_row(row: &Row) -> Result<Address, StorageError> {
    Ok(Address {
        id: row.get("id")?,
        name: row.get("name")?,
        line1: row.get("line1")?,
        line2: row.get("line2")?,
        city: row.get("city")?,
        postal_code: row.get("postal_code")?,
        country: row.get("country")?,
    })
}

impl Store {
    /// The user's addresses, the oldest first.
    pub async fn addresses(&self, user_id: UserId) -> Result<Vec<Address>, StorageError> {
        let sql = "SELECT id, name, line1, line2, city, postal_code, country FROM user_addresses
                   WHERE user_id = $1 ORDER BY created_at, id";
        self.db.read(sql, vec![user_id.into()]).await?.iter().map(from_row).collect()
    }

    /// Adds an address; fails with the expectation `room` when the book is full, and `active` when the account is gone.
    pub async fn add_address(&self, user_id: UserId, address: NewAddress) -> Result<Address, StorageError> {
        let id: AddressId = self.env.id();
        let mut batch = Batch::new();
        batch.one(
            "active",
            "UPDATE user_accounts SET version = version WHERE id = $1 AND status = 'active'",
            vec![user_id.into()],
        );
        batch.one(
            "room",
            "INSERT INTO user_addresses (id, user_id, name, line1, line2, city, postal_code, country, created_at)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9
             WHERE (SELECT COUNT(*) FROM user_addresses WHERE user_id = $2) < $10",
            vec![
                id.into(),
                user_id.into(),
                address.name.as_str().into(),
                address.line1.as_str().into(),
                address.line2.clone().into(),
                address.city.as_str().into(),
                address.postal_code.as_str().into(),
                address.country.as_str().into(),
                self.env.now().into(),
                model::ADDRESSES_MAX.into(),
            ],
        );
        self.write(batch).await?;
        let NewAddress { name, line1, line2, city, postal_code, country } = address;
        Ok(Address { id, name, line1, line2, city, postal_code, country })
    }

    /// Takes an address out; answers whether it was the user's.
    pub async fn delete_address(&self, user_id: UserId, id: AddressId) -> Result<bool, StorageError> {
        let mut batch = Batch::new();
        batch.run(
            "DELETE FROM user_addresses WHERE id = $1 AND user_id = $2",
            vec![id.into(), user_id.into()],
        );
        Ok(self.db.write(batch).await? == [1])
    }
}
