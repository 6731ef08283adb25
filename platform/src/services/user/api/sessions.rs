//! Registering, signing in, renewing and ending a session.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;

use super::Users;
use crate::http::{Code, Context, Json, Problem, extract};
use crate::services::user::client::{Login, RefreshToken, Register, Session, User};
use crate::services::user::model::{self, Email};
use crate::services::user::store::{AccountRow, Attempts, NewAccount};
use crate::vocabulary::{Role, clock};

const USER_AGENT_CHARACTERS_MAX: usize = 200;

pub(super) fn user_agent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::USER_AGENT)?.to_str().ok()?;
    Some(text.chars().take(USER_AGENT_CHARACTERS_MAX).collect())
}

/// Makes an account and signs it in.
#[utoipa::path(
    post, path = "/v1/auth/register", tag = "user", request_body = Register,
    responses((status = 201, body = Session), (status = 409, description = "email_taken"), (status = 422), (status = 429))
)]
pub(super) async fn register(
    State(users): State<Users>,
    context: Context,
    headers: HeaderMap,
    Json(body): Json<Register>,
) -> Result<Response, Problem> {
    let email = Email::parse(&body.email);
    let name = model::check_name(body.name.as_deref());
    let mut errors = Vec::new();
    if email.is_none() {
        let message = "send an e-mail address like ada@example.com".to_owned();
        errors.push(crate::http::FieldError { pointer: "/email".to_owned(), message });
    }
    errors.extend(model::check_password("/password", &body.password));
    let (Some(email), Ok(name), true) = (email, &name, errors.is_empty()) else {
        errors.extend(name.err());
        return Err(Problem::invalid_fields(errors));
    };
    let taken = || Problem::new(Code::EmailTaken, "sign in, or register another e-mail");
    if users.store.account_by_email(&email).await?.is_some() {
        return Err(taken());
    }
    let password_hash = users.hashing.thread().await?.hash(&body.password).await?;
    let account = NewAccount {
        id: users.env.id(),
        email,
        name: name.clone(),
        password_hash,
        roles: vec![Role::Customer],
    };
    let opening = users.opening(account.id, None, user_agent(&headers));
    match users.store.register(&context, &account, &opening.row).await {
        Err(error) if error.is_conflict("email") => return Err(taken()),
        other => other?,
    }
    let user = User {
        id: account.id,
        email: account.email.text().to_owned(),
        name: account.name,
        roles: account.roles,
    };
    let identity = crate::vocabulary::Identity {
        user_id: user.id,
        email: user.email.clone(),
        roles: user.roles.clone(),
    };
    Ok(extract::created(Session {
        access_token: users.signing.sign(&identity, 1)?,
        refresh_token: opening.refresh_token,
        expires_in: users.access_token_life.as_secs(),
        user,
    }))
}

/// Signs in. A wrong password and an unknown e-mail get the same answer, after the same work.
#[utoipa::path(
    post, path = "/v1/auth/login", tag = "user", request_body = Login,
    responses((status = 200, body = Session), (status = 401, description = "bad_credentials"), (status = 429), (status = 503))
)]
pub(super) async fn login(
    State(users): State<Users>,
    context: Context,
    headers: HeaderMap,
    Json(body): Json<Login>,
) -> Result<Json<Session>, Problem> {
    let digest = model::email_digest(&body.email);
    let email = Email::parse(&body.email);
    // Whoever is locked out must not queue for the hashing threads.
    users.refuse_locked(users.store.attempts(&digest).await?)?;
    let thread = users.hashing.thread().await?;
    // Only now does the count stand: those who waited before may have failed too.
    let attempts = users.store.attempts(&digest).await?;
    users.refuse_locked(attempts)?;
    let account = match &email {
        Some(email) => users.store.account_by_email(email).await?.filter(|account| !account.is_deleted),
        None => None,
    };
    let hash = account.as_ref().map(|account| account.password_hash.as_str());
    let is_right = thread.verify(&body.password, hash).await?;
    let Some(account) = account.as_ref().filter(|_| is_right) else {
        users.store.count_failure(&context, &digest, attempts, account.as_ref()).await?;
        return Err(Problem::new(Code::BadCredentials, "check the e-mail and the password"));
    };
    let hash = if users.hashing.is_outdated(&account.password_hash) {
        Some(thread.hash(&body.password).await?)
    } else {
        None
    };
    drop(thread);
    let opening = users.opening(account.id, None, user_agent(&headers));
    let had_failures = attempts.failures > 0;
    users
        .store
        .open_session(&context, account, &digest, had_failures, hash, &opening.row)
        .await
        .map_err(super::changed_meanwhile)?;
    users.session(account, opening.refresh_token).map(Json)
}

/// Renews a session: the refresh token is used up, a new one takes its place.
#[utoipa::path(
    post, path = "/v1/auth/refresh", tag = "user", request_body = RefreshToken,
    responses((status = 200, body = Session), (status = 401, description = "refresh_reused or unauthenticated"))
)]
pub(super) async fn refresh(
    State(users): State<Users>,
    context: Context,
    headers: HeaderMap,
    Json(body): Json<RefreshToken>,
) -> Result<Json<Session>, Problem> {
    let over = || Problem::new(Code::Unauthenticated, "the session is over, sign in again");
    let Some(session) = users.store.session(&body.refresh_token).await? else { return Err(over()) };
    if session.replaced_by.is_some() {
        return Err(users.end_reused(session.family).await?);
    }
    if session.revoked_at.is_some() || session.expires_at <= users.env.now() {
        return Err(over());
    }
    let account = users.store.account(session.user_id).await?.filter(|account| !account.is_deleted);
    let account = account.ok_or_else(over)?;
    let opening = users.opening(account.id, Some(session.family), user_agent(&headers));
    match users.store.rotate_session(&context, &account, session.id, &opening.row).await {
        Ok(()) => users.session(&account, opening.refresh_token).map(Json),
        // A twin was faster, with the same token: that is a reuse as well. Or the session was revoked.
        Err(error) if error.is_expectation("rotate") => {
            match users.store.session(&body.refresh_token).await? {
                Some(now) if now.replaced_by.is_some() => Err(users.end_reused(session.family).await?),
                _ => Err(over()),
            }
        }
        Err(error) => Err(super::changed_meanwhile(error)),
    }
}

/// Ends a session. One that is over already is fine too.
#[utoipa::path(
    post, path = "/v1/auth/logout", tag = "user", request_body = RefreshToken, responses((status = 204))
)]
pub(super) async fn logout(
    State(users): State<Users>,
    Json(body): Json<RefreshToken>,
) -> Result<StatusCode, Problem> {
    if let Some(session) = users.store.session(&body.refresh_token).await? {
        users.store.revoke_family(session.family).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

impl Users {
    fn refuse_locked(&self, attempts: Attempts) -> Result<(), Problem> {
        let now = self.env.now();
        match attempts.locked_until {
            Some(until) if until > now => Err(Problem::new(
                Code::RateLimited,
                "too many wrong passwords in a row, wait before the next try",
            )
            .retry_after(clock::since(now, until))),
            _ => Ok(()),
        }
    }

    /// Somebody holds a token that was used before: whoever it is, the whole sign-in ends.
    async fn end_reused(&self, family: uuid::Uuid) -> Result<Problem, Problem> {
        self.store.revoke_family(family).await?;
        tracing::warn!(%family, "a refresh token was used twice, its sign-in is ended");
        Ok(Problem::new(
            Code::RefreshReused,
            "the refresh token was used before, so its session is ended: sign in again",
        ))
    }

    /// Checks `password` against `account` as a sign-in would, lock-out included.
    pub(super) async fn confirm_password(
        &self,
        context: &Context,
        account: &AccountRow,
        password: &str,
    ) -> Result<(), Problem> {
        let digest = model::email_digest(&account.email_key);
        let thread = self.hashing.thread().await?;
        let attempts = self.store.attempts(&digest).await?;
        self.refuse_locked(attempts)?;
        if thread.verify(password, Some(&account.password_hash)).await? {
            return Ok(());
        }
        self.store.count_failure(context, &digest, attempts, Some(account)).await?;
        Err(Problem::new(Code::BadCredentials, "the current password is wrong"))
    }
}
