//! What the sandbox remembers: the journal, and in memory only where in it each thing stands.
//!
//! A change is one frame: the intent as it is after it, the answer saved under the request's key, and the events it
//! told. Memory holds tens of bytes an intent, however much the intents carry.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::answers;
use super::intents::{Intent, Token};
use super::journal::{self, Journal, JournalError, Offset, Opened};

/// For how long a key's answer is kept, in seconds.
const KEYS_KEPT_S: i64 = 24 * 3600;
/// So many of the last changes are remembered whole: money is taken moments after it was held.
const RECENT_MAX: usize = 128;
/// A journal is rewritten at its opening when it is larger than this and mostly dead.
const REWRITE_BYTES: u64 = 8 << 20;

/// One frame.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) intent: Option<Intent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<Answer>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) events: Vec<EventNote>,
    /// Events that need not be delivered any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) delivered: Vec<Token>,
}

/// The answer saved under a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) key: Token,
    pub(super) fingerprint: u64,
    pub(super) at: i64,
    pub(super) status: u16,
    pub(super) said: Said,
}

/// The body of an answer; an object of this frame is named, not repeated.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    Intent {
        expanded: bool,
    },
    /// The intent's last refund.
    Refund,
    Body(Value),
}

impl Answer {
    /// The body as it was answered.
    pub(super) fn body(&self, intent: Option<&Intent>) -> String {
        match (&self.said, intent) {
            (Said::Intent { expanded }, Some(intent)) => answers::payment_intent(intent, *expanded).text(),
            (Said::Refund, Some(intent)) => {
                let refund = intent.refunds.last().map(|refund| answers::refund(refund, intent));
                refund.unwrap_or_default().to_string()
            }
            (Said::Body(body), _) => body.to_string(),
            _ => Value::Null.to_string(),
        }
    }
}

/// An event that was told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct EventNote {
    pub(super) token: Token,
    pub(super) kind: EventKind,
    pub(super) at: i64,
}

/// The events that the sandbox knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum EventKind {
    #[serde(rename = "payment_intent.amount_capturable_updated")]
    Authorized,
    #[serde(rename = "payment_intent.succeeded")]
    Succeeded,
    #[serde(rename = "payment_intent.payment_failed")]
    Failed,
    #[serde(rename = "payment_intent.canceled")]
    Canceled,
    #[serde(rename = "charge.refunded")]
    Refunded,
}

/// The name of the journal in the sandbox's folder.
const FILE_NAME: &str = "statement.journal";

/// The last word on every intent in the journal under `folder`, oldest first; false when there is no journal. Changes
/// nothing there.
pub(super) fn read_only(folder: &Path, mut tell: impl FnMut(&Intent) -> io::Result<()>) -> io::Result<bool> {
    let path = folder.join(FILE_NAME);
    if !path.exists() {
        return Ok(false);
    }
    // Only where each last word stands: what it says is read once, at the end.
    let mut places = BTreeMap::new();
    let file = journal::read_only(&path, |at, payload| {
        if let Some(intent) = serde_json::from_slice::<Told>(payload)?.intent {
            places.insert(intent.token, at);
        }
        Ok(())
    })?;
    for at in places.into_values() {
        let record: Record = serde_json::from_slice(&journal::read_frame(&file, at)?)?;
        record.intent.as_ref().map_or(Ok(()), &mut tell)?;
    }
    Ok(true)
}

/// As much of a frame as says whose last word it is.
#[derive(Deserialize)]
struct Told {
    intent: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    token: Token,
}

/// Where things stand in the journal.
#[derive(Debug, Default)]
struct Places {
    end: Offset,
    intents: BTreeMap<Token, Offset>,
    refunds: BTreeMap<Token, Token>,
    keys: HashMap<Token, Offset>,
    /// Events that are not delivered, by their frame.
    pending: BTreeMap<Token, Offset>,
    /// The intents of the last changes, by their frame.
    recent: VecDeque<(Offset, Intent)>,
}

impl Places {
    fn remember(&mut self, at: Offset, intent: &Intent) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((at, intent.clone()));
    }

    fn remembered(&self, at: Offset) -> Option<Intent> {
        let place = self.recent.binary_search_by_key(&at, |(at, _)| *at).ok()?;
        Some(self.recent[place].1.clone())
    }

    fn note(&mut self, at: Offset, record: &Record, now: i64) {
        if let Some(intent) = &record.intent {
            self.intents.insert(intent.token, at);
            for refund in &intent.refunds {
                self.refunds.insert(refund.token, intent.token);
            }
        }
        if let Some(answer) = record.answer.as_ref().filter(|answer| now - answer.at < KEYS_KEPT_S) {
            self.keys.insert(answer.key, at);
        }
        for event in &record.events {
            self.pending.insert(event.token, at);
        }
        for event in &record.delivered {
            self.pending.remove(event);
        }
    }
}

/// The sandbox's memory.
#[derive(Debug)]
pub(super) struct Book {
    journal: Journal,
    /// Not tokio's mutex: nothing is awaited while it is held.
    places: Mutex<Places>,
}

/// Why something could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum BookError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the statement's journal could not be read: {0}")]
    Read(#[from] io::Error),
    #[error("the statement's journal holds what this binary does not know: {0}")]
    Parse(#[from] serde_json::Error),
}

/// An intent as it was at a moment: a change stands only when nothing changed in between.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) intent: Intent,
    at: Offset,
}

/// Whether a change was taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// Somebody was faster: look again.
    Stale,
}

impl Book {
    /// Opens the journal under `folder`, rewriting it first when most of it is dead.
    pub(super) fn open(folder: &Path, now: i64) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(FILE_NAME);
        let (book, live) = Self::read(&path, now)?;
        let size = book.lock().end;
        if size < REWRITE_BYTES || live * 2 > size {
            return Ok(book);
        }
        book.rewrite(&path)?;
        drop(book);
        Ok(Self::read(&path, now)?.0)
    }

    /// The book, and about how many of the journal's bytes are alive.
    fn read(path: &Path, now: i64) -> io::Result<(Self, u64)> {
        let mut places = Places::default();
        let mut sizes = HashMap::new();
        let Opened { journal, end } = Journal::open(path, |at, payload| {
            let record: Record = serde_json::from_slice(payload)?;
            places.note(at, &record, now);
            sizes.insert(at, payload.len() as u64);
            Ok(())
        })?;
        places.end = end;
        let mut live: Vec<Offset> = places.live().collect();
        live.sort_unstable();
        live.dedup();
        let bytes = live.iter().filter_map(|at| sizes.get(at)).sum();
        Ok((Self { journal, places: Mutex::new(places) }, bytes))
    }

    /// Copies what is alive, in its order. A frame is copied whole, so replaying the copy gives the same places.
    fn rewrite(&self, path: &Path) -> io::Result<()> {
        let places = self.lock();
        let mut live: Vec<Offset> = places.live().collect();
        live.sort_unstable();
        live.dedup();
        let payloads = live.into_iter().map(|at| {
            let mut record: Record = serde_json::from_slice(&self.journal.read(at)?)?;
            record.delivered.clear();
            record.events.retain(|event| places.pending.contains_key(&event.token));
            Ok(serde_json::to_vec(&record)?)
        });
        journal::rewrite(path, payloads)
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes `record`, unless a key or an intent in it moved since it was `seen`. Durable when it answers.
    pub(super) async fn write(
        &self,
        record: &Record,
        seen: Option<&Seen>,
        now: i64,
    ) -> Result<Taken, BookError> {
        let payload = serde_json::to_vec(record)?;
        let end = {
            let mut places = self.lock();
            let moved = seen.is_some_and(|seen| places.intents.get(&seen.intent.token) != Some(&seen.at));
            let twin = record.answer.as_ref().is_some_and(|answer| places.keys.contains_key(&answer.key));
            if moved || twin {
                return Ok(Taken::Stale);
            }
            let at = places.end;
            places.note(at, record, now);
            if let Some(intent) = &record.intent {
                places.remember(at, intent);
            }
            places.end = self.journal.append(at, &payload);
            places.end
        };
        self.journal.durable_to(end).await?;
        Ok(Taken::Yes)
    }

    /// Notes that events need no more deliveries. Not waited for: after a crash they are told again, which a
    /// receiver of webhooks must bear anyway.
    pub(super) fn delivered(&self, events: Vec<Token>) {
        let record = Record { delivered: events, ..Record::default() };
        if let Ok(payload) = serde_json::to_vec(&record) {
            let mut places = self.lock();
            let at = places.end;
            places.note(at, &record, 0);
            places.end = self.journal.append_lazily(at, &payload);
        }
    }

    async fn frame(&self, at: Offset) -> Result<Record, BookError> {
        // The frame may still be on its way to the disk; nobody may see what a crash could take back.
        self.journal.durable_to(at + 1).await?;
        Ok(serde_json::from_slice(&self.journal.read(at)?)?)
    }

    /// The answer under `key`, with the intent as it was then.
    pub(super) async fn answer(&self, key: Token) -> Result<Option<(Answer, Option<Intent>)>, BookError> {
        let place = self.lock().keys.get(&key).copied();
        let Some(at) = place else { return Ok(None) };
        let record = self.frame(at).await?;
        Ok(record.answer.map(|answer| (answer, record.intent)))
    }

    /// The intent of `token`, as it is now.
    pub(super) async fn intent(&self, token: Token) -> Result<Option<Seen>, BookError> {
        let (at, remembered) = {
            let places = self.lock();
            let Some(at) = places.intents.get(&token).copied() else { return Ok(None) };
            (at, places.remembered(at))
        };
        if let Some(intent) = remembered {
            // Nobody may see what a crash could take back.
            self.journal.durable_to(at + 1).await?;
            return Ok(Some(Seen { intent, at }));
        }
        Ok(self.frame(at).await?.intent.map(|intent| Seen { intent, at }))
    }

    /// The intent that a refund belongs to.
    pub(super) fn intent_of_refund(&self, refund: Token) -> Option<Token> {
        self.lock().refunds.get(&refund).copied()
    }

    /// The tokens from `from` to before `to`, newest first, at most `limit`.
    pub(super) fn tokens(&self, from: Token, to: Token, limit: usize) -> Vec<Token> {
        if from >= to {
            return Vec::new();
        }
        self.lock().intents.range(from..to).rev().take(limit).map(|(token, _)| *token).collect()
    }

    /// The events that are not delivered, oldest first.
    pub(super) fn pending(&self) -> Vec<Token> {
        self.lock().pending.keys().copied().collect()
    }

    /// An event that is not delivered, with the intent as it was when it happened.
    pub(super) async fn event(&self, token: Token) -> Result<Option<(EventNote, Intent)>, BookError> {
        let place = self.lock().pending.get(&token).copied();
        let Some(at) = place else { return Ok(None) };
        let record = self.frame(at).await?;
        let event = record.events.into_iter().find(|event| event.token == token);
        Ok(event.zip(record.intent))
    }

    /// Lets go of the file, once everything is written.
    pub(super) async fn close(&self) {
        self.journal.close().await;
    }
}

impl Places {
    fn live(&self) -> impl Iterator<Item = Offset> + '_ {
        self.intents.values().chain(self.keys.values()).chain(self.pending.values()).copied()
    }
}

/// A key as the book keeps it.
pub(super) fn key_token(key: &str) -> Token {
    let digest = Sha256::digest(key.as_bytes());
    Token(u128::from_be_bytes(digest[..16].try_into().expect("sixteen bytes")))
}
