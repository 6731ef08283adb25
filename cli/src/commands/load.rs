//! `shopctl load`: many users at once, and a verdict.

mod on_cluster;
mod reports;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use clap::{Args, Subcommand};
use platform::verify::{Options, Verdict};
use serde_json::json;

use self::on_cluster::OnCluster;
use super::verify::{Subject, check};
use crate::config::{self, Overrides};
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::load::length::Length;
use crate::load::lines;
use crate::load::objective::Objective;
use crate::load::run::{Live, Order, Ran, Verified, Verify, run as make_run};
use crate::load::scenario::{Flags, SCENARIOS, Scenario, find};
use crate::load::snapshot::Snapshot;
use crate::load::target::Target;
use crate::load::view::{self, Levers, State};
use crate::output::{Body, Format, Report, Screen, Table};
use crate::targets::operator;

/// The words of `load`.
#[derive(Debug, Subcommand)]
pub enum LoadCommand {
    /// List the scenarios
    List,
    /// Print the file of a scenario, to copy and change
    Show(ShowArgs),
    /// Put a shop under load, and say what it means
    Run(Box<RunArgs>),
    /// List the runs that were kept
    Runs(reports::RunsArgs),
    /// Write a run as a page, a sheet or a document
    Report(reports::ReportArgs),
}

/// The words of `load show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The scenario
    scenario: String,
}

/// The words of `load run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 pass, 14 an objective was missed, 16 a promise was broken, 17 it cannot be told.\n\
                  Rate limits are for people: start the shop with `shopctl up --limits none`.\n\
                  A shop on a cluster (-e) is loaded through its API server unless --url names another way, so every figure \
                  includes that way; its promises are checked on the cluster, and the chart's value is `limits: none`."
)]
pub struct RunArgs {
    /// The scenario; `shopctl load list` lists them
    #[arg(required_unless_present = "file")]
    scenario: Option<String>,
    /// A scenario file of your own
    #[arg(long, value_name = "FILE", conflicts_with = "scenario")]
    file: Option<PathBuf>,
    /// Address of the shop [default: the one that runs on the data folder]
    #[arg(long)]
    url: Option<String>,
    /// The target is not on this machine, and is yours to load
    #[arg(long)]
    i_own_this_target: bool,
    /// Folder of the shop's data; runs are kept in it
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Journeys a second, whether or not earlier ones were answered
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "users")]
    rate: Option<f64>,
    /// Users, each of whom waits for an answer before the next step
    #[arg(long)]
    users: Option<u32>,
    /// How long; of spike, step and knee how long each plateau holds
    #[arg(long, value_name = "LENGTH")]
    duration: Option<Length>,
    /// Mean time between an answer and the next step
    #[arg(long, value_name = "LENGTH")]
    think: Option<Length>,
    /// What decides journeys and their contents; drawn and told when absent
    #[arg(long)]
    seed: Option<u64>,
    /// What has to be met; replaces the file's about the same: 'checkout.p99<200ms', 'errors<1%'
    #[arg(long, value_name = "OBJECTIVE")]
    objective: Vec<Objective>,
    /// After this long an answer is given up, and counts as having taken this long
    #[arg(long, value_name = "LENGTH")]
    timeout: Option<Length>,
    /// Connections at most; who finds none free waits, and the wait counts
    #[arg(long)]
    connections: Option<u32>,
    /// Units of the flash sale
    #[arg(long)]
    units: Option<u32>,
    /// Threads of the generator [default: one a processor]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
}

impl LoadCommand {
    /// The second word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Show(_) => "show",
            Self::Run(_) => "run",
            Self::Runs(_) => "runs",
            Self::Report(_) => "report",
        }
    }
}

pub(super) fn run(command: LoadCommand, context: &Context<'_>) -> anyhow::Result<Exit> {
    let report = match command {
        LoadCommand::List => list()?,
        LoadCommand::Show(args) => {
            let found = find(&args.scenario)?;
            let data = json!({"name": found.name, "file": found.text});
            Report::new(data, Body::Text(found.text.to_owned()))
        }
        LoadCommand::Run(args) => return load(&args, context),
        LoadCommand::Runs(args) => reports::runs(&args, context)?,
        LoadCommand::Report(args) => return reports::report(&args, context),
    };
    context.printer.report(&report)?;
    Ok(report.exit_code())
}

fn list() -> anyhow::Result<Report> {
    let mut table = Table::new(["scenario", "load", "profile", "what it asks"]);
    let mut data = Vec::new();
    for built_in in SCENARIOS {
        let scenario = Scenario::read(built_in.name, built_in.text)?;
        let load = match scenario.load.users {
            Some(users) => format!("{users} users"),
            None => format!("{}/s", scenario.level()),
        };
        let profile = scenario.profile.kind.word();
        table.row([built_in.name, &load, profile, &scenario.about]);
        data.push(json!({
            "name": built_in.name,
            "about": scenario.about,
            "rate": scenario.load.rate,
            "users": scenario.load.users,
            "profile": profile,
            "planned_s": scenario.planned_seconds(),
            "mix": scenario.mix.named(),
            "objectives": scenario.objectives,
        }));
    }
    Ok(Report::new(data.into(), Body::Table(table))
        .last_line("`shopctl load show NAME` prints one to copy; `load run --file` takes it back"))
}

fn load(args: &RunArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    let printer = context.printer;
    let (name, scenario) = scenario(args)?;
    let data_dir = context.data_dir(args.data_dir.as_deref())?;
    let on_cluster = match context.config()?.target() {
        config::Target::Kubernetes => Some(OnCluster::find(args, &data_dir, context)?),
        config::Target::Embedded => None,
    };
    let (target, operator) = match &on_cluster {
        Some(shop) => (shop.target.clone(), shop.operator.clone()),
        None => {
            let target = Target::find(&data_dir, args.url.as_deref(), args.i_own_this_target)?;
            // A right that is not there is missed by the scenarios that need it, and they say so.
            let operator = match target.data_dir() {
                Some(data_dir) => operator::local(data_dir).ok(),
                None => operator::elsewhere(&target.url, variable).ok(),
            };
            (target, operator)
        }
    };
    printer.say(&format!("{name} on {}", target.url));
    let whose = match (&on_cluster, target.data_dir()) {
        (Some(_), _) => Some(Whose::OnCluster(data_dir.clone())),
        (None, Some(folder)) => Some(Whose::Here(folder.to_owned())),
        (None, None) => None,
    };
    let ask = |journal: &Path, whose: &Whose| verified(journal, whose, context);
    let verify = whose
        .as_ref()
        .map(|whose| -> Box<Verify<'_>> { Box::new(move |journal: &Path| ask(journal, whose)) });
    let say = |line: &str| printer.say(line);
    // A view closes itself at the end of the load; this is for all that may go wrong before.
    let screen = Arc::new(Screen::new(printer.terminal().color_err));
    let _closing = screen.closing();
    let has_view =
        printer.format() == Format::Text && printer.is_talkative() && printer.terminal().has_screen;
    let view = has_view.then(|| -> Box<dyn FnOnce(Live) -> JoinHandle<()>> {
        let state = State::new(&name, &target.url, Levers::of(&scenario));
        let screen = Arc::clone(&screen);
        Box::new(move |live| view::watch(live, state, screen))
    });
    let show = |snapshot: &Snapshot| {
        if !screen.is_open() {
            show(snapshot, context);
        }
    };
    let order = Order {
        scenario,
        name,
        target,
        data_dir,
        operator,
        workers: args.workers.map(usize::from),
        env: &context.env,
        say: &say,
        show: &show,
        view,
        verify,
    };
    let ran = context.runtime()?.block_on(make_run(order))?;
    finish(&ran, context)
}

fn scenario(args: &RunArgs) -> anyhow::Result<(String, Scenario)> {
    let (name, scenario) = match (&args.file, &args.scenario) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::new(Exit::Config, "E-SCENARIO-READ", format!("could not read {}", path.display()))
                    .object(path.display())
                    .hint("`shopctl load show mixed > mine.toml` makes one to start from")
                    .because(error)
            })?;
            let name = path.file_stem().map_or("file".into(), |name| name.to_string_lossy().into_owned());
            (name, Scenario::read(&path.display().to_string(), &text)?)
        }
        (None, name) => {
            let found = find(name.as_deref().unwrap_or_default())?;
            (found.name.to_owned(), Scenario::read(found.name, found.text)?)
        }
    };
    let flags = Flags {
        rate: args.rate,
        users: args.users,
        duration: args.duration,
        seed: args.seed,
        objectives: args.objective.clone(),
        timeout: args.timeout,
        think: args.think,
        units: args.units,
        connections: args.connections,
    };
    let scenario = scenario.under(&flags);
    scenario.check(&name)?;
    Ok((name, scenario))
}

/// A shop that was just under load may be slow to answer: then it is looked at again.
const LOOKS_MAX: usize = 3;
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// Whose promises are asked for after a run.
enum Whose {
    /// Those of the shop that runs on this folder.
    Here(PathBuf),
    /// Those of the environment's shop; its runs are kept in this folder.
    OnCluster(PathBuf),
}

impl Whose {
    async fn subject(&self, context: &Context<'_>) -> anyhow::Result<Subject> {
        match self {
            Self::OnCluster(folder) => Subject::on_cluster(Some(folder), None, context).await,
            Self::Here(folder) => {
                let overrides = Overrides { data_dir: Some(folder.clone()), ..Overrides::default() };
                Ok(Subject::Here(Box::new(context.settings(&overrides)?), false))
            }
        }
    }
}

/// Asks whether the shop kept every promise, those of the journal included.
fn verified(journal: &Path, whose: &Whose, context: &Context<'_>) -> anyhow::Result<Verified> {
    // On a thread of its own: this one is inside the runtime of the load.
    let found = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(async {
                let look = async || {
                    let subject = whose.subject(context).await?;
                    let evidence = subject.evidence(&[journal.to_owned()]).await?;
                    let found = check(&evidence, Options::default(), &context.env, |_| ()).await;
                    evidence.close().await;
                    found
                };
                let mut found = look().await;
                for _ in 1..LOOKS_MAX {
                    if found.is_ok() {
                        break;
                    }
                    tokio::time::sleep(BETWEEN_LOOKS).await;
                    found = look().await;
                }
                found
            })
        });
        looking.join().map_err(|_| anyhow::anyhow!("the check panicked"))?
    })?;
    let told = |verdict| {
        let of = found.outcomes.iter().filter(move |outcome| outcome.verdict == verdict);
        of.map(|outcome| {
            let example = outcome.examples.first().map(|example| format!("{}: {}", example.id, example.what));
            let why = example.or(outcome.why.clone()).unwrap_or_default();
            format!("{} {} ({why})", outcome.id, outcome.title)
        })
        .collect()
    };
    let (broken, unknown) = (told(Verdict::False), told(Verdict::Unknown));
    Ok(Verified { report: serde_json::to_value(&found)?, broken, unknown })
}

/// A line a second for people, an event a second for scripts.
fn show(snapshot: &Snapshot, context: &Context<'_>) {
    let printer = context.printer;
    if printer.format() == Format::Ndjson {
        let mut event = serde_json::to_value(snapshot).unwrap_or_default();
        event["event"] = "second".into();
        // A script that stopped reading does not stop the load.
        printer.event(&event).ok();
    } else {
        printer.say(&lines::second(snapshot));
    }
}

fn finish(ran: &Ran, context: &Context<'_>) -> anyhow::Result<Exit> {
    let printer = context.printer;
    if !ran.record.machine.is_release {
        printer.warn("this shopctl is a debug build: its figures are of no use");
    }
    if let Some(error) = &ran.unsaved {
        let place = ran.folder.path.display();
        printer.warn(&format!("the run could not be kept in {place}, what you see is all there is: {error}"));
    }
    let mut report = lines::report(&ran.record, printer.paint(), printer.terminal().columns)?.exit(ran.exit);
    if printer.format() == Format::Csv || printer.format() == Format::Md {
        report.body = Body::Table(lines::steps(&ran.record));
    }
    if ran.unsaved.is_none() {
        reports::keep_page(ran, context);
        report = report.last_line(format!("kept in {}", ran.folder.path.display()));
    }
    printer.report(&report)?;
    Ok(ran.exit)
}
