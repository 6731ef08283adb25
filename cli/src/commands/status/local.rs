//! Whether the shop of a data folder runs, and how it is.

use std::path::Path;
use std::time::Duration;

use platform::vocabulary::clock::since;
use serde_json::{Value, json};

use super::{LOOK_EVERY, StatusArgs};
use crate::commands::duration::told;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Progress, Report};
use crate::targets::local::figures::Figures;
use crate::targets::local::lock::{self, Holder};
use crate::targets::pieces::facts::{DatabaseFacts, Facts, ProcessFacts, State};
use crate::wire;

/// How long the shop may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was seen at one look.
#[derive(Debug, PartialEq)]
struct Seen {
    holder: Holder,
    is_ready: bool,
    readiness: Value,
    figures: Figures,
    /// The processes of a shop in pieces.
    processes: Vec<ProcessFacts>,
    /// The shop's own PostgreSQL.
    database: Option<DatabaseFacts>,
}

pub(super) fn run(args: &StatusArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    let data_dir = context.data_dir(args.data_dir.as_deref())?;
    let runtime = context.runtime()?;
    if args.watch {
        return runtime.block_on(watch(&data_dir, context));
    }
    let seen = runtime.block_on(look(&data_dir))?;
    let report = report(&seen, &data_dir, context);
    context.printer.report(&report)?;
    Ok(report.exit_code())
}

async fn look(data_dir: &Path) -> anyhow::Result<Seen> {
    let holder = lock::running(data_dir)?;
    let Some(url) = holder.url.clone() else {
        let readiness = json!({"status": "starting"});
        let figures = Figures::default();
        return Ok(Seen {
            holder,
            is_ready: false,
            readiness,
            figures,
            processes: Vec::new(),
            database: None,
        });
    };
    if let Some(facts) = Facts::read(data_dir, holder.pid) {
        return look_at_pieces(holder, facts).await;
    }
    let reply = wire::get(&url, "/readyz", PATIENCE).await?;
    let figures = Figures::of(&url, PATIENCE).await?;
    let is_ready = reply.status.is_success();
    Ok(Seen { holder, is_ready, readiness: reply.json(), figures, processes: Vec::new(), database: None })
}

/// Every process counts for itself: the figures are their sums, and the shop is ready when somebody answers for each
/// part of it.
async fn look_at_pieces(holder: Holder, facts: Facts) -> anyhow::Result<Seen> {
    let mut figures = Figures::default();
    let mut checks = Vec::new();
    for process in &facts.processes {
        let is_ready = |other: &ProcessFacts| other.role == process.role && other.state == State::Ready;
        let is_served = facts.processes.iter().any(is_ready);
        checks.push(json!({"name": process.name, "ok": is_served, "reason": process.state.word()}));
        if let Some(url) = &process.url {
            // One that ends at this moment has nothing to say any more.
            figures = figures.plus(&Figures::of(url, PATIENCE).await.unwrap_or_default());
        }
    }
    let is_ready = checks.iter().all(|check| check["ok"] == true);
    let status = if is_ready { "ready" } else { "not_ready" };
    let readiness = json!({"status": status, "checks": checks});
    let Facts { processes, database, .. } = facts;
    Ok(Seen { holder, is_ready, readiness, figures, processes, database })
}

fn report(seen: &Seen, data_dir: &Path, context: &Context<'_>) -> Report {
    let holder = &seen.holder;
    let up_for = since(holder.started_at, context.env.now());
    let mut data = json!({
        "running": true,
        "ready": seen.is_ready,
        "pid": holder.pid,
        "url": holder.url,
        "fakepay_url": holder.fakepay_url,
        "started_at": holder.started_at,
        "up_for_s": up_for.as_secs(),
        "version": holder.version,
        "engine": holder.engine,
        "data_dir": data_dir,
        "log": holder.log,
        "readiness": seen.readiness,
        "figures": seen.figures,
    });
    let mut facts = vec![
        ("shop", if seen.is_ready { "ready" } else { "not ready" }.to_owned()),
        ("url", holder.url.clone().unwrap_or_else(|| "not yet".to_owned())),
        ("process", format!("{}, up for {}", holder.pid, told(up_for))),
        ("engine", holder.engine.clone()),
        ("data", data_dir.display().to_string()),
        ("log", holder.log.display().to_string()),
    ];
    facts.push(("now", seen.figures.line()));
    for (name, state) in not_ready(&seen.readiness) {
        facts.push(("waits for", format!("{name}: {state}")));
    }
    if !seen.processes.is_empty() {
        data["processes"] = json!(seen.processes);
        facts.extend(seen.processes.iter().map(|process| (process.name.as_str(), told_process(process))));
    }
    if let Some(database) = &seen.database {
        data["database"] = json!(database);
        facts.push(("database", told_database(database)));
    }
    let report = Report::facts(data, facts);
    if seen.is_ready { report } else { report.exit(Exit::Degraded) }
}

/// A process of a shop in pieces, in a line.
fn told_process(process: &ProcessFacts) -> String {
    let mut parts = vec![process.state.word().to_owned()];
    parts.extend(process.pid.map(|pid| format!("process {pid}")));
    parts.extend(process.url.clone());
    parts.push(format!("restarts {}", process.restarts));
    parts.extend(process.last_end.as_ref().map(|how| format!("last: {how}")));
    parts.join(" · ")
}

/// The shop's own PostgreSQL, in a line.
fn told_database(database: &DatabaseFacts) -> String {
    let pid = |pid: Option<u32>| pid.map_or_else(|| "no process".to_owned(), |pid| format!("process {pid}"));
    let mut line =
        format!("node {} writes · {} · epoch {}", database.writer, pid(database.writer_pid), database.epoch);
    match database.standby.as_str() {
        "none" => {}
        "synchronous" => line.push_str(&format!(" · synchronous standby, {}", pid(database.standby_pid))),
        _ => line.push_str(" · ALERT: the standby is away, there is one copy only"),
    }
    line
}

/// The parts that keep the shop from being ready, as `/readyz` names them.
fn not_ready(readiness: &Value) -> Vec<(String, String)> {
    let text = |check: &Value, field: &str| check[field].as_str().unwrap_or_default().to_owned();
    let checks = readiness["checks"].as_array().into_iter().flatten();
    checks
        .filter(|check| check["ok"] != true)
        .map(|check| (text(check, "name"), text(check, "reason")))
        .collect()
}

/// Repaints on a terminal; elsewhere says a line when something changed.
async fn watch(data_dir: &Path, context: &Context<'_>) -> anyhow::Result<Exit> {
    let printer = context.printer;
    let mut progress = Progress::new(printer);
    let mut last = String::new();
    let mut interrupted = context.interrupts()?;
    loop {
        let (line, data) = match look(data_dir).await {
            Ok(seen) => (line(&seen), report(&seen, data_dir, context).data),
            Err(error) => match error.downcast_ref::<Failure>() {
                Some(failure) if failure.exit() == Exit::Unreachable => {
                    (failure.to_string(), json!({"running": false, "data_dir": data_dir}))
                }
                _ => return Err(error),
            },
        };
        if printer.terminal().animate {
            progress.line(&line);
        } else if line != last {
            match printer.format() {
                Format::Text | Format::Csv | Format::Md => printer.data(&format!("{line}\n"))?,
                Format::Json | Format::Ndjson => printer.data(&format!("{data}\n"))?,
            }
            last = line;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = interrupted.recv() => return Ok(Exit::Interrupted),
        }
    }
}

fn line(seen: &Seen) -> String {
    let state = if seen.is_ready { "ready" } else { "not ready" };
    let url = seen.holder.url.as_deref().unwrap_or("not yet");
    format!("{state} · {url} · {}", seen.figures.line())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_ready_is_named() {
        let readiness = json!({"status": "not_ready", "checks": [
            {"name": "storage", "ok": true},
            {"name": "up", "ok": false, "reason": "starting or stopping"},
        ]});
        assert_eq!(not_ready(&readiness), [("up".to_owned(), "starting or stopping".to_owned())]);
    }
}
