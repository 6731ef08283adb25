//! What users do with their own account.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::Users;
use super::sessions::user_agent;
use crate::http::{Code, Context, Json, Page, Path, Problem, SignedIn, extract};
use crate::services::user::client::{Address, ChangeMe, ChangePassword, NewAddress, Session, User};
use crate::services::user::model;
use crate::storage::StorageError;
use crate::vocabulary::AddressId;

/// Who is signed in.
#[utoipa::path(get, path = "/v1/me", tag = "user", responses((status = 200, body = User), (status = 401)))]
pub(super) async fn me(State(users): State<Users>, signed_in: SignedIn) -> Result<Json<User>, Problem> {
    Ok(Json(users.account_of(&signed_in).await?.user()))
}

/// Changes what users may change of themselves.
#[utoipa::path(
    patch, path = "/v1/me", tag = "user", request_body = ChangeMe,
    responses((status = 200, body = User), (status = 401), (status = 422))
)]
pub(super) async fn change_me(
    State(users): State<Users>,
    signed_in: SignedIn,
    Json(body): Json<ChangeMe>,
) -> Result<Json<User>, Problem> {
    if let Some(name) = body.name {
        let name =
            model::check_name(name.as_deref()).map_err(|error| Problem::invalid_fields(vec![error]))?;
        if !users.store.rename(signed_in.0.user_id, name).await? {
            return Err(super::no_account());
        }
    }
    Ok(Json(users.account_of(&signed_in).await?.user()))
}

/// Changes the password. Every other session ends; the answer is a new one.
#[utoipa::path(
    post, path = "/v1/me/password", tag = "user", request_body = ChangePassword,
    responses((status = 200, body = Session), (status = 401, description = "bad_credentials"), (status = 422))
)]
pub(super) async fn change_password(
    State(users): State<Users>,
    context: Context,
    signed_in: SignedIn,
    headers: HeaderMap,
    Json(body): Json<ChangePassword>,
) -> Result<Json<Session>, Problem> {
    if let Some(error) = model::check_password("/new_password", &body.new_password) {
        return Err(Problem::invalid_fields(vec![error]));
    }
    let mut account = users.account_of(&signed_in).await?;
    users.confirm_password(&context, &account, &body.current_password).await?;
    let hash = users.hashing.thread().await?.hash(&body.new_password).await?;
    let opening = users.opening(account.id, None, user_agent(&headers));
    users
        .store
        .change_password(&context, &account, &hash, Some(&opening.row))
        .await
        .map_err(super::changed_meanwhile)?;
    account.token_epoch += 1;
    users.session(&account, opening.refresh_token).map(Json)
}

/// Forgets the user: what names them is gone, their orders keep the snapshot that the law wants.
#[utoipa::path(delete, path = "/v1/me", tag = "user", responses((status = 204), (status = 401), (status = 409)))]
pub(super) async fn delete_me(
    State(users): State<Users>,
    context: Context,
    signed_in: SignedIn,
) -> Result<StatusCode, Problem> {
    let account = users.account_of(&signed_in).await?;
    users.store.delete_account(&context, &account).await.map_err(super::changed_meanwhile)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The address book.
#[utoipa::path(
    get, path = "/v1/me/addresses", tag = "user", responses((status = 200, body = Vec<Address>), (status = 401))
)]
pub(super) async fn addresses(
    State(users): State<Users>,
    signed_in: SignedIn,
) -> Result<Json<Page<Address>>, Problem> {
    Ok(Json(Page::whole(users.store.addresses(signed_in.0.user_id).await?)))
}

/// Adds to the address book.
#[utoipa::path(
    post, path = "/v1/me/addresses", tag = "user", request_body = NewAddress,
    responses((status = 201, body = Address), (status = 401), (status = 409), (status = 422))
)]
pub(super) async fn add_address(
    State(users): State<Users>,
    signed_in: SignedIn,
    Json(body): Json<NewAddress>,
) -> Result<Response, Problem> {
    let address = model::check_address(body).map_err(Problem::invalid_fields)?;
    match users.store.add_address(signed_in.0.user_id, address).await {
        Ok(address) => Ok(extract::created(address)),
        Err(StorageError::Expectation { name, .. }) if name == "room" => Err(Problem::new(
            Code::Conflict,
            format!("an address book holds {} addresses: delete one first", model::ADDRESSES_MAX),
        )),
        Err(error) if error.is_expectation("active") => Err(super::no_account()),
        Err(error) => Err(error.into()),
    }
}

/// Takes an address out of the book.
#[utoipa::path(
    delete, path = "/v1/me/addresses/{id}", tag = "user", params(("id" = uuid::Uuid, Path)),
    responses((status = 204), (status = 401), (status = 404))
)]
pub(super) async fn delete_address(
    State(users): State<Users>,
    signed_in: SignedIn,
    Path(id): Path<AddressId>,
) -> Result<StatusCode, Problem> {
    if users.store.delete_address(signed_in.0.user_id, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("address"))
    }
}
