//! What staff may see and change of accounts. Every change leaves a row in the audit.

use axum::extract::State;
use axum::http::StatusCode;

use super::Users;
use crate::http::{Context, Json, Page, PageQuery, Path, Problem, Query, SignedIn};
use crate::services::user::client::{Account, AccountQuery, SetRoles};
use crate::services::user::model;
use crate::services::user::store::AccountPage;
use crate::vocabulary::{Role, UserId};

const TEXT_CHARACTERS_MAX: usize = 100;

/// The accounts, newest first.
#[utoipa::path(
    get, path = "/v1/admin/users", tag = "user", params(AccountQuery),
    responses((status = 200, body = Vec<Account>), (status = 401), (status = 403))
)]
pub(super) async fn accounts(
    State(users): State<Users>,
    signed_in: SignedIn,
    Query(query): Query<AccountQuery>,
) -> Result<Json<Page<Account>>, Problem> {
    signed_in.with_any(&[Role::Support])?;
    let limit = PageQuery { limit: query.limit, cursor: None }.limit()?;
    let before = match query.cursor.as_deref() {
        None => None,
        Some(text) => {
            let id =
                text.parse().map_err(|_| Problem::invalid("/cursor", "the cursor is not one of ours"))?;
            Some(id)
        }
    };
    let text = query.q.map(|text| text.trim().chars().take(TEXT_CHARACTERS_MAX).collect::<String>());
    let page = AccountPage {
        text: text.filter(|text| !text.is_empty()),
        role: query.role,
        before,
        limit: i64::try_from(limit).unwrap_or(100),
    };
    let accounts = users.store.accounts(&page).await?;
    let page = Page::cut(accounts, limit, |account| account.id.to_string());
    let items = page.items.iter().map(|account| account.for_staff(None)).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// One account.
#[utoipa::path(
    get, path = "/v1/admin/users/{id}", tag = "user", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, body = Account), (status = 401), (status = 403), (status = 404))
)]
pub(super) async fn account(
    State(users): State<Users>,
    signed_in: SignedIn,
    Path(id): Path<UserId>,
) -> Result<Json<Account>, Problem> {
    signed_in.with_any(&[Role::Support])?;
    users.for_staff(id).await.map(Json)
}

/// Gives a user exactly these roles.
#[utoipa::path(
    post, path = "/v1/admin/users/{id}/roles", tag = "user", params(("id" = uuid::Uuid, Path)),
    request_body = SetRoles,
    responses((status = 200, body = Account), (status = 401), (status = 403), (status = 404), (status = 409))
)]
pub(super) async fn set_roles(
    State(users): State<Users>,
    context: Context,
    signed_in: SignedIn,
    Path(id): Path<UserId>,
    Json(body): Json<SetRoles>,
) -> Result<Json<Account>, Problem> {
    signed_in.with_any(&[Role::Admin])?;
    let reason = body.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
    if reason.is_some_and(|reason| reason.chars().count() > 500) {
        return Err(Problem::invalid("/reason", "a reason has at most 500 characters"));
    }
    let account = users.store.account(id).await?.filter(|account| !account.is_deleted);
    let account = account.ok_or_else(|| Problem::not_found("user"))?;
    let roles = model::settle_roles(&body.roles);
    if roles != account.roles {
        users.store.set_roles(&context, &account, &roles, reason).await.map_err(super::changed_meanwhile)?;
    }
    users.for_staff(id).await.map(Json)
}

/// Lets a new key sign from now on.
#[utoipa::path(
    post, path = "/v1/admin/signing-keys/rotate", tag = "user",
    responses((status = 204), (status = 401), (status = 403))
)]
pub(super) async fn rotate_signing_key(
    State(users): State<Users>,
    context: Context,
    signed_in: SignedIn,
) -> Result<StatusCode, Problem> {
    signed_in.with_any(&[Role::Ops])?;
    let newest = || users.signing.published().keys.first().map(|key| key.kid.clone()).unwrap_or_default();
    let before = newest();
    users.signing.rotate_now().await?;
    users.store.audit_key_rotation(&context, &before, &newest()).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Users {
    async fn for_staff(&self, id: UserId) -> Result<Account, Problem> {
        let account = self.store.account(id).await?.ok_or_else(|| Problem::not_found("user"))?;
        let attempts = self.store.attempts(&model::email_digest(&account.email_key)).await?;
        let now = self.env.now();
        Ok(account.for_staff(attempts.locked_until.filter(|until| *until > now)))
    }
}
