//! Queues, outboxes and dead letters: what waits, what died, and the two ways on for it.

use askama::Template;
use axum::response::Response;
use serde::Deserialize;
use uuid::Uuid;

use super::OPERATORS;
use crate::http::address::query;
use crate::http::{CallError, Problem, Query};
use crate::services::notification::client::{DeadLetter, DeadLetterAction, DeadLetterQuery, Queues};
use crate::web::failure::full_sentence;
use crate::web::page::{Page, Tone, redirect};
use crate::web::view::moment_words;
use crate::web::visit::{Form, Visit};

#[derive(Template)]
#[template(path = "operations/queues.html")]
struct QueuesPage {
    page: Page,
    queues: Queues,
    queue: String,
    letters: Vec<Letter>,
    next: Option<String>,
}

struct Letter {
    id: Uuid,
    kind: String,
    queue: String,
    died: String,
    tries: i64,
    reason: String,
    body: String,
}

impl From<DeadLetter> for Letter {
    fn from(letter: DeadLetter) -> Self {
        Self {
            id: letter.id,
            kind: if letter.kind.is_empty() { "unreadable".to_owned() } else { letter.kind },
            queue: letter.queue,
            died: moment_words(letter.dead_at),
            tries: letter.receives,
            reason: letter.reason,
            body: serde_json::to_string_pretty(&letter.body).unwrap_or_default(),
        }
    }
}

/// What a browser may ask of the list.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    queue: String,
    cursor: Option<String>,
}

/// `GET /operations/queues`
pub(super) async fn queues(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Problem> {
    visit.staff(OPERATORS)?;
    let queues = visit.web.notifications.queues(&visit.context).await?;
    let filter = DeadLetterQuery {
        queue: Some(asked.queue.clone()).filter(|queue| !queue.is_empty()),
        kind: None,
        limit: Some(50),
        cursor: asked.cursor,
    };
    let list = visit.web.notifications.dead_letters(&visit.context, &filter).await?;
    let next = list.next_cursor.map(|cursor| {
        format!("/operations/queues{}", query(&[("queue", &asked.queue), ("cursor", &cursor)]))
    });
    let letters = list.items.into_iter().map(Letter::from).collect();
    let page = visit.page("Queues");
    Ok(visit.show(&QueuesPage { page, queues, queue: asked.queue, letters, next }))
}

/// `POST /operations/queues/act`: with the letters that are ticked.
pub(super) async fn act(visit: Visit, Form(fields): Form) -> Result<Response, Problem> {
    visit.staff(OPERATORS)?;
    let ids: Vec<Uuid> = fields
        .names()
        .filter_map(|name| name.strip_prefix("letter_"))
        .filter_map(|id| id.parse().ok())
        .collect();
    if ids.is_empty() {
        visit.say(Tone::Bad, "Choose at least one letter.");
        return Ok(redirect("/operations/queues"));
    }
    let action =
        DeadLetterAction { ids, reason: fields.value("reason").to_owned(), ..DeadLetterAction::default() };
    let notifications = &visit.web.notifications;
    let (answer, done) = match fields.value("act") {
        "redrive" => (notifications.redrive(&visit.context, &action).await, "put back"),
        "discard" => (notifications.discard(&visit.context, &action).await, "given up"),
        _ => return Err(Problem::not_found("act")),
    };
    match answer {
        Ok(moved) => visit.say(Tone::Good, &format!("{} letters were {done}.", moved.ids.len())),
        Err(CallError::Problem(problem)) if (400..500).contains(&problem.status) => {
            visit.say(Tone::Bad, &full_sentence(&problem.detail));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(redirect("/operations/queues"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::notification::client::Queue;

    #[test]
    fn each_letter_can_be_chosen_and_its_message_is_escaped() {
        let letter = Letter {
            id: Uuid::from_u128(5),
            kind: "order_confirmed".into(),
            queue: "notification".into(),
            died: "today".into(),
            tries: 5,
            reason: "no such template".into(),
            body: "<script>".into(),
        };
        let queue = Queue { name: "notification".into(), depth: 3, invisible: 1, oldest_ms: 1500, dead: 1 };
        let html = QueuesPage {
            page: crate::web::page::tests::page("/operations/queues"),
            queues: Queues { queues: vec![queue], outboxes: vec![] },
            queue: String::new(),
            letters: vec![letter],
            next: None,
        }
        .render()
        .unwrap();
        assert!(html.contains("name=\"letter_00000000-0000-0000-0000-000000000005\""));
        assert!(html.contains("1.5 s"));
        crate::web::page::tests::assert_is_well_made(&html);
    }
}
