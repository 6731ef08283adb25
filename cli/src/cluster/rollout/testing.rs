//! For tests of single phases: a release, what is seen of its service, and what it says to that.

use std::time::Duration;

use platform::vocabulary::{Timestamp, clock};

use super::action::RevisionStatus;
use super::gates::{Gate, Gates, Reading, Readings};
use super::machine::{Next, Step, step};
use super::observation::{Command, Endpoint, Observation, SlotSeen, Verb};
use super::plan::{BlueGreen, Limits, Plan, Strategy};
use super::slot::{Selector, Slot};
use super::state::{Phase, State};
use crate::cluster::readiness::Status;

pub(super) fn at(seconds: u64) -> Timestamp {
    clock::add(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
}

/// Revision 2 of the order service in the place of revision 1, with three pods.
pub(super) fn plan(strategy: Strategy) -> Plan {
    Plan {
        service: "order".to_owned(),
        revision: 2,
        previous: Some(1),
        strategy,
        replicas: Some(3),
        max_unavailable: 0,
        prepare: false,
        bake: Gates::none(),
        limits: Limits::default(),
    }
}

/// One gate that has to hold twice, asked every ten seconds.
pub(super) fn gates() -> Gates {
    let gate = Gate {
        name: "latency".to_owned(),
        query: "p99_ms".to_owned(),
        min: None,
        max: Some(200.0),
        min_samples: 1,
        failure_limit: 2,
    };
    Gates { gates: vec![gate], count: 2, interval_seconds: 10, inconclusive_limit: 2, unready_limit: 2 }
}

/// A release and what is seen.
pub(super) struct Scene {
    pub(super) state: State,
    pub(super) seen: Observation,
    pub(super) now: u64,
}

impl Scene {
    /// Slot a serves revision 1 with three pods, and slot b is empty.
    pub(super) fn new(plan: Plan) -> Self {
        let seen = Observation { selector: Some(Selector::Narrow(Slot::A)), ..Observation::default() };
        let mut scene = Self { state: State::new(plan, Slot::A, at(0)), seen, now: 0 };
        scene.runs(Slot::A, 1, 3);
        scene.seen.record = Some(RevisionStatus::Pending);
        scene.seen.previous_record = Some(RevisionStatus::Deployed);
        scene.serve(&[Slot::A]);
        scene
    }

    pub(super) fn blue_green(change: impl FnOnce(&mut BlueGreen)) -> Self {
        let mut blue_green = BlueGreen::default();
        change(&mut blue_green);
        Self::new(plan(Strategy::BlueGreen(blue_green)))
    }

    pub(super) fn rolling() -> Self {
        Self::new(plan(Strategy::Rolling))
    }

    /// The release is in `phase`.
    pub(super) fn within(mut self, phase: Phase) -> Self {
        self.state.has_begun = true;
        self.state.old_replicas = 3;
        self.state.traffic = 3;
        self.state.enter(phase, at(self.now));
        self
    }

    pub(super) fn slot(&mut self, slot: Slot) -> &mut SlotSeen {
        self.seen.slots.of_mut(slot)
    }

    /// `slot` is what was applied, with so many ready pods.
    pub(super) fn runs(&mut self, slot: Slot, revision: u64, pods: u32) {
        let ready = (0..pods).map(|pod| format!("{slot}-{revision}-{pod}")).collect();
        let is_autoscaled = self.slot(slot).is_autoscaled;
        *self.slot(slot) = SlotSeen {
            exists: true,
            revision: Some(revision),
            replicas: pods,
            pods,
            ready,
            status: Status::Current,
            trouble: None,
            is_autoscaled,
        };
    }

    /// The EndpointSlices hold the ready pods of these slots.
    pub(super) fn serve(&mut self, slots: &[Slot]) {
        let of = |slot: &Slot| {
            let slot = *slot;
            let ready = self.seen.slots.of(slot).ready.iter();
            ready.map(move |uid| Endpoint { uid: uid.clone(), slot: Some(slot), ready: true })
        };
        self.seen.endpoints = slots.iter().flat_map(of).collect();
    }

    pub(super) fn select(&mut self, selector: Selector) {
        self.seen.selector = Some(selector);
    }

    /// The answer to the round that was asked last.
    pub(super) fn answer(&mut self, value: Option<f64>) {
        let value = value.ok_or_else(|| "nobody came".to_owned());
        let reading = Reading { gate: "latency".to_owned(), value, samples: 10 };
        self.seen.readings = Some(Readings { round: self.state.round, readings: vec![reading] });
    }

    /// An operator says `verb` with the next step.
    pub(super) fn hear(&mut self, id: &str, verb: Verb) {
        let (id, by) = (id.to_owned(), "ann".to_owned());
        self.seen.command = Some(Command { id, by, why: Some("because".to_owned()), verb });
    }

    pub(super) fn step(&mut self) -> Step {
        let step = step(&self.state, &self.seen, at(self.now));
        self.state = step.state.clone();
        self.seen.command = None;
        step
    }

    /// What the next step says: the phase, and the actions, or in brackets what is waited for.
    pub(super) fn told(&mut self) -> String {
        let Step { state, actions, next, refused } = self.step();
        let said = match (refused, next) {
            (Some(refused), _) => format!("refused: {refused}"),
            (None, Next::Ended(outcome)) => format!("{outcome:?}"),
            (None, Next::Stuck { reason }) => format!("stuck: {reason}"),
            (None, Next::Look { waits_for, .. }) if actions.is_empty() => format!("({waits_for})"),
            (None, Next::Look { .. }) => {
                actions.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            }
        };
        format!("{}: {said}", state.phase)
    }

    /// What is said so many seconds later.
    pub(super) fn later(&mut self, seconds: u64) -> String {
        self.now += seconds;
        self.told()
    }
}
