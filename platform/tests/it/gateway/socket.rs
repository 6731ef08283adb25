//! Over real sockets: the listener's end, streams, odd requests, and services that run by themselves.

use axum::http::StatusCode;
use http_body_util::Full;
use platform::http::server::{ServerLimits, guarded, serve};
use platform::http::{CallError, Code, Endpoint, HttpClient};
use platform::secrets::Secrets;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;

struct Listening {
    address: SocketAddr,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

async fn listen(router: Router, limits: ServerLimits) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let ended = tokio::spawn(serve(listener, router, limits, stop.clone()));
    Listening { address, stop, ended }
}

/// Writes `request` and reads until the other side closes or `enough` came.
async fn exchange(address: SocketAddr, request: &[u8], enough: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    let read = async {
        while !String::from_utf8_lossy(&answer).contains(enough) {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(bytes) => answer.extend_from_slice(&buffer[..bytes]),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("an answer within ten seconds");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_caller_is_the_address_of_the_connection() {
    let front = Front::new().await;
    let server = listen(front.router.clone(), ServerLimits::default()).await;
    let request = b"GET /v1/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = exchange(server.address, request, "client_ip\":\"127.0.0.1\"").await;
    assert!(answer.contains("client_ip\":\"127.0.0.1\""), "{answer}");
}

#[tokio::test]
async fn odd_requests_over_a_socket_are_refused_and_the_listener_lives_on() {
    let front = Front::new().await;
    let server = listen(front.router.clone(), ServerLimits::default()).await;
    let huge = format!("POST /v1/echo HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", 64 * 1024 + 1);
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000)).repeat(17);
    let chunked =
        format!("POST /v1/echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n");
    for (request, wanted) in [
        ("GET /internal/v1/echo HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 404"),
        ("GET /v1/../internal/v1/echo HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 404"),
        ("GET http://x/internal/v1/echo HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 404"),
        ("GET internal/v1/echo HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 400"),
        ("OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 400"),
        ("not http at all\r\n\r\n", ""),
        ("GET /v1/echo\u{0} HTTP/1.1\r\nhost: x\r\n\r\n", ""),
        ("POST /v1/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx", ""),
        (&huge, "HTTP/1.1 413"),
        (&chunked, "HTTP/1.1 413"),
    ] {
        let answer = exchange(server.address, request.as_bytes(), "\r\n\r\n").await;
        // Where nothing is wanted, closing without a word will do.
        let is_refused = answer.starts_with(wanted) && !answer.contains("200 OK");
        assert!(is_refused, "{request:.60} → {answer:.200}");
    }
    let fine = exchange(server.address, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", "\"ok\"").await;
    assert!(fine.starts_with("HTTP/1.1 200"), "{fine}");
}

#[tokio::test]
async fn a_stream_arrives_piece_by_piece() {
    let front = Front::new().await;
    let server = listen(front.router.clone(), ServerLimits::default()).await;
    let request = b"GET /v1/echo/stream HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = exchange(server.address, request, "data: 2").await;
    assert!(answer.contains("text/event-stream") && answer.contains("data: 0"), "{answer}");
}

#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let front = Front::new().await;
    let limits = ServerLimits { head_timeout: Duration::from_millis(50), ..ServerLimits::default() };
    let server = listen(front.router.clone(), limits).await;
    let answer = exchange(server.address, b"GET /v1/echo HT", "never").await;
    assert!(!answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn the_end_lets_requests_finish_and_takes_no_new_ones() {
    let front = Front::new().await;
    let server = listen(front.router.clone(), ServerLimits::default()).await;
    let address = server.address;
    let held = tokio::spawn(async move {
        exchange(address, b"GET /v1/echo/held/1 HTTP/1.1\r\nhost: x\r\n\r\n", "released").await
    });
    let idle = TcpStream::connect(address).await.unwrap();
    until("the request is in flight", async || ARRIVED[1].load(Ordering::SeqCst) == 1).await;
    server.stop.cancel();
    until("the listener is closed", async || TcpStream::connect(address).await.is_err()).await;
    assert!(!server.ended.is_finished(), "a request is still in flight");
    HELD[1].add_permits(1);
    assert!(held.await.unwrap().contains("released"));
    tokio::time::timeout(Duration::from_secs(5), server.ended).await.expect("it ended").unwrap();
    drop(idle);
}

#[tokio::test]
async fn the_end_does_not_wait_for_ever() {
    let front = Front::new().await;
    let limits = ServerLimits { drain: Duration::from_millis(50), ..ServerLimits::default() };
    let server = listen(front.router.clone(), limits).await;
    let request = b"GET /v1/echo/stream HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut endless = TcpStream::connect(server.address).await.unwrap();
    endless.write_all(request).await.unwrap();
    let mut byte = [0];
    endless.read_exact(&mut byte).await.unwrap();
    server.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), server.ended).await.expect("it ended").unwrap();
}

fn operation() -> utoipa::openapi::path::Operation {
    utoipa::openapi::path::OperationBuilder::new().summary(Some("tells what reached it")).build()
}

/// The echo by itself, behind the guard, and the keyring that opens it.
async fn alone(front: &Front) -> (Listening, platform::http::envelope::Keyring) {
    let env = front.capabilities.env.clone();
    let keyring = front.capabilities.secrets.keyring().unwrap();
    let item = utoipa::openapi::PathItem::new(utoipa::openapi::HttpMethod::Get, operation());
    let paths = utoipa::openapi::PathsBuilder::new().path("/v1/echo", item).build();
    let document = utoipa::openapi::OpenApiBuilder::new().paths(paths).build();
    let standing = platform::http::standing::routes(
        "order",
        &front.capabilities.telemetry,
        true,
        platform::http::standing::described_by(&document),
    );
    let router = standing.merge(echo_router());
    let router = guarded("order", router, keyring.clone(), &env, Duration::from_secs(5));
    (listen(router, ServerLimits::default()).await, keyring)
}

#[tokio::test]
async fn a_service_by_itself_answers_only_signed_calls() {
    let front = Front::new().await;
    let (server, keyring) = alone(&front).await;
    let url = format!("http://{}", server.address);
    let client = HttpClient::new(Duration::from_secs(1));
    let ask = async |path: &str, headers: &[(&str, &str)]| {
        let mut request = hyper::Request::post(format!("{url}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::new())).unwrap();
        client.send(request, Duration::from_secs(5)).await.unwrap().status()
    };
    assert_eq!(ask("/internal/v1/echo", &[]).await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask("/v1/echo", &[]).await, StatusCode::UNAUTHORIZED);
    let forged = [("x-shop-envelope", "e30"), ("x-shop-envelope-mac", "AAAA")];
    assert_eq!(ask("/v1/echo", &forged).await, StatusCode::UNAUTHORIZED);
    for path in platform::http::standing::PATHS {
        let request = hyper::Request::get(format!("{url}{path}")).body(Full::new(Bytes::new())).unwrap();
        assert_eq!(
            client.send(request, Duration::from_secs(5)).await.unwrap().status(),
            StatusCode::OK,
            "{path}"
        );
    }

    let env = front.capabilities.env.clone();
    let timeout = Duration::from_secs(5);
    let endpoint = Endpoint::remote("order", &url, client.clone(), keyring, env.clone(), timeout);
    let context = Context { bearer: Some("oat_1".into()), ..Context::background("payment", &env) };
    let seen: Value =
        endpoint.call(&context, Method::POST, "/v1/echo?x=1", Some(&json!({ "a": 1 }))).await.unwrap();
    assert_eq!((&seen["caller"], &seen["bearer"]), (&json!("payment"), &json!("oat_1")));
    assert_eq!(seen["request_id"], *context.request_id);
    let nothing: Option<&()> = None;
    let broke =
        endpoint.call::<(), Value>(&context, Method::GET, "/v1/echo/panic", nothing).await.unwrap_err();
    let problem = broke.problem().expect("an answer");
    assert_eq!((problem.code, problem.request_id.as_deref()), (Code::Internal, Some(&*context.request_id)));

    let stranger = Secrets::generate(&Env::system()).keyring().unwrap();
    let endpoint = Endpoint::remote("order", &url, client, stranger, env, timeout);
    let refused = endpoint.call::<(), Value>(&context, Method::GET, "/v1/echo", nothing).await.unwrap_err();
    assert!(
        matches!(&refused, CallError::Problem(problem) if problem.code == Code::Unauthenticated),
        "{refused}"
    );
}

#[tokio::test]
async fn a_gateway_in_front_of_a_service_elsewhere_passes_everything_on() {
    let front = Front::new().await;
    let (server, keyring) = alone(&front).await;
    let mut capabilities = front.capabilities.clone();
    let mut endpoints = (*capabilities.endpoints).clone();
    let url = format!("http://{}", server.address);
    let remote = Endpoint::remote(
        "order",
        &url,
        HttpClient::new(Duration::from_secs(1)),
        keyring,
        capabilities.env.clone(),
        Duration::from_secs(5),
    );
    endpoints.insert("order", remote);
    capabilities.endpoints = Arc::new(endpoints);
    let router = Gateway::new(&capabilities, &[user::SERVICE, ECHO]).router(Router::new(), &[]);
    let split = Front { capabilities, router, ..front };
    let ada = split.register("ada@example.com").await;
    let request = Request::post("/v1/echo?x=1")
        .header("authorization", format!("Bearer {}", ada.access_token))
        .header("x-request-id", "over-a-socket")
        .header("x-shop-envelope", "forged")
        .header("idempotency-key", "k")
        .body(Body::from("hello"))
        .unwrap();
    let answer = split.send(request).await;
    let seen = answer.json();
    assert_eq!((&seen["user"], &seen["body_bytes"]), (&json!("ada@example.com"), &json!(5)));
    assert_eq!(
        (answer.header("x-request-id"), &seen["request_id"]),
        ("over-a-socket", &json!("over-a-socket"))
    );
    assert_eq!(seen["client_ip"], "192.0.2.1");
    let request = Request::get("/v1/echo/stream").body(Body::empty()).unwrap();
    let stream = split.router.clone().oneshot(request).await.unwrap();
    let first = stream.into_body().into_data_stream().next().await.expect("a piece").unwrap();
    assert!(first.starts_with(b"data: 0"), "{first:?}");
    assert_eq!(split.get("/v1/echo/panic").await.code(), "internal");
    assert_eq!(split.get("/internal/v1/echo").await.code(), "not_found");
    let page = String::from_utf8(split.get("/api").await.body.to_vec()).unwrap();
    assert!(page.contains("tells what reached it"), "a service elsewhere is asked for its description");
    server.stop.cancel();
    server.ended.await.unwrap();
    let away = split.get("/v1/echo").await;
    assert_eq!((away.code().as_str(), away.header("retry-after")), ("unavailable", "1"));
}

/// Every connection holds the room for one of these.
#[tokio::test]
async fn an_answer_on_its_way_takes_little_memory() {
    let front = Front::new().await;
    let face = Gateway::new(&front.capabilities, &[user::SERVICE, ECHO]).face(Router::new(), &[]);
    let request = Request::get("/v1/echo").body(Body::empty()).unwrap();
    let answering = face.answer(request, None);
    let bytes = size_of_val(&answering);
    assert!(bytes < 5 * 1024, "it takes {bytes} bytes");
    assert_eq!(answering.await.status(), StatusCode::OK);
}
