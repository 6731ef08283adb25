//! `user_accounts` and `user_roles`.

use std::time::Duration;

use serde_json::json;

use super::Store;
use super::sessions::NewSession;
use crate::http::Context;
use crate::services::user::client::{Account, Revocation, User};
use crate::services::user::model::{Email, email_digest};
use crate::storage::{Batch, Row, StorageError, Value};
use crate::vocabulary::{Identity, Role, Timestamp, UserId};

const COLUMNS: &str =
    "a.id, a.email, a.email_key, a.name, a.password_hash, a.status, a.token_epoch, a.version, a.created_at";

/// An account with its roles.
#[derive(Clone, Debug)]
pub struct AccountRow {
    /// Names the user.
    pub id: UserId,
    /// The e-mail as it was typed.
    pub email: String,
    /// The e-mail in lower case.
    pub email_key: String,
    /// What we may call them.
    pub name: Option<String>,
    /// bcrypt's hash.
    pub password_hash: String,
    /// Whether the account was deleted.
    pub is_deleted: bool,
    /// Tokens of an earlier epoch are void.
    pub token_epoch: i64,
    /// How many events the account has told.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// What the user may do.
    pub roles: Vec<Role>,
}

impl AccountRow {
    fn from_row(row: &Row) -> Result<Self, StorageError> {
        Ok(Self {
            id: row.get("id")?,
            email: row.get("email")?,
            email_key: row.get("email_key")?,
            name: row.get("name")?,
            password_hash: row.get("password_hash")?,
            is_deleted: row.get::<String>("status")? != "active",
            token_epoch: row.get("token_epoch")?,
            version: row.get("version")?,
            created_at: row.get("created_at")?,
            roles: Vec::new(),
        })
    }

    /// The user as the API tells it.
    #[must_use]
    pub fn user(&self) -> User {
        User { id: self.id, email: self.email.clone(), name: self.name.clone(), roles: self.roles.clone() }
    }

    /// The user as a token says it.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { user_id: self.id, email: self.email.clone(), roles: self.roles.clone() }
    }

    /// The account as staff see it.
    #[must_use]
    pub fn for_staff(&self, locked_until: Option<Timestamp>) -> Account {
        let User { id, email, name, roles } = self.user();
        let status = if self.is_deleted { "deleted" } else { "active" }.to_owned();
        Account { id, email, name, roles, status, created_at: self.created_at, locked_until }
    }
}

/// Which accounts a page shows.
#[derive(Clone, Debug, Default)]
pub struct AccountPage {
    /// A part of the e-mail or the name.
    pub text: Option<String>,
    /// Only who holds this role.
    pub role: Option<Role>,
    /// Only accounts that are older than this one.
    pub before: Option<UserId>,
    /// At most so many.
    pub limit: i64,
}

/// A new account.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Names the user.
    pub id: UserId,
    /// The e-mail.
    pub email: Email,
    /// What we may call them.
    pub name: Option<String>,
    /// bcrypt's hash.
    pub password_hash: String,
    /// What the user may do.
    pub roles: Vec<Role>,
}

impl Store {
    async fn account_where(&self, condition: &str, value: Value) -> Result<Option<AccountRow>, StorageError> {
        let sql = format!(
            "SELECT {COLUMNS}, r.role FROM user_accounts a LEFT JOIN user_roles r ON r.user_id = a.id WHERE {condition}"
        );
        let rows = self.db.read(&sql, vec![value]).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let mut account = AccountRow::from_row(first)?;
        for row in &rows {
            account
                .roles
                .extend(row.get::<Option<String>>("role")?.and_then(|role| role.parse::<Role>().ok()));
        }
        account.roles.sort_unstable();
        Ok(Some(account))
    }

    /// The account of `id`, also when it was deleted.
    pub async fn account(&self, id: UserId) -> Result<Option<AccountRow>, StorageError> {
        self.account_where("a.id = $1", id.into()).await
    }

    /// The account that `email` signs in to.
    pub async fn account_by_email(&self, email: &Email) -> Result<Option<AccountRow>, StorageError> {
        self.account_where("a.email_key = $1", email.key().into()).await
    }

    /// A page of accounts, newest first, one row more than asked for.
    pub async fn accounts(&self, page: &AccountPage) -> Result<Vec<AccountRow>, StorageError> {
        let mut params: Vec<Value> = vec![(page.limit + 1).into()];
        let mut sql = format!("SELECT {COLUMNS} FROM user_accounts a WHERE 1 = 1");
        let mut also = |condition: &str, value: Value| {
            params.push(value);
            sql.push_str(" AND ");
            sql.push_str(&condition.replace("$N", &format!("${}", params.len())));
        };
        if let Some(before) = page.before {
            also("a.id < $N", before.into());
        }
        if let Some(role) = page.role {
            also(
                "EXISTS (SELECT 1 FROM user_roles h WHERE h.user_id = a.id AND h.role = $N)",
                role.as_str().into(),
            );
        }
        if let Some(text) = &page.text {
            let escaped = text.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            let like = "(a.email_key LIKE $N ESCAPE '\\' OR LOWER(a.name) LIKE $N ESCAPE '\\')";
            also(like, format!("%{escaped}%").into());
        }
        sql.push_str(" ORDER BY a.id DESC LIMIT $1");
        let rows = self.db.read(&sql, params).await?;
        let mut accounts = rows.iter().map(AccountRow::from_row).collect::<Result<Vec<_>, _>>()?;
        self.read_roles(&mut accounts).await?;
        Ok(accounts)
    }

    async fn read_roles(&self, accounts: &mut [AccountRow]) -> Result<(), StorageError> {
        if accounts.is_empty() {
            return Ok(());
        }
        let places: Vec<_> = (1..=accounts.len()).map(|place| format!("${place}")).collect();
        let sql = format!("SELECT user_id, role FROM user_roles WHERE user_id IN ({})", places.join(", "));
        let ids = accounts.iter().map(|account| account.id.into()).collect();
        for row in self.db.read(&sql, ids).await? {
            let (user_id, role): (UserId, String) = (row.get("user_id")?, row.get("role")?);
            if let Some(account) = accounts.iter_mut().find(|account| account.id == user_id) {
                account.roles.extend(role.parse::<Role>().ok());
            }
        }
        accounts.iter_mut().for_each(|account| account.roles.sort_unstable());
        Ok(())
    }

    fn insert_account(&self, batch: &mut Batch, account: &NewAccount, version: i64) {
        let now = self.env.now();
        batch.one(
            "email",
            "INSERT INTO user_accounts
               (id, email, email_key, name, password_hash, status, token_epoch, epoch_at, version, created_at)
             VALUES ($1, $2, $3, $4, $5, 'active', 1, $6, $7, $6)",
            vec![
                account.id.into(),
                account.email.text().into(),
                account.email.key().into(),
                account.name.clone().into(),
                account.password_hash.as_str().into(),
                now.into(),
                version.into(),
            ],
        );
        insert_roles(batch, account.id, &account.roles);
    }

    /// Makes an account with its first session. The conflict `email` says that the e-mail has an account.
    pub async fn register(
        &self,
        context: &Context,
        account: &NewAccount,
        session: &NewSession,
    ) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        self.insert_account(&mut batch, account, 1);
        self.add_session(&mut batch, context, session);
        let data = json!({ "user_id": account.id, "email": account.email.text(), "name": account.name });
        self.tell(&mut batch, context, account.id, 1, "user_registered", data);
        self.write_and_tell(batch).await
    }

    /// Makes an account of the shop's own, without telling anybody. The conflict `email` says that it is there.
    pub async fn seed(&self, account: &NewAccount) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        self.insert_account(&mut batch, account, 0);
        self.write(batch).await
    }

    /// Counts an event of the account, or fails the batch with the expectation `version` when the account changed.
    pub(super) fn next_version(&self, batch: &mut Batch, account: &AccountRow) {
        batch.one(
            "version",
            "UPDATE user_accounts SET version = version + 1 WHERE id = $1 AND version = $2 AND status = 'active'",
            vec![account.id.into(), account.version.into()],
        );
    }

    fn next_epoch(&self, batch: &mut Batch, user_id: UserId) {
        batch.one(
            "epoch",
            "UPDATE user_accounts SET token_epoch = token_epoch + 1, epoch_at = $2 WHERE id = $1",
            vec![user_id.into(), self.env.now().into()],
        );
    }

    /// Changes the name; answers whether the account is still there.
    pub async fn rename(&self, id: UserId, name: Option<String>) -> Result<bool, StorageError> {
        let mut batch = Batch::new();
        batch.run(
            "UPDATE user_accounts SET name = $2 WHERE id = $1 AND status = 'active'",
            vec![id.into(), name.into()],
        );
        Ok(self.db.write(batch).await? == [1])
    }

    /// Changes the password: every session ends but the new one, and tokens of before are void. Fails with the
    /// expectation `version` when the account changed meanwhile.
    pub async fn change_password(
        &self,
        context: &Context,
        account: &AccountRow,
        password_hash: &str,
        session: Option<&NewSession>,
    ) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        self.next_version(&mut batch, account);
        self.next_epoch(&mut batch, account.id);
        batch.one(
            "password",
            "UPDATE user_accounts SET password_hash = $2 WHERE id = $1",
            vec![account.id.into(), password_hash.into()],
        );
        self.revoke_all(&mut batch, account.id);
        Self::forget_failures(&mut batch, &email_digest(&account.email_key));
        if let Some(session) = session {
            self.add_session(&mut batch, context, session);
        }
        let data = json!({ "user_id": account.id, "email": account.email, "name": account.name });
        self.tell(&mut batch, context, account.id, account.version + 1, "password_changed", data);
        self.write_and_tell(batch).await
    }

    /// Forgets the user: e-mail, name, password, addresses, sessions and roles go; the id stays, for the orders that
    /// name it. Fails with the expectation `version` when the account changed meanwhile.
    pub async fn delete_account(&self, context: &Context, account: &AccountRow) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        self.keep_an_admin(&mut batch, account, &[]);
        self.next_version(&mut batch, account);
        self.next_epoch(&mut batch, account.id);
        batch.one(
            "anonymise",
            "UPDATE user_accounts SET status = 'deleted', email = 'deleted', email_key = $2, name = NULL,
               password_hash = '' WHERE id = $1",
            vec![account.id.into(), format!("deleted:{}", account.id).into()],
        );
        for sql in [
            "DELETE FROM user_addresses WHERE user_id = $1",
            "DELETE FROM user_sessions WHERE user_id = $1",
            "DELETE FROM user_roles WHERE user_id = $1",
        ] {
            batch.run(sql, vec![account.id.into()]);
        }
        Self::forget_failures(&mut batch, &email_digest(&account.email_key));
        let data = json!({ "user_id": account.id });
        self.tell(&mut batch, context, account.id, account.version + 1, "user_deleted", data);
        self.write_and_tell(batch).await
    }

    /// Gives a user exactly `roles`; tokens of before are void, so that the change holds at once. Fails with the
    /// expectation `version` when the account changed meanwhile, `last_admin` when nobody else is an admin.
    pub async fn set_roles(
        &self,
        context: &Context,
        account: &AccountRow,
        roles: &[Role],
        reason: Option<&str>,
    ) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        self.keep_an_admin(&mut batch, account, roles);
        self.next_version(&mut batch, account);
        self.next_epoch(&mut batch, account.id);
        batch.run("DELETE FROM user_roles WHERE user_id = $1", vec![account.id.into()]);
        insert_roles(&mut batch, account.id, roles);
        let (before, after) =
            (json!({ "roles": account.roles }), json!({ "roles": roles, "reason": reason }));
        self.audit(&mut batch, context, "roles_changed", &account.id.to_string(), before, after);
        let data = json!({ "user_id": account.id, "roles": roles });
        self.tell(&mut batch, context, account.id, account.version + 1, "roles_changed", data);
        self.write_and_tell(batch).await
    }

    /// A shop without an admin cannot be helped from within: fails the batch with the expectation `last_admin`.
    fn keep_an_admin(&self, batch: &mut Batch, account: &AccountRow, roles: &[Role]) {
        if !account.roles.contains(&Role::Admin) || roles.contains(&Role::Admin) {
            return;
        }
        batch.one(
            "last_admin",
            "UPDATE user_accounts SET version = version WHERE id =
               (SELECT user_id FROM user_roles WHERE role = 'admin' AND user_id <> $1 ORDER BY user_id LIMIT 1)",
            vec![account.id.into()],
        );
    }

    /// Makes an account what the shop's own admin is: active, an admin, with this password and no open session.
    pub async fn reinstate_admin(
        &self,
        context: &Context,
        account: &AccountRow,
        password_hash: &str,
    ) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        self.next_epoch(&mut batch, account.id);
        batch.one(
            "password",
            "UPDATE user_accounts SET password_hash = $2 WHERE id = $1",
            vec![account.id.into(), password_hash.into()],
        );
        batch.run(
            "INSERT INTO user_roles (user_id, role) VALUES ($1, $2), ($1, $3) ON CONFLICT (user_id, role) DO NOTHING",
            vec![account.id.into(), Role::Customer.as_str().into(), Role::Admin.as_str().into()],
        );
        self.revoke_all(&mut batch, account.id);
        Self::forget_failures(&mut batch, &email_digest(&account.email_key));
        let subject = account.id.to_string();
        self.audit(&mut batch, context, "admin_reset", &subject, json!({}), json!({}));
        self.write(batch).await
    }

    /// Whose epoch grew within the last `life`: older tokens of theirs may still be about.
    pub async fn revocations(&self, life: Duration) -> Result<Vec<Revocation>, StorageError> {
        let since = self.ago(life);
        let sql = "SELECT id, token_epoch FROM user_accounts WHERE epoch_at >= $1 AND token_epoch > 1";
        let rows = self.db.read(sql, vec![since.into()]).await?;
        rows.iter()
            .map(|row| Ok(Revocation { user_id: row.get("id")?, token_epoch: row.get("token_epoch")? }))
            .collect()
    }

    /// The time `ago` before now.
    pub(super) fn ago(&self, ago: Duration) -> Timestamp {
        let back = jiff::SignedDuration::try_from(ago).unwrap_or_default();
        self.env.now().checked_sub(back).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

fn insert_roles(batch: &mut Batch, user_id: UserId, roles: &[Role]) {
    let rows = roles.iter().map(|role| vec![user_id.into(), role.as_str().into()]).collect();
    batch.insert_many("INSERT INTO user_roles (user_id, role)", rows, "");
}
