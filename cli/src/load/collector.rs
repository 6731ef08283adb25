//! Puts the seconds of all workers together.

use std::collections::BTreeMap;

use tokio::sync::mpsc::UnboundedReceiver;

use super::record::{Outcome, Second};
use super::step::Step;
use super::tally::{Tally, us};
use super::worker::{Leavings, Slice, Told};

/// What all workers counted in a second.
#[derive(Debug, Default)]
pub(super) struct Whole {
    pub(super) second: u64,
    pub(super) tally: Tally,
    pub(super) in_flight: u64,
    pub(super) connections: u64,
    /// The fraction of the second that the busiest worker had a processor.
    pub(super) busy: f64,
    parts: usize,
}

impl Whole {
    fn add(&mut self, slice: &Slice) {
        self.tally.merge(&slice.tally);
        self.in_flight += slice.in_flight;
        self.connections += slice.connections;
        self.busy = self.busy.max(slice.busy);
        self.parts += 1;
    }

    /// The second as a record has it, without what the shop says.
    pub(super) fn to_record(&self) -> Second {
        let tally = &self.tally;
        let named = |step: Step| (step.name().to_owned(), tally.step_second(|other| other == step));
        let all = tally.step_second(|_| true);
        let without_sign_ins = tally.step_second(|step| step != Step::SignIn);
        Second {
            at_s: self.second,
            asked: tally.journeys.asked,
            started: tally.journeys.started,
            dropped: tally.journeys.dropped,
            requests: all.count,
            in_flight: self.in_flight,
            connections: self.connections,
            lateness_p99_us: us(tally.lateness.quantile(0.99)),
            lag_p99_us: us(tally.lag().quantile(0.99)),
            all,
            without_sign_ins,
            steps: tally.steps().map(named).collect(),
            errors: tally.outcomes().into_iter().filter(|(outcome, _)| Outcome::is_error(*outcome)).collect(),
            server: None,
        }
    }
}

/// Reads what `workers` workers tell until all have ended, and hands over each second when it is whole, in order.
/// Answers what was not brought to an end.
pub(super) async fn collect(
    told: &mut UnboundedReceiver<Told>,
    workers: usize,
    mut on_second: impl FnMut(Whole),
) -> Leavings {
    let mut leavings = Leavings::default();
    let mut pending: BTreeMap<u64, Whole> = BTreeMap::new();
    let mut alive = workers;
    while alive > 0 {
        match told.recv().await {
            Some(Told::Slice(slice)) => {
                let whole = pending.entry(slice.second).or_default();
                whole.second = slice.second;
                whole.add(&slice);
            }
            Some(Told::Ended(left)) => {
                alive -= 1;
                leavings.unfinished += left.unfinished;
                leavings.panicked += left.panicked;
            }
            None => break,
        }
        // A second is whole when every worker has told it; one that has ended tells no more.
        while alive == workers && pending.first_key_value().is_some_and(|(_, whole)| whole.parts >= workers) {
            if let Some((_, whole)) = pending.pop_first() {
                on_second(whole);
            }
        }
    }
    pending.into_values().for_each(on_second);
    leavings
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    fn slice(second: u64, started: u64) -> Told {
        let mut tally = Tally::default();
        tally.journeys.started = started;
        Told::Slice(Box::new(Slice { second, tally, in_flight: 1, connections: 2, busy: 0.5 }))
    }

    #[tokio::test]
    async fn seconds_are_whole_and_in_order_whoever_tells_first() {
        let (teller, mut told) = unbounded_channel();
        let ended = |unfinished| Told::Ended(Leavings { unfinished, panicked: 1 });
        for message in [slice(0, 1), slice(1, 10), slice(2, 3), slice(0, 2), slice(1, 20), ended(3), ended(4)]
        {
            teller.send(message).unwrap();
        }
        let mut seen = Vec::new();
        let leavings = collect(&mut told, 2, |whole| {
            seen.push((whole.second, whole.tally.journeys.started, whole.in_flight))
        })
        .await;
        assert_eq!(seen, [(0, 3, 2), (1, 30, 2), (2, 3, 1)]);
        assert_eq!(leavings, Leavings { unfinished: 7, panicked: 2 });
    }
}
