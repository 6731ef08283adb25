//! Sagas: which run, which wait, which are stuck, step by step; try again or undo.

use askama::Template;
use axum::response::Response;
use serde::Deserialize;

use super::OPERATORS;
use crate::http::address::query;
use crate::http::{CallError, Path, Problem, Query};
use crate::services::order::client::{Saga, SagaFilter, SagaStep};
use crate::vocabulary::OrderId;
use crate::web::failure::full_sentence;
use crate::web::page::{Page, Tone, redirect};
use crate::web::view::{exact_words, moment_words};
use crate::web::visit::{Form, Visit};

const STATES: [&str; 6] = ["running", "compensating", "stuck", "completed", "compensated", "abandoned"];

#[derive(Template)]
#[template(path = "operations/sagas.html")]
struct Sagas {
    page: Page,
    state: String,
    states: &'static [&'static str],
    sagas: Vec<SagaRow>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "operations/saga.html")]
struct SagasOfOrder {
    page: Page,
    order_id: OrderId,
    sagas: Vec<SagaRow>,
}

struct SagaRow {
    order_id: OrderId,
    short_id: String,
    kind: String,
    state: String,
    tone: Tone,
    step: String,
    attempt: i64,
    goes_on: String,
    owner: String,
    epoch: i64,
    deadline: String,
    last_error: String,
    log: Vec<SagaStep>,
    can_act: bool,
}

impl From<Saga> for SagaRow {
    fn from(saga: Saga) -> Self {
        let tone = match saga.state.as_str() {
            "completed" => Tone::Good,
            "running" => Tone::Info,
            "compensating" => Tone::Warn,
            "stuck" => Tone::Bad,
            _ => Tone::Plain,
        };
        let id = saga.order_id.to_string();
        Self {
            order_id: saga.order_id,
            // The end of a UUIDv7 is its random part; the beginning is only the time.
            short_id: format!("…{}", &id[id.len() - 12..]),
            kind: saga.kind.replace('_', " "),
            tone,
            can_act: matches!(saga.state.as_str(), "running" | "compensating" | "stuck"),
            state: saga.state,
            step: saga.step,
            attempt: saga.attempt,
            goes_on: saga.next_at.map(exact_words).unwrap_or_default(),
            owner: saga.owner.unwrap_or_default(),
            epoch: saga.epoch,
            deadline: saga.deadline_at.map(moment_words).unwrap_or_default(),
            last_error: saga.last_error.unwrap_or_default(),
            log: saga.log,
        }
    }
}

/// How a step's outcome is meant.
pub(crate) fn outcome_tone(outcome: &str) -> Tone {
    match outcome {
        "done" => Tone::Good,
        "declined" | "failed" | "rejected" | "stuck" => Tone::Bad,
        "unavailable" | "unknown" | "retry" => Tone::Warn,
        _ => Tone::Plain,
    }
}

/// What a browser may ask of the list.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    state: String,
    cursor: Option<String>,
}

/// `GET /operations/sagas`
pub(super) async fn list(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Problem> {
    visit.staff(OPERATORS)?;
    let state = Some(asked.state).filter(|state| STATES.contains(&state.as_str())).unwrap_or_default();
    let filter = SagaFilter {
        state: Some(state.clone()).filter(|state| !state.is_empty()),
        limit: Some(50),
        cursor: asked.cursor,
    };
    let list = visit.web.orders.sagas(&visit.context, &filter).await?;
    let next = list
        .next_cursor
        .map(|cursor| format!("/operations/sagas{}", query(&[("state", &state), ("cursor", &cursor)])));
    let sagas = list.items.into_iter().map(SagaRow::from).collect();
    Ok(visit.show(&Sagas { page: visit.page("Sagas"), state, states: &STATES, sagas, next }))
}

/// `GET /operations/sagas/{order_id}`
pub(super) async fn of_order(visit: Visit, Path(order_id): Path<OrderId>) -> Result<Response, Problem> {
    visit.staff(OPERATORS)?;
    let list = visit.web.orders.order_sagas(&visit.context, order_id).await?;
    let sagas = list.items.into_iter().map(SagaRow::from).collect();
    Ok(visit.show(&SagasOfOrder { page: visit.page("Sagas of an order"), order_id, sagas }))
}

/// `POST /operations/sagas/{order_id}/{act}`
pub(super) async fn act(
    visit: Visit,
    Path((order_id, act)): Path<(OrderId, String)>,
    Form(fields): Form,
) -> Result<Response, Problem> {
    visit.staff(OPERATORS)?;
    let reason = fields.optional("reason");
    let (answer, done) = match act.as_str() {
        "retry" => {
            let answer = visit.web.orders.retry_saga(&visit.context, order_id, reason.as_deref()).await;
            (answer, "It is tried again now.")
        }
        "compensate" => {
            let answer = visit.web.orders.compensate_saga(&visit.context, order_id, reason.as_deref()).await;
            (answer, "What was done is being undone.")
        }
        _ => return Err(Problem::not_found("act")),
    };
    match answer {
        Ok(_) => visit.say(Tone::Good, done),
        Err(CallError::Problem(problem)) if (400..500).contains(&problem.status) => {
            visit.say(Tone::Bad, &full_sentence(&problem.detail));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(redirect(&format!("/operations/sagas/{order_id}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::{Id, Timestamp};

    #[test]
    fn a_stuck_saga_offers_both_ways_out_and_an_ended_one_none() {
        let saga = |state: &str| Saga {
            id: uuid::Uuid::from_u128(1),
            order_id: Id::from_uuid(uuid::Uuid::from_u128(7)),
            kind: "checkout".into(),
            state: state.into(),
            step: "capture".into(),
            attempt: 3,
            next_at: None,
            deadline_at: None,
            owner: None,
            lease_until: None,
            epoch: 2,
            last_error: Some("no answer".into()),
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            log: vec![SagaStep {
                n: 1,
                step: "reserve".into(),
                outcome: "done".into(),
                next: "authorize".into(),
                attempt: 1,
                at: Timestamp::UNIX_EPOCH,
            }],
        };
        let draw = |state| {
            let page = crate::web::page::tests::page("/operations/sagas/7");
            let order_id = Id::from_uuid(uuid::Uuid::from_u128(7));
            SagasOfOrder { page, order_id, sagas: vec![saga(state).into()] }.render().unwrap()
        };
        let stuck = draw("stuck");
        assert!(stuck.contains("/retry\"") && stuck.contains("/compensate\"") && stuck.contains("reserve"));
        crate::web::page::tests::assert_is_well_made(&stuck);
        assert!(!draw("completed").contains("/retry\""));
    }
}
