//! `shopctl saga`: the work behind the orders, and what a person may do about it.

use clap::{Args, Subcommand};
use platform::client::order::{OrderFilter, Saga, SagaFilter};
use platform::vocabulary::{OrderId, Role, Timestamp};
use serde_json::json;

use super::duration::relative;
use super::place::{Deed, NOT_DONE, Place, Reached};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Body, Report, Table};

const AS: &[Role] = &[Role::Ops];

/// The words of `saga`.
#[derive(Debug, Subcommand)]
pub enum SagaCommand {
    /// List sagas, the latest first
    List(ListArgs),
    /// Show the sagas of an order with everything they did
    Show(ShowArgs),
    /// Try a stuck or waiting saga again now
    Retry(ActArgs),
    /// Give an order up before it is paid, and undo what was done
    Compensate(ActArgs),
}

/// The words of `saga list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only those that are running, compensating, completed, compensated, stuck or abandoned
    #[arg(long, value_name = "STATE", value_parser = STATES, hide_possible_values = true)]
    state: Option<String>,
    /// The most to list
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    place: Place,
}

/// The words of `saga show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The order: its id or its number
    #[arg(value_name = "ORDER")]
    order: String,
    #[command(flatten)]
    place: Place,
}

/// The words of `saga retry` and `saga compensate`.
#[derive(Debug, Args)]
pub struct ActArgs {
    /// The order: its id or its number
    #[arg(value_name = "ORDER")]
    order: String,
    #[command(flatten)]
    deed: Deed,
    #[command(flatten)]
    place: Place,
}

const STATES: [&str; 6] = ["running", "compensating", "completed", "compensated", "stuck", "abandoned"];
/// The most that one call lists.
const PAGE: u32 = 100;

impl SagaCommand {
    /// The second word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::List(_) => "list",
            Self::Show(_) => "show",
            Self::Retry(_) => "retry",
            Self::Compensate(_) => "compensate",
        }
    }
}

pub(super) fn run(command: SagaCommand, context: &Context<'_>) -> anyhow::Result<Report> {
    let runtime = context.runtime()?;
    match command {
        SagaCommand::List(args) => runtime.block_on(list(&args, context)),
        SagaCommand::Show(args) => runtime.block_on(show(&args, context)),
        SagaCommand::Retry(args) => runtime.block_on(act(&args, &RETRY, context)),
        SagaCommand::Compensate(args) => runtime.block_on(act(&args, &COMPENSATE, context)),
    }
}

async fn list(args: &ListArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let operator = args.place.operator(context).await?;
    let mut sagas: Vec<Saga> = Vec::new();
    let mut cursor = None;
    let wanted = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut more = true;
    while more && sagas.len() < wanted {
        let left = u32::try_from(wanted - sagas.len()).unwrap_or(PAGE);
        let filter = SagaFilter { state: args.state.clone(), limit: Some(left.min(PAGE).into()), cursor };
        let page = operator.shop().orders.sagas(&operator.acting(AS), &filter).await;
        let page = page.map_err(|error| operator.failed(error, "list the sagas"))?;
        sagas.extend(page.items);
        more = page.next_cursor.is_some();
        cursor = page.next_cursor;
    }
    let now = context.env.now();
    let mut table = Table::new(["order", "saga", "state", "step", "tries", "next", "updated", "last error"]);
    for saga in &sagas {
        table.row([
            saga.order_id.to_string(),
            saga.kind.clone(),
            saga.state.clone(),
            saga.step.clone(),
            saga.attempt.to_string(),
            next(saga, now),
            relative(saga.updated_at, now),
            saga.last_error.clone().unwrap_or_default(),
        ]);
    }
    let report = Report::new(serde_json::to_value(&sagas)?, Body::Table(table));
    let stuck = sagas.iter().find(|saga| needs_a_person(saga));
    Ok(match (sagas.len(), stuck) {
        (0, _) => report.last_line(match &args.state {
            Some(state) => format!("there is no {state} saga"),
            None => "there is no saga yet: the first order begins one".to_owned(),
        }),
        (_, Some(saga)) => report.last_line(format!(
            "a person is needed: `shopctl saga show {}` tells what happened",
            saga.order_id
        )),
        (_, None) if more => report.last_line("there are more: --limit lists them, --state narrows them"),
        (_, None) => report.last_line("`shopctl saga show ORDER` tells what one did"),
    })
}

fn needs_a_person(saga: &Saga) -> bool {
    matches!(saga.state.as_str(), "stuck" | "abandoned")
}

/// When it goes on, or who is at it.
fn next(saga: &Saga, now: Timestamp) -> String {
    match (&saga.owner, saga.next_at) {
        _ if needs_a_person(saga) => "waits for a person".to_owned(),
        (Some(_), _) if saga.lease_until.is_some_and(|until| until > now) => "is worked on".to_owned(),
        (_, Some(at)) if at > now => relative(at, now),
        (_, Some(_)) => "is due".to_owned(),
        (_, None) => String::new(),
    }
}

async fn show(args: &ShowArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let operator = args.place.operator(context).await?;
    let sagas = sagas_of(&operator, &args.order).await?;
    let now = context.env.now();
    let mut text = String::new();
    for saga in &sagas {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&told(saga, now));
        let mut log = Table::new(["n", "at", "step", "try", "outcome", "then"]);
        for line in &saga.log {
            log.row([
                line.n.to_string(),
                line.at.strftime("%H:%M:%S%.3f").to_string(),
                line.step.clone(),
                line.attempt.to_string(),
                line.outcome.clone(),
                line.next.clone(),
            ]);
        }
        text.push_str(&log.draw(context.printer.terminal().columns));
    }
    let report = Report::new(serde_json::to_value(&sagas)?, Body::Text(text));
    Ok(match sagas.iter().find(|saga| needs_a_person(saga)) {
        Some(saga) => report.last_line(format!(
            "try it again with `shopctl saga retry {0} --reason …`, or give the order up with \
             `shopctl saga compensate {0} --reason …`",
            saga.order_id
        )),
        None => report.last_line("nothing here waits for a person"),
    })
}

fn told(saga: &Saga, now: Timestamp) -> String {
    let mut lines = vec![format!("{} of order {}: {}", saga.kind, saga.order_id, saga.state)];
    let next = next(saga, now);
    let step = if saga.state == "completed" || saga.state == "compensated" { "last step" } else { "step" };
    lines.push(format!(
        "{step} {}, try {}{}{next}",
        saga.step,
        saga.attempt,
        if next.is_empty() { "" } else { ", " }
    ));
    if let Some(error) = &saga.last_error {
        lines.push(format!("last error: {error}"));
    }
    if let Some(deadline) = saga.deadline_at {
        lines.push(format!("is tried until {deadline}"));
    }
    lines.join("\n") + "\n"
}

/// The sagas of the order with this id or number, the latest first.
async fn sagas_of(operator: &Reached, order: &str) -> anyhow::Result<Vec<Saga>> {
    let id = order_id(operator, order).await?;
    let page = operator.shop().orders.order_sagas(&operator.acting(AS), id).await;
    Ok(page.map_err(|error| operator.failed(error, &format!("read the sagas of order {order}")))?.items)
}

async fn order_id(operator: &Reached, order: &str) -> anyhow::Result<OrderId> {
    if let Ok(id) = order.parse() {
        return Ok(id);
    }
    let filter = OrderFilter { q: Some(order.to_owned()), ..OrderFilter::default() };
    let page = operator.shop().orders.admin_orders(&operator.acting(AS), &filter).await;
    let found = page.map_err(|error| operator.failed(error, &format!("look for order {order}")))?.items;
    let named = found.iter().find(|one| one.number.eq_ignore_ascii_case(order));
    let nobody = || {
        Failure::new(Exit::Usage, "E-ORDER", format!("there is no order `{order}`"))
            .hint("name it by its id or its number; `shopctl saga list` has the latest")
    };
    Ok(named.ok_or_else(nobody)?.id)
}

/// What a person may do about a saga.
struct Act {
    verb: &'static str,
    would: &'static str,
    done: &'static str,
    /// Whether it gives the order up.
    undoes: bool,
}

const RETRY: Act = Act {
    verb: "retry",
    would: "its step would be tried again now, under the same key",
    done: "it is tried again now",
    undoes: false,
};
const COMPENSATE: Act = Act {
    verb: "compensate",
    would: "the order would be given up, and what was done undone in reverse",
    done: "the order is given up, and what was done is being undone",
    undoes: true,
};

async fn act(args: &ActArgs, act: &Act, context: &Context<'_>) -> anyhow::Result<Report> {
    let operator = args.place.operator(context).await?;
    let tried = format!("{} the saga of order {}", act.verb, args.order);
    let before = sagas_of(&operator, &args.order).await?;
    let Some(before) = before.into_iter().find(|saga| !is_over(saga)) else {
        let why = anyhow::anyhow!("every saga of this order has ended");
        return Err(Failure::new(Exit::Conflict, "E-SAGA-ENDED", format!("could not {tried}"))
            .hint(format!("`shopctl saga show {}` tells how they ended", args.order))
            .because(why)
            .into());
    };
    let (orders, order) = (&operator.shop().orders, before.order_id);
    let reason = Some(args.deed.reason.as_str());
    let after = match (args.deed.apply, act.undoes) {
        (false, _) => None,
        (true, false) => Some(orders.retry_saga(&operator.acting(AS), order, reason).await),
        (true, true) => Some(orders.compensate_saga(&operator.acting(AS), order, reason).await),
    };
    let after = after.transpose().map_err(|error| operator.failed(error, &tried))?;
    let facts = [
        ("order", order.to_string()),
        ("saga", format!("{}, {}", before.kind, before.state)),
        ("step", format!("{}, try {}", before.step, before.attempt)),
        ("last error", before.last_error.clone().unwrap_or_else(|| "none".to_owned())),
        (act.verb, if after.is_some() { act.done } else { act.would }.to_owned()),
    ];
    let data = json!({"applied": after.is_some(), "before": before, "saga": after});
    let report = Report::facts(data, facts);
    Ok(if after.is_some() {
        report.last_line(format!("`shopctl saga show {order}` tells how it goes on"))
    } else {
        report.last_line(NOT_DONE)
    })
}

fn is_over(saga: &Saga) -> bool {
    matches!(saga.state.as_str(), "completed" | "compensated")
}
