//! What can go wrong with a registry, and what to do about it.

use std::io;
use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;

use super::credentials::{PASSWORD_FILE, USERNAME};
use super::line::{Answer, LineError};
use crate::failure::{Exit, Failure};
use crate::image::digest::Digest;
use crate::image::reference::Reference;

/// The most of what a registry says that is passed on.
const SAID_LETTERS: usize = 300;

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Nothing came back.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The registry said no.
    #[error("the registry answers {status} to {asked}{said}")]
    Answered {
        /// The status.
        status: StatusCode,
        /// To what.
        asked: String,
        /// What it says, when it says something.
        said: String,
        /// When to come again.
        retry_after: Option<Duration>,
    },
    /// It wants a login, and there is none, or not this one.
    #[error("the registry answers {status} to {asked}{said}")]
    Login {
        /// The status.
        status: StatusCode,
        /// To what.
        asked: String,
        /// What it says, when it says something.
        said: String,
        /// Whose login was refused.
        who: Option<String>,
    },
    /// It sends us to a place where the login or the image would travel in the clear.
    #[error("the registry sends us to {0}, where everybody on the way can read")]
    InTheClear(String),
    /// It does not speak as a registry does.
    #[error("{0}")]
    Odd(String),
    /// It keeps something else than what was sent.
    #[error("the registry keeps {found} under the tag instead of {sent}")]
    Other {
        /// What was sent.
        sent: Digest,
        /// What is there.
        found: String,
    },
    /// The image cannot be read.
    #[error("the image cannot be read: {0}")]
    Image(#[from] io::Error),
}

impl Trouble {
    /// The trouble of an answer that is no success.
    #[must_use]
    pub fn answered(answer: &Answer, asked: &str) -> Self {
        let retry_after = answer.header("retry-after").and_then(|text| text.trim().parse().ok());
        Self::Answered {
            status: answer.status,
            asked: asked.to_owned(),
            said: said(&answer.body),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    /// Whether it may be gone by itself. `has_answered` tells whether the registry was there before.
    #[must_use]
    pub fn may_pass(&self, has_answered: bool) -> bool {
        match self {
            Self::Line(LineError::Broken(_)) => true,
            Self::Line(LineError::Connect(_)) => has_answered,
            Self::Answered { status, .. } => {
                matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }

    /// When the registry wants to be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answered { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The failure of the whole push.
    #[must_use]
    pub fn failure(self, reference: &Reference) -> Failure {
        let host = reference.host();
        let log_in = format!("`docker login {}`, or set {USERNAME} and {PASSWORD_FILE}", reference.registry);
        let (exit, code, hint) = match &self {
            Self::Line(LineError::Connect(_)) => (
                Exit::Unreachable,
                "E-UNREACHABLE",
                format!("check the name {host}, and that the registry runs and is reached from here"),
            ),
            Self::Line(LineError::Tls(_)) => (
                Exit::Unreachable,
                "E-REGISTRY-TLS",
                "--ca-file names the authority of a private registry; --insecure-registry speaks plain http"
                    .to_owned(),
            ),
            Self::Line(LineError::Broken(_)) => (
                Exit::Unreachable,
                "E-REGISTRY-BROKEN",
                "run it again: what has arrived is not sent twice".to_owned(),
            ),
            Self::Login { who: None, .. } => (Exit::Auth, "E-REGISTRY-LOGIN", log_in),
            Self::Login { who: Some(who), .. } => {
                (Exit::Auth, "E-REGISTRY-LOGIN", format!("the login of {who} was not accepted; {log_in}"))
            }
            Self::Answered { status, .. } => answered(*status, reference),
            Self::InTheClear(_) => (Exit::Refused, "E-CLEARTEXT", "--insecure-registry allows it".to_owned()),
            Self::Odd(_) => (
                Exit::Unreachable,
                "E-REGISTRY-ODD",
                format!("is {host} a registry? it should answer on /v2/"),
            ),
            Self::Other { .. } => (
                Exit::Conflict,
                "E-REGISTRY-OTHER",
                "somebody else may push this tag at the same time; use a tag of its own".to_owned(),
            ),
            Self::Image(_) => (Exit::Preflight, "E-IMAGE-BROKEN", "build or save the image again".to_owned()),
        };
        Failure::new(exit, code, format!("could not push {reference}"))
            .object(reference)
            .hint(hint)
            .because(self)
    }
}

fn answered(status: StatusCode, reference: &Reference) -> (Exit, &'static str, String) {
    let name = reference.name();
    match status.as_u16() {
        403 => (Exit::Auth, "E-REGISTRY-FORBIDDEN", format!("ask for the right to push to {name}")),
        404 => (
            Exit::Preflight,
            "E-REGISTRY-NOT-FOUND",
            format!("create the repository {name} first, or check its name"),
        ),
        413 => (
            Exit::Refused,
            "E-REGISTRY-TOO-LARGE",
            "raise the limit of the proxy before the registry (nginx: client_max_body_size)".to_owned(),
        ),
        429 | 500..=599 => (
            Exit::Unreachable,
            "E-REGISTRY-BUSY",
            "run it again later: what has arrived is not sent twice".to_owned(),
        ),
        _ => (Exit::Refused, "E-REGISTRY-REFUSED", format!("ask who runs {}", reference.host())),
    }
}

/// The errors of the specification, or the beginning of a short text.
pub(super) fn said(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    if let Ok(Errors { errors }) = serde_json::from_slice(body) {
        let all = errors.iter().map(|error| format!("{}: {}", error.code, error.message)).collect::<Vec<_>>();
        return format!(": {}", shortened(&all.join("; ")));
    }
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.is_empty() || text.starts_with('<') { String::new() } else { format!(": {}", shortened(text)) }
}

/// One line of it, without what could move a terminal's cursor.
fn shortened(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(SAID_LETTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Diagnosis;

    fn answered(status: u16) -> Trouble {
        Trouble::Answered {
            status: StatusCode::from_u16(status).unwrap(),
            asked: "x".to_owned(),
            said: String::new(),
            retry_after: None,
        }
    }

    #[test]
    fn every_answer_has_an_exit_code_and_a_next_step() {
        let reference: Reference = "ghcr.io/acme/shop:1".parse().unwrap();
        for (status, exit) in [
            (403, Exit::Auth),
            (404, Exit::Preflight),
            (413, Exit::Refused),
            (400, Exit::Refused),
            (429, Exit::Unreachable),
            (503, Exit::Unreachable),
        ] {
            let found = Diagnosis::of(&answered(status).failure(&reference).into());
            assert_eq!(found.exit, exit, "{status}");
            assert!(found.hint.is_some());
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let refused = || Trouble::Line(LineError::Connect("refused".to_owned()));
        assert!(answered(503).may_pass(true) && answered(429).may_pass(true) && refused().may_pass(true));
        assert!(!refused().may_pass(false), "a registry that never answered is told of at once");
        for status in [400, 403, 404, 413] {
            assert!(!answered(status).may_pass(true), "{status}");
        }
    }

    #[test]
    fn what_a_registry_says_is_passed_on_without_its_control_characters() {
        assert_eq!(
            said(br#"{"errors": [{"code": "DENIED", "message": "no\u001b[2Jrights", "detail": null}]}"#),
            ": DENIED: no [2Jrights"
        );
        assert_eq!(said(b"<html>"), "");
        assert_eq!(said(b""), "");
    }
}
