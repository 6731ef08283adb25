//! `shopctl verify`: whether the shop keeps its promises, on a running shop or on what it left behind.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use platform::verify::{
    self, Family, INVARIANTS, Invariant, Options, Outcome, Report as Found, Verdict, Verifier, VerifyError,
};
use platform::vocabulary::Env;
use serde_json::json;

use super::duration::Span;
use crate::config::{self, Engine, Overrides, Settings, Target};
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::output::{Body, Format, Paint, Printer, Progress, Report, Table};
use crate::targets::evidence::Evidence;
use crate::targets::kubernetes::evidence::{Asked, gather};
use crate::targets::kubernetes::reach::Reach;

/// The words of `verify`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "A promise is kept (true), broken (false), or nobody knows (unknown): without data nothing is shown as kept.\n\
                  Ends with 0 when all are kept, 16 when one is broken, 17 when one is unknown.\n\
                  `shopctl verify list` says what each one promises.\n\
                  A shop on a cluster (-e) is looked at while it runs: its database and the sandbox's statement through \
                  forwarded ports, the last lines of its pods, the metrics of its services."
)]
pub struct VerifyArgs {
    #[command(subcommand)]
    command: Option<VerifyCommand>,
    /// Only these: V3,V9
    #[arg(long, value_name = "IDS", value_delimiter = ',', value_parser = invariant)]
    only: Vec<&'static Invariant>,
    /// A journal of acknowledged orders; those of the shop's own load runs are always read
    #[arg(long, value_name = "FILE")]
    journal: Vec<PathBuf>,
    /// How long something may look broken on a running shop because it is under way
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    grace: Span,
    /// How long anything that is due may wait
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    within: Span,
    /// Verify again and again until interrupted
    #[arg(short, long)]
    watch: bool,
    /// How long --watch pauses
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    every: Span,
    /// Folder of the shop's data [default: .shopctl/<env> beside shop.toml]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// What keeps the data: sqlite or postgres [default: what the shop of the folder uses]
    #[arg(long, value_enum, hide_possible_values = true)]
    engine: Option<Engine>,
    /// Address of the PostgreSQL database, without a password
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
}

/// The second words of `verify`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum VerifyCommand {
    /// Say what each invariant promises
    List,
}

fn invariant(word: &str) -> Result<&'static Invariant, String> {
    verify::find(word).ok_or_else(|| {
        let last = INVARIANTS.last().map_or("V1", |invariant| invariant.id);
        format!("the invariants are V1 to {last}: `shopctl verify list` has them")
    })
}

impl VerifyArgs {
    /// The words of the command, for the envelope.
    pub(super) fn words(&self) -> &'static str {
        match self.command {
            Some(VerifyCommand::List) => "verify list",
            None => "verify",
        }
    }

    fn overrides(&self) -> Overrides {
        // An address can only be PostgreSQL's.
        let engine = self.engine.or(self.database_url.as_ref().map(|_| Engine::Postgres));
        Overrides {
            data_dir: self.data_dir.clone(),
            engine,
            database_url: self.database_url.clone(),
            ..Overrides::default()
        }
    }
}

pub(super) fn run(args: &VerifyArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    if matches!(args.command, Some(VerifyCommand::List)) {
        context.printer.report(&list())?;
        return Ok(Exit::Ok);
    }
    // The engine reads while orders are told anew.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let subject = Subject::of(args, context).await?;
        if args.watch {
            return watch(args, &subject, context).await;
        }
        let evidence = subject.evidence(&args.journal).await?;
        let found = look(args, &evidence, context).await;
        evidence.close().await;
        let report = report(&found?, context.printer);
        context.printer.report(&report)?;
        Ok(report.exit_code())
    })
}

/// Whose promises are looked at.
pub(super) enum Subject {
    /// A shop of this machine, or its data wherever they are; the switch says that the caller named the database.
    Here(Box<Settings>, bool),
    /// A shop on a cluster.
    OnCluster(Box<Reach>, Asked),
}

impl Subject {
    async fn of(args: &VerifyArgs, context: &Context<'_>) -> anyhow::Result<Self> {
        if context.config()?.target() == Target::Kubernetes {
            return Self::on_cluster(args.data_dir.as_deref(), args.database_url.as_deref(), context).await;
        }
        let names_database = args.engine.is_some() || args.database_url.is_some();
        Ok(Self::Here(Box::new(context.settings(&args.overrides())?), names_database))
    }

    /// The shop of the environment, which lives on a cluster.
    pub(super) async fn on_cluster(
        data_dir: Option<&Path>,
        database_url: Option<&str>,
        context: &Context<'_>,
    ) -> anyhow::Result<Self> {
        let settings = context.config()?.kubernetes(variable)?;
        let asked = Asked {
            database: config::database_url(database_url, None, variable)?,
            insists: database_url.is_some(),
            data_dir: context.data_dir(data_dir)?,
        };
        Ok(Self::OnCluster(Box::new(Reach::of(&settings, &context.env).await?), asked))
    }

    /// What there is of it now. `journals` are added to those of the shop's own runs.
    pub(super) async fn evidence(&self, journals: &[PathBuf]) -> anyhow::Result<Evidence> {
        match self {
            Self::Here(settings, names_database) => Evidence::of(settings, *names_database, journals).await,
            Self::OnCluster(reach, asked) => gather(reach, asked, journals).await,
        }
    }
}

/// Looks until interrupted, also in the middle of a look: nothing is left behind by one.
async fn watch(args: &VerifyArgs, subject: &Subject, context: &Context<'_>) -> anyhow::Result<Exit> {
    let mut interrupted = context.interrupts()?;
    loop {
        let round = async {
            let evidence = subject.evidence(&args.journal).await?;
            let found = look(args, &evidence, context).await;
            evidence.close().await;
            tell_again(&found?, context)?;
            tokio::time::sleep(args.every.duration()).await;
            anyhow::Ok(())
        };
        tokio::select! {
            round = round => round?,
            _ = interrupted.recv() => return Ok(Exit::Interrupted),
        }
    }
}

async fn look(args: &VerifyArgs, evidence: &Evidence, context: &Context<'_>) -> anyhow::Result<Found> {
    let options = Options {
        only: args.only.iter().map(|invariant| invariant.id).collect(),
        grace: args.grace.duration(),
        bounds: platform::verify::Bounds { due: args.within.duration() },
        ..Options::default()
    };
    let progress = std::cell::RefCell::new(Progress::new(context.printer));
    let asked = if options.only.is_empty() { INVARIANTS.len() } else { options.only.len() };
    let done = std::cell::Cell::new(0u64);
    let told = |outcome: &Outcome| {
        done.set(done.get() + 1);
        if context.printer.format() == Format::Ndjson {
            // A script that stopped reading does not stop the look.
            context.printer.event(&json!({"event": "outcome", "outcome": outcome})).ok();
        } else if progress.borrow().is_animated() {
            let line = format!("{} {} · {} of {asked}", outcome.id, outcome.title, done.get());
            progress.borrow_mut().line(&line);
        }
    };
    let found = check(evidence, options, &context.env, told).await;
    progress.borrow_mut().clear();
    found
}

/// Verifies what `evidence` names: the shop as it runs, or as it was left. `told` hears of each invariant as soon as
/// its verdict is known. A whole look is kept in the shop's folder, where the operations page shows it.
///
/// # Errors
/// When there is no data, it does not answer, or it was written by another version.
pub(crate) async fn check(
    evidence: &Evidence,
    options: Options,
    env: &Env,
    told: impl Fn(&Outcome),
) -> anyhow::Result<Found> {
    let options = Options { live: evidence.live, beside: evidence.beside.clone(), ..options };
    let verifier = Verifier::open(&evidence.engine, env).await.map_err(|error| refused(error, evidence))?;
    let found = verifier.run(&options, told).await;
    verifier.close().await;
    let found = found.map_err(|error| refused(error, evidence))?;
    if options.only.is_empty()
        && evidence.data_dir.is_dir()
        && let Err(error) = found.keep(&evidence.data_dir)
    {
        tracing::warn!(%error, "the report could not be kept in the data folder");
    }
    Ok(found)
}

fn refused(error: VerifyError, evidence: &Evidence) -> anyhow::Error {
    // What the data are is not the way's fault.
    if let (VerifyError::Storage(_), Some(failure)) = (&error, evidence.failure()) {
        return failure.into();
    }
    let (exit, code, [here, on_cluster]) = match &error {
        VerifyError::Absent(_) => (
            Exit::Preflight,
            "E-NO-DATA",
            [
                "start a shop with `shopctl up`, or name its folder with --data-dir",
                "the database has no shop's tables: `shopctl deploy` makes them",
            ],
        ),
        VerifyError::Schema(_) => {
            (Exit::Preflight, "E-DATA-VERSION", ["use the shopctl of the version that the shop runs"; 2])
        }
        VerifyError::Storage(_) => (
            Exit::Unreachable,
            "E-DATABASE",
            [
                "`shopctl doctor` looks whether the database answers",
                "`shopctl why postgresql` says how the database's pod is",
            ],
        ),
    };
    let hint = if evidence.is_on_cluster() { on_cluster } else { here };
    Failure::new(exit, code, "could not verify the shop")
        .object(evidence.place())
        .hint(hint)
        .because(error)
        .into()
}

fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::True => Exit::Ok,
        Verdict::Unknown => Exit::Unknown,
        Verdict::False => Exit::Invariant,
    }
}

fn report(found: &Found, printer: &Printer) -> Report {
    let body = match printer.format() {
        Format::Text => {
            let table = table(found).draw(printer.terminal().columns);
            Body::Text(format!("{}{}", painted(&table, printer.paint()), details(found)))
        }
        Format::Md => Body::Text(format!("{}{}", table(found).to_markdown(), details(found))),
        _ => Body::Table(table(found)),
    };
    let data = match printer.format() {
        Format::Ndjson => json!({"event": "verdict", "report": found}),
        _ => serde_json::to_value(found).unwrap_or_default(),
    };
    Report::new(data, body).last_line(last_line(found)).exit(exit(found.verdict))
}

fn last_line(found: &Found) -> String {
    let how = if found.looked.live { "while it runs" } else { "as it was left" };
    let next = match found.verdict {
        _ if found.orders == 0 => ": place one, or run `shopctl walkthrough play first-order`",
        Verdict::True | Verdict::False => "",
        Verdict::Unknown => ": what is unknown is said above",
    };
    format!("{}, {how}, in {:.1} s{next}", found.summary(), seconds(found.took_ms))
}

#[expect(clippy::cast_precision_loss, reason = "a look does not take years")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn table(found: &Found) -> Table {
    let mut table = Table::new(["id", "promise", "kept", "looked at", "broken", "ms"]);
    for outcome in &found.outcomes {
        table.row([
            outcome.id.clone(),
            outcome.title.clone(),
            outcome.verdict.to_string(),
            outcome.examined.to_string(),
            outcome.broken.to_string(),
            outcome.took_ms.to_string(),
        ]);
    }
    table
}

/// The verdicts in their colours; a line has one, and no title contains the words.
fn painted(table: &str, paint: Paint) -> String {
    let line = |line: &str| {
        for (word, painted) in [
            ("false", paint.red("false")),
            ("unknown", paint.yellow("unknown")),
            ("true", paint.green("true")),
        ] {
            let padded = format!(" {word} ");
            if line.contains(&padded) {
                return line.replacen(&padded, &format!(" {painted} "), 1);
            }
        }
        line.to_owned()
    };
    table.lines().map(|each| line(each) + "\n").collect()
}

/// What is broken or unknown, with examples and the command that explains it.
fn details(found: &Found) -> String {
    let mut text = String::new();
    for outcome in found.outcomes.iter().filter(|outcome| outcome.verdict != Verdict::True) {
        let promise = verify::find(&outcome.id).map_or("", |invariant| invariant.promise);
        text.push_str(&format!("\n{} {} is {}: {promise}\n", outcome.id, outcome.title, outcome.verdict));
        for example in &outcome.examples {
            text.push_str(&format!("  {}: {}\n", example.id, example.what));
        }
        let more = outcome.broken.saturating_sub(outcome.examples.len() as u64);
        if more > 0 {
            text.push_str(&format!("  and {more} more\n"));
        }
        if let Some(why) = &outcome.why {
            text.push_str(&format!("  {why}\n"));
        }
        if outcome.verdict == Verdict::False {
            text.push_str(&format!("  explained by: {}\n", outcome.explain));
        }
    }
    text
}

/// A round of `--watch`: a line, and the details of what is broken.
fn tell_again(found: &Found, context: &Context<'_>) -> anyhow::Result<()> {
    let printer = context.printer;
    match printer.format() {
        Format::Ndjson => printer.event(&json!({"event": "verdict", "report": found}))?,
        Format::Json => printer.data(&format!("{}\n", serde_json::to_string(found)?))?,
        _ => {
            let broken = if found.verdict == Verdict::False { details(found) } else { String::new() };
            printer.data(&format!("{} {}{broken}\n", found.at, found.summary()))?;
        }
    }
    Ok(())
}

fn list() -> Report {
    let mut table = Table::new(["id", "family", "promise", "it says"]);
    let mut data = Vec::new();
    for family in Family::ALL {
        for invariant in INVARIANTS.iter().filter(|invariant| invariant.family == family) {
            let Invariant { id, title, promise, .. } = invariant;
            table.row([*id, family.as_str(), *title, *promise]);
            data.push(json!({"id": id, "family": family.as_str(), "title": title, "promise": promise}));
        }
    }
    Report::new(data.into(), Body::Table(table))
        .last_line("`shopctl verify --only V3,V9` looks at some of them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_invariants_are_understood_and_nonsense_is_told_where_to_look() {
        assert_eq!(invariant("v9").map(|invariant| invariant.id), Ok("V9"));
        assert!(invariant("V99").unwrap_err().contains("V1 to V21"));
    }

    #[test]
    fn no_title_is_mistaken_for_a_verdict() {
        for invariant in INVARIANTS {
            let words = format!(" {} ", invariant.title);
            assert!(![" true ", " false ", " unknown "].iter().any(|word| words.contains(word)));
        }
    }
}
