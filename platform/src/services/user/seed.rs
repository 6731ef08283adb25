//! The shop's own admin: made at the first start, and made again when the password is lost.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::hashing::Hashing;
use super::model::Email;
use super::store::{NewAccount, Store};
use crate::capabilities::Capabilities;
use crate::http::Context;
use crate::vocabulary::{Env, Role};

/// The e-mail that the shop's own admin signs in with.
pub const ADMIN_EMAIL: &str = "admin@shop.local";

/// A password that nobody can guess, fit to be read out: 20 letters and digits in groups.
#[must_use]
pub fn generate_password(env: &Env) -> String {
    let text = URL_SAFE_NO_PAD.encode(env.bytes::<32>());
    let letters: Vec<u8> = text.bytes().filter(u8::is_ascii_alphanumeric).take(20).collect();
    letters.chunks(5).map(String::from_utf8_lossy).collect::<Vec<_>>().join("-")
}

fn email() -> anyhow::Result<Email> {
    Email::parse(ADMIN_EMAIL).ok_or_else(|| anyhow::anyhow!("`{ADMIN_EMAIL}` is not an e-mail"))
}

fn store(capabilities: &Capabilities) -> Store {
    Store::new(capabilities.db.clone(), capabilities.bus.clone(), capabilities.env.clone())
}

async fn hash(capabilities: &Capabilities, password: &str) -> anyhow::Result<String> {
    let hashing = Hashing::unmeasured(&capabilities.config.user);
    let hashed = async { hashing.thread().await?.hash(password).await }.await;
    hashed.map_err(|problem| anyhow::anyhow!("could not hash the admin's password: {}", problem.detail))
}

/// Makes the admin with `password`, of which only the hash is kept. Answers false, and changes nothing, when there
/// is an admin already.
pub async fn seed_admin(capabilities: &Capabilities, password: &str) -> anyhow::Result<bool> {
    let (store, email) = (store(capabilities), email()?);
    if store.account_by_email(&email).await?.is_some() {
        return Ok(false);
    }
    let account = NewAccount {
        id: capabilities.env.id(),
        email,
        name: Some("Admin".to_owned()),
        password_hash: hash(capabilities, password).await?,
        roles: vec![Role::Customer, Role::Admin],
    };
    match store.seed(&account).await {
        Ok(()) => Ok(true),
        Err(error) if error.is_conflict("email") => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Gives the admin `password` and the role, and ends every session of before; makes the admin when there is none.
pub async fn reset_admin(capabilities: &Capabilities, password: &str) -> anyhow::Result<()> {
    let (store, email) = (store(capabilities), email()?);
    let Some(account) = store.account_by_email(&email).await? else {
        seed_admin(capabilities, password).await?;
        return Ok(());
    };
    let context = Context::background("user", &capabilities.env);
    let hash = hash(capabilities, password).await?;
    store.reinstate_admin(&context, &account, &hash).await?;
    Ok(())
}
