//! A user's own things: name, password, addresses.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::checkout::COUNTRIES;
use super::sign_in::explain;
use crate::http::{CallError, Code, Path, Problem};
use crate::services::user::client::{Address, ChangeMe, ChangePassword, NewAddress};
use crate::vocabulary::{AddressId, Role};
use crate::web::fields::Fields;
use crate::web::page::{Page, Tone, redirect};
use crate::web::visit::{Form, Visit};

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

impl From<Address> for BookEntry {
    fn from(a: Address) -> Self {
        let one_line = format!("{}, {} {}, {}", a.line1, a.postal_code, a.city, a.country);
        Self { id: a.id, name: a.name, one_line }
    }
}

/// `GET /account`
pub(super) async fn account(visit: Visit) -> Result<Response, Problem> {
    let page = draw(&visit, Fields::default()).await?;
    Ok(visit.show(&page))
}

async fn draw(visit: &Visit, fields: Fields) -> Result<Account, Problem> {
    visit.signed_in()?;
    let user = visit.web.users.me(&visit.context).await?;
    let book = visit.web.users.addresses(&visit.context).await?;
    let fields = if fields.is_good() { fields.with("name", user.name.unwrap_or_default()) } else { fields };
    let roles = user.roles.iter().filter(|role| **role != Role::Customer).map(|role| role.as_str());
    let roles: Vec<_> = roles.collect();
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
    let change = ChangeMe { name: Some(fields.optional("name")) };
    let answer = visit.web.users.change_me(&visit.context, &change).await.map(|_| ());
    settle(&visit, fields, answer, "Your name is saved.").await
}

/// `POST /account/password`: every other session ends; this one goes on with a new one.
pub(super) async fn change_password(visit: Visit, Form(mut fields): Form) -> Result<Response, Problem> {
    let change = ChangePassword {
        current_password: fields.exact("current_password").to_owned(),
        new_password: fields.exact("new_password").to_owned(),
    };
    match visit.web.users.change_password(&visit.context, &change).await {
        Ok(session) => {
            visit.begin_session(&session);
            settle(&visit, fields, Ok(()), "Your password is changed, and every other session has ended.")
                .await
        }
        Err(CallError::Problem(problem)) if problem.code == Code::BadCredentials => {
            fields.reject("current_password", "This is not your current password.");
            let page = draw(&visit, fields).await?;
            Ok(visit.show_again(&page))
        }
        Err(error) => settle(&visit, fields, Err(error), "").await,
    }
}

/// `POST /account/addresses`
pub(super) async fn add_address(visit: Visit, Form(fields): Form) -> Result<Response, Problem> {
    let typed = |name: &str| fields.value(name).to_owned();
    let address = NewAddress {
        name: typed("full_name"),
        line1: typed("line1"),
        line2: fields.optional("line2"),
        city: typed("city"),
        postal_code: typed("postal_code"),
        country: typed("country"),
    };
    let answer = visit.web.users.add_address(&visit.context, &address).await.map(|_| ());
    settle(&visit, fields, answer, "The address is kept.").await
}

/// `POST /account/addresses/{id}/remove`
pub(super) async fn remove_address(
    visit: Visit,
    Path(id): Path<AddressId>,
    Form(fields): Form,
) -> Result<Response, Problem> {
    let answer = visit.web.users.delete_address(&visit.context, id).await;
    settle(&visit, fields, answer, "The address is removed.").await
}

/// Says that it worked, or shows the form again with what did not.
async fn settle(
    visit: &Visit,
    mut fields: Fields,
    answer: Result<(), CallError>,
    done: &str,
) -> Result<Response, Problem> {
    match answer.map_err(Problem::from) {
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
    use crate::vocabulary::Id;

    #[test]
    fn an_account_shows_its_addresses_with_a_way_to_remove_each() {
        let kept = Address {
            id: Id::from_uuid(uuid::Uuid::from_u128(9)),
            name: "Ada".into(),
            line1: "12 Square".into(),
            line2: None,
            city: "London".into(),
            postal_code: "SW1Y".into(),
            country: "GB".into(),
        };
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
