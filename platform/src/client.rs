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

use std::time::Duration;

use crate::http::{Context, Endpoint, HttpClient};
use crate::services::notification::client::NotificationClient;
use crate::services::order::client::OrderClient;
use crate::services::payment::client::PaymentClient;
use crate::services::product::client::ProductClient;
use crate::services::user::client::UserClient;
use crate::vocabulary::Env;

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
