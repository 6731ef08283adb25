//! The keys that sign access tokens: made here, kept encrypted, changed every month, published as a JWK set.
//!
//! A retired key stays published until the last token that it signed has ended. When the encryption key is lost the
//! stored keys are worthless: a new one is made, and users renew their sessions.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use sha2::{Digest, Sha256};

use super::client::{TokenKey, TokenKeys};
use super::store::{Store, StoredKey};
use super::tokens::{AUDIENCE, Claims, ISSUER};
use crate::http::Problem;
use crate::secrets::Secrets;
use crate::storage::StorageError;
use crate::vocabulary::{Env, Identity, clock};

/// How long a key signs before the next one takes over.
const SIGNS_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Other replicas learn of a new key within this: until then they sign with the one before.
const OTHERS_LEARN_WITHIN: Duration = Duration::from_secs(5 * 60);
/// What comes before the 32 bytes of an Ed25519 key in PKCS #8.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const NONCE_BYTES: usize = 12;

struct Signer {
    kid: String,
    key: EncodingKey,
}

struct Current {
    signer: Option<Signer>,
    published: TokenKeys,
}

/// The keys of this process. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Signing {
    store: Store,
    env: Env,
    cipher: ChaCha20Poly1305,
    token_life: Duration,
    current: Arc<RwLock<Arc<Current>>>,
}

impl Signing {
    /// Loads the keys, making the first one when there is none.
    pub async fn load(
        store: Store,
        env: &Env,
        secrets: &Secrets,
        token_life: Duration,
    ) -> Result<Self, StorageError> {
        let key = Sha256::digest(secrets.signing_key_encryption.bytes());
        let nothing = Current { signer: None, published: TokenKeys::default() };
        let signing = Self {
            store,
            env: env.clone(),
            cipher: ChaCha20Poly1305::new(Key::from_slice(&key)),
            token_life,
            current: Arc::new(RwLock::new(Arc::new(nothing))),
        };
        signing.refresh().await?;
        Ok(signing)
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The keys that verify what is signed here.
    #[must_use]
    pub fn published(&self) -> TokenKeys {
        self.current().published.clone()
    }

    /// Reads the keys again; makes a new one when none signs, or the one that does has signed long enough.
    pub async fn refresh(&self) -> Result<(), StorageError> {
        let now = self.env.now();
        let mut keys = self.store.signing_keys().await?;
        let signer = self.newest_usable(&keys);
        let is_due = signer.is_none_or(|key| clock::since(key.created_at, now) >= SIGNS_FOR);
        if is_due {
            let retires = signer.map(|key| key.kid.clone());
            self.rotate(retires.as_deref()).await?;
            keys = self.store.signing_keys().await?;
        }
        self.adopt(&keys);
        Ok(())
    }

    /// Lets a new key sign from now on. A twin that did so first wins: its key is taken.
    async fn rotate(&self, retires: Option<&str>) -> Result<(), StorageError> {
        let seed: [u8; 32] = self.env.bytes();
        let Some((kid, _)) = public_part(&seed) else {
            return Err(StorageError::Invalid("a fresh signing key has no public part".to_owned()));
        };
        let key = StoredKey {
            private_key: self.seal(&kid, &seed)?,
            kid,
            created_at: self.env.now(),
            retired_at: None,
        };
        match self.store.add_signing_key(&key, retires).await {
            Err(error) if error.is_expectation("retire") => Ok(()),
            other => other,
        }
    }

    /// Retires the key that signs, now: for a key that may have been seen. Its tokens stay good until they end.
    pub async fn rotate_now(&self) -> Result<(), StorageError> {
        let kid = self.current().signer.as_ref().map(|signer| signer.kid.clone());
        self.rotate(kid.as_deref()).await?;
        self.refresh().await
    }

    fn newest_usable<'a>(&self, keys: &'a [StoredKey]) -> Option<&'a StoredKey> {
        let usable = |key: &&StoredKey| key.retired_at.is_none() && self.unseal(key).is_some();
        keys.iter()
            .filter(usable)
            .max_by(|one, two| (one.created_at, &one.kid).cmp(&(two.created_at, &two.kid)))
    }

    fn adopt(&self, keys: &[StoredKey]) {
        let now = self.env.now();
        let signer = self.newest_usable(keys);
        let mut published = TokenKeys::default();
        let mut newest_first: Vec<&StoredKey> = keys.iter().collect();
        newest_first.sort_by_key(|key| std::cmp::Reverse(key.created_at));
        for key in newest_first {
            let ends = key.retired_at.map(|at| clock::add(at, self.token_life + OTHERS_LEARN_WITHIN));
            if ends.is_some_and(|at| at < now) {
                continue;
            }
            let Some(seed) = self.unseal(key) else {
                tracing::warn!(kid = key.kid, "a signing key cannot be decrypted: its tokens are void");
                continue;
            };
            if let Some((kid, x)) = public_part(&seed) {
                published.keys.push(token_key(kid, x));
            }
        }
        let signer = signer.and_then(|key| {
            let key_bytes = pkcs8(&self.unseal(key)?);
            Some(Signer { kid: key.kid.clone(), key: EncodingKey::from_ed_der(&key_bytes) })
        });
        let next = Arc::new(Current { signer, published });
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// A token for `identity`, of its `epoch`.
    pub fn sign(&self, identity: &Identity, epoch: i64) -> Result<String, Problem> {
        let now = self.env.now().as_second();
        let life = i64::try_from(self.token_life.as_secs()).unwrap_or(0);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: identity.user_id,
            email: identity.email.clone(),
            roles: identity.roles.clone(),
            epoch,
            iat: now,
            exp: now.saturating_add(life),
        };
        let current = self.current();
        let Some(signer) = &current.signer else {
            return Err(Problem::internal(&StorageError::Invalid("there is no signing key".to_owned())));
        };
        let header = Header { kid: Some(signer.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &signer.key).map_err(|error| Problem::internal(&error))
    }

    /// The nonce, then the key encrypted under it, bound to the key's name.
    fn seal(&self, kid: &str, seed: &[u8; 32]) -> Result<Vec<u8>, StorageError> {
        let nonce: [u8; NONCE_BYTES] = self.env.bytes();
        let payload = Payload { msg: seed, aad: kid.as_bytes() };
        let sealed = self.cipher.encrypt(Nonce::from_slice(&nonce), payload);
        let sealed =
            sealed.map_err(|_| StorageError::Invalid("a signing key could not be encrypted".to_owned()))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn unseal(&self, key: &StoredKey) -> Option<[u8; 32]> {
        let (nonce, sealed) = key.private_key.split_at_checked(NONCE_BYTES)?;
        let payload = Payload { msg: sealed, aad: key.kid.as_bytes() };
        self.cipher.decrypt(Nonce::from_slice(nonce), payload).ok()?.try_into().ok()
    }
}

fn pkcs8(seed: &[u8; 32]) -> Vec<u8> {
    [PKCS8_PREFIX.as_slice(), seed].concat()
}

/// The key's name (its RFC 7638 thumbprint) and its public part.
fn public_part(seed: &[u8; 32]) -> Option<(String, String)> {
    let jwk = Jwk::from_encoding_key(&EncodingKey::from_ed_der(&pkcs8(seed)), Algorithm::EdDSA).ok()?;
    let kid = jwk.thumbprint(ThumbprintHash::SHA256).ok()?;
    match jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(pair) => Some((kid, pair.x)),
        _ => None,
    }
}

fn token_key(kid: String, x: String) -> TokenKey {
    let text = str::to_owned;
    TokenKey { kty: text("OKP"), crv: text("Ed25519"), alg: text("EdDSA"), purpose: text("sig"), kid, x }
}
