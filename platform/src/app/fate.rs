//! Where a process dies, for tests and drills: as words of the environment, and at the calls between services.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};

use crate::vocabulary::{Env, Fate, Verdict};

/// What begins the words of a fate that only takes notes.
const NOTE: &str = "note:";

/// The fate that `words` describe:
///
/// * `saga.checkout.capture.after`: the process kills itself where it stands when it reaches this point;
/// * `saga.checkout.capture.after#3`: when it does so for the third time;
/// * `note:FILE`: every point is written into FILE when it is reached first, and nobody dies.
pub fn fate(words: &str) -> std::io::Result<Fate> {
    if let Some(path) = words.strip_prefix(NOTE) {
        let notes = Mutex::new((HashSet::new(), File::create(path)?));
        return Ok(Fate::new(move |point| {
            let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            if notes.0.insert(point.to_owned()) {
                // Whoever reads the notes sees that they are short.
                writeln!(notes.1, "{point}").ok();
            }
            Verdict::GoOn
        }));
    }
    let (point, times) = match words.split_once('#') {
        Some((point, times)) => (point.to_owned(), times.parse().unwrap_or(1)),
        None => (words.to_owned(), 1_u64),
    };
    let reached = AtomicU64::new(0);
    Ok(Fate::new(move |at| {
        let is_time = at == point && reached.fetch_add(1, Ordering::Relaxed) + 1 >= times;
        if is_time { die() } else { Verdict::GoOn }
    }))
}

/// As the kernel does it to a process that took too much memory: at once, and without a word.
fn die() -> Verdict {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).ok();
    Verdict::Never
}

/// `router`, with the points `call.SERVICE.METHOD ROUTE.before` and `.after` around every internal call. An answer that
/// is lost there is one that the caller cannot tell from none. Nothing is added when nobody decides.
pub(super) fn fated(router: Router, service: &'static str, env: &Env) -> Router {
    if env.fate().is_none() {
        return router;
    }
    let env = env.clone();
    router.layer(from_fn(move |request: Request, next: Next| {
        let env = env.clone();
        async move { call(&env, service, request, next).await }
    }))
}

async fn call(env: &Env, service: &str, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let Some(route) = route.filter(|route| route.starts_with("/internal/")) else {
        return next.run(request).await;
    };
    let call = format!("call.{service}.{} {route}", request.method());
    env.reach(|| format!("{call}.before")).await;
    let response = next.run(request).await;
    if env.reach(|| format!("{call}.after")).await {
        (StatusCode::INTERNAL_SERVER_ERROR, "the answer was lost").into_response()
    } else {
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_hold_each_point_once_and_nobody_dies() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("points");
        let noting = fate(&format!("note:{}", path.display())).expect("a file");
        for point in ["a.before", "a.after", "a.before"] {
            assert_eq!(noting.at(point), Verdict::GoOn);
        }
        assert_eq!(std::fs::read_to_string(path).expect("notes"), "a.before\na.after\n");
        let other = fate("a.before#2").expect("words");
        assert_eq!(
            (other.at("b"), other.at("a.before")),
            (Verdict::GoOn, Verdict::GoOn),
            "not the second time yet"
        );
    }
}
