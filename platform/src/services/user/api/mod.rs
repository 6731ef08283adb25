//! The service's routes: sessions, the account itself, and what staff may do.

mod account;
mod sessions;
mod staff;

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{delete, get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use utoipa::OpenApi;
use uuid::Uuid;

use super::client::{Revocations, Session, TokenKeys};
use super::hashing::Hashing;
use super::signing::Signing;
use super::store::{AccountRow, NewSession, Store, token_digest};
use crate::http::{Code, Internal, Json, Problem, SignedIn, extract};
use crate::storage::StorageError;
use crate::vocabulary::{Env, UserId};

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    /// The tables.
    pub store: Store,
    /// The keys that sign tokens.
    pub signing: Signing,
    /// bcrypt.
    pub hashing: Hashing,
    /// Time and ids.
    pub env: Env,
    /// How long an access token lives.
    pub access_token_life: Duration,
    /// How long a refresh token lives.
    pub refresh_token_life: Duration,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "user", description = "Accounts, sign-ins, sessions, roles and addresses."),
    paths(
        sessions::register,
        sessions::login,
        sessions::refresh,
        sessions::logout,
        token_keys,
        account::me,
        account::change_me,
        account::delete_me,
        account::change_password,
        account::addresses,
        account::add_address,
        account::delete_address,
        staff::accounts,
        staff::account,
        staff::set_roles,
        staff::rotate_signing_key,
    )
)]
struct Api;

/// The routes' document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

/// The routes.
pub fn router(users: Users) -> Router {
    Router::new()
        .route("/v1/auth/register", post(sessions::register))
        .route("/v1/auth/login", post(sessions::login))
        .route("/v1/auth/refresh", post(sessions::refresh))
        .route("/v1/auth/logout", post(sessions::logout))
        .route("/v1/me", get(account::me).patch(account::change_me).delete(account::delete_me))
        .route("/v1/me/password", post(account::change_password))
        .route("/v1/me/addresses", get(account::addresses).post(account::add_address))
        .route("/v1/me/addresses/{id}", delete(account::delete_address))
        .route("/v1/admin/users", get(staff::accounts))
        .route("/v1/admin/users/{id}", get(staff::account))
        .route("/v1/admin/users/{id}/roles", post(staff::set_roles))
        .route("/v1/admin/signing-keys/rotate", post(staff::rotate_signing_key))
        .route("/.well-known/jwks.json", get(token_keys))
        .route("/internal/v1/revocations", get(revocations))
        .fallback(extract::no_such_route)
        .method_not_allowed_fallback(extract::no_such_method)
        .with_state(users)
}

/// The keys that verify access tokens.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "user", responses((status = 200, body = TokenKeys)))]
async fn token_keys(State(users): State<Users>) -> Json<TokenKeys> {
    Json(users.signing.published())
}

async fn revocations(State(users): State<Users>, _: Internal) -> Result<Json<Revocations>, Problem> {
    // A little longer than a token lives: clocks differ.
    let life = users.access_token_life + Duration::from_secs(60);
    Ok(Json(Revocations { items: users.store.revocations(life).await? }))
}

/// A session that is about to be written, and the token that only the client will know.
struct Opening {
    row: NewSession,
    refresh_token: String,
}

impl Users {
    /// A session for `user`: the next of `family`, or the first of a new one.
    fn opening(&self, user_id: UserId, family: Option<Uuid>, user_agent: Option<String>) -> Opening {
        let secret: [u8; 32] = self.env.bytes();
        let refresh_token = format!("rt_{}", URL_SAFE_NO_PAD.encode(secret));
        let row = NewSession {
            id: self.env.id(),
            family: family.unwrap_or_else(|| self.env.uuid()),
            user_id,
            token_digest: token_digest(&refresh_token),
            expires_at: self.env.after(self.refresh_token_life),
            user_agent,
        };
        Opening { row, refresh_token }
    }

    fn session(&self, account: &AccountRow, refresh_token: String) -> Result<Session, Problem> {
        Ok(Session {
            user: account.user(),
            access_token: self.signing.sign(&account.identity(), account.token_epoch)?,
            refresh_token,
            expires_in: self.access_token_life.as_secs(),
        })
    }

    /// The account of who is signed in. One that was deleted meanwhile is nobody's.
    async fn account_of(&self, signed_in: &SignedIn) -> Result<AccountRow, Problem> {
        let account = self.store.account(signed_in.0.user_id).await?;
        account.filter(|account| !account.is_deleted).ok_or_else(no_account)
    }
}

fn no_account() -> Problem {
    Problem::new(Code::Unauthenticated, "the account of this access token is gone")
}

/// A change that lost against another one.
fn changed_meanwhile(error: StorageError) -> Problem {
    match error {
        StorageError::Expectation { ref name, .. } if name == "last_admin" => {
            Problem::new(Code::Conflict, "this is the last admin: make somebody else an admin first")
        }
        StorageError::Expectation { .. } => {
            Problem::new(Code::Conflict, "the account changed at the same moment: read it again and retry")
        }
        other => other.into(),
    }
}
