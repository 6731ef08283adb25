//! What a run means: pass, missed, broken or unknown. What cannot be told is never a pass.

use super::record::{ObjectiveResult, Outcome, Verdict, VerdictWord};
use crate::failure::Exit;

/// What is known about a run when it is judged.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    /// Each objective and whether it was met.
    pub(super) objectives: Vec<ObjectiveResult>,
    /// Why what was counted is not all that there was, each in a line.
    pub(super) incomplete: Vec<String>,
    /// Whether nobody said what the run has to meet.
    pub(super) is_asked_nothing: bool,
    /// Steps that ended, of all kinds.
    pub(super) steps: u64,
    /// Of these, answered 429.
    pub(super) rate_limited: u64,
    /// Why the generator can say nothing about the shop, when it cannot.
    pub(super) saturated: Option<String>,
    /// What a search for the highest rate came to, when there was one.
    pub(super) search: Option<Searched>,
    /// What `verify` found.
    pub(super) consistency: Consistency,
}

/// What a search for the highest rate came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Searched {
    /// A rate that meets the objectives.
    Found,
    /// None does, down to the lowest that was tried.
    Nothing,
    /// No rate could be judged.
    Unjudged,
}

/// What is known of the shop's promises after a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Consistency {
    /// No orders were placed, so none could be lost.
    #[default]
    NothingPlaced,
    /// Every promise was kept.
    Kept,
    /// These were broken.
    Broken(Vec<String>),
    /// It was not, or could not be, found out.
    Unknown(String),
}

impl Findings {
    /// What it means. A broken promise is worse than all else; a generator that was too slow could not tell whether
    /// an objective was met.
    pub(super) fn verdict(&self) -> Verdict {
        let mut reasons = Vec::new();
        let mut word = VerdictWord::Pass;
        let mut found = |as_bad_as: VerdictWord, reason: String| {
            word = worse(word, as_bad_as);
            reasons.push((as_bad_as, reason));
        };
        match &self.consistency {
            Consistency::Broken(broken) => {
                broken.iter().for_each(|one| found(VerdictWord::Broken, one.clone()));
            }
            Consistency::Unknown(why) => found(VerdictWord::Unknown, why.clone()),
            Consistency::NothingPlaced | Consistency::Kept => {}
        }
        if let Some(why) = &self.saturated {
            found(VerdictWord::Unknown, why.clone());
        }
        self.incomplete.iter().for_each(|one| found(VerdictWord::Unknown, one.clone()));
        if self.steps == 0 {
            found(VerdictWord::Unknown, "nothing was answered: there is no data".to_owned());
        }
        if self.is_asked_nothing {
            found(VerdictWord::Unknown, "nothing was asked of it: there is no objective".to_owned());
        }
        match self.search {
            Some(Searched::Nothing) => {
                found(VerdictWord::Missed, "no rate that was tried met the objectives".to_owned());
            }
            Some(Searched::Unjudged) => {
                found(VerdictWord::Unknown, "no rate could be judged: look at the plateaus".to_owned());
            }
            Some(Searched::Found) | None => {}
        }
        for result in &self.objectives {
            let seen = result.seen.as_deref().unwrap_or("nothing");
            match result.met {
                Some(true) => {}
                Some(false) => found(VerdictWord::Missed, format!("{} was {seen}", result.objective)),
                None if self.steps > 0 => {
                    found(VerdictWord::Unknown, format!("{}: no such step was taken", result.objective));
                }
                None => {}
            }
        }
        reasons.sort_by_key(|(as_bad_as, _)| std::cmp::Reverse(badness(*as_bad_as)));
        let reasons = reasons.into_iter().map(|(_, reason)| reason).collect();
        Verdict { word, reasons, hints: self.hints() }
    }

    fn hints(&self) -> Vec<String> {
        let mut hints = Vec::new();
        if self.rate_limited * 2 > self.steps {
            hints.push(
                "the shop turned most requests away: start it with `shopctl up --limits none`".to_owned(),
            );
        } else if self.rate_limited > 0 {
            hints.push("some requests met a rate limit: `shopctl up --limits none` has none".to_owned());
        }
        if self.saturated.is_some() {
            hints.push("ask for less, give the generator --workers, or run it on another machine".to_owned());
        }
        if self.is_asked_nothing {
            hints.push("say what it has to meet: `--objective 'p99<200ms'`".to_owned());
        }
        if matches!(self.consistency, Consistency::Broken(_)) {
            hints.push("`shopctl verify` explains each promise".to_owned());
        }
        hints
    }
}

/// The worst of two, where not knowing is worse than having missed.
fn worse(one: VerdictWord, two: VerdictWord) -> VerdictWord {
    if badness(two) > badness(one) { two } else { one }
}

fn badness(word: VerdictWord) -> u8 {
    match word {
        VerdictWord::Pass => 0,
        VerdictWord::Missed => 1,
        VerdictWord::Unknown => 2,
        VerdictWord::Broken => 3,
    }
}

impl VerdictWord {
    /// How the command ends.
    #[must_use]
    pub fn exit(self) -> Exit {
        match self {
            Self::Pass => Exit::Ok,
            Self::Missed => Exit::Threshold,
            Self::Broken => Exit::Invariant,
            Self::Unknown => Exit::Unknown,
        }
    }
}

/// Of what a generator saw of itself, why it can say nothing about the shop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// How late it was, 99th percentile.
    pub(super) lateness_p99_us: u64,
    /// How late it may be.
    pub(super) lateness_max_us: u64,
    /// Seconds in which a worker had a processor all the time.
    pub(super) busy_seconds: usize,
    /// Seconds of load.
    pub(super) seconds: usize,
    /// Arrivals that were asked for by the schedule, and that there were.
    pub(super) asked: [f64; 2],
    /// Whether arrivals were dropped.
    pub(super) has_dropped: bool,
}

/// Arrivals that a generator may fall short of the schedule, as a fraction. Chance alone is within it: four times
/// the deviation of the count is allowed beside.
const SHORT_MAX: f64 = 0.01;

impl Effort {
    /// Why nothing can be said about the shop; absent when something can.
    pub(super) fn saturated(&self) -> Option<String> {
        #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
        let ms = |us: u64| us as f64 / 1000.0;
        let [planned, came] = self.asked;
        let allowed = planned * SHORT_MAX + 4.0 * planned.sqrt();
        if self.lateness_p99_us > self.lateness_max_us {
            return Some(format!(
                "the generator was saturated: {:.1} ms late (p99), where {:.1} ms are allowed",
                ms(self.lateness_p99_us),
                ms(self.lateness_max_us)
            ));
        }
        if planned > 0.0 && came < planned - allowed {
            return Some(format!(
                "the generator was saturated: {came:.0} of {planned:.0} arrivals were made"
            ));
        }
        if self.has_dropped && self.busy_seconds * 5 > self.seconds {
            return Some(format!(
                "the generator was saturated: it dropped arrivals while it had no processor left in {} of {} s",
                self.busy_seconds, self.seconds
            ));
        }
        None
    }
}

/// The hint about stock, when orders failed for want of it.
pub(super) fn is_out_of_stock(said: &str) -> bool {
    said.contains("out_of_stock")
}

/// The classes that a person should hear of, the most frequent first: `12 timeout, 3 5xx`.
pub(super) fn told_errors(errors: impl IntoIterator<Item = (Outcome, u64)>) -> String {
    let mut all: Vec<(Outcome, u64)> =
        errors.into_iter().filter(|(outcome, count)| outcome.is_error() && *count > 0).collect();
    all.sort_by_key(|(outcome, count)| (std::cmp::Reverse(*count), *outcome));
    let told: Vec<String> =
        all.iter().map(|(outcome, count)| format!("{count} {}", outcome.label())).collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objective(met: Option<bool>) -> ObjectiveResult {
        ObjectiveResult { objective: "p99<1s".into(), seen: met.map(|_| "2 ms".into()), met }
    }

    fn findings(objectives: Vec<ObjectiveResult>) -> Findings {
        Findings { objectives, steps: 100, ..Findings::default() }
    }

    #[test]
    fn what_cannot_be_told_is_never_a_pass() {
        let word = |findings: &Findings| findings.verdict().word;
        let met = findings(vec![objective(Some(true))]);
        assert_eq!(word(&met), VerdictWord::Pass);
        assert_eq!(word(&Findings { steps: 0, ..met.clone() }), VerdictWord::Unknown);
        assert_eq!(word(&Findings { saturated: Some("late".into()), ..met.clone() }), VerdictWord::Unknown);
        let unchecked = Consistency::Unknown("not asked".into());
        assert_eq!(word(&Findings { consistency: unchecked, ..met.clone() }), VerdictWord::Unknown);
        assert_eq!(word(&findings(vec![objective(None)])), VerdictWord::Unknown);
        let cut_off = vec!["a step had no answer yet".into()];
        assert_eq!(word(&Findings { incomplete: cut_off, ..met.clone() }), VerdictWord::Unknown);
        assert_eq!(word(&Findings { is_asked_nothing: true, ..met }), VerdictWord::Unknown);
        assert_eq!(word(&findings(vec![objective(Some(false))])), VerdictWord::Missed);
    }

    #[test]
    fn a_broken_promise_wins_over_all_else_and_is_told_first() {
        let verdict = Findings {
            consistency: Consistency::Broken(vec!["V17 an order was lost".into()]),
            saturated: Some("late".into()),
            ..findings(vec![objective(Some(false))])
        }
        .verdict();
        assert_eq!((verdict.word, verdict.word.exit()), (VerdictWord::Broken, Exit::Invariant));
        assert_eq!(verdict.reasons[0], "V17 an order was lost");
        assert_eq!(verdict.reasons.len(), 3);
    }

    #[test]
    fn a_search_passes_when_it_found_something() {
        let word = |search| Findings { search: Some(search), ..findings(vec![]) }.verdict().word;
        assert_eq!(word(Searched::Found), VerdictWord::Pass);
        assert_eq!(word(Searched::Nothing), VerdictWord::Missed);
        assert_eq!(word(Searched::Unjudged), VerdictWord::Unknown);
    }

    #[test]
    fn whoever_is_turned_away_is_told_what_to_do() {
        let most = Findings { rate_limited: 60, ..findings(vec![]) }.verdict();
        assert!(most.hints[0].contains("shopctl up --limits none"), "{:?}", most.hints);
        assert_eq!(findings(vec![]).verdict().hints, Vec::<String>::new());
    }

    #[test]
    fn a_generator_that_is_late_or_short_or_dropped_without_a_processor_is_saturated() {
        let fine = Effort {
            lateness_p99_us: 1000,
            lateness_max_us: 50_000,
            busy_seconds: 0,
            seconds: 10,
            asked: [1000.0, 1000.0],
            has_dropped: false,
        };
        assert_eq!(fine.saturated(), None);
        assert_eq!(Effort { has_dropped: true, ..fine }.saturated(), None, "the shop was too slow");
        assert!(Effort { lateness_p99_us: 60_000, ..fine }.saturated().is_some());
        assert!(Effort { asked: [1000.0, 800.0], ..fine }.saturated().is_some());
        assert!(Effort { has_dropped: true, busy_seconds: 5, ..fine }.saturated().is_some());
    }

    #[test]
    fn errors_are_told_the_most_frequent_first() {
        let all = [(Outcome::Ok, 9), (Outcome::Timeout, 2), (Outcome::ServerError, 5), (Outcome::Dropped, 0)];
        assert_eq!(told_errors(all), "5 5xx, 2 timeout");
        assert_eq!(told_errors([(Outcome::Ok, 9)]), "none");
    }
}
