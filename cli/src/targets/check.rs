//! One thing that must be in place, and what was found.

use serde::Serialize;

/// What a check found. No data is unknown, never a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is in place.
    Ok,
    /// It works, and will not for long or not well.
    Warning,
    /// It is not in place.
    Failed,
    /// Nobody can tell.
    Unknown,
}

impl Verdict {
    /// The word a person reads.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// A thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// What was found.
    pub verdict: Verdict,
    /// The facts.
    pub found: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Check {
    /// A check that found all in place.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    /// A check that did not, with what to do about it.
    pub fn not_ok(
        name: &'static str,
        verdict: Verdict,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { name, verdict, found: found.into(), remedy: Some(remedy.into()) }
    }
}
