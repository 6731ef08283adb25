//! The whole shop's typed client: what anybody may ask of it through the gateway, with the services' own types.
//!
//! ```no_run
//! # async fn example() -> Result<(), platform::http::CallError> {
//! use platform::client::ShopClient;
//!
//! let shop = ShopClient::new("http://127.0.0.1:8080");
//! let cart = shop.orders.create_cart(&shop.anonymous()).await?;
//! # Ok(())
//! # }
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use crate::http::address::escaped;
use crate::http::operator::Operators;
pub use crate::http::{Bearer, CallError, Code, Context, Page, Problem};
use crate::http::{Endpoint, HttpClient};
pub use crate::secrets::SecretsError;
use crate::secrets::{SECRETS_FILE, Secrets};
use crate::services::notification::client::NotificationClient;
use crate::services::order::client::OrderClient;
use crate::services::payment::client::PaymentClient;
use crate::services::product::client::ProductClient;
use crate::services::user::client::UserClient;
pub use crate::services::{
    notification::client as notification, order::client as order, payment::client as payment,
    product::client as product, user::client as user,
};
use crate::vocabulary::{Env, Role};

/// How long a call may take: above what any route of the gateway allows.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A shop behind a URL. Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub struct ShopClient {
    /// Accounts and sign-in.
    pub users: UserClient,
    /// Catalogue and stock.
    pub products: ProductClient,
    /// Carts and orders.
    pub orders: OrderClient,
    /// Payments, for staff.
    pub payments: PaymentClient,
    /// Deliveries, queues and dead letters, for staff.
    pub notifications: NotificationClient,
    env: Env,
}

impl ShopClient {
    /// The shop whose gateway answers at `base_url`.
    #[must_use]
    pub fn new(base_url: &str) -> Self {
        let http = HttpClient::new(Duration::from_secs(2));
        let endpoint = |service| Endpoint::public(service, base_url, http.clone(), TIMEOUT);
        Self {
            users: UserClient::new(endpoint("user")),
            products: ProductClient::new(endpoint("product")),
            orders: OrderClient::new(endpoint("order")),
            payments: PaymentClient::new(endpoint("payment")),
            notifications: NotificationClient::new(endpoint("notification")),
            env: Env::system(),
        }
    }

    /// A request of nobody in particular.
    #[must_use]
    pub fn anonymous(&self) -> Context {
        Context::new(&self.env)
    }

    /// A request of whom `access_token` names: a user's token, or a guest's key to an order.
    #[must_use]
    pub fn bearing(&self, access_token: &str) -> Context {
        Context { bearer: Some(access_token.into()), ..Context::new(&self.env) }
    }
}

/// A shop and the right to run it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Operator {
    shop: ShopClient,
    right: Right,
}

#[derive(Clone, Debug)]
enum Right {
    /// Passes are made by whoever can read the shop's secrets, for one use each.
    Secrets { operators: Operators, name: Arc<str> },
    /// A token of a member of the staff.
    Token(Bearer),
}

impl Operator {
    /// The operator of the shop that answers at `base_url` and keeps its secrets in `data_dir`. `name` is what the
    /// audit will call them.
    pub fn of_folder(base_url: &str, data_dir: &Path, name: &str) -> Result<Self, SecretsError> {
        Self::holding(&Secrets::load(&data_dir.join(SECRETS_FILE))?, base_url, name)
    }

    /// The same, by the text of the secrets, for a shop that keeps them elsewhere; `place` is where.
    pub fn of_secrets(base_url: &str, text: &str, place: &str, name: &str) -> Result<Self, SecretsError> {
        Self::holding(&Secrets::parse(text, place)?, base_url, name)
    }

    fn holding(secrets: &Secrets, base_url: &str, name: &str) -> Result<Self, SecretsError> {
        let right = Right::Secrets { operators: Operators::new(&secrets.keyring()?), name: name.into() };
        Ok(Self { shop: ShopClient::new(base_url), right })
    }

    /// The member of the staff of the shop at `base_url` whose access token this is.
    #[must_use]
    pub fn with_token(base_url: &str, token: &str) -> Self {
        Self { shop: ShopClient::new(base_url), right: Right::Token(token.into()) }
    }

    /// The same, whose passes live by the time of `env`: for a shop whose clock is not the system's.
    #[must_use]
    pub fn in_time_of(mut self, env: &Env) -> Self {
        self.shop.env = env.clone();
        self
    }

    /// The shop.
    #[must_use]
    pub fn shop(&self) -> &ShopClient {
        &self.shop
    }

    /// What proves the right, for `Authorization: Bearer …` on routes under `/v1/admin/`: a new pass for `roles` that
    /// is good for a minute, or the token of staff with the roles that it has. Make one for each request.
    #[must_use]
    pub fn bearer(&self, roles: &[Role]) -> Bearer {
        match &self.right {
            Right::Secrets { operators, name } => operators.pass(&self.shop.env, name, roles),
            Right::Token(token) => token.clone(),
        }
    }

    /// A request of the operator in these roles: good for one call, or for those of the next minute.
    #[must_use]
    pub fn acting(&self, roles: &[Role]) -> Context {
        Context { bearer: Some(self.bearer(roles)), ..Context::new(&self.shop.env) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_make_an_operator_wherever_they_stand_and_their_text_is_never_repeated() {
        let text = serde_json::to_string(&Secrets::generate(&Env::system())).expect("plain data");
        let operator =
            |text: &str| Operator::of_secrets("http://127.0.0.1:1", text, "Secret/shop-secrets", "ada");
        let pass = operator(&text).expect("they are whole").bearer(&[Role::Ops]);
        assert!(!text.contains(pass.expose()), "a pass is made, not read");
        let error = operator("{\"csrf\": \"s3cret\"").expect_err("they are cut off").to_string();
        assert!(error.contains("Secret/shop-secrets") && !error.contains("s3cret"), "{error}");
    }
}
