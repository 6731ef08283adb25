//! What goes in and what comes out: paths, headers, ids, bodies, versions, documents.

use axum::http::StatusCode;
use platform::telemetry::TraceQuery;
use serde_json::json;

use super::*;

#[tokio::test]
async fn internal_routes_cannot_be_reached_however_they_are_spelled() {
    let front = Front::new().await;
    for path in [
        "/internal/v1/echo",
        "/INTERNAL/v1/echo",
        "//internal/v1/echo",
        "/v1/../internal/v1/echo",
        "/v1/echo/..%2f..%2finternal/v1/echo",
        "/%69nternal/v1/echo",
        "/%2569nternal/v1/echo",
        "/internal;a=b/v1/echo",
        "/./internal/v1/echo",
        "/v1/%2e%2e/internal/v1/echo",
        "/internal%2fv1%2fecho",
        "/internal/v1/revocations",
    ] {
        let answer = front.get(path).await;
        let json = answer.json();
        assert!(matches!(answer.code().as_str(), "not_found" | "malformed"), "{path}: {json}");
        assert_ne!(answer.status, StatusCode::OK, "{path}");
    }
    let absolute = Request::get("http://shop.example/internal/v1/echo").body(Body::empty()).unwrap();
    assert_eq!(front.send(absolute).await.code(), "not_found");
    for path in ["/v1//echo", "/v1/./echo", "/v1/echo/%2e%2e/x", "/v1/echo/a%2fb", "/v1/echo/%ff"] {
        assert_eq!(front.get(path).await.code(), "malformed", "{path}");
    }
}

#[tokio::test]
async fn headers_that_only_we_may_send_are_taken_off() {
    let front = Front::new().await;
    let request = Request::get("/v1/echo")
        .header("x-shop-envelope", "forged")
        .header("x-shop-envelope-mac", "forged")
        .header("x-internal-identity", "admin")
        .header("x-forwarded-for", "6.6.6.6")
        .header("x-forwarded-proto", "https")
        .header("forwarded", "for=6.6.6.6")
        .header("idempotency-key", "mine")
        .body(Body::empty())
        .unwrap();
    let seen = front.send(request).await.json();
    assert_eq!(seen["headers"], json!(["idempotency-key"]));
    assert_eq!(seen["client_ip"], "192.0.2.1");
    assert_eq!((&seen["caller"], &seen["has_deadline"]), (&json!("gateway"), &json!(true)));
}

#[tokio::test]
async fn a_request_keeps_a_harmless_id_and_trace_and_is_given_one_otherwise() {
    let front = Front::new().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request =
        Request::get("/v1/echo").header("x-request-id", "checkout-1234").header("traceparent", trace);
    let named = front.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(named.header("x-request-id"), "checkout-1234");
    assert_eq!(named.json()["request_id"], "checkout-1234");
    let below = named.json()["traceparent"].as_str().unwrap().to_owned();
    assert_eq!(below[..36], trace[..36], "the trace goes on");
    assert_ne!(below, trace, "below a span of the gateway's own");
    let request = Request::get("/v1/echo")
        .header("x-request-id", "<script>alert(1)</script>")
        .header("traceparent", "x");
    let renamed = front.send(request.body(Body::empty()).unwrap()).await;
    assert!(renamed.header("x-request-id").starts_with("req_"));
    assert_eq!(renamed.json()["traceparent"].as_str().unwrap().len(), trace.len());
}

#[tokio::test]
async fn unknown_versions_and_paths_are_problems_and_the_rest_are_pages() {
    let front = Front::new().await;
    let unknown = front.get("/v2/products").await;
    assert_eq!((unknown.status, unknown.code()), (StatusCode::NOT_FOUND, "not_found".to_owned()));
    assert!(unknown.json()["detail"].as_str().unwrap().contains("`v2`"));
    assert_eq!(front.get("/v1/nothing").await.code(), "not_found");
    assert_eq!(front.get("/v1").await.code(), "not_found");
    assert_eq!(front.post("/v1/me/addresses/x/y", json!({})).await.code(), "not_found");
    let home = front.get("/").await;
    assert_eq!((home.status, &home.body[..]), (StatusCode::OK, &b"<h1>home</h1>"[..]));
    let odd = Request::get("/a//b").header("accept", "text/html,*/*").body(Body::empty()).unwrap();
    assert_eq!(front.send(odd).await.code(), "malformed");
    let put = Request::put("/v1/auth/login").body(Body::empty()).unwrap();
    let put = front.send(put).await;
    assert_eq!((put.status, put.code()), (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed".to_owned()));
}

#[tokio::test]
async fn bad_bodies_are_refused_for_the_right_reason() {
    let front = Front::with(|config| config.gateway.limits = false).await;
    let post = async |kind: &str, body: Vec<u8>| {
        let request =
            Request::post("/v1/auth/login").header("content-type", kind).body(Body::from(body)).unwrap();
        front.send(request).await
    };
    let json = "application/json";
    let fits = front.send(Request::post("/v1/echo").body(Body::from(vec![b'x'; 64 * 1024])).unwrap()).await;
    assert_eq!(fits.json()["body_bytes"], 64 * 1024);
    for path in ["/v1/echo", "/v1/auth/login", "/sign-in"] {
        let over = front.send(Request::post(path).body(Body::from(vec![b'x'; 64 * 1024 + 1])).unwrap()).await;
        assert_eq!((over.status, over.code()), (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large".to_owned()));
    }
    let chunks = futures_util::stream::iter((0..65).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024])));
    let streamed = Request::post("/v1/echo").body(Body::from_stream(chunks)).unwrap();
    assert_eq!(front.send(streamed).await.code(), "body_too_large");
    assert_eq!(post(json, b"{\"email\": \"\xff\xfe\"}".to_vec()).await.code(), "malformed");
    assert_eq!(post(json, b"{".to_vec()).await.code(), "malformed");
    assert_eq!(post("text/plain", b"{}".to_vec()).await.code(), "unsupported_media_type");
    let unknown = post(json, b"{\"email\":\"a@b.c\",\"password\":\"x\",\"admin\":true}".to_vec()).await;
    assert_eq!((unknown.status.as_u16(), unknown.code().as_str()), (422, "validation_failed"));
    assert_eq!(unknown.json()["errors"][0]["pointer"], "/admin");
    assert_eq!(post(json, b"{\"email\":1,\"password\":\"x\"}".to_vec()).await.code(), "validation_failed");
}

#[tokio::test]
async fn a_broken_or_endless_handler_is_an_answer_with_the_requests_id() {
    let front = Front::with(|config| config.gateway.timeout = Duration::from_millis(50)).await;
    let panicked = front.get("/v1/echo/panic").await;
    assert_eq!((panicked.status.as_u16(), panicked.code().as_str()), (500, "internal"));
    assert!(!String::from_utf8_lossy(&panicked.body).contains("the handler broke"));
    let late = front.get("/v1/echo/never").await;
    assert_eq!((late.status.as_u16(), late.code().as_str()), (504, "timeout"));
    assert_eq!(front.get("/v1/echo").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_service_that_is_not_up_is_503_and_worth_another_try() {
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    let test = testing::capabilities(Env::seeded(clock, 7), &[user::SERVICE, ECHO]).await;
    let gateway = Gateway::new(&test.capabilities, &[user::SERVICE, ECHO]);
    let router = gateway.router(Router::new(), &[]);
    let ask = async |request: Request<Body>| Answer::of(router.clone().oneshot(request).await.unwrap()).await;
    let away = ask(Request::get("/v1/echo").body(Body::empty()).unwrap()).await;
    assert_eq!((away.code().as_str(), away.header("retry-after")), ("unavailable", "1"));
    let signed =
        Request::get("/v1/echo").header("authorization", "Bearer a.b.c").body(Body::empty()).unwrap();
    assert_eq!(ask(signed).await.code(), "unavailable", "no keys is not the same as a wrong token");
    let ready = ask(Request::get("/readyz").body(Body::empty()).unwrap()).await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn browsers_are_told_how_to_treat_an_answer() {
    let front = Front::new().await;
    let api = front.get("/v1/echo").await;
    assert_eq!(api.header("x-content-type-options"), "nosniff");
    assert_eq!(api.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
    assert_eq!(api.header("cache-control"), "no-store");
    assert_eq!(api.header("strict-transport-security"), "");
    let page = front.get("/").await;
    assert_eq!((page.header("x-frame-options"), page.header("referrer-policy")), ("DENY", "same-origin"));
    let secure = Front::with(|config| config.gateway.tls = true).await;
    assert!(secure.get("/v1/echo").await.header("strict-transport-security").starts_with("max-age="));
}

#[tokio::test]
async fn other_origins_may_call_only_when_they_are_named() {
    let from = |origin: &str, method_name: &str| {
        let request = Request::builder().method(method(method_name)).uri("/v1/echo").header("origin", origin);
        request.body(Body::empty()).unwrap()
    };
    let closed = Front::new().await;
    let answer = closed.send(from("https://elsewhere.example", "GET")).await;
    assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), ("", ""));
    let named =
        |config: &mut ShopConfig| config.gateway.cors_origins = vec!["https://app.example".to_owned()];
    let open = Front::with(named).await;
    let preflight = open.send(from("https://app.example", "OPTIONS")).await;
    assert_eq!(preflight.status, StatusCode::NO_CONTENT);
    assert_eq!(preflight.header("access-control-allow-origin"), "https://app.example");
    assert_eq!(preflight.header("access-control-allow-credentials"), "");
    assert_eq!(open.send(from("https://app.example", "GET")).await.header("vary"), "origin");
    let other = open.send(from("https://evil.example", "GET")).await;
    assert_eq!(other.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn the_standing_routes_answer() {
    let front = Front::new().await;
    assert_eq!(front.get("/healthz").await.json()["status"], "ok");
    assert_eq!(front.get("/readyz").await.json()["status"], "ready");
    assert_eq!(front.get("/version").await.json()["version"], env!("CARGO_PKG_VERSION"));
    let document = front.get("/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.contains_key("/v1/auth/login") && !paths.keys().any(|path| path.starts_with("/internal")));
    let page = front.get("/api").await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(String::from_utf8_lossy(&page.body).contains("<code>POST /v1/auth/login</code>"));
    front.get("/v1/echo").await;
    let metrics = String::from_utf8(front.get("/metrics").await.body.to_vec()).unwrap();
    assert!(
        metrics.contains("service=\"gateway\",route=\"/v1/echo\",method=\"GET\",status=\"200\""),
        "{metrics}"
    );
    let hidden = Front::with(|config| config.metrics_public = false).await;
    assert_eq!(hidden.get("/metrics").await.code(), "not_found");
}

#[tokio::test]
async fn nothing_that_is_sent_becomes_a_new_label() {
    let front = Front::new().await;
    for number in 0..50 {
        front.get(&format!("/v1/echo/{number}")).await;
        front.get(&format!("/page/{number}")).await;
        front.get(&format!("/v1/nothing{number}")).await;
        let odd =
            Request::builder().method(method(&format!("M{number}"))).uri("/v1/echo").body(Body::empty());
        front.send(odd.unwrap()).await;
    }
    let metrics = front.capabilities.telemetry.metrics_text();
    let series =
        metrics.lines().filter(|line| line.starts_with("http_requests_total{service=\"gateway\"")).count();
    assert!(series <= 8, "{series} series of the gateway");
}

#[tokio::test]
async fn a_trace_begins_at_the_gateway() {
    let front = Front::new().await;
    let answer = front.get("/v1/echo").await;
    let query = TraceQuery {
        request_id: Some(answer.header("x-request-id").to_owned()),
        limit: 5,
        ..TraceQuery::default()
    };
    let found = front.capabilities.telemetry.traces().find(&query);
    let first: Vec<_> = found.iter().map(|trace| (trace.service.as_str(), trace.name.as_str())).collect();
    assert_eq!(first, [("gateway", "GET /v1/echo")]);
    assert!(answer.json()["traceparent"].as_str().unwrap().contains(&found[0].trace_id));
    let health = front.get("/healthz").await;
    let query = TraceQuery {
        request_id: Some(health.header("x-request-id").to_owned()),
        limit: 5,
        ..TraceQuery::default()
    };
    assert!(front.capabilities.telemetry.traces().find(&query).is_empty(), "who asks how we are leaves none");
}

#[tokio::test]
async fn a_prefix_that_is_to_be_left_says_so_and_no_other() {
    let front = Front::new().await;
    for path in ["/v1/echo/old", "/v1/echo/old/x"] {
        let answer = front.get(path).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("deprecation"), "@1793491200");
        assert_eq!(answer.header("sunset"), "Sat, 01 May 2027 00:00:00 GMT");
        assert_eq!(answer.header("link"), "</v1/echo>; rel=\"successor-version\"");
    }
    for path in ["/v1/echo", "/v1/echo/older"] {
        assert_eq!(front.get(path).await.header("deprecation"), "", "{path}");
    }
}
