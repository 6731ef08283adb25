//! The signed envelope of a call between services: who calls, for whom, until when, under a MAC over method, path,
//! body digest, caller, identity, audience and expiry.
//!
//! Two keys are valid at once so that they can be rotated: the first signs, all verify.

use std::sync::Arc;
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Context;
use crate::vocabulary::{Env, Identity, Timestamp, clock};

/// The header that carries the claims.
pub const CLAIMS_HEADER: &str = "x-shop-envelope";
/// The header that carries their MAC.
pub const MAC_HEADER: &str = "x-shop-envelope-mac";
/// How long an envelope is good for.
const LIFE: Duration = Duration::from_secs(30);
/// By how much two machines' clocks may differ.
const CLOCK_SKEW: Duration = Duration::from_secs(30);
/// Who may call: names are interned to these.
const CALLERS: [&str; 8] =
    ["gateway", "web", "user", "product", "order", "payment", "notification", "shopctl"];

/// Why an envelope was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// There is none.
    #[error("the call carries no signed envelope")]
    Missing,
    /// It cannot be read, names an unknown key, or its MAC is wrong.
    #[error("the envelope is not genuine")]
    Forged,
    /// It is too old, or from the future.
    #[error("the envelope has expired")]
    Expired,
    /// It was made for another service, method, path or body.
    #[error("the envelope belongs to another call")]
    Misdirected,
}

/// The keys that sign internal calls. Cheap to clone.
#[derive(Clone)]
pub struct Keyring {
    keys: Arc<[(String, Vec<u8>)]>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

impl Keyring {
    /// `(key id, key)` pairs, the one that signs first. `None` when there is no key or one is under 32 bytes.
    #[must_use]
    pub fn new(keys: Vec<(String, Vec<u8>)>) -> Option<Self> {
        let fit = !keys.is_empty() && keys.iter().all(|(_, key)| key.len() >= 32);
        fit.then(|| Self { keys: keys.into() })
    }

    /// The key that signs, with its id.
    pub(super) fn first(&self) -> &(String, Vec<u8>) {
        &self.keys[0]
    }

    /// The key with this id.
    pub(super) fn find(&self, id: &str) -> Option<&[u8]> {
        self.keys.iter().find(|(known, _)| known == id).map(|(_, key)| key.as_slice())
    }

    /// The same ids, each with a key that is good for `purpose` and tells nothing of the one it was made from.
    pub(super) fn derived(&self, purpose: &[u8]) -> Self {
        let derive = |(id, key): &(String, Vec<u8>)| {
            (id.clone(), Self::mac(key, purpose).finalize().into_bytes().to_vec())
        };
        Self { keys: self.keys.iter().map(derive).collect() }
    }

    pub(super) fn mac(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
        mac.update(message);
        mac
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    key_id: String,
    caller: String,
    audience: String,
    method: String,
    path: String,
    body_sha256: String,
    expires_at: Timestamp,
    request_id: String,
    traceparent: String,
    identity: Option<Identity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bearer: Option<String>,
    client_ip: Option<std::net::IpAddr>,
    deadline: Option<Timestamp>,
}

/// Puts the envelope of this call into `parts`' headers.
pub fn seal(keyring: &Keyring, env: &Env, context: &Context, audience: &str, parts: &mut Parts, body: &[u8]) {
    let (key_id, key) = &keyring.keys[0];
    let claims = Claims {
        key_id: key_id.clone(),
        caller: context.caller.unwrap_or("gateway").to_owned(),
        audience: audience.to_owned(),
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        body_sha256: digest(body),
        expires_at: env.after(LIFE),
        request_id: context.request_id.to_string(),
        traceparent: context.traceparent.to_string(),
        identity: context.identity.as_deref().cloned(),
        bearer: context.bearer.as_ref().map(|bearer| bearer.expose().to_owned()),
        client_ip: context.client_ip,
        deadline: context.deadline,
    };
    let text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).expect("claims are plain data"));
    let mac = URL_SAFE_NO_PAD.encode(Keyring::mac(key, text.as_bytes()).finalize().into_bytes());
    for (name, value) in [(CLAIMS_HEADER, text), (MAC_HEADER, mac)] {
        parts.headers.insert(name, HeaderValue::from_str(&value).expect("base64 is ASCII"));
    }
}

/// Checks the envelope of a call that came over a socket to service `audience`, and answers its context.
pub fn open(
    keyring: &Keyring,
    env: &Env,
    audience: &str,
    parts: &Parts,
    body: &[u8],
) -> Result<Context, EnvelopeError> {
    let text = header(&parts.headers, CLAIMS_HEADER).ok_or(EnvelopeError::Missing)?;
    let mac = header(&parts.headers, MAC_HEADER).ok_or(EnvelopeError::Missing)?;
    let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| EnvelopeError::Forged)?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| EnvelopeError::Forged)?;
    let claims: Claims = serde_json::from_slice(&bytes).map_err(|_| EnvelopeError::Forged)?;
    let key = keyring.keys.iter().find(|(id, _)| *id == claims.key_id).ok_or(EnvelopeError::Forged)?;
    Keyring::mac(&key.1, text.as_bytes()).verify_slice(&mac).map_err(|_| EnvelopeError::Forged)?;

    let now = env.now();
    let from_the_future = claims.expires_at > clock::add(now, LIFE + CLOCK_SKEW);
    if clock::add(claims.expires_at, CLOCK_SKEW) < now || from_the_future {
        return Err(EnvelopeError::Expired);
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let same = claims.audience == audience
        && claims.method == parts.method.as_str()
        && claims.path == path
        && claims.body_sha256 == digest(body);
    if !same {
        return Err(EnvelopeError::Misdirected);
    }
    let caller = CALLERS.into_iter().find(|name| *name == claims.caller).ok_or(EnvelopeError::Forged)?;
    Ok(Context {
        request_id: claims.request_id.into(),
        traceparent: claims.traceparent.into(),
        identity: claims.identity.map(Arc::new),
        bearer: claims.bearer.as_deref().map(super::context::Bearer::from),
        caller: Some(caller),
        client_ip: claims.client_ip,
        deadline: claims.deadline,
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn digest(body: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Clock;
    use axum::http::Request;

    fn parts(path: &str) -> Parts {
        Request::post(path).body(()).expect("a request").into_parts().0
    }

    fn keyring(id: &str) -> Keyring {
        Keyring::new(vec![(id.to_owned(), vec![7; 32])]).expect("a key")
    }

    #[test]
    fn only_the_call_that_was_sealed_opens() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let env = Env::seeded(clock.clone(), 1);
        let context = Context::background("order", &env);
        let mut sealed = parts("/internal/v1/reservations?x=1");
        seal(&keyring("one"), &env, &context, "product", &mut sealed, b"body");
        let open_at = |audience: &str, parts: &Parts, body: &[u8]| {
            open(&keyring("one"), &env, audience, parts, body).map(|context| context.caller)
        };
        assert_eq!(open_at("product", &sealed, b"body"), Ok(Some("order")));
        assert_eq!(open_at("payment", &sealed, b"body"), Err(EnvelopeError::Misdirected));
        assert_eq!(open_at("product", &sealed, b"other"), Err(EnvelopeError::Misdirected));
        let mut moved = parts("/internal/v1/reservations?x=2");
        moved.headers = sealed.headers.clone();
        assert_eq!(open_at("product", &moved, b"body"), Err(EnvelopeError::Misdirected));
        assert_eq!(open_at("product", &parts("/"), b""), Err(EnvelopeError::Missing));
        let other = open(&keyring("two"), &env, "product", &sealed, b"body").map(|_| ());
        assert_eq!(other, Err(EnvelopeError::Forged));
        clock.advance(Duration::from_secs(61));
        assert_eq!(open_at("product", &sealed, b"body"), Err(EnvelopeError::Expired));
    }
}
