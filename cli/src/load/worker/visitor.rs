//! Somebody on a journey: thinks, sends a step, waits for the answer, and has it counted.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use hyper::{Method, Uri};

use super::super::accounts::Lent;
use super::super::answer::Answer;
use super::super::ask::Ask;
use super::super::chance::Chance;
use super::super::line::Lost;
use super::super::record::{Example, Outcome};
use super::super::step::Step;
use super::super::tally::End;
use super::hands::{Hands, Held};

/// Connections that a request is sent on before it is lost: after one that had been closed unnoticed they are new ones.
const STALE_MAX: usize = 3;
/// The most of an answer that is kept as an example.
const EXAMPLE_LETTERS: usize = 200;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The journey cannot go on: what follows would need what did not come.
#[derive(Debug)]
pub(in super::super) struct BrokenOff;

/// How a journey ended.
pub(in super::super) type Journeyed = Result<(), BrokenOff>;

/// Somebody on a journey.
pub(in super::super) struct Visitor {
    pub(in super::super) hands: Rc<Hands>,
    pub(in super::super) chance: Chance,
    /// Names the journey within the run.
    pub(in super::super) journey: u64,
    /// The account that is used, once it is known.
    account: Option<usize>,
    /// That account, while nobody else may use it.
    lent: Option<Lent>,
    /// When the next step is meant to start.
    intended: Instant,
    /// The connection, when it is kept between steps.
    held: Option<Held>,
    keeps_connection: bool,
    /// When the last answer ended; before the first, long ago.
    last_ended: Instant,
    /// Whether the next step comes without a thought: the first of an arrival.
    is_at_once: bool,
}

/// What came of a request, before it is counted.
pub(in super::super) struct Came {
    step: Step,
    answer: Result<Answer, Lost>,
    intended: Instant,
    /// Absent when it was never sent.
    sent: Option<Instant>,
    ended: Instant,
}

impl Came {
    /// The status, when there was an answer.
    pub(in super::super) fn status(&self) -> Option<u16> {
        self.answer.as_ref().ok().map(|answer| answer.status)
    }

    /// The body; empty when there was none.
    pub(in super::super) fn body(&self) -> &[u8] {
        self.answer.as_ref().map_or(&[], |answer| &answer.body)
    }
}

impl Visitor {
    /// Somebody who is meant to set out at `intended`, and keeps the connection between steps or not.
    pub(in super::super) fn new(
        hands: Rc<Hands>,
        chance: Chance,
        intended: Instant,
        keeps_connection: bool,
    ) -> Self {
        let hands_origin = hands.origin;
        Self {
            hands,
            chance,
            journey: 0,
            account: None,
            lent: None,
            intended,
            held: None,
            keeps_connection,
            last_ended: hands_origin,
            is_at_once: true,
        }
    }

    /// Sets out anew: the next step is meant for the moment that the time to think after the last one ends at.
    pub(in super::super) fn set_out(&mut self, journey: u64) {
        self.journey = journey;
        self.account = None;
        self.lent = None;
    }

    /// Whether an account is used.
    pub(in super::super) fn is_signed_in(&self) -> bool {
        self.account.is_some()
    }

    /// Comes back as somebody with an account, to look only: others may use it too.
    pub(in super::super) fn come_back(&mut self) -> Result<(), BrokenOff> {
        let accounts = self.hands.supplies.accounts.len();
        if accounts == 0 {
            return Err(BrokenOff);
        }
        self.account = Some(self.chance.place(accounts));
        Ok(())
    }

    /// Takes the account, or another one, for this journey alone, as buying needs it. False when others have them all.
    pub(in super::super) fn take_account(&mut self) -> bool {
        let Some(lent) = self.account.and_then(|at| self.hands.supplies.accounts.lend(at)) else {
            self.hands.went_without_account();
            return false;
        };
        self.account = Some(lent.at());
        self.lent = Some(lent);
        true
    }

    /// Whether nothing more is to be started.
    pub(in super::super) fn is_over(&self) -> bool {
        self.hands.is_over.get()
    }

    /// Waits at least so long before the next step, whatever the time to think says.
    pub(in super::super) fn back_off(&mut self, at_least: Duration) {
        self.intended = self.intended.max(Instant::now() + at_least);
    }

    /// A page.
    pub(in super::super) async fn look(&mut self, step: Step, page: &Ask) -> Result<Bytes, BrokenOff> {
        self.take(step, page, false).await
    }

    /// A page as the account sees it, or as a guest does.
    pub(in super::super) async fn look_signed_in(
        &mut self,
        step: Step,
        uri: &Uri,
    ) -> Result<Bytes, BrokenOff> {
        let ask = self.ask(&Method::GET, uri, None, None);
        self.take(step, &ask, false).await
    }

    /// A deed, whose answer is kept.
    pub(in super::super) async fn act(
        &mut self,
        step: Step,
        method: Method,
        uri: Uri,
        body: Bytes,
    ) -> Result<Bytes, BrokenOff> {
        let ask = self.ask(&method, &uri, None, Some(&body));
        self.take(step, &ask, true).await
    }

    /// Places an order under `key`; it is for the caller to [`Visitor::count`] what came.
    pub(in super::super) async fn place(
        &mut self,
        uri: Uri,
        key: &str,
        body: Bytes,
    ) -> Result<Came, BrokenOff> {
        let key = HeaderValue::from_str(key).map_err(|_| BrokenOff)?;
        let ask = self.ask(&Method::POST, &uri, Some(key), Some(&body));
        self.send(Step::Checkout, &ask, true).await
    }

    /// A step from the thought before it to its count. The body is empty unless it was wanted.
    async fn take(&mut self, step: Step, ask: &Ask, wants_body: bool) -> Result<Bytes, BrokenOff> {
        let came = self.send(step, ask, wants_body).await?;
        let outcome = match &came.answer {
            Ok(answer) => step.outcome(answer.status),
            Err(lost) => outcome_of(lost, came.sent.is_some()),
        };
        self.count(came, outcome)
    }

    /// Counts what came as `outcome`. The journey goes on when it was good.
    pub(in super::super) fn count(&mut self, came: Came, outcome: Outcome) -> Result<Bytes, BrokenOff> {
        let hands = &self.hands;
        let service = came.sent.map(|sent| came.ended - sent);
        let lag = came.sent.unwrap_or(came.ended).saturating_duration_since(came.intended);
        let response = match outcome {
            // What was never sent counts as what was never answered.
            Outcome::Dropped => hands.timeout,
            Outcome::Timeout => came.ended.saturating_duration_since(came.intended).max(hands.timeout),
            _ => came.ended.saturating_duration_since(came.intended),
        };
        hands.count(End { step: came.step, outcome, service, response, lag });
        if outcome.is_error() {
            hands.example(came.step, || example(hands, &came, outcome));
        }
        // The next step is meant for when this one would have ended, had it been sent when it was meant to be: what
        // the generator lost stays lost and shows, instead of making the load smaller unseen.
        self.last_ended = came.ended;
        self.intended = came.ended - lag.min(self.hands.think.mean.0);
        match came.answer {
            Ok(answer) if !outcome.is_error() => Ok(answer.body),
            _ => Err(BrokenOff),
        }
    }

    /// The account's own scope of idempotency keys.
    pub(in super::super) fn scope(&self) -> Option<&str> {
        self.account.map(|at| self.hands.supplies.accounts[at].scope.as_str())
    }

    /// A request as the account makes it, or a guest.
    fn ask(&self, method: &Method, uri: &Uri, key: Option<HeaderValue>, body: Option<&[u8]>) -> Ask {
        let bearer = self.account.map(|at| (AUTHORIZATION, self.hands.bearer(at)));
        let headers: Vec<_> = bearer.into_iter().chain(key.map(|key| (IDEMPOTENCY_KEY, key))).collect();
        Ask::new(&self.hands.host, method, uri, &headers, body)
    }

    async fn send(&mut self, step: Step, ask: &Ask, wants_body: bool) -> Result<Came, BrokenOff> {
        self.think().await?;
        let hands = Rc::clone(&self.hands);
        hands.in_step.set(hands.in_step.get() + 1);
        let came = self.exchange(step, ask, wants_body).await;
        hands.in_step.set(hands.in_step.get() - 1);
        Ok(came)
    }

    /// Waits until the next step is meant to start.
    async fn think(&mut self) -> Result<(), BrokenOff> {
        if !std::mem::take(&mut self.is_at_once) {
            self.intended += self.hands.think_time(&mut self.chance);
        }
        // What was meant for the end of the last answer needs no look at the clock.
        if self.intended > self.last_ended && self.intended > Instant::now() {
            tokio::time::sleep_until(self.intended.into()).await;
            self.hands.woke(self.intended);
        }
        if self.is_over() { Err(BrokenOff) } else { Ok(()) }
    }

    async fn exchange(&mut self, step: Step, ask: &Ask, wants_body: bool) -> Came {
        let hands = Rc::clone(&self.hands);
        let (intended, mut sent) = (self.intended, None);
        let came = |answer, sent| Came { step, answer, intended, sent, ended: Instant::now() };
        // A user who keeps the connection has the right to it for good.
        let permit = if self.keeps_connection {
            None
        } else {
            match hands.permits.try_acquire() {
                Ok(permit) => Some(permit),
                Err(_) => {
                    let patience = tokio::time::Instant::from_std(intended + hands.timeout);
                    match tokio::time::timeout_at(patience, hands.permits.acquire()).await {
                        Ok(Ok(permit)) => Some(permit),
                        _ => return came(Err(Lost::Timeout), None),
                    }
                }
            }
        };
        let mut answer = Err(Lost::Broken("the other side closes every connection at once".into()));
        let mut now = Instant::now();
        for _ in 0..STALE_MAX {
            let mut held = match self.held.take() {
                Some(held) => held,
                None => match hands.connection(now + hands.timeout).await {
                    Ok(held) => {
                        // A connection that had to be made first took its time.
                        now = if held.is_new { Instant::now() } else { now };
                        held
                    }
                    Err(lost) => {
                        // Nobody took the connection: the attempt is what was sent.
                        sent.get_or_insert(now);
                        answer = Err(lost);
                        break;
                    }
                },
            };
            held.is_new = false;
            sent = Some(now);
            answer = held.line.exchange(ask, wants_body, now + hands.timeout).await;
            match answer {
                Err(Lost::Stale) => {
                    answer = Err(Lost::Broken("the other side closes every connection at once".into()));
                    hands.forget_idle();
                    now = Instant::now();
                    continue;
                }
                Ok(_) if self.keeps_connection => self.held = Some(held),
                Ok(_) => hands.give_back(held),
                Err(_) => {}
            }
            break;
        }
        drop(permit);
        came(answer, sent)
    }
}

fn outcome_of(lost: &Lost, was_sent: bool) -> Outcome {
    match lost {
        _ if !was_sent => Outcome::Dropped,
        Lost::Refused(_) => Outcome::Refused,
        Lost::Broken(_) | Lost::Stale => Outcome::Broken,
        Lost::Timeout => Outcome::Timeout,
    }
}

impl Came {
    /// How it counts when the step's own rules decide.
    pub(in super::super) fn outcome(&self) -> Outcome {
        match &self.answer {
            Ok(answer) => self.step.outcome(answer.status),
            Err(lost) => outcome_of(lost, self.sent.is_some()),
        }
    }
}

fn example(hands: &Hands, came: &Came, outcome: Outcome) -> Example {
    let said = match &came.answer {
        Ok(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
        Err(Lost::Refused(error)) => error.to_string(),
        Err(Lost::Broken(why)) => why.clone().into_owned(),
        Err(Lost::Timeout) if came.sent.is_none() => "no connection was free within the time-out".to_owned(),
        Err(Lost::Timeout) => format!("no whole answer within {} ms", hands.timeout.as_millis()),
        Err(Lost::Stale) => "the connection had been closed".to_owned(),
    };
    Example {
        at_s: came.ended.saturating_duration_since(hands.origin).as_secs_f64(),
        outcome,
        status: came.status(),
        said: said.chars().take(EXAMPLE_LETTERS).collect(),
    }
}
