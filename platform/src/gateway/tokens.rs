//! Who is asking: access tokens, verified here without a call per request.
//!
//! The public keys and the list of void tokens are the user service's, kept here and read again when they are old;
//! while the user service is away the last known ones serve on. A token that was verified once is remembered, since
//! Ed25519 costs more than the rest of a request together.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::Mutex as AsyncMutex;

use crate::http::{CallError, Code, Context, Problem};
use crate::services::user::client::UserClient;
use crate::services::user::tokens::{TokenError, Verified, Verifier};
use crate::vocabulary::{Env, Identity, UserId};

/// After this the keys are read again, for those that were retired.
const KEYS_LIFE: Duration = Duration::from_secs(300);
/// After this the void tokens are read again: so long an ended session may still be served.
const REVOCATIONS_LIFE: Duration = Duration::from_secs(2);
/// A token with an unknown key makes us read the keys again, but not more often than this.
const UNKNOWN_KEY_EVERY: Duration = Duration::from_secs(3);
/// So many verified tokens are remembered, twice.
const REMEMBERED: usize = 8192;

type TokenDigest = [u8; 32];

/// The tokens that were verified lately, in two generations: when the young one is full the old one is forgotten.
#[derive(Default)]
struct Remembered {
    young: HashMap<TokenDigest, Verified>,
    old: HashMap<TokenDigest, Verified>,
}

impl Remembered {
    fn find(&mut self, digest: &TokenDigest) -> Option<Verified> {
        if let Some(verified) = self.young.get(digest) {
            return Some(verified.clone());
        }
        let verified = self.old.remove(digest)?;
        self.keep(*digest, verified.clone());
        Some(verified)
    }

    fn keep(&mut self, digest: TokenDigest, verified: Verified) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, verified);
    }
}

struct Known {
    verifier: RwLock<Arc<Verifier>>,
    keys_read_us: AtomicI64,
    keys_reading: AsyncMutex<()>,
    void: RwLock<Arc<HashMap<UserId, i64>>>,
    void_read_us: AtomicI64,
    void_reading: AtomicBool,
    remembered: Mutex<Remembered>,
}

/// Verifies access tokens. Cheap to clone; clones share what is known.
#[derive(Clone)]
pub struct Tokens {
    client: UserClient,
    env: Env,
    known: Arc<Known>,
}

impl Tokens {
    /// Verifies with the keys that `client` publishes.
    #[must_use]
    pub fn new(client: UserClient, env: &Env) -> Self {
        let known = Known {
            verifier: RwLock::default(),
            keys_read_us: AtomicI64::new(i64::MIN),
            keys_reading: AsyncMutex::default(),
            void: RwLock::default(),
            void_read_us: AtomicI64::new(i64::MIN),
            void_reading: AtomicBool::default(),
            remembered: Mutex::default(),
        };
        Self { client, env: env.clone(), known: Arc::new(known) }
    }

    /// Whose token it is. 401 `unauthenticated` for one that is forged, expired or void; 503 when there are no keys
    /// to check it with.
    pub async fn identity(&self, token: &str) -> Result<Arc<Identity>, Problem> {
        self.read_what_is_old().await?;
        let digest: TokenDigest = Sha256::digest(token).into();
        let now = self.env.now();
        let remembered = self.remembered().find(&digest);
        let verified = match remembered {
            Some(verified) if verified.is_over(now) => return Err(refused(TokenError::Expired)),
            Some(verified) => verified,
            None => {
                let verified = self.verify(token).await.map_err(refused)?;
                self.remembered().keep(digest, verified.clone());
                verified
            }
        };
        let void = Arc::clone(&self.known.void.read().unwrap_or_else(PoisonError::into_inner));
        if void.get(&verified.identity.user_id).is_some_and(|epoch| verified.epoch < *epoch) {
            return Err(Problem::new(Code::Unauthenticated, "the session was ended, sign in again"));
        }
        Ok(verified.identity)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.known.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn verify(&self, token: &str) -> Result<Verified, TokenError> {
        match self.verifier().verify(token, self.env.now()) {
            Err(TokenError::UnknownKey) if self.is_older(&self.known.keys_read_us, UNKNOWN_KEY_EVERY) => {
                let _ = self.read_keys(UNKNOWN_KEY_EVERY).await;
                self.verifier().verify(token, self.env.now())
            }
            other => other,
        }
    }

    fn verifier(&self) -> Arc<Verifier> {
        Arc::clone(&self.known.verifier.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_older(&self, read_us: &AtomicI64, life: Duration) -> bool {
        let (read_us, now_us) = (read_us.load(Ordering::Relaxed), self.env.now().as_microsecond());
        // A clock that was set back makes everything old, which costs a read and no more.
        let age_us = now_us.saturating_sub(read_us);
        read_us > now_us || age_us >= i64::try_from(life.as_micros()).unwrap_or(i64::MAX)
    }

    fn context(&self) -> Context {
        // The pages live in the gateway's process, and internal routes are not for what the gateway forwards.
        Context::background("web", &self.env)
    }

    /// The first read is waited for; later ones happen beside the request that noticed.
    async fn read_what_is_old(&self) -> Result<(), Problem> {
        if self.known.keys_read_us.load(Ordering::Relaxed) == i64::MIN {
            self.read_keys(KEYS_LIFE).await?;
            self.read_void().await;
            return Ok(());
        }
        let void_is_old = self.is_older(&self.known.void_read_us, REVOCATIONS_LIFE);
        if void_is_old && !self.known.void_reading.swap(true, Ordering::Relaxed) {
            let tokens = self.clone();
            tokio::spawn(async move {
                tokens.read_void().await;
                tokens.known.void_reading.store(false, Ordering::Relaxed);
                if tokens.is_older(&tokens.known.keys_read_us, KEYS_LIFE) {
                    let _ = tokens.read_keys(KEYS_LIFE).await;
                }
            });
        }
        Ok(())
    }

    /// Reads the keys, unless somebody else did so within `life` while we waited.
    async fn read_keys(&self, life: Duration) -> Result<(), CallError> {
        let _reading = self.known.keys_reading.lock().await;
        if !self.is_older(&self.known.keys_read_us, life) {
            return Ok(());
        }
        let keys = self.client.token_keys(&self.context()).await.inspect_err(|error| {
            tracing::warn!(%error, "could not read the token keys, the last known ones stay");
        })?;
        *self.known.verifier.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Verifier::new(&keys));
        // What a retired key signed must not live on in memory.
        *self.remembered() = Remembered::default();
        self.known.keys_read_us.store(self.env.now().as_microsecond(), Ordering::Relaxed);
        Ok(())
    }

    async fn read_void(&self) {
        match self.client.revocations(&self.context()).await {
            Ok(void) => {
                let void = void.items.into_iter().map(|one| (one.user_id, one.token_epoch)).collect();
                *self.known.void.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(void);
                self.known.void_read_us.store(self.env.now().as_microsecond(), Ordering::Relaxed);
            }
            Err(error) => {
                tracing::warn!(%error, "could not read which tokens are void, the last known ones stay")
            }
        }
    }
}

fn refused(error: TokenError) -> Problem {
    Problem::new(Code::Unauthenticated, format!("{error}, renew it or sign in again"))
}
