//! The right to run a shop: from its data folder when it is on this machine, by a token of staff elsewhere.
//!
//! Whoever can read the data folder has the shop's secrets and owns the shop, so no password is asked for: each
//! request carries a pass that is made from the secrets for it, lives for a minute, and is never written down.

use std::path::Path;

use platform::client::{CallError, Code, Operator, Problem, SecretsError};

use super::local::lock;
use crate::failure::{Exit, Failure};
use crate::wire::is_loopback;

/// The variable that holds a token of staff.
const TOKEN: &str = "SHOPCTL_TOKEN";
/// The variable that names a file with the token.
const TOKEN_FILE: &str = "SHOPCTL_TOKEN_FILE";

/// The operator of the shop that runs on `data_dir`.
///
/// # Errors
/// When no shop runs there, it is not ready yet, or its secrets are not for this user to read.
pub fn local(data_dir: &Path) -> anyhow::Result<Operator> {
    let holder = lock::running(data_dir)?;
    let Some(url) = holder.url else {
        return Err(Failure::new(Exit::Unreachable, "E-NOT-READY", "the shop is not ready yet")
            .object(data_dir.display())
            .hint("try again in a moment; `shopctl status` tells how it is")
            .into());
    };
    Operator::of_folder(&url, data_dir, &name()).map_err(|error| no_secrets(data_dir, error).into())
}

/// The operator of the shop behind `url` whose secrets the caller could read; `place` is where they stood.
///
/// # Errors
/// When they are no secrets of a shop.
pub fn of_secrets(url: &str, secrets: &str, place: &str) -> Result<Operator, Failure> {
    Operator::of_secrets(url, secrets, place, &name()).map_err(|error| {
        Failure::new(Exit::Auth, "E-NO-SECRETS", "could not become the operator of the shop")
            .object(place)
            .hint("the shop's pods read the same: `shopctl why` says whether they are well")
            .because(error)
    })
}

/// The member of staff whose token the environment names, at the shop behind `url`.
///
/// # Errors
/// When there is no token, or it would travel in the clear.
pub fn elsewhere(url: &str, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Operator> {
    let url = url.trim_end_matches('/');
    if !is_private(url) {
        let message = format!("{url} would be sent a token that everybody on the way can read");
        return Err(Failure::new(Exit::Refused, "E-CLEARTEXT", message)
            .object(url)
            .hint("use its https:// address; plain http:// is for this machine")
            .into());
    }
    Ok(Operator::with_token(url, &token(variable)?))
}

/// Whether what is sent there stays between the two: TLS, or this machine.
fn is_private(url: &str) -> bool {
    // As the client will read it, which need not be as it looks: `http://localhost:80@evil.example`.
    let Ok(url) = url.parse::<hyper::Uri>() else { return false };
    let Some(host) =
        url.host().filter(|_| url.authority().is_some_and(|whole| !whole.as_str().contains('@')))
    else {
        return false;
    };
    match url.scheme_str() {
        Some("https") => true,
        Some("http") => is_loopback(host),
        _ => false,
    }
}

fn token(variable: impl Fn(&str) -> Option<String>) -> Result<String, Failure> {
    if let Some(token) = variable(TOKEN).filter(|token| !token.is_empty()) {
        return Ok(token);
    }
    let hint = format!(
        "put an access token of a member of staff into {TOKEN}, or into a file that {TOKEN_FILE} names"
    );
    let Some(path) = variable(TOKEN_FILE).filter(|path| !path.is_empty()) else {
        let message = "a shop behind an address needs a token, and there is none";
        return Err(Failure::new(Exit::Auth, "E-NO-TOKEN", message).hint(hint));
    };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let message = format!("could not read the token from {path}");
        Failure::new(Exit::Auth, "E-NO-TOKEN", message).object(&path).hint(&hint).because(error)
    })?;
    match text.trim() {
        "" => {
            Err(Failure::new(Exit::Auth, "E-NO-TOKEN", format!("{path} is empty")).object(&path).hint(hint))
        }
        token => Ok(token.to_owned()),
    }
}

/// What the audit calls who runs this process.
fn name() -> String {
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
    format!("operator {}", user.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string()))
}

fn no_secrets(data_dir: &Path, error: SecretsError) -> Failure {
    let failure = Failure::new(Exit::Auth, "E-NO-SECRETS", "could not become the operator of the shop")
        .object(data_dir.display());
    let hint = match &error {
        SecretsError::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            "run it as the user whose shop it is: who can read its data folder runs it"
        }
        SecretsError::File { .. } => "name the folder of the running shop with --data-dir",
        SecretsError::Invalid(_) => "restore the file from a backup",
    };
    failure.hint(hint).because(error)
}

/// What a call to a shop came to, as the failure of `tried`: "retry the saga of order 7".
#[must_use]
pub fn failed(error: CallError, tried: &str) -> anyhow::Error {
    let message = format!("could not {tried}");
    match error {
        CallError::Problem(problem) => answered(*problem, message).into(),
        CallError::Refused(reason) => Failure::new(Exit::Unreachable, "E-UNREACHABLE", message)
            .hint("`shopctl status` tells whether a shop is running")
            .because(anyhow::Error::msg(reason))
            .into(),
        CallError::Unknown(reason) => Failure::new(Exit::Unreachable, "E-NO-ANSWER", message)
            .hint("it may have been done all the same: look before you try again")
            .because(anyhow::Error::msg(reason))
            .into(),
    }
}

fn answered(problem: Problem, message: String) -> Failure {
    let (exit, code, hint) = match (problem.status, problem.code) {
        (401, _) => (Exit::Auth, "E-AUTH", format!("renew the token in {TOKEN} or {TOKEN_FILE}")),
        (403, _) => (Exit::Auth, "E-FORBIDDEN", "ask for the role `ops`".to_owned()),
        (404, _) => (Exit::Usage, "E-NOT-FOUND", "list what there is, and name one of it".to_owned()),
        (409, _) => (Exit::Conflict, "E-CONFLICT", "look at its state, and decide again".to_owned()),
        (429, _) | (_, Code::Overloaded | Code::Unavailable) => {
            let wait_s = problem.retry_after.unwrap_or(1).max(1);
            (Exit::Unreachable, "E-BUSY", format!("try again in {wait_s} s"))
        }
        (_, Code::Timeout | Code::BadGateway) => {
            (Exit::Unreachable, "E-NO-ANSWER", "look whether it was done all the same".to_owned())
        }
        (400..500, _) => (Exit::Usage, "E-REQUEST", "see `--help` of the command".to_owned()),
        _ => (Exit::Internal, "E-SHOP", format!("`shopctl logs` has request {}", request_id(&problem))),
    };
    let mut said = problem.detail.clone();
    for error in &problem.errors {
        said = format!("{said}; {}: {}", error.pointer.trim_start_matches('/'), error.message);
    }
    Failure::new(exit, code, message).hint(hint).because(anyhow::Error::msg(said))
}

fn request_id(problem: &Problem) -> String {
    problem.request_id.as_deref().unwrap_or("of that moment").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Diagnosis;

    #[test]
    fn a_token_is_sent_in_the_clear_to_this_machine_only() {
        for url in ["https://shop.example", "http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:80"]
        {
            assert!(is_private(url), "{url}");
        }
        for url in [
            "http://shop.example",
            "http://10.0.0.1:8080",
            "http://127.0.0.1.evil.example",
            "http://localhost:80@evil.example",
            "https://localhost@evil.example",
            "ftp://x",
            "",
        ] {
            assert!(!is_private(url), "{url}");
        }
        let error = elsewhere("http://shop.example", |_| Some("t".into())).unwrap_err();
        assert_eq!(Diagnosis::of(&error).exit, Exit::Refused);
    }

    #[test]
    fn without_a_token_nobody_is_an_operator_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("token");
        std::fs::write(&empty, "\n").unwrap();
        let none = token(|_| None).unwrap_err();
        let missing = token(|name| (name == TOKEN_FILE).then(|| "/nowhere/token".to_owned())).unwrap_err();
        let empty = token(|name| (name == TOKEN_FILE).then(|| empty.display().to_string())).unwrap_err();
        for failure in [none, missing, empty] {
            assert_eq!(failure.exit(), Exit::Auth);
        }
        assert_eq!(token(|name| (name == TOKEN).then(|| "t".to_owned())).unwrap(), "t");
    }

    #[test]
    fn what_the_shop_answers_chooses_the_exit_code() {
        let exit = |code, detail: &str| {
            Diagnosis::of(&failed(CallError::Problem(Box::new(Problem::new(code, detail))), "try")).exit
        };
        assert_eq!(exit(Code::Unauthenticated, "who are you"), Exit::Auth);
        assert_eq!(exit(Code::Forbidden, "no"), Exit::Auth);
        assert_eq!(exit(Code::NotFound, "no such saga"), Exit::Usage);
        assert_eq!(exit(Code::OrderStateConflict, "it has ended"), Exit::Conflict);
        assert_eq!(exit(Code::Unavailable, "later"), Exit::Unreachable);
        assert_eq!(Diagnosis::of(&failed(CallError::Unknown("gone".into()), "try")).exit, Exit::Unreachable);
    }
}
