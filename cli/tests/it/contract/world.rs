//! How the contract is asked: a request, its status, its headers, its JSON.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::{HeaderMap, Method, Request, StatusCode};
use platform::http::HttpClient;
use serde_json::{Value, json};

use crate::running::Running;
use crate::shopctl::PATIENCE;

/// A running shop from outside.
pub(super) struct World {
    url: String,
    http: HttpClient,
    fakepay: Value,
    /// The admin's header.
    pub(super) staff: String,
    next: AtomicU64,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    /// Itself, when the status is this one.
    pub(super) fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self
    }

    /// Itself, when it is a problem of this status and code, whole as every problem is.
    pub(super) fn refuses(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status.as_u16(), &self.body["code"]), (status, &json!(code)), "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["status"], json!(status));
        for field in ["type", "title", "detail", "request_id"] {
            assert!(self.body[field].is_string(), "{field} is missing in {}", self.body);
        }
        self
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(super) fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.body)).to_owned()
    }

    pub(super) fn items(&self) -> &[Value] {
        self.body["items"].as_array().unwrap_or_else(|| panic!("no items in {}", self.body))
    }
}

impl World {
    pub(super) async fn of(running: &Running) -> Self {
        let ready = running.ready();
        let mut world = Self {
            url: running.url(),
            http: HttpClient::new(Duration::from_secs(2)),
            fakepay: ready["fakepay"].clone(),
            staff: String::new(),
            next: AtomicU64::new(1),
        };
        let login = json!({"email": ready["admin"]["email"], "password": ready["admin"]["password"]});
        let session = world.post("/v1/auth/login", login).await.is(200);
        world.staff = format!("Bearer {}", session.text("access_token"));
        world
    }

    /// A word that nobody has used before.
    pub(super) fn fresh(&self, word: &str) -> String {
        format!("{word}-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Any request with any headers.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let bytes = body.map(ToString::to_string).unwrap_or_default();
        let mut all = headers.to_vec();
        if body.is_some() && !headers.iter().any(|(name, _)| *name == "content-type") {
            all.push(("content-type", "application/json"));
        }
        self.raw(method, &format!("{}{path}", self.url), bytes, &all).await
    }

    /// A request whose body is any text.
    pub(super) async fn raw(
        &self,
        method: Method,
        url: &str,
        body: String,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body)).expect("a request");
        let response = self.http.send(request, PATIENCE).await;
        let response = response.unwrap_or_else(|error| panic!("{url} did not answer: {error}"));
        let (parts, bytes) = response.into_parts();
        let text = || json!(String::from_utf8_lossy(&bytes));
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(super) fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None, &[]).await
    }

    /// As whoever the header names; nobody when it is empty.
    pub(super) async fn get_as(&self, who: &str, path: &str) -> Answer {
        let headers = [("authorization", who)];
        self.ask(Method::GET, path, None, if who.is_empty() { &[] } else { &headers }).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(&body), &[]).await
    }

    pub(super) async fn post_as(&self, who: &str, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(&body), &[("authorization", who)]).await
    }

    /// Asks until the answer is so: what another replica may not know yet.
    pub(super) async fn until(&self, who: &str, path: &str, is_so: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get_as(who, path).await;
            if is_so(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{path} never came to it: {} {}", answer.status, answer.body);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A new product with this much of one SKU; answers slug and SKU.
    pub(super) async fn product(&self, price: i64, units: i64) -> (String, String) {
        let slug = self.fresh("thing");
        let sku = slug.to_uppercase();
        let product = json!({
            "slug": slug, "title": format!("Thing {slug}"), "description": "of the contract", "category": "kitchen",
            "variants": [{"sku": sku, "title": "one size", "price": {"amount": price, "currency": "USD"}}],
        });
        self.post_as(&self.staff, "/v1/admin/products", product).await.is(201);
        if units > 0 {
            let receipt = json!({"quantity": units, "reason": "first delivery"});
            self.post_as(&self.staff, &format!("/v1/admin/stock/{sku}/receive"), receipt).await.is(200);
        }
        (slug, sku)
    }

    /// A guest's cart with one line; answers its id.
    pub(super) async fn cart(&self, sku: &str, quantity: i64) -> String {
        let cart = self.post("/v1/carts", json!({})).await.is(201).text("id");
        self.line(&cart, sku, quantity).await.is(200);
        cart
    }

    pub(super) async fn line(&self, cart: &str, sku: &str, quantity: i64) -> Answer {
        let body = json!({"quantity": quantity});
        self.ask(Method::PUT, &format!("/v1/carts/{cart}/lines/{sku}"), Some(&body), &[]).await
    }

    /// Places an order under `key`, with more headers.
    pub(super) async fn place(&self, order: &Value, key: &str, more: &[(&str, &str)]) -> Answer {
        let headers = [&[("idempotency-key", key)], more].concat();
        self.ask(Method::POST, "/v1/orders", Some(order), &headers).await
    }

    /// Turns the sandbox provider's faults: a mode, or none.
    pub(super) async fn provider(&self, faults: Option<Value>) {
        let word = |field: &str| self.fakepay[field].as_str().expect("a word").to_owned();
        let token = format!("Bearer {}", word("control_token"));
        let url = format!("{}/control/faults", word("url"));
        let method = if faults.is_some() { Method::PUT } else { Method::DELETE };
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        let body = faults.map(|faults| faults.to_string()).unwrap_or_default();
        assert!(self.raw(method, &url, body, &headers).await.status.is_success());
    }
}

/// A guest's order of `cart`.
pub(super) fn order_of(cart: &str) -> Value {
    json!({
        "cart_id": cart, "email": "ada@example.com", "payment_method": "pm_card_visa",
        "shipping_address": {"name": "Ada", "line1": "1 Road", "city": "London", "postal_code": "N1", "country": "GB"},
    })
}

/// An id that nobody has.
pub(super) const NOBODY: &str = "01900000-0000-7000-8000-000000000000";
