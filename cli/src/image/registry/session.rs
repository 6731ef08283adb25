//! A conversation with one repository of a registry: requests that log in when they are asked to.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode, Uri};
use platform::client::escaped;
use serde::Deserialize;

use super::challenge::Challenge;
use super::credentials::Credentials;
use super::line::{Answer, Line, Payload};
use super::trouble::{Trouble, said};
use crate::image::reference::Reference;
use crate::wire::is_loopback;

/// A conversation.
#[derive(Debug)]
pub struct Session {
    line: Line,
    reference: Reference,
    credentials: Option<Credentials>,
    login: Option<HeaderValue>,
    speaks_plain: bool,
    has_answered: bool,
}

/// A request without what the session adds.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    pub(super) headers: &'a [(&'static str, &'a str)],
}

impl Session {
    /// A conversation about `reference`. Plain http is spoken with this machine, or where `is_insecure` allows it.
    #[must_use]
    pub fn new(
        line: Line,
        reference: Reference,
        credentials: Option<Credentials>,
        is_insecure: bool,
    ) -> Self {
        let speaks_plain = is_insecure || reference.is_on_this_machine();
        Self { line, reference, credentials, login: None, speaks_plain, has_answered: false }
    }

    /// The image that is spoken of.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Whether the registry has answered anything yet.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.has_answered
    }

    fn base(&self) -> String {
        let scheme = if self.speaks_plain { "http" } else { "https" };
        format!("{scheme}://{}", self.reference.host())
    }

    /// The address of `path` within the repository.
    pub(super) fn address(&self, path: &str) -> String {
        format!("{}/v2/{}/{path}", self.base(), self.reference.repository)
    }

    /// Where a `Location` leads. What names this registry keeps to its scheme: proxies often tell another one.
    pub(super) fn follow(&self, location: &str) -> Result<String, Trouble> {
        if location.starts_with('/') {
            return Ok(format!("{}{location}", self.base()));
        }
        let odd = || Trouble::Odd(format!("the registry sends us to `{location}`, which is no address"));
        let uri: Uri = location.parse().map_err(|_| odd())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(odd()) };
        if authority.as_str() == self.reference.host() {
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            return Ok(format!("{}{path}", self.base()));
        }
        if scheme == "https" || self.speaks_plain || is_here(&uri) {
            return Ok(location.to_owned());
        }
        Err(Trouble::InTheClear(location.to_owned()))
    }

    /// Sends a request; logs in and sends it once more when the registry asks for that. `payload` is made anew each time.
    pub(super) async fn send(
        &mut self,
        call: &Call<'_>,
        payload: impl Fn() -> io::Result<Payload>,
    ) -> Result<Answer, Trouble> {
        let answer = self.send_once(call, payload()?).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let wanted = answer.headers.get_all(WWW_AUTHENTICATE).iter();
        let wanted = wanted.filter_map(|header| Challenge::parse(header.to_str().ok()?)).next();
        if !self.log_in(wanted, call, &answer).await? {
            return Err(self.refused(call, &answer));
        }
        let answer = self.send_once(call, payload()?).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            return Err(self.refused(call, &answer));
        }
        Ok(answer)
    }

    async fn send_once(&mut self, call: &Call<'_>, payload: Payload) -> Result<Answer, Trouble> {
        let mut request = Request::builder().method(&call.method).uri(call.url);
        for (name, value) in call.headers {
            request = request.header(*name, *value);
        }
        // The login is for this registry, not for the storage that it may send us to.
        let is_own = call.url.starts_with(&format!("{}/", self.base()));
        if let Some(login) = self.login.as_ref().filter(|_| is_own) {
            request = request.header(AUTHORIZATION, login);
        }
        let request = request.body(payload).map_err(|error| Trouble::Odd(error.to_string()))?;
        let answer = self.line.send(request).await?;
        self.has_answered = true;
        Ok(answer)
    }

    /// Does what the challenge asks for, when it can be done: whether there is a login now that was not tried before.
    async fn log_in(
        &mut self,
        challenge: Option<Challenge>,
        call: &Call<'_>,
        answer: &Answer,
    ) -> Result<bool, Trouble> {
        let login = match (challenge, &self.credentials) {
            (Some(Challenge::Basic), Some(credentials)) => match basic(credentials) {
                Some(login) if self.login.as_ref() != Some(&login) => login,
                _ => return Ok(false),
            },
            (Some(Challenge::Bearer { realm, service, .. }), _) => {
                match self.token(&realm, service.as_deref(), call, answer).await? {
                    Some(token) => secret(&format!("Bearer {token}"))
                        .ok_or_else(|| Trouble::Odd("the registry's token is no header".to_owned()))?,
                    None => return Ok(false),
                }
            }
            _ => return Ok(false),
        };
        self.login = Some(login);
        Ok(true)
    }

    /// A token from where the registry says; without credentials an anonymous one, which some registries give.
    async fn token(
        &mut self,
        realm: &str,
        service: Option<&str>,
        call: &Call<'_>,
        answer: &Answer,
    ) -> Result<Option<String>, Trouble> {
        let uri: Uri =
            realm.parse().map_err(|_| Trouble::Odd(format!("`{realm}` is no address for tokens")))?;
        if uri.scheme_str() != Some("https") && !self.speaks_plain && !is_here(&uri) {
            return Err(Trouble::InTheClear(realm.to_owned()));
        }
        let scope = format!("repository:{}:pull,push", self.reference.repository);
        let mut fields = vec![("scope", scope.as_str())];
        fields.extend(service.map(|service| ("service", service)));
        let request = match &self.credentials {
            Some(Credentials::Identity(token)) => {
                fields.extend([
                    ("grant_type", "refresh_token"),
                    ("client_id", "shopctl"),
                    ("refresh_token", token),
                ]);
                Request::post(realm)
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(Payload::bytes(encoded(&fields)))
            }
            other => {
                let joint = if realm.contains('?') { '&' } else { '?' };
                let mut request = Request::get(format!("{realm}{joint}{}", encoded(&fields)));
                if let Some(login) = other.as_ref().and_then(basic) {
                    request = request.header(AUTHORIZATION, login);
                }
                request.body(Payload::default())
            }
        };
        let request = request.map_err(|error| Trouble::Odd(error.to_string()))?;
        let given = self.line.send(request).await?;
        if matches!(given.status.as_u16(), 400 | 401 | 403) {
            return match &self.credentials {
                None => Err(self.refused(call, answer)),
                Some(_) => Err(self.refused(call, &given)),
            };
        }
        if !given.status.is_success() {
            return Err(Trouble::answered(&given, "the request for a token"));
        }
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let odd = |_| Trouble::Odd(format!("{realm} answers something that is no token"));
        let token: Token = serde_json::from_slice(&given.body).map_err(odd)?;
        Ok(token.token.or(token.access_token).filter(|token| !token.is_empty()))
    }

    fn refused(&self, call: &Call<'_>, answer: &Answer) -> Trouble {
        Trouble::Login {
            status: answer.status,
            asked: asked(call),
            said: said(&answer.body),
            who: self.credentials.as_ref().map(|credentials| credentials.who().to_owned()),
        }
    }
}

/// What was asked, for a person: the query may hold what is signed.
pub(super) fn asked(call: &Call<'_>) -> String {
    let url = call.url.split('?').next().unwrap_or(call.url);
    format!("{} {url}", call.method)
}

fn is_here(uri: &Uri) -> bool {
    uri.host().is_some_and(is_loopback)
}

fn basic(credentials: &Credentials) -> Option<HeaderValue> {
    match credentials {
        Credentials::Password { username, password } => {
            secret(&format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
        }
        Credentials::Identity(_) => None,
    }
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `a=b&c=d`, each part escaped.
fn encoded(fields: &[(&str, &str)]) -> String {
    let parts = fields.iter().map(|(key, value)| format!("{}={}", escaped(key), escaped(value)));
    parts.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(name: &str) -> Session {
        Session::new(Line::new(None).unwrap(), name.parse().unwrap(), None, false)
    }

    #[test]
    fn tls_is_spoken_with_everybody_but_this_machine() {
        assert_eq!(session("ghcr.io/a/b:1").address("x"), "https://ghcr.io/v2/a/b/x");
        assert_eq!(session("shop:1").address("x"), "https://registry-1.docker.io/v2/library/shop/x");
        assert_eq!(session("127.0.0.1:5000/b:1").address("x"), "http://127.0.0.1:5000/v2/b/x");
    }

    #[test]
    fn a_location_keeps_the_scheme_and_never_leads_into_the_clear() {
        let session = session("r.example/a:1");
        let follow = |location: &str| session.follow(location).map_err(|error| error.to_string());
        assert_eq!(follow("/v2/a/u?s=1").unwrap(), "https://r.example/v2/a/u?s=1");
        assert_eq!(follow("http://r.example/v2/a/u").unwrap(), "https://r.example/v2/a/u");
        assert_eq!(follow("https://storage.example/u").unwrap(), "https://storage.example/u");
        assert!(follow("http://storage.example/u").unwrap_err().contains("everybody on the way"));
        assert!(follow("u").is_err());
    }

    #[test]
    fn a_scope_travels_encoded() {
        assert_eq!(
            encoded(&[("scope", "repository:a/b:pull,push")]),
            "scope=repository%3Aa%2Fb%3Apull%2Cpush"
        );
    }
}
