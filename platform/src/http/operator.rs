//! The operator's pass: who can read the shop's secrets runs the shop, and proves it without a password.
//!
//! A pass says a name, roles and an end, under a MAC by a key that is derived from the keys of internal calls. Whoever
//! holds those can already speak for any user, so a pass gives nobody a power that they did not have; it only spares
//! them the forging of envelopes. It is made anew for every use, lives for a minute, and is never written anywhere.
//! A thief of one has until then what it names: the roles of [`ROLES`] and no more, so nobody can make themselves a
//! lasting way in. Taking the internal key out of the secrets ends every pass at once.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::context::Bearer;
use super::envelope::Keyring;
use crate::vocabulary::{Env, Identity, Role, Timestamp, UserId, clock};

/// What every pass begins with.
pub const PREFIX: &str = "op_";
/// What a pass may be for. Not `admin`: who may give roles could stay after the pass has ended.
pub const ROLES: [Role; 3] = [Role::Support, Role::Merchandiser, Role::Ops];
/// How long a pass lives.
pub const LIFE: Duration = Duration::from_secs(60);
/// By how much the clocks of who makes and who checks may differ.
const CLOCK_SKEW: Duration = Duration::from_secs(30);
/// No pass of ours is longer.
const BYTES_MAX: usize = 1000;
const NAME_CHARS_MAX: usize = 100;
/// Keeps this key apart from the one that signs envelopes.
const KEY_PURPOSE: &[u8] = b"shop operator's pass, version 1";

/// Why a pass was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassError {
    /// It was made with other secrets, or changed.
    #[error("the operator's pass is not genuine")]
    Forged,
    /// It was good, but is too old.
    #[error("the operator's pass has ended")]
    Expired,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    key_id: String,
    name: String,
    roles: Vec<Role>,
    expires_at: Timestamp,
}

/// Makes and checks passes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Operators {
    keyring: Keyring,
}

impl Operators {
    /// Passes under the keys of internal calls.
    #[must_use]
    pub fn new(keyring: &Keyring) -> Self {
        Self { keyring: keyring.derived(KEY_PURPOSE) }
    }

    /// A pass for `name` with those of `roles` that a pass may be for, from now on for [`LIFE`].
    #[must_use]
    pub fn pass(&self, env: &Env, name: &str, roles: &[Role]) -> Bearer {
        let claims = Claims {
            key_id: self.keyring.first().0.clone(),
            name: name.chars().take(NAME_CHARS_MAX).collect(),
            roles: roles.iter().copied().filter(|role| ROLES.contains(role)).collect(),
            expires_at: env.after(LIFE),
        };
        let text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).expect("claims are plain data"));
        let mac = Keyring::mac(&self.keyring.first().1, text.as_bytes()).finalize().into_bytes();
        Bearer::from(format!("{PREFIX}{text}.{}", URL_SAFE_NO_PAD.encode(mac)).as_str())
    }

    /// Whose pass it is at the time `now`. The identity is nobody's account: its id is nil, and the name stands where an
    /// e-mail would.
    pub fn identity(&self, pass: &str, now: Timestamp) -> Result<Identity, PassError> {
        let forged = PassError::Forged;
        if pass.len() > BYTES_MAX {
            return Err(forged);
        }
        let (text, mac) = pass.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.')).ok_or(forged)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| forged)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| forged)?;
        let claims: Claims = serde_json::from_slice(&bytes).map_err(|_| forged)?;
        let key = self.keyring.find(&claims.key_id).ok_or(forged)?;
        Keyring::mac(key, text.as_bytes()).verify_slice(&mac).map_err(|_| forged)?;
        // One that claims to live longer than we ever give was made by somebody who knows the key and not the rules.
        if claims.expires_at > clock::add(now, LIFE + CLOCK_SKEW)
            || claims.roles.iter().any(|role| !ROLES.contains(role))
        {
            return Err(forged);
        }
        if claims.expires_at <= now {
            return Err(PassError::Expired);
        }
        Ok(Identity { user_id: UserId::from_uuid(Uuid::nil()), email: claims.name, roles: claims.roles })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Clock;

    fn operators(key: u8) -> Operators {
        Operators::new(&Keyring::new(vec![("one".to_owned(), vec![key; 32])]).expect("a key"))
    }

    #[test]
    fn a_pass_is_its_maker_for_a_minute_and_never_an_admin() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let env = Env::seeded(clock.clone(), 1);
        let pass = operators(7).pass(&env, "operator ada", &[Role::Ops, Role::Admin]);
        let seen = operators(7).identity(pass.expose(), env.now()).expect("it is good");
        assert_eq!((seen.email.as_str(), seen.roles.as_slice()), ("operator ada", [Role::Ops].as_slice()));
        assert!(!seen.is(Role::Support) && !seen.is(Role::Admin));
        clock.advance(LIFE);
        assert_eq!(operators(7).identity(pass.expose(), env.now()), Err(PassError::Expired));
    }

    #[test]
    fn a_pass_of_other_secrets_or_with_a_changed_letter_opens_nothing() {
        let env = Env::seeded(Clock::manual(Timestamp::UNIX_EPOCH), 1);
        let pass = operators(7).pass(&env, "operator", &[Role::Ops]).expose().to_owned();
        assert_eq!(operators(8).identity(&pass, env.now()), Err(PassError::Forged));
        for at in PREFIX.len()..pass.len() - 1 {
            let mut changed = pass.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(operators(7).identity(&changed, env.now()).is_err(), "{at}");
        }
        for wrong in ["op_", "op_.", "op_a.b", "", &format!("op_{}", "x".repeat(2000))] {
            assert_eq!(operators(7).identity(wrong, env.now()), Err(PassError::Forged), "{wrong}");
        }
    }

    #[test]
    fn the_key_of_envelopes_makes_no_pass_and_no_pass_lives_long() {
        let env = Env::seeded(Clock::manual(Timestamp::UNIX_EPOCH), 1);
        let made = |key: &[u8], life: Duration, roles: Vec<Role>| {
            let claims =
                Claims { key_id: "one".into(), name: "x".into(), roles, expires_at: env.after(life) };
            let text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).expect("json"));
            let mac = Keyring::mac(key, text.as_bytes()).finalize().into_bytes();
            format!("{PREFIX}{text}.{}", URL_SAFE_NO_PAD.encode(mac))
        };
        let (plain, derived) = (vec![7; 32], operators(7).keyring.first().1.clone());
        let read = |pass: String| operators(7).identity(&pass, env.now());
        assert_eq!(read(made(&plain, LIFE, vec![Role::Ops])), Err(PassError::Forged));
        assert!(read(made(&derived, LIFE, vec![Role::Ops])).is_ok());
        assert_eq!(read(made(&derived, 3 * LIFE, vec![Role::Ops])), Err(PassError::Forged));
        assert_eq!(read(made(&derived, LIFE, vec![Role::Admin])), Err(PassError::Forged));
    }
}
