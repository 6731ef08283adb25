//! What journeys draw on: addresses, products and accounts, read once before the load and kept ready to be sent.

use bytes::Bytes;
use hyper::header::HeaderValue;

use super::ask::Ask;

/// What every worker draws on. Cheap to clone: what it holds is counted, not copied.
#[derive(Clone, Debug, Default)]
pub(super) struct Supplies {
    /// Pages of the catalogue.
    pub(super) catalogue: Vec<Ask>,
    /// Categories.
    pub(super) categories: Vec<Ask>,
    /// Searches that find something.
    pub(super) searches: Vec<Ask>,
    /// Products, the popular ones first.
    pub(super) products: Vec<Ask>,
    /// SKUs that can be bought, the popular ones first.
    pub(super) skus: Vec<String>,
    /// What everybody wants at once.
    pub(super) sale: Option<Sale>,
    /// The page that a probe asks for.
    pub(super) probe: Option<Ask>,
    /// Users with an account.
    pub(super) accounts: Vec<Account>,
}

/// The product of a flash sale.
#[derive(Clone, Debug)]
pub(super) struct Sale {
    /// Its page.
    pub(super) product: Ask,
    /// Its only SKU.
    pub(super) sku: String,
}

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
