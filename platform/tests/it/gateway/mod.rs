//! The gateway, in front of the user service and of a service that tells what reaches it.

mod edge;
mod limits;
mod socket;
mod tokens;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use axum::routing::{any, get};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use platform::capabilities::Capabilities;
use platform::config::ShopConfig;
use platform::gateway::Gateway;
use platform::http::{Context, Json, Path, extract};
use platform::manifest::{Deprecation, Manifest, Route, RouteClass};
use platform::services::user::client::Session;
use platform::services::{Mounted, Service, user};
use platform::testing::{self, TestCapabilities};
use platform::vocabulary::{Clock, Env, Timestamp};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// Holds requests to `/v1/echo/held/{n}` until a permit is added to the n-th; one for each test that holds any.
pub(crate) static HELD: [Semaphore; 2] = [const { Semaphore::const_new(0) }; 2];
/// How many requests each of them has seen.
pub(crate) static ARRIVED: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

pub(crate) const ECHO: Service = Service {
    manifest: Manifest {
        name: "order",
        about: "tells what reached it",
        port: 8999,
        routes: &[
            Route { prefix: "/v1/echo", class: RouteClass::Read },
            Route { prefix: "/v1/orders", class: RouteClass::Checkout },
            Route { prefix: "/v1/admin/echo", class: RouteClass::Admin },
        ],
        deprecated: &[Deprecation {
            prefix: "/v1/echo/old",
            since: "2026-11-01",
            sunset: "2027-05-01",
            instead: Some("/v1/echo"),
        }],
        keyed: &[],
        needs: &[],
        objectives: &[],
    },
    migrations: &[],
    queues: &[],
    outbox: None,
    mount: mount_echo,
};

fn mount_echo(_: &Capabilities) -> BoxFuture<'static, anyhow::Result<Mounted>> {
    let openapi = utoipa::openapi::OpenApiBuilder::new().build();
    Box::pin(async move { Ok(Mounted { router: echo_router(), openapi, jobs: vec![] }) })
}

pub(crate) fn echo_router() -> Router {
    let held = |Path(number): Path<usize>| async move {
        ARRIVED[number].fetch_add(1, Ordering::SeqCst);
        HELD[number].acquire().await.unwrap().forget();
        "released"
    };
    let endless = || async {
        let numbers =
            futures_util::stream::iter(0..3).map(|n| Ok::<_, std::io::Error>(format!("data: {n}\n\n")));
        let silence = futures_util::stream::pending();
        ([("content-type", "text/event-stream")], Body::from_stream(numbers.chain(silence)))
    };
    Router::new()
        .route(
            "/v1/echo/panic",
            get(|| async {
                if true {
                    panic!("the handler broke")
                }
            }),
        )
        .route("/v1/echo/never", get(std::future::pending::<()>))
        .route("/v1/echo/held/{number}", get(held))
        .route("/v1/echo/stream", get(endless))
        .route("/internal/v1/echo", any(echo))
        .route("/v1/echo", any(echo))
        .route("/v1/echo/{*rest}", any(echo))
        .route("/v1/orders", any(echo))
        .route("/v1/admin/echo", any(echo))
        .fallback(extract::no_such_route)
}

async fn echo(context: Context, headers: HeaderMap, body: Bytes) -> Json<Value> {
    let mut names: Vec<&str> = headers.keys().map(axum::http::HeaderName::as_str).collect();
    names.sort_unstable();
    Json(json!({
        "request_id": &*context.request_id,
        "traceparent": &*context.traceparent,
        "user": context.identity.as_ref().map(|identity| identity.email.clone()),
        "bearer": context.bearer.as_ref().map(|bearer| bearer.expose().to_owned()),
        "caller": context.caller,
        "client_ip": context.client_ip,
        "has_deadline": context.deadline.is_some(),
        "headers": names,
        "body_bytes": body.len(),
    }))
}

/// A gateway in front of the user service and the echo.
pub(crate) struct Front {
    _test: TestCapabilities,
    pub(crate) capabilities: Capabilities,
    pub(crate) clock: Clock,
    pub(crate) router: Router,
    pub(crate) verify: platform::web::Verify,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{} {:?}", self.status, self.body))
    }

    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{:?}", self.body);
        let json = self.json();
        assert_eq!(json["status"], self.status.as_u16());
        assert_eq!(json["request_id"], self.header("x-request-id"));
        json["code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Front {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ShopConfig)) -> Self {
        let clock = Clock::manual("2026-11-01T12:00:00Z".parse::<Timestamp>().unwrap());
        let env = Env::seeded(clock.clone(), 7);
        let services = [user::SERVICE, ECHO];
        let test = testing::capabilities(env, &services).await;
        let mut capabilities = test.capabilities.clone();
        let mut config = ShopConfig::clone(&capabilities.config);
        change(&mut config);
        capabilities.config = Arc::new(config);
        let mut documents = Vec::new();
        for service in &services {
            let mounted = (service.mount)(&capabilities).await.unwrap();
            documents.push(mounted.openapi);
            capabilities.endpoint(service.manifest.name).bind(mounted.router);
        }
        capabilities.telemetry.health().set_up(true);
        let gateway = Gateway::new(&capabilities, &services);
        let verify = gateway.verify();
        let pages = Router::new()
            .route("/", get(|| async { axum::response::Html("<h1>home</h1>") }))
            .route("/sign-in", any(|| async { "signed in" }))
            .fallback(extract::no_such_route);
        let router = gateway.router(pages, &documents);
        Self { _test: test, capabilities, clock, router, verify }
    }

    pub(crate) async fn send(&self, mut request: Request<Body>) -> Answer {
        let from = SocketAddr::from((IpAddr::from([192, 0, 2, 1]), 4000));
        if request.extensions().get::<ConnectInfo<SocketAddr>>().is_none() {
            request.extensions_mut().insert(ConnectInfo(from));
        }
        Answer::of(self.router.clone().oneshot(request).await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn get_as(&self, token: &str, path: &str) -> Answer {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        let request = Request::post(path).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn register(&self, email: &str) -> Session {
        let answer = self.post("/v1/auth/register", json!({ "email": email, "password": PASSWORD })).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        serde_json::from_slice(&answer.body).unwrap()
    }
}

pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "{what} never came true");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn method(name: &str) -> Method {
    name.parse().unwrap()
}
