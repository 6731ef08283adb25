//! What the gateway itself refuses of a page, as a page: in the shop's design, but drawn without asking anybody, since
//! whatever draws the others may be what is busy.

use axum::http::{HeaderMap, header};
use axum::response::Response;

use crate::http::Problem;

/// Whether a person looks at the answer.
#[must_use]
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("text/html"))
}

/// Turns a problem into a page; whatever else it is stays as it is.
pub(super) fn as_page(mut response: Response) -> Response {
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json"));
    if !is_problem {
        return response;
    }
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let (parts, body) = crate::web::failure::draw_alone(&problem).into_parts();
    response.headers_mut().remove(header::CONTENT_LENGTH);
    for (name, value) in &parts.headers {
        response.headers_mut().insert(name, value.clone());
    }
    *response.body_mut() = body;
    response
}

/// Text as it may stand in HTML.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
