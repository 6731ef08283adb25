//! What can go wrong, said once: the exit codes of every command, and the error that carries one.
//!
//! A command returns `anyhow::Result`. Rooms that know what went wrong raise a [`Failure`], which names its
//! exit code, a stable code for scripts and the next thing to do; context is added on the way up. At the edge
//! [`Diagnosis::of`] walks the chain once and the printer shows what it found. An error that carries no
//! failure is a bug and ends in [`Exit::Internal`].

use std::fmt;

use serde_json::{Value, json};

/// How a command ended. The table is part of the public contract: numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Ok = 0,
    /// Unexpected: a bug.
    Internal = 1,
    /// Bad arguments.
    Usage = 2,
    /// shop.toml is missing or invalid.
    Config = 3,
    /// A tool, version, quota, port or file descriptor is missing.
    Preflight = 4,
    /// Credentials are absent, expired or forbidden.
    Auth = 5,
    /// The other side does not answer.
    Unreachable = 6,
    /// Somebody holds the lock.
    Locked = 7,
    /// The prompt was refused, or consent was needed and there is no terminal.
    Declined = 8,
    /// Ownership, compare-and-swap, stale plan.
    Conflict = 9,
    /// `--exit-code` was given and there are changes or drift.
    Changes = 10,
    /// Failed, and safely returned to the previous state.
    RolledBack = 11,
    /// Failed and not restored: a human is needed.
    Degraded = 12,
    /// Still progressing when time ran out.
    Timeout = 13,
    /// An objective was missed.
    Threshold = 14,
    /// Some units ok, some not.
    Partial = 15,
    /// `verify` found a broken promise.
    Invariant = 16,
    /// The verdict could not be reached.
    Unknown = 17,
    /// A guard said no.
    Refused = 18,
    /// terraform or tofu failed.
    InfraTool = 20,
    /// Stopped by SIGINT.
    Interrupted = 130,
    /// Stopped by SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// Every exit code, in the order of the table.
    pub const ALL: [Self; 22] = [
        Self::Ok,
        Self::Internal,
        Self::Usage,
        Self::Config,
        Self::Preflight,
        Self::Auth,
        Self::Unreachable,
        Self::Locked,
        Self::Declined,
        Self::Conflict,
        Self::Changes,
        Self::RolledBack,
        Self::Degraded,
        Self::Timeout,
        Self::Threshold,
        Self::Partial,
        Self::Invariant,
        Self::Unknown,
        Self::Refused,
        Self::InfraTool,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The number that the process ends with.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The exit with this number, when the table has it.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|exit| u64::from(exit.code()) == code)
    }

    /// Its name in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// What it means, in one line.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::Ok => ("ok", "done, or nothing to do"),
            Self::Internal => ("internal", "unexpected: a bug; prints where the journal is"),
            Self::Usage => ("usage", "bad arguments"),
            Self::Config => ("config", "shop.toml missing or invalid"),
            Self::Preflight => ("preflight", "missing tool, version, quota, port, file descriptors"),
            Self::Auth => ("auth", "credentials absent, expired, forbidden"),
            Self::Unreachable => ("unreachable", "the other side does not answer"),
            Self::Locked => ("locked", "somebody holds the lock (shown)"),
            Self::Declined => {
                ("declined", "the prompt was refused, or consent was needed and there is no TTY")
            }
            Self::Conflict => ("conflict", "ownership, compare-and-swap, stale plan"),
            Self::Changes => ("changes", "--exit-code was given and there are changes or drift"),
            Self::RolledBack => ("rolled-back", "failed and safely returned to the previous state"),
            Self::Degraded => ("degraded", "failed and not restored: a human is needed"),
            Self::Timeout => ("timeout", "still progressing when time ran out"),
            Self::Threshold => ("threshold", "an objective was missed (load, slo, cost, drill)"),
            Self::Partial => ("partial", "some units ok, some not"),
            Self::Invariant => ("invariant", "verify found a broken promise"),
            Self::Unknown => ("unknown", "the verdict could not be reached (no data, generator saturated)"),
            Self::Refused => ("refused", "a guard said no (blast radius, protected environment)"),
            Self::InfraTool => ("infra-tool", "terraform or tofu failed"),
            Self::Interrupted => ("signal", "stopped by SIGINT; state consistent, resumable"),
            Self::Terminated => ("signal", "stopped by SIGTERM; state consistent, resumable"),
        }
    }
}

/// A situation that has a name: what was tried, what it means for scripts, and what to do next.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    code: &'static str,
    message: String,
    more: Box<More>,
}

/// What may be known beyond the message. Boxed, so that an error is cheap to hand up.
#[derive(Debug, Default)]
struct More {
    hint: Option<String>,
    object: Option<String>,
    picture: Option<String>,
    source: Option<anyhow::Error>,
}

impl Failure {
    /// A failure that ends the command with `exit`. `code` is stable and for scripts, `message` for people.
    pub fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self { exit, code, message: message.into(), more: Box::default() }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.more.hint = Some(hint.into());
        self
    }

    /// What it happened to: a file, an address, a process.
    #[must_use]
    pub fn object(mut self, object: impl fmt::Display) -> Self {
        self.more.object = Some(object.to_string());
        self
    }

    /// The place in a file, drawn for a person.
    #[must_use]
    pub fn picture(mut self, picture: impl Into<String>) -> Self {
        self.more.picture = Some(picture.into());
        self
    }

    /// What came back.
    #[must_use]
    pub fn because(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.more.source = Some(source.into());
        self
    }

    /// What to do next.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.more.hint.as_deref()
    }

    /// The exit code it ends a command with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.more.source.as_ref().map(AsRef::as_ref)
    }
}

/// What the edge knows about an error: enough to print it and to end the process.
#[derive(Debug)]
pub struct Diagnosis {
    /// How the process ends.
    pub exit: Exit,
    /// The stable code for scripts.
    pub code: &'static str,
    /// What was tried.
    pub message: String,
    /// What came back, outermost first.
    pub causes: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// What it happened to.
    pub object: Option<String>,
    /// The place in a file, drawn for a person.
    pub picture: Option<String>,
}

impl Diagnosis {
    /// Walks the chain of `error` once. The innermost failure decides the exit code, since it knows best.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        let failure = error.chain().filter_map(|cause| cause.downcast_ref::<Failure>()).last();
        // A failure that was added as context is not a link of the chain by itself.
        let failure = failure.or_else(|| error.downcast_ref::<Failure>());
        let mut said: Vec<String> = error.chain().map(ToString::to_string).collect();
        said.dedup();
        let message = said.remove(0);
        Self {
            exit: failure.map_or(Exit::Internal, |failure| failure.exit),
            code: failure.map_or("E-INTERNAL", |failure| failure.code),
            message,
            causes: said,
            hint: failure.and_then(|failure| failure.more.hint.clone()),
            object: failure.and_then(|failure| failure.more.object.clone()),
            picture: failure.and_then(|failure| failure.more.picture.clone()),
        }
    }

    /// The entry of `errors` in the JSON envelope.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut message = self.message.clone();
        for cause in &self.causes {
            message.push_str(": ");
            message.push_str(cause);
        }
        json!({
            "code": self.code,
            "message": message,
            "hint": self.hint,
            "docs": format!("shopctl help exit-codes ({} {})", self.exit.code(), self.exit.name()),
            "object": self.object,
        })
    }
}

/// The candidate nearest to `word`, when it is near enough that a person may have meant it.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(one, _), (two, _)| one.total_cmp(two))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_innermost_failure_decides_the_exit_code() {
        let inner = Failure::new(Exit::Locked, "E-LOCKED", "the data folder is in use").hint("stop it");
        let error = anyhow::Error::from(inner).context("could not start the shop");
        let found = Diagnosis::of(&error);
        assert_eq!(found.exit, Exit::Locked);
        assert_eq!(found.message, "could not start the shop");
        assert_eq!(found.causes, ["the data folder is in use"]);
        assert_eq!(found.hint.as_deref(), Some("stop it"));
    }

    #[test]
    fn an_error_nobody_named_is_a_bug() {
        let error = Err::<(), _>(std::io::Error::other("odd")).context("read the tea leaves").unwrap_err();
        assert_eq!(Diagnosis::of(&error).exit, Exit::Internal);
    }

    #[test]
    fn every_exit_has_a_number_of_its_own() {
        let mut codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        codes.dedup();
        assert_eq!(codes.len(), Exit::ALL.len());
        assert_eq!(Exit::from_code(7), Some(Exit::Locked));
        assert_eq!(Exit::from_code(99), None);
    }

    #[test]
    fn a_near_miss_is_suggested_and_nonsense_is_not() {
        assert_eq!(nearest("prot", ["engine", "port"]), Some("port"));
        assert_eq!(nearest("xyzzy", ["engine", "port"]), None);
    }
}
