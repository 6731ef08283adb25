//! A run from its first question to its verdict. Reads as the story of one: find what is needed, prepare, make the
//! load, ask whether the promises were kept, judge, keep the record.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use platform::client::Operator;
use platform::verify::journal::{Head, JournalWriter};
use platform::vocabulary::{Env, Timestamp};
use serde_json::Value;
use tokio::sync::broadcast;
use tokio::sync::mpsc::unbounded_channel;

use super::afterwards;
use super::collector::{Whole, collect};
use super::control::Control;
use super::course::Course;
use super::journeys::{Choice, Journey};
use super::preflight::{self, Granted};
use super::prepare::Preparation;
use super::record::{
    Ended, JournalFacts, MachineFacts, ModelFacts, Outcome, RunRecord, SCHEMA, ScenarioFacts, Second,
};
use super::scenario::{Arrivals, ProfileKind, Scenario};
use super::server_view::ServerView;
use super::snapshot::Snapshot;
use super::store::{JOURNAL, RunFolder};
use super::tally::{Tally, us};
use super::target::Target;
use super::verdict::{Consistency, Effort, Findings};
use super::worker::{self, Brief, JournalState, Leavings, Model};
use crate::failure::Exit;

/// Snapshots that a live view may fall behind before it misses some.
const SNAPSHOTS: usize = 16;
/// From the making of the threads to the first moment of the load.
const LEAD: Duration = Duration::from_millis(100);
/// A worker that had a processor for this fraction of a second had no time left.
const BUSY: f64 = 0.97;

/// Asks whether the promises were kept, given the journal.
pub type Verify<'a> = dyn Fn(&Path) -> anyhow::Result<Verified> + 'a;

/// What is to be run.
pub struct Order<'a> {
    /// The load.
    pub scenario: Scenario,
    /// Its name.
    pub name: String,
    /// Who is asked.
    pub target: Target,
    /// The folder that runs are kept in.
    pub data_dir: PathBuf,
    /// The right to prepare the shop, when there is one.
    pub operator: Option<Operator>,
    /// Threads of the generator; one a processor when absent.
    pub workers: Option<usize>,
    /// Time and chance.
    pub env: &'a Env,
    /// Hears what a person should know.
    pub say: &'a dyn Fn(&str),
    /// Sees each second as it ends, on the thread that collects them: to print a line, not to draw.
    pub show: &'a dyn Fn(&Snapshot),
    /// A view on a thread of its own, which ends with the snapshots.
    pub view: Option<Box<dyn FnOnce(Live) -> JoinHandle<()> + 'a>>,
    /// Asks whether the promises were kept, given the journal.
    pub verify: Option<Box<Verify<'a>>>,
}

/// A run that goes on.
#[derive(Debug)]
pub struct Live {
    /// A snapshot a second. Whoever reads too slowly misses some and holds nobody up; the channel closes at the end.
    pub snapshots: broadcast::Receiver<Snapshot>,
    /// To pause, to add load, to stop.
    pub control: Control,
}

/// What `verify` found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Its report, schema `shopctl/v1/verify`.
    pub report: Value,
    /// Promises that were broken, each in a line.
    pub broken: Vec<String>,
    /// Promises that could not be checked, each in a line.
    pub unknown: Vec<String>,
}

/// A run that is over.
#[derive(Debug)]
pub struct Ran {
    /// What came of it.
    pub record: RunRecord,
    /// Where it is kept.
    pub folder: RunFolder,
    /// Why the record could not be kept, when it could not.
    pub unsaved: Option<std::io::Error>,
    /// How the command ends.
    pub exit: Exit,
}

/// Runs it.
///
/// # Errors
/// When the load could not begin; once it has, what there is is judged and kept.
pub async fn run(order: Order<'_>) -> anyhow::Result<Ran> {
    let Order { scenario, name, mut target, data_dir, operator, env, say, .. } = order;
    let workers = order.workers.unwrap_or_else(cores).max(1);
    let granted = preflight::grant(scenario.connections_max(), &target)?;
    target.until_healthy(&scenario).await?;
    let folder = RunFolder::create(&data_dir, &name, env)?;
    let short: String = folder.id.replace('-', "").chars().rev().take(10).collect();
    let preparation = Preparation {
        scenario: &scenario,
        url: &target.url,
        host: &target.host,
        operator: operator.as_ref(),
        run: &short,
        env,
        say,
    };
    let supplies = match preparation.supplies().await {
        Ok(supplies) => supplies,
        Err(error) => {
            // A run that never began leaves nothing behind.
            std::fs::remove_dir(&folder.path).ok();
            return Err(error);
        }
    };
    let seed = scenario.load.seed.unwrap_or_else(|| u64::from(u32::from_le_bytes(env.bytes())));
    let buys = Journey::ALL.iter().any(|journey| journey.buys() && scenario.mix.has(*journey));
    let journal_state = Arc::new(JournalState::default());
    let journals = if buys { journals(&folder, target.name(), workers, &journal_state) } else { Vec::new() };

    let control = Control::new(scenario.schedule(), scenario.profile.kind == ProfileKind::Knee);
    let brief = Brief {
        target: target.address,
        host: target.host.clone(),
        sources: granted.sources.clone(),
        supplies,
        choice: Choice::new(&scenario.mix.weights()),
        think: scenario.think.clone(),
        timeout: scenario.bounds.timeout.0,
        declined: scenario.checkout.declined,
        run: short,
        seed,
        model: model(&scenario),
        sign_ins_per_s: scenario.signed_in.sign_ins_per_s,
        connections_max: scenario.connections_max(),
        workers,
        origin: Instant::now() + LEAD,
        env: env.clone(),
        control: control.clone(),
        journal_state: Arc::clone(&journal_state),
    };
    let started_at = env.after(LEAD);
    let made = make(&brief, journals, &scenario, &name, &target, (order.show, order.view)).await?;
    let ended_at = env.now();

    let journal = buys.then(|| journal_facts(&folder, made.total.orders, &journal_state));
    let verified = match (&journal, &order.verify) {
        (Some(journal), Some(verify)) if made.total.orders > 0 => {
            say("asking whether every promise was kept");
            Some(verify(&folder.path.join(&journal.file)))
        }
        _ => None,
    };
    let ending = Ending { made, journal, verified, started_at, ended_at, seed, workers, granted };
    let signal = ending.made.signal;
    let record = ending.record(&scenario, name, &target, &folder);
    let unsaved = folder.save(&record).err();
    // A run that was cut short is not the one that was asked for, however good it was until then.
    let was_stopped = record.ended == Ended::Interrupted;
    let exit =
        signal.or(was_stopped.then_some(Exit::Interrupted)).unwrap_or_else(|| record.verdict.word.exit());
    Ok(Ran { record, folder, unsaved, exit })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn model(scenario: &Scenario) -> Model {
    match scenario.load.users {
        Some(users) => Model::Closed { users: users.into() },
        None => Model::Open { arrivals: scenario.load.arrivals, in_flight_max: scenario.in_flight_max() },
    }
}

/// A writer of the journal for each worker; none when it cannot be made, which the run then says.
fn journals(folder: &RunFolder, shop: &str, workers: usize, state: &JournalState) -> Vec<JournalWriter> {
    let made =
        JournalWriter::create(&folder.path.join(JOURNAL), &Head::new(&folder.id, shop)).and_then(|first| {
            let mut all = (1..workers).map(|_| first.another()).collect::<Result<Vec<_>, _>>()?;
            all.push(first);
            Ok(all)
        });
    made.unwrap_or_else(|error| {
        state.failed(&error);
        Vec::new()
    })
}

fn journal_facts(folder: &RunFolder, orders: u64, state: &JournalState) -> JournalFacts {
    debug_assert!(folder.path.is_absolute() || !folder.path.as_os_str().is_empty());
    JournalFacts { file: PathBuf::from(JOURNAL), orders, failed: state.failure() }
}

/// What was measured.
struct Made {
    total: Tally,
    seconds: Vec<Second>,
    course: Course,
    control: Control,
    /// Seconds of load that there were.
    lasted_s: f64,
    busy_seconds: usize,
    signal: Option<Exit>,
    /// Why what was counted is not all that there was, each in a line.
    incomplete: Vec<String>,
}

/// Who sees the run while it goes on.
type Views<'a> = (&'a dyn Fn(&Snapshot), Option<Box<dyn FnOnce(Live) -> JoinHandle<()> + 'a>>);

/// Lets the workers make the load, shows it, and hears signals.
async fn make(
    brief: &Brief,
    mut journals: Vec<JournalWriter>,
    scenario: &Scenario,
    name: &str,
    target: &Target,
    (show, view): Views<'_>,
) -> anyhow::Result<Made> {
    let control = &brief.control;
    let course = Course::new(scenario, control);
    let (teller, mut told) = unbounded_channel();
    let threads: Vec<_> = (0..brief.workers)
        .map(|worker| worker::spawn(brief.clone(), worker, journals.pop(), teller.clone()))
        .collect::<Result<_, _>>()
        .context("could not start the generator's threads")?;
    drop(teller);
    let mut signals = Signals::new()?;
    let (snapshots, receiver) = broadcast::channel(SNAPSHOTS);
    let view = view.map(|view| view(Live { snapshots: receiver, control: control.clone() }));
    let server = ServerView::default();
    let mut made = Made {
        total: Tally::default(),
        seconds: Vec::new(),
        course,
        control: control.clone(),
        lasted_s: 0.0,
        busy_seconds: 0,
        signal: None,
        incomplete: Vec::new(),
    };
    let mut signal = None;
    let leavings = {
        let on_second = |whole: Whole| {
            let mut second = whole.to_record();
            second.server = server.newest();
            made.total.merge(&whole.tally);
            made.busy_seconds += usize::from(whole.busy > BUSY);
            made.course.second(&second, &whole.tally, control);
            let course = &made.course;
            let of = (scenario, name, target.url.as_str());
            let snapshot = Snapshot::new(of, control, &second, &made.total, course);
            made.seconds.push(second);
            show(&snapshot);
            // Nobody may be watching.
            snapshots.send(snapshot).ok();
        };
        let collecting = collect(&mut told, brief.workers, on_second);
        tokio::pin!(collecting);
        let watching = server.clone().watch(target.url.clone(), target.pid());
        tokio::pin!(watching);
        loop {
            tokio::select! {
                leavings = &mut collecting => break Some(leavings),
                () = &mut watching => {}
                came = signals.next() => {
                    // The first is heeded with grace; whoever repeats it does not want to wait.
                    if signal.replace(came).is_some() {
                        break None;
                    }
                    control.stop();
                }
            }
        }
    };
    drop(snapshots);
    // A view that broke is no reason to lose the run.
    view.map(JoinHandle::join);
    made.incomplete = match leavings {
        Some(leavings) => incomplete(leavings, threads),
        // Threads that still wait for answers are not waited for.
        None => vec!["the run was given up before its answers were in".to_owned()],
    };
    made.signal = signal;
    // A load that was stopped ended then; what came after was waiting for answers.
    let end = control.stopped_at().unwrap_or_else(Instant::now);
    let since = end.saturating_duration_since(brief.origin).as_secs_f64();
    made.lasted_s = control.plan().borrow().schedule.seconds().min(since);
    Ok(made)
}

/// Why what was counted is not all that there was, each in a line. Waits for `threads`, which have told all they have.
fn incomplete(leavings: Leavings, threads: Vec<JoinHandle<std::io::Result<()>>>) -> Vec<String> {
    let mut why = Vec::new();
    for thread in threads {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                why.push(format!("a thread of the generator could not start its runtime: {error}"));
            }
            Err(_) => {
                why.push("a thread of the generator panicked: its part of the load is missing".to_owned())
            }
        }
    }
    if leavings.panicked > 0 {
        why.push(format!("{} tasks of the generator panicked: their load is missing", leavings.panicked));
    }
    if leavings.unfinished > 0 {
        why.push(format!("{} steps had no answer yet when the load was cut off", leavings.unfinished));
    }
    why
}

/// SIGINT and SIGTERM, each with the exit that it means.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let heard = |kind| signal(kind).context("could not listen for signals");
        Ok(Self { interrupt: heard(SignalKind::interrupt())?, terminate: heard(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}

/// Everything that is known when a run is judged.
struct Ending {
    made: Made,
    journal: Option<JournalFacts>,
    verified: Option<anyhow::Result<Verified>>,
    started_at: Timestamp,
    ended_at: Timestamp,
    seed: u64,
    workers: usize,
    granted: Granted,
}

impl Ending {
    fn record(self, scenario: &Scenario, name: String, target: &Target, folder: &RunFolder) -> RunRecord {
        let findings = self.findings(scenario);
        let mut verdict = findings.verdict();
        let total = &self.made.total;
        let steps = total.step_records();
        let ran_out = steps
            .iter()
            .flat_map(|step| &step.examples)
            .any(|example| super::verdict::is_out_of_stock(&example.said));
        if ran_out {
            verdict
                .hints
                .push("the shop ran out of stock: let an operator receive some, or ask for less".to_owned());
        }
        let schedule = self.made.control.plan().borrow().schedule.clone();
        let kind = scenario.profile.kind;
        let recovery =
            (kind == ProfileKind::Spike).then(|| afterwards::recovery(&schedule, &self.made.seconds));
        let drift = (kind == ProfileKind::Soak).then(|| afterwards::drift(&schedule, &self.made.seconds));
        let ended = if self.made.control.is_stopped() { Ended::Interrupted } else { Ended::Completed };
        let journeys = total.journeys.over(self.made.lasted_s);
        let (outcomes, lateness) = (total.outcomes(), total.lateness.clone());
        let (plateaus, knee_per_s) = self.made.course.end();
        RunRecord {
            schema: SCHEMA.to_owned(),
            id: folder.id.clone(),
            scenario: scenario_facts(scenario, name),
            target: target.facts(),
            machine: machine_facts(self.workers, &self.granted),
            seed: self.seed,
            started_at: self.started_at,
            ended_at: self.ended_at,
            planned_s: schedule.seconds(),
            lasted_s: self.made.lasted_s,
            ended,
            journeys,
            steps,
            outcomes,
            lateness,
            seconds: self.made.seconds,
            plateaus,
            knee_per_s,
            recovery: recovery.flatten(),
            drift: drift.flatten(),
            was_changed: self.made.control.was_changed(),
            objectives: findings.objectives,
            journal: self.journal,
            verify: self.verified.and_then(Result::ok).map(|verified| verified.report),
            verdict,
        }
    }

    fn findings(&self, scenario: &Scenario) -> Findings {
        let total = &self.made.total;
        let (steps, _) = total.count(|_| true);
        let is_search = scenario.profile.kind == ProfileKind::Knee;
        Findings {
            objectives: self.made.course.judge_all(total),
            incomplete: self.made.incomplete.clone(),
            is_asked_nothing: scenario.objectives.is_empty(),
            steps,
            rate_limited: total.count_of(|_| true, &[Outcome::RateLimited]),
            saturated: if is_search { None } else { self.effort(scenario).saturated() },
            search: self.made.course.searched(),
            consistency: self.consistency(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    fn effort(&self, scenario: &Scenario) -> Effort {
        let total = &self.made.total;
        let control = &self.made.control;
        let planned = control.plan().borrow().schedule.total_until(self.made.lasted_s);
        let is_as_planned = scenario.load.rate.is_some() && !control.was_changed();
        Effort {
            lateness_p99_us: us(total.lateness.quantile(0.99)),
            lateness_max_us: us(scenario.bounds.lateness.0),
            busy_seconds: self.made.busy_seconds,
            seconds: self.made.seconds.len(),
            // A load that somebody paused or multiplied by hand has no plan to be held against.
            asked: if is_as_planned { [planned, total.journeys.asked as f64] } else { [0.0, 0.0] },
            has_dropped: total.journeys.dropped > 0,
        }
    }

    fn consistency(&self) -> Consistency {
        if self.made.total.orders == 0 && self.journal.as_ref().is_none_or(|journal| journal.failed.is_none())
        {
            return Consistency::NothingPlaced;
        }
        let journal_failed = self.journal.as_ref().and_then(|journal| journal.failed.as_ref());
        match (&self.verified, journal_failed) {
            (Some(Ok(verified)), _) if !verified.broken.is_empty() => {
                Consistency::Broken(verified.broken.clone())
            }
            (_, Some(why)) => Consistency::Unknown(format!(
                "the journal of acknowledged orders could not be written: {why}"
            )),
            (Some(Ok(verified)), None) => match verified.unknown.first() {
                Some(first) => Consistency::Unknown(format!("not every promise could be checked: {first}")),
                None => Consistency::Kept,
            },
            (Some(Err(error)), None) => Consistency::Unknown(format!(
                "whether every promise was kept could not be found out: {error:#}"
            )),
            (None, None) => Consistency::Unknown(
                "whether every promise was kept was not checked: that needs the shop's data".to_owned(),
            ),
        }
    }
}

fn scenario_facts(scenario: &Scenario, name: String) -> ScenarioFacts {
    let model = match scenario.load.users {
        Some(users) => ModelFacts::Closed { users: users.into(), think_us: us(scenario.think.mean.0) },
        None => ModelFacts::Open {
            journeys_per_s: scenario.level(),
            arrivals: match scenario.load.arrivals {
                Arrivals::Poisson => "poisson".to_owned(),
                Arrivals::Uniform => "uniform".to_owned(),
            },
            max_in_flight: scenario.in_flight_max() as u64,
            max_connections: scenario.connections_max() as u64,
        },
    };
    ScenarioFacts {
        name,
        about: scenario.about.clone(),
        model,
        profile: scenario.profile.kind.word().to_owned(),
        mix: scenario.mix.named(),
        timeout_us: us(scenario.bounds.timeout.0),
        file: scenario.to_text(),
    }
}

fn machine_facts(workers: usize, granted: &Granted) -> MachineFacts {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let memory = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:").map(str::to_owned))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    });
    MachineFacts {
        cores: cores(),
        memory_mib: memory.map(|kib| kib / 1024),
        kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
        shopctl: env!("CARGO_PKG_VERSION").to_owned(),
        is_release: !cfg!(debug_assertions),
        workers,
        descriptors: granted.descriptors,
        source_addresses: granted.sources.len().max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panicked_and_steps_without_an_answer_are_told() {
        let sound = || std::thread::spawn(|| Ok(()));
        assert_eq!(incomplete(Leavings::default(), vec![sound()]), Vec::<String>::new());
        let panics = std::thread::spawn(|| panic!("a worker that is gone"));
        let why = incomplete(Leavings { unfinished: 3, panicked: 0 }, vec![sound(), panics]);
        assert_eq!(why.len(), 2, "{why:?}");
        assert!(why[0].contains("panicked") && why[1].starts_with("3 steps had no answer"), "{why:?}");
    }
}
