//! The sandbox provider by itself: what it answers survives, and twins charge once.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use platform::http::{CallError, HttpClient};
use platform::sandbox::fakepay::{Fakepay, FakepayConfig, FakepaySecrets};
use platform::secrets::Secret;
use platform::vocabulary::Env;
use serde_json::{Value, json};

const KEY: &str = "sk_test_fakepay_integration";
const CONTROL: &str = "control-token-of-the-integration-tests";
const CHARGE: &str = "amount=1999&currency=usd&payment_method=pm_card_visa&payment_method_types[]=card&capture_method=manual&confirm=true&metadata[order_id]=o1";

fn secrets() -> FakepaySecrets {
    FakepaySecrets {
        api_key: Secret::from_text(KEY),
        webhook_secret: Secret::from_text("whsec_integration"),
        control_token: Secret::from_text(CONTROL),
    }
}

async fn start(folder: &Path, webhook_url: Option<String>) -> Fakepay {
    let config = FakepayConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        own_port: 0,
        data_dir: folder.to_owned(),
        webhook_url,
        secrets: secrets(),
    };
    Fakepay::start(config, Env::system()).await.unwrap()
}

struct Client {
    http: HttpClient,
    url: String,
}

impl Client {
    fn of(fakepay: &Fakepay) -> Self {
        Self { http: HttpClient::new(Duration::from_secs(1)), url: fakepay.url() }
    }

    async fn post(&self, path: &str, key: &str, form: &str) -> Result<(u16, Value), CallError> {
        let request = hyper::Request::post(format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {KEY}"))
            .header("idempotency-key", key)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form.to_owned())))
            .unwrap();
        self.send(request).await
    }

    async fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let request = hyper::Request::builder()
            .method(method)
            .uri(format!("{}/control/{path}", self.url))
            .header("authorization", format!("Bearer {CONTROL}"))
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let (status, answer) = self.send(request).await.unwrap();
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn statement(&self) -> Vec<Value> {
        self.control("GET", "statement", &Value::Null).await["items"].as_array().unwrap().clone()
    }

    async fn send(&self, request: hyper::Request<Full<Bytes>>) -> Result<(u16, Value), CallError> {
        let answer = self.http.send(request, Duration::from_secs(5)).await?;
        Ok((answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap()))
    }
}

#[tokio::test]
async fn the_statement_and_the_keys_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let fakepay = start(folder.path(), None).await;
    let client = Client::of(&fakepay);
    let (status, intent) = client.post("/v1/payment_intents", "k1", CHARGE).await.unwrap();
    assert_eq!((status, intent["status"].as_str()), (200, Some("requires_capture")));
    let path = format!("/v1/payment_intents/{}/capture", intent["id"].as_str().unwrap());
    client.post(&path, "k2", "").await.unwrap();
    let before = client.statement().await;
    fakepay.drain().await;

    let fakepay = start(folder.path(), None).await;
    let client = Client::of(&fakepay);
    assert_eq!(client.statement().await, before);
    let (_, again) = client.post("/v1/payment_intents", "k1", CHARGE).await.unwrap();
    assert_eq!(again, intent, "the key replays the answer as it was, not as the intent is now");
    let (status, captured) = client.post(&path, "k2", "").await.unwrap();
    assert_eq!((status, captured["amount_received"].as_i64()), (200, Some(1999)));
    assert_eq!(client.statement().await, before);
    fakepay.drain().await;
}

#[tokio::test]
async fn fifty_twins_charge_once_and_hear_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let fakepay = start(folder.path(), None).await;
    let client = Client::of(&fakepay);
    let twins = (0..50).map(|_| client.post("/v1/payment_intents", "twin", CHARGE));
    let answers = futures_util::future::join_all(twins).await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap() == first));
    let path = format!("/v1/payment_intents/{}/capture", first.1["id"].as_str().unwrap());
    // Twins with keys of their own: one captures, the others hear that it is too late.
    let keys: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
    let captures = keys.iter().map(|key| client.post(&path, key, ""));
    let captured = futures_util::future::join_all(captures).await;
    let taken = captured.iter().filter(|answer| answer.as_ref().unwrap().0 == 200).count();
    assert_eq!(taken, 1);
    let statement = client.statement().await;
    assert_eq!(statement.len(), 1);
    assert_eq!(statement[0]["captured"], 1999);
    fakepay.drain().await;
}

#[tokio::test]
async fn bad_days_come_when_they_are_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let fakepay = start(folder.path(), None).await;
    let client = Client::of(&fakepay);
    let client = &client;
    let fault = |fault: Value| async move { client.control("PUT", "faults", &fault).await };

    fault(json!({"mode": "refuse"})).await;
    let cut = client.post("/v1/payment_intents", "refused", CHARGE).await;
    assert!(matches!(cut, Err(CallError::Unknown(_))), "{cut:?}");

    fault(json!({"mode": "timeout_before", "latency_ms": 20})).await;
    assert!(client.post("/v1/payment_intents", "before", CHARGE).await.is_err());
    assert!(client.statement().await.is_empty());

    fault(json!({"mode": "blackhole", "latency_ms": 20})).await;
    assert!(client.post("/v1/payment_intents", "black", CHARGE).await.is_err());
    assert!(client.statement().await.is_empty());

    fault(json!({"mode": "timeout_after", "latency_ms": 20})).await;
    assert!(client.post("/v1/payment_intents", "after", CHARGE).await.is_err());
    assert_eq!(client.statement().await.len(), 1, "the charge stands");
    let (status, _) = client.post("/v1/payment_intents", "after", CHARGE).await.unwrap();
    assert_eq!(status, 200, "a replay is answered");
    assert_eq!(client.statement().await.len(), 1);

    fault(json!({"mode": "decline", "count": 1})).await;
    let (status, declined) = client.post("/v1/payment_intents", "no", CHARGE).await.unwrap();
    assert_eq!((status, declined["error"]["code"].as_str()), (402, Some("card_declined")));
    let (status, _) = client.post("/v1/payment_intents", "yes", CHARGE).await.unwrap();
    assert_eq!(status, 200, "only the first call was to be declined");

    client.control("DELETE", "faults", &Value::Null).await;
    fakepay.drain().await;
}

/// Asks at the shop's own door until it is as `is_so` says: the switch is thrown elsewhere.
async fn ask_until(client: &Client, key: &str, is_so: impl Fn(&Result<(u16, Value), CallError>) -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let answer = client.post("/v1/payment_intents", key, CHARGE).await;
        if is_so(&answer) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "still {answer:?}");
    }
}

#[tokio::test]
async fn nobody_listens_at_the_shops_own_door_while_the_provider_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let fakepay = start(folder.path(), None).await;
    let client = Client::of(&fakepay);
    let own = Client { url: fakepay.own_url(), ..Client::of(&fakepay) };
    ask_until(&own, "well", |answer| matches!(answer, Ok((200, _)))).await;
    for round in 0..3 {
        client.control("PUT", "faults", &json!({"mode": "refuse"})).await;
        // What was under way is cut, and may have arrived; what comes later provably has not.
        ask_until(&own, "refused", |answer| matches!(answer, Err(CallError::Refused(_)))).await;
        let taken = tokio::net::TcpListener::bind(own.url.trim_start_matches("http://")).await;
        assert!(taken.is_err(), "the port stays ours");
        client.control("DELETE", "faults", &Value::Null).await;
        ask_until(&own, &format!("back {round}"), |answer| matches!(answer, Ok((200, _)))).await;
    }
    client.control("PUT", "faults", &json!({"mode": "refuse", "count": 1})).await;
    let cut = own.post("/v1/payment_intents", "counted", CHARGE).await;
    assert!(matches!(cut, Err(CallError::Unknown(_))), "only some are concerned: they are cut: {cut:?}");
    let (status, _) = own.post("/v1/payment_intents", "counted", CHARGE).await.unwrap();
    assert_eq!(status, 200);
    fakepay.drain().await;
}

#[tokio::test]
async fn whoever_hangs_is_let_go_when_the_fault_is_cleared() {
    let folder = tempfile::tempdir().unwrap();
    let fakepay = start(folder.path(), None).await;
    let client = Client::of(&fakepay);
    client.control("PUT", "faults", &json!({"mode": "blackhole"})).await;
    let hanging = client.post("/v1/payment_intents", "k", CHARGE);
    let clear = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.control("DELETE", "faults", &Value::Null).await;
    };
    let (answer, ()) = tokio::time::timeout(Duration::from_secs(4), async { tokio::join!(hanging, clear) })
        .await
        .expect("long before the call's own time-out");
    assert!(answer.is_err());
    fakepay.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stripes_own_client_is_content() {
    let python = std::env::var("SHOPCTL_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_stripe = Command::new(&python).args(["-c", "import stripe, pytest"]).output();
    if !has_stripe.is_ok_and(|output| output.status.success()) {
        let required = std::env::var("SHOPCTL_REQUIRE_STRIPE").is_ok_and(|value| value == "1");
        assert!(!required, "`{python}` has no stripe package, and this run requires it");
        eprintln!("skipped: `{python}` has no stripe package (pip install -r tests/stripe/requirements.txt)");
        return;
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let fakepay = start(folder.path(), Some(format!("http://127.0.0.1:{port}/webhook"))).await;
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/stripe");
    let mut pytest = Command::new(python);
    pytest
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .arg(tests)
        .env("FAKEPAY_URL", fakepay.url())
        .env("FAKEPAY_API_KEY", KEY)
        .env("FAKEPAY_CONTROL_TOKEN", CONTROL)
        .env("FAKEPAY_WEBHOOK_SECRET", "whsec_integration")
        .env("FAKEPAY_WEBHOOK_PORT", port.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let output = tokio::task::spawn_blocking(move || pytest.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    fakepay.drain().await;
}
