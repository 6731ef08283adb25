//! What a verification found, as data: one [`Outcome`] for each invariant, and the whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fmt, io};

use serde::{Deserialize, Serialize};

use crate::vocabulary::Timestamp;

/// The schema that a report names.
pub const SCHEMA: &str = "shopctl/v1/verify";
/// The most examples that an outcome shows.
pub const EXAMPLES_MAX: usize = 10;
/// Where the last report of a shop is kept in its data folder.
const LAST_FILE: &str = "verify.json";

/// Whether a promise is kept. Where there was nothing to look at, nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is kept by everything that was looked at.
    True,
    /// There was no data, or not enough.
    Unknown,
    /// It is broken.
    False,
}

impl Verdict {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::Unknown => "unknown",
            Self::False => "false",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A broken thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// What it happened to: an order, a SKU, an event, a line of a file.
    pub id: String,
    /// What is wrong with it.
    pub what: String,
}

/// What was found of one invariant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// `V1` to `V21`.
    pub id: String,
    /// What it is about.
    pub title: String,
    /// Whether it is kept.
    pub verdict: Verdict,
    /// How many things were looked at.
    pub examined: u64,
    /// How many of them break it.
    pub broken: u64,
    /// What looked broken at first and was not any more at the second look: something that was under way.
    pub healed: u64,
    /// What was counted on the way.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
    /// The first broken things, at most [`EXAMPLES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
    /// Why the verdict is unknown; or what was not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The command that explains it, with the first broken thing put in.
    pub explain: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// The storage engine: `sqlite` or `postgres`.
    pub engine: String,
    /// Whether the shop was running meanwhile.
    pub live: bool,
    /// Where the provider's statement came from, if there was one.
    pub statement: Option<String>,
    /// Journals of acknowledged orders.
    pub journals: Vec<String>,
    /// Log files, and pods whose last lines were read.
    pub logs: Vec<String>,
    /// What else was searched for secrets: `metrics`, `traces`.
    pub texts: Vec<String>,
}

/// A whole verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// When it began, by the clock of whoever verified.
    pub at: Timestamp,
    /// The moment that ages are counted from: now on a running shop, the last write on one that is stopped.
    pub as_of: Timestamp,
    /// The worst verdict: false before unknown before true.
    pub verdict: Verdict,
    /// How many orders the shop has.
    pub orders: u64,
    /// What was looked at.
    pub looked: Looked,
    /// The invariants, in their order.
    pub outcomes: Vec<Outcome>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl Report {
    /// How many outcomes have `verdict`.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.verdict == verdict).count()
    }

    /// The ids of the invariants with `verdict`.
    #[must_use]
    pub fn ids(&self, verdict: Verdict) -> Vec<&str> {
        let outcomes = self.outcomes.iter().filter(|outcome| outcome.verdict == verdict);
        outcomes.map(|outcome| outcome.id.as_str()).collect()
    }

    /// The outcome of the invariant `id`, if it was asked for.
    #[must_use]
    pub fn outcome(&self, id: &str) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| outcome.id == id)
    }

    /// The whole in one sentence.
    #[must_use]
    pub fn summary(&self) -> String {
        let asked = self.outcomes.len();
        let kept = self.count(Verdict::True);
        let orders = match self.orders {
            0 => "no orders yet".to_owned(),
            1 => "1 order".to_owned(),
            orders => format!("{orders} orders"),
        };
        let mut text = format!("{kept} of {asked} promises kept over {orders}");
        for (verdict, word) in [(Verdict::False, "broken"), (Verdict::Unknown, "unknown")] {
            let ids = self.ids(verdict);
            if !ids.is_empty() {
                text.push_str(&format!(", {word}: {}", ids.join(" ")));
            }
        }
        text
    }

    /// Keeps the report as the last one of the shop in `data_dir`. A crash leaves the old one or the new one.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn keep(&self, data_dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        let mut partial = tempfile::NamedTempFile::new_in(data_dir)?;
        io::Write::write_all(&mut partial, &text)?;
        partial.persist(data_dir.join(LAST_FILE)).map(drop).map_err(|error| error.error)
    }

    /// The last report of the shop in `data_dir`; none when there is none that this binary understands.
    #[must_use]
    pub fn last(data_dir: &Path) -> Option<Self> {
        let text = std::fs::read(data_dir.join(LAST_FILE)).ok()?;
        serde_json::from_slice::<Self>(&text).ok().filter(|report| report.schema == SCHEMA)
    }
}

/// The worst of some verdicts: false before unknown before true; unknown when there are none.
#[must_use]
pub fn worst(verdicts: impl Iterator<Item = Verdict>) -> Verdict {
    verdicts.max().unwrap_or(Verdict::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn false_weighs_more_than_unknown_and_nothing_is_unknown() {
        use Verdict::{False, True, Unknown};
        assert_eq!(worst([True, Unknown, False, True].into_iter()), False);
        assert_eq!(worst([True, Unknown].into_iter()), Unknown);
        assert_eq!(worst([True].into_iter()), True);
        assert_eq!(worst([].into_iter()), Unknown);
    }
}
