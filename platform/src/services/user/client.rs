//! What siblings, pages and tools may ask of the user service, and the words of its answers.

use axum::http::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::{CallError, Context, Endpoint, Page};
use crate::vocabulary::{AddressId, Role, Timestamp, UserId};

/// A new account.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The e-mail; case does not matter.
    pub email: String,
    /// 8 characters to 72 bytes.
    pub password: String,
    /// What we may call them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A sign-in.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The e-mail; case does not matter.
    pub email: String,
    /// The password.
    pub password: String,
}

/// A refresh token: renews a session once, or ends it.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshToken {
    /// The token.
    pub refresh_token: String,
}

/// A user, as the user and staff see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Names the user.
    #[schema(value_type = uuid::Uuid)]
    pub id: UserId,
    /// The e-mail.
    pub email: String,
    /// What we may call them.
    pub name: Option<String>,
    /// What they may do.
    #[schema(value_type = Vec<String>)]
    pub roles: Vec<Role>,
}

/// What a registration, a sign-in and a renewal answer.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Who.
    pub user: User,
    /// Proves it, for `expires_in` seconds: `Authorization: Bearer <access_token>`.
    pub access_token: String,
    /// Renews it, once.
    pub refresh_token: String,
    /// Seconds that the access token lives.
    pub expires_in: u64,
}

/// What a user may change about themselves. An absent field stays; a null name is taken away.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeMe {
    /// What we may call them.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub name: Option<Option<String>>,
}

/// An absent field is `None`, a null one `Some(None)`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A new password. It ends every other session of the user.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The password until now.
    pub current_password: String,
    /// The password from now on: 8 characters to 72 bytes.
    pub new_password: String,
}

/// A place that goods can be sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAddress {
    /// Who receives them.
    pub name: String,
    /// Street and number.
    pub line1: String,
    /// More of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    /// The city.
    pub city: String,
    /// The postal code.
    pub postal_code: String,
    /// ISO 3166 alpha-2: `DE`.
    pub country: String,
}

/// An address in a user's book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Address {
    /// Names it.
    #[schema(value_type = uuid::Uuid)]
    pub id: AddressId,
    /// Who receives goods there.
    pub name: String,
    /// Street and number.
    pub line1: String,
    /// More of it.
    pub line2: Option<String>,
    /// The city.
    pub city: String,
    /// The postal code.
    pub postal_code: String,
    /// ISO 3166 alpha-2: `DE`.
    pub country: String,
}

/// A user as staff see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Account {
    /// Names the user.
    #[schema(value_type = uuid::Uuid)]
    pub id: UserId,
    /// The e-mail; what is left of it when the account was deleted.
    pub email: String,
    /// What we may call them.
    pub name: Option<String>,
    /// What they may do.
    #[schema(value_type = Vec<String>)]
    pub roles: Vec<Role>,
    /// `active` or `deleted`.
    pub status: String,
    /// When they registered.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Until when sign-ins are refused after too many wrong passwords.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub locked_until: Option<Timestamp>,
}

/// Which accounts.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AccountQuery {
    /// A part of the e-mail or the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Only who holds this role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub role: Option<Role>,
    /// 1 to 100, default 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// What the page before answered as `next_cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The roles that a user holds from now on, all of them.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRoles {
    /// The roles; everybody stays a customer.
    #[schema(value_type = Vec<String>)]
    pub roles: Vec<Role>,
    /// Why, for the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A public key that verifies access tokens (RFC 7517, RFC 8037).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenKey {
    /// Always `OKP`.
    pub kty: String,
    /// Always `Ed25519`.
    pub crv: String,
    /// Always `EdDSA`.
    pub alg: String,
    /// Always `sig`.
    #[serde(rename = "use")]
    pub purpose: String,
    /// Names the key in a token's header.
    pub kid: String,
    /// The key: 32 bytes in base64url.
    pub x: String,
}

/// The keys that verify access tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenKeys {
    /// The keys: the one that signs now first.
    pub keys: Vec<TokenKey>,
}

/// A user whose tokens of before are void: the password or the roles changed, or the account is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The user.
    pub user_id: UserId,
    /// Tokens of an earlier epoch are void.
    pub token_epoch: i64,
}

/// Whose tokens are void.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Revocations {
    /// Everybody whose epoch changed within the life of an access token.
    pub items: Vec<Revocation>,
}

/// The user service, called. Cheap to clone.
#[derive(Clone, Debug)]
pub struct UserClient {
    endpoint: Endpoint,
}

const NOTHING: Option<&()> = None;

impl UserClient {
    /// Calls the service behind `endpoint`.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Makes an account and signs it in.
    pub async fn register(&self, context: &Context, account: &Register) -> Result<Session, CallError> {
        self.endpoint.call(context, Method::POST, "/v1/auth/register", Some(account)).await
    }

    /// Signs in.
    pub async fn login(&self, context: &Context, login: &Login) -> Result<Session, CallError> {
        self.endpoint.call(context, Method::POST, "/v1/auth/login", Some(login)).await
    }

    /// Renews a session; `refresh_token` is used up by it.
    pub async fn refresh(&self, context: &Context, refresh_token: &str) -> Result<Session, CallError> {
        let body = RefreshToken { refresh_token: refresh_token.to_owned() };
        self.endpoint.call(context, Method::POST, "/v1/auth/refresh", Some(&body)).await
    }

    /// Ends a session.
    pub async fn logout(&self, context: &Context, refresh_token: &str) -> Result<(), CallError> {
        let body = RefreshToken { refresh_token: refresh_token.to_owned() };
        self.endpoint.call(context, Method::POST, "/v1/auth/logout", Some(&body)).await
    }

    /// Who is signed in.
    pub async fn me(&self, context: &Context) -> Result<User, CallError> {
        self.endpoint.call(context, Method::GET, "/v1/me", NOTHING).await
    }

    /// Changes what the user may change.
    pub async fn change_me(&self, context: &Context, change: &ChangeMe) -> Result<User, CallError> {
        self.endpoint.call(context, Method::PATCH, "/v1/me", Some(change)).await
    }

    /// Changes the password and ends every other session; answers a new one.
    pub async fn change_password(
        &self,
        context: &Context,
        change: &ChangePassword,
    ) -> Result<Session, CallError> {
        self.endpoint.call(context, Method::POST, "/v1/me/password", Some(change)).await
    }

    /// Forgets the user: what names them is gone, orders keep their snapshot.
    pub async fn delete_me(&self, context: &Context) -> Result<(), CallError> {
        self.endpoint.call(context, Method::DELETE, "/v1/me", NOTHING).await
    }

    /// The user's address book.
    pub async fn addresses(&self, context: &Context) -> Result<Page<Address>, CallError> {
        self.endpoint.call(context, Method::GET, "/v1/me/addresses", NOTHING).await
    }

    /// Adds to the address book.
    pub async fn add_address(&self, context: &Context, address: &NewAddress) -> Result<Address, CallError> {
        self.endpoint.call(context, Method::POST, "/v1/me/addresses", Some(address)).await
    }

    /// Takes out of the address book.
    pub async fn delete_address(&self, context: &Context, id: AddressId) -> Result<(), CallError> {
        self.endpoint.call(context, Method::DELETE, &format!("/v1/me/addresses/{id}"), NOTHING).await
    }

    /// The accounts, newest first; for staff.
    pub async fn accounts(
        &self,
        context: &Context,
        query: &AccountQuery,
    ) -> Result<Page<Account>, CallError> {
        let query = serde_urlencoded::to_string(query).unwrap_or_default();
        self.endpoint.call(context, Method::GET, &format!("/v1/admin/users?{query}"), NOTHING).await
    }

    /// One account; for staff.
    pub async fn account(&self, context: &Context, id: UserId) -> Result<Account, CallError> {
        self.endpoint.call(context, Method::GET, &format!("/v1/admin/users/{id}"), NOTHING).await
    }

    /// Gives a user exactly these roles; for admins.
    pub async fn set_roles(
        &self,
        context: &Context,
        id: UserId,
        roles: &SetRoles,
    ) -> Result<Account, CallError> {
        self.endpoint.call(context, Method::POST, &format!("/v1/admin/users/{id}/roles"), Some(roles)).await
    }

    /// The keys that verify access tokens.
    pub async fn token_keys(&self, context: &Context) -> Result<TokenKeys, CallError> {
        self.endpoint.call(context, Method::GET, "/.well-known/jwks.json", NOTHING).await
    }

    /// Whose tokens are void before their time.
    pub async fn revocations(&self, context: &Context) -> Result<Revocations, CallError> {
        self.endpoint.call(context, Method::GET, "/internal/v1/revocations", NOTHING).await
    }
}
