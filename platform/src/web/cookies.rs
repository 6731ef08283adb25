//! Cookies: read from a request, written to a response. Every cookie of ours is `HttpOnly` and
//! `SameSite=Lax`; `Secure` where the shop is reached over TLS.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};

/// The cookies that came with a request, and those that go out with its answer.
#[derive(Clone, Debug, Default)]
pub struct Cookies {
    received: BTreeMap<String, String>,
    outgoing: BTreeMap<String, (String, Option<Duration>)>,
    secure: bool,
}

impl Cookies {
    /// The cookies of a request. `secure` says that the browser spoke TLS, so ours must never leave it.
    #[must_use]
    pub fn read(headers: &HeaderMap, secure: bool) -> Self {
        let received = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        Self { received, outgoing: BTreeMap::new(), secure }
    }

    /// The value of `name` as the browser will have it after this answer.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        match self.outgoing.get(name) {
            Some((value, _)) if value.is_empty() => None,
            Some((value, _)) => Some(value),
            None => self.received.get(name).map(String::as_str).filter(|value| !value.is_empty()),
        }
    }

    /// Sets `name` for `age`, or until the browser closes. Only `[A-Za-z0-9._~=-]` may be in `value`;
    /// anything else is dropped, so that a value can never add an attribute or a header.
    pub fn set(&mut self, name: &str, value: &str, age: Option<Duration>) {
        let clean = value.chars().filter(|c| c.is_ascii_alphanumeric() || "._~=-".contains(*c)).collect();
        self.outgoing.insert(name.to_owned(), (clean, age));
    }

    /// Whether this answer leaves `name` as it came.
    #[must_use]
    pub fn is_untouched(&self, name: &str) -> bool {
        !self.outgoing.contains_key(name)
    }

    /// Makes the browser forget `name`, when it has it.
    pub fn forget(&mut self, name: &str) {
        if self.get(name).is_some() {
            self.outgoing.insert(name.to_owned(), (String::new(), Some(Duration::ZERO)));
        }
    }

    /// Writes what was set into the answer's headers.
    pub fn write(&self, headers: &mut HeaderMap) {
        for (name, (value, age)) in &self.outgoing {
            let age = age.map_or(String::new(), |age| format!("; Max-Age={}", age.as_secs()));
            let secure = if self.secure { "; Secure" } else { "" };
            let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{age}{secure}");
            if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                headers.append(header::SET_COOKIE, cookie);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_back_and_written_once() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("cart=abc; visit=x=="));
        let mut cookies = Cookies::read(&headers, true);
        assert_eq!(cookies.get("visit"), Some("x=="));
        cookies.set("cart", "d; Domain=evil\r\nx: y", None);
        assert_eq!(cookies.get("cart"), Some("dDomain=evilxy"));
        cookies.forget("visit");
        assert_eq!(cookies.get("visit"), None);
        let mut out = HeaderMap::new();
        cookies.write(&mut out);
        let all: Vec<_> = out.get_all(header::SET_COOKIE).iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(
            all,
            [
                "cart=dDomain=evilxy; Path=/; HttpOnly; SameSite=Lax; Secure",
                "visit=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0; Secure",
            ]
        );
    }

    #[test]
    fn forgetting_what_the_browser_does_not_have_writes_nothing() {
        let mut cookies = Cookies::default();
        cookies.forget("refresh");
        let mut out = HeaderMap::new();
        cookies.write(&mut out);
        assert!(out.is_empty());
    }
}
