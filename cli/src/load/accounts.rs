//! The accounts of a load, and who uses them: a user of the shop has one cart, so two who filled and ordered it at
//! once would take each other's lines away, as no two people do.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use hyper::header::HeaderValue;

/// A user with an account, signed in.
#[derive(Clone)]
pub(super) struct Account {
    /// `user:<id>`: whose idempotency keys theirs are.
    pub(super) scope: String,
    /// `Bearer <token>`.
    pub(super) bearer: HeaderValue,
    /// The body of a sign-in, which holds the password.
    pub(super) sign_in: Bytes,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Account {
    /// An account that is signed in with `access_token`; absent when the token could not stand in a header.
    pub(super) fn new(user_id: &str, email: &str, password: &str, access_token: &str) -> Option<Self> {
        let sign_in = serde_json::json!({"email": email, "password": password});
        Some(Self {
            scope: format!("user:{user_id}"),
            bearer: bearer(access_token)?,
            sign_in: Bytes::from(sign_in.to_string()),
        })
    }
}

/// `Bearer <token>`, kept out of what is printed.
pub(super) fn bearer(access_token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {access_token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// All accounts of a load. Clones share them, and know of each other who has which.
#[derive(Clone, Debug, Default)]
pub(super) struct Accounts {
    all: Arc<[Account]>,
    lent: Arc<[AtomicBool]>,
}

impl Deref for Accounts {
    type Target = [Account];

    fn deref(&self) -> &[Account] {
        &self.all
    }
}

impl From<Vec<Account>> for Accounts {
    fn from(all: Vec<Account>) -> Self {
        let lent = all.iter().map(|_| AtomicBool::new(false)).collect();
        Self { all: all.into(), lent }
    }
}

impl Accounts {
    /// The account at `wanted`, or the next one after it that nobody has: the borrower's alone until it is dropped.
    /// Absent when all are taken.
    pub(super) fn lend(&self, wanted: usize) -> Option<Lent> {
        let len = self.lent.len();
        let is_mine = |at: &usize| {
            self.lent[*at].compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let at = (0..len).map(|step| (wanted + step) % len).find(is_mine)?;
        Some(Lent { at, lent: Arc::clone(&self.lent) })
    }
}

/// An account that nobody else buys with meanwhile.
#[derive(Debug)]
pub(super) struct Lent {
    at: usize,
    lent: Arc<[AtomicBool]>,
}

impl Lent {
    /// Its place among the accounts.
    pub(super) fn at(&self) -> usize {
        self.at
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.lent[self.at].store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(count: usize) -> Accounts {
        let account = |at: usize| Account::new(&at.to_string(), "a@example.com", "secret", "token").unwrap();
        (0..count).map(account).collect::<Vec<_>>().into()
    }

    #[test]
    fn an_account_has_one_borrower_at_a_time() {
        let accounts = accounts(2);
        let first = accounts.lend(1).unwrap();
        let second = accounts.clone().lend(1).unwrap();
        assert_eq!((first.at(), second.at()), (1, 0));
        assert!(accounts.lend(0).is_none());
        drop(first);
        assert_eq!(accounts.lend(0).unwrap().at(), 1);
    }

    #[test]
    fn where_there_is_no_account_none_is_lent() {
        assert!(Accounts::default().lend(7).is_none());
    }

    #[test]
    fn neither_token_nor_password_is_printed() {
        let printed = format!("{:?}", accounts(1));
        assert!(!printed.contains("secret") && !printed.contains("token"), "{printed}");
    }
}
