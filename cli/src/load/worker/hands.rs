//! What all visitors of one worker share: connections, counts, the journal. One thread, so no locks.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use platform::verify::journal::JournalWriter;
use platform::vocabulary::Env;
use tokio::sync::Semaphore;

use super::super::chance::Chance;
use super::super::line::{Line, Lost, Room};
use super::super::record::Example;
use super::super::scenario::{Think, ThinkKind};
use super::super::step::Step;
use super::super::supplies::Supplies;
use super::super::tally::{End, Tally};
use super::JournalState;

/// What all visitors of one worker share.
pub(in super::super) struct Hands {
    pub(in super::super) target: SocketAddr,
    pub(in super::super) host: HeaderValue,
    /// Addresses that connections come from, in turn; empty leaves it to the system.
    pub(in super::super) sources: Vec<IpAddr>,
    room: Room,
    pub(in super::super) supplies: Supplies,
    pub(in super::super) timeout: Duration,
    pub(in super::super) think: Think,
    /// The fraction of cards that are declined.
    pub(in super::super) declined: f64,
    /// Names the run in idempotency keys and e-mail addresses.
    pub(in super::super) run: String,
    /// The first moment of the load.
    pub(in super::super) origin: Instant,
    pub(in super::super) env: Env,
    pub(in super::super) tally: RefCell<Tally>,
    /// The right to use a connection.
    pub(in super::super) permits: Arc<Semaphore>,
    idle: RefCell<Vec<Held>>,
    open: Rc<Cell<u64>>,
    opened: Cell<usize>,
    pub(in super::super) in_flight: Cell<u64>,
    /// Steps that wait for an answer.
    pub(in super::super) in_step: Cell<u64>,
    /// The second that is being counted.
    pub(super) second: Cell<u64>,
    /// Nothing more is to be started.
    pub(in super::super) is_over: Cell<bool>,
    /// Tasks that panicked.
    pub(super) panicked: Cell<u64>,
    /// The newest token of each account.
    bearers: RefCell<Vec<HeaderValue>>,
    journal: RefCell<Option<JournalWriter>>,
    journal_state: Arc<JournalState>,
}

/// A connection that is counted while it is open.
pub(in super::super) struct Held {
    pub(in super::super) line: Line,
    /// Whether nothing was sent on it yet.
    pub(in super::super) is_new: bool,
    open: Rc<Cell<u64>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.open.set(self.open.get().saturating_sub(1));
    }
}

/// Notices that the task which holds it panics: nobody waits for the tasks of a worker, and what they would have
/// done would be missing unseen.
pub(super) struct Watched(pub(super) Rc<Hands>);

impl Drop for Watched {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panicked.set(self.0.panicked.get() + 1);
        }
    }
}

/// What hands are made of.
pub(super) struct Setup {
    pub(super) target: SocketAddr,
    pub(super) host: HeaderValue,
    pub(super) sources: Vec<IpAddr>,
    pub(super) supplies: Supplies,
    pub(super) timeout: Duration,
    pub(super) think: Think,
    pub(super) declined: f64,
    pub(super) run: String,
    pub(super) origin: Instant,
    pub(super) env: Env,
    pub(super) connections_max: usize,
    pub(super) journal: Option<JournalWriter>,
    pub(super) journal_state: Arc<JournalState>,
}

impl Hands {
    pub(super) fn new(setup: Setup) -> Self {
        let bearers = setup.supplies.accounts.iter().map(|account| account.bearer.clone()).collect();
        Self {
            target: setup.target,
            host: setup.host,
            sources: setup.sources,
            room: Room::default(),
            supplies: setup.supplies,
            timeout: setup.timeout,
            think: setup.think,
            declined: setup.declined,
            run: setup.run,
            origin: setup.origin,
            env: setup.env,
            tally: RefCell::default(),
            permits: Arc::new(Semaphore::new(setup.connections_max)),
            idle: RefCell::default(),
            open: Rc::default(),
            opened: Cell::new(0),
            in_flight: Cell::new(0),
            in_step: Cell::new(0),
            second: Cell::new(0),
            is_over: Cell::new(false),
            panicked: Cell::new(0),
            bearers: RefCell::new(bearers),
            journal: RefCell::new(setup.journal),
            journal_state: setup.journal_state,
        }
    }

    /// An idle connection, or a new one. The one that was used last comes first: it is the likeliest to live.
    pub(in super::super) async fn connection(&self, deadline: Instant) -> Result<Held, Lost> {
        let idle = self.idle.borrow_mut().pop();
        match idle {
            Some(held) => Ok(held),
            // On the heap: it is rare, and every user would carry the room for it.
            None => Box::pin(self.connect(deadline)).await,
        }
    }

    /// A new connection.
    pub(in super::super) async fn connect(&self, deadline: Instant) -> Result<Held, Lost> {
        let number = self.opened.get();
        self.opened.set(number.wrapping_add(1));
        let source = (!self.sources.is_empty()).then(|| self.sources[number % self.sources.len()]);
        let line = Line::open(self.target, source, self.room.clone(), deadline).await?;
        self.open.set(self.open.get() + 1);
        Ok(Held { line, is_new: true, open: Rc::clone(&self.open) })
    }

    /// Puts a connection by for the next who needs one.
    pub(in super::super) fn give_back(&self, held: Held) {
        if held.line.is_usable() {
            self.idle.borrow_mut().push(held);
        }
    }

    /// Closes all idle connections: one that was found closed was the youngest of them.
    pub(in super::super) fn forget_idle(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Whether anybody is still on the way. Without a time to think journeys are let come to their end; otherwise only
    /// the answers that are owed are waited for.
    pub(super) fn is_anybody_left(&self) -> bool {
        self.in_step.get() > 0 || (self.in_flight.get() > 0 && self.think.mean.0.is_zero())
    }

    /// Connections that are open.
    pub(in super::super) fn connections(&self) -> u64 {
        self.open.get()
    }

    /// What the account at `at` proves itself with.
    pub(in super::super) fn bearer(&self, at: usize) -> HeaderValue {
        self.bearers.borrow()[at].clone()
    }

    /// The account at `at` has signed in again.
    pub(super) fn renew(&self, at: usize, bearer: HeaderValue) {
        self.bearers.borrow_mut()[at] = bearer;
    }

    /// Counts the end of a step.
    pub(in super::super) fn count(&self, end: End) {
        self.tally.borrow_mut().end(end);
    }

    /// Keeps what came back instead of a good answer.
    pub(in super::super) fn example(&self, step: Step, example: impl FnOnce() -> Example) {
        self.tally.borrow_mut().example(step, example);
    }

    /// Counts the end of a journey. One that was cut short by the end of the load neither came to its end nor broke off.
    pub(super) fn ended(&self, is_complete: bool) {
        let journeys = &mut self.tally.borrow_mut().journeys;
        if is_complete {
            journeys.completed += 1;
        } else if !self.is_over.get() {
            journeys.broken_off += 1;
        }
    }

    /// Counts somebody who meant to buy with an account and found none free.
    pub(super) fn went_without_account(&self) {
        self.tally.borrow_mut().journeys.without_account += 1;
    }

    /// Notes how late the generator was for something that was meant for `intended`.
    pub(in super::super) fn woke(&self, intended: Instant) {
        self.tally.borrow_mut().lateness.record(intended.elapsed());
    }

    /// The time that somebody thinks.
    pub(in super::super) fn think_time(&self, chance: &mut Chance) -> Duration {
        let mean = self.think.mean.0;
        match self.think.kind {
            _ if mean.is_zero() => Duration::ZERO,
            ThinkKind::Exponential => chance.exponential_time(mean),
            ThinkKind::Uniform => chance.uniform_time(mean),
            ThinkKind::Constant => mean,
        }
    }

    /// What is left of the thought that somebody is in the middle of.
    pub(super) fn rest_of_a_thought(&self, chance: &mut Chance) -> Duration {
        match self.think.kind {
            // What is left of a random wait is as long as a whole one.
            ThinkKind::Exponential => self.think_time(chance),
            ThinkKind::Uniform | ThinkKind::Constant => self.think.mean.0.mul_f64(chance.fraction()),
        }
    }

    /// Writes an acknowledged order down, before it is counted. A journal that cannot be written is given up, and the
    /// run says so: what it cannot show it does not claim.
    pub(in super::super) fn write_down(&self, order_id: &str, scope: &str, key: &str, status: u16) {
        let mut journal = self.journal.borrow_mut();
        let Some(writer) = journal.as_mut() else { return };
        match super::journal::append(writer, order_id, scope, key, status, self.env.now()) {
            Ok(()) => self.tally.borrow_mut().orders += 1,
            Err(error) => {
                self.journal_state.failed(&error);
                *journal = None;
            }
        }
    }
}
