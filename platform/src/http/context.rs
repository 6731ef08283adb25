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
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (trace, span): ([u8; 16], [u8; 8]) = (env.bytes(), env.bytes());
        Self {
            request_id: format!("req_{}", env.uuid().simple()).into(),
            traceparent: format!("00-{}-{}-01", hex(&trace), hex(&span)).into(),
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
