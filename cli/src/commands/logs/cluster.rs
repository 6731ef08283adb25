//! The logs of the shop's pods, merged by time.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use platform::vocabulary::Timestamp;
use serde_json::Value;

use super::LogsArgs;
use super::entry::{parse, show, time_of};
use crate::cluster::connect::Cluster;
use crate::cluster::logs::{Begin, Life, Line, Merge, Source, is_wanted, lives};
use crate::cluster::mirror::Mirror;
use crate::cluster::object::Object;
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::output::{Format, Printer};
use crate::targets::kubernetes;

const POD: (&str, &str) = ("v1", "Pod");
/// The container of a pod of the shop; one of another name is told besides.
const CONTAINER: &str = "shopd";
/// How long a pod that is silent holds up the lines of the others while they are followed.
const PATIENCE: Duration = Duration::from_millis(700);
/// A document holds so many lines at most: the last ones.
const DOCUMENT_LINES_MAX: usize = 10_000;

pub(super) fn run(args: &LogsArgs, since: Option<Timestamp>, context: &Context<'_>) -> anyhow::Result<Exit> {
    let settings = context.config()?.kubernetes(variable)?;
    context.runtime()?.block_on(async {
        let cluster = kubernetes::connect(&settings, &context.env).await?;
        let begin = Begin { since, lines: args.lines, is_previous: args.previous, follows: args.follow };
        if args.follow {
            return follow(args, begin, &cluster, context).await;
        }
        let pods = cluster.api.list(POD, cluster.namespace(), "").await;
        let pods = pods.map_err(|error| cluster.refused(error, "look at the pods"))?;
        let pods: Vec<&Object> = pods.iter().filter(|pod| is_wanted(pod, args.service.as_deref())).collect();
        if pods.is_empty() {
            return Err(no_pods(args, &cluster).into());
        }
        let mut merge = Merge::new(None);
        for life in pods.iter().flat_map(|pod| lives(pod, args.previous)) {
            merge.add(source(&cluster, life, begin));
        }
        tokio::select! {
            shown = whole(&mut merge, args.lines, context.printer) => shown.map(|()| Exit::Ok),
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        }
    })
}

fn source(
    cluster: &Cluster,
    life: Life,
    begin: Begin,
) -> impl futures_util::Stream<Item = Line> + Send + 'static {
    Source::new(Arc::clone(&cluster.api), cluster.namespace(), life, begin).lines()
}

fn no_pods(args: &LogsArgs, cluster: &Cluster) -> Failure {
    let environment = &cluster.place.environment;
    let message = match &args.service {
        Some(service) => format!("{service} has no pods in the namespace {}", cluster.namespace()),
        None => format!("there is no shop in the namespace {}", cluster.namespace()),
    };
    Failure::new(Exit::Unreachable, "E-NO-LOG", message)
        .object(format!("context {}", cluster.place.context))
        .hint(format!("see `shopctl status -e {environment}`, or `shopctl why -e {environment}`"))
}

/// Shows the logs as far as they go now: line by line as they are read, or the last ones of them.
async fn whole(merge: &mut Merge, lines: Option<usize>, printer: &Printer) -> anyhow::Result<()> {
    let is_document = !matches!(printer.format(), Format::Text | Format::Ndjson);
    let count = match lines {
        Some(lines) => Some(lines),
        None => is_document.then_some(DOCUMENT_LINES_MAX),
    };
    let Some(count) = count else {
        while let Some(line) = merge.next().await {
            show(&[entry(&line)], printer, false)?;
        }
        return Ok(());
    };
    let mut last = VecDeque::new();
    let mut all = 0;
    while let Some(line) = merge.next().await {
        all += 1;
        last.push_back(line);
        if last.len() > count {
            last.pop_front();
        }
    }
    if lines.is_none() && all > count {
        printer.warn(&format!("only the last {count} of {all} lines are shown: -o ndjson has all"));
    }
    let entries: Vec<Value> = last.iter().map(entry).collect();
    show(&entries, printer, true)
}

/// Shows lines as they are written, also those of pods that are yet to come.
async fn follow(
    args: &LogsArgs,
    begin: Begin,
    cluster: &Cluster,
    context: &Context<'_>,
) -> anyhow::Result<Exit> {
    let mirror = Mirror::of(&cluster.api, cluster.namespace(), &[POD]).await;
    let mut mirror = mirror.map_err(|error| cluster.refused(error, "look at the pods"))?;
    let mut merge = Merge::new(Some(PATIENCE));
    let mut opened: BTreeSet<Life> = BTreeSet::new();
    let mut is_first = true;
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let there: BTreeSet<Life> = mirror.look(|objects| {
            let pods = objects.values().filter(|pod| is_wanted(pod, args.service.as_deref()));
            pods.flat_map(|pod| lives(pod, false)).collect()
        });
        for life in there.difference(&opened) {
            // What begins from now on is shown from its beginning.
            let lines = begin.lines.filter(|_| is_first);
            merge.add(source(cluster, life.clone(), Begin { lines, ..begin }));
        }
        (opened, is_first) = (there, false);
        tokio::select! {
            Some(line) = merge.next() => show(&[entry(&line)], context.printer, false)?,
            () = mirror.changed(Duration::from_secs(60)) => {}
            _ = &mut interrupted => return Ok(Exit::Interrupted),
        }
    }
}

/// A line as an entry of the shop's log: with its pod, and the moment of its node when it names none itself.
fn entry(line: &Line) -> Value {
    let mut entry = parse(line.text.as_bytes());
    if time_of(&entry).is_none() {
        entry["timestamp"] = line.at.to_string().into();
    }
    entry["pod"] = line.pod.clone().into();
    if line.container != CONTAINER {
        entry["container"] = line.container.clone().into();
    }
    entry
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(text: &str) -> Line {
        Line {
            at: "2026-11-30T10:00:00Z".parse().unwrap(),
            pod: "postgresql-0".to_owned(),
            container: "postgresql".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn what_names_no_moment_has_that_of_its_node() {
        assert_eq!(
            entry(&line("ready to accept connections")),
            json!({
                "message": "ready to accept connections", "timestamp": "2026-11-30T10:00:00Z",
                "pod": "postgresql-0", "container": "postgresql",
            })
        );
        let own = entry(&line("{\"timestamp\":\"2026-11-30T09:00:00Z\",\"message\":\"x\"}"));
        assert_eq!(own["timestamp"], "2026-11-30T09:00:00Z");
    }
}
