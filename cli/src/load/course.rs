//! What a profile asks of a run while it goes on: plateaus to judge, and a next rate to try.

use super::control::Control;
use super::objective::Objective;
use super::record::{ObjectiveResult, Plateau, Second};
use super::scenario::{ProfileKind, Scenario};
use super::schedule::Piece;
use super::tally::{Tally, us};
use super::verdict::Searched;

/// A plateau on which more than this fraction of the arrivals was dropped has not met anything.
const DROPPED_MAX: f64 = 0.001;
/// Between two plateaus nothing arrives for so many seconds, so that the one does not suffer from the other.
const PAUSE_S: f64 = 2.0;
/// Times that the search halves a first rate that is too much already.
const HALVINGS_MAX: u32 = 6;

/// Follows the seconds of a run.
#[derive(Debug)]
pub(super) struct Course {
    objectives: Vec<Objective>,
    lateness_max_us: u64,
    /// After this long an answer is given up.
    timeout_s: f64,
    settle_s: f64,
    hold_s: f64,
    plateaus: Vec<Plateau>,
    /// The window that is being measured.
    window: Option<Window>,
    /// Windows that are still to come: profile `step`.
    ahead: Vec<(f64, f64)>,
    search: Option<Knee>,
}

#[derive(Debug)]
struct Window {
    from_s: f64,
    to_s: f64,
    rate: f64,
    tally: Tally,
}

impl Course {
    /// The course of `scenario`. The first plateau of a knee is put on the schedule.
    pub(super) fn new(scenario: &Scenario, control: &Control) -> Self {
        let mut course = Self {
            objectives: Objective::with_implicit(&scenario.objectives),
            lateness_max_us: us(scenario.bounds.lateness.0),
            timeout_s: scenario.bounds.timeout.0.as_secs_f64(),
            settle_s: scenario.settle_seconds(),
            hold_s: scenario.hold_seconds(),
            plateaus: Vec::new(),
            window: None,
            ahead: Vec::new(),
            search: scenario.search().map(|search| Knee::new(search.first, search.at_most, search.precision)),
        };
        if scenario.profile.kind == ProfileKind::Step {
            let length = course.settle_s + course.hold_s;
            let mut from = 0.0;
            for factor in &scenario.profile.levels {
                course.ahead.push((from + course.settle_s, scenario.level() * factor));
                from += length;
            }
            course.ahead.reverse();
            course.next_step();
        }
        if let Some(rate) = course.search.as_ref().map(|search| search.next) {
            course.put_on(control, 0.0, rate);
        }
        course
    }

    /// Takes up a second that is whole.
    pub(super) fn second(&mut self, second: &Second, tally: &Tally, control: &Control) {
        #[expect(clippy::cast_precision_loss, reason = "seconds of a run")]
        let at = second.at_s as f64;
        let is_search = self.search.is_some();
        let Some(window) = &mut self.window else { return };
        // Nothing arrives after a plateau of a search before it is judged, so what ends then belongs to it.
        if at + 0.5 > window.from_s && (is_search || at + 0.5 < window.to_s) {
            window.tally.merge(tally);
        }
        if at + 1.5 < window.to_s {
            return;
        }
        // What was meant for its last moment has ended, or timed out, a time-out later: without it a rate at which the
        // shop hangs would look good. The second more is the one that counts the last of them.
        let is_owed = second.in_flight > 0 && at < window.to_s + self.timeout_s;
        if is_search && is_owed {
            return;
        }
        let Some(window) = self.window.take() else { return };
        let plateau = self.judge(&window);
        let met = plateau.met;
        self.plateaus.push(plateau);
        if self.search.is_none() {
            return self.next_step();
        }
        match self.search.as_mut().and_then(|search| search.after(met)) {
            Some(rate) => self.put_on(control, at + 1.0, rate),
            None => control.finish(),
        }
    }

    /// Each objective and whether `total` meets it. A search goes beyond what can be met on purpose: its plateaus are
    /// judged, the whole is not.
    pub(super) fn judge_all(&self, total: &Tally) -> Vec<ObjectiveResult> {
        let objectives = if self.search.is_some() { &[] } else { self.objectives.as_slice() };
        objectives.iter().map(|objective| objective.judge(total)).collect()
    }

    /// The plateaus that are judged.
    pub(super) fn plateaus(&self) -> &[Plateau] {
        &self.plateaus
    }

    /// What a search has come to; absent when nothing is searched.
    pub(super) fn searched(&self) -> Option<Searched> {
        let search = self.search.as_ref()?;
        Some(match search.good {
            Some(_) => Searched::Found,
            None if self.plateaus.iter().any(|plateau| plateau.met.is_some()) => Searched::Nothing,
            None => Searched::Unjudged,
        })
    }

    /// The plateaus, and the highest rate that met the objectives when that was looked for.
    pub(super) fn end(self) -> (Vec<Plateau>, Option<f64>) {
        (self.plateaus, self.search.and_then(|search| search.good))
    }

    fn next_step(&mut self) {
        self.window = self.ahead.pop().map(|(from_s, rate)| Window {
            from_s,
            to_s: from_s + self.hold_s,
            rate,
            tally: Tally::default(),
        });
    }

    /// Puts a plateau at `rate` on the schedule, a little after `at`.
    fn put_on(&mut self, control: &Control, at: f64, rate: f64) {
        let number = self.plateaus.len() + 1;
        let pause = if number == 1 { 0.0 } else { PAUSE_S };
        let end = control.plan().borrow().schedule.seconds();
        let begin = (at + pause).max(end).ceil();
        if begin > end {
            control.add(Piece::level("between plateaus", begin - end, 0.0));
        }
        control.add(Piece::level(
            &format!("plateau {number} at {rate:.0}/s"),
            self.settle_s + self.hold_s,
            rate,
        ));
        let from_s = begin + self.settle_s;
        self.window = Some(Window { from_s, to_s: from_s + self.hold_s, rate, tally: Tally::default() });
    }

    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    fn judge(&self, window: &Window) -> Plateau {
        let tally = &window.tally;
        let response = tally.response(|_| true);
        let (count, errors) = tally.count(|_| true);
        let journeys = &tally.journeys;
        let mut why = Vec::new();
        let mut unmeasured = Vec::new();
        for result in self.objectives.iter().map(|objective| objective.judge(tally)) {
            match result.met {
                Some(true) => {}
                Some(false) => why.push(format!("{}: {}", result.objective, result.seen.unwrap_or_default())),
                None => unmeasured.push(format!("{}: no such step ended", result.objective)),
            }
        }
        let dropped = journeys.dropped as f64 / journeys.asked.max(1) as f64;
        if dropped > DROPPED_MAX {
            why.push(format!("{:.2} % of the arrivals were dropped", dropped * 100.0));
        }
        // What was missed is known, whatever could not be measured; what could not be measured is not met.
        let mut met = if why.is_empty() && !unmeasured.is_empty() { None } else { Some(why.is_empty()) };
        why.append(&mut unmeasured);
        let lateness_us = us(tally.lateness.quantile(0.99));
        if lateness_us > self.lateness_max_us {
            why.push(format!("the generator was {:.1} ms late (p99)", lateness_us as f64 / 1000.0));
            met = None;
        } else if count == 0 {
            why.push("nothing was answered".to_owned());
            met = None;
        }
        Plateau {
            from_s: window.from_s,
            to_s: window.to_s,
            asked_per_s: window.rate,
            started_per_s: journeys.started as f64 / (window.to_s - window.from_s),
            p50_us: us(response.quantile(0.5)),
            p99_us: us(response.quantile(0.99)),
            error_rate: errors as f64 / count.max(1) as f64,
            met,
            why,
        }
    }
}

/// The search for the highest rate that is good: doubled until one is not, then halved towards the edge.
#[derive(Debug)]
struct Knee {
    next: f64,
    at_most: f64,
    precision: f64,
    good: Option<f64>,
    bad: Option<f64>,
    halvings: u32,
}

impl Knee {
    fn new(first: f64, at_most: f64, precision: f64) -> Self {
        Self { next: first, at_most, precision, good: None, bad: None, halvings: 0 }
    }

    /// The rate to try after the last one was good, bad, or more than the generator can tell of.
    fn after(&mut self, met: Option<bool>) -> Option<f64> {
        match met {
            Some(true) => self.good = Some(self.next),
            // What cannot be told is no ground to stand on: the knee is known to be at least the last good one.
            Some(false) | None => self.bad = Some(self.next),
        }
        let next = match (self.good, self.bad) {
            (Some(good), None) if good >= self.at_most => return None,
            (Some(good), None) => (good * 2.0).min(self.at_most),
            (None, _) if self.halvings >= HALVINGS_MAX => return None,
            (None, _) => {
                self.halvings += 1;
                self.next / 2.0
            }
            (Some(good), Some(bad)) if bad - good <= good * self.precision => return None,
            (Some(good), Some(bad)) => f64::midpoint(good, bad),
        };
        self.next = next;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::collector::Whole;
    use super::super::record::Outcome;
    use super::super::step::Step;
    use super::super::tally::End;
    use super::*;

    /// A search whose first plateau is measured from second 1 to second 3, with a time-out of 2 s.
    fn begun(objectives: &str) -> (Course, Control, u64) {
        let file = format!(
            "schema = 1\nabout = \"x\"\nobjectives = [{objectives}]\n[load]\nrate = 10\n[mix]\nprobe = 1\n\
             [probe]\npath = \"/\"\n[profile]\nkind = \"knee\"\nsettle = \"1s\"\nhold = \"2s\"\n[bounds]\ntimeout = \"2s\"\n"
        );
        let scenario = Scenario::read("x", &file).unwrap();
        let control = Control::new(scenario.schedule(), true);
        (Course::new(&scenario, &control), control, 0)
    }

    /// Hands over the next second, in which ten pages ended with `outcome` and `in_flight` are still owed.
    fn pass(begun: &mut (Course, Control, u64), outcome: Outcome, in_flight: u64) {
        let mut tally = Tally::default();
        for _ in 0..10 {
            let response = Duration::from_millis(2);
            tally.end(End { step: Step::Probe, outcome, service: None, response, lag: Duration::ZERO });
        }
        let (course, control, at_s) = begun;
        let mut whole = Whole::default();
        (whole.second, whole.in_flight) = (*at_s, in_flight);
        course.second(&whole.to_record(), &tally, control);
        *at_s += 1;
    }

    #[test]
    fn a_plateau_is_judged_when_all_that_was_meant_for_it_has_ended() {
        let mut hangs = begun("\"errors<1%\"");
        for (outcome, in_flight) in [(Outcome::Ok, 0), (Outcome::Ok, 9), (Outcome::Ok, 10), (Outcome::Ok, 10)]
        {
            pass(&mut hangs, outcome, in_flight);
        }
        assert!(hangs.0.plateaus.is_empty(), "answers are owed");
        pass(&mut hangs, Outcome::Timeout, 0);
        assert_eq!(hangs.0.plateaus[0].met, Some(false), "{:?}", hangs.0.plateaus);

        let mut waits_no_longer_than_a_time_out = begun("\"errors<1%\"");
        (0..6).for_each(|_| pass(&mut waits_no_longer_than_a_time_out, Outcome::Ok, 10));
        assert_eq!(waits_no_longer_than_a_time_out.0.plateaus.len(), 1);

        let mut fine = begun("\"errors<1%\"");
        (0..3).for_each(|_| pass(&mut fine, Outcome::Ok, 0));
        assert_eq!(fine.0.plateaus[0].met, Some(true));
    }

    #[test]
    fn an_objective_that_could_not_be_measured_is_not_met() {
        let mut rare = begun("\"checkout.p99<1s\"");
        (0..3).for_each(|_| pass(&mut rare, Outcome::Ok, 0));
        assert_eq!(rare.0.plateaus[0].met, None);
        assert_eq!(rare.0.plateaus[0].why, ["checkout.p99<1s: no such step ended"]);
        assert_eq!(rare.0.searched(), Some(Searched::Unjudged));
    }

    /// Searches where everything up to `edge` is good: the rates that were tried, and what was found.
    fn search(first: f64, at_most: f64, edge: f64) -> (Vec<f64>, Option<f64>) {
        let mut knee = Knee::new(first, at_most, 0.05);
        let mut tried = vec![knee.next];
        while let Some(next) = knee.after(Some(knee.next <= edge)) {
            tried.push(next);
            assert!(tried.len() < 50, "{tried:?}");
        }
        (tried, knee.good)
    }

    #[test]
    fn the_knee_is_found_within_its_precision() {
        for edge in [25.0, 26.0, 333.0, 1000.0, 4567.0] {
            let (tried, found) = search(25.0, 10_000.0, edge);
            let found = found.unwrap();
            assert!(found <= edge && edge <= found * 1.06, "{found} for {edge}: {tried:?}");
            assert!(tried.len() < 20, "{tried:?}");
        }
    }

    #[test]
    fn a_first_rate_that_is_too_much_is_halved_and_a_limit_is_a_limit() {
        assert_eq!(search(100.0, 10_000.0, 30.0).0[..3], [100.0, 50.0, 25.0]);
        assert_eq!(search(100.0, 10_000.0, 0.0).1, None);
        assert_eq!(search(100.0, 300.0, 1e9), (vec![100.0, 200.0, 300.0], Some(300.0)));
    }
}
