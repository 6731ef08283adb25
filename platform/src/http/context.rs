//! What every request carries on its way through the shop.

use std::sync::Arc;

use crate::vocabulary::{Env, Identity, Timestamp};

/// A bearer token that is nobody's identity. Its debug form tells nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer(Arc<str>);

impl Bearer {
    /// The token as it came.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Bearer {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer(…)")
    }
}

/// Who asks, on behalf of which request, until when. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// Names the request in logs, problems and events; made by the gateway.
    pub request_id: Arc<str>,
    /// The W3C trace context: `00-<trace>-<span>-<flags>`.
    pub traceparent: Arc<str>,
    /// The signed-in user, verified.
    pub identity: Option<Arc<Identity>>,
    /// A bearer token that is not a user's: the access token of a guest's order, as `Authorization: Bearer` or
    /// `?access_token=` brought it. Not checked by the gateway; whoever made it checks it.
    pub bearer: Option<Bearer>,
    /// The service (or `gateway`, `web`) that calls; `None` for a request straight from outside.
    pub caller: Option<&'static str>,
    /// The caller's address as the gateway saw it, for rate limits and sign-in logs.
    pub client_ip: Option<std::net::IpAddr>,
    /// After this, nobody waits for the answer any more.
    pub deadline: Option<Timestamp>,
}

impl Context {
    /// A new request of nobody, made at the edge.
    #[must_use]
    pub fn new(env: &Env) -> Self {
        Self {
            request_id: request_id(env),
            traceparent: traceparent(&env.bytes(), &env.bytes()),
            identity: None,
            bearer: None,
            caller: None,
            client_ip: None,
            deadline: None,
        }
    }

    /// Work that `service` does on its own account: a saga that resumes, a consumer, a sweeper.
    #[must_use]
    pub fn background(service: &'static str, env: &Env) -> Self {
        Self { caller: Some(service), ..Self::new(env) }
    }

    /// Work that continues an earlier request, known by what was stored of it.
    #[must_use]
    pub fn resumed(
        service: &'static str,
        env: &Env,
        request_id: Option<&str>,
        traceparent: Option<&str>,
    ) -> Self {
        let mut context = Self::background(service, env);
        if let Some(request_id) = request_id {
            context.request_id = request_id.into();
        }
        if let Some(traceparent) = traceparent {
            context.traceparent = traceparent.into();
        }
        context
    }

    /// The same request, now asked by `service`.
    #[must_use]
    pub fn called_by(&self, service: &'static str) -> Self {
        Self { caller: Some(service), ..self.clone() }
    }

    /// The 32 hex digits of the trace.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.traceparent.get(3..35).unwrap_or_default()
    }
}

fn request_id(env: &Env) -> Arc<str> {
    let mut text = *b"req_00000000000000000000000000000000";
    write_hex(&mut text[4..], env.uuid().as_bytes());
    shared(&text)
}

/// `00-<trace>-<span>-01`.
pub(crate) fn traceparent(trace: &[u8; 16], span: &[u8; 8]) -> Arc<str> {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
    write_hex(&mut text[3..35], trace);
    write_hex(&mut text[36..52], span);
    shared(&text)
}

fn shared(text: &[u8]) -> Arc<str> {
    std::str::from_utf8(text).unwrap_or_default().into()
}

/// By hand and in place: every request needs it, and formatting machinery for two digits costs more than the digits.
fn write_hex(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::{Clock, Timestamp};

    #[test]
    fn a_new_request_has_an_id_and_a_trace_of_its_own() {
        let env = Env::seeded(Clock::manual(Timestamp::UNIX_EPOCH), 7);
        let (one, two) = (Context::new(&env), Context::new(&env));
        assert_ne!(one.request_id, two.request_id);
        assert_ne!(one.trace_id(), two.trace_id());
        assert_eq!((one.request_id.len(), one.traceparent.len(), one.trace_id().len()), (36, 55, 32));
        let parts: Vec<_> = one.traceparent.split('-').map(str::len).collect();
        assert_eq!(parts, [2, 32, 16, 2]);
        assert!(one.traceparent.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'));
    }

    #[test]
    fn a_bearer_token_is_not_told_by_accident() {
        let env = Env::seeded(Clock::manual(Timestamp::UNIX_EPOCH), 7);
        let context = Context { bearer: Some("oat_secret".into()), ..Context::new(&env) };
        assert!(!format!("{context:?}").contains("oat_secret"));
    }
}
