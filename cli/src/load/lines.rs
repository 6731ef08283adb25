//! A run in lines: one a second while it goes on, tables when it is over.

use std::time::Duration;

use super::record::{Outcome, RunRecord, VerdictWord};
use super::snapshot::Snapshot;
use super::verdict::told_errors;
use crate::output::{Body, Paint, Report, Table};

/// A second of a run: `12 s  asked 50  started 50  in flight 3  p50 2.1 ms  p99 8.4 ms  errors none`.
#[must_use]
pub fn second(snapshot: &Snapshot) -> String {
    let second = &snapshot.second;
    let mut line = format!(
        "{:>4} s  asked {:>5}  started {:>5}  requests {:>6}  in flight {:>5}  p50 {:>9}  p99 {:>9}",
        second.at_s + 1,
        second.asked,
        second.started,
        second.requests,
        second.in_flight,
        ms(second.all.p50_us),
        ms(second.all.p99_us),
    );
    if !second.errors.is_empty() {
        line.push_str(&format!("  errors {}", told_errors(second.errors.clone())));
    }
    if let Some(sagas) = second.server.and_then(|server| server.sagas_in_flight).filter(|sagas| *sagas > 0) {
        line.push_str(&format!("  sagas {sagas}"));
    }
    if !matches!(snapshot.phase.as_str(), "steady") {
        line.push_str(&format!("  [{}]", snapshot.phase));
    }
    line
}

/// A run that is over, as the result of a command, on a terminal of so many columns when that is known.
///
/// # Errors
/// When the record cannot be put into words for scripts.
pub fn report(record: &RunRecord, paint: Paint, columns: Option<u16>) -> anyhow::Result<Report> {
    let mut text = steps(record).draw(columns);
    text.push('\n');
    for (name, value) in facts(record) {
        text.push_str(&format!("{}  {value}\n", paint.bold(&format!("{name:<11}"))));
    }
    if !record.plateaus.is_empty() {
        text.push('\n');
        text.push_str(&plateaus(record).draw(columns));
    }
    text.push('\n');
    text.push_str(&verdict(record, paint));
    Ok(Report::new(serde_json::to_value(record)?, Body::Text(text)).exit(record.verdict.word.exit()))
}

/// The steps as rows. Times are corrected but for the last column.
#[must_use]
pub fn steps(record: &RunRecord) -> Table {
    let mut table =
        Table::new(["step", "count", "errors", "p50", "p90", "p99", "p99.9", "max", "uncorrected p99"]);
    for step in &record.steps {
        let at = |quantile| told(step.response.quantile(quantile));
        table.row([
            step.step.clone(),
            step.count.to_string(),
            step.errors.to_string(),
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            told(step.response.max()),
            told(step.service.quantile(0.99)),
        ]);
    }
    table
}

/// Rates that were held for a while, as rows.
pub(super) fn plateaus(record: &RunRecord) -> Table {
    let mut table = Table::new(["rate", "started", "p50", "p99", "met", "why"]);
    for plateau in &record.plateaus {
        let met = match plateau.met {
            Some(true) => "yes",
            Some(false) => "no",
            None => "unknown",
        };
        table.row([
            format!("{:.1}/s", plateau.asked_per_s),
            format!("{:.1}/s", plateau.started_per_s),
            ms(plateau.p50_us),
            ms(plateau.p99_us),
            met.to_owned(),
            plateau.why.join("; "),
        ]);
    }
    table
}

/// What is known beside the steps, by name.
pub(super) fn facts(record: &RunRecord) -> Vec<(&'static str, String)> {
    let journeys = &record.journeys;
    let mut facts = vec![
        (
            "journeys",
            format!(
                "{} asked ({:.1}/s), {} started ({:.1}/s), {} completed, {} broken off, {} dropped in {:.1} s",
                journeys.asked,
                journeys.asked_per_s,
                journeys.started,
                journeys.started_per_s,
                journeys.completed,
                journeys.broken_off,
                journeys.dropped,
                record.lasted_s
            ),
        ),
        ("errors", told_errors(record.outcomes.clone())),
    ];
    if let Some(expected) = record.outcomes.get(&Outcome::Expected) {
        facts.push(("expected", format!("{expected} refusals that were right: sold out, or declined")));
    }
    if journeys.without_account > 0 {
        let looked = journeys.without_account;
        facts.push((
            "accounts",
            format!(
                "{looked} who came back to buy only looked: others had every account (raise `signed_in.accounts`)"
            ),
        ));
    }
    if record.was_changed {
        facts.push(("by hand", "somebody paused the load or changed how much there was".to_owned()));
    }
    facts.push((
        "generator",
        format!("late by {} (p99), {} threads", told(record.lateness.quantile(0.99)), record.machine.workers),
    ));
    if let Some(journal) = &record.journal {
        facts.push(("orders", format!("{} acknowledged", journal.orders)));
    }
    if let Some(knee) = record.knee_per_s {
        // Where nothing was too much the edge is further on.
        let is_edge = record.plateaus.iter().any(|plateau| plateau.met == Some(false));
        let at_least = if is_edge { "" } else { "at least " };
        facts.push(("knee", format!("{at_least}{knee:.1} journeys a second met the objectives")));
    }
    if let Some(recovery) = &record.recovery {
        let took =
            recovery.took_s.map_or("not within the run".to_owned(), |took| format!("after {took:.0} s"));
        facts.push((
            "recovery",
            format!(
                "{took}; p99 {} before, {} at worst",
                ms(recovery.before_p99_us),
                ms(recovery.worst_p99_us)
            ),
        ));
    }
    if let Some(drift) = &record.drift {
        facts.push((
            "drift",
            format!(
                "p99 {} in the first fifth, {} in the last",
                ms(drift.first_p99_us),
                ms(drift.last_p99_us)
            ),
        ));
    }
    facts.extend(server(record).map(|told| ("shop", told)));
    facts.push(("seed", record.seed.to_string()));
    facts
}

/// The most that the shop's own view showed.
fn server(record: &RunRecord) -> Option<String> {
    let samples: Vec<_> = record.seconds.iter().filter_map(|second| second.server).collect();
    let cpu = samples
        .iter()
        .filter_map(|sample| sample.cpu)
        .fold(None, |most: Option<f64>, cpu| Some(most.map_or(cpu, |most| most.max(cpu))))?;
    let resident = samples.iter().filter_map(|sample| sample.resident_kib).max()?;
    let sagas = samples.iter().filter_map(|sample| sample.sagas_in_flight).max().unwrap_or(0);
    Some(format!(
        "at most {cpu:.2} processors, {:.1} MiB, {sagas} sagas in flight",
        f64::from(u32::try_from(resident).unwrap_or(u32::MAX)) / 1024.0
    ))
}

fn verdict(record: &RunRecord, paint: Paint) -> String {
    let word = record.verdict.word;
    let painted = match word {
        VerdictWord::Pass => paint.green(word.word()),
        VerdictWord::Missed | VerdictWord::Broken => paint.red(word.word()),
        VerdictWord::Unknown => paint.yellow(word.word()),
    };
    let mut text = String::new();
    for result in &record.objectives {
        let mark = match result.met {
            Some(true) => paint.green("met"),
            Some(false) => paint.red("missed"),
            None => paint.yellow("unknown"),
        };
        let seen = result.seen.as_deref().unwrap_or("no such step was taken");
        text.push_str(&format!("  {mark}  {}  ({seen})\n", result.objective));
    }
    text.push_str(&format!("verdict: {painted}\n"));
    for reason in &record.verdict.reasons {
        text.push_str(&format!("  {reason}\n"));
    }
    for hint in &record.verdict.hints {
        text.push_str(&format!("  {} {hint}\n", paint.cyan("hint:")));
    }
    text
}

/// A length of time in milliseconds.
#[must_use]
pub fn told(time: Duration) -> String {
    ms(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// Microseconds in milliseconds, with as many digits as mean something.
pub(super) fn ms(us: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "at most a minute")]
    let ms = us as f64 / 1000.0;
    match us {
        0..10_000 => format!("{ms:.2} ms"),
        10_000..1_000_000 => format!("{ms:.1} ms"),
        _ => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::record::{Second, StepSecond};
    use crate::load::snapshot::SoFar;

    #[test]
    fn a_second_fits_in_a_line() {
        let snapshot = Snapshot {
            scenario: "mixed".into(),
            target: "http://127.0.0.1:1".into(),
            phase: "rising".into(),
            planned_s: Some(60.0),
            is_paused: false,
            factor: 1.0,
            second: Second {
                at_s: 11,
                asked: 50,
                started: 49,
                requests: 180,
                in_flight: 3,
                all: StepSecond {
                    count: 180,
                    errors: 2,
                    p50_us: 2140,
                    p99_us: 18_400,
                    ..StepSecond::default()
                },
                errors: [(Outcome::Timeout, 2)].into(),
                ..Second::default()
            },
            so_far: SoFar::default(),
        };
        insta::assert_snapshot!(second(&snapshot), @"  12 s  asked    50  started    49  requests    180  in flight     3  p50   2.14 ms  p99   18.4 ms  errors 2 timeout  [rising]");
    }

    #[test]
    fn times_have_the_digits_that_mean_something() {
        assert_eq!([ms(950), ms(12_340), ms(1_920_400)], ["0.95 ms", "12.3 ms", "1920 ms"]);
    }
}
