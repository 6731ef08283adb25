//! Two runs side by side: what became worse beyond noise, step by step, from their whole histograms.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::latencies::Latencies;
use super::lines;
use super::record::{RunRecord, StepRecord, VerdictWord};
use crate::output::Table;

/// A percentile of fewer values than this is one of a few chances, and is not judged.
const P99_COUNT_MIN: u64 = 100;
const P50_COUNT_MIN: u64 = 20;
/// More errors than before by less than this fraction of all are not judged.
const ERRORS_MIN: f64 = 0.001;

/// How much two runs of the same thing differ, as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Noise(pub f64);

impl FromStr for Noise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim_end_matches('%').trim().parse::<f64>().ok();
        number
            .filter(|percent| (0.0..=1000.0).contains(percent))
            .map(|percent| Self(percent / 100.0))
            .ok_or_else(|| "a percentage, as 5% or 12.5%".to_owned())
    }
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", (self.0 * 1e6).round() / 1e4)
    }
}

/// What a change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// It is within the noise.
    Same,
    /// It is better, beyond the noise.
    Better,
    /// It is worse, beyond the noise: a regression.
    Worse,
    /// It cannot be told: too few values, or another load was asked for.
    Unknown,
}

impl Meaning {
    fn word(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Unknown => "unknown",
        }
    }
}

/// One quantity of one step in both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The step; `all` for all of them together.
    pub step: String,
    /// `p50_us` and `p99_us` (corrected), `error_rate` (a fraction) or `rate_per_s`.
    pub quantity: &'static str,
    /// In the first run.
    pub before: f64,
    /// In the second.
    pub after: f64,
    /// What it means.
    pub meaning: Meaning,
}

/// Two runs side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The first run.
    pub before: String,
    /// The second.
    pub after: String,
    /// What was taken for noise.
    pub noise: Noise,
    /// Every quantity of every step that both have; first of all steps together.
    pub changes: Vec<Change>,
    /// Why the two may not be comparable.
    pub remarks: Vec<String>,
}

impl Comparison {
    /// The changes for the worse.
    pub fn regressions(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.meaning == Meaning::Worse)
    }

    /// Whether anything could be compared at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.iter().all(|change| change.meaning == Meaning::Unknown)
    }

    /// The changes as rows.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::new(["step", "what", "before", "after", "change", ""]);
        for change in &self.changes {
            table.row([
                change.step.clone(),
                change.what().to_owned(),
                change.told(change.before),
                change.told(change.after),
                change.grown(),
                change.meaning.word().to_owned(),
            ]);
        }
        table
    }
}

impl Change {
    fn what(&self) -> &'static str {
        match self.quantity {
            "p50_us" => "p50",
            "p99_us" => "p99",
            "error_rate" => "errors",
            _ => "rate",
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "microseconds, at most a minute"
    )]
    fn told(&self, value: f64) -> String {
        match self.what() {
            "errors" => format!("{:.2} %", value * 100.0),
            "rate" => format!("{value:.1}/s"),
            _ => lines::ms(value as u64),
        }
    }

    /// By how much it grew: `+12.0 %`.
    fn grown(&self) -> String {
        if self.before > 0.0 {
            format!("{:+.1} %", 100.0 * (self.after - self.before) / self.before)
        } else {
            String::new()
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = (self.told(self.before), self.told(self.after));
        write!(f, "{} {} {before} -> {after}", self.step, self.what())?;
        let grown = self.grown();
        if grown.is_empty() { Ok(()) } else { write!(f, " ({grown})") }
    }
}

/// Compares two runs, `noise` being how much two runs of the same thing differ.
#[must_use]
pub fn compare(before: &RunRecord, after: &RunRecord, noise: Noise) -> Comparison {
    let all = |record: &RunRecord| Side::of("all", &record.steps.iter().collect::<Vec<_>>(), record);
    let is_same_load = !differ(before.journeys.asked_per_s, after.journeys.asked_per_s, noise);
    let mut changes = changes(&all(before), &all(after), noise, is_same_load);
    for step in &before.steps {
        if let Some(other) = after.steps.iter().find(|other| other.step == step.step) {
            let sides = (Side::of(&step.step, &[step], before), Side::of(&step.step, &[other], after));
            changes.extend(self::changes(&sides.0, &sides.1, noise, is_same_load));
        }
    }
    Comparison {
        before: before.id.clone(),
        after: after.id.clone(),
        noise,
        changes,
        remarks: remarks(before, after, is_same_load),
    }
}

/// Some steps of a run, put together.
struct Side {
    step: String,
    count: u64,
    errors: u64,
    response: Latencies,
    rate_per_s: f64,
}

impl Side {
    fn of(name: &str, steps: &[&StepRecord], record: &RunRecord) -> Self {
        let mut response = Latencies::new();
        steps.iter().for_each(|step| response.merge(&step.response));
        let total: u64 = steps.iter().map(|step| step.count).sum();
        Self {
            step: name.to_owned(),
            count: total,
            errors: steps.iter().map(|step| step.errors).sum(),
            response,
            rate_per_s: if record.lasted_s > 0.0 { count(total) / record.lasted_s } else { 0.0 },
        }
    }

    fn error_rate(&self) -> f64 {
        count(self.errors) / count(self.count.max(1))
    }
}

fn changes(before: &Side, after: &Side, noise: Noise, is_same_load: bool) -> Vec<Change> {
    let change = |quantity, before_value, after_value, meaning| Change {
        step: before.step.clone(),
        quantity,
        before: before_value,
        after: after_value,
        meaning,
    };
    let least = before.count.min(after.count);
    let time = |quantity, quantile, count_min| {
        let at = |side: &Side| (side.response.quantile(quantile).as_secs_f64() * 1e6).round();
        let (one, two) = (at(before), at(after));
        let meaning = if least < count_min { Meaning::Unknown } else { growth(one, two, noise) };
        change(quantity, one, two, meaning)
    };
    let (one, two) = (before.error_rate(), after.error_rate());
    let errors = match growth(one, two, noise) {
        _ if least == 0 => Meaning::Unknown,
        _ if (two - one).abs() < ERRORS_MIN => Meaning::Same,
        meaning => meaning,
    };
    // More is better.
    let rate = match growth(after.rate_per_s, before.rate_per_s, noise) {
        _ if !is_same_load => Meaning::Unknown,
        _ if least < P50_COUNT_MIN => Meaning::Unknown,
        meaning => meaning,
    };
    vec![
        time("p50_us", 0.5, P50_COUNT_MIN),
        time("p99_us", 0.99, P99_COUNT_MIN),
        change("error_rate", one, two, errors),
        change("rate_per_s", before.rate_per_s, after.rate_per_s, rate),
    ]
}

/// What it means that something that should be small went from `before` to `after`.
fn growth(before: f64, after: f64, noise: Noise) -> Meaning {
    match differ(before, after, noise) {
        false => Meaning::Same,
        true if after > before => Meaning::Worse,
        true => Meaning::Better,
    }
}

/// Whether the two differ by more than `noise` of the smaller one.
fn differ(one: f64, two: f64, noise: Noise) -> bool {
    (one - two).abs() > one.min(two) * noise.0
}

fn remarks(before: &RunRecord, after: &RunRecord, is_same_load: bool) -> Vec<String> {
    let mut remarks = Vec::new();
    let mut differs = |what: &str, one: &dyn fmt::Display, two: &dyn fmt::Display| {
        let (one, two) = (one.to_string(), two.to_string());
        if one != two {
            remarks.push(format!("not the same {what}: {one} before, {two} after"));
        }
    };
    differs("scenario", &before.scenario.name, &after.scenario.name);
    differs("profile", &before.scenario.profile, &after.scenario.profile);
    differs("number of processors", &before.machine.cores, &after.machine.cores);
    let kernel = |record: &RunRecord| record.machine.kernel.clone().unwrap_or_else(|| "unknown".into());
    differs("kernel", &kernel(before), &kernel(after));
    let build = |record: &RunRecord| if record.machine.is_release { "release" } else { "debug" };
    differs("build", &build(before), &build(after));
    let engine = |record: &RunRecord| record.target.engine.clone().unwrap_or_else(|| "unknown".into());
    differs("storage engine", &engine(before), &engine(after));
    if before.scenario.mix != after.scenario.mix {
        remarks.push("not the same mix of journeys".to_owned());
    }
    if !is_same_load {
        remarks.push(format!(
            "not the same load: {:.1}/s asked before, {:.1}/s after; rates are not judged",
            before.journeys.asked_per_s, after.journeys.asked_per_s
        ));
    }
    let names = |record: &RunRecord| -> BTreeSet<String> {
        record.steps.iter().map(|step| step.step.clone()).collect()
    };
    let (one, two) = (names(before), names(after));
    for (only, when) in [(one.difference(&two), "before"), (two.difference(&one), "after")] {
        let only: Vec<&str> = only.map(String::as_str).collect();
        if !only.is_empty() {
            remarks.push(format!("only {when}: {}", only.join(", ")));
        }
    }
    for (record, when) in [(before, "before"), (after, "after")] {
        if record.verdict.word == VerdictWord::Unknown {
            remarks.push(format!("the run {when} had no verdict: {}", record.verdict.reasons.join("; ")));
        }
    }
    remarks
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn count(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::super::report::sample;
    use super::*;

    const NOISE: Noise = Noise(0.05);

    fn worse(comparison: &Comparison) -> Vec<String> {
        comparison.regressions().map(|change| format!("{} {}", change.step, change.quantity)).collect()
    }

    #[test]
    fn a_run_is_the_same_as_itself() {
        let told = compare(&sample::record(), &sample::record(), NOISE);
        assert!(told.changes.iter().all(|change| change.meaning == Meaning::Same), "{told:#?}");
        assert_eq!(
            (told.changes.len(), told.remarks.len()),
            (12, 0),
            "p50, p99, errors and rate of all and of two"
        );
    }

    #[test]
    fn a_regression_is_named_and_noise_is_not() {
        let before = sample::record();
        let mut after = before.clone();
        after.steps[0] = sample::step("product", &[(31, 985), (60, 15)], 0);
        let told = compare(&before, &after, NOISE);
        assert_eq!(
            worse(&told),
            ["product p99_us"],
            "31 ms for 30 ms is noise, 60 is not\n{}",
            told.table().draw(None)
        );
        assert_eq!(
            told.regressions().next().unwrap().to_string(),
            "product p99 30.0 ms -> 60.0 ms (+100.0 %)"
        );
        assert_eq!(worse(&compare(&before, &after, Noise(1.5))), Vec::<String>::new());
        let back = compare(&after, &before, NOISE);
        let better = back.changes.iter().filter(|change| change.meaning == Meaning::Better).count();
        assert_eq!((worse(&back).len(), better), (0, 1));
    }

    #[test]
    fn new_errors_and_a_lower_rate_are_regressions() {
        let before = sample::record();
        let mut after = before.clone();
        after.steps[0].errors = 2;
        assert!(worse(&compare(&before, &after, NOISE)).contains(&"product error_rate".to_owned()));
        let mut slower = before.clone();
        slower.lasted_s = 20.0;
        assert_eq!(
            worse(&compare(&before, &slower, NOISE)),
            ["all rate_per_s", "product rate_per_s", "checkout rate_per_s"]
        );
    }

    #[test]
    fn few_values_are_not_judged() {
        let mut before = sample::record();
        before.steps = vec![sample::step("checkout", &[(10, 10)], 0)];
        let mut after = before.clone();
        after.steps = vec![sample::step("checkout", &[(90, 10)], 0)];
        let told = compare(&before, &after, NOISE);
        assert_eq!(worse(&told), Vec::<String>::new());
        let p99 = told.changes.iter().find(|change| change.quantity == "p99_us").unwrap();
        assert_eq!(p99.meaning, Meaning::Unknown);
    }

    #[test]
    fn what_is_not_the_same_is_said() {
        let before = sample::record();
        let mut after = before.clone();
        after.scenario.name = "spike".into();
        after.machine.cores = 8;
        after.journeys.asked_per_s = 300.0;
        after.steps[1].step = "search".into();
        let told = compare(&before, &after, NOISE);
        assert_eq!(
            told.remarks,
            [
                "not the same scenario: mixed before, spike after",
                "not the same number of processors: 2 before, 8 after",
                "not the same load: 110.0/s asked before, 300.0/s after; rates are not judged",
                "only before: checkout",
                "only after: search",
            ]
        );
    }

    #[test]
    fn noise_is_a_percentage() {
        assert_eq!("5%".parse::<Noise>().unwrap(), Noise(0.05));
        assert_eq!("12.5".parse::<Noise>().unwrap().to_string(), "12.5%");
        for text in ["", "%", "-1%", "a lot", "nan"] {
            assert!(text.parse::<Noise>().is_err(), "{text}");
        }
    }
}
