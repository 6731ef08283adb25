//! A whole shop for a test: every service, the gateway, the pages and the sandbox provider, on ports of its own.

use std::time::Duration;

use axum::http::{Method, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::postgres;
use crate::app::{self, RunningShop, UpOptions};
use crate::client::ShopClient;
use crate::config::ShopConfig;
use crate::http::{Context, HttpClient};
use crate::services::order::client::Order;
use crate::services::user::client::Login;
use crate::storage::EngineConfig;
use crate::vocabulary::{CartId, OrderId};

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running shop, driven as clients drive it.
pub struct TestShop {
    /// The public face.
    pub client: ShopClient,
    /// The shop itself.
    pub running: RunningShop,
    folder: TempDir,
    http: HttpClient,
}

impl TestShop {
    /// On SQLite, with the demo catalogue and no rate limits.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// On SQLite, with a configuration that `change` touched.
    pub async fn start_with(change: impl FnOnce(&mut ShopConfig)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::start_in(folder, change).await
    }

    /// On a PostgreSQL of the test's own; `None` where there is none.
    pub async fn start_on_postgres() -> Option<Self> {
        let url = postgres::database().await?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let shop = Self::start_in(folder, |config| {
            config.engine = EngineConfig::Postgres { url, connections_max: 16 };
        });
        Some(shop.await)
    }

    async fn start_in(folder: TempDir, change: impl FnOnce(&mut ShopConfig)) -> Self {
        let mut config = ShopConfig::local(folder.path().to_owned());
        config.listen.set_port(0);
        config.user.bcrypt_cost = 4;
        config.gateway.limits = false;
        change(&mut config);
        let running = app::up(config, UpOptions::default(), |_| {}).await.expect("the shop starts");
        let client = ShopClient::new(running.url());
        let http = HttpClient::new(Duration::from_secs(2));
        Self { client, running, folder, http }
    }

    /// The folder that holds the data.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The admin's session.
    pub async fn admin(&self) -> Context {
        let admin = self.running.admin.as_ref().expect("a new shop has a new admin");
        let login = Login { email: admin.email.clone(), password: admin.password.clone() };
        let session = self.client.users.login(&self.client.anonymous(), &login).await.expect("signed in");
        self.client.bearing(&session.access_token)
    }

    /// A guest's cart with these lines.
    pub async fn cart(&self, lines: &[(&str, i64)]) -> CartId {
        let nobody = self.client.anonymous();
        let cart = self.client.orders.create_cart(&nobody).await.expect("a cart").id;
        for (sku, quantity) in lines {
            self.client.orders.set_line(&nobody, cart, sku, *quantity).await.expect("a line");
        }
        cart
    }

    /// A guest's order of `cart`, as it goes onto the wire.
    #[must_use]
    pub fn order_of(cart: CartId) -> Value {
        json!({
            "cart_id": cart, "email": "ada@example.com", "payment_method": "pm_card_visa",
            "shipping_address": {"name": "Ada Lovelace", "line1": "12 St James's Square", "city": "London",
                "postal_code": "SW1Y 4JH", "country": "GB"},
        })
    }

    /// Places `order` under `key` and answers status and body, whatever they are.
    pub async fn place(&self, order: &Value, key: &str) -> (StatusCode, Value) {
        self.send(Method::POST, "/v1/orders", Some(order), &[("idempotency-key", key)]).await
    }

    /// Sends a request to the gateway and answers status and JSON body.
    ///
    /// # Panics
    /// When no answer comes at all.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> (StatusCode, Value) {
        exchange(&self.http, &format!("{}{path}", self.running.url()), method, body, headers).await
    }

    /// Tells the sandbox provider how to fail; see its control routes.
    pub async fn provider_fault(&self, faults: &Value) {
        self.control(Method::PUT, "/control/faults", Some(faults)).await;
    }

    /// Lets the sandbox provider behave again.
    pub async fn provider_well(&self) {
        self.control(Method::DELETE, "/control/faults", None).await;
    }

    /// What the sandbox provider says it did, by order.
    pub async fn statement(&self) -> Vec<Value> {
        let body = self.control(Method::GET, "/control/statement", None).await;
        body["items"].as_array().expect("items").clone()
    }

    async fn control(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let sandbox = self.running.sandbox.as_ref().expect("the sandbox runs");
        let token = format!("Bearer {}", sandbox.control_token);
        let url = format!("{}{path}", sandbox.url);
        let (status, answer) = exchange(&self.http, &url, method, body, &[("authorization", &token)]).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// The order, once `is_done` holds of it.
    ///
    /// # Panics
    /// When that takes longer than a minute.
    pub async fn order_when(
        &self,
        context: &Context,
        id: OrderId,
        is_done: impl Fn(&Order) -> bool,
    ) -> Order {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let order = self.client.orders.admin_order(context, id).await.expect("an order").order;
            if is_done(&order) {
                return order;
            }
            assert!(tokio::time::Instant::now() < deadline, "still {:?} after {PATIENCE:?}", order.status);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops in order and answers the folder with what it left: the data on SQLite, the provider's statement.
    pub async fn stop(self) -> TempDir {
        let Self { running, folder, .. } = self;
        assert!(running.drain().await, "the shop drains in time");
        folder
    }

    /// Stops in order and starts again on the same data (SQLite only).
    pub async fn restart(self) -> Self {
        let Self { running, folder, .. } = self;
        assert!(running.drain().await, "the shop drains in time");
        Self::start_in(folder, |_| {}).await
    }
}

async fn exchange(
    http: &HttpClient,
    url: &str,
    method: Method,
    body: Option<&Value>,
    headers: &[(&str, &str)],
) -> (StatusCode, Value) {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(bytes)).expect("a request");
    let response = http.send(request, PATIENCE).await.expect("an answer");
    let status = response.status();
    let body = response.into_body();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("JSON") };
    (status, body)
}
