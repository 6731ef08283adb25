//! How fast a shop takes orders on PostgreSQL, beside `pgbench -N -M prepared` with as many clients: in turns in one run,
//! on one server that is made for the measurement and removed afterwards. The ratio counts, not a rate: an order is a whole
//! saga of a dozen transactions, and pgbench's transaction is three statements.

use std::process::Command;

use anyhow::Context as _;
use platform::vocabulary::Env;
use serde_json::json;

use super::Ground;
use super::checkout::{Course, Load, Measured, told_us};
use super::driver::absent;
use super::figures::{middle, to_hundredth, to_tenth};
use super::ground::Folder;
use crate::failure::Exit;
use crate::output::{Printer, Progress, Report};
use crate::targets::pieces::database::Database;

/// Where pgbench's tables are: the shop has a database of its own.
const PEERS_DATABASE: &str = "postgres";
/// A million accounts, so that clients seldom meet at a row.
const SCALE: &str = "10";

/// How it is measured.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    /// How the shop is loaded in each turn.
    pub load: Load,
    /// Seconds of pgbench in each turn.
    pub seconds: u32,
    /// Turns of each; the middle one counts.
    pub rounds: u32,
    /// The ratio under which the verdict is a missed objective.
    pub at_least: Option<f64>,
}

/// One turn of each.
#[derive(Clone, Copy, Debug)]
struct Turn {
    pgbench_per_second: f64,
    orders_per_second: f64,
    failed: u64,
    shop_us: Option<f64>,
    server_us: Option<f64>,
}

impl Turn {
    fn new(pgbench_per_second: f64, measured: &Measured) -> Self {
        Self {
            pgbench_per_second,
            orders_per_second: measured.orders_per_second(),
            failed: measured.failed(),
            shop_us: measured.shop_us_per_order(),
            server_us: measured.beneath_us_per_order(),
        }
    }

    fn ratio(&self) -> f64 {
        self.orders_per_second / self.pgbench_per_second.max(f64::EPSILON)
    }
}

/// Makes a server, runs both on it in turns, and reports the middle one of each.
///
/// # Errors
/// When PostgreSQL or pgbench is not installed, the shop does not start, or carts cannot be filled.
pub fn run(ground: &Ground, turns: Turns, env: &Env, printer: &Printer) -> anyhow::Result<Report> {
    // The server's keeper works on this runtime while this thread drives.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let folder = ground.folder("postgres");
    let mut progress = Progress::new(printer);
    progress.step("making a PostgreSQL", 0, 0);
    let (database, _) = runtime.block_on(Database::start(folder.path(), false))?;
    let measured = measure(ground, &folder, &database, turns, env, &mut progress);
    runtime.block_on(database.stop());
    progress.clear();
    Ok(report(turns, &measured?))
}

fn measure(
    ground: &Ground,
    folder: &Folder,
    database: &Database,
    turns: Turns,
    env: &Env,
    progress: &mut Progress<'_>,
) -> anyhow::Result<Vec<Turn>> {
    let rounds = turns.rounds.max(1);
    let Turns { load, .. } = turns;
    progress.step("filling pgbench's tables", 0, 0);
    ask(pgbench(database).args(["-i", "-q", "-s", SCALE]))?;
    progress.step("starting a shop on it", 0, 0);
    let shop = ground.start(folder, &["--database-url", database.url()])?;
    let server_cpu = || database.cpu_time();
    let orders = load.orders * usize::try_from(rounds).unwrap_or(usize::MAX);
    let course = Course::prepare(&shop, load, orders, env, &server_cpu)?;
    course.warm_up(progress)?;
    let (clients, seconds) = (load.buyers.to_string(), turns.seconds.to_string());
    let mut taken = Vec::new();
    for round in 1..=rounds {
        progress.step("pgbench", round.into(), rounds.into());
        let mut peer = pgbench(database);
        peer.args(["-n", "-N", "-M", "prepared", "-j", "1", "-c", &clients, "-T", &seconds]);
        let said = ask(&mut peer)?;
        let per_second = parse(&said).with_context(|| format!("pgbench said something else:\n{said}"))?;
        taken.push(Turn::new(per_second, &course.drive(load.orders, progress)?));
    }
    shop.stop()?;
    Ok(taken)
}

fn pgbench(database: &Database) -> Command {
    let mut command = database.client("pgbench");
    command.env("PGDATABASE", PEERS_DATABASE);
    command
}

/// Runs it to its end: what it said on stdout.
fn ask(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().map_err(|error| absent("pgbench", error))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "pgbench failed: {}", stderr.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Transactions a second; absent also when some failed.
fn parse(said: &str) -> Option<f64> {
    let after = |start: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(start))?;
        line.split_whitespace().next()
    };
    if after("number of failed transactions: ").is_some_and(|failed| failed != "0") {
        return None;
    }
    after("tps = ")?.parse().ok()
}

fn report(turns: Turns, taken: &[Turn]) -> Report {
    let ratio = places(middle(taken, Turn::ratio));
    let failed: u64 = taken.iter().map(|turn| turn.failed).sum();
    let orders = middle(taken, |turn| turn.orders_per_second);
    let peer = to_tenth(middle(taken, |turn| turn.pgbench_per_second));
    let middle_us = |of: fn(&Turn) -> Option<f64>| {
        let told: Option<Vec<f64>> = taken.iter().map(of).collect();
        told.map(|told| middle(&told, |us| *us))
    };
    let (shop_us, server_us) = (middle_us(|turn| turn.shop_us), middle_us(|turn| turn.server_us));
    let each = taken.iter().map(|turn| {
        json!({
            "orders_per_second": turn.orders_per_second,
            "pgbench_per_second": turn.pgbench_per_second,
            "ratio": places(turn.ratio()),
        })
    });
    let data = json!({
        "buyers": turns.load.buyers,
        "orders": turns.load.orders,
        "failed": failed,
        "orders_per_second": orders,
        "pgbench_per_second": peer,
        "ratio": ratio,
        "shop_cpu_us_per_order": shop_us,
        "server_cpu_us_per_order": server_us,
        "rounds": each.collect::<Vec<_>>(),
    });
    let report = Report::facts(
        data,
        [
            ("orders a second", format!("{orders:.0}")),
            ("pgbench", format!("{peer:.0} transactions a second")),
            ("ratio", format!("{ratio:.3} ×")),
            ("failed", failed.to_string()),
            ("shop CPU per order", told_us(shop_us)),
            ("PostgreSQL CPU per order", told_us(server_us)),
        ],
    );
    let whole = format!(
        "{} at once on one server, synced before the answer, the middle of {} turns",
        turns.load.buyers, turns.rounds
    );
    match turns.at_least {
        _ if failed > 0 => report.exit(Exit::Partial).last_line(format!("{failed} orders failed; {whole}")),
        Some(least) if ratio < least => report
            .exit(Exit::Threshold)
            .last_line(format!("under the {least} × that were asked for; {whole}")),
        _ => report.last_line(whole),
    }
}

/// To four places.
fn places(ratio: f64) -> f64 {
    to_hundredth(ratio * 100.0) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pgbench_says_is_understood() {
        let said = "transaction type: <builtin: simple update>\nnumber of failed transactions: 0 (0.000%)\n\
                    latency average = 14.5 ms\ntps = 4401.25 (without initial connection time)\n";
        assert_eq!(parse(said), Some(4401.25));
        assert_eq!(parse(&said.replace(": 0 (0", ": 3 (0")), None);
        assert_eq!(parse("nothing"), None);
    }

    #[test]
    fn the_middle_ratio_is_held_against_the_bound_and_a_failed_order_is_worse() {
        let load = Load { buyers: 8, orders: 1, warm_up: 0, threads: 1 };
        let turn = |pgbench_per_second, orders_per_second, failed| Turn {
            pgbench_per_second,
            orders_per_second,
            failed,
            shop_us: Some(2000.0),
            server_us: None,
        };
        let made = |at_least, failed| {
            let turns = Turns { load, seconds: 1, rounds: 3, at_least };
            report(turns, &[turn(1000.0, 100.0, 0), turn(4000.0, 200.0, failed), turn(1000.0, 10.0, 0)])
        };
        let data = made(None, 0).data;
        assert_eq!((&data["ratio"], &data["orders_per_second"]), (&json!(0.05), &json!(100.0)));
        assert_eq!(
            (&data["shop_cpu_us_per_order"], &data["server_cpu_us_per_order"]),
            (&json!(2000.0), &json!(null))
        );
        assert_eq!(made(Some(0.05), 0).exit_code(), Exit::Ok);
        assert_eq!(made(Some(0.06), 0).exit_code(), Exit::Threshold);
        assert_eq!(made(Some(0.05), 1).exit_code(), Exit::Partial);
    }
}
