//! What the API is: one document of all services together, and `/api` to read it.

use std::fmt::Write as _;

use axum::http::header;
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};

use super::refusal::escape;

/// `/api`: the document as a page.
pub(super) fn page_route(whole: &OpenApi) -> MethodRouter {
    let page = Bytes::from(page(whole));
    let policy = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'";
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, policy)];
    get(move || async move { (headers, page) })
}

/// One document of all, without what only siblings may call.
pub(super) fn merge(documents: &[OpenApi]) -> OpenApi {
    let info = InfoBuilder::new().title("shop").version("v1").description(Some(
        "Everything that the shop answers. Errors are application/problem+json with a stable `code`.",
    ));
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = ComponentsBuilder::new().security_scheme("bearer", bearer).build();
    let mut whole = OpenApiBuilder::new().info(info.build()).components(Some(components)).build();
    for document in documents {
        whole.merge(document.clone());
    }
    whole.paths.paths.retain(|path, _| !path.starts_with("/internal"));
    whole
}

/// The document as a page: every call with what it takes and answers.
fn page(whole: &OpenApi) -> String {
    let mut text = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>The shop's API</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
    );
    let _ = write!(
        text,
        "<link rel=\"stylesheet\" href=\"{}\">",
        escape(&crate::web::assets::links().stylesheet)
    );
    text.push_str(
        "</head><body><main><h1>The shop's API</h1><p>The whole description, for tools: \
         <a href=\"/openapi.json\"><code>/openapi.json</code></a>. Send \
         <code>Authorization: Bearer &lt;access_token&gt;</code> where somebody must be signed in. Errors are \
         <code>application/problem+json</code> with a stable <code>code</code> and the request's id.</p>\
         <table><thead><tr><th scope=\"col\">Call</th><th scope=\"col\">What it does</th>\
         <th scope=\"col\">Answers</th></tr></thead><tbody>",
    );
    for (path, item) in &whole.paths.paths {
        let calls = [
            ("GET", &item.get),
            ("POST", &item.post),
            ("PUT", &item.put),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
        ];
        for (method, operation) in calls {
            if let Some(operation) = operation {
                row(&mut text, method, path, operation);
            }
        }
    }
    text.push_str("</tbody></table></main></body></html>");
    text
}

fn row(text: &mut String, method: &str, path: &str, operation: &Operation) {
    let what = operation.summary.as_deref().or(operation.description.as_deref()).unwrap_or_default();
    let answers: Vec<&str> = operation.responses.responses.keys().map(String::as_str).collect();
    let _ = write!(
        text,
        "<tr><td><code>{method} {}</code></td><td>{}</td><td>{}</td></tr>",
        escape(path),
        escape(what),
        escape(&answers.join(" "))
    );
}
