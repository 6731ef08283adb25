//! What is read out of the seconds of a run once it is over: how soon a spike was forgotten, whether a soak crept.

use super::record::{Drift, Recovery, Second};
use super::schedule::Schedule;

/// How many seconds are looked at together: in a quiet one the slowest of a few requests is the p99, so that one alone says
/// nothing, before a spike or after it.
const TOGETHER: usize = 5;

/// How soon things were as before the spike of `schedule`; absent when there was none, or the run ended before it.
///
/// As before is: no error, and in every five seconds from then on a middle one of the corrected p99s that is at most twice the
/// middle one before, or 5 ms more. Sign-ins are left out: the hash of one password takes longer than any other request.
pub(super) fn recovery(schedule: &Schedule, seconds: &[Second]) -> Option<Recovery> {
    let (_, before_end) = schedule.span("before")?;
    let (_, spike_to_s) = schedule.span("falling")?;
    let within =
        |from: f64, to: f64| seconds.iter().filter(move |second| at(second) >= from && at(second) < to);
    let before_p99_us = middle(within(0.0, before_end).map(p99_us))?;
    let worst_p99_us = within(before_end, spike_to_s).map(p99_us).max()?;
    let limit_us = (before_p99_us * 2).max(before_p99_us + 5000);
    let after: Vec<&Second> = within(spike_to_s, schedule.seconds()).collect();
    let together = after.windows(TOGETHER.min(after.len()).max(1));
    let is_restless = |some: &[&Second]| middle(some.iter().map(|second| p99_us(second))) > Some(limit_us);
    let restless: Vec<bool> = together.map(is_restless).collect();
    let calm_from = restless.iter().rposition(|is_restless| *is_restless).map_or(0, |last| last + 1);
    let well_from = after.iter().rposition(|second| !second.errors.is_empty()).map_or(0, |last| last + 1);
    // After the last five seconds there is nothing that could tell.
    let is_over = calm_from < restless.len();
    let first = after.get(calm_from.max(well_from)).filter(|_| is_over);
    let took_s = first.map(|second| at(second) - spike_to_s);
    Some(Recovery { spike_from_s: before_end, spike_to_s, before_p99_us, worst_p99_us, took_s })
}

fn p99_us(second: &Second) -> u64 {
    second.without_sign_ins.p99_us
}

/// The last fifth of the load beside its first; absent when it was shorter than ten seconds.
#[expect(clippy::cast_precision_loss, reason = "microseconds and counts far below 2^52")]
pub(super) fn drift(schedule: &Schedule, seconds: &[Second]) -> Option<Drift> {
    let (from, to) = schedule.span("steady")?;
    let load: Vec<&Second> = seconds.iter().filter(|second| at(second) >= from && at(second) < to).collect();
    let fifth = load.len() / 5;
    if fifth < 2 {
        return None;
    }
    let (first, last) = (&load[..fifth], &load[load.len() - fifth..]);
    let p99 = |part: &[&Second]| middle(part.iter().copied().map(p99_us));
    let resident = |part: &[&Second]| middle(part.iter().filter_map(|second| second.server?.resident_kib));
    let rate = |part: &[&Second]| {
        part.iter().map(|second| second.requests).sum::<u64>() as f64 / part.len().max(1) as f64
    };
    let (first_p99_us, last_p99_us) = (p99(first)?, p99(last)?);
    Some(Drift {
        first_p99_us,
        last_p99_us,
        p99_factor: last_p99_us as f64 / first_p99_us.max(1) as f64,
        first_resident_kib: resident(first),
        last_resident_kib: resident(last),
        first_requests_per_s: rate(first),
        last_requests_per_s: rate(last),
    })
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a run")]
fn at(second: &Second) -> f64 {
    second.at_s as f64
}

/// The middle of `all`; absent when there are none.
fn middle(all: impl Iterator<Item = u64>) -> Option<u64> {
    let mut all: Vec<u64> = all.collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::super::record::{Outcome, StepSecond};
    use super::super::schedule::Piece;
    use super::*;

    /// What a sign-in takes, which is no sign of unrest.
    const SIGN_IN_US: u64 = 30_000;

    fn seconds(p99_ms: &[u64]) -> Vec<Second> {
        let second = |(at, ms): (usize, &u64)| Second {
            at_s: at as u64,
            requests: 100,
            all: StepSecond { count: 101, p99_us: (ms * 1000).max(SIGN_IN_US), ..StepSecond::default() },
            without_sign_ins: StepSecond { count: 100, p99_us: ms * 1000, ..StepSecond::default() },
            ..Second::default()
        };
        p99_ms.iter().enumerate().map(second).collect()
    }

    fn spike() -> Schedule {
        Schedule::new(vec![
            Piece::level("before", 3.0, 10.0),
            Piece::new("rising", 1.0, 10.0, 100.0),
            Piece::level("spike", 2.0, 100.0),
            Piece::new("falling", 1.0, 100.0, 10.0),
            Piece::level("recovering", 8.0, 10.0),
        ])
    }

    /// A run whose seconds after the spike have these p99s.
    fn recovered(after_ms: [u64; 8]) -> Recovery {
        let mut all = vec![10, 10, 12, 20, 90, 80, 70];
        all.extend(after_ms);
        recovery(&spike(), &seconds(&all)).unwrap()
    }

    #[test]
    fn recovery_ends_when_nothing_is_restless_any_more() {
        let told = recovered([60, 60, 60, 60, 15, 12, 10, 10]);
        assert_eq!((told.before_p99_us, told.worst_p99_us), (10_000, 90_000));
        assert_eq!(told.took_s, Some(2.0), "from then on most of any five seconds are as before");
        assert_eq!(recovered([12; 8]).took_s, Some(0.0));
        assert_eq!(
            recovered([12, 12, 90, 12, 12, 12, 90, 12]).took_s,
            Some(0.0),
            "one slow request now and then"
        );
        assert_eq!(recovered([12, 12, 12, 12, 12, 60, 60, 60]).took_s, None);
        assert_eq!(recovered([60; 8]).took_s, None);
        let mut failing = seconds(&[10; 15]);
        failing[8].errors.insert(Outcome::ServerError, 1);
        assert_eq!(recovery(&spike(), &failing).unwrap().took_s, Some(2.0));
    }

    #[test]
    fn drift_compares_the_last_fifth_with_the_first() {
        let schedule = Schedule::new(vec![Piece::level("steady", 10.0, 10.0)]);
        let told = drift(&schedule, &seconds(&[10, 10, 50, 50, 50, 50, 50, 50, 30, 30, 99])).unwrap();
        assert_eq!((told.first_p99_us, told.last_p99_us), (10_000, 30_000));
        assert!((told.p99_factor - 3.0).abs() < 1e-9);
        assert_eq!(drift(&schedule, &seconds(&[10; 5])), None);
    }
}
