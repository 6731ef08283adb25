//! The payment service with the sandbox provider beside it, on a database of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use platform::capabilities::Capabilities;
use platform::config::ShopConfig;
use platform::http::{CallError, Context, Endpoint, HttpClient};
use platform::sandbox::fakepay::{Fakepay, FakepayConfig, FakepaySecrets};
use platform::secrets::Secrets;
use platform::services::payment;
use platform::services::payment::client::{Authorize, Payment, PaymentClient, PaymentResult};
use platform::storage::faults::FaultSwitch;
use platform::storage::{Db, EngineConfig, Value as Cell};
use platform::testing;
use platform::vocabulary::{Currency, Env, Identity, Money, OrderId, Role};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What every order here costs.
pub(crate) const TOTAL: Money = Money::new(1999, Currency::USD);
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct World {
    pub(crate) env: Env,
    pub(crate) capabilities: Capabilities,
    pub(crate) client: PaymentClient,
    pub(crate) storage_faults: FaultSwitch,
    pub(crate) webhook_url: String,
    fakepay: Option<Fakepay>,
    fakepay_address: SocketAddr,
    stop: CancellationToken,
    jobs: Vec<JoinHandle<()>>,
    folder: TempDir,
}

impl World {
    /// A provider call may take `timeout`.
    pub(crate) async fn with_timeout(timeout: Duration) -> Self {
        let env = Env::system();
        let folder = tempfile::tempdir().unwrap();
        let mut config = ShopConfig::local(folder.path().to_owned());
        config.payment.provider_timeout = timeout;
        let EngineConfig::Sqlite { path } = &config.engine else { panic!("local is embedded") };
        let switch = FaultSwitch::new(&env);
        let db = Db::open(&EngineConfig::Sqlite { path: path.clone() }).await.unwrap().with_faults(&switch);
        let mut capabilities = testing::capabilities_on(env.clone(), config, db, &[payment::SERVICE]).await;
        let fakepay =
            start_fakepay(&folder, SocketAddr::from(([127, 0, 0, 1], 0)), &capabilities.secrets).await;
        capabilities.provider_url = fakepay.url().into();
        let mut world = Self {
            env,
            client: PaymentClient::new(Endpoint::in_process("payment")),
            capabilities,
            storage_faults: switch,
            webhook_url: String::new(),
            fakepay_address: fakepay.local_addr(),
            fakepay: Some(fakepay),
            stop: CancellationToken::new(),
            jobs: Vec::new(),
            folder,
        };
        world.mount().await;
        world
    }

    pub(crate) async fn start() -> Self {
        Self::with_timeout(Duration::from_secs(5)).await
    }

    /// Mounts the service (again) on the data as it is.
    pub(crate) async fn mount(&mut self) {
        let mounted = (payment::SERVICE.mount)(&self.capabilities).await.unwrap();
        let endpoint = Endpoint::in_process("payment");
        endpoint.bind(mounted.router.clone());
        self.client = PaymentClient::new(endpoint);
        self.stop = CancellationToken::new();
        self.jobs = mounted.jobs.into_iter().map(|job| tokio::spawn((job.run)(self.stop.clone()))).collect();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.webhook_url = format!("http://{}/v1/payments/webhooks/stripe", listener.local_addr().unwrap());
        let stop = self.stop.clone();
        self.jobs.push(tokio::spawn(async move {
            let served = axum::serve(listener, mounted.router);
            served.with_graceful_shutdown(stop.cancelled_owned()).await.unwrap();
        }));
        if let Some(fakepay) = &self.fakepay {
            fakepay.tell_to(&self.webhook_url);
        }
    }

    /// The service dies where it stands, and starts again on its data.
    pub(crate) async fn crash_and_mount(&mut self) {
        for job in self.jobs.drain(..) {
            job.abort();
        }
        self.mount().await;
    }

    pub(crate) async fn stop_fakepay(&mut self) {
        if let Some(fakepay) = self.fakepay.take() {
            fakepay.drain().await;
        }
    }

    /// The provider starts again where it was, with its data.
    pub(crate) async fn start_fakepay(&mut self) {
        let fakepay = start_fakepay(&self.folder, self.fakepay_address, &self.capabilities.secrets).await;
        fakepay.tell_to(&self.webhook_url);
        self.fakepay = Some(fakepay);
    }

    pub(crate) fn context(&self) -> Context {
        Context::background("order", &self.env)
    }

    pub(crate) fn staff(&self) -> Context {
        let identity =
            Identity { user_id: self.env.id(), email: "ops@example.com".to_owned(), roles: vec![Role::Ops] };
        Context { identity: Some(Arc::new(identity)), ..Context::background("gateway", &self.env) }
    }

    pub(crate) async fn authorize(
        &self,
        order_id: OrderId,
        method: &str,
    ) -> Result<PaymentResult, CallError> {
        let authorize =
            Authorize { amount: TOTAL, payment_method: method.to_owned(), key: format!("auth:{order_id}:1") };
        self.client.authorize(&self.context(), order_id, &authorize).await
    }

    pub(crate) async fn capture(&self, order_id: OrderId) -> Result<PaymentResult, CallError> {
        self.client.capture(&self.context(), order_id, &format!("capture:{order_id}:1")).await
    }

    pub(crate) async fn void(&self, order_id: OrderId) -> Result<PaymentResult, CallError> {
        self.client.void(&self.context(), order_id, &format!("void:{order_id}:1")).await
    }

    pub(crate) async fn refund(&self, order_id: OrderId, amount: i64, key: &str) -> PaymentResult {
        let amount = Money::new(amount, Currency::USD);
        self.client.refund(&self.context(), order_id, amount, key).await.unwrap()
    }

    /// Asks until the outcome is known, as a saga does.
    pub(crate) async fn insist<F>(&self, ask: impl Fn() -> F) -> PaymentResult
    where
        F: Future<Output = Result<PaymentResult, CallError>>,
    {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = ask().await;
            if let Ok(result) = &answer
                && result.is_final()
            {
                return result.clone();
            }
            assert!(Instant::now() < until, "the outcome never became known: {answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A whole order: held and taken, however long it takes.
    pub(crate) async fn pay(&self, order_id: OrderId) {
        let held = self.insist(|| self.authorize(order_id, "pm_card_visa")).await;
        assert_eq!(held, PaymentResult::Authorized { amount: TOTAL });
        let taken = self.insist(|| self.capture(order_id)).await;
        assert_eq!(taken, PaymentResult::Captured { amount: TOTAL });
    }

    pub(crate) async fn payment(&self, order_id: OrderId) -> Payment {
        self.client.get(&self.context(), order_id).await.unwrap()
    }

    /// Polls until `holds` does.
    pub(crate) async fn until<F>(&self, what: &str, holds: impl Fn() -> F)
    where
        F: Future<Output = bool>,
    {
        let until = Instant::now() + PATIENCE;
        while !holds().await {
            assert!(Instant::now() < until, "it never came to be that {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn fault(&self, fault: Value) {
        self.control("PUT", "faults", &fault).await;
    }

    pub(crate) async fn well(&self) {
        self.control("DELETE", "faults", &Value::Null).await;
    }

    /// The provider's lines about an order.
    pub(crate) async fn statement_of(&self, order_id: OrderId) -> Vec<Value> {
        let order_id = order_id.to_string();
        let mut lines = self.statement().await;
        lines.retain(|line| line["order_id"] == order_id);
        lines
    }

    pub(crate) async fn statement(&self) -> Vec<Value> {
        self.control("GET", "statement", &Value::Null).await["items"].as_array().unwrap().clone()
    }

    async fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let token = self.capabilities.secrets.provider_control.expose();
        let request = hyper::Request::builder()
            .method(method)
            .uri(format!("http://{}/control/{path}", self.fakepay_address))
            .header("authorization", format!("Bearer {token}"))
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let http = HttpClient::new(Duration::from_secs(1));
        let answer = http.send(request, Duration::from_secs(5)).await.unwrap();
        assert_eq!(answer.status(), 200);
        serde_json::from_slice(answer.body()).unwrap()
    }

    /// Posts a body to the service's webhooks as somebody from outside; answers the status.
    pub(crate) async fn post_webhook(&self, body: &str, signature: Option<&str>) -> u16 {
        let mut request = hyper::Request::post(&self.webhook_url);
        if let Some(signature) = signature {
            request = request.header("stripe-signature", signature);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let http = HttpClient::new(Duration::from_secs(1));
        http.send(request, Duration::from_secs(5)).await.unwrap().status().as_u16()
    }

    pub(crate) async fn count(&self, sql: &str, params: Vec<Cell>) -> i64 {
        let row = self.capabilities.db.read_one(sql, params).await.unwrap().unwrap();
        row.get("count").unwrap()
    }

    /// Exactly one charge per order, our books equal to the provider's to the cent, and every transaction balanced.
    pub(crate) async fn books_agree(&self, orders: &[OrderId]) {
        let statement = self.statement().await;
        for order_id in orders {
            let text = order_id.to_string();
            let charges: Vec<&Value> = statement
                .iter()
                .filter(|line| line["order_id"] == text && line["captured"].as_i64() > Some(0))
                .collect();
            let payment = self.payment(*order_id).await;
            assert!(charges.len() <= 1, "{charges:?}");
            let at_provider =
                |part: &str| charges.iter().map(|line| line[part].as_i64().unwrap()).sum::<i64>();
            assert_eq!(payment.captured.amount, at_provider("captured"), "{order_id}");
            assert_eq!(payment.refunded.amount, at_provider("refunded"), "{order_id}");
            let sql = "SELECT CAST(COALESCE(SUM(debit - credit), 0) AS BIGINT) AS count FROM payment_ledger WHERE payment_id = $1 AND account = 'provider_receivable'";
            let receivable = self.count(sql, vec![payment.id.into()]).await;
            assert_eq!(receivable, payment.captured.amount - payment.refunded.amount);
        }
        let unbalanced = "SELECT COUNT(*) AS count FROM (SELECT tx_id FROM payment_ledger GROUP BY tx_id, currency HAVING SUM(debit) <> SUM(credit)) AS unbalanced";
        assert_eq!(self.count(unbalanced, vec![]).await, 0);
    }

    pub(crate) fn orders(&self, count: usize) -> Vec<OrderId> {
        (0..count).map(|_| self.env.id()).collect()
    }

    pub(crate) fn order(&self) -> OrderId {
        self.env.id()
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        for job in self.jobs.drain(..) {
            job.await.unwrap();
        }
        self.stop_fakepay().await;
        self.capabilities.db.close().await;
    }
}

async fn start_fakepay(folder: &TempDir, listen: SocketAddr, secrets: &Secrets) -> Fakepay {
    let config = FakepayConfig {
        listen,
        own_port: 0,
        data_dir: folder.path().join("fakepay"),
        webhook_url: None,
        secrets: FakepaySecrets::from(secrets),
    };
    Fakepay::start(config, Env::system()).await.unwrap()
}

/// A fault that strikes until it is cleared.
pub(crate) fn mode(mode: &str) -> Value {
    json!({ "mode": mode })
}
