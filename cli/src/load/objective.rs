//! What a run has to meet: `checkout.p99<200ms`, `reads.p99<50ms`, `errors<1%`, `availability>=99.9%`.
//!
//! Latencies are the corrected ones, over every outcome; time-outs and drops are in at the time-out. `errors` is the
//! fraction of steps that count against the shop, `availability` the fraction that got an answer in time that is
//! not a 5xx. Where no objective speaks of the `errors` or the `availability` of all steps, `availability>=99%` is judged
//! as well: errors are fast. Without a step an objective speaks of all of them; `reads` are those that only look, `writes` the others.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::length::Length;
use super::record::{ObjectiveResult, Outcome};
use super::step::Step;
use super::tally::Tally;
use crate::failure::nearest;

/// What a run has to meet.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    text: String,
    subject: Subject,
    metric: Metric,
    comparison: Comparison,
    /// Seconds, or a fraction.
    limit: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Subject {
    All,
    Reads,
    Writes,
    One(Step),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    Quantile(f64),
    Mean,
    Max,
    Errors,
    Availability,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Under,
    AtMost,
    Over,
    AtLeast,
}

const COMPARISONS: [(&str, Comparison); 4] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("<", Comparison::Under),
    (">", Comparison::Over),
];
const METRICS: [(&str, Metric); 9] = [
    ("p50", Metric::Quantile(0.5)),
    ("p90", Metric::Quantile(0.9)),
    ("p95", Metric::Quantile(0.95)),
    ("p99", Metric::Quantile(0.99)),
    ("p99.9", Metric::Quantile(0.999)),
    ("mean", Metric::Mean),
    ("max", Metric::Max),
    ("errors", Metric::Errors),
    ("availability", Metric::Availability),
];
/// Ends without an answer that can be used: what makes a shop unavailable.
const UNANSWERED: [Outcome; 5] =
    [Outcome::Refused, Outcome::Broken, Outcome::Timeout, Outcome::ServerError, Outcome::Dropped];

/// What every run has to meet whose objectives leave failures out.
const IMPLICIT_AVAILABILITY: f64 = 0.99;

impl Objective {
    /// `given`, and `availability>=99%` when none of them speaks of the failures of all steps: errors are fast.
    pub(super) fn with_implicit(given: &[Self]) -> Vec<Self> {
        let mut all = given.to_vec();
        let is_of_failures = |one: &Self| one.subject == Subject::All && one.metric.is_fraction();
        if !given.iter().any(is_of_failures) {
            all.push(Self {
                text: format!("availability>={}%", IMPLICIT_AVAILABILITY * 100.0),
                subject: Subject::All,
                metric: Metric::Availability,
                comparison: Comparison::AtLeast,
                limit: IMPLICIT_AVAILABILITY,
            });
        }
        all
    }

    /// Whether both measure the same of the same steps, so that the one can stand for the other.
    pub(super) fn is_about_the_same_as(&self, other: &Self) -> bool {
        (self.subject, self.metric) == (other.subject, other.metric)
    }

    /// Whether `seen` meets it.
    pub(super) fn judge(&self, seen: &Tally) -> ObjectiveResult {
        let value = self.measure(seen);
        ObjectiveResult {
            objective: self.text.clone(),
            seen: value.map(|value| self.metric.told(value)),
            met: value.map(|value| self.comparison.holds(value, self.limit)),
        }
    }

    /// Seconds or a fraction; absent when there is nothing to measure.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    fn measure(&self, seen: &Tally) -> Option<f64> {
        let wanted = |step| self.subject.holds(step);
        let (count, errors) = seen.count(wanted);
        if count == 0 {
            return None;
        }
        Some(match self.metric {
            Metric::Quantile(quantile) => seen.response(wanted).quantile(quantile).as_secs_f64(),
            Metric::Mean => seen.response(wanted).mean().as_secs_f64(),
            Metric::Max => seen.response(wanted).max().as_secs_f64(),
            Metric::Errors => errors as f64 / count as f64,
            Metric::Availability => 1.0 - seen.count_of(wanted, &UNANSWERED) as f64 / count as f64,
        })
    }
}

impl Subject {
    fn holds(self, step: Step) -> bool {
        match self {
            Self::All => true,
            Self::Reads => step.is_read(),
            Self::Writes => !step.is_read(),
            Self::One(one) => one == step,
        }
    }

    fn find(word: &str) -> Result<Self, String> {
        let known = Step::ALL.into_iter().map(Step::name).chain(["reads", "writes"]);
        match (word, Step::find(word)) {
            ("reads", _) => Ok(Self::Reads),
            ("writes", _) => Ok(Self::Writes),
            (_, Some(step)) => Ok(Self::One(step)),
            (_, None) => Err(unknown("step", word, known)),
        }
    }
}

impl Metric {
    fn told(self, value: f64) -> String {
        match self {
            Self::Errors | Self::Availability => format!("{} %", round(value * 100.0, 1000.0)),
            Self::Quantile(_) | Self::Mean | Self::Max => format!("{} ms", round(value * 1000.0, 100.0)),
        }
    }

    fn is_fraction(self) -> bool {
        matches!(self, Self::Errors | Self::Availability)
    }
}

impl Comparison {
    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Under => value < limit,
            Self::AtMost => value <= limit,
            Self::Over => value > limit,
            Self::AtLeast => value >= limit,
        }
    }
}

fn round(value: f64, to: f64) -> f64 {
    (value * to).round() / to
}

fn unknown<'a>(what: &str, word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("there is no {what} `{word}`: did you mean `{near}`?"),
        None => format!("there is no {what} `{word}`; there are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
        let found = COMPARISONS.iter().find_map(|(sign, comparison)| {
            text.split_once(sign).map(|(left, right)| (left.to_owned(), *comparison, right.to_owned()))
        });
        let (left, comparison, limit) =
            found.ok_or_else(|| "an objective, as checkout.p99<200ms or errors<1%".to_owned())?;
        // p99.9 has a point of its own.
        let known = || METRICS.iter().map(|(name, _)| *name);
        let (subject, metric) = match left.split_once('.') {
            _ if known().any(|name| name == left) => (Subject::All, left.as_str()),
            Some((step, metric)) => (Subject::find(step)?, metric),
            None => (Subject::All, left.as_str()),
        };
        let metric = METRICS.iter().find(|(name, _)| *name == metric).map(|(_, metric)| *metric);
        let metric =
            metric.ok_or_else(|| unknown("measure", left.rsplit('.').next().unwrap_or(&left), known()))?;
        let limit = if metric.is_fraction() { fraction(&limit)? } else { limit.parse::<Length>()?.seconds() };
        Ok(Self { text, subject, metric, comparison, limit })
    }
}

fn fraction(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    percent
        .filter(|percent| (0.0..=100.0).contains(percent))
        .map(|percent| percent / 100.0)
        .ok_or_else(|| "a percentage, as 1% or 99.9%".to_owned())
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Objective {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Objective {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tally::End;
    use super::*;

    fn seen(ends: &[(Step, Outcome, u64)]) -> Tally {
        let mut tally = Tally::default();
        for (step, outcome, ms) in ends {
            let response = Duration::from_millis(*ms);
            tally.end(End { step: *step, outcome: *outcome, service: None, response, lag: Duration::ZERO });
        }
        tally
    }

    fn met(objective: &str, ends: &[(Step, Outcome, u64)]) -> Option<bool> {
        objective.parse::<Objective>().unwrap().judge(&seen(ends)).met
    }

    #[test]
    fn each_speaks_of_its_own_steps() {
        let ends = [(Step::Product, Outcome::Ok, 10), (Step::Checkout, Outcome::Ok, 150)];
        assert_eq!(met("checkout.p99 < 200ms", &ends), Some(true));
        assert_eq!(met("checkout.p99<100ms", &ends), Some(false));
        assert_eq!(met("reads.max<=11ms", &ends), Some(true));
        assert_eq!(met("writes.p50<100ms", &ends), Some(false));
        assert_eq!(met("p99.9<100ms", &ends), Some(false));
        assert_eq!(met("search.p99<100ms", &ends), None);
    }

    #[test]
    fn a_refusal_that_is_right_is_no_error_and_a_429_is_not_unavailable() {
        let ends = [
            (Step::Checkout, Outcome::Expected, 1),
            (Step::Checkout, Outcome::RateLimited, 1),
            (Step::Checkout, Outcome::Dropped, 1),
            (Step::Checkout, Outcome::Ok, 1),
        ];
        assert_eq!(met("errors<=50%", &ends), Some(true));
        assert_eq!(met("errors<50%", &ends), Some(false));
        assert_eq!(met("availability>=75%", &ends), Some(true));
        assert_eq!(met("availability>75%", &ends), Some(false));
    }

    #[test]
    fn fast_errors_pass_no_objective_about_times() {
        let judged = |given: &[&str]| -> Vec<String> {
            let given: Vec<Objective> = given.iter().map(|text| text.parse().unwrap()).collect();
            Objective::with_implicit(&given).iter().map(ToString::to_string).collect()
        };
        assert_eq!(judged(&["p99<1s"]), ["p99<1s", "availability>=99%"]);
        assert_eq!(judged(&["checkout.errors<1%"]), ["checkout.errors<1%", "availability>=99%"]);
        assert_eq!(judged(&["errors<5%"]), ["errors<5%"]);
        assert_eq!(judged(&["availability>=50%"]), ["availability>=50%"]);
        let implicit = Objective::with_implicit(&[]).remove(0);
        assert_eq!(implicit, implicit.to_string().parse().unwrap());
        assert_eq!(implicit.judge(&seen(&[(Step::Product, Outcome::ServerError, 1)])).met, Some(false));
    }

    #[test]
    fn a_mistake_is_told_with_what_was_meant() {
        let said = |text: &str| text.parse::<Objective>().unwrap_err();
        assert_eq!(said("chekout.p99<1s"), "there is no step `chekout`: did you mean `checkout`?");
        assert_eq!(said("checkout.p98<1s"), "there is no measure `p98`: did you mean `p99`?");
        assert_eq!(said("errors<5"), "a percentage, as 1% or 99.9%");
        assert!(said("p99").starts_with("an objective"));
        assert!(said("p99<1").starts_with("a number with its unit"));
    }
}
