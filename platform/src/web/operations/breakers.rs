//! Circuit breakers: their state, and two handles.

use askama::Template;
use axum::response::Response;

use super::OPERATORS;
use crate::http::{CallError, Path, Problem};
use crate::services::payment::client::BreakerView;
use crate::web::failure::full_sentence;
use crate::web::page::{Page, Tone, redirect};
use crate::web::view::moment_words;
use crate::web::visit::{Form, Visit};

#[derive(Template)]
#[template(path = "operations/breakers.html")]
struct Breakers {
    page: Page,
    breakers: Vec<Breaker>,
}

struct Breaker {
    name: String,
    tone: Tone,
    words: &'static str,
    since: String,
    retry_at: String,
    calls: u64,
    failures: u64,
    held_open: String,
    opened_total: u64,
}

impl From<BreakerView> for Breaker {
    fn from(view: BreakerView) -> Self {
        let (tone, words) = match view.state.as_str() {
            "closed" => (Tone::Good, "Closed: calls go through"),
            "half_open" => (Tone::Warn, "Half open: probing"),
            "open" if view.held_open.is_some() => (Tone::Bad, "Held open by hand"),
            "open" => (Tone::Bad, "Open: no calls"),
            _ => (Tone::Plain, "Unknown"),
        };
        Self {
            name: view.name,
            tone,
            words,
            since: moment_words(view.since),
            retry_at: view.retry_at.map(moment_words).unwrap_or_default(),
            calls: view.calls,
            failures: view.failures,
            held_open: view.held_open.unwrap_or_default(),
            opened_total: view.opened_total,
        }
    }
}

/// `GET /operations/breakers`
pub(super) async fn list(visit: Visit) -> Result<Response, Problem> {
    visit.staff(OPERATORS)?;
    let list = visit.web.payments.breakers(&visit.context).await?;
    let breakers = list.items.into_iter().map(Breaker::from).collect();
    Ok(visit.show(&Breakers { page: visit.page("Circuit breakers"), breakers }))
}

/// `POST /operations/breakers/{name}`
pub(super) async fn turn(
    visit: Visit,
    Path(name): Path<String>,
    Form(fields): Form,
) -> Result<Response, Problem> {
    visit.staff(OPERATORS)?;
    let name = crate::http::address::segment(&name);
    let (payments, reason) = (&visit.web.payments, fields.value("reason"));
    let answer = match fields.value("act") {
        "open" => payments.open_breaker(&visit.context, &name, reason).await,
        "close" => payments.close_breaker(&visit.context, &name, reason).await,
        _ => return Err(Problem::not_found("act")),
    };
    match answer {
        Ok(breaker) => {
            visit.say(Tone::Good, &format!("{} is {}.", breaker.name, breaker.state.replace('_', " ")));
        }
        Err(CallError::Problem(problem)) if (400..500).contains(&problem.status) => {
            visit.say(Tone::Bad, &full_sentence(&problem.detail));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(redirect("/operations/breakers"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Timestamp;

    #[test]
    fn a_breaker_that_is_held_open_says_why() {
        let view = BreakerView {
            name: "stripe-authorize".into(),
            state: "open".into(),
            since: Timestamp::UNIX_EPOCH,
            retry_at: None,
            calls: 20,
            failures: 12,
            held_open: Some("maintenance".into()),
            opened_total: 2,
        };
        let page = crate::web::page::tests::page("/operations/breakers");
        let html = Breakers { page, breakers: vec![view.into()] }.render().unwrap();
        assert!(html.contains("Held open by hand") && html.contains("maintenance"));
        crate::web::page::tests::assert_is_well_made(&html);
    }
}
