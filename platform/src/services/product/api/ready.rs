//! What of the catalogue lies ready: an answer that the cache holds is told on the spot, without a way through the
//! router. What is stale, absent or unusual is left to the handlers in [`super::public`], which ask the same cache
//! under the same keys and answer with the same function.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::{Method, Request, Uri};
use axum::response::Response;

use super::public;
use crate::cache::Entry;
use crate::services::product::store::Store;
use crate::telemetry::RouteMeter;

/// The answers that may lie ready, each with the meter of its route.
pub(in super::super) struct Ready {
    store: Store,
    list: RouteMeter,
    detail: RouteMeter,
    image: RouteMeter,
    categories: RouteMeter,
}

/// What lies ready for one request.
struct Found<'a> {
    meter: &'a RouteMeter,
    kind: public::Kind,
    entry: Arc<Entry>,
}

impl Ready {
    /// Those of `store`.
    pub(in super::super) fn new(store: &Store) -> Self {
        let meter = |route: &str| store.telemetry.route_meter("product", route.into());
        Self {
            list: meter(public::LIST),
            detail: meter(public::DETAIL),
            image: meter(public::IMAGE),
            categories: meter(public::CATEGORIES),
            store: store.clone(),
        }
    }

    /// What lies ready for `request`.
    pub(in super::super) fn answer(&self, request: &Request<Body>) -> Option<Response> {
        if request.method() != Method::GET {
            return None;
        }
        let began = Instant::now();
        let found = self.find(request.uri())?;
        let response = public::answer(request.headers(), found.kind, &found.entry);
        // It has no span: whoever asked has one, and this would be the same again.
        found.meter.answered(response.status().as_u16(), began.elapsed());
        Some(response)
    }

    fn find(&self, uri: &Uri) -> Option<Found<'_>> {
        let (meter, kind, key) = match uri.path() {
            public::LIST => {
                (&self.list, public::Kind::Json, public::list_key(uri.query().unwrap_or_default())?)
            }
            public::CATEGORIES => (&self.categories, public::Kind::Json, public::CATEGORIES_KEY.to_owned()),
            path => {
                let rest = path.strip_prefix(public::LIST)?.strip_prefix('/')?;
                let (slug, is_image) = match rest.strip_suffix("/image.svg") {
                    Some(slug) => (slug, true),
                    None => (rest, false),
                };
                // What is escaped, and what no product can be called, is the router's.
                if slug.is_empty() || slug.contains(['/', '%']) {
                    return None;
                }
                if is_image {
                    (&self.image, public::Kind::Picture, public::picture_key(slug)?)
                } else {
                    (&self.detail, public::Kind::Json, public::detail_key(slug)?)
                }
            }
        };
        let entry = self.store.cache.peek(&key)?;
        Some(Found { meter, kind, entry })
    }
}
