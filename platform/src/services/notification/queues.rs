//! The shop's queues and dead letters, for operators. They belong to the bus; this is their door.

use axum::extract::State;
use serde_json::json;

use super::Notifications;
use super::api::{checked_reason, cursor_of};
use super::client::{DeadLetter, DeadLetterAction, DeadLetterQuery, DeadLettersMoved, Outbox, Queue, Queues};
use super::store::{self, Deed};
use crate::bus::{self, DeadLetterFilter};
use crate::http::{Context, Json, Page, PageQuery, Path, Problem, Query, SignedIn};
use crate::storage::Batch;
use crate::vocabulary::Role;

const OPERATORS: &[Role] = &[Role::Ops];
/// The most ids that an action names.
const IDS_MAX: usize = 100;
/// The most letters that one call moves.
const MOVED_MAX: usize = 500;

/// What waits where.
#[utoipa::path(get, path = "/v1/admin/queues", tag = "queues",
    responses((status = 200, description = "Every queue and outbox", body = Queues)))]
pub(super) async fn queues(
    State(service): State<Notifications>,
    user: SignedIn,
) -> Result<Json<Queues>, Problem> {
    user.with_any(OPERATORS)?;
    let health = service.bus.health().await?;
    let ms = |age: std::time::Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let queue = |queue: bus::QueueHealth| Queue {
        name: queue.name,
        depth: queue.depth,
        invisible: queue.invisible,
        oldest_ms: ms(queue.oldest),
        dead: queue.dead,
    };
    let outbox = |outbox: bus::OutboxHealth| Outbox {
        table: outbox.table.to_owned(),
        waiting: outbox.waiting,
        oldest_ms: ms(outbox.oldest),
    };
    Ok(Json(Queues {
        queues: health.queues.into_iter().map(queue).collect(),
        outboxes: health.outboxes.into_iter().map(outbox).collect(),
    }))
}

/// Dead letters of all queues, oldest first.
#[utoipa::path(get, path = "/v1/admin/dlq", tag = "queues",
    params(
        ("queue" = Option<String>, Query, description = "only those of this queue"),
        ("kind" = Option<String>, Query, description = "only those of this kind of event"),
        ("limit" = Option<i64>, Query, description = "1 to 100, default 20"),
        ("cursor" = Option<String>, Query, description = "where the page before ended"),
    ),
    responses((status = 200, description = "A page of dead letters", body = Vec<DeadLetter>)))]
pub(super) async fn dead_letters(
    State(service): State<Notifications>,
    user: SignedIn,
    Query(query): Query<DeadLetterQuery>,
) -> Result<Json<Page<DeadLetter>>, Problem> {
    user.with_any(OPERATORS)?;
    let limit = PageQuery { limit: query.limit, cursor: None }.limit()?;
    let after = cursor_of(query.cursor.as_deref())?;
    let filter = DeadLetterFilter { ids: Vec::new(), queue: query.queue, kind: query.kind };
    let letters = service.bus.dead_letters(&filter, after, limit + 1).await?;
    let letters = letters.into_iter().map(DeadLetter::from).collect();
    Ok(Json(Page::cut(letters, limit, |letter: &DeadLetter| letter.id.to_string())))
}

/// One dead letter.
#[utoipa::path(get, path = "/v1/admin/dlq/{id}", tag = "queues",
    params(("id" = uuid::Uuid, Path, description = "the letter")),
    responses(
        (status = 200, description = "The letter", body = DeadLetter),
        (status = 404, description = "It was put back or given up, or never was"),
    ))]
pub(super) async fn dead_letter(
    State(service): State<Notifications>,
    user: SignedIn,
    Path(id): Path<uuid::Uuid>,
) -> Result<Json<DeadLetter>, Problem> {
    user.with_any(OPERATORS)?;
    let filter = DeadLetterFilter { ids: vec![id], ..DeadLetterFilter::default() };
    let letter = service.bus.dead_letters(&filter, None, 1).await?.pop();
    Ok(Json(letter.ok_or_else(|| Problem::not_found("dead letter"))?.into()))
}

impl From<bus::DeadLetter> for DeadLetter {
    fn from(letter: bus::DeadLetter) -> Self {
        Self {
            id: letter.id,
            queue: letter.queue,
            event_id: letter.event_id,
            topic: letter.topic,
            kind: letter.kind,
            aggregate: letter.aggregate,
            body: letter.body,
            sent_at: letter.sent_at,
            receives: letter.receives,
            redrives: letter.redrives,
            reason: letter.reason,
            dead_at: letter.dead_at,
        }
    }
}

/// Puts dead letters back into their queues. An event that was handled after all changes nothing.
#[utoipa::path(post, path = "/v1/admin/dlq/redrive", tag = "queues",
    request_body = DeadLetterAction,
    responses((status = 200, description = "Which were put back", body = DeadLettersMoved)))]
pub(super) async fn redrive(
    State(service): State<Notifications>,
    context: Context,
    user: SignedIn,
    Json(action): Json<DeadLetterAction>,
) -> Result<Json<DeadLettersMoved>, Problem> {
    user.with_any(OPERATORS)?;
    let filter = checked_filter(&action)?;
    if !action.dry_run {
        note(&service, &context, "dlq_redrive", &action).await?;
    }
    let moved = service.bus.redrive(&filter, MOVED_MAX, action.dry_run).await?;
    Ok(Json(DeadLettersMoved { ids: moved.ids, dry_run: moved.dry_run, more: moved.more }))
}

/// Gives dead letters up for good. Their rows stay, with the reason.
#[utoipa::path(post, path = "/v1/admin/dlq/discard", tag = "queues",
    request_body = DeadLetterAction,
    responses((status = 200, description = "Which were given up", body = DeadLettersMoved)))]
pub(super) async fn discard(
    State(service): State<Notifications>,
    context: Context,
    user: SignedIn,
    Json(action): Json<DeadLetterAction>,
) -> Result<Json<DeadLettersMoved>, Problem> {
    user.with_any(OPERATORS)?;
    let filter = checked_filter(&action)?;
    if action.dry_run {
        return Err(Problem::invalid("/dry_run", "only a redrive can be tried; list the letters instead"));
    }
    note(&service, &context, "dlq_discard", &action).await?;
    let ids = service.bus.discard(&filter, MOVED_MAX, action.reason.trim()).await?;
    let more = !service.bus.dead_letters(&filter, None, 1).await?.is_empty();
    Ok(Json(DeadLettersMoved { ids, dry_run: false, more }))
}

/// Refuses an action that names nothing: it would reach every dead letter of the shop.
fn checked_filter(action: &DeadLetterAction) -> Result<DeadLetterFilter, Problem> {
    checked_reason(&action.reason)?;
    if action.ids.len() > IDS_MAX {
        return Err(Problem::invalid("/ids", format!("name at most {IDS_MAX} letters")));
    }
    if action.ids.is_empty() && action.queue.is_none() && action.kind.is_none() {
        return Err(Problem::invalid("/ids", "name the letters by `ids`, `queue` or `kind`"));
    }
    Ok(DeadLetterFilter { ids: action.ids.clone(), queue: action.queue.clone(), kind: action.kind.clone() })
}

/// The bus moves letters one by one, so the deed is written down before it is done: a deed that was noted and not done
/// can be done again, the reverse would leave no trace.
async fn note(
    service: &Notifications,
    context: &Context,
    deed: &'static str,
    action: &DeadLetterAction,
) -> Result<(), Problem> {
    let subject = action.queue.as_deref().unwrap_or("dead letters");
    let after = json!({
        "ids": action.ids, "queue": action.queue, "kind": action.kind, "reason": action.reason.trim(),
    });
    let mut batch = Batch::new();
    store::audit(&mut batch, &service.env, context, Deed { action: deed, subject, before: json!({}), after });
    service.db.write(batch).await?;
    Ok(())
}
