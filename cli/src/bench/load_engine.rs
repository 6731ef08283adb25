//! What a request costs our load engine beside wrk: processor time of the driver, at the same number of connections,
//! against the same bare server, taken in turns in one run. Ours keeps its histograms; a ratio counts, not a time.

use bytes::Bytes;
use serde_json::json;

use super::Ground;
use super::bare::Bare;
use super::driver::{Drive, Driven};
use super::figures::{middle, to_hundredth};
use crate::failure::Exit;
use crate::output::{Printer, Progress, Report};

/// The page: as small as an answer of the shop's API may be.
const PATH: &str = "/page";
const BODY: &str = r#"{"items":[],"next_cursor":null}"#;

/// How it is measured.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// Connections at once.
    pub connections: u32,
    /// Seconds of each round.
    pub seconds: u32,
    /// Rounds of each; the middle one counts.
    pub rounds: u32,
    /// The ratio over which the verdict is a missed objective.
    pub at_most: Option<f64>,
}

/// Runs both in turns, and reports the middle round of each.
///
/// # Errors
/// When wrk is not installed, or a driver saw errors.
pub fn run(ground: &Ground, rounds: Rounds, printer: &Printer) -> anyhow::Result<Report> {
    let folder = ground.folder("load-engine");
    let server = Bare::serve(PATH, Bytes::from_static(BODY.as_bytes()))?;
    let drive = Drive {
        url: server.url(),
        path: PATH.to_owned(),
        connections: rounds.connections,
        seconds: rounds.seconds,
    };
    let mut progress = Progress::new(printer);
    let (mut ours, mut wrk) = (Vec::new(), Vec::new());
    for round in 1..=rounds.rounds.max(1) {
        progress.step("wrk and our engine in turns", round.into(), rounds.rounds.into());
        wrk.push(drive.wrk()?);
        ours.push(drive.ours(folder.path())?);
    }
    progress.clear();
    Ok(report(rounds, &ours, &wrk))
}

fn report(rounds: Rounds, ours: &[Driven], wrk: &[Driven]) -> Report {
    let (ours_us, wrk_us) =
        (middle(ours, Driven::cpu_us_per_request), middle(wrk, Driven::cpu_us_per_request));
    let ratio = to_hundredth(ours_us / wrk_us.max(f64::EPSILON));
    let rate = |all: &[Driven]| {
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        middle(all, |driven| driven.requests as f64 / f64::from(rounds.seconds)).round()
    };
    let data = json!({
        "connections": rounds.connections,
        "seconds": rounds.seconds,
        "rounds": rounds.rounds,
        "ours_us": to_hundredth(ours_us),
        "wrk_us": to_hundredth(wrk_us),
        "ratio": ratio,
        "ours_per_s": rate(ours),
        "wrk_per_s": rate(wrk),
    });
    let report = Report::facts(
        data,
        [
            ("our engine", format!("{ours_us:.2} µs of CPU a request, {:.0} requests/s", rate(ours))),
            ("wrk", format!("{wrk_us:.2} µs of CPU a request, {:.0} requests/s", rate(wrk))),
            ("ratio", format!("{ratio:.2} ×")),
        ],
    );
    let whole = format!("the middle of {} rounds at {} connections", rounds.rounds, rounds.connections);
    match rounds.at_most {
        Some(most) if ratio > most => {
            report.exit(Exit::Threshold).last_line(format!("over the {most} × that were asked for; {whole}"))
        }
        _ => report.last_line(whole),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_middle_rounds_are_compared_and_a_ratio_over_the_bound_is_missed() {
        let driven = |us: u64| Driven { requests: 1000, cpu: Duration::from_millis(us) };
        let rounds = |at_most| Rounds { connections: 64, seconds: 1, rounds: 3, at_most };
        let made = |at_most| {
            report(
                rounds(at_most),
                &[driven(30), driven(90), driven(40)],
                &[driven(20), driven(25), driven(10)],
            )
        };
        assert_eq!(made(None).data["ratio"], 2.0);
        assert_eq!(made(Some(1.5)).exit_code(), Exit::Threshold);
        assert_eq!(made(Some(2.0)).exit_code(), Exit::Ok);
    }
}
