//! `shopctl breaker`: the circuit breakers between the shop and its payment provider.

use clap::{Args, Subcommand};
use platform::client::payment::BreakerView;
use platform::vocabulary::{Role, Timestamp};
use serde_json::json;

use super::duration::relative;
use super::place::{Deed, NOT_DONE, Place};
use crate::context::Context;
use crate::failure::{Exit, Failure, nearest};
use crate::output::{Body, Report, Table};

const AS: &[Role] = &[Role::Ops];

/// The words of `breaker`.
#[derive(Debug, Subcommand)]
pub enum BreakerCommand {
    /// List the breakers and how they stand
    List(ListArgs),
    /// Hold a breaker open: new payments queue until it is closed by hand
    Open(TurnArgs),
    /// Close a breaker: calls go through at once, and queued payments with them
    Close(TurnArgs),
}

/// The words of `breaker list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    place: Place,
}

/// The words of `breaker open` and `breaker close`.
#[derive(Debug, Args)]
pub struct TurnArgs {
    /// The breaker
    #[arg(value_name = "BREAKER")]
    name: String,
    #[command(flatten)]
    deed: Deed,
    #[command(flatten)]
    place: Place,
}

impl BreakerCommand {
    /// The second word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::List(_) => "list",
            Self::Open(_) => "open",
            Self::Close(_) => "close",
        }
    }
}

pub(super) fn run(command: BreakerCommand, context: &Context<'_>) -> anyhow::Result<Report> {
    let runtime = context.runtime()?;
    match command {
        BreakerCommand::List(args) => runtime.block_on(list(&args, context)),
        BreakerCommand::Open(args) => runtime.block_on(turn(&args, true, context)),
        BreakerCommand::Close(args) => runtime.block_on(turn(&args, false, context)),
    }
}

async fn list(args: &ListArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let operator = args.place.operator(context).await?;
    let page = operator.shop().payments.breakers(&operator.acting(AS)).await;
    let breakers = page.map_err(|error| operator.failed(error, "list the breakers"))?.items;
    let now = context.env.now();
    let mut table = Table::new(["breaker", "state", "since", "calls", "failed", "opened", "held open"]);
    for breaker in &breakers {
        table.row(row(breaker, now));
    }
    let report = Report::new(serde_json::to_value(&breakers)?, Body::Table(table));
    Ok(match breakers.iter().find(|breaker| breaker.state != "closed") {
        _ if breakers.is_empty() => {
            report.last_line("there is no breaker: the provider of this shop is not behind a network")
        }
        None => report.last_line("all are closed: calls go through"),
        Some(open) if open.held_open.is_some() => report.last_line(format!(
            "a person holds {0} open: `shopctl breaker close {0} --reason …` lets calls through",
            open.name
        )),
        Some(open) => report.last_line(format!(
            "{} opened by itself, probes the provider, and closes by itself: orders are taken meanwhile",
            open.name
        )),
    })
}

fn row(breaker: &BreakerView, now: Timestamp) -> [String; 7] {
    let state = match (breaker.state.as_str(), breaker.retry_at) {
        ("open", Some(at)) => format!("open, probes {}", relative(at, now)),
        (state, _) => state.replace('_', "-"),
    };
    [
        breaker.name.clone(),
        state,
        relative(breaker.since, now),
        breaker.calls.to_string(),
        breaker.failures.to_string(),
        breaker.opened_total.to_string(),
        breaker.held_open.clone().unwrap_or_default(),
    ]
}

async fn turn(args: &TurnArgs, open: bool, context: &Context<'_>) -> anyhow::Result<Report> {
    let operator = args.place.operator(context).await?;
    let payments = &operator.shop().payments;
    let tried = format!("{} breaker {}", if open { "open" } else { "close" }, args.name);
    let known =
        payments.breakers(&operator.acting(AS)).await.map_err(|error| operator.failed(error, &tried))?.items;
    let Some(before) = known.iter().find(|breaker| breaker.name == args.name) else {
        return Err(unknown(&args.name, &known).into());
    };
    let breaker = match (args.deed.apply, open) {
        (false, _) => before.clone(),
        (true, true) => {
            let turned = payments.open_breaker(&operator.acting(AS), &args.name, &args.deed.reason).await;
            turned.map_err(|error| operator.failed(error, &tried))?
        }
        (true, false) => {
            let turned = payments.close_breaker(&operator.acting(AS), &args.name, &args.deed.reason).await;
            turned.map_err(|error| operator.failed(error, &tried))?
        }
    };
    let wanted = if open { "held open" } else { "closed" };
    let facts = [
        ("breaker", breaker.name.clone()),
        ("was", told(before)),
        (if args.deed.apply { "is" } else { "would be" }, wanted.to_owned()),
    ];
    let data = json!({"applied": args.deed.apply, "before": before, "breaker": breaker});
    let report = Report::facts(data, facts);
    Ok(if args.deed.apply {
        report.last_line("done; `shopctl breaker list` shows how they stand")
    } else {
        report.last_line(NOT_DONE)
    })
}

fn told(breaker: &BreakerView) -> String {
    match &breaker.held_open {
        Some(why) => format!("held open: {why}"),
        None => breaker.state.replace('_', "-"),
    }
}

fn unknown(name: &str, known: &[BreakerView]) -> Failure {
    let names = known.iter().map(|breaker| breaker.name.as_str());
    let hint = match nearest(name, names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`shopctl breaker list` lists them".to_owned(),
    };
    Failure::new(Exit::Usage, "E-BREAKER", format!("there is no breaker `{name}`")).hint(hint)
}
