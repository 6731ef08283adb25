//! Handing deliveries over: one sender per channel, in batches, each delivery under a claim.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::channels::{Letter, Outcome};
use super::client::Preferences;
use super::store::{self, Claimed, Ended};
use super::{NAME, Notifications, OpenChannel, model, templates};
use crate::http::Context;
use crate::storage::{Batch, StorageError};
use crate::telemetry::{Attribute, Span, SpanKind};
use crate::vocabulary::Timestamp;

/// How long a claim lasts: longer than any channel may take for a batch.
const LEASE: Duration = Duration::from_secs(120);
/// How often a sender looks without being woken: for what was put off, and for what another process wrote.
const POLL: Duration = Duration::from_millis(500);
/// How long a sender lets deliveries gather after it was woken: nobody waits for a mail, and fuller batches cost less.
const GATHER: Duration = Duration::from_millis(50);
/// How long a channel that is away is left alone at most.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// How long a sender tries to write down what it sent. What it cannot write is sent again.
const SETTLE_WITHIN: Duration = Duration::from_secs(20);

/// What one round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// Deliveries that were tried.
    pub(super) claimed: usize,
    /// How long to leave the channel alone.
    pub(super) away: Option<Duration>,
}

/// Works for one channel.
pub(super) struct Sender {
    service: Notifications,
    at: usize,
    /// Rounds in a row that found the channel away.
    away_rounds: AtomicU32,
}

impl Sender {
    /// The sender of the service's channel number `at`.
    pub(super) fn new(service: Notifications, at: usize) -> Self {
        Self { service, at, away_rounds: AtomicU32::new(0) }
    }

    fn channel(&self) -> &OpenChannel {
        &self.service.channels[self.at]
    }

    /// Sends until `stop`; what is in the channel's hands by then is finished and written down.
    pub(super) async fn run(self, stop: CancellationToken) {
        let channel = self.channel();
        while !stop.is_cancelled() {
            let wait = match self.round(&stop).await {
                Ok(Round { away: Some(pause), .. }) => pause,
                Ok(round) if round.claimed == channel.spec.letters_max => continue,
                Ok(_) => POLL,
                Err(error) => {
                    tracing::warn!(channel = channel.spec.name, %error, "could not send, will try again");
                    POLL * 4
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = channel.woken.notified(), if wait == POLL => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Claims what is due, hands it over, and writes down what came of it.
    pub(super) async fn round(&self, stop: &CancellationToken) -> Result<Round, StorageError> {
        let Notifications { db, env, .. } = &self.service;
        let spec = self.channel().spec;
        let (claim, claimed) = store::claim(db, env, spec.name, spec.letters_max, LEASE).await?;
        if claimed.is_empty() {
            return Ok(Round { claimed: 0, away: None });
        }
        env.reach(|| format!("sender.{}.before", spec.name)).await;
        let (ended, away) = self.hand_over(&claimed, stop).await?;
        env.reach(|| format!("sender.{}.after", spec.name)).await;
        let deliveries: Vec<_> = claimed.iter().zip(ended).collect();
        self.settle(store::settle(env.now(), claim, &deliveries)).await?;
        env.reach(|| format!("sender.{}.recorded", spec.name)).await;
        self.tell(&deliveries);
        Ok(Round { claimed: deliveries.len(), away })
    }

    /// Answers for each delivery, in their order, and how long to leave the channel alone.
    async fn hand_over(
        &self,
        claimed: &[Claimed],
        stop: &CancellationToken,
    ) -> Result<(Vec<Ended>, Option<Duration>), StorageError> {
        let recipients: Vec<&str> = claimed.iter().map(|delivery| delivery.recipient.as_str()).collect();
        let preferences = store::preferences(&self.service.db, &recipients).await?;
        let mut ended: Vec<Option<Ended>> = Vec::with_capacity(claimed.len());
        let (mut letters, mut spans) = (Vec::new(), Vec::new());
        for delivery in claimed {
            match self.service.letter(delivery, &preferences) {
                Ok(letter) => {
                    letters.push(letter);
                    spans.push(self.span(delivery));
                    ended.push(None);
                }
                Err(outcome) => ended.push(Some(outcome)),
            }
        }
        let began = Instant::now();
        let mut outcomes = self.channel().channel.deliver(&letters, stop).await;
        let took = began.elapsed();
        outcomes.resize(letters.len(), Outcome::Untried);
        for (span, outcome) in spans.iter_mut().zip(&outcomes) {
            describe(span, outcome);
        }
        let away = self.away(&outcomes);
        if let Some(reason) = outcomes.iter().find_map(Outcome::away) {
            // Those that were spared the try wait for the same reason.
            let away = Outcome::Away { reason: reason.to_owned() };
            for untried in outcomes.iter_mut().filter(|outcome| **outcome == Outcome::Untried) {
                *untried = away.clone();
            }
        }
        let mut outcomes = outcomes.into_iter();
        let ended = claimed
            .iter()
            .zip(ended)
            .map(|(delivery, known)| match known {
                Some(known) => known,
                None => self.ended(delivery, outcomes.next().unwrap_or(Outcome::Untried), took, away),
            })
            .collect();
        Ok((ended, away))
    }

    fn span(&self, delivery: &Claimed) -> Span {
        let service = &self.service;
        let parent = Context::resumed(
            NAME,
            &service.env,
            delivery.request_id.as_deref(),
            delivery.traceparent.as_deref(),
        );
        let mut span = service.telemetry.start(NAME, SpanKind::Client, "deliver", &parent);
        span.word(Attribute::Channel, self.channel().spec.name);
        if let Some(order_id) = delivery.order_id {
            span.note_order(order_id);
        }
        span
    }

    /// How long the channel is left alone, when it was away: doubles from a second to a minute.
    fn away(&self, outcomes: &[Outcome]) -> Option<Duration> {
        if !outcomes.iter().any(|outcome| outcome.away().is_some()) {
            self.away_rounds.store(0, Ordering::Relaxed);
            return None;
        }
        let rounds = self.away_rounds.fetch_add(1, Ordering::Relaxed);
        Some((Duration::from_secs(1) * 2u32.pow(rounds.min(6))).min(AWAY_MAX))
    }

    fn ended(&self, delivery: &Claimed, outcome: Outcome, took: Duration, away: Option<Duration>) -> Ended {
        let env = &self.service.env;
        let back = env.after(away.unwrap_or_default());
        match outcome {
            Outcome::Sent => Ended::Sent,
            Outcome::Untried => Ended::Untried { next_at: back, reason: None },
            Outcome::Away { reason } => Ended::Untried { next_at: back, reason: Some(reason) },
            Outcome::Refused { code, reason } => Ended::Failed { code, reason, took },
            Outcome::Deferred { code, reason } => match model::back_off(delivery.attempts) {
                Some(pause) => {
                    // A fifth of jitter keeps those that failed together from coming back together.
                    let next_at = env.after(pause + env.jitter(pause / 5));
                    Ended::Later { next_at, code, reason, took }
                }
                None => Ended::Failed { code, reason, took },
            },
        }
    }

    /// What was handed over and is not written down is handed over again, so this does not give up easily. The batch
    /// is guarded by the claim: writing it twice changes nothing.
    async fn settle(&self, batch: Batch) -> Result<(), StorageError> {
        let began = Instant::now();
        loop {
            match self.service.db.write(batch.clone()).await {
                Ok(_) => return Ok(()),
                Err(
                    error @ (StorageError::Unavailable(_) | StorageError::Unknown(_) | StorageError::Full(_)),
                ) if began.elapsed() < SETTLE_WITHIN => {
                    tracing::warn!(%error, "could not write down what was sent, will try again");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn tell(&self, deliveries: &[(&Claimed, Ended)]) {
        let channel = self.channel().spec.name;
        let mut counts: HashMap<&'static str, u64> = HashMap::new();
        for (delivery, ended) in deliveries {
            let (outcome, reason) = match ended {
                Ended::Sent => ("sent", None),
                Ended::Skipped => ("skipped", None),
                Ended::Later { reason, .. } => ("later", Some(reason)),
                Ended::Failed { reason, .. } => ("failed", Some(reason)),
                Ended::Untried { reason, .. } => ("untried", reason.as_ref()),
            };
            *counts.entry(outcome).or_default() += 1;
            if let Some(reason) = reason {
                let order_id = delivery.order_id.map(|order_id| order_id.to_string());
                tracing::warn!(
                    channel, outcome, reason, delivery_id = %delivery.id, event_id = %delivery.event_id, order_id,
                    attempts = delivery.attempts, failures = delivery.failures, "a notification was not delivered"
                );
            }
        }
        for (outcome, count) in counts {
            self.service.telemetry.meters().deliveries(channel, outcome, count);
        }
    }
}

fn describe(span: &mut Span, outcome: &Outcome) {
    match outcome {
        Outcome::Sent => span.word(Attribute::Outcome, "sent"),
        Outcome::Untried => span.word(Attribute::Outcome, "untried"),
        Outcome::Deferred { reason, .. } | Outcome::Refused { reason, .. } | Outcome::Away { reason } => {
            span.fail(reason);
        }
    }
}

impl Notifications {
    /// A delivery in its final words, or why there is nothing to send.
    fn letter(
        &self,
        delivery: &Claimed,
        preferences: &HashMap<String, Preferences>,
    ) -> Result<Letter, Ended> {
        let chosen = preferences.get(&delivery.recipient);
        let wants_optional = chosen.is_none_or(|chosen| chosen.optional_mails);
        if model::is_optional(&delivery.template) && !wants_optional {
            return Err(Ended::Skipped);
        }
        let locale = chosen.map_or(templates::LOCALES[0], |chosen| chosen.locale.as_str());
        let rendered = templates::render(&delivery.template, locale, &self.facts(delivery))
            .map_err(|error| Ended::Failed { code: None, reason: error.to_string(), took: Duration::ZERO })?;
        let again = match delivery.redeliveries {
            0 => String::new(),
            n => format!(".{n}"),
        };
        Ok(Letter {
            id: delivery.id,
            message_id: format!("{}{again}", delivery.id),
            to: delivery.recipient.clone(),
            subject: rendered.subject,
            body: rendered.body,
            template: rendered.template,
        })
    }

    /// The event's facts and those that every text may use.
    fn facts(&self, delivery: &Claimed) -> Value {
        let mut facts = delivery.facts.clone();
        let held_until = facts["held_until"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        if let Some(at) = held_until {
            facts["held_until"] = model::said_time(at, self.env.now()).into();
        }
        facts["shop"] = (&*self.shop_name).into();
        facts["shop_link"] = (&*self.shop_url).into();
        if let Some(order_id) = delivery.order_id {
            let mut link = format!("{}/orders/{order_id}", self.shop_url);
            if facts["guest"] == Value::Bool(true) {
                link.push_str("?access_token=");
                link.push_str(self.secrets.order_access_token(order_id).expose());
            }
            facts["order_link"] = link.into();
        }
        facts
    }
}
