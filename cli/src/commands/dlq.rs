//! `shopctl dlq`: messages that no consumer could handle, and the two ways on for them.

use std::time::Duration;

use clap::{Args, Subcommand};
use platform::client::notification::{DeadLetter, DeadLetterAction, DeadLetterQuery};
use platform::vocabulary::Role;
use serde_json::json;
use uuid::Uuid;

use super::duration::relative;
use super::place::{Deed, NOT_DONE, Place, Reached};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Body, Progress, Report, Table};

const AS: &[Role] = &[Role::Ops];
/// The most that one call lists or moves.
const PAGE: usize = 100;

/// The words of `dlq`.
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// List dead letters, the oldest first
    List(ListArgs),
    /// Show one with its event and why it died
    Show(ShowArgs),
    /// Put dead letters back into their queues, under the same event id
    Redrive(MoveArgs),
    /// Give dead letters up for good; their rows stay, with the reason
    Discard(MoveArgs),
}

/// Which letters.
#[derive(Debug, Args)]
struct Which {
    /// Only those of this queue
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// Only those of this kind of event
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
}

/// The words of `dlq list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    which: Which,
    /// The most to list
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    place: Place,
}

/// The words of `dlq show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The letter
    #[arg(value_name = "LETTER")]
    id: Uuid,
    #[command(flatten)]
    place: Place,
}

/// The words of `dlq redrive` and `dlq discard`.
#[derive(Debug, Args)]
pub struct MoveArgs {
    /// The letters; or name them by --queue, --kind or --all
    #[arg(value_name = "LETTER", conflicts_with_all = ["queue", "kind", "all"])]
    ids: Vec<Uuid>,
    #[command(flatten)]
    which: Which,
    /// Every dead letter of the shop
    #[arg(long, conflicts_with_all = ["queue", "kind"])]
    all: bool,
    /// The most a second
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    #[command(flatten)]
    deed: Deed,
    #[command(flatten)]
    place: Place,
}

impl DlqCommand {
    /// The second word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::List(_) => "list",
            Self::Show(_) => "show",
            Self::Redrive(_) => "redrive",
            Self::Discard(_) => "discard",
        }
    }
}

pub(super) fn run(command: DlqCommand, context: &Context<'_>) -> anyhow::Result<Report> {
    let runtime = context.runtime()?;
    match command {
        DlqCommand::List(args) => runtime.block_on(list(&args, context)),
        DlqCommand::Show(args) => runtime.block_on(show(&args, context)),
        DlqCommand::Redrive(args) => runtime.block_on(shift(&args, Way::Back, context)),
        DlqCommand::Discard(args) => runtime.block_on(shift(&args, Way::Away, context)),
    }
}

async fn list(args: &ListArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let operator = args.place.operator(context).await?;
    let wanted = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let (letters, more) = find(&operator, &args.which, wanted).await?;
    let report = Report::new(serde_json::to_value(&letters)?, Body::Table(table(&letters, context)));
    Ok(match letters.len() {
        0 => report.last_line("there is no dead letter: every message was handled"),
        _ if more => report.last_line("there are more: --limit lists them, --queue and --kind narrow them"),
        _ => report.last_line(
            "`shopctl dlq show LETTER` tells why one died; mend that, then `shopctl dlq redrive LETTER --reason …`",
        ),
    })
}

fn table(letters: &[DeadLetter], context: &Context<'_>) -> Table {
    let now = context.env.now();
    let mut table = Table::new(["letter", "queue", "kind", "died", "tries", "redriven", "reason"]);
    for letter in letters {
        table.row([
            letter.id.to_string(),
            letter.queue.clone(),
            kind(letter),
            relative(letter.dead_at, now),
            letter.receives.to_string(),
            letter.redrives.to_string(),
            letter.reason.clone(),
        ]);
    }
    table
}

fn kind(letter: &DeadLetter) -> String {
    if letter.kind.is_empty() { "unreadable".to_owned() } else { letter.kind.clone() }
}

/// Up to `wanted` of the letters, the oldest first, and whether there are more.
async fn find(operator: &Reached, which: &Which, wanted: usize) -> anyhow::Result<(Vec<DeadLetter>, bool)> {
    let mut letters: Vec<DeadLetter> = Vec::new();
    let mut cursor = None;
    loop {
        let left = (wanted - letters.len()).min(PAGE);
        let query = DeadLetterQuery {
            queue: which.queue.clone(),
            kind: which.kind.clone(),
            limit: i64::try_from(left).ok(),
            cursor,
        };
        let page = operator.shop().notifications.dead_letters(&operator.acting(AS), &query).await;
        let page = page.map_err(|error| operator.failed(error, "list the dead letters"))?;
        letters.extend(page.items);
        if page.next_cursor.is_none() || letters.len() >= wanted {
            return Ok((letters, page.next_cursor.is_some()));
        }
        cursor = page.next_cursor;
    }
}

async fn show(args: &ShowArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let operator = args.place.operator(context).await?;
    let letter = one(&operator, args.id).await?;
    let facts = [
        ("letter", letter.id.to_string()),
        ("queue", letter.queue.clone()),
        ("event", format!("{} {} of {}", kind(&letter), letter.event_id, letter.topic)),
        ("about", letter.aggregate.to_string()),
        ("died", format!("{} after {} tries", letter.dead_at, letter.receives)),
        ("because", letter.reason.clone()),
        ("redriven", format!("{} times", letter.redrives)),
        ("body", letter.body.to_string()),
    ];
    let line = format!("put it back with `shopctl dlq redrive {} --reason …`", letter.id);
    Ok(Report::facts(serde_json::to_value(&letter)?, facts).last_line(line))
}

async fn one(operator: &Reached, id: Uuid) -> anyhow::Result<DeadLetter> {
    let letter = operator.shop().notifications.dead_letter(&operator.acting(AS), id).await;
    letter.map_err(|error| operator.failed(error, &format!("read dead letter {id}")))
}

/// Where letters go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Back,
    Away,
}

impl Way {
    fn verb(self) -> &'static str {
        match self {
            Self::Back => "redrive",
            Self::Away => "discard",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Back => "put back",
            Self::Away => "given up",
        }
    }
}

/// Redrives or discards. What is named is looked up first and then moved by its ids, a few at a time, so that what dies
/// meanwhile is not swept along and the consumers are not run over.
async fn shift(args: &MoveArgs, way: Way, context: &Context<'_>) -> anyhow::Result<Report> {
    if args.ids.is_empty() && !args.all && args.which.queue.is_none() && args.which.kind.is_none() {
        return Err(Failure::new(
            Exit::Usage,
            "E-LETTERS",
            format!("nothing says which letters to {}", way.verb()),
        )
        .hint("name letters, or --queue, --kind or --all; `shopctl dlq list` lists them")
        .into());
    }
    let operator = args.place.operator(context).await?;
    let letters = named(&operator, args).await?;
    let ids: Vec<Uuid> = letters.iter().map(|letter| letter.id).collect();
    let moved = if args.deed.apply { go(&operator, &ids, args, way, context).await? } else { Vec::new() };
    let data = json!({
        "applied": args.deed.apply,
        "letters": letters,
        "moved": moved,
        "rate_per_second": args.rate,
    });
    let report = Report::new(data, Body::Table(table(&letters, context)));
    let (named, moved) = (letters.len(), moved.len());
    Ok(match (args.deed.apply, named) {
        (_, 0) => report.last_line("there is no such dead letter: nothing to do"),
        (false, _) => report.last_line(format!("{named} would be {}; {NOT_DONE}", way.done())),
        (true, _) if moved < named => report
            .exit(Exit::Partial)
            .last_line(format!("{moved} of {named} were {}; somebody else moved the others", way.done())),
        (true, _) => report.last_line(format!("{moved} were {}", way.done())),
    })
}

async fn named(operator: &Reached, args: &MoveArgs) -> anyhow::Result<Vec<DeadLetter>> {
    if args.ids.is_empty() {
        return Ok(find(operator, &args.which, usize::MAX).await?.0);
    }
    let mut letters = Vec::new();
    for id in &args.ids {
        letters.push(one(operator, *id).await?);
    }
    Ok(letters)
}

async fn go(
    operator: &Reached,
    ids: &[Uuid],
    args: &MoveArgs,
    way: Way,
    context: &Context<'_>,
) -> anyhow::Result<Vec<Uuid>> {
    let (bunch, pause) = pace(args.rate);
    let mut progress = Progress::new(context.printer);
    let mut moved = Vec::new();
    let total = ids.len();
    for (number, ids) in ids.chunks(bunch).enumerate() {
        if number > 0 {
            tokio::time::sleep(pause).await;
        }
        let action = DeadLetterAction {
            ids: ids.to_vec(),
            reason: args.deed.reason.clone(),
            ..DeadLetterAction::default()
        };
        let (notifications, acting) = (&operator.shop().notifications, operator.acting(AS));
        let answer = match way {
            Way::Back => notifications.redrive(&acting, &action).await,
            Way::Away => notifications.discard(&acting, &action).await,
        };
        let tried = format!("{} dead letters after {} were {}", way.verb(), moved.len(), way.done());
        moved.extend(answer.map_err(|error| operator.failed(error, &tried))?.ids);
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        progress.step(way.done(), count(moved.len()), count(total));
    }
    progress.clear();
    Ok(moved)
}

/// How many go at once, and how long to wait until the next ones, so that `rate` is not exceeded.
fn pace(rate: u32) -> (usize, Duration) {
    let bunch = (rate / 10).clamp(1, u32::try_from(PAGE).unwrap_or(100));
    (usize::try_from(bunch).unwrap_or(1), Duration::from_secs(1).mul_f64(f64::from(bunch) / f64::from(rate)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_never_exceeds_the_rate() {
        for rate in 1..=1000 {
            let (bunch, pause) = pace(rate);
            let per_second = f64::from(u32::try_from(bunch).unwrap()) / pause.as_secs_f64();
            assert!(per_second <= f64::from(rate) * 1.001, "{rate}: {bunch} every {pause:?}");
            assert!((1..=PAGE).contains(&bunch), "{rate}");
        }
    }
}
