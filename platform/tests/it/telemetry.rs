//! What the shop tells of itself: bounded, complete, and without a secret.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode};
use axum::routing::{get, post};
use http_body_util::Full;
use platform::app::{self, Role, ServeOptions};
use platform::config::ShopConfig;
use platform::http::{Code, Context, Endpoint, HttpClient, Json, Problem};
use platform::telemetry::{
    Attribute, LogQuery, METRICS_CONTENT_TYPE, SpanKind, Telemetry, TraceQuery, redaction, scope,
};
use platform::vocabulary::{Env, OrderId};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing_subscriber::layer::SubscriberExt;

/// A gateway that hands on to an order service, both observed, both in process.
fn shop(telemetry: &Telemetry) -> Router {
    let order = Endpoint::in_process("order");
    let orders = Router::new()
        .route(
            "/v1/orders/{id}",
            get(|axum::extract::Path(id): axum::extract::Path<OrderId>| async move {
                scope::note_order(id);
                tracing::info!(card = "4242 4242 4242 4242", "order read");
                Json(json!({ "id": id }))
            }),
        )
        .route("/v1/broken", get(|| async { Problem::new(Code::Internal, "as it happens") }));
    order.bind(telemetry.observe("order", orders));
    let through = move |context: Context, request: Request<Body>| async move {
        // As the gateway does: what the router noted for itself stays behind.
        let (parts, body) = request.into_parts();
        let inner = Request::builder().method(parts.method).uri(parts.uri).body(body).unwrap();
        order.send(&context, inner).await.map_err(Problem::from)
    };
    let gateway = Router::new()
        .route("/v1/{*rest}", get(through.clone()).fallback(through))
        .route("/login", post(|body: String| async move { body.len().to_string() }))
        .fallback(platform::http::extract::no_such_route);
    telemetry.observe("gateway", gateway)
}

async fn ask(shop: &Router, method: &str, path: &str) -> (Context, StatusCode) {
    let context = Context::new(&Env::system());
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    request.extensions_mut().insert(context.clone());
    let response = shop.clone().oneshot(request).await.unwrap();
    (context, response.status())
}

#[tokio::test]
async fn a_request_is_one_trace_over_both_services_and_one_log_line_knows_its_order() {
    let telemetry = Telemetry::new();
    let subscriber = tracing_subscriber::registry()
        .with(telemetry.logs().memory_layer(&Env::system(), tracing::Level::INFO));
    let _guard = tracing::subscriber::set_default(subscriber);
    let shop = shop(&telemetry);
    let order: OrderId = Env::system().id();
    let (context, status) = ask(&shop, "GET", &format!("/v1/orders/{order}")).await;
    assert_eq!(status, StatusCode::OK);
    let query = TraceQuery { order_id: Some(order), limit: 5, ..TraceQuery::default() };
    let traces = telemetry.traces().find(&query);
    assert_eq!(traces.len(), 1);
    let trace = &traces[0];
    assert_eq!(
        (trace.trace_id.as_str(), trace.request_id.as_str()),
        (context.trace_id(), &*context.request_id)
    );
    let spans: Vec<_> =
        trace.spans.iter().map(|span| (span.service.as_str(), span.name.as_str(), span.depth)).collect();
    assert_eq!(spans, [("gateway", "GET /v1/{*rest}", 0), ("order", "GET /v1/orders/{id}", 1)]);
    let lines = telemetry.logs().find(&LogQuery {
        request_id: Some(context.request_id.to_string()),
        limit: 5,
        ..LogQuery::default()
    });
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].order_id, Some(order.to_string()));
    assert_eq!(lines[0].service.as_deref(), Some("order"));

    let (context, status) = ask(&shop, "GET", "/v1/broken").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let failed = telemetry.traces().find(&TraceQuery { failed: true, limit: 5, ..TraceQuery::default() });
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].request_id, *context.request_id);
    let code = ("shop.problem_code".to_owned(), "internal".to_owned());
    assert!(failed[0].spans.iter().any(|span| span.attributes.contains(&code)), "{:?}", failed[0].spans);
}

/// How many series a metric has: lines that are neither a comment nor a bucket of the same series.
fn series(text: &str, name: &str) -> usize {
    text.lines().filter(|line| line.starts_with(&format!("{name}{{"))).count()
}

#[tokio::test]
async fn nobody_can_make_labels_by_asking_for_odd_things() {
    let telemetry = Telemetry::new();
    let shop = shop(&telemetry);
    let env = Env::system();
    for number in 0..300 {
        ask(&shop, "GET", &format!("/v1/orders/{}", env.uuid())).await;
        ask(&shop, "GET", &format!("/wp-admin/{number}?token={number}")).await;
        ask(&shop, &format!("METHOD{number}"), &format!("/v1/orders/{number}")).await;
        ask(&shop, "GET", &format!("/v1/orders/{number}%00%ff")).await;
    }
    let text = telemetry.metrics_text();
    let requests = series(&text, "http_requests_total");
    assert!((4..=12).contains(&requests), "{requests} series\n{text}");
    assert!(series(&text, "http_request_duration_seconds_count") <= requests);
    for odd in ["METHOD", "wp-admin", "token="] {
        assert!(!text.contains(odd), "`{odd}` became part of a metric");
    }
    assert!(text.contains("route=\"unmatched\"") && text.contains("method=\"other\""), "{text}");
}

#[tokio::test]
async fn metrics_and_health_are_served() {
    let telemetry = Telemetry::new();
    telemetry.health().register("storage", || async { Err("the disk is gone".to_owned()) });
    telemetry.health().set_up(true);
    let routes = telemetry.health_routes().merge(telemetry.metrics_route());
    let get = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = routes.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (parts, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(get("/healthz").await.0.status, StatusCode::OK);
    let (parts, body) = get("/readyz").await;
    assert_eq!(parts.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("the disk is gone"), "{body}");
    telemetry.health().register("storage", || async { Ok(()) });
    assert_eq!(get("/readyz").await.0.status, StatusCode::OK);
    telemetry.health().set_up(false);
    assert_eq!(get("/readyz").await.0.status, StatusCode::SERVICE_UNAVAILABLE, "it drains");
    let (parts, body) = get("/metrics").await;
    assert_eq!(parts.headers["content-type"], METRICS_CONTENT_TYPE);
    for name in ["process_resident_memory_bytes", "process_cpu_seconds_total", "saga_inflight"] {
        assert!(body.lines().any(|line| line.starts_with(name)), "{name} is missing\n{body}");
    }
    assert!(body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_service_by_itself_tells_how_it_is_and_lets_nobody_else_in() {
    let folder = tempfile::tempdir().unwrap();
    let options = ServeOptions {
        roles: vec![Role::Service("notification")],
        listen: Some("127.0.0.1:0".parse().unwrap()),
        ..ServeOptions::default()
    };
    let shop = app::serve(ShopConfig::local(folder.path().to_owned()), options).await.unwrap();
    let url = shop.addresses[0].1.clone();
    let client = HttpClient::new(Duration::from_secs(1));
    let get = async |path: &str| {
        let request = Request::get(format!("{url}{path}")).body(Full::default()).unwrap();
        let answer = client.send(request, Duration::from_secs(10)).await.unwrap();
        (answer.status(), String::from_utf8(answer.body().to_vec()).unwrap())
    };
    for (path, holds) in [
        ("/healthz", "\"ok\""),
        ("/readyz", "\"storage\""),
        ("/metrics", "process_cpu_seconds_total"),
        ("/version", "\"notification\""),
        ("/openapi.json", "/v1/admin/deliveries"),
    ] {
        let (status, body) = get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        assert!(body.contains(holds), "{path}: {body}");
    }
    assert_eq!(get("/v1/admin/queues").await.0, StatusCode::UNAUTHORIZED);
    assert!(shop.drain().await);
}

/// V19: whatever is planted, nothing of it is told.
#[tokio::test]
async fn planted_secrets_reach_no_log_trace_or_metric() {
    const PLANTED: [&str; 7] = [
        "4242424242424242",
        "5555 5555 5555 4444",
        "sk_test_51HabcdefghijklmnoP",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl",
        "Bearer 0123456789abcdefghij",
        "postgres://shop:correct-horse@db/shop",
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.log");
    let telemetry = Telemetry::new();
    let subscriber = tracing_subscriber::registry()
        .with(telemetry.logs().memory_layer(&Env::system(), tracing::Level::TRACE));
    let guard = tracing::subscriber::set_default(subscriber);
    let context = Context::new(&Env::system());
    for planted in PLANTED {
        tracing::error!(detail = planted, error = %format!("it said {planted}"), "failed with {planted}");
        tracing::warn!(fields = ?vec![planted], "a list");
        let mut span = telemetry.start("payment", SpanKind::Client, "authorize", &context);
        span.attribute(Attribute::Operation, planted);
        span.fail(format!("the provider said {planted}"));
    }
    tracing::error!(
        password = "correct-horse-1",
        new_password = "correct-horse-2",
        access_token = "correct-horse-3",
        api_key = "correct-horse-4",
        cvv = 123,
        number = 4_242_424_242_424_242_u64,
        "named like secrets"
    );
    drop(guard);
    let mut told = String::new();
    for record in telemetry.logs().find(&LogQuery { limit: 1000, ..LogQuery::default() }) {
        assert!(serde_json::from_str::<Value>(&record.line).is_ok(), "{}", record.line);
        told.push_str(&format!("{}\n{}\n", record.line, record.message));
    }
    let traces = telemetry.traces().find(&TraceQuery { limit: 100, ..TraceQuery::default() });
    told.push_str(&serde_json::to_string(&traces).unwrap());
    told.push_str(&telemetry.metrics_text());
    assert!(
        told.contains("failed with [redacted]") && told.contains("the provider said [redacted]"),
        "{told}"
    );
    assert_eq!(redaction::findings(&told), []);
    for planted in PLANTED.into_iter().chain(["correct-horse", "123,", "4242424242424242"]) {
        assert!(!told.contains(planted), "`{planted}` was told");
    }
    assert!(!file.exists());
}

/// A collector that refuses its first request, as one does while it starts.
async fn collector(received: Arc<Mutex<Vec<Value>>>) -> String {
    let refused = Arc::new(Mutex::new(false));
    let take = move |body: Bytes| async move {
        let mut refused = refused.lock().unwrap();
        if !*refused {
            *refused = true;
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        received.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
        StatusCode::OK
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/v1/traces", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

#[tokio::test]
async fn kept_traces_reach_a_collector_that_was_away_at_first() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let url = collector(Arc::clone(&received)).await;
    let telemetry = Telemetry::new();
    let stop = CancellationToken::new();
    let client = HttpClient::new(Duration::from_secs(1));
    let exporter = tokio::spawn(telemetry.clone().export(client, url, stop.clone()));
    tokio::task::yield_now().await;
    let shop = shop(&telemetry);
    let order: OrderId = Env::system().id();
    let (context, _) = ask(&shop, "GET", &format!("/v1/orders/{order}")).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while received.lock().unwrap().is_empty() {
        assert!(Instant::now() < deadline, "nothing was exported");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ask(&shop, "GET", "/v1/broken").await;
    stop.cancel();
    exporter.await.unwrap();
    let received = received.lock().unwrap();
    assert!(received.len() >= 2, "what was left at the stop was sent too");
    let resources = received[0]["resourceSpans"].as_array().unwrap();
    let of = |service: &str| {
        let attribute = json!({"key": "service.name", "value": {"stringValue": service}});
        let resource = resources
            .iter()
            .find(|resource| resource["resource"]["attributes"].as_array().unwrap().contains(&attribute))
            .unwrap();
        resource["scopeSpans"][0]["spans"][0].clone()
    };
    let (gateway, order_span) = (of("gateway"), of("order"));
    assert_eq!(gateway["traceId"], context.trace_id());
    assert_eq!(order_span["parentSpanId"], gateway["spanId"]);
    assert_eq!((&gateway["kind"], &gateway["status"]["code"]), (&json!(2), &json!(0)));
    let nanos = |name: &str| gateway[name].as_str().unwrap().parse::<u128>().unwrap();
    assert!(nanos("endTimeUnixNano") >= nanos("startTimeUnixNano"));
    let about = json!({"key": "shop.order_id", "value": {"stringValue": order.to_string()}});
    assert!(order_span["attributes"].as_array().unwrap().contains(&about), "{order_span}");
}

#[tokio::test]
async fn a_collector_that_never_comes_costs_spans_and_nothing_else() {
    let telemetry = Telemetry::new();
    let stop = CancellationToken::new();
    let client = HttpClient::new(Duration::from_millis(200));
    let exporter =
        tokio::spawn(telemetry.clone().export(client, "http://127.0.0.1:1".to_owned(), stop.clone()));
    tokio::task::yield_now().await;
    let shop = shop(&telemetry);
    ask(&shop, "GET", "/v1/broken").await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), exporter).await.unwrap().unwrap();
    let dropped = telemetry.metrics_text();
    assert!(dropped.lines().any(|line| line == "otlp_spans_dropped_total 2"), "{dropped}");
}
