//! The frame around every page: title, who is signed in, the cart's count, messages, and the headers that
//! keep a page from being anything but ours.

use askama::Template;
use askama::filters::Safe;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::assets::{self, Links};
use crate::vocabulary::{Identity, Role};

/// The shop's name, as it stands over the door.
pub const SHOP_NAME: &str = "Larkfield";

/// What a browser may do with our pages: load our own stylesheet, script and pictures, talk to us, send
/// forms to us. No inline script, no inline style, no frame.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// How a message is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It worked.
    Good,
    /// Something to know.
    Info,
    /// Something to look after.
    Warn,
    /// It did not work.
    Bad,
    /// Nothing in particular.
    Plain,
}

impl Tone {
    /// The word that stylesheet classes end with.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Plain => "plain",
        }
    }
}

/// A message shown once, on the next page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash {
    /// How it is meant.
    pub tone: Tone,
    /// What it says.
    pub text: String,
}

/// What every page knows beside its own content.
#[derive(Clone, Debug)]
pub struct Page {
    /// The page's own title.
    pub title: String,
    /// The path, to mark where one is.
    pub path: String,
    /// Who is signed in.
    pub identity: Option<Identity>,
    /// How many units are in the cart.
    pub cart_count: u32,
    /// The token that forms carry.
    pub form_token: String,
    /// Messages left by the page before.
    pub flashes: Vec<Flash>,
    /// Categories for the shelf under the bar: slug and title.
    pub shelf: Vec<(String, String)>,
    /// What the search field holds.
    pub query: String,
    /// Whether this environment has fault switches.
    pub faults_allowed: bool,
}

impl Page {
    /// The shop's name.
    #[must_use]
    pub fn shop_name(&self) -> &'static str {
        SHOP_NAME
    }

    /// The addresses of stylesheet, script and mark.
    #[must_use]
    pub fn links(&self) -> &'static Links {
        assets::links()
    }

    /// The hidden field that proves a form is ours.
    #[must_use]
    pub fn token_field(&self) -> Safe<String> {
        // The token is base64 for addresses, so that nothing in it needs escaping.
        Safe(format!("<input type=\"hidden\" name=\"form_token\" value=\"{}\">", self.form_token))
    }

    /// `aria-current` for a link that is this very page.
    #[must_use]
    pub fn current(&self, path: &str) -> Safe<&'static str> {
        Safe(if self.path == path { " aria-current=\"page\"" } else { "" })
    }

    /// `aria-current` for a link whose area this page belongs to.
    #[must_use]
    pub fn within(&self, path: &str) -> Safe<&'static str> {
        let inside = self.path == path || self.path.starts_with(&format!("{path}/"));
        Safe(if inside { " aria-current=\"true\"" } else { "" })
    }

    /// Whether the person may see the admin pages.
    #[must_use]
    pub fn may_administer(&self) -> bool {
        let roles = [Role::Support, Role::Merchandiser];
        self.identity.as_ref().is_some_and(|identity| identity.is_any(&roles))
    }

    /// Whether the person may see the operations pages.
    #[must_use]
    pub fn may_operate(&self) -> bool {
        self.identity.as_ref().is_some_and(|identity| identity.is(Role::Ops))
    }
}

/// Renders `template` as an answer with the headers that every page has.
pub fn html<T: Template>(status: StatusCode, template: &T) -> Response {
    match template.render() {
        Ok(text) => {
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = status;
            protect(response.headers_mut());
            response
        }
        Err(error) => {
            tracing::error!(%error, "a page could not be drawn");
            let mut response = Response::new(Body::from("this page could not be drawn"));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

/// Sends the browser on to `location` with a GET, after a form was handled. Only a path of ours is
/// followed: anything that a browser could read as another site goes to the home page instead.
pub fn redirect(location: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let location = if is_local(location) { location } else { "/" };
    let location = HeaderValue::from_str(location).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, location);
    protect(response.headers_mut());
    response
}

/// Whether `path` stays on this site: `/cart` does, `//elsewhere` and `/\elsewhere` do not.
#[must_use]
pub fn is_local(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains('\\')
        && path.bytes().all(|byte| byte.is_ascii_graphic())
}

fn protect(headers: &mut HeaderMap) {
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_TYPE, "text/html; charset=utf-8");
    set(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "same-origin");
    set(header::CACHE_CONTROL, "no-store");
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A frame for drawing a page in a test.
    pub(crate) fn page(path: &str) -> Page {
        Page {
            title: "Test".into(),
            path: path.into(),
            identity: None,
            cart_count: 2,
            form_token: "token".into(),
            flashes: vec![Flash { tone: Tone::Good, text: "It worked".into() }],
            shelf: vec![("lamps".into(), "Lamps".into())],
            query: String::new(),
            faults_allowed: true,
        }
    }

    /// What holds for every page: nothing inline that our own policy would refuse, every form proves itself,
    /// every id is there once, and there is one main heading.
    pub(crate) fn assert_is_well_made(html: &str) {
        assert!(!html.contains(" style="), "no inline style");
        assert!(!html.contains("<style"), "no inline stylesheet");
        assert!(!html.contains(" onclick="), "no inline script");
        assert_eq!(html.matches("<script").count(), html.matches("<script src=\"/assets/").count());
        let posts = html.matches("method=\"post\"").count();
        assert_eq!(posts, html.matches("name=\"form_token\"").count(), "every form carries its token");
        assert_eq!(html.matches("<h1").count(), 1, "one main heading");
        let mut ids: Vec<_> =
            html.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "an id is there once");
        assert!(html.len() < 30_000, "{} bytes leave too little for stylesheet and script", html.len());
    }

    #[test]
    fn a_redirect_never_leaves_the_site() {
        for (asked, went) in [
            ("/cart", "/cart"),
            ("/orders/1?x=2", "/orders/1?x=2"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("https://evil.example", "/"),
            ("/a\r\nset-cookie: x=y", "/"),
        ] {
            assert_eq!(redirect(asked).headers()[header::LOCATION], went, "{asked:?}");
        }
    }
}
