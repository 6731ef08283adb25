//! The shop's own secrets: made at the first start, kept in a file that only its owner can read.

use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::http::envelope::Keyring;
use crate::vocabulary::{Env, OrderId};

/// Where a shop's secrets stand in its data folder.
pub const SECRETS_FILE: &str = "secrets.json";

/// Why the secrets could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file could not be read or written.
    #[error("secrets file `{path}`: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file does not hold secrets.
    #[error(
        "secrets file `{0}` is not valid: restore it from a backup; without it sessions and guests' order links end"
    )]
    Invalid(String),
}

/// A key of 32 random bytes. Its text form is base64 without padding; its debug form tells nothing.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    fn random(env: &Env) -> Self {
        Self(URL_SAFE_NO_PAD.encode(env.bytes::<32>()))
    }

    /// A secret with a readable prefix, in the provider's style (`sk_test_…`).
    fn prefixed(prefix: &str, env: &Env) -> Self {
        Self(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(env.bytes::<24>())))
    }

    /// Text that was made elsewhere.
    #[must_use]
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text form, for headers and for showing it when asked.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The bytes: fit as a MAC key.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// All of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// Signs internal calls; the first signs, all verify.
    pub internal_keys: Vec<(String, Secret)>,
    /// Encrypts the token signing keys at rest.
    pub signing_key_encryption: Secret,
    /// Makes guests' order access tokens.
    pub order_access: Secret,
    /// Makes CSRF tokens.
    pub csrf: Secret,
    /// The payment provider's API key.
    pub provider_api_key: Secret,
    /// Verifies the provider's webhooks.
    pub provider_webhook: Secret,
    /// Opens the sandbox provider's control routes.
    pub provider_control: Secret,
}

impl Secrets {
    /// New ones.
    #[must_use]
    pub fn generate(env: &Env) -> Self {
        Self {
            internal_keys: vec![("k1".to_owned(), Secret::random(env))],
            signing_key_encryption: Secret::random(env),
            order_access: Secret::random(env),
            csrf: Secret::random(env),
            provider_api_key: Secret::prefixed("sk_test_", env),
            provider_webhook: Secret::prefixed("whsec_", env),
            provider_control: Secret::random(env),
        }
    }

    /// Reads `path`, or makes new ones and writes them there, durable before this answers, mode 0600.
    pub fn load_or_generate(path: &Path, env: &Env) -> Result<Self, SecretsError> {
        let file = |source| SecretsError::File { path: path.display().to_string(), source };
        match Self::load(path) {
            Err(SecretsError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let secrets = Self::generate(env);
                write_durably(path, &serde_json::to_vec_pretty(&secrets).unwrap_or_default())
                    .map_err(file)?;
                Ok(secrets)
            }
            read => read,
        }
    }

    /// Reads `path`.
    pub fn load(path: &Path) -> Result<Self, SecretsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SecretsError::File { path: path.display().to_string(), source })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Understands the text of such a file; `place` is where it stood.
    pub fn parse(text: &str, place: &str) -> Result<Self, SecretsError> {
        // What is wrong with it is not said: the parser would quote it.
        serde_json::from_str(text).map_err(|_| SecretsError::Invalid(place.to_owned()))
    }

    /// The keys of internal calls.
    pub fn keyring(&self) -> Result<Keyring, SecretsError> {
        let keys = self.internal_keys.iter().map(|(id, key)| (id.clone(), key.bytes().to_vec())).collect();
        Keyring::new(keys).ok_or_else(|| SecretsError::Invalid("internal_keys".to_owned()))
    }

    /// What lets a guest see the order: a MAC of its id, so it is never stored and cannot be guessed.
    #[must_use]
    pub fn order_access_token(&self, order_id: OrderId) -> Secret {
        Secret(URL_SAFE_NO_PAD.encode(self.order_access_mac(order_id).finalize().into_bytes()))
    }

    /// Whether `token` opens the order. Takes the same time whatever is wrong with it.
    #[must_use]
    pub fn opens_order(&self, order_id: OrderId, token: &str) -> bool {
        URL_SAFE_NO_PAD
            .decode(token)
            .is_ok_and(|mac| self.order_access_mac(order_id).verify_slice(&mac).is_ok())
    }

    fn order_access_mac(&self, order_id: OrderId) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.order_access.bytes())
            .expect("HMAC takes a key of any length");
        mac.update(b"order:");
        mac.update(order_id.uuid().as_bytes());
        mac
    }
}

/// A crash leaves the old file or the new one, never half of it.
fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let partial = path.with_extension("partial");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_guest_opens_one_order_and_no_other() {
        let env = Env::system();
        let secrets = Secrets::generate(&env);
        let (mine, other): (OrderId, OrderId) = (env.id(), env.id());
        let token = secrets.order_access_token(mine);
        assert!(secrets.opens_order(mine, token.expose()));
        assert!(!secrets.opens_order(other, token.expose()));
        assert!(!secrets.opens_order(mine, "") && !secrets.opens_order(mine, "?"));
        assert!(!Secrets::generate(&env).opens_order(mine, token.expose()), "other shops' tokens do not fit");
    }

    #[test]
    fn they_are_made_once_and_only_the_owner_reads_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secrets.json");
        let first = Secrets::load_or_generate(&path, &Env::system()).expect("made");
        let second = Secrets::load_or_generate(&path, &Env::system()).expect("read");
        assert_eq!(first.csrf, second.csrf);
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "{}").expect("written");
        assert!(matches!(Secrets::load_or_generate(&path, &Env::system()), Err(SecretsError::Invalid(_))));
    }
}
