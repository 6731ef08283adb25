//! `shopctl claims`: the numbers that the documentation states, and what measures them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::claims::{self, CLAIMS, Claim, Finding, Ledger};
use crate::context::Context;
use crate::failure::{Exit, Failure, nearest};
use crate::output::{Body, Report, Table};

/// The words of `claims`.
#[derive(Debug, Subcommand)]
pub enum ClaimsCommand {
    /// List the claims with their last results
    List(ListArgs),
    /// Measure claims again; all of them without a name
    Check(CheckArgs),
}

/// The words of `claims list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// File of the results
    #[arg(long, value_name = "FILE", default_value = "docs/claims.json")]
    ledger: PathBuf,
}

/// The words of `claims check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The claims
    #[arg(value_name = "CLAIM")]
    ids: Vec<String>,
    /// Write the results into the file
    #[arg(long)]
    record: bool,
    /// File of the results
    #[arg(long, value_name = "FILE", default_value = "docs/claims.json")]
    ledger: PathBuf,
}

impl ClaimsCommand {
    /// The second word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::List(_) => "list",
            Self::Check(_) => "check",
        }
    }
}

pub(super) fn run(command: ClaimsCommand, context: &Context<'_>) -> anyhow::Result<Report> {
    match command {
        ClaimsCommand::List(args) => list(&Ledger::read(&args.ledger)?),
        ClaimsCommand::Check(args) => check(&args, context),
    }
}

fn list(ledger: &Ledger) -> anyhow::Result<Report> {
    let mut table = Table::new(["claim", "bound", "last", "measured", "command"]);
    let mut items = Vec::new();
    for claim in CLAIMS {
        let last = ledger.last(claim.id);
        let bound = format!("{} {}", claim.bound, claim.unit);
        table.row([
            claim.id.to_owned(),
            bound.clone(),
            last.map_or_else(|| "never".to_owned(), |last| format!("{} {}", last.value, last.unit)),
            last.map(|last| last.at.strftime("%Y-%m-%d").to_string()).unwrap_or_default(),
            claim.measure.command(),
        ]);
        items.push(json!({
            "id": claim.id,
            "says": claim.says,
            "stated": claim.stated,
            "bound": bound,
            "command": claim.measure.command(),
            "last": last,
            "kept": last.map(|last| claim.bound.is_kept(last.value)),
        }));
    }
    Ok(Report::new(items.into(), Body::Table(table)).last_line("`shopctl claims check` measures them again"))
}

fn check(args: &CheckArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let claims = named(&args.ids)?;
    let findings =
        claims::check(&claims, |words| context.printer.say(&format!("measuring: shopctl {words}")))?;
    if args.record {
        record(args, &claims, &findings, context)?;
    }
    let mut table = Table::new(["claim", "bound", "value", "verdict"]);
    for (claim, finding) in claims.iter().zip(&findings) {
        let value = finding.value.map(|value| format!("{value} {}", claim.unit));
        let verdict = match finding.is_kept {
            Some(true) => "kept",
            Some(false) => "missed",
            None => "unknown",
        };
        let value = value.or_else(|| finding.why.clone()).unwrap_or_default();
        table.row([claim.id, &format!("{} {}", claim.bound, claim.unit), &value, verdict]);
    }
    let count = |kept: Option<bool>| findings.iter().filter(|finding| finding.is_kept == kept).count();
    let (missed, unknown) = (count(Some(false)), count(None));
    let report = Report::new(serde_json::to_value(&findings).unwrap_or(Value::Null), Body::Table(table));
    Ok(if missed > 0 {
        report.exit(Exit::Threshold).last_line(format!("{missed} of {} claims missed", claims.len()))
    } else if unknown > 0 {
        report
            .exit(Exit::Unknown)
            .last_line(format!("{unknown} of {} claims could not be measured", claims.len()))
    } else {
        report.last_line("every claim holds on this machine")
    })
}

fn named(ids: &[String]) -> Result<Vec<&'static Claim>, Failure> {
    if ids.is_empty() {
        return Ok(CLAIMS.iter().collect());
    }
    let find = |id: &String| {
        CLAIMS.iter().find(|claim| claim.id == id).ok_or_else(|| {
            let hint = match nearest(id, CLAIMS.iter().map(|claim| claim.id)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`shopctl claims list` lists the claims".to_owned(),
            };
            Failure::new(Exit::Usage, "E-CLAIM", format!("there is no claim `{id}`")).hint(hint)
        })
    };
    ids.iter().map(find).collect()
}

fn record(
    args: &CheckArgs,
    claims: &[&Claim],
    findings: &[Finding],
    context: &Context<'_>,
) -> anyhow::Result<()> {
    let mut ledger = Ledger::read(&args.ledger)?;
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let machine = format!("{} {}, {cores} cores", std::env::consts::OS, std::env::consts::ARCH);
    for (claim, finding) in claims.iter().zip(findings) {
        if let Some(value) = finding.value {
            let (unit, at, machine) = (claim.unit.to_owned(), context.env.now(), machine.clone());
            ledger.record(claim.id, claims::Result { value, unit, at, machine });
        }
    }
    ledger.write(&args.ledger)
}
