//! A catalogue and a payment service that misbehave on request, and a shop around the order service.
//!
//! Both keep their books in memory, outlive a "crash" of the order service, and are idempotent as the real ones are:
//! by order, and by key.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use platform::capabilities::Capabilities;
use platform::config::ShopConfig;
use platform::http::{Code, Context, Endpoint, Json, Problem};
use platform::services::order::client::{Address, OrderClient, PlaceOrder};
use platform::services::{Mounted, order};
use platform::storage::faults::{FaultRule, FaultSwitch, StorageFault};
use platform::storage::{Db, EngineConfig};
use platform::testing::{TestCapabilities, capabilities, capabilities_on, postgres};
use platform::vocabulary::{CartId, Currency, Env, Money, OrderId};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How a call goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Mishap {
    /// Nothing happens, and the answer is lost.
    LostBefore,
    /// It happens, and the answer is lost.
    LostAfter,
    /// It never comes back; nothing happened. The test kills the caller.
    HangBefore,
    /// It never comes back; it happened.
    HangAfter,
    /// The provider is away.
    Unavailable,
    /// The provider does not answer; nothing happened there.
    UnknownBefore,
    /// The provider does not answer; it happened there.
    UnknownAfter,
    /// It happens, and the next batch of the saga meets this fault.
    ThenStorage(StorageFault),
    /// It happens, and takes this long.
    Slow(Duration),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) state: &'static str,
    pub(crate) lines: Vec<(String, i64)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Paid {
    pub(crate) held: i64,
    pub(crate) authorized: i64,
    pub(crate) captured: i64,
    pub(crate) captures: usize,
    pub(crate) refunded: i64,
    pub(crate) declined: bool,
    pub(crate) voided: bool,
    answers: HashMap<String, Value>,
}

#[derive(Default)]
pub(crate) struct Books {
    pub(crate) shelf: BTreeMap<String, (i64, i64)>,
    pub(crate) held: HashMap<OrderId, Held>,
    pub(crate) paid: HashMap<OrderId, Paid>,
    /// What happens to the next calls of an operation.
    mishaps: HashMap<String, VecDeque<Mishap>>,
    /// What happens to every call of an operation.
    always: HashMap<String, Mishap>,
    pub(crate) calls: Vec<String>,
}

/// Both siblings.
#[derive(Clone)]
pub(crate) struct Siblings {
    pub(crate) books: Arc<Mutex<Books>>,
    pub(crate) storage: FaultSwitch,
    pub(crate) hung: Arc<Notify>,
}

impl Siblings {
    pub(crate) fn new(storage: FaultSwitch) -> Self {
        let siblings = Self { books: Arc::default(), storage, hung: Arc::default() };
        siblings.books.lock().unwrap().shelf.insert("MUG".to_owned(), (1_999, 100));
        siblings.books.lock().unwrap().shelf.insert("GIFT".to_owned(), (0, 100));
        siblings
    }

    pub(crate) fn next(&self, operation: &str, mishap: Mishap) {
        let mut books = self.books.lock().unwrap();
        books.mishaps.entry(operation.to_owned()).or_default().push_back(mishap);
    }

    pub(crate) fn always(&self, operation: &str, mishap: Mishap) {
        self.books.lock().unwrap().always.insert(operation.to_owned(), mishap);
    }

    pub(crate) fn mend(&self) {
        let mut books = self.books.lock().unwrap();
        books.always.clear();
        books.mishaps.clear();
    }

    pub(crate) fn available(&self, sku: &str) -> i64 {
        self.books.lock().unwrap().shelf[sku].1
    }

    pub(crate) fn calls(&self, operation: &str) -> usize {
        self.books.lock().unwrap().calls.iter().filter(|call| *call == operation).count()
    }

    /// Runs `act` on the books, with whatever goes wrong around it.
    async fn call(
        &self,
        operation: &str,
        act: impl FnOnce(&mut Books) -> Result<Value, Problem>,
    ) -> Response {
        let mishap = {
            let mut books = self.books.lock().unwrap();
            books.calls.push(operation.to_owned());
            let next = books.mishaps.get_mut(operation).and_then(VecDeque::pop_front);
            next.or_else(|| books.always.get(operation).cloned())
        };
        let lost = || (StatusCode::INTERNAL_SERVER_ERROR, "no answer").into_response();
        let answer = |outcome: Value| Json(outcome).into_response();
        match mishap {
            Some(Mishap::LostBefore) => return lost(),
            Some(Mishap::HangBefore) => {
                self.hung.notify_one();
                std::future::pending::<()>().await;
            }
            Some(Mishap::Unavailable) => {
                return answer(json!({"outcome": "unavailable", "retry_after_ms": 20}));
            }
            Some(Mishap::UnknownBefore) => {
                return answer(json!({"outcome": "unknown", "reason": "timed out"}));
            }
            _ => {}
        }
        let outcome = act(&mut self.books.lock().unwrap());
        match mishap {
            Some(Mishap::LostAfter) => return lost(),
            Some(Mishap::HangAfter) => {
                self.hung.notify_one();
                std::future::pending::<()>().await;
            }
            Some(Mishap::UnknownAfter) => {
                return answer(json!({"outcome": "unknown", "reason": "timed out"}));
            }
            Some(Mishap::ThenStorage(fault)) => self.storage.set(FaultRule::once_at(fault, "lease")),
            Some(Mishap::Slow(by)) => tokio::time::sleep(by).await,
            _ => {}
        }
        match outcome {
            Ok(value) => answer(value),
            Err(problem) => problem.into_response(),
        }
    }

    pub(crate) fn product(&self) -> Router {
        Router::new()
            .route("/internal/v1/prices/quote", post(quote))
            .route("/internal/v1/reservations", post(reserve))
            .route("/internal/v1/reservations/{order}/{act}", post(stock))
            .with_state(self.clone())
    }

    pub(crate) fn payment(&self) -> Router {
        Router::new()
            .route("/internal/v1/payments/{order}", get(payment))
            .route("/internal/v1/payments/{order}/{act}", post(pay))
            .with_state(self.clone())
    }
}

fn lines(body: &Value) -> Vec<(String, i64)> {
    let one = |line: &Value| (line["sku"].as_str().unwrap().to_owned(), line["quantity"].as_i64().unwrap());
    body["lines"].as_array().unwrap().iter().map(one).collect()
}

async fn quote(State(siblings): State<Siblings>, Json(body): Json<Value>) -> Response {
    siblings
        .call("quote", |books| {
            let line = |(sku, _): (String, i64)| {
                let Some((price, available)) = books.shelf.get(&sku) else {
                    return Err(Problem::new(Code::UnknownSku, "no such SKU").with("sku", sku));
                };
                Ok(json!({"sku": sku, "title": format!("A {sku}"), "unit_price": money(*price),
                          "tax_class": "zero", "weight_g": 1, "available": available}))
            };
            let quoted = lines(&body).into_iter().map(line).collect::<Result<Vec<_>, _>>()?;
            Ok(json!({"lines": quoted}))
        })
        .await
}

fn money(amount: i64) -> Value {
    json!({"amount": amount, "currency": "USD"})
}

fn gone(reason: &str) -> Problem {
    Problem::new(Code::Conflict, "the reservation is gone").with("reason", reason)
}

async fn reserve(State(siblings): State<Siblings>, Json(body): Json<Value>) -> Response {
    let order: OrderId = body["order_id"].as_str().unwrap().parse().unwrap();
    siblings
        .call("reserve", |books| {
            if let Some(held) = books.held.get(&order) {
                return match held.state {
                    "released" => Err(gone("reservation_released")),
                    _ => Ok(standing(order, held)),
                };
            }
            let lines = lines(&body);
            let short: Vec<_> = lines
                .iter()
                .filter(|(sku, quantity)| books.shelf[sku].1 < *quantity)
                .map(|(sku, quantity)| json!({"sku": sku, "requested": quantity, "available": books.shelf[sku].1}))
                .collect();
            if !short.is_empty() {
                return Err(Problem::new(Code::OutOfStock, "not enough").with("items", short));
            }
            for (sku, quantity) in &lines {
                books.shelf.get_mut(sku).unwrap().1 -= quantity;
            }
            let held = Held { state: "held", lines };
            let answer = standing(order, &held);
            books.held.insert(order, held);
            Ok(answer)
        })
        .await
}

fn standing(order: OrderId, held: &Held) -> Value {
    let expires_at = (held.state == "held").then_some("2099-01-01T00:00:00Z");
    // The catalogue has no word for goods that came back: the reservation stays what it was.
    let state = if held.state == "returned" { "committed" } else { held.state };
    json!({"order_id": order, "state": state, "expires_at": expires_at})
}

async fn stock(State(siblings): State<Siblings>, Path((order, act)): Path<(OrderId, String)>) -> Response {
    let name = act.clone();
    siblings
        .call(&name, |books| {
            let Books { held, shelf, .. } = books;
            let mut back = |held: &Held| {
                for (sku, quantity) in &held.lines {
                    shelf.get_mut(sku).unwrap().1 += quantity;
                }
            };
            let Some(held) = held.get_mut(&order) else {
                if act != "release" {
                    return Err(gone("reservation_missing"));
                }
                let none = Held { state: "released", lines: vec![] };
                let answer = standing(order, &none);
                held.insert(order, none);
                return Ok(answer);
            };
            match (act.as_str(), held.state) {
                ("extend", "held") | ("pin", "pinned" | "committed") | ("commit", "committed") => {}
                ("release", "released") | ("restock", "returned") => {}
                ("extend", _) => {}
                ("pin", "held") => held.state = "pinned",
                ("commit", "pinned" | "held") => held.state = "committed",
                ("release", "held" | "pinned") => {
                    back(held);
                    held.state = "released";
                }
                ("release", "committed") => return Err(gone("reservation_committed")),
                ("restock", "committed") => {
                    back(held);
                    held.state = "returned";
                }
                (_, "expired") => return Err(gone("reservation_expired")),
                (_, state) => return Err(gone(&format!("reservation_{state}"))),
            }
            Ok(standing(order, held))
        })
        .await
}

async fn payment(State(siblings): State<Siblings>, Path(order): Path<OrderId>) -> Response {
    siblings
        .call("get", |books| {
            let paid = books.paid.get(&order).ok_or_else(|| Problem::not_found("payment"))?;
            let status = match paid {
                Paid { captured, refunded, .. } if *captured > 0 && captured == refunded => "refunded",
                Paid { captured, refunded, .. } if *captured > 0 && *refunded > 0 => "partially_refunded",
                Paid { captured, .. } if *captured > 0 => "captured",
                Paid { held, .. } if *held > 0 => "authorized",
                Paid { declined: true, .. } => "failed",
                _ => "voided",
            };
            Ok(json!({
                "id": uuid::Uuid::from_u128(1), "order_id": order, "status": status, "amount": money(paid.authorized),
                "authorized": money(paid.authorized), "captured": money(paid.captured),
                "refunded": money(paid.refunded), "provider": "fake", "provider_reference": null,
                "pending_operation": null, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"
            }))
        })
        .await
}

async fn pay(
    State(siblings): State<Siblings>,
    Path((order, act)): Path<(OrderId, String)>,
    Json(body): Json<Value>,
) -> Response {
    let name = act.clone();
    let key = body["key"].as_str().unwrap().to_owned();
    siblings
        .call(&name, |books| {
            let paid = books.paid.entry(order).or_default();
            if let Some(answer) = paid.answers.get(&key) {
                return Ok(answer.clone());
            }
            let answer = match act.as_str() {
                "authorize" if paid.voided => declined("voided"),
                "authorize" if body["payment_method"].as_str().unwrap().ends_with("chargeDeclined") => {
                    paid.declined = true;
                    declined("card_declined")
                }
                "authorize" => {
                    let amount = body["amount"]["amount"].as_i64().unwrap();
                    (paid.held, paid.authorized) = (amount, amount);
                    json!({"outcome": "authorized", "amount": money(amount)})
                }
                "capture" if paid.held > 0 => {
                    (paid.captured, paid.held) = (paid.held, 0);
                    paid.captures += 1;
                    json!({"outcome": "captured", "amount": money(paid.captured)})
                }
                "capture" => declined("nothing_held"),
                "void" if paid.captured > 0 => declined("captured"),
                "void" => {
                    let amount = std::mem::take(&mut paid.held);
                    paid.voided = true;
                    json!({"outcome": "voided", "amount": money(amount)})
                }
                "refund" => {
                    let amount = body["amount"]["amount"].as_i64().unwrap();
                    assert!(paid.refunded + amount <= paid.captured, "more goes back than was taken");
                    paid.refunded += amount;
                    json!({"outcome": "refunded", "amount": money(amount)})
                }
                other => panic!("no such act: {other}"),
            };
            paid.answers.insert(key, answer.clone());
            Ok(answer)
        })
        .await
}

fn declined(code: &str) -> Value {
    json!({"outcome": "declined", "code": code, "message": "declined"})
}

/// A shop's data.
pub(crate) struct Shop {
    pub(crate) capabilities: Capabilities,
    /// Keeps the folder of an embedded database.
    _folder: Option<TestCapabilities>,
}

/// The order service with its siblings, on a database that can fail.
pub(crate) struct World {
    pub(crate) siblings: Siblings,
    pub(crate) shop: Shop,
    pub(crate) client: OrderClient,
    endpoint: Endpoint,
    pub(crate) env: Env,
    stop: CancellationToken,
    jobs: Vec<tokio::task::JoinHandle<()>>,
}

impl World {
    /// A shop that runs, with short patience.
    pub(crate) async fn start() -> Self {
        let (shop, siblings) = Self::prepare().await;
        Self::open(shop, siblings).await
    }

    /// A shop's data and its siblings, before the order service runs.
    pub(crate) async fn prepare() -> (Shop, Siblings) {
        let folder = capabilities(Env::system(), &[order::SERVICE]).await;
        let (capabilities, siblings) = Self::around(folder.capabilities.clone());
        (Shop { capabilities, _folder: Some(folder) }, siblings)
    }

    /// The same on PostgreSQL, where there is one.
    pub(crate) async fn start_on_postgres() -> Option<Self> {
        let config = EngineConfig::Postgres { url: postgres::database().await?, connections_max: 8 };
        let db = Db::open(&config).await.unwrap();
        let local = ShopConfig::local(std::path::PathBuf::from("unused"));
        let capabilities = capabilities_on(Env::system(), local, db, &[order::SERVICE]).await;
        let (capabilities, siblings) = Self::around(capabilities);
        Some(Self::open(Shop { capabilities, _folder: None }, siblings).await)
    }

    fn around(mut capabilities: Capabilities) -> (Capabilities, Siblings) {
        let storage = FaultSwitch::new(&capabilities.env);
        capabilities.db = capabilities.db.clone().with_faults(&storage);
        let siblings = Siblings::new(storage);
        let endpoint = |name, router| {
            let endpoint = Endpoint::in_process(name);
            endpoint.bind(router);
            (name, endpoint)
        };
        let endpoints = [endpoint("product", siblings.product()), endpoint("payment", siblings.payment())];
        capabilities.endpoints = Arc::new(HashMap::from(endpoints));
        let mut config = (*capabilities.config).clone();
        config.order.wait = Duration::from_millis(1_500);
        config.order.lease = Duration::from_millis(400);
        capabilities.config = Arc::new(config);
        (capabilities, siblings)
    }

    /// Changes the settings of a shop that does not run yet.
    pub(crate) fn configure(shop: &mut Shop, change: impl FnOnce(&mut platform::config::OrderConfig)) {
        let mut config = (*shop.capabilities.config).clone();
        change(&mut config.order);
        shop.capabilities.config = Arc::new(config);
    }

    /// Starts the order service on what is there.
    pub(crate) async fn open(shop: Shop, siblings: Siblings) -> Self {
        let Mounted { router, jobs, .. } = (order::SERVICE.mount)(&shop.capabilities).await.unwrap();
        let endpoint = Endpoint::in_process("order");
        endpoint.bind(router);
        let stop = CancellationToken::new();
        let jobs = jobs.into_iter().map(|job| tokio::spawn((job.run)(stop.clone()))).collect();
        let env = shop.capabilities.env.clone();
        Self { siblings, client: OrderClient::new(endpoint.clone()), endpoint, env, shop, stop, jobs }
    }

    /// Stops the order service in good order; the data stays.
    pub(crate) async fn stop(self) -> (Shop, Siblings) {
        self.stop.cancel();
        for job in self.jobs {
            job.await.unwrap();
        }
        (self.shop, self.siblings)
    }

    /// The process died: its data is all that is left.
    pub(crate) fn abandon(self) -> (Shop, Siblings) {
        (self.shop, self.siblings)
    }

    /// The order service, for requests that no client of ours would send.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A guest's request.
    pub(crate) fn guest(&self) -> Context {
        Context { caller: Some("gateway"), ..Context::new(&self.env) }
    }

    /// A cart with `quantity` of `sku`.
    pub(crate) async fn cart(&self, sku: &str, quantity: i64) -> CartId {
        let cart = self.client.create_cart(&self.guest()).await.unwrap();
        self.client.set_line(&self.guest(), cart.id, sku, quantity).await.unwrap();
        cart.id
    }

    /// An order of one mug by `method`, whatever is answered.
    pub(crate) async fn buy(
        &self,
        method: &str,
    ) -> Result<platform::services::order::client::Placed, Problem> {
        let cart = self.cart("MUG", 1).await;
        self.place(cart, method, &format!("key-{cart}")).await
    }

    pub(crate) async fn place(
        &self,
        cart: CartId,
        method: &str,
        key: &str,
    ) -> Result<platform::services::order::client::Placed, Problem> {
        let placed = self.client.place(&self.guest(), &request(cart, method), key, false).await;
        placed.map_err(Problem::from)
    }
}

/// What a guest sends to place an order.
pub(crate) fn request(cart: CartId, method: &str) -> PlaceOrder {
    PlaceOrder {
        cart_id: cart,
        email: Some("ada@example.com".to_owned()),
        shipping_address: Address {
            name: "Ada".to_owned(),
            line1: "1 Main St".to_owned(),
            line2: None,
            city: "London".to_owned(),
            postal_code: "N1".to_owned(),
            country: "GB".to_owned(),
        },
        payment_method: method.to_owned(),
    }
}

/// Polls `look` until it answers something, for at most ten seconds.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < until, "in ten seconds it did not come about that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn dollars(amount: i64) -> Money {
    Money::new(amount, Currency::USD)
}
