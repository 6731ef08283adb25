//! Signing in, making an account, signing out.

use std::sync::Arc;

use askama::Template;
use axum::response::Response;
use serde::Deserialize;

use super::cart;
use crate::http::address::segment;
use crate::http::{Code, Problem, Query};
use crate::services::user::client::{Login, Register, Session};
use crate::web::failure::full_sentence;
use crate::web::fields::Fields;
use crate::web::page::{Page, Tone, is_local, redirect};
use crate::web::visit::{Form, Visit, identity_of};

#[derive(Template)]
#[template(path = "storefront/sign_in.html")]
struct SignIn {
    page: Page,
    fields: Fields,
    next: String,
    next_query: String,
}

#[derive(Template)]
#[template(path = "storefront/sign_up.html")]
struct SignUp {
    page: Page,
    fields: Fields,
    next: String,
    next_query: String,
}

/// Where to go afterwards.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Onward {
    #[serde(default)]
    next: String,
}

impl Onward {
    /// A place of ours, whatever was asked for.
    fn place(&self) -> String {
        if is_local(&self.next) { self.next.clone() } else { "/".to_owned() }
    }
}

/// `GET /sign-in`
pub(super) async fn form(visit: Visit, Query(onward): Query<Onward>) -> Response {
    if visit.identity().is_some() {
        return redirect(&onward.place());
    }
    let page = visit.shop_page("Sign in").await;
    visit.show(&sign_in_page(page, Fields::default(), &onward.place()))
}

fn sign_in_page(page: Page, fields: Fields, next: &str) -> SignIn {
    SignIn { page, fields, next: next.to_owned(), next_query: segment(next) }
}

/// `POST /sign-in`
pub(super) async fn sign_in(visit: Visit, Form(mut fields): Form) -> Result<Response, Problem> {
    let onward = Onward { next: fields.value("next").to_owned() };
    fields.require("email", "Enter your e-mail.");
    if fields.exact("password").is_empty() {
        fields.reject("password", "Enter your password.");
    }
    if fields.is_good() {
        let (email, password) = (fields.value("email").to_owned(), fields.exact("password").to_owned());
        match visit.web.users.login(&visit.context, &Login { email, password }).await.map_err(Problem::from) {
            Ok(session) => {
                open(visit, &session).await;
                return Ok(redirect(&onward.place()));
            }
            Err(problem) if problem.code == Code::BadCredentials => {
                fields.reject("password", "This e-mail and password do not belong together.");
            }
            Err(problem) => explain(&mut fields, problem)?,
        }
    }
    let page = visit.shop_page("Sign in").await;
    Ok(visit.show_again(&sign_in_page(page, fields, &onward.place())))
}

/// `GET /sign-up`
pub(super) async fn new_account(visit: Visit, Query(onward): Query<Onward>) -> Response {
    if visit.identity().is_some() {
        return redirect(&onward.place());
    }
    let page = visit.shop_page("Make an account").await;
    visit.show(&sign_up_page(page, Fields::default(), &onward.place()))
}

fn sign_up_page(page: Page, fields: Fields, next: &str) -> SignUp {
    SignUp { page, fields, next: next.to_owned(), next_query: segment(next) }
}

/// `POST /sign-up`
pub(super) async fn sign_up(visit: Visit, Form(mut fields): Form) -> Result<Response, Problem> {
    let onward = Onward { next: fields.value("next").to_owned() };
    fields.require("email", "Enter your e-mail.");
    if fields.exact("password").is_empty() {
        fields.reject("password", "Choose a password.");
    }
    if fields.is_good() {
        let (email, password) = (fields.value("email").to_owned(), fields.exact("password").to_owned());
        let account = Register { email, password, name: fields.optional("name") };
        match visit.web.users.register(&visit.context, &account).await.map_err(Problem::from) {
            Ok(session) => {
                let name = session.user.name.clone().unwrap_or_default();
                let greeting = if name.is_empty() { "Welcome.".into() } else { format!("Welcome, {name}.") };
                visit.say(Tone::Good, &greeting);
                open(visit, &session).await;
                return Ok(redirect(&onward.place()));
            }
            Err(problem) if problem.code == Code::EmailTaken => {
                fields.reject("email", "This e-mail has an account already. Sign in instead.");
            }
            Err(problem) => explain(&mut fields, problem)?,
        }
    }
    let page = visit.shop_page("Make an account").await;
    Ok(visit.show_again(&sign_up_page(page, fields, &onward.place())))
}

/// Keeps a session in this browser, and brings the guest's cart along.
async fn open(mut visit: Visit, session: &Session) {
    visit.begin_session(session);
    visit.context.identity = Some(Arc::new(identity_of(session)));
    cart::merge(&visit).await;
}

/// `POST /sign-out`
pub(super) async fn sign_out(visit: Visit, Form(_): Form) -> Response {
    // The browser has forgotten the session either way; an unrevoked token ends by its age.
    if let Some(refresh_token) = visit.end_session()
        && let Err(error) = visit.web.users.logout(&visit.context, &refresh_token).await
    {
        tracing::warn!(%error, "a session could not be revoked at sign-out");
    }
    visit.say(Tone::Info, "You are signed out.");
    redirect("/")
}

/// Puts a problem's own words beside the fields that it points at; what no field can mend stays a problem.
pub(in crate::web) fn explain(fields: &mut Fields, problem: Problem) -> Result<(), Problem> {
    if problem.code == Code::RateLimited {
        let wait = problem.retry_after.unwrap_or(60);
        fields.reject("", format!("That was too often. Try again in {wait} seconds."));
        return Ok(());
    }
    if problem.status >= 500 {
        return Err(problem);
    }
    for error in &problem.errors {
        let name = error.pointer.rsplit('/').next().unwrap_or_default();
        fields.reject(name, full_sentence(&error.message));
    }
    if problem.errors.is_empty() {
        fields.reject("", full_sentence(&problem.detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_field_is_explained_beside_it_and_the_password_never_comes_back() {
        let mut fields = Fields::parse(b"email=ada&password=secret-word");
        let problem = Problem::invalid("/email", "this is not an e-mail address");
        assert!(explain(&mut fields, problem).is_ok());
        let page = crate::web::page::tests::page("/sign-in");
        let html = sign_in_page(page, fields, "/checkout").render().unwrap();
        assert!(html.contains("aria-describedby=\"email-error\""));
        assert!(html.contains("This is not an e-mail address."));
        assert!(html.contains("value=\"ada\""));
        assert!(!html.contains("secret-word"));
        crate::web::page::tests::assert_is_well_made(&html);
    }

    #[test]
    fn nobody_is_sent_to_another_site_after_signing_in() {
        for next in ["https://evil.example", "//evil.example", ""] {
            assert_eq!(Onward { next: next.into() }.place(), "/");
        }
        assert_eq!(
            Onward { next: "/admin/orders?status=confirmed".into() }.place(),
            "/admin/orders?status=confirmed"
        );
    }
}
