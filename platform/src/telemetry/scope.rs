//! Which request a log line belongs to.
//!
//! A task runs inside a [`Scope`]; every log line and span it makes carries the scope's ids. Routers wrapped by
//! [`super::Telemetry::observe`] and spans run by [`super::Span::run`] open one. A task that is spawned starts
//! without one: wrap it in [`Scope::run`].

use std::sync::{Arc, OnceLock};

use crate::http::Context;
use crate::vocabulary::OrderId;

tokio::task_local! {
    static SCOPE: Scope;
}

/// The service, the request and, once known, the order that a task works for. Cheap to clone; clones share the order.
#[derive(Clone, Debug)]
pub struct Scope {
    inner: Arc<Ids>,
}

#[derive(Debug)]
struct Ids {
    service: &'static str,
    request_id: Arc<str>,
    traceparent: Arc<str>,
    order_id: OnceLock<OrderId>,
}

impl Scope {
    /// `service` working for `context`.
    #[must_use]
    pub fn new(service: &'static str, context: &Context) -> Self {
        let ids = Ids {
            service,
            request_id: Arc::clone(&context.request_id),
            traceparent: Arc::clone(&context.traceparent),
            order_id: OnceLock::new(),
        };
        Self { inner: Arc::new(ids) }
    }

    /// The scope that the current task runs in.
    #[must_use]
    pub fn current() -> Option<Self> {
        SCOPE.try_with(Clone::clone).ok()
    }

    /// Looks at the current scope without cloning it.
    pub(super) fn with_current<T>(look: impl FnOnce(&Self) -> T) -> Option<T> {
        SCOPE.try_with(look).ok()
    }

    /// Runs `work` in this scope. Box what is large: it is moved on its way in.
    pub fn run<F: Future>(self, work: F) -> impl Future<Output = F::Output> + use<F> {
        SCOPE.scope(self, work)
    }

    /// The service at work.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.inner.service
    }

    /// The request's id.
    #[must_use]
    pub fn request_id(&self) -> &Arc<str> {
        &self.inner.request_id
    }

    /// The trace's 32 hex digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.inner.traceparent.get(3..35).unwrap_or_default()
    }

    /// The order, once [`note_order`] named it.
    #[must_use]
    pub fn order_id(&self) -> Option<OrderId> {
        self.inner.order_id.get().copied()
    }

    /// Names the order that this scope is about. The first one stays.
    pub fn note_order(&self, order_id: OrderId) {
        let _ = self.inner.order_id.set(order_id);
    }
}

/// Names the order that the current task is about: its log lines and its span carry it from now on. Call it as soon
/// as the order's id is known. Outside of a scope it does nothing.
pub fn note_order(order_id: OrderId) {
    Scope::with_current(|scope| scope.note_order(order_id));
}
