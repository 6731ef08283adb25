//! The cluster's Events about the shop's objects, the newest last.

use std::collections::BTreeMap;
use std::time::Duration;

use platform::vocabulary::Timestamp;
use platform::vocabulary::clock::since;
use serde_json::json;

use super::EventsArgs;
use crate::cluster::happenings::{Happening, happenings};
use crate::cluster::mirror::{KINDS, Mirror};
use crate::cluster::object::{Key, Object};
use crate::commands::duration::short;
use crate::context::{Context, variable};
use crate::failure::Exit;
use crate::output::{Body, Format, Report, Table};
use crate::targets::kubernetes;

/// How long to wait for a change at most.
const LOOK_EVERY: Duration = Duration::from_secs(60);

pub(super) fn run(args: &EventsArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    let settings = context.config()?.kubernetes(variable)?;
    context.runtime()?.block_on(async {
        let cluster = kubernetes::connect(&settings, &context.env).await?;
        if args.watch {
            let mirror = Mirror::of(&cluster.api, cluster.namespace(), KINDS).await;
            let mirror = mirror.map_err(|error| cluster.refused(error, "look at the events"))?;
            return watch(args, mirror, context).await;
        }
        let mut objects: BTreeMap<Key, Object> = BTreeMap::new();
        for kind in KINDS {
            let found = cluster.api.list(*kind, cluster.namespace(), "").await;
            let found = found.map_err(|error| cluster.refused(error, "look at the events"))?;
            objects.extend(found.into_iter().map(|object| (object.key().clone(), object)));
        }
        let found = happenings(objects.values(), args.service.as_deref());
        let report = report(&found, context.env.now());
        context.printer.report(&report)?;
        Ok(Exit::Ok)
    })
}

fn report(found: &[Happening], now: Timestamp) -> Report {
    let mut table = Table::new(["age", "count", "type", "object", "reason", "message"]);
    for one in found {
        table.row([
            age(one.at, now),
            one.count.to_string(),
            kind(one).to_owned(),
            one.object.clone(),
            one.reason.clone(),
            one.message.clone(),
        ]);
    }
    let report = Report::new(json!({"events": found}), Body::Table(table));
    if found.is_empty() { report.last_line("nothing was reported, or not lately") } else { report }
}

fn age(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map(|at| short(since(at, now))).unwrap_or_default()
}

fn kind(one: &Happening) -> &'static str {
    if one.is_warning { "warning" } else { "normal" }
}

/// Shows what there is, and then each that is new or was seen again.
async fn watch(args: &EventsArgs, mut mirror: Mirror, context: &Context<'_>) -> anyhow::Result<Exit> {
    let printer = context.printer;
    let mut interrupted = context.interrupts()?;
    let mut shown: Vec<Happening> = Vec::new();
    loop {
        let found = mirror.look(|objects| happenings(objects.values(), args.service.as_deref()));
        for one in found.iter().filter(|one| !shown.contains(one)) {
            let text = match printer.format() {
                Format::Text | Format::Csv | Format::Md => line(one),
                Format::Json | Format::Ndjson => format!("{}\n", json!(one)),
            };
            printer.data(&text)?;
        }
        shown = found;
        tokio::select! {
            () = mirror.changed(LOOK_EVERY) => {}
            _ = interrupted.recv() => return Ok(Exit::Interrupted),
        }
    }
}

fn line(one: &Happening) -> String {
    let at = one.at.map(|at| at.to_string()).unwrap_or_default();
    let times = if one.count > 1 { format!(" ({} times)", one.count) } else { String::new() };
    format!("{at} {:<7} {} {}: {}{times}\n", kind(one), one.object, one.reason, one.message)
}
