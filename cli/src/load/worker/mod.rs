//! Workers: one thread each with a runtime that never leaves it, sharing nothing with the others but the control.
//!
//! A worker makes its part of the load, counts in histograms of its own, and hands over what it counted once a second.
//! Arrivals and users are numbered over all workers, so the same seed makes the same journeys with any number of them.

mod closed;
pub(super) mod hands;
pub(super) mod journal;
mod open;
mod sign_ins;
pub(super) mod visitor;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use platform::verify::journal::JournalWriter;
use platform::vocabulary::Env;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::LocalSet;

use super::control::Control;
use super::journeys::Choice;
use super::scenario::{Arrivals, Think};
use super::supplies::Supplies;
use super::tally::Tally;
use hands::{Hands, Setup, Watched};
pub(super) use journal::JournalState;

/// How often a worker looks whether the load is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A load that was stopped waits this long for answers that are under way.
const STOPPED_PATIENCE: Duration = Duration::from_secs(2);

/// What every worker is told.
#[derive(Clone)]
pub(super) struct Brief {
    pub(super) target: SocketAddr,
    pub(super) host: HeaderValue,
    pub(super) sources: Vec<IpAddr>,
    pub(super) supplies: Supplies,
    pub(super) choice: Choice,
    pub(super) think: Think,
    pub(super) timeout: Duration,
    pub(super) declined: f64,
    pub(super) run: String,
    pub(super) seed: u64,
    pub(super) model: Model,
    /// Over all workers.
    pub(super) sign_ins_per_s: f64,
    /// Over all workers.
    pub(super) connections_max: usize,
    pub(super) workers: usize,
    /// The first moment of the load.
    pub(super) origin: Instant,
    pub(super) env: Env,
    pub(super) control: Control,
    pub(super) journal_state: Arc<JournalState>,
}

/// Who decides when the next journey starts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Model {
    /// The clock.
    Open { arrivals: Arrivals, in_flight_max: usize },
    /// This many users.
    Closed { users: u64 },
}

/// What a worker tells.
#[derive(Debug)]
pub(super) enum Told {
    /// What it counted in a second.
    Slice(Box<Slice>),
    /// It has ended.
    Ended(Leavings),
}

/// What a worker did not bring to an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leavings {
    /// Steps that waited for an answer when the load was cut off: they are in no histogram.
    pub(super) unfinished: u64,
    /// Tasks that panicked: users and arrivals that were missing from then on.
    pub(super) panicked: u64,
}

/// What a worker counted in a second.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) second: u64,
    pub(super) tally: Tally,
    pub(super) in_flight: u64,
    pub(super) connections: u64,
    /// The fraction of the second that its thread had a processor.
    pub(super) busy: f64,
}

impl Slice {
    /// Whether nothing was counted in it.
    fn is_empty(&self) -> bool {
        let journeys = &self.tally.journeys;
        self.tally.steps().next().is_none()
            && journeys.asked == 0
            && journeys.completed + journeys.broken_off == 0
    }
}

impl Brief {
    /// Seconds since the load began; negative before.
    fn now(&self) -> f64 {
        let now = Instant::now();
        match now.checked_duration_since(self.origin) {
            Some(since) => since.as_secs_f64(),
            None => -(self.origin - now).as_secs_f64(),
        }
    }

    /// The moment `at` seconds into the load.
    fn moment(&self, at: f64) -> Instant {
        self.origin + Duration::from_secs_f64(at.max(0.0))
    }

    /// The part of `whole` that worker number `worker` has: at least 1.
    fn share(&self, whole: usize, worker: usize) -> usize {
        (whole / self.workers + usize::from(worker < whole % self.workers)).max(1)
    }
}

/// Runs worker number `worker` on a thread of its own until the load is over and its answers are in.
///
/// # Errors
/// When the system gives no thread or no runtime.
pub(super) fn spawn(
    brief: Brief,
    worker: usize,
    journal: Option<JournalWriter>,
    told: UnboundedSender<Told>,
) -> std::io::Result<std::thread::JoinHandle<std::io::Result<()>>> {
    std::thread::Builder::new().name(format!("load-{worker}")).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, run(brief, worker, journal, told));
        Ok(())
    })
}

async fn run(brief: Brief, worker: usize, journal: Option<JournalWriter>, told: UnboundedSender<Told>) {
    let hands = Rc::new(Hands::new(Setup {
        target: brief.target,
        host: brief.host.clone(),
        sources: brief.sources.clone(),
        supplies: brief.supplies.clone(),
        timeout: brief.timeout,
        think: brief.think.clone(),
        declined: brief.declined,
        run: brief.run.clone(),
        origin: brief.origin,
        env: brief.env.clone(),
        connections_max: brief.share(brief.connections_max, worker),
        journal,
        journal_state: Arc::clone(&brief.journal_state),
    }));
    let brief = Rc::new(brief);
    let slices = tokio::task::spawn_local(tell(Rc::clone(&brief), Rc::clone(&hands), told.clone()));
    let arriving = match brief.model {
        Model::Open { arrivals, in_flight_max } => {
            let cap = brief.share(in_flight_max, worker) as u64;
            let arriving = open::arrive(Rc::clone(&brief), Rc::clone(&hands), worker, arrivals, cap);
            Some(tokio::task::spawn_local(arriving))
        }
        Model::Closed { users } => {
            closed::begin(&brief, &hands, worker, users);
            None
        }
    };
    if brief.sign_ins_per_s > 0.0 {
        tokio::task::spawn_local(sign_ins::sign_in(Rc::clone(&brief), Rc::clone(&hands), worker));
    }
    until_over(&brief).await;
    let is_stopped = brief.control.is_stopped();
    hands.is_over.set(is_stopped || arriving.is_none());
    let patience = if is_stopped { STOPPED_PATIENCE.min(brief.timeout) } else { brief.timeout * 2 };
    let deadline = Instant::now() + patience;
    // An arrival that is due may not have been handled yet.
    let is_arriving = || !hands.is_over.get() && arriving.as_ref().is_some_and(|task| !task.is_finished());
    while (is_arriving() || hands.is_anybody_left()) && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
        // Whoever stops a load that is at its end does not want to wait for journeys.
        hands.is_over.set(hands.is_over.get() || brief.control.is_stopped());
    }
    hands.is_over.set(true);
    // Nothing starts any more. What waits ends within its time-out, one for the connection and one for the answer, and
    // is waited for unless somebody is in a hurry.
    let deadline = Instant::now() + brief.timeout * 2;
    while hands.in_step.get() > 0 && Instant::now() < deadline && !brief.control.is_stopped() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    slices.abort();
    let last = cut(&brief, &hands, &mut Busy::new());
    // Nobody listens any more when the run was given up.
    if !last.is_empty() {
        told.send(Told::Slice(Box::new(last))).ok();
    }
    let leavings = Leavings { unfinished: hands.in_step.get(), panicked: hands.panicked.get() };
    told.send(Told::Ended(leavings)).ok();
}

/// Waits until the schedule is through, or somebody stopped the load.
async fn until_over(brief: &Brief) {
    let mut plan = brief.control.plan();
    loop {
        let wait = {
            let plan = plan.borrow_and_update();
            let left = plan.schedule.seconds() - brief.now();
            if plan.is_stopped || (!plan.may_grow && left <= 0.0) {
                return;
            }
            if plan.may_grow { None } else { Some(Duration::from_secs_f64(left)) }
        };
        let news = plan.changed();
        match wait {
            Some(wait) => drop(tokio::time::timeout(wait, news).await),
            None => drop(news.await),
        }
    }
}

/// Hands over what was counted at the end of each second.
async fn tell(brief: Rc<Brief>, hands: Rc<Hands>, told: UnboundedSender<Told>) {
    let _watched = Watched(Rc::clone(&hands));
    let mut busy = Busy::new();
    loop {
        let end = brief.origin + Duration::from_secs(hands.second.get() + 1);
        tokio::time::sleep_until(end.into()).await;
        hands.woke(end);
        if told.send(Told::Slice(Box::new(cut(&brief, &hands, &mut busy)))).is_err() {
            return;
        }
    }
}

/// What was counted since the last cut.
fn cut(brief: &Brief, hands: &Hands, busy: &mut Busy) -> Slice {
    let second = hands.second.get();
    hands.second.set(second + 1);
    Slice {
        second,
        tally: hands.tally.take(),
        in_flight: match brief.model {
            Model::Open { .. } => hands.in_flight.get(),
            Model::Closed { .. } => hands.in_step.get(),
        },
        connections: hands.connections(),
        busy: busy.since_last(),
    }
}

/// How busy this thread is.
struct Busy {
    at: Instant,
    used: Duration,
}

impl Busy {
    fn new() -> Self {
        Self { at: Instant::now(), used: thread_time() }
    }

    /// The fraction of the time since the last question that this thread had a processor.
    fn since_last(&mut self) -> f64 {
        let next = Self::new();
        let used = next.used.saturating_sub(self.used).as_secs_f64();
        let fraction = used / (next.at - self.at).as_secs_f64().max(1e-9);
        *self = next;
        fraction
    }
}

/// The processor time of this thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0));
    seconds + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}
