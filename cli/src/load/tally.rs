//! What was counted: histograms per step and outcome, and the counters of journeys. Memory does not grow with the
//! number of requests.

use std::collections::BTreeMap;
use std::time::Duration;

use super::latencies::Latencies;
use super::record::{Example, Journeys, Outcome, OutcomeRecord, StepRecord, StepSecond};
use super::snapshot::StepSoFar;
use super::step::Step;

/// Examples of errors that are kept of a step.
const EXAMPLES_MAX: usize = 5;

/// The end of one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// Which step.
    pub(super) step: Step,
    /// How it ended.
    pub(super) outcome: Outcome,
    /// From sent to the end; absent when it was never sent.
    pub(super) service: Option<Duration>,
    /// From when it was meant to start to the end.
    pub(super) response: Duration,
    /// From when it was meant to start to sent.
    pub(super) lag: Duration,
}

/// Counts of a part of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    steps: [Option<Box<StepTally>>; Step::COUNT],
    /// How late tasks of the generator woke.
    pub(super) lateness: Latencies,
    /// Arrivals and what became of them; the rates stay zero here.
    pub(super) journeys: Journeys,
    /// Orders that the shop acknowledged.
    pub(super) orders: u64,
}

#[derive(Clone, Debug, Default)]
struct StepTally {
    lag: Latencies,
    outcomes: [Option<Box<OutcomeTally>>; Outcome::ALL.len()],
    examples: Vec<Example>,
}

#[derive(Clone, Debug, Default)]
struct OutcomeTally {
    response: Latencies,
    service: Latencies,
}

impl Tally {
    /// Counts the end of a step.
    pub(super) fn end(&mut self, end: End) {
        let step = self.steps[end.step.index()].get_or_insert_default();
        step.lag.record(end.lag);
        let outcome = step.outcomes[end.outcome.index()].get_or_insert_default();
        outcome.response.record(end.response);
        if let Some(service) = end.service {
            outcome.service.record(service);
        }
    }

    /// Keeps what came back instead of a good answer, while there is room.
    pub(super) fn example(&mut self, step: Step, example: impl FnOnce() -> Example) {
        let step = self.steps[step.index()].get_or_insert_default();
        if step.examples.len() < EXAMPLES_MAX {
            step.examples.push(example());
        }
    }

    /// Adds all of `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.steps.iter_mut().zip(&other.steps) {
            if let Some(theirs) = theirs {
                mine.get_or_insert_default().merge(theirs);
            }
        }
        self.lateness.merge(&other.lateness);
        let (mine, theirs) = (&mut self.journeys, &other.journeys);
        mine.asked += theirs.asked;
        mine.started += theirs.started;
        mine.completed += theirs.completed;
        mine.broken_off += theirs.broken_off;
        mine.dropped += theirs.dropped;
        mine.without_account += theirs.without_account;
        self.orders += other.orders;
    }

    /// How many steps ended in each way.
    pub(super) fn outcomes(&self) -> BTreeMap<Outcome, u64> {
        let mut all = BTreeMap::new();
        for (outcome, tally) in self.taken().flat_map(|(_, step)| step.ended()) {
            *all.entry(outcome).or_default() += tally.response.count();
        }
        all
    }

    /// How many of the steps that `wanted` says ended, and how many of these count against the shop.
    pub(super) fn count(&self, wanted: impl Fn(Step) -> bool) -> (u64, u64) {
        let steps = self.taken().filter(|(step, _)| wanted(*step));
        steps
            .map(|(_, step)| step.count())
            .fold((0, 0), |(all, errors), (one, two)| (all + one, errors + two))
    }

    /// How many of the steps that `wanted` says ended in one of `outcomes`.
    pub(super) fn count_of(&self, wanted: impl Fn(Step) -> bool, outcomes: &[Outcome]) -> u64 {
        let steps = self.taken().filter(|(step, _)| wanted(*step));
        let ended = steps.flat_map(|(_, step)| step.ended());
        ended.filter(|(outcome, _)| outcomes.contains(outcome)).map(|(_, tally)| tally.response.count()).sum()
    }

    /// From meant to the end, over every outcome of the steps that `wanted` says.
    pub(super) fn response(&self, wanted: impl Fn(Step) -> bool) -> Latencies {
        self.sum(wanted, |tally| &tally.response)
    }

    /// From sent to the end, over every outcome of the steps that `wanted` says.
    pub(super) fn service(&self, wanted: impl Fn(Step) -> bool) -> Latencies {
        self.sum(wanted, |tally| &tally.service)
    }

    /// From meant to sent, over all steps.
    pub(super) fn lag(&self) -> Latencies {
        let mut all = Latencies::new();
        self.taken().for_each(|(_, step)| all.merge(&step.lag));
        all
    }

    /// The steps that were taken, as records.
    pub(super) fn step_records(&self) -> Vec<StepRecord> {
        self.taken().map(|(step, tally)| tally.record(step)).collect()
    }

    /// All steps together and each that was taken, for whoever watches.
    pub(super) fn so_far(&self) -> (StepSoFar, Vec<StepSoFar>) {
        let mut all = (Latencies::new(), Latencies::new());
        let so_far = |(step, tally): (Step, &StepTally)| {
            let (mut response, mut service) = (Latencies::new(), Latencies::new());
            for (_, ended) in tally.ended() {
                response.merge(&ended.response);
                service.merge(&ended.service);
            }
            all.0.merge(&response);
            all.1.merge(&service);
            StepSoFar::new(step.name(), tally.count(), &response, &service)
        };
        let steps = self.taken().map(so_far).collect();
        (StepSoFar::new("all", self.count(|_| true), &all.0, &all.1), steps)
    }

    /// The steps that `wanted` says, as one second of a series.
    pub(super) fn step_second(&self, wanted: impl Fn(Step) -> bool + Copy) -> StepSecond {
        let response = self.response(wanted);
        let (count, errors) = self.count(wanted);
        StepSecond {
            count,
            errors,
            p50_us: us(response.quantile(0.5)),
            p99_us: us(response.quantile(0.99)),
            max_us: us(response.max()),
            service_p99_us: us(self.service(wanted).quantile(0.99)),
        }
    }

    /// The steps that were taken.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        self.taken().map(|(step, _)| step)
    }

    fn taken(&self) -> impl Iterator<Item = (Step, &StepTally)> {
        Step::ALL.into_iter().zip(&self.steps).filter_map(|(step, tally)| Some((step, &**tally.as_ref()?)))
    }

    fn sum(&self, wanted: impl Fn(Step) -> bool, of: impl Fn(&OutcomeTally) -> &Latencies) -> Latencies {
        let mut all = Latencies::new();
        for (_, tally) in self.taken().filter(|(step, _)| wanted(*step)).flat_map(|(_, step)| step.ended()) {
            all.merge(of(tally));
        }
        all
    }
}

impl StepSoFar {
    fn new(step: &str, (count, errors): (u64, u64), response: &Latencies, service: &Latencies) -> Self {
        Self {
            step: step.to_owned(),
            count,
            errors,
            p50_us: us(response.quantile(0.5)),
            p90_us: us(response.quantile(0.9)),
            p99_us: us(response.quantile(0.99)),
            max_us: us(response.max()),
            service_p99_us: us(service.quantile(0.99)),
        }
    }
}

impl StepTally {
    fn merge(&mut self, other: &Self) {
        self.lag.merge(&other.lag);
        for (mine, theirs) in self.outcomes.iter_mut().zip(&other.outcomes) {
            if let Some(theirs) = theirs {
                let mine = mine.get_or_insert_default();
                mine.response.merge(&theirs.response);
                mine.service.merge(&theirs.service);
            }
        }
        let room = EXAMPLES_MAX.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.iter().take(room).cloned());
    }

    fn ended(&self) -> impl Iterator<Item = (Outcome, &OutcomeTally)> {
        Outcome::ALL
            .into_iter()
            .zip(&self.outcomes)
            .filter_map(|(name, tally)| Some((name, &**tally.as_ref()?)))
    }

    /// How many, and how many of these count against the shop.
    fn count(&self) -> (u64, u64) {
        self.ended().fold((0, 0), |(all, errors), (outcome, tally)| {
            let count = tally.response.count();
            (all + count, errors + if outcome.is_error() { count } else { 0 })
        })
    }

    fn record(&self, step: Step) -> StepRecord {
        let (mut response, mut service, mut outcomes) = (Latencies::new(), Latencies::new(), BTreeMap::new());
        for (outcome, tally) in self.ended() {
            response.merge(&tally.response);
            service.merge(&tally.service);
            let record = OutcomeRecord {
                count: tally.response.count(),
                response: tally.response.clone(),
                service: tally.service.clone(),
            };
            outcomes.insert(outcome, record);
        }
        let (count, errors) = self.count();
        StepRecord {
            step: step.name().to_owned(),
            request: step.request().to_owned(),
            count,
            errors,
            outcomes,
            response,
            service,
            lag: self.lag.clone(),
            examples: self.examples.clone(),
        }
    }
}

/// Whole microseconds.
pub(super) fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(step: Step, outcome: Outcome, ms: u64) -> End {
        let took = Duration::from_millis(ms);
        End { step, outcome, service: Some(took / 2), response: took, lag: took / 2 }
    }

    #[test]
    fn parts_add_up() {
        let (mut one, mut two) = (Tally::default(), Tally::default());
        one.end(end(Step::Product, Outcome::Ok, 10));
        one.end(end(Step::Product, Outcome::Timeout, 1000));
        two.end(end(Step::Checkout, Outcome::Expected, 20));
        two.journeys.started = 3;
        one.merge(&two);
        assert_eq!(one.count(|_| true), (3, 1));
        assert_eq!(one.count(Step::is_read), (2, 1));
        assert_eq!(one.count_of(|_| true, &[Outcome::Expected]), 1);
        assert_eq!(one.journeys.started, 3);
        let records = one.step_records();
        assert_eq!(
            records.iter().map(|step| step.step.as_str()).collect::<Vec<_>>(),
            ["product", "checkout"]
        );
        assert_eq!(records[0].response.max().as_millis(), 1000);
        assert_eq!(records[0].outcomes[&Outcome::Ok].count, 1);
    }

    #[test]
    fn a_few_examples_are_kept_and_no_more() {
        let mut tally = Tally::default();
        for _ in 0..100 {
            tally.example(Step::Product, || Example {
                at_s: 0.0,
                outcome: Outcome::ServerError,
                status: Some(500),
                said: "no".into(),
            });
        }
        let mut merged = tally.clone();
        merged.merge(&tally);
        assert_eq!(merged.step_records()[0].examples.len(), EXAMPLES_MAX);
    }
}
