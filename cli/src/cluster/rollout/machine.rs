//! One step of a release: what was heard, what turns it back, what its phase asks for.

use platform::vocabulary::{Timestamp, clock};

use super::action::{Action, Outcome};
use super::observation::Observation;
use super::slot::{Selector, Slot};
use super::state::{Phase, State};
use super::{backward, blue_green, command, forward, rolling};
use crate::cluster::readiness::Status;

/// What a step comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The state from now on. To be stored before the actions are carried out.
    pub state: State,
    /// What is to be done, in this order. When one fails, the rest is not done; the next step asks for it again.
    pub actions: Vec<Action>,
    /// What comes next.
    pub next: Next,
    /// Why the operator's command was not followed, when it was not.
    pub refused: Option<String>,
}

/// What comes after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Look again when something changes: after the actions, and at the latest at `at`.
    Look {
        /// What is waited for, as a line of progress says it.
        waits_for: String,
        /// When something is due even if nothing changes.
        at: Option<Timestamp>,
    },
    /// It has ended.
    Ended(Outcome),
    /// On its way back it waits for what does not come: a person is needed. It stays where it is, and whoever
    /// [resumes](State::resume) it goes on from there.
    Stuck {
        /// What it waits for.
        reason: String,
    },
}

/// What a phase comes to.
#[derive(Debug)]
pub(super) enum Turn {
    On(Phase),
    Back(String),
    Do(Vec<Action>, String),
    Wait(String, Option<Timestamp>),
    Stuck(String),
}

impl Turn {
    /// `action` is to be done.
    pub(super) fn act(action: Action) -> Self {
        let told = action.to_string();
        Self::Do(vec![action], told)
    }

    pub(super) fn wait(waits_for: impl Into<String>) -> Self {
        Self::Wait(waits_for.into(), None)
    }
}

/// What follows from `state` and what is `seen` at `now`: see the [module](super#how-to-drive-it) for how to drive it.
#[must_use]
pub fn step(state: &State, seen: &Observation, now: Timestamp) -> Step {
    let mut state = state.clone();
    let refused = seen.command.as_ref().and_then(|command| command::hear(&mut state, command, now));
    let ahead = |at: Option<Timestamp>| at.filter(|at| *at > now);
    loop {
        take_note(&mut state, seen);
        if let Some(reason) = reason_to_turn_back(&state, seen) {
            state.turn_back(reason, now);
        }
        let turn = take(&mut state, seen, now);
        let (actions, next) = match in_time(&state, turn, now) {
            Turn::On(phase) => match state.pause.as_ref().filter(|_| state.phase.may_rest()) {
                Some(pause) => {
                    let by = pause.by.as_deref().unwrap_or("the gates");
                    let waits_for = format!("paused by {by}: {}", pause.why);
                    (Vec::new(), Next::Look { waits_for, at: None })
                }
                None => {
                    state.enter(phase, now);
                    continue;
                }
            },
            Turn::Back(reason) => {
                state.turn_back(reason, now);
                continue;
            }
            Turn::Do(actions, waits_for) => (actions, Next::Look { waits_for, at: ahead(state.due()) }),
            Turn::Wait(waits_for, until) => {
                let at = ahead(until).into_iter().chain(ahead(state.due())).min();
                (Vec::new(), Next::Look { waits_for, at })
            }
            Turn::Stuck(reason) => (Vec::new(), Next::Stuck { reason }),
        };
        let next = match &state.phase {
            Phase::Ended(outcome) => Next::Ended(outcome.clone()),
            _ => next,
        };
        return Step { state, actions, next, refused };
    }
}

fn take(state: &mut State, seen: &Observation, now: Timestamp) -> Turn {
    match state.phase {
        Phase::Record => forward::record(state, seen),
        Phase::Prepare => forward::prepare(state, seen),
        Phase::Clear => blue_green::clear(state, seen),
        Phase::Start => blue_green::start(state, seen),
        Phase::Preview => blue_green::preview(state, seen, now),
        Phase::Fill => blue_green::fill(state, seen),
        Phase::Await => blue_green::await_promotion(state, seen),
        Phase::Overlap => blue_green::overlap(state, seen, now),
        Phase::Narrow => blue_green::narrow(state, seen),
        Phase::Update => rolling::update(state, seen),
        Phase::Bake => forward::bake(state, seen, now),
        Phase::Release => forward::release(state, seen),
        Phase::Retire => blue_green::retire(state, seen, now),
        Phase::Return => backward::go_back(state, seen, now),
        Phase::Revert => rolling::revert(state, seen),
        Phase::Withdraw => backward::withdraw(state, seen, now),
        Phase::Ended(_) => Turn::wait("nothing"),
    }
}

/// What takes too long is turned back, or is stuck when it is on its way back already. On the way back what can be done
/// is done, however late.
fn in_time(state: &State, turn: Turn, now: Timestamp) -> Turn {
    let is_late = state.due().is_some_and(|due| now >= due) && !state.waits_for_a_person();
    let seconds = state.limit().unwrap_or_default().as_secs();
    match turn {
        Turn::Do(_, waits_for) | Turn::Wait(waits_for, _) if is_late && state.phase.is_forward() => {
            Turn::Back(format!("{waits_for}: not done after {seconds} s"))
        }
        Turn::Wait(waits_for, _) if is_late => {
            Turn::Stuck(format!("{waits_for}: not done after {seconds} s"))
        }
        turn => turn,
    }
}

/// Why it must not go on, whatever its phase thinks of it.
fn reason_to_turn_back(state: &State, seen: &Observation) -> Option<String> {
    let phase = &state.phase;
    if !phase.is_forward() || matches!(phase, Phase::Record | Phase::Release) {
        return None;
    }
    broken(state, seen).or_else(|| moved(state, seen)).or_else(|| {
        let is_over = seen.deadline_passed && !state.waits_for_a_person();
        is_over.then(|| format!("the time for the whole release is over, in the phase {phase}"))
    })
}

fn broken(state: &State, seen: &Observation) -> Option<String> {
    let slot = seen.slots.of(state.new);
    if slot.revision != Some(state.plan.revision) || matches!(state.phase, Phase::Prepare | Phase::Clear) {
        return None;
    }
    let name = state.name(state.new);
    match (&slot.trouble, &slot.status) {
        (Some(trouble), _) => Some(format!("{name}: {trouble}")),
        (None, Status::Failed { why }) => Some(format!("{name}: {why}")),
        (None, _) => None,
    }
}

/// Whether somebody else has changed what the Service selects, before it was our turn to.
fn moved(state: &State, seen: &Observation) -> Option<String> {
    let is_early = matches!(
        state.phase,
        Phase::Prepare | Phase::Clear | Phase::Start | Phase::Preview | Phase::Fill | Phase::Await
    );
    let is_ours =
        state.plan.blue_green().is_none() || seen.selector == Some(Selector::Narrow(state.old_slot()));
    (is_early && !is_ours).then(|| state.astray(seen, state.old_slot()))
}

/// What can only be told from what the Service selects now. How many pods the traffic needs is what the slot that serves
/// alone is to have; while both serve, or somebody else has moved it, it is what it was before. An autoscaler that is not
/// held may ask for more. And whoever made the Service select a slot, it is served from then on.
fn take_note(state: &mut State, seen: &Observation) {
    let replicas = |slot: Slot| seen.slots.of(slot).replicas;
    let is_ours = |slot: Slot| slot == state.old_slot() || state.has_switched;
    let alone = match seen.selector {
        Some(Selector::Narrow(slot)) if is_ours(slot) && replicas(slot) > 0 => replicas(slot),
        _ => state.traffic,
    };
    // On the way back a slot that became too small while it did not serve is no measure.
    let before = (state.phase == Phase::Return).then_some(state.traffic);
    let scaled = Slot::ALL.into_iter().filter(|slot| seen.slots.of(*slot).is_autoscaled);
    state.traffic = scaled.map(replicas).chain(before).chain([alone]).max().unwrap_or_default();
    let is_going_on = state.has_begun && !matches!(state.phase, Phase::Ended(_));
    if is_going_on && state.plan.blue_green().is_some() {
        // What selects neither may have selected either a moment ago.
        state.is_served |= seen.selector.is_none_or(|selector| selector.selects(state.new));
        state.has_left |= seen.selector.is_none_or(|selector| !selector.selects(state.old_slot()));
    }
}

impl State {
    /// The name of a slot's Deployment.
    pub(super) fn name(&self, slot: Slot) -> String {
        format!("{}-{slot}", self.plan.service)
    }

    /// That the Service selects something else than `slot` alone.
    pub(super) fn astray(&self, seen: &Observation, slot: Slot) -> String {
        let service = &self.plan.service;
        match seen.selector {
            Some(selector) => {
                format!("somebody made the Service {service} select {selector} instead of slot {slot}")
            }
            None => format!("somebody made the Service {service} select something else than its slots"),
        }
    }

    /// Gives the autoscaler to `slot`, when it is not there.
    pub(super) fn autoscaler(&self, seen: &Observation, slot: Option<Slot>) -> Option<Turn> {
        let is_so = Slot::ALL.iter().all(|one| seen.slots.of(*one).is_autoscaled == (slot == Some(*one)));
        (self.plan.is_autoscaled() && !is_so).then(|| Turn::act(Action::Autoscale { slot }))
    }

    /// Lets `slot` have as many pods as are needed, when it is to have fewer.
    pub(super) fn grow(&self, seen: &Observation, slot: Slot, needed: u32) -> Option<Turn> {
        (seen.slots.of(slot).replicas < needed).then(|| Turn::act(Action::Scale { slot, replicas: needed }))
    }

    /// Waits until `slot` is what was applied, with as many ready pods as are needed.
    pub(super) fn settle(&self, seen: &Observation, slot: Slot, needed: u32) -> Option<Turn> {
        let found = seen.slots.of(slot);
        let ready = found.ready.len();
        let name = self.name(slot);
        if ready < needed as usize {
            return Some(Turn::wait(format!("{ready} of {needed} pods of {name} are ready")));
        }
        (!found.status.is_current()).then(|| Turn::wait(format!("{name}: {}", found.status)))
    }

    /// Waits until the Service gives requests to all ready pods of `slot`, and they are enough.
    pub(super) fn take_up(&self, seen: &Observation, slot: Slot, needed: u32) -> Option<Turn> {
        (!seen.has_taken_up(slot, self.at_least(needed))).then(|| {
            let ready = seen.slots.of(slot).ready.len();
            let serving = ready - seen.not_taken_up(slot);
            let (service, name) = (&self.plan.service, self.name(slot));
            let ready = if ready < needed as usize { format!(", {ready} are ready") } else { String::new() };
            Turn::wait(format!(
                "{serving} of {needed} pods of {name} are behind the Service {service}{ready}"
            ))
        })
    }

    /// Waits until both slots have served for as long as they are to.
    pub(super) fn hold(&mut self, now: Timestamp) -> Option<Turn> {
        let overlap = self.overlap()?;
        let since = *self.held_since.get_or_insert(now);
        let until = clock::add(since, overlap);
        (now < until).then(|| {
            let waits_for = format!("both slots serve for {} s", overlap.as_secs());
            Turn::Wait(waits_for, Some(until))
        })
    }
}
