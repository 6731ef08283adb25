//! A user's own things: name, password, addresses.

use askama::Template;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::checkout::COUNTRIES;
use super::sign_in::explain;
use crate::http::{Code, Page as List, Path, Problem};
use crate::vocabulary::AddressId;
use crate::web::fields::Fields;
use crate::web::page::{Page, Tone, redirect};
use crate::web::visit::{Form, User, Visit};

#[derive(Template)]
#[template(path = "storefront/account.html")]
struct Account {
    page: Page,
    email: String,
    roles: String,
    fields: Fields,
    addresses: Vec<BookEntry>,
    countries: &'static [(&'static str, &'static str)],
}

struct BookEntry {
    id: AddressId,
    name: String,
    one_line: String,
}

#[derive(Deserialize)]
struct KeptAddress {
    id: AddressId,
    #[serde(flatten)]
    address: crate::web::view::Address,
}

impl From<KeptAddress> for BookEntry {
    fn from(kept: KeptAddress) -> Self {
        let a = kept.address;
        let one_line = format!("{}, {} {}, {}", a.line1, a.postal_code, a.city, a.country);
        Self { id: kept.id, name: a.name, one_line }
    }
}

/// `GET /account`
pub(super) async fn account(visit: Visit) -> Result<Response, Problem> {
    let page = draw(&visit, Fields::default()).await?;
    Ok(visit.show(&page))
}

async fn draw(visit: &Visit, fields: Fields) -> Result<Account, Problem> {
    visit.signed_in()?;
    let shop = &visit.web.shop;
    let user: User = shop.get(&visit.context, "user", "/v1/me").await?;
    let book: List<KeptAddress> = shop.get(&visit.context, "user", "/v1/me/addresses").await?;
    let fields = if fields.is_good() { fields.with("name", user.name.unwrap_or_default()) } else { fields };
    let roles: Vec<_> =
        user.roles.iter().map(|role| role.as_str()).filter(|role| *role != "customer").collect();
    Ok(Account {
        page: visit.shop_page("Your account").await,
        email: user.email,
        roles: roles.join(", "),
        fields,
        addresses: book.items.into_iter().map(BookEntry::from).collect(),
        countries: &COUNTRIES,
    })
}

/// `POST /account/name`
pub(super) async fn rename(visit: Visit, Form(fields): Form) -> Result<Response, Problem> {
    let body = json!({ "name": fields.value("name") });
    let answer =
        visit.web.shop.send::<_, Value>(&visit.context, "user", Method::PATCH, "/v1/me", &body).await;
    settle(&visit, fields, answer.map(|_| ()), "Your name is saved.").await
}

/// `POST /account/password`
pub(super) async fn change_password(visit: Visit, Form(mut fields): Form) -> Result<Response, Problem> {
    let body = json!({
        "current_password": fields.exact("current_password"),
        "new_password": fields.exact("new_password"),
    });
    match post(&visit, Method::POST, "/v1/me/password", &body).await {
        Err(problem) if problem.code == Code::BadCredentials => {
            fields.reject("current_password", "This is not your current password.");
            let page = draw(&visit, fields).await?;
            Ok(visit.show_again(&page))
        }
        Ok(()) => {
            // A changed password ends every session, this one too: the new password opens a fresh one.
            visit.end_session();
            visit.say(Tone::Good, "Your password is changed. Sign in with the new one.");
            Ok(redirect("/sign-in?next=/account"))
        }
        answer => settle(&visit, fields, answer, "").await,
    }
}

/// `POST /account/addresses`
pub(super) async fn add_address(visit: Visit, Form(fields): Form) -> Result<Response, Problem> {
    let mut body = json!({
        "name": fields.value("full_name"),
        "line1": fields.value("line1"),
        "city": fields.value("city"),
        "postal_code": fields.value("postal_code"),
        "country": fields.value("country"),
    });
    if let Some(line2) = fields.optional("line2") {
        body["line2"] = Value::String(line2);
    }
    let answer = post(&visit, Method::POST, "/v1/me/addresses", &body).await;
    settle(&visit, fields, answer, "The address is kept.").await
}

/// `POST /account/addresses/{id}/remove`
pub(super) async fn remove_address(
    visit: Visit,
    Path(id): Path<AddressId>,
    Form(fields): Form,
) -> Result<Response, Problem> {
    let answer = post(&visit, Method::DELETE, &format!("/v1/me/addresses/{id}"), &json!({})).await;
    settle(&visit, fields, answer, "The address is removed.").await
}

/// Sends a body where the answer may have none.
async fn post(visit: &Visit, method: Method, path: &str, body: &Value) -> Result<(), Problem> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(axum::body::Body::from(body.to_string()))
        .map_err(|error| Problem::internal(&error))?;
    visit.web.shop.act(&visit.context, "user", request).await
}

/// Says that it worked, or shows the form again with what did not.
async fn settle(
    visit: &Visit,
    mut fields: Fields,
    answer: Result<(), Problem>,
    done: &str,
) -> Result<Response, Problem> {
    match answer {
        Ok(()) => {
            visit.say(Tone::Good, done);
            Ok(redirect("/account"))
        }
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED.as_u16() => Err(problem),
        Err(problem) => {
            explain(&mut fields, problem)?;
            let page = draw(visit, fields).await?;
            Ok(visit.show_again(&page))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_shows_its_addresses_with_a_way_to_remove_each() {
        let kept: KeptAddress = serde_json::from_value(json!({
            "id": "00000000-0000-0000-0000-000000000009", "name": "Ada", "line1": "12 Square", "city": "London",
            "postal_code": "SW1Y", "country": "GB"
        }))
        .unwrap();
        let account = Account {
            page: crate::web::page::tests::page("/account"),
            email: "ada@example.com".into(),
            roles: String::new(),
            fields: Fields::default(),
            addresses: vec![kept.into()],
            countries: &COUNTRIES,
        };
        let html = account.render().unwrap();
        assert!(html.contains("12 Square, SW1Y London, GB"));
        assert!(html.contains("/account/addresses/00000000-0000-0000-0000-000000000009/remove"));
        crate::web::page::tests::assert_is_well_made(&html);
    }
}
