//! The services, whom they call, and whether each answers.

use std::fmt::Write;
use std::time::Duration;

use askama::Template;
use askama::filters::Safe;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use futures_util::future::join_all;

use super::OPERATORS;
use crate::http::Problem;
use crate::manifest::Manifest;
use crate::services::SERVICES;
use crate::storage::EngineConfig;
use crate::telemetry::health::{CheckReport, Readiness};
use crate::telemetry::process;
use crate::web::page::{Page, Tone};
use crate::web::view::microseconds;
use crate::web::visit::Visit;

/// How long a service may take to say that it is ready.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Template)]
#[template(path = "operations/topology.html")]
struct Topology {
    page: Page,
    map: Safe<String>,
    services: Vec<Probe>,
    checks: Vec<CheckReport>,
    facts: Vec<(&'static str, String)>,
}

/// What a service answered when it was asked whether it is ready.
pub(super) struct Probe {
    pub(super) name: &'static str,
    about: &'static str,
    needs: String,
    pub(super) tone: Tone,
    pub(super) words: &'static str,
    reason: String,
    took: String,
}

/// `GET /operations/topology`
pub(super) async fn topology(visit: Visit) -> Result<Response, Problem> {
    visit.staff(OPERATORS)?;
    let services = probe_all(&visit).await;
    let capabilities = &visit.web.capabilities;
    let checks = capabilities.telemetry.health().readiness().await.checks;
    let manifests: Vec<Manifest> = SERVICES.iter().map(|service| service.manifest).collect();
    let map = map(&manifests, &services);
    Ok(visit.show(&Topology { page: visit.page("Topology"), map, services, checks, facts: facts(&visit) }))
}

fn facts(visit: &Visit) -> Vec<(&'static str, String)> {
    let config = &visit.web.capabilities.config;
    let engine = match &config.engine {
        EngineConfig::Sqlite { path } => format!("SQLite in {}", path.display()),
        EngineConfig::Postgres { .. } => "PostgreSQL".to_owned(),
    };
    let mut facts = vec![("Environment", config.environment.clone()), ("Storage", engine)];
    if let Some(figures) = process::figures() {
        facts.push(("Memory", format!("{} MiB", figures.resident_bytes / 1024 / 1024)));
        facts.push(("Threads", figures.threads.to_string()));
        facts.push(("Open files", figures.open_files.to_string()));
    }
    facts
}

/// Asks every service at once whether it is ready.
pub(super) async fn probe_all(visit: &Visit) -> Vec<Probe> {
    join_all(SERVICES.iter().map(|service| probe(visit, service.manifest))).await
}

async fn probe(visit: &Visit, manifest: Manifest) -> Probe {
    let env = &visit.web.capabilities.env;
    let began = env.now();
    let (tone, words, reason) = match tokio::time::timeout(PATIENCE, ask(visit, manifest.name)).await {
        Ok(Ok(readiness)) if readiness.is_ready() => (Tone::Good, "Ready", String::new()),
        Ok(Ok(readiness)) => (Tone::Bad, "Not ready", reasons(&readiness)),
        Ok(Err(reason)) => (Tone::Bad, "Not reachable", reason),
        Err(_) => (Tone::Bad, "Silent", format!("no answer within {} ms", PATIENCE.as_millis())),
    };
    let took = crate::vocabulary::clock::since(began, env.now());
    Probe {
        name: manifest.name,
        about: manifest.about,
        needs: if manifest.needs.is_empty() { "nobody".to_owned() } else { manifest.needs.join(", ") },
        tone,
        words,
        reason,
        took: microseconds(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
    }
}

/// A service of this process is as ready as the process; one elsewhere says for itself.
async fn ask(visit: &Visit, service: &'static str) -> Result<Readiness, String> {
    let request = Request::get("/readyz").body(Body::empty()).map_err(|error| error.to_string())?;
    let endpoint = visit.web.capabilities.endpoint(service);
    let response = endpoint.send(&visit.context, request).await.map_err(|error| error.to_string())?;
    if response.status() == StatusCode::NOT_FOUND {
        return Ok(visit.web.capabilities.telemetry.health().readiness().await);
    }
    let body =
        axum::body::to_bytes(response.into_body(), 64 * 1024).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&body).map_err(|error| format!("its answer cannot be read: {error}"))
}

fn reasons(readiness: &Readiness) -> String {
    let failed = readiness.checks.iter().filter(|check| !check.ok);
    let words: Vec<_> = failed
        .map(|check| format!("{}: {}", check.name, check.reason.as_deref().unwrap_or("failed")))
        .collect();
    words.join("; ")
}

const WIDTH: usize = 960;
const BOX: usize = 150;
const ROW: usize = 130;

/// The picture: the gateway above, the services in a row, and below it an arc from each to whom it calls.
fn map(manifests: &[Manifest], probes: &[Probe]) -> Safe<String> {
    let step = WIDTH / manifests.len().max(1);
    let center = |at: usize| at * step + step / 2;
    let mut out = format!(
        "<svg class=\"service-map\" viewBox=\"0 0 {WIDTH} 300\" role=\"img\" aria-label=\"The gateway calls {} services\">",
        manifests.len()
    );
    for at in 0..manifests.len() {
        let x = center(at);
        let _ = write!(out, "<path d=\"M{} 62C{} 100 {x} 90 {x} {ROW}\"/>", WIDTH / 2, WIDTH / 2);
    }
    for (at, manifest) in manifests.iter().enumerate() {
        for need in manifest.needs {
            let Some(other) = manifests.iter().position(|m| m.name == *need) else { continue };
            let (from, to, low) = (center(at), center(other), 200 + 22 * at.abs_diff(other));
            let _ = write!(out, "<path d=\"M{from} 184C{from} {low} {to} {low} {to} 184\"/>");
        }
    }
    node(&mut out, "good", WIDTH / 2, 12, "gateway", "storefront, admin, API");
    for (at, manifest) in manifests.iter().enumerate() {
        let probe = probes.iter().find(|probe| probe.name == manifest.name);
        let (class, words) = probe.map_or(("unknown", "unknown"), |probe| (probe.tone.as_str(), probe.words));
        node(&mut out, class, center(at), ROW, manifest.name, words);
    }
    out.push_str("</svg>");
    Safe(out)
}

/// Names and words are ours, from the manifests: letters only, so nothing needs escaping.
fn node(out: &mut String, class: &str, x: usize, y: usize, name: &str, words: &str) {
    let (left, title, sub) = (x - BOX / 2, y + 24, y + 42);
    let _ = write!(
        out,
        "<g class=\"{class}\"><rect x=\"{left}\" y=\"{y}\" width=\"{BOX}\" height=\"54\" rx=\"10\"/>\
         <text x=\"{x}\" y=\"{title}\">{name}</text><text class=\"sub\" x=\"{x}\" y=\"{sub}\">{words}</text></g>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_draws_each_service_once_and_marks_what_is_not_well() {
        let manifest = |name, needs| Manifest {
            name,
            about: "",
            port: 0,
            routes: &[],
            deprecated: &[],
            keyed: &[],
            needs,
            objectives: &[],
        };
        let manifests = [manifest("order", &["product"]), manifest("product", &[])];
        let probe = |name, tone, words| Probe {
            name,
            about: "",
            needs: String::new(),
            tone,
            words,
            reason: String::new(),
            took: String::new(),
        };
        let probes = [probe("order", Tone::Good, "Ready"), probe("product", Tone::Bad, "Not ready")];
        let svg = map(&manifests, &probes).0;
        assert_eq!(svg.matches("<rect").count(), 3);
        assert_eq!(svg.matches("<path").count(), 3);
        assert!(svg.contains("<g class=\"bad\">") && svg.contains("Not ready"));
    }
}
