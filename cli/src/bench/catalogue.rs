//! What a catalogue read through the gateway costs, beside bare axum that returns the same bytes: processor time of the
//! server a request, both over sockets, driven by our engine in turns in one run.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use super::Ground;
use super::bare::Bare;
use super::driver::{Drive, per_request_us};
use super::figures::{middle, to_hundredth};
use super::ground::Shop;
use super::load_engine::Rounds;
use crate::failure::Exit;
use crate::output::{Printer, Progress, Report};
use crate::{process, wire};

/// The page.
const PATH: &str = "/v1/products";
const QUERY: &str = "?limit=20";
/// How long the shop may take to answer once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Drives both in turns, and reports the middle round of each.
///
/// # Errors
/// When the shop does not start, or a driver saw errors.
pub fn run(ground: &Ground, rounds: Rounds, printer: &Printer) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (folder, own) = (ground.folder("catalogue"), ground.folder("catalogue-driver"));
    let mut progress = Progress::new(printer);
    progress.step(&format!("starting a shop on {}", ground.engine), 0, 0);
    let shop = ground.start(&folder, &[])?;
    let path = format!("{PATH}{QUERY}");
    let reply = runtime.block_on(wire::get(&shop.url(), &path, PATIENCE))?;
    anyhow::ensure!(reply.status.is_success(), "the shop answered {} to GET {path}", reply.status);
    let bytes = reply.body.len();
    let bare = Bare::serve(PATH, reply.body)?;
    let drive = |url: String| Drive {
        url,
        path: path.clone(),
        connections: rounds.connections,
        seconds: rounds.seconds,
    };
    let (mut gateway_us, mut bare_us) = (Vec::new(), Vec::new());
    for round in 1..=rounds.rounds.max(1) {
        progress.step("gateway and bare axum in turns", round.into(), rounds.rounds.into());
        bare_us.push(cost(|| bare.cpu_time(), || Ok(drive(bare.url()).ours(own.path())?.requests))?);
        let shop_cpu = || process::cpu_time(Shop::pid(&shop));
        gateway_us.push(cost(shop_cpu, || Ok(drive(shop.url()).ours(own.path())?.requests))?);
    }
    shop.stop()?;
    progress.clear();
    Ok(report(ground, rounds, bytes, &gateway_us, &bare_us))
}

/// Microseconds of the server's processor time a request of `drive`.
fn cost(
    cpu: impl Fn() -> Option<Duration>,
    drive: impl FnOnce() -> anyhow::Result<u64>,
) -> anyhow::Result<f64> {
    let before = cpu().context("the system does not say how much processor time a server used")?;
    let requests = drive()?;
    let after = cpu().context("the server has ended")?;
    Ok(per_request_us(after.saturating_sub(before), requests))
}

fn report(ground: &Ground, rounds: Rounds, bytes: usize, gateway_us: &[f64], bare_us: &[f64]) -> Report {
    let (gateway, bare) = (middle(gateway_us, |us| *us), middle(bare_us, |us| *us));
    let ratio = to_hundredth(gateway / bare.max(f64::EPSILON));
    let data = json!({
        "engine": ground.engine,
        "answer_bytes": bytes,
        "connections": rounds.connections,
        "seconds": rounds.seconds,
        "rounds": rounds.rounds,
        "gateway_us": to_hundredth(gateway),
        "bare_us": to_hundredth(bare),
        "ratio": ratio,
    });
    let report = Report::facts(
        data,
        [
            ("gateway", format!("{gateway:.1} µs of CPU a request")),
            ("bare axum", format!("{bare:.1} µs of CPU a request")),
            ("ratio", format!("{ratio:.2} ×")),
        ],
    );
    let whole = format!("GET {PATH}{QUERY}, {bytes} bytes, the middle of {} rounds", rounds.rounds);
    match rounds.at_most {
        Some(most) if ratio > most => {
            report.exit(Exit::Threshold).last_line(format!("over the {most} × that were asked for; {whole}"))
        }
        _ => report.last_line(whole),
    }
}
