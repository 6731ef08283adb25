//! Restarts processes of a shop in pieces: each is asked to end, and its supervisor starts the next one.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{RestartArgs, TIMEOUT_HERE};
use crate::context::Context;
use crate::failure::{Exit, Failure, nearest};
use crate::output::{Progress, Report};
use crate::targets::local::lock;
use crate::targets::local::signals::ask_to_end;
use crate::targets::pieces::facts::{Facts, ProcessFacts, State};

/// How often to look how the processes are.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A process that was followed by another.
struct Restarted {
    name: String,
    before: Option<u32>,
    now: Option<u32>,
    took: Duration,
}

pub(super) fn run(args: &RestartArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let data_dir = context.data_dir(args.data_dir.as_deref())?;
    let supervisor = lock::running(&data_dir)?.pid;
    let facts = Facts::read(&data_dir, supervisor).ok_or_else(|| one_process(supervisor, &data_dir))?;
    let mut names = Vec::new();
    for word in &args.services {
        names.extend(seats(word, &facts)?);
    }
    names.dedup();
    let at_most = args.timeout.unwrap_or(TIMEOUT_HERE).duration();
    let mut progress = Progress::new(context.printer);
    let mut done = Vec::new();
    for name in &names {
        let count = |number: usize| u64::try_from(number).unwrap_or(0);
        progress.step(&format!("restarting {name}"), count(done.len()), count(names.len()));
        done.push(restart(name, &data_dir, supervisor, at_most)?);
    }
    progress.clear();
    let facts = done.iter().map(|one| {
        let pid = one.now.map(|pid| pid.to_string()).unwrap_or_default();
        (one.name.clone(), format!("ready again as process {pid} after {:.1} s", one.took.as_secs_f64()))
    });
    let rows: Vec<_> = done
        .iter()
        .map(|one| {
            let took_ms = u64::try_from(one.took.as_millis()).unwrap_or(u64::MAX);
            json!({"name": one.name, "pid_before": one.before, "pid": one.now, "took_ms": took_ms})
        })
        .collect();
    Ok(Report::facts(json!({"processes": rows}), facts))
}

fn one_process(pid: u32, data_dir: &Path) -> Failure {
    let message = format!("the shop is one process ({pid}): there is no piece of it that could be restarted");
    Failure::new(Exit::Usage, "E-ONE-PROCESS", message).object(data_dir.display()).hint(
        "`shopctl down` and `shopctl up` restart the whole; `shopctl up --processes` runs every service by itself",
    )
}

/// The processes that `word` means: all of a service, or one.
fn seats(word: &str, facts: &Facts) -> Result<Vec<String>, Failure> {
    let is_meant = |process: &&ProcessFacts| process.role == word || process.name == word;
    let meant: Vec<String> = facts.processes.iter().filter(is_meant).map(|one| one.name.clone()).collect();
    if !meant.is_empty() {
        return Ok(meant);
    }
    let known = || facts.processes.iter().flat_map(|one| [one.role.as_str(), one.name.as_str()]);
    let failure = Failure::new(Exit::Usage, "E-SERVICE", format!("there is no service or process `{word}`"));
    Err(match nearest(word, known()) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint("`shopctl status` lists them"),
    })
}

/// Asks one process to end, and waits until the next one in its seat is ready.
fn restart(name: &str, data_dir: &Path, supervisor: u32, at_most: Duration) -> Result<Restarted, Failure> {
    let began = Instant::now();
    let look = || {
        let facts = Facts::read(data_dir, supervisor)?;
        facts.processes.into_iter().find(|process| process.name == name)
    };
    let before = look().and_then(|process| process.pid);
    if let Some(pid) = before {
        end(pid, name)?;
    }
    loop {
        if lock::running(data_dir).map_or(true, |holder| holder.pid != supervisor) {
            let message = format!("the shop ended while {name} was restarted");
            return Err(Failure::new(Exit::Unreachable, "E-NOT-RUNNING", message).object(data_dir.display()));
        }
        let now = look();
        if let Some(process) = &now
            && process.state == State::Ready
            && process.pid != before
        {
            return Ok(Restarted { name: name.to_owned(), before, now: process.pid, took: began.elapsed() });
        }
        if began.elapsed() >= at_most {
            let state = now.as_ref().map_or("gone", |process| process.state.word());
            let end =
                now.and_then(|process| process.last_end).map(|how| format!(": {how}")).unwrap_or_default();
            let message = format!("{name} is {state} after {} s{end}", at_most.as_secs());
            return Err(Failure::new(Exit::Timeout, "E-NOT-WELL", message)
                .object(name)
                .hint("its supervisor goes on trying: `shopctl status`, `shopctl logs`"));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Asks the process of `name` to end.
fn end(pid: u32, name: &str) -> Result<(), Failure> {
    ask_to_end(pid).map_err(|error| {
        Failure::new(Exit::Auth, "E-RESTART", format!("could not ask {name} to end"))
            .object(pid)
            .hint("it belongs to somebody else; ask them, or use their account")
            .because(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let process = |name: &str| ProcessFacts {
            name: name.to_owned(),
            role: name.rsplit_once('-').unwrap().0.to_owned(),
            state: State::Ready,
            pid: Some(1),
            url: None,
            restarts: 0,
            since: "2026-11-30T10:00:00Z".parse().unwrap(),
            last_end: None,
        };
        let processes = ["gateway-1", "order-1", "order-2"].map(process).to_vec();
        Facts { supervisor_pid: 1, processes, database: None }
    }

    #[test]
    fn a_service_means_all_its_processes_and_a_seat_means_one() {
        assert_eq!(seats("order", &facts()).unwrap(), ["order-1", "order-2"]);
        assert_eq!(seats("order-2", &facts()).unwrap(), ["order-2"]);
        assert!(seats("ordre", &facts()).unwrap_err().advice().unwrap().contains("`order`"));
    }
}
