//! The public face: one door in front of the services and the pages.
//!
//! A request passes, in this order: its id and trace ([`edge`]), the spelling of its path ([`path`]), the cap on
//! requests in flight and the rate limit ([`limits`]), who asks ([`tokens`]), the size of its body, and then the
//! service that the path belongs to ([`routes`]). The answer is given the request's id and what browsers must know.
//!
//! It is one hand-written function rather than a tower of layers: this is the path of every request.

mod cors;
mod documents;
pub mod edge;
pub mod limits;
pub mod path;
mod refusal;
pub mod routes;
pub mod tokens;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tower::Service as _;

use self::documents::Description;
use self::edge::Credential;
use self::limits::Limits;
use self::routes::{Routes, Target};
use self::tokens::Tokens;
use crate::capabilities::Capabilities;
use crate::config::GatewayConfig;
use crate::http::extract::{self, BODY_BYTES_MAX};
use crate::http::operator::{Operators, PassError};
use crate::http::server::{bounded, name_request};
use crate::http::{Code, Context, Problem, standing};
use crate::manifest::RouteClass;
use crate::services::Service;
use crate::services::user::client::UserClient;
use crate::telemetry::{Attribute, Name, Span, SpanKind, Telemetry, method_label};
use crate::vocabulary::{Env, Identity};

/// The name of the gateway in contexts, metrics and logs.
pub const NAME: &str = "gateway";
/// Signing in must not fail for the token of the session before.
const WITHOUT_TOKEN: &str = "/v1/auth";
/// An operator's pass is for running the shop, not for shopping.
const WITH_PASS: &str = "/v1/admin/";
/// A body that is too large is still read, up to here, so that its sender hears why it was refused.
const BYTES_PASSED_OVER_MAX: u64 = 1024 * 1024;
/// How long such a sender may take.
const PASSING_OVER_MAX: Duration = Duration::from_secs(2);

/// The gateway, before its pages are known.
#[derive(Clone)]
pub struct Gateway {
    env: Env,
    config: GatewayConfig,
    telemetry: Telemetry,
    routes: Arc<Routes>,
    tokens: Tokens,
    /// None when the secrets hold no key to check a pass with: then nobody has one.
    operators: Option<Operators>,
    metrics_public: bool,
}

impl Gateway {
    /// A gateway in front of `services`, wherever `capabilities` says that they are.
    #[must_use]
    pub fn new(capabilities: &Capabilities, services: &[Service]) -> Self {
        let user = UserClient::new(capabilities.endpoint("user"));
        Self {
            env: capabilities.env.clone(),
            config: capabilities.config.gateway.clone(),
            telemetry: capabilities.telemetry.clone(),
            routes: Arc::new(Routes::new(
                services,
                |name| capabilities.endpoint(name),
                &capabilities.telemetry,
            )),
            tokens: Tokens::new(user, &capabilities.env),
            operators: capabilities.secrets.keyring().ok().map(|keyring| Operators::new(&keyring)),
            metrics_public: capabilities.config.metrics_public,
        }
    }

    /// The gateway's own check of access tokens, for the pages.
    #[must_use]
    pub fn verify(&self) -> Arc<dyn Fn(String) -> BoxFuture<'static, Option<Identity>> + Send + Sync> {
        let tokens = self.tokens.clone();
        Arc::new(move |token| {
            let tokens = tokens.clone();
            Box::pin(async move {
                let identity = tokens.identity(&token).await.ok()?;
                Some(Arc::unwrap_or_clone(identity))
            })
        })
    }

    /// Everything that the public may reach, behind one function: the services' routes, `/healthz`, `/readyz`,
    /// `/version`, `/openapi.json` and `/api` made of `documents`, `/metrics` when it is public, and `pages` for the rest.
    pub fn face(self, pages: Router, documents: &[utoipa::openapi::OpenApi]) -> Face {
        let description = Description::new(documents, self.routes.elsewhere(), &self.env);
        let standing = standing::routes(NAME, &self.telemetry, self.metrics_public, description.json_route());
        let standing = standing.route("/api", description.page_route());
        let limits = Limits::new(&self.config, self.env.clock(), &self.telemetry);
        let door = Door {
            limits,
            standing: standing.fallback(extract::no_such_route),
            pages: self.telemetry.observe("web", pages),
            names: Names::default(),
            gateway: self,
        };
        Face { door: Arc::new(door) }
    }

    /// [`Gateway::face`] as a router.
    pub fn router(self, pages: Router, documents: &[utoipa::openapi::OpenApi]) -> Router {
        let face = self.face(pages, documents);
        Router::new().fallback(move |request: Request| {
            let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
            face.clone().answer(request, peer)
        })
    }
}

/// The gateway with all that is behind it, ready to answer. Cheap to clone.
#[derive(Clone)]
pub struct Face {
    door: Arc<Door>,
}

impl Face {
    /// Answers a request; `peer` is the other end of its connection.
    pub async fn answer(self, request: Request, peer: Option<IpAddr>) -> Response {
        self.door.answer(request, peer).await
    }
}

/// What requests are called in metrics when they belong to no route of a service. A path is never a label.
struct Names {
    pages: Arc<str>,
    standing: Arc<str>,
    unmatched: Arc<str>,
}

impl Default for Names {
    fn default() -> Self {
        Self { pages: "pages".into(), standing: "standing".into(), unmatched: "unmatched".into() }
    }
}

struct Door {
    gateway: Gateway,
    limits: Limits,
    standing: Router,
    pages: Router,
    names: Names,
}

/// Where a request goes.
enum Way<'a> {
    Service(&'a Target),
    Standing,
    Pages,
    Nowhere(Box<Problem>),
}

impl Way<'_> {
    fn is_api(&self) -> bool {
        !matches!(self, Self::Pages)
    }
}

impl Door {
    async fn answer(&self, mut request: Request, peer: Option<IpAddr>) -> Response {
        let began = Instant::now();
        let config = &self.gateway.config;
        let mut context = edge::context(request.headers(), peer, &self.gateway.env, config);
        let is_tls = edge::is_tls(request.headers(), config);
        edge::strip(request.headers_mut(), is_tls);
        let method = request.method().clone();
        let origin = cors::allowed_origin(request.headers(), &config.cors_origins);
        let wants_html = refusal::wants_html(request.headers());
        let uri = request.uri().clone();
        let way = self.way(uri.path());
        let mut span = self.span(&way, &method, &context);
        if let Some(span) = &span {
            context = span.context().clone();
        }
        let mut response = match (&origin, &method, &span) {
            (Some(_), &Method::OPTIONS, _) if way.is_api() => cors::preflight(),
            (_, _, span) => {
                // Boxed: whatever is behind the door is large, and would be moved with every layer around it.
                let answer = Box::pin(bounded(config.timeout, self.pass(&way, &mut context, request)));
                match span {
                    Some(span) => span.run(answer).await,
                    None => answer.await,
                }
            }
        };
        if let Some(span) = &mut span {
            describe(span, response.status());
        }
        if let Way::Service(target) = &way {
            target.tell_to_leave(uri.path(), response.headers_mut());
        }
        if !way.is_api() && wants_html {
            response = refusal::as_page(response);
        }
        let mut response = name_request(response, &context);
        let is_page = matches!(way, Way::Pages) || uri.path() == "/api";
        edge::protect(response.headers_mut(), !is_page, is_tls);
        cors::tell(response.headers_mut(), origin.as_ref(), !config.cors_origins.is_empty());
        self.count(&way, &method, response.status().as_u16(), began.elapsed());
        response
    }

    fn count(&self, way: &Way<'_>, method: &Method, status: u16, took: Duration) {
        let telemetry = &self.gateway.telemetry;
        let route = match way {
            Way::Service(target) if method == Method::GET => {
                target.reads.answered(status, took);
                return telemetry.show(status, took);
            }
            Way::Service(target) => &target.prefix,
            Way::Standing => &self.names.standing,
            Way::Pages => &self.names.pages,
            Way::Nowhere(_) => &self.names.unmatched,
        };
        telemetry.answered(route, method, status, took);
    }

    /// Where a trace begins: the work of the gateway, with everything else below it. What nobody asked of a service or a
    /// page leaves none.
    fn span(&self, way: &Way<'_>, method: &Method, context: &Context) -> Option<Span> {
        let made = |route: &str| Name::from(format!("{} {route}", method_label(method)));
        let name = match way {
            Way::Service(target) if method == Method::GET => target.reads.name(),
            Way::Service(target) => made(&target.prefix),
            Way::Pages => made(&self.names.pages),
            Way::Standing | Way::Nowhere(_) => return None,
        };
        Some(self.gateway.telemetry.start(NAME, SpanKind::Server, name, context))
    }

    fn way(&self, raw: &str) -> Way<'_> {
        let nowhere = |code, text: String| Way::Nowhere(Box::new(Problem::new(code, text)));
        match path::check(raw) {
            Ok(()) => {}
            Err(path::Refusal::Internal) => {
                return nowhere(Code::NotFound, "nothing answers here".to_owned());
            }
            Err(path::Refusal::Ambiguous) => {
                let text = "the path can be read in more than one way: send it without dot segments, empty segments, encoded slashes, or broken encodings";
                return nowhere(Code::Malformed, text.to_owned());
            }
        }
        if let Some(target) = self.gateway.routes.find(raw) {
            return Way::Service(target);
        }
        if raw == "/api" || standing::PATHS.contains(&raw) {
            return Way::Standing;
        }
        match routes::version(raw) {
            Some(version) if self.gateway.routes.has_version(version) => {
                nowhere(Code::NotFound, format!("nothing answers {raw}"))
            }
            Some(version) => {
                nowhere(Code::NotFound, format!("there is no version `{version}` of this API, use `v1`"))
            }
            None => Way::Pages,
        }
    }

    async fn pass(&self, way: &Way<'_>, context: &mut Context, request: Request) -> Response {
        match way {
            Way::Nowhere(problem) => problem.as_ref().clone().into_response(),
            // Whoever asks how we are must be told, above all when we are busy.
            Way::Standing => Box::pin(with_context(&self.standing, context, request)).await,
            Way::Service(target) => match self.serve(target, context, request).await {
                Ok(response) | Err(response) => response,
            },
            Way::Pages => {
                // On the heap: a page is dear anyway, and every connection would carry the room for it.
                Box::pin(self.page(context, request)).await
            }
        }
    }

    async fn page(&self, context: &Context, request: Request) -> Response {
        let class = crate::web::route_class(request.method(), request.uri().path());
        let _in_flight = match self.limits.enter() {
            Ok(in_flight) => in_flight,
            Err(problem) => return problem.into_response(),
        };
        match self.admit(class, context, request).await {
            Ok((request, decision)) => {
                let mut response = with_context(&self.pages, context, request).await;
                if let Some(decision) = decision {
                    limits::tell(response.headers_mut(), &decision);
                }
                response
            }
            Err(response) => response,
        }
    }

    /// A request for a service; what is refused on the way is the error.
    async fn serve(
        &self,
        target: &Target,
        context: &mut Context,
        mut request: Request,
    ) -> Result<Response, Response> {
        let _in_flight = self.limits.enter().map_err(IntoResponse::into_response)?;
        match edge::take_credential(&mut request) {
            Ok(Credential::None) => {}
            Ok(Credential::Opaque(bearer)) => context.bearer = Some(bearer),
            Ok(Credential::Token(_) | Credential::Pass(_)) | Err(_)
                if target.prefix.starts_with(WITHOUT_TOKEN) => {}
            Ok(Credential::Pass(pass)) => {
                let identity = self.operator(&pass, &target.prefix).map_err(challenge)?;
                context.identity = Some(Arc::new(identity));
            }
            Ok(Credential::Token(token)) => match Box::pin(self.gateway.tokens.identity(&token)).await {
                Ok(identity) => context.identity = Some(identity),
                Err(problem) => return Err(challenge(problem)),
            },
            Err(problem) => return Err(challenge(problem)),
        }
        let class = target.class(request.method());
        let (request, decision) = self.admit(class, context, request).await?;
        let mut response = match target.endpoint.at_once(&request) {
            Some(response) => response,
            None => Box::pin(forward(target, context, request)).await,
        };
        if let Some(decision) = decision {
            limits::tell(response.headers_mut(), &decision);
        }
        Ok(response)
    }

    /// Whose pass it is, where a pass is taken.
    fn operator(&self, pass: &str, prefix: &str) -> Result<Identity, Problem> {
        let gateway = &self.gateway;
        let known = gateway.operators.as_ref().ok_or(PassError::Forged);
        let identity = known
            .and_then(|operators| operators.identity(pass, gateway.env.now()))
            .map_err(|error| Problem::new(Code::Unauthenticated, format!("{error}, make a new one")))?;
        if prefix.starts_with(WITH_PASS) {
            Ok(identity)
        } else {
            Err(Problem::new(Code::Forbidden, format!("an operator's pass opens {WITH_PASS} only")))
        }
    }

    /// The rate limit, and the size of the body.
    async fn admit(
        &self,
        class: RouteClass,
        context: &Context,
        request: Request,
    ) -> Result<(Request, Option<crate::resilience::limiter::Decision>), Response> {
        let decision = self.limits.take(class, context).map_err(|(problem, decision)| {
            let mut response = problem.into_response();
            limits::tell(response.headers_mut(), &decision);
            response
        })?;
        let request = match request.body().size_hint().exact() {
            Some(0) => request,
            _ => Box::pin(bounded_body(request)).await.map_err(IntoResponse::into_response)?,
        };
        Ok((request, decision))
    }
}

fn describe(span: &mut Span, status: StatusCode) {
    if status.is_client_error() || status.is_server_error() {
        span.attribute(Attribute::Status, status.as_u16());
    }
    if status.is_server_error() {
        span.mark_failed();
    }
}

async fn forward(target: &Target, context: &Context, request: Request) -> Response {
    let may_repeat = target.may_repeat(&request);
    match target.endpoint.forward(context, request, may_repeat).await {
        Ok(response) => response,
        Err(error) => Problem::from(error).into_response(),
    }
}

async fn with_context(router: &Router, context: &Context, mut request: Request) -> Response {
    request.extensions_mut().insert(context.clone());
    match router.clone().call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// A 401 that says what would be accepted.
fn challenge(problem: Problem) -> Response {
    let is_missing = problem.code == Code::Unauthenticated;
    let mut response = problem.into_response();
    if is_missing {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

async fn pass_over(body: Body) {
    let mut chunks = body.into_data_stream();
    while let Some(Ok(_)) = chunks.next().await {}
}

/// A body of known size goes through as it is, since the connection holds it to that size; one of unknown size is
/// read here, up to the limit.
async fn bounded_body(request: Request) -> Result<Request, Problem> {
    let limit = u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX);
    match request.body().size_hint().exact() {
        Some(size) if size <= limit => Ok(request),
        Some(size) => {
            if size <= BYTES_PASSED_OVER_MAX {
                // A client that is still sending when the connection closes never sees the answer.
                // One that announces a body and sends none gets it all the same, a little later.
                tokio::time::timeout(PASSING_OVER_MAX, pass_over(request.into_body())).await.ok();
            }
            Err(Problem::new(Code::BodyTooLarge, format!("the body may have at most {BODY_BYTES_MAX} bytes")))
        }
        None => {
            let (parts, body) = request.into_parts();
            let bytes = extract::read(Request::new(body)).await?;
            Ok(Request::from_parts(parts, Body::from(bytes)))
        }
    }
}
