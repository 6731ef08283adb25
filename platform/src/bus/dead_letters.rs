//! What no consumer could handle: seen, put back, or given up with a reason. Nothing is lost silently.

use std::time::Duration;

use uuid::Uuid;

use super::Bus;
use crate::storage::StorageError;
use crate::vocabulary::Timestamp;

/// How far apart redriven messages come back, so that a queue of them is not a blow.
const REDRIVE_SPACING: Duration = Duration::from_millis(10);

/// A message that became a dead letter.
#[derive(Clone, Debug, serde::Serialize)]
pub struct DeadLetter {
    /// The message.
    pub id: Uuid,
    /// The queue it was in.
    pub queue: String,
    /// The event; stays the same when it is redriven.
    pub event_id: Uuid,
    /// The event's topic.
    pub topic: String,
    /// The event's kind.
    pub kind: String,
    /// Whom it happened to.
    pub aggregate: Uuid,
    /// Its place among the aggregate's events.
    pub aggregate_seq: i64,
    /// The event as JSON; may be malformed.
    pub body: serde_json::Value,
    /// When it was published.
    pub sent_at: Timestamp,
    /// How often it was received.
    pub receives: i64,
    /// How often it was redriven before.
    pub redrives: i64,
    /// Why it died.
    pub reason: String,
    /// When it died.
    pub dead_at: Timestamp,
}

/// Which dead letters. The default names all that were not discarded.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeadLetterFilter {
    /// Only these messages, unless empty.
    pub ids: Vec<Uuid>,
    /// Only those of this queue.
    pub queue: Option<String>,
    /// Only those of this kind of event.
    pub kind: Option<String>,
}

/// What a redrive did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Redrive {
    /// The messages, oldest first.
    pub ids: Vec<Uuid>,
    /// Whether they only would be put back.
    pub dry_run: bool,
    /// Whether there are more that fit the filter.
    pub more: bool,
}

impl Bus {
    /// The dead letters that `filter` names, oldest first, from after `after` on.
    pub async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StorageError> {
        self.transport().dead_letters(filter.clone(), after, limit).await
    }

    /// Puts up to `limit` dead letters back into their queues, a few milliseconds apart, as if never received. The
    /// event keeps its id, so a consumer that handled it after all takes it for the duplicate it is.
    pub async fn redrive(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
        dry_run: bool,
    ) -> Result<Redrive, StorageError> {
        let mut letters = self.dead_letters(filter, None, limit.saturating_add(1)).await?;
        let more = letters.len() > limit;
        letters.truncate(limit);
        let mut ids = Vec::with_capacity(letters.len());
        let mut pause = Duration::ZERO;
        for letter in letters {
            if dry_run {
                ids.push(letter.id);
            } else if self.transport().redrive(letter.id, pause).await? {
                ids.push(letter.id);
                pause += REDRIVE_SPACING;
                self.wake_queue(&letter.queue);
            }
        }
        Ok(Redrive { ids, dry_run, more })
    }

    /// Gives up to `limit` dead letters up for good; their rows stay, with the reason. Answers which.
    pub async fn discard(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
        reason: &str,
    ) -> Result<Vec<Uuid>, StorageError> {
        let mut discarded = Vec::new();
        for letter in self.dead_letters(filter, None, limit).await? {
            if self.transport().discard(letter.id, reason.to_owned()).await? {
                discarded.push(letter.id);
            }
        }
        Ok(discarded)
    }
}
