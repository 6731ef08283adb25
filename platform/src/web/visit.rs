//! One request of a browser: who it is, what its cookies say, and what its answer sets.
//!
//! The session is two cookies: the access token, and the refresh token that renews it without a word. A refresh
//! token may be used once, and a browser opens several pages at once: so one renewal serves all of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::cookies::Cookies;
use super::failure;
use super::fields::Fields;
use super::page::{self, Flash, Page, Tone};
use crate::capabilities::Capabilities;
use crate::http::address::segment;
use crate::http::{Code, Context, Problem, extract};
use crate::services::notification::client::NotificationClient;
use crate::services::order::client::OrderClient;
use crate::services::payment::client::PaymentClient;
use crate::services::product::client::{Category, ProductCard, ProductClient};
use crate::services::user::client::{Session, UserClient};
use crate::vocabulary::{CartId, Identity, Role};

/// Checks an access token: the gateway's own check, handed to the pages.
pub type Verify = Arc<dyn Fn(String) -> BoxFuture<'static, Option<Identity>> + Send + Sync>;

const ACCESS: &str = "access";
const REFRESH: &str = "refresh";
const CART: &str = "cart";
const CART_COUNT: &str = "cart_count";
const BROWSER: &str = "browser";
const FLASH: &str = "flash";
/// A guest's key to one order; the order's id follows.
const ORDER_KEY: &str = "order_";

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// Where a product is and how it looks: what a cart's line does not tell.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The product's name in addresses.
    pub slug: String,
    /// The path of its picture.
    pub image: String,
}

/// What all pages share.
#[derive(Clone)]
pub struct Web {
    /// Time, ids and settings.
    pub capabilities: Capabilities,
    /// Accounts and sessions.
    pub users: UserClient,
    /// Catalogue and stock.
    pub products: ProductClient,
    /// Carts and orders.
    pub orders: OrderClient,
    /// Payments and breakers.
    pub payments: PaymentClient,
    /// Deliveries, queues and dead letters.
    pub notifications: NotificationClient,
    verify: Verify,
    renewed: moka::future::Cache<[u8; 32], Arc<Session>>,
    shelf: moka::future::Cache<(), Arc<Vec<Category>>>,
    pictures: moka::future::Cache<String, Picture>,
}

impl Web {
    /// The pages over `capabilities`, believing the tokens that `verify` believes.
    #[must_use]
    pub fn new(capabilities: &Capabilities, verify: Verify) -> Self {
        let keep = |seconds| Duration::from_secs(seconds);
        Self {
            capabilities: capabilities.clone(),
            users: UserClient::new(capabilities.endpoint("user")),
            products: ProductClient::new(capabilities.endpoint("product")),
            orders: OrderClient::new(capabilities.endpoint("order")),
            payments: PaymentClient::new(capabilities.endpoint("payment")),
            notifications: NotificationClient::new(capabilities.endpoint("notification")),
            verify,
            renewed: moka::future::Cache::builder().max_capacity(10_000).time_to_live(keep(30)).build(),
            shelf: moka::future::Cache::builder().max_capacity(1).time_to_live(keep(15)).build(),
            pictures: moka::future::Cache::builder().max_capacity(2_000).build(),
        }
    }

    /// The categories, at most a few seconds old. A catalogue that does not answer leaves the shelf bare: no page
    /// fails for want of it.
    pub async fn categories(&self, context: &Context) -> Arc<Vec<Category>> {
        let read = async {
            let list = self.products.categories(context).await.map_err(Problem::from)?;
            Ok::<_, Problem>(Arc::new(list.items))
        };
        self.shelf.try_get_with((), read).await.unwrap_or_default()
    }

    /// Remembers how the products that a page shows look, for the carts that they end up in.
    pub async fn remember(&self, products: &[ProductCard]) {
        for product in products {
            for variant in &product.variants {
                let picture = Picture { slug: product.slug.clone(), image: product.image.clone() };
                self.pictures.insert(variant.sku.clone(), picture).await;
            }
        }
    }

    /// How `sku` looks, when this process has shown it before. A cart without a picture is still a cart.
    pub async fn picture(&self, sku: &str) -> Option<Picture> {
        self.pictures.get(sku).await
    }

    /// Renews a session: one call for all requests that come with the same token at once.
    async fn renew(&self, context: &Context, refresh_token: &str) -> Result<Arc<Session>, Arc<Problem>> {
        let key: [u8; 32] = Sha256::digest(refresh_token).into();
        let call = async {
            let session = self.users.refresh(context, refresh_token).await.map_err(Problem::from)?;
            Ok::<_, Problem>(Arc::new(session))
        };
        self.renewed.try_get_with(key, call).await
    }
}

/// One request of a browser. Cheap to clone; clones share the cookies.
#[derive(Clone)]
pub struct Visit {
    /// What all pages share.
    pub web: Web,
    /// The request, with the identity of who is signed in.
    pub context: Context,
    path: Arc<str>,
    /// A lock of the standard library: it is never held across an await.
    cookies: Arc<Mutex<Cookies>>,
    flashes: Arc<Vec<Flash>>,
}

impl Visit {
    fn cookies(&self) -> MutexGuard<'_, Cookies> {
        self.cookies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is signed in.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.context.identity.as_deref()
    }

    /// Who is signed in, or the problem that leads to the sign-in page.
    pub fn signed_in(&self) -> Result<&Identity, Problem> {
        self.identity().ok_or_else(|| Problem::new(Code::Unauthenticated, "sign in to see this page"))
    }

    /// Who is signed in and holds one of `roles`.
    pub fn staff(&self, roles: &[Role]) -> Result<&Identity, Problem> {
        let identity = self.signed_in()?;
        if identity.is_any(roles) {
            return Ok(identity);
        }
        Err(Problem::new(Code::Forbidden, "your account does not have the role that this page needs"))
    }

    /// Opens a session in this browser.
    pub fn begin_session(&self, session: &Session) {
        let mut cookies = self.cookies();
        cookies.set(ACCESS, &session.access_token, Some(Duration::from_secs(session.expires_in)));
        cookies.set(REFRESH, &session.refresh_token, Some(MONTH));
        // A fresh browser secret: forms drawn before the sign-in are not good for after it.
        cookies.set(BROWSER, &self.fresh_secret(), Some(MONTH));
    }

    /// Ends the session in this browser; answers the refresh token to revoke.
    pub fn end_session(&self) -> Option<String> {
        let mut cookies = self.cookies();
        let refresh_token = cookies.get(REFRESH).map(str::to_owned);
        for name in [ACCESS, REFRESH, CART, CART_COUNT, BROWSER] {
            cookies.forget(name);
        }
        refresh_token
    }

    /// The cart of this browser.
    #[must_use]
    pub fn cart_id(&self) -> Option<CartId> {
        self.cookies().get(CART).and_then(|id| id.parse().ok())
    }

    /// Keeps which cart is this browser's and how many units are in it.
    pub fn keep_cart(&self, id: CartId, count: u32) {
        let mut cookies = self.cookies();
        cookies.set(CART, &id.to_string(), Some(MONTH));
        cookies.set(CART_COUNT, &count.to_string(), Some(MONTH));
    }

    /// Lets go of the cart: it was bought, or is gone.
    pub fn forget_cart(&self) {
        let mut cookies = self.cookies();
        cookies.forget(CART);
        cookies.forget(CART_COUNT);
    }

    /// The guest's key to an order.
    #[must_use]
    pub fn order_key(&self, order_id: &str) -> Option<String> {
        self.cookies().get(&format!("{ORDER_KEY}{order_id}")).map(str::to_owned)
    }

    /// Keeps a guest's key to an order, so that its address need not carry it.
    pub fn keep_order_key(&self, order_id: &str, key: &str) {
        self.cookies().set(&format!("{ORDER_KEY}{order_id}"), key, Some(MONTH));
    }

    /// Leaves a message for the next page.
    pub fn say(&self, tone: Tone, text: &str) {
        let line = format!("{}|{}", tone.as_str(), text.chars().take(400).collect::<String>());
        self.cookies().set(FLASH, &URL_SAFE_NO_PAD.encode(line), Some(Duration::from_secs(60)));
    }

    /// The frame for a page of `title`, with the categories on the shelf.
    pub async fn shop_page(&self, title: &str) -> Page {
        let shelf = self.web.categories(&self.context).await;
        let shelf = shelf.iter().map(|category| (category.slug.clone(), category.title.clone())).collect();
        Page { shelf, ..self.page(title) }
    }

    /// The frame for a page of `title`, without a shelf.
    #[must_use]
    pub fn page(&self, title: &str) -> Page {
        let cookies = self.cookies();
        Page {
            title: title.to_owned(),
            path: self.path.to_string(),
            identity: self.identity().cloned(),
            cart_count: cookies.get(CART_COUNT).and_then(|count| count.parse().ok()).unwrap_or(0),
            form_token: cookies.get(BROWSER).map(|secret| self.form_token(secret)).unwrap_or_default(),
            flashes: self.flashes.to_vec(),
            shelf: Vec::new(),
            query: String::new(),
            faults_allowed: self.web.capabilities.config.faults_allowed,
        }
    }

    /// Answers with a page.
    pub fn show<T: Template>(&self, template: &T) -> Response {
        page::html(StatusCode::OK, template)
    }

    /// Answers with a page whose form has mistakes.
    pub fn show_again<T: Template>(&self, template: &T) -> Response {
        page::html(StatusCode::UNPROCESSABLE_ENTITY, template)
    }

    fn fresh_secret(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.web.capabilities.env.bytes::<18>())
    }

    /// A form's token: a MAC of the browser's secret, so that neither another site nor a planted cookie can make it.
    fn form_token(&self, secret: &str) -> String {
        let key = self.web.capabilities.secrets.csrf.bytes();
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
        mac.update(secret.as_bytes());
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }

    fn has_token(&self, sent: &str) -> bool {
        let Some(secret) = self.cookies().get(BROWSER).map(str::to_owned) else { return false };
        let expected = self.form_token(&secret);
        !expected.is_empty()
            && bool::from(subtle::ConstantTimeEq::ct_eq(expected.as_bytes(), sent.as_bytes()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || Problem::new(Code::Internal, "the page was mounted without its visit");
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

/// A form of ours: urlencoded, at most 64 KiB, with its token.
#[derive(Debug)]
pub struct Form(pub Fields);

impl<S: Send + Sync> axum::extract::FromRequest<S> for Form {
    type Rejection = Problem;
    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let visit = request.extensions().get::<Visit>().cloned();
        let fields = Fields::parse(&extract::read(request).await?);
        match visit {
            Some(visit) if visit.has_token(fields.value("form_token")) => Ok(Self(fields)),
            _ => Err(Problem::new(
                Code::Forbidden,
                "this form is too old or not ours, so nothing was changed; go back, load the page again, and retry",
            )),
        }
    }
}

/// Around every page: makes the [`Visit`], and gives its cookies to the answer; turns a problem into a page.
pub async fn welcome(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    let context =
        request.extensions().get::<Context>().cloned().unwrap_or_else(|| Context::new(&web.capabilities.env));
    let context = context.called_by("web");
    if is_foreign_form(&request) {
        return Problem::new(Code::Forbidden, "forms are taken from this shop's own pages only")
            .into_response();
    }
    let secure = request.headers().get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let cookies = Cookies::read(request.headers(), secure);
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let asked = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let mut visit = Visit {
        web,
        context,
        path: path.into(),
        flashes: Arc::new(flashes(&cookies)),
        cookies: Arc::new(Mutex::new(cookies)),
    };
    visit.recognise().await;
    {
        let mut cookies = visit.cookies();
        if cookies.get(BROWSER).is_none() {
            let secret = visit.fresh_secret();
            cookies.set(BROWSER, &secret, Some(MONTH));
        }
    }
    request.extensions_mut().insert(visit.clone());
    let mut response = next.run(request).await;
    let is_page = response.status() != StatusCode::SEE_OTHER;
    if let Some(problem) = response.extensions().get::<Problem>().cloned() {
        response = if problem.code == Code::Unauthenticated {
            let back = if method == Method::GET { asked.as_str() } else { "/" };
            visit.say(Tone::Info, "Sign in to go on.");
            page::redirect(&format!("/sign-in?next={}", segment(back)))
        } else {
            failure::draw(&visit, &problem).await
        };
    } else if is_page && !visit.flashes.is_empty() && is_html(&response) {
        // Shown now; fragments and streams leave them for the next whole page.
        let mut cookies = visit.cookies();
        if cookies.is_untouched(FLASH) {
            cookies.forget(FLASH);
        }
    }
    visit.cookies().write(response.headers_mut());
    response
}

impl Visit {
    /// Finds out who this is, renewing the session when its access token has run out.
    async fn recognise(&mut self) {
        let (access, refresh) = {
            let cookies = self.cookies();
            (cookies.get(ACCESS).map(str::to_owned), cookies.get(REFRESH).map(str::to_owned))
        };
        if let Some(token) = access
            && let Some(identity) = (self.web.verify)(token).await
        {
            self.context.identity = Some(Arc::new(identity));
            return;
        }
        let Some(refresh) = refresh else { return };
        match self.web.renew(&self.context, &refresh).await {
            Ok(session) => {
                let mut cookies = self.cookies();
                cookies.set(ACCESS, &session.access_token, Some(Duration::from_secs(session.expires_in)));
                cookies.set(REFRESH, &session.refresh_token, Some(MONTH));
                drop(cookies);
                self.context.identity = Some(Arc::new(identity_of(&session)));
            }
            // Only an answer that says no ends the session; a user service that is away does not.
            Err(problem) if problem.status == 401 => {
                let mut cookies = self.cookies();
                cookies.forget(ACCESS);
                cookies.forget(REFRESH);
            }
            Err(_) => {}
        }
    }
}

/// Who a session is of.
#[must_use]
pub fn identity_of(session: &Session) -> Identity {
    let user = &session.user;
    Identity { user_id: user.id, email: user.email.clone(), roles: user.roles.clone() }
}

fn flashes(cookies: &Cookies) -> Vec<Flash> {
    let line = cookies.get(FLASH).and_then(|value| URL_SAFE_NO_PAD.decode(value).ok());
    let Some(line) = line.and_then(|bytes| String::from_utf8(bytes).ok()) else { return Vec::new() };
    let Some((tone, text)) = line.split_once('|') else { return Vec::new() };
    let tone = match tone {
        "good" => Tone::Good,
        "warn" => Tone::Warn,
        "bad" => Tone::Bad,
        _ => Tone::Info,
    };
    vec![Flash { tone, text: text.to_owned() }]
}

/// Whether a form comes from another site, by what browsers say of themselves.
fn is_foreign_form(request: &Request) -> bool {
    if request.method() == Method::GET || request.method() == Method::HEAD {
        return false;
    }
    let word = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    if word("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return true;
    }
    let origin = word("origin").and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    matches!((origin, word("host")), (Some(origin), Some(host)) if origin != host)
}

fn is_html(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let whole = response.headers().get("x-fragment").is_none();
    whole && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
}
