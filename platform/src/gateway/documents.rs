//! What the API is: one document of all services together, and `/api` to read it.

use std::fmt::Write as _;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::{Method, header};
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use futures_util::future::join_all;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};

use super::refusal::escape;
use crate::http::{Context, Endpoint};
use crate::vocabulary::Env;

/// How long a service elsewhere may take to describe itself.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// The API of all services. It is drawn up when somebody first asks, so that the start does not wait for it; the
/// services of other processes are asked then, until all of them have answered once. Cheap to clone.
#[derive(Clone)]
pub(super) struct Description {
    here: Arc<[OpenApi]>,
    elsewhere: Arc<[Endpoint]>,
    env: Env,
    drawn: Arc<RwLock<Option<Drawn>>>,
}

#[derive(Clone)]
struct Drawn {
    json: Bytes,
    page: Bytes,
}

impl Description {
    /// What `here` and the services `elsewhere` answer.
    pub(super) fn new(here: &[OpenApi], elsewhere: Vec<Endpoint>, env: &Env) -> Self {
        Self { here: here.into(), elsewhere: elsewhere.into(), env: env.clone(), drawn: Arc::default() }
    }

    /// `/openapi.json`.
    pub(super) fn json_route(&self) -> MethodRouter {
        let description = self.clone();
        get(
            move || async move { ([(header::CONTENT_TYPE, "application/json")], description.drawn().await.json) },
        )
    }

    /// `/api`: the same as a page.
    pub(super) fn page_route(&self) -> MethodRouter {
        let description = self.clone();
        let policy = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'";
        let headers =
            [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, policy)];
        get(move || async move { (headers, description.drawn().await.page) })
    }

    async fn drawn(&self) -> Drawn {
        if let Some(drawn) = &*self.drawn.read().unwrap_or_else(PoisonError::into_inner) {
            return drawn.clone();
        }
        let answers = join_all(self.elsewhere.iter().map(|endpoint| self.ask(endpoint))).await;
        let is_whole = answers.iter().all(Option::is_some);
        let documents: Vec<OpenApi> =
            self.here.iter().cloned().chain(answers.into_iter().flatten()).collect();
        let whole = merge(&documents);
        let json = Bytes::from(serde_json::to_vec(&whole).unwrap_or_default());
        let drawn = Drawn { json, page: Bytes::from(page(&whole)) };
        if is_whole {
            *self.drawn.write().unwrap_or_else(PoisonError::into_inner) = Some(drawn.clone());
        }
        drawn
    }

    async fn ask(&self, endpoint: &Endpoint) -> Option<OpenApi> {
        let context = Context::background(super::NAME, &self.env);
        let nothing: Option<&()> = None;
        let answer = endpoint.call::<(), OpenApi>(&context, Method::GET, "/openapi.json", nothing);
        match tokio::time::timeout(ASK_TIMEOUT, answer).await {
            Ok(Ok(document)) => Some(document),
            Ok(Err(error)) => {
                tracing::warn!(service = endpoint.service(), %error, "a service did not describe itself");
                None
            }
            Err(_) => None,
        }
    }
}

/// One document of all, without what only siblings may call.
fn merge(documents: &[OpenApi]) -> OpenApi {
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
