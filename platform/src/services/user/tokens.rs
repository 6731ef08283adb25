//! Access tokens: JWTs signed with Ed25519, good for a quarter of an hour. The user service signs them; whoever has
//! the public keys verifies them, without a call.
//!
//! The only algorithm is `EdDSA`, whatever a token's header says, and a key is taken from our own list by its `kid`,
//! never from the token. Expiry is judged by the shop's clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};

use super::client::{TokenKey, TokenKeys};
use crate::vocabulary::{Identity, Role, Timestamp, UserId};

/// Who signs.
pub const ISSUER: &str = "shop/user";
/// For whom.
pub const AUDIENCE: &str = "shop";
/// By how much the clocks of who signs and who verifies may differ.
const CLOCK_SKEW: Duration = Duration::from_secs(30);
/// No token of ours is longer: an honest one has about 500 bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who signed it.
    pub iss: String,
    /// For whom it was signed.
    pub aud: String,
    /// The user.
    pub sub: UserId,
    /// The user's e-mail.
    pub email: String,
    /// What the user may do.
    pub roles: Vec<Role>,
    /// The user's token epoch when it was signed.
    pub epoch: i64,
    /// When it was signed, in seconds since 1970.
    pub iat: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
}

/// A token that was verified.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Whose it is.
    pub identity: Arc<Identity>,
    /// The user's token epoch when it was signed.
    pub epoch: i64,
    /// When it ends, in seconds since 1970.
    pub expires_at_s: i64,
}

impl Verified {
    /// Whether it has ended by `now`.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at_s <= now.as_second()
    }
}

/// Why a token was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not a token of ours, or was changed.
    #[error("the access token is not genuine")]
    Forged,
    /// It names a key that is not known (any more, or yet).
    #[error("the access token's key is not known")]
    UnknownKey,
    /// It was good, but is too old.
    #[error("the access token has expired")]
    Expired,
}

/// The public keys, ready to verify with.
#[derive(Default)]
pub struct Verifier {
    keys: HashMap<String, DecodingKey>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.keys()).finish()
    }
}

impl Verifier {
    /// A verifier with `keys`; those of another kind than ours are left out.
    #[must_use]
    pub fn new(keys: &TokenKeys) -> Self {
        let is_ours = |key: &&TokenKey| key.kty == "OKP" && key.crv == "Ed25519" && key.alg == "EdDSA";
        let ready = keys.keys.iter().filter(is_ours).filter_map(|key| {
            // The library looks at the first 32 bytes; a key of another length is none.
            let decoded = DecodingKey::from_ed_components(&key.x).ok()?;
            (decoded.try_get_as_bytes().ok()?.len() == 32).then(|| (key.kid.clone(), decoded))
        });
        Self { keys: ready.collect() }
    }

    /// Checks `token` at the time `now`.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Verified, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Forged);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Forged)?;
        if header.alg != Algorithm::EdDSA {
            return Err(TokenError::Forged);
        }
        let key = self.keys.get(header.kid.as_deref().unwrap_or_default()).ok_or(TokenError::UnknownKey)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        // The library would ask the system's clock.
        validation.validate_exp = false;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let claims =
            jsonwebtoken::decode::<Claims>(token, key, &validation).map_err(|_| TokenError::Forged)?.claims;
        let skew = i64::try_from(CLOCK_SKEW.as_secs()).unwrap_or(0);
        if claims.iat > now.as_second().saturating_add(skew) {
            return Err(TokenError::Forged);
        }
        let identity = Identity { user_id: claims.sub, email: claims.email, roles: claims.roles };
        let verified =
            Verified { identity: Arc::new(identity), epoch: claims.epoch, expires_at_s: claims.exp };
        if verified.is_over(now) { Err(TokenError::Expired) } else { Ok(verified) }
    }
}

/// Whether `text` has the shape of a JWT: three parts. An order's access token has one.
#[must_use]
pub fn looks_like_a_token(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}
