//! Telling the shop: signed webhooks, delivered at least once, again and again with growing pauses until they are
//! taken.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use http_body_util::Full;
use serde::Serialize;
use sha2::Sha256;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::answers;
use super::book::{Book, EventKind, EventNote};
use super::intents::{Intent, Token};
use crate::http::HttpClient;
use crate::resilience::retry::Backoff;
use crate::secrets::Secret;
use crate::vocabulary::{Env, Timestamp};

/// Deliveries under way at once. Few: the receiver shares the machine, and webhooks may wait.
const DELIVERIES_MAX: usize = 8;
const TIMEOUT: Duration = Duration::from_secs(10);
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(15));

/// Delivers events. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Webhooks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    env: Env,
    http: HttpClient,
    book: Arc<Book>,
    secret: Secret,
    url: Mutex<Option<Arc<str>>>,
    due: Mutex<BinaryHeap<Reverse<Due>>>,
    more: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Timestamp,
    event: Token,
    attempt: u32,
    /// How often the event is sent before it counts as delivered: once, or more on a bad day.
    copies: u32,
}

impl Webhooks {
    pub(super) fn new(
        env: Env,
        http: HttpClient,
        book: Arc<Book>,
        secret: Secret,
        url: Option<&str>,
    ) -> Self {
        let now = env.now();
        let due = book
            .pending()
            .into_iter()
            .map(|event| Reverse(Due { at: now, event, attempt: 0, copies: 1 }))
            .collect();
        let shared = Shared {
            env,
            http,
            book,
            secret,
            url: Mutex::new(url.map(Into::into)),
            due: Mutex::new(due),
            more: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Where the shop listens, once that is known.
    pub(super) fn set_url(&self, url: &str) {
        *self.shared.url.lock().unwrap_or_else(PoisonError::into_inner) = Some(url.into());
        self.shared.more.notify_one();
    }

    /// Whether anybody is told at all.
    pub(super) fn url(&self) -> Option<Arc<str>> {
        self.shared.url.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Queues an event for delivery, to be sent `copies` times.
    pub(super) fn tell(&self, event: Token, copies: u32) {
        let at = self.shared.env.now();
        self.shared.push(Due { at, event, attempt: 0, copies });
    }

    /// Delivers an event at once and waits until it is taken, or for `patience`.
    pub(super) async fn tell_now(&self, event: Token, patience: Duration) {
        let told = tokio::time::timeout(patience, self.shared.deliver(event, 1)).await;
        if !told.unwrap_or(false) {
            self.tell(event, 1);
        }
    }

    /// Delivers until told to stop.
    pub(super) async fn run(self, stop: CancellationToken) {
        let permits = Arc::new(Semaphore::new(DELIVERIES_MAX));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let next = tokio::select! {
                next = self.shared.next() => next,
                () = stop.cancelled() => break,
            };
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                if !shared.deliver(next.event, next.copies).await {
                    let at = shared.env.after(BACKOFF.pause(next.attempt, &shared.env));
                    shared.push(Due { at, attempt: next.attempt + 1, ..next });
                }
                drop(permit);
            });
        }
        // What is under way ends; what is not is in the book and is told after the next start.
        let all = u32::try_from(DELIVERIES_MAX).unwrap_or(1);
        tokio::time::timeout(TIMEOUT, permits.acquire_many(all)).await.ok();
    }
}

impl Shared {
    fn push(&self, due: Due) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).push(Reverse(due));
        self.more.notify_one();
    }

    /// The next event whose time has come.
    async fn next(&self) -> Due {
        loop {
            let now = self.env.now();
            let wait = {
                let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
                let known = self.url.lock().unwrap_or_else(PoisonError::into_inner).is_some();
                match due.peek() {
                    Some(Reverse(first)) if known && first.at <= now => {
                        if let Some(Reverse(first)) = due.pop() {
                            return first;
                        }
                        None
                    }
                    Some(Reverse(first)) if known => Some(crate::vocabulary::clock::since(now, first.at)),
                    _ => None,
                }
            };
            // A look every second at least: the clock may be moved by hand.
            let wait = wait.unwrap_or(Duration::from_secs(1)).min(Duration::from_secs(1));
            tokio::select! {
                () = self.more.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Whether the event needs no more deliveries.
    async fn deliver(&self, token: Token, copies: u32) -> bool {
        let (event, intent) = match self.book.event(token).await {
            Ok(Some(found)) => found,
            Ok(None) => return true,
            Err(error) => {
                tracing::error!(%error, "the sandbox provider cannot read an event");
                return false;
            }
        };
        let mut taken = true;
        for _ in 0..copies {
            taken &= self.send(&event, &intent).await;
        }
        if taken {
            self.book.delivered(vec![token]);
        }
        taken
    }

    async fn send(&self, event: &EventNote, intent: &Intent) -> bool {
        let Some(url) = self.url.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return false };
        let body = render(event, intent);
        let signature = sign(&self.secret, self.env.now().as_second(), body.as_bytes());
        let request = hyper::Request::post(url.as_ref())
            .header("content-type", "application/json; charset=utf-8")
            .header("stripe-signature", signature)
            .header("user-agent", "fakepay")
            .body(Full::new(Bytes::from(body)));
        let Ok(request) = request else { return false };
        self.http.send(request, TIMEOUT).await.is_ok_and(|answer| answer.status().is_success())
    }
}

/// The value of `Stripe-Signature` for `body` sent at `at_s`.
pub(super) fn sign(secret: &Secret, at_s: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("HMAC takes a key of any length");
    mac.update(format!("{at_s}.").as_bytes());
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at_s},v1={hex}")
}

/// An `event` about `object`.
#[derive(Serialize)]
struct Told<'event, O> {
    id: String,
    object: &'static str,
    api_version: &'static str,
    created: i64,
    data: Data<O>,
    livemode: bool,
    pending_webhooks: u8,
    request: Cause,
    #[serde(rename = "type")]
    kind: &'event EventKind,
}

#[derive(Serialize)]
struct Data<O> {
    object: O,
}

/// The request that caused an event: the sandbox does not say.
#[derive(Serialize)]
struct Cause {
    id: Option<()>,
    idempotency_key: Option<()>,
}

fn render(event: &EventNote, intent: &Intent) -> String {
    match event.kind {
        EventKind::Refunded => told(event, answers::charge(intent)),
        _ => told(event, answers::payment_intent(intent, false)),
    }
}

fn told(event: &EventNote, object: impl Serialize) -> String {
    let told = Told {
        id: format!("evt_{}", event.token),
        object: "event",
        api_version: answers::API_VERSION,
        created: event.at,
        data: Data { object },
        livemode: false,
        pending_webhooks: 1,
        request: Cause { id: None, idempotency_key: None },
        kind: &event.kind,
    };
    serde_json::to_string(&told).unwrap_or_default()
}
