//! A problem as a page: what happened, what it means, and a way on.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::page::{self, Page};
use super::visit::Visit;
use crate::http::{Code, Problem};

/// The page of a failure.
#[derive(Template)]
#[template(path = "failure.html")]
pub(super) struct Failure<'a> {
    pub(super) page: Page,
    pub(super) heading: &'a str,
    pub(super) words: String,
    pub(super) request_id: &'a str,
    pub(super) way_out: &'a str,
    pub(super) way_out_label: &'a str,
}

/// Draws `problem` for the person of `visit`.
pub async fn draw(visit: &Visit, problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (heading, words) = words(problem);
    let request_id = if status.is_server_error() { &*visit.context.request_id } else { "" };
    let page = visit.shop_page(heading).await;
    let failure =
        Failure { page, heading, words, request_id, way_out: "/", way_out_label: "Back to the shop" };
    let mut response = page::html(status, &failure);
    if let Some(seconds) = problem.retry_after {
        response.headers_mut().insert(axum::http::header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Draws `problem` for a person of whom nothing is known, without asking anybody: for what is refused before a page is
/// reached.
#[must_use]
pub fn draw_alone(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (heading, words) = words(problem);
    let request_id =
        if status.is_server_error() { problem.request_id.as_deref().unwrap_or_default() } else { "" };
    let page = Page {
        title: heading.to_owned(),
        path: String::new(),
        identity: None,
        cart_count: 0,
        form_token: String::new(),
        flashes: Vec::new(),
        shelf: Vec::new(),
        query: String::new(),
        faults_allowed: false,
    };
    let failure =
        Failure { page, heading, words, request_id, way_out: "/", way_out_label: "Back to the shop" };
    page::html(status, &failure)
}

fn words(problem: &Problem) -> (&'static str, String) {
    match problem.code {
        Code::NotFound | Code::UnknownSku => {
            ("Nothing here", "The page that you asked for is not there, or is not yours to see.".into())
        }
        Code::Forbidden => ("Not for you", full_sentence(&problem.detail)),
        Code::RateLimited => {
            let wait = problem.retry_after.unwrap_or(1);
            ("A little slower, please", format!("That was too often. Try again in {wait} seconds."))
        }
        Code::Unavailable | Code::Overloaded | Code::Timeout | Code::BadGateway => (
            "A part of the shop does not answer",
            "Nothing is lost: what you ordered is kept. Try again in a moment.".into(),
        ),
        Code::Internal => {
            ("Something went wrong on our side", "It was noted, and nothing was done twice.".into())
        }
        _ => ("That did not work", full_sentence(&problem.detail)),
    }
}

/// `the body ended early` as `The body ended early.`
#[must_use]
pub fn full_sentence(text: &str) -> String {
    let mut characters = text.chars();
    let Some(first) = characters.next() else { return String::new() };
    let rest = characters.as_str().trim_end_matches('.');
    format!("{}{rest}.", first.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_failure_tells_nothing_of_its_inside() {
        let (_, words) = words(&Problem::new(Code::Internal, "password=hunter2"));
        assert!(!words.contains("hunter2"));
        assert_eq!(full_sentence("go back"), "Go back.");
    }

    #[test]
    fn what_is_refused_before_a_page_is_drawn_as_one() {
        let problem =
            Problem::new(Code::RateLimited, "too often").retry_after(std::time::Duration::from_secs(7));
        let response = draw_alone(&problem);
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        let (heading, said) = words(&problem);
        assert!(heading.contains("slower") && said.contains("7 seconds"), "{heading}: {said}");
    }
}
