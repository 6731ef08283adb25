//! The login for a registry: from the environment, or from where `docker login` and `podman login` left it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::failure::{Exit, Failure};
use crate::image::reference::{DOCKER, Reference};

/// The variable with the name.
pub const USERNAME: &str = "SHOPCTL_REGISTRY_USERNAME";
/// The variable that names the file with the password.
pub const PASSWORD_FILE: &str = "SHOPCTL_REGISTRY_PASSWORD_FILE";

/// Under which name Docker keeps the login of its own registry.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";
/// The name that stands for "the secret is a token".
const TOKEN: &str = "<token>";

/// A login.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and its password.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// A token that is exchanged for others.
    Identity(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Credentials").field(&self.who()).finish()
    }
}

impl Credentials {
    /// Whose login it is, without the secret.
    #[must_use]
    pub fn who(&self) -> &str {
        match self {
            Self::Password { username, .. } => username,
            Self::Identity(_) => "a token",
        }
    }

    /// The login for the registry of `reference`, when there is one.
    ///
    /// # Errors
    /// When half of it is given, or a file with it cannot be read.
    pub fn find(
        reference: &Reference,
        variable: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Option<Self>> {
        let username = variable(USERNAME).filter(|value| !value.is_empty());
        let file = variable(PASSWORD_FILE).filter(|value| !value.is_empty());
        match (username, file) {
            (Some(username), Some(file)) => {
                let password = std::fs::read_to_string(&file).map_err(|error| {
                    unreadable(format!("could not read the password from {file}"), error.into())
                })?;
                let password = password.trim_end_matches(['\r', '\n']).to_owned();
                Ok(Some(Self::Password { username, password }))
            }
            (None, None) => match config_file(&variable) {
                Some(path) => Config::read(&path)?.login(&reference.registry),
                None => Ok(None),
            },
            _ => Err(Failure::new(Exit::Usage, "E-HALF-A-LOGIN", "half of the login is missing")
                .hint(format!("set both {USERNAME} and {PASSWORD_FILE}, or neither"))
                .into()),
        }
    }
}

fn config_file(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let folder = match variable("DOCKER_CONFIG").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(&variable("HOME").filter(|home| !home.is_empty())?).join(".docker"),
    };
    Some(folder.join("config.json"))
}

/// Docker's file; other keys are none of our business.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    auths: BTreeMap<String, Login>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Login {
    auth: Option<String>,
    identitytoken: Option<String>,
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl Config {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(unreadable(format!("could not read {}", path.display()), error.into()).into());
            }
        };
        serde_json::from_str(&text).map_err(|error| {
            unreadable(format!("could not understand {}", path.display()), error.into()).into()
        })
    }

    fn login(&self, registry: &str) -> anyhow::Result<Option<Credentials>> {
        let key = if registry == DOCKER { DOCKER_KEY } else { registry };
        if let Some(helper) = self.cred_helpers.get(key) {
            return ask_helper(helper, key);
        }
        let known = self.auths.iter().find(|(name, _)| *name == key || host(name) == registry);
        if let Some((_, login)) = known {
            if let Some(token) = login.identitytoken.as_ref().filter(|token| !token.is_empty()) {
                return Ok(Some(Credentials::Identity(token.clone())));
            }
            if let Some(auth) = login.auth.as_ref().filter(|auth| !auth.is_empty()) {
                return decode(auth).map(Some);
            }
        }
        match &self.creds_store {
            Some(helper) => ask_helper(helper, key),
            None => Ok(None),
        }
    }
}

/// Older files have addresses as keys: `https://ghcr.io/v2/`.
fn host(key: &str) -> &str {
    let rest = key.trim_start_matches("https://").trim_start_matches("http://");
    rest.split('/').next().unwrap_or(rest)
}

fn decode(auth: &str) -> anyhow::Result<Credentials> {
    let odd = || {
        unreadable(
            "the login in Docker's config.json is no name and password".to_owned(),
            anyhow::anyhow!("`auth` cannot be decoded"),
        )
    };
    let bytes = STANDARD.decode(auth.trim()).map_err(|_| odd())?;
    let text = String::from_utf8(bytes).map_err(|_| odd())?;
    let (username, password) = text.split_once(':').ok_or_else(odd)?;
    let password = password.trim_end_matches('\0').to_owned();
    Ok(Credentials::Password { username: username.to_owned(), password })
}

/// `docker-credential-NAME get`: the registry goes in, a document comes out. A helper that knows nothing fails.
fn ask_helper(helper: &str, key: &str) -> anyhow::Result<Option<Credentials>> {
    let program = format!("docker-credential-{helper}");
    let absent = |error: std::io::Error| {
        unreadable(format!("could not ask `{program}` for the login of {key}"), error.into())
    };
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(absent)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading has said no already.
        stdin.write_all(key.as_bytes()).ok();
    }
    let ended = child.wait_with_output().with_context(|| format!("could not wait for {program}"))?;
    if !ended.status.success() {
        return Ok(None);
    }
    let answer: Answer = serde_json::from_slice(&ended.stdout).map_err(|_| {
        unreadable(
            format!("could not understand what `{program}` answered"),
            anyhow::anyhow!("it is no name and secret"),
        )
    })?;
    Ok(Some(if answer.username == TOKEN {
        Credentials::Identity(answer.secret)
    } else {
        Credentials::Password { username: answer.username, password: answer.secret }
    }))
}

fn unreadable(message: String, error: anyhow::Error) -> Failure {
    Failure::new(Exit::Auth, "E-REGISTRY-LOGIN-UNREADABLE", message)
        .hint(format!("`docker login` writes it anew; or set {USERNAME} and {PASSWORD_FILE}"))
        .because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(config: &str, registry: &str) -> anyhow::Result<Option<Credentials>> {
        serde_json::from_str::<Config>(config)?.login(registry)
    }

    fn password(username: &str, password: &str) -> Credentials {
        Credentials::Password { username: username.to_owned(), password: password.to_owned() }
    }

    #[test]
    fn the_login_is_found_under_every_spelling_of_the_registry() {
        // printf 'anna:a:b' | base64
        let config = r#"{"auths": {"ghcr.io": {"auth": "YW5uYTphOmI="}, "https://quay.io/v2/": {"auth": "YW5uYTphOmI="},
            "https://index.docker.io/v1/": {"identitytoken": "t"}}, "psFormat": "x"}"#;
        assert_eq!(login(config, "ghcr.io").unwrap(), Some(password("anna", "a:b")));
        assert_eq!(login(config, "quay.io").unwrap(), Some(password("anna", "a:b")));
        assert_eq!(login(config, DOCKER).unwrap(), Some(Credentials::Identity("t".to_owned())));
        assert_eq!(login(config, "evil.example").unwrap(), None);
        assert!(login(r#"{"auths": {"ghcr.io": {"auth": "!!"}}}"#, "ghcr.io").is_err());
    }

    #[test]
    fn the_environment_counts_before_the_file_and_half_of_it_is_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "s3cret\n").unwrap();
        std::fs::write(
            folder.path().join("config.json"),
            r#"{"auths": {"r.example": {"auth": "YW5uYTphOmI="}}}"#,
        )
        .unwrap();
        let reference: Reference = "r.example/shop:1".parse().unwrap();
        let find = |name: Option<&str>, file: Option<&Path>| {
            Credentials::find(&reference, |variable| match variable {
                USERNAME => name.map(str::to_owned),
                PASSWORD_FILE => file.map(|path| path.display().to_string()),
                "DOCKER_CONFIG" => Some(folder.path().display().to_string()),
                _ => None,
            })
        };
        assert_eq!(find(Some("ci"), Some(&secret)).unwrap(), Some(password("ci", "s3cret")));
        assert_eq!(find(None, None).unwrap(), Some(password("anna", "a:b")));
        assert!(find(Some("ci"), None).is_err());
        assert!(find(Some("ci"), Some(Path::new("/nowhere"))).is_err());
    }

    #[test]
    fn a_login_never_shows_its_secret() {
        assert!(!format!("{:?}", password("anna", "s3cret")).contains("s3cret"));
        assert!(!format!("{:?}", Credentials::Identity("s3cret".to_owned())).contains("s3cret"));
    }
}
