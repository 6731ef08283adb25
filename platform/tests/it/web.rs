//! The pages behind the gateway, as a browser meets them: sessions that renew themselves, forms that only we can
//! send, and nothing of a stranger's.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use platform::gateway::Gateway;
use platform::http::{Context, Page};
use platform::services::order::client::OrderClient;
use platform::services::product::client::{NewProduct, NewVariant, ProductClient};
use platform::services::{SERVICES, user};
use platform::testing::{self, TestCapabilities};
use platform::vocabulary::{Clock, Currency, Env, Identity, Money, Role, Timestamp};
use platform::web;
use tower::ServiceExt as _;

const PASSWORD: &str = "correct horse battery";
const ADMIN_PASSWORD: &str = "a password for the admin";

struct Shop {
    app: Router,
    clock: Clock,
    test: TestCapabilities,
}

impl Shop {
    /// The whole shop behind its gateway, with one product; nothing runs in the background.
    async fn open() -> Self {
        let clock = Clock::manual("2026-11-14T12:00:00Z".parse::<Timestamp>().unwrap());
        let env = Env::seeded(clock.clone(), 11);
        let test = testing::capabilities(env, SERVICES).await;
        let capabilities = &test.capabilities;
        let mut documents = Vec::new();
        for service in SERVICES {
            let mounted = (service.mount)(capabilities).await.unwrap();
            capabilities.endpoint(service.manifest.name).bind(mounted.router);
            documents.push(mounted.openapi);
        }
        user::seed_admin(capabilities, ADMIN_PASSWORD).await.unwrap();
        stock_the_shelf(&test).await;
        let gateway = Gateway::new(capabilities, SERVICES);
        let pages = web::router(capabilities, gateway.verify());
        let app = gateway.router(pages, &documents);
        Self { app, clock, test }
    }

    fn browser(&self) -> Browser {
        Browser { app: self.app.clone(), cookies: BTreeMap::new(), attributes: Vec::new() }
    }
}

async fn stock_the_shelf(test: &TestCapabilities) {
    let env = &test.capabilities.env;
    let staff = Identity { user_id: env.id(), email: "staff@example.com".into(), roles: vec![Role::Admin] };
    let context = Context { identity: Some(staff.into()), ..Context::background("web", env) };
    let products = ProductClient::new(test.capabilities.endpoint("product"));
    let variant = NewVariant {
        sku: "LAMP-1".into(),
        title: "Oak".into(),
        price: Money::new(4900, Currency::USD),
        tax_class: None,
        weight_g: None,
        active: None,
    };
    let product = NewProduct {
        slug: "desk-lamp".into(),
        title: "Desk <lamp>".into(),
        description: "It shines.".into(),
        category: "lighting".into(),
        status: Default::default(),
        attrs: serde_json::Map::new(),
        variants: vec![variant],
    };
    products.create(&context, &product).await.unwrap();
    products.receive(&context, "LAMP-1", 10, "first delivery", None).await.unwrap();
}

/// Keeps cookies and forms like a browser, and follows nothing by itself.
#[derive(Clone)]
struct Browser {
    app: Router,
    cookies: BTreeMap<String, String>,
    /// Every `Set-Cookie` line that came.
    attributes: Vec<String>,
}

struct Answer {
    status: StatusCode,
    location: String,
    body: String,
    head: axum::http::HeaderMap,
}

impl Browser {
    async fn get(&mut self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Sends a form to `path` with the token of the last page that was drawn at `from`.
    async fn submit(&mut self, from: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let page = self.get(from).await;
        let token = between(&page.body, "name=\"form_token\" value=\"", "\"");
        let mut pairs = vec![("form_token", token.as_str())];
        pairs.extend_from_slice(fields);
        self.post(path, &pairs, &[]).await
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(Method::POST).uri(path);
        request = request.header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(serde_urlencoded::to_string(fields).unwrap())).unwrap()).await
    }

    async fn send(&mut self, mut request: Request<Body>) -> Answer {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let headers = request.headers_mut();
        headers.insert(header::HOST, "shop.example".parse().unwrap());
        headers.insert(header::ACCEPT, "text/html".parse().unwrap());
        if !cookies.is_empty() {
            headers.insert(header::COOKIE, cookies.join("; ").parse().unwrap());
        }
        let response = self.app.clone().oneshot(request).await.unwrap();
        self.keep_cookies(&response);
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let location = parts.headers.get(header::LOCATION).map_or("", |value| value.to_str().unwrap());
        Answer {
            status: parts.status,
            location: location.to_owned(),
            body: String::from_utf8(body.to_vec()).unwrap(),
            head: parts.headers,
        }
    }

    fn keep_cookies(&mut self, response: &Response<Body>) {
        for line in response.headers().get_all(header::SET_COOKIE) {
            let line = line.to_str().unwrap();
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            if line.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
            self.attributes.push(line.to_owned());
        }
    }

    async fn sign_up(&mut self, email: &str) -> Answer {
        self.submit("/sign-up", "/sign-up", &[("email", email), ("password", PASSWORD), ("name", "Ada")])
            .await
    }

    async fn sign_in(&mut self, email: &str, password: &str) -> Answer {
        self.submit("/sign-in", "/sign-in", &[("email", email), ("password", password)]).await
    }

    async fn add_to_cart(&mut self) -> Answer {
        let lamp = [("sku", "LAMP-1"), ("quantity", "2")];
        self.submit("/products/desk-lamp", "/cart/lines", &lamp).await
    }
}

fn between(text: &str, before: &str, after: &str) -> String {
    let begin = text.find(before).unwrap_or_else(|| panic!("no `{before}` in {text}")) + before.len();
    text[begin..].split(after).next().unwrap().to_owned()
}

#[tokio::test]
async fn a_page_forbids_inline_script_and_escapes_what_a_merchant_typed() {
    let shop = Shop::open().await;
    let answer = shop.browser().get("/products/desk-lamp").await;
    assert_eq!(answer.status, StatusCode::OK);
    let policy = answer.head[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert!(answer.body.contains("Desk &#60;lamp&#62;") && !answer.body.contains("<lamp>"));
}

#[tokio::test]
async fn every_cookie_is_out_of_reach_of_scripts_and_of_other_sites() {
    let shop = Shop::open().await;
    let mut browser = shop.browser();
    browser.add_to_cart().await;
    assert_eq!(browser.sign_up("ada@example.com").await.status, StatusCode::SEE_OTHER);
    assert!(browser.cookies.contains_key("access") && browser.cookies.contains_key("cart"));
    for line in &browser.attributes {
        assert!(line.contains("HttpOnly") && line.contains("SameSite=Lax"), "{line}");
    }
}

#[tokio::test]
async fn a_form_without_our_token_or_from_another_site_changes_nothing() {
    let shop = Shop::open().await;
    let mut browser = shop.browser();
    let lamp = [("sku", "LAMP-1"), ("quantity", "1")];
    browser.get("/").await;
    assert_eq!(browser.post("/cart/lines", &lamp, &[]).await.status, StatusCode::FORBIDDEN);
    // A token that was made for another browser is no good here.
    let page = shop.browser().get("/products/desk-lamp").await;
    let theirs = between(&page.body, "name=\"form_token\" value=\"", "\"");
    let stolen = [("form_token", theirs.as_str()), lamp[0], lamp[1]];
    assert_eq!(browser.post("/cart/lines", &stolen, &[]).await.status, StatusCode::FORBIDDEN);
    // Our own token sent from another site.
    let page = browser.get("/products/desk-lamp").await;
    let ours = between(&page.body, "name=\"form_token\" value=\"", "\"");
    let fields = [("form_token", ours.as_str()), lamp[0], lamp[1]];
    for foreign in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        assert_eq!(browser.post("/cart/lines", &fields, &[foreign]).await.status, StatusCode::FORBIDDEN);
    }
    assert!(!browser.cookies.contains_key("cart"), "nothing was put into a cart");
    let own = [("origin", "http://shop.example")];
    assert_eq!(browser.post("/cart/lines", &fields, &own).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_session_renews_itself_once_for_all_pages_that_a_browser_opens_together() {
    let shop = Shop::open().await;
    let mut browser = shop.browser();
    browser.sign_up("ada@example.com").await;
    let before = browser.cookies["refresh"].clone();
    shop.clock.advance(Duration::from_secs(20 * 60));
    let tabs = futures_util::future::join_all((0..5).map(|_| {
        let mut tab = browser.clone();
        async move {
            let answer = tab.get("/orders").await;
            (answer.status, tab.cookies["refresh"].clone())
        }
    }))
    .await;
    for (status, refresh) in &tabs {
        assert_eq!(*status, StatusCode::OK);
        assert_ne!(*refresh, before);
        assert_eq!(*refresh, tabs[0].1, "one renewal serves all");
    }
    browser.cookies.insert("refresh".into(), tabs[0].1.clone());
    assert_eq!(browser.get("/account").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_session_that_was_ended_elsewhere_leads_to_the_sign_in_page_and_back() {
    let shop = Shop::open().await;
    let mut browser = shop.browser();
    browser.sign_up("ada@example.com").await;
    browser.cookies.insert("access".into(), "forged.token.here".into());
    browser.cookies.insert("refresh".into(), "forged".into());
    let answer = browser.get("/orders?cursor=x").await;
    assert_eq!(
        (answer.status, answer.location.as_str()),
        (StatusCode::SEE_OTHER, "/sign-in?next=%2Forders%3Fcursor%3Dx")
    );
    assert!(!browser.cookies.contains_key("access") && !browser.cookies.contains_key("refresh"));
}

#[tokio::test]
async fn a_guests_cart_comes_along_with_a_sign_up_and_is_nobody_elses() {
    let shop = Shop::open().await;
    let mut browser = shop.browser();
    assert_eq!(browser.add_to_cart().await.location, "/cart");
    let cart = browser.get("/cart").await;
    assert!(cart.body.contains("$98.00") && cart.body.contains("is in your cart."));
    assert!(!browser.get("/cart").await.body.contains("is in your cart."), "a message is shown once");
    browser.sign_up("ada@example.com").await;
    assert!(browser.get("/cart").await.body.contains("$98.00"));
    let mut stranger = shop.browser();
    stranger.cookies.insert("cart".into(), browser.cookies["cart"].clone());
    assert!(stranger.get("/cart").await.body.contains("Nothing in it yet"));
}

#[tokio::test]
async fn only_staff_sees_the_desk_and_only_operators_the_console() {
    let shop = Shop::open().await;
    let mut guest = shop.browser();
    assert_eq!(guest.get("/admin/orders").await.location, "/sign-in?next=%2Fadmin%2Forders");
    let mut customer = shop.browser();
    customer.sign_up("ada@example.com").await;
    for path in ["/admin", "/admin/customers", "/operations", "/operations/faults"] {
        assert_eq!(customer.get(path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    let mut admin = shop.browser();
    let answer = admin.sign_in(user::ADMIN_EMAIL, ADMIN_PASSWORD).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    for path in [
        "/admin",
        "/admin/orders",
        "/admin/products",
        "/admin/products/desk-lamp",
        "/admin/stock",
        "/admin/stock/LAMP-1",
        "/admin/customers",
        "/admin/promotions",
        "/operations",
        "/operations/live",
        "/operations/topology",
        "/operations/sagas",
        "/operations/queues",
        "/operations/breakers",
        "/operations/promises",
        "/operations/traces",
        "/operations/logs",
        "/operations/faults",
    ] {
        let answer = admin.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        assert!(answer.body.len() < 60 * 1024, "{path} has {} bytes", answer.body.len());
    }
}

#[tokio::test]
async fn a_wrong_password_is_explained_beside_its_field_and_a_used_email_beside_its() {
    let shop = Shop::open().await;
    shop.browser().sign_up("ada@example.com").await;
    let wrong = shop.browser().sign_in("ada@example.com", "not the password").await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.body.contains("id=\"password-error\"") && wrong.body.contains("value=\"ada@example.com\""));
    let taken = shop.browser().sign_up("ada@example.com").await;
    assert!(taken.body.contains("has an account already"));
}

#[tokio::test]
async fn a_merchant_receives_stock_once_however_often_the_form_is_sent() {
    let shop = Shop::open().await;
    let mut admin = shop.browser();
    admin.sign_in(user::ADMIN_EMAIL, ADMIN_PASSWORD).await;
    let page = admin.get("/admin/stock/LAMP-1").await;
    let token = between(&page.body, "name=\"form_token\" value=\"", "\"");
    let key = between(&page.body, "name=\"key\" value=\"", "\"");
    let fields =
        [("form_token", token.as_str()), ("key", key.as_str()), ("quantity", "5"), ("reason", "delivery")];
    for _ in 0..2 {
        let answer = admin.post("/admin/stock/LAMP-1/receive", &fields, &[]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    }
    assert!(admin.get("/admin/stock/LAMP-1").await.body.contains("15 on the shelf"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_checks_the_promises_and_sees_a_light_for_each() {
    let shop = Shop::open().await;
    let mut admin = shop.browser();
    admin.sign_in(user::ADMIN_EMAIL, ADMIN_PASSWORD).await;
    let before = admin.get("/operations/promises").await.body;
    assert!(before.contains("Not checked yet") && before.matches("Not checked<").count() == 21, "{before}");
    let token = between(&before, "name=\"form_token\" value=\"", "\"");
    let answer = admin.post("/operations/promises", &[("form_token", token.as_str())], &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    let after = admin.get("/operations/promises").await.body;
    assert!(after.contains("Last check") && after.contains("no orders yet"), "{after}");
    assert!(after.contains("badge-good") && !after.contains("badge-bad"), "{after}");
}

#[tokio::test]
async fn an_order_of_somebody_else_is_not_there() {
    let shop = Shop::open().await;
    let mut browser = shop.browser();
    browser.add_to_cart().await;
    let checkout = browser.get("/checkout").await;
    let key = between(&checkout.body, "name=\"order_key\" value=\"", "\"");
    let fields = [
        ("order_key", key.as_str()),
        ("email", "guest@example.com"),
        ("name", "Ada"),
        ("line1", "12 Square"),
        ("postal_code", "1000"),
        ("city", "London"),
        ("country", "GB"),
        ("payment_method", "pm_card_visa"),
    ];
    let placed = browser.submit("/checkout", "/checkout", &fields).await;
    assert!(placed.location.starts_with("/orders/"), "{} {}", placed.status, placed.body);
    assert_eq!(browser.get(&placed.location).await.status, StatusCode::OK);
    let progress = browser.get(&format!("{}/progress", placed.location)).await;
    assert!(progress.body.contains("We received your order") && !progress.body.contains("<html"));
    assert_eq!(shop.browser().get(&placed.location).await.status, StatusCode::NOT_FOUND);
    // The link of a mail opens it in any browser, and leaves the key out of the address bar.
    let context = Context::background("notification", &shop.test.capabilities.env);
    let orders = OrderClient::new(shop.test.capabilities.endpoint("order"));
    let id = placed.location.trim_start_matches("/orders/").parse().unwrap();
    let access = orders.access(&context, id).await.unwrap().access_token.unwrap();
    let mut phone = shop.browser();
    let answer = phone.get(&format!("{}?access_token={access}", placed.location)).await;
    assert_eq!(answer.location, placed.location);
    assert_eq!(phone.get(&answer.location).await.status, StatusCode::OK);
    let list: Page<platform::services::order::client::OrderEvent> =
        orders.events(&context, id, Some(&access)).await.unwrap();
    assert_eq!(list.items[0].kind, "order_placed");
}
