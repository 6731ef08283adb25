//! When this process dies, as far as somebody decides it: never in production, at a named point in a test or a drill.
//!
//! The code that must survive a crash says where it is ([`super::Env::reach`]); nothing happens there unless a fate was
//! handed in with the environment, and a fate is asked by the name of the point alone. Points are named from the
//! outside in: `saga.checkout.capture.after`, `outbox.order_outbox.before`.

use std::fmt;
use std::sync::Arc;

/// What becomes of the work that reached a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    GoOn,
    /// It goes on, and what it was told is lost: where an answer was expected, none came.
    Lost,
    /// It never goes on, and neither does what waits for it: the process is about to be gone.
    Never,
}

/// Decides, point by point. Cheap to clone; clones decide together.
#[derive(Clone)]
pub struct Fate(Arc<dyn Fn(&str) -> Verdict + Send + Sync>);

impl Fate {
    /// A fate that `decide` speaks for. It may also end the process itself and not come back.
    pub fn new(decide: impl Fn(&str) -> Verdict + Send + Sync + 'static) -> Self {
        Self(Arc::new(decide))
    }

    /// What happens at `point`.
    #[must_use]
    pub fn at(&self, point: &str) -> Verdict {
        (self.0)(point)
    }
}

impl fmt::Debug for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fate")
    }
}
