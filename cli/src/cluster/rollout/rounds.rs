//! Asking the gates, round after round.

use std::time::Duration;

use platform::vocabulary::{Timestamp, clock};

use super::action::{Action, Place};
use super::gates::{Decision, Gates};
use super::machine::Turn;
use super::observation::Observation;
use super::state::{Pause, State};

/// Takes in the answer to the last round, and asks the next one when it is due; none when the gates have passed.
pub(super) fn ask(
    state: &mut State,
    seen: &Observation,
    now: Timestamp,
    gates: &Gates,
    place: Place,
) -> Option<Turn> {
    let interval = Duration::from_secs(gates.interval_seconds.into());
    let due = clock::add(state.judged_at.unwrap_or(state.since), interval);
    let all_ready = seen.slots.of(state.new).status.is_current();
    let answer = seen.readings.as_ref().filter(|answer| state.is_asked && answer.round == state.round);
    if let Some(answer) = answer {
        state.tally.round(gates, &answer.readings, all_ready);
        (state.is_asked, state.judged_at) = (false, Some(now));
        return settle(state, gates, now, interval);
    }
    if state.tally.decision(gates) != Decision::Open {
        return settle(state, gates, now, interval);
    }
    if !state.is_asked && now < due {
        return Some(Turn::Wait(told(state, gates), Some(due)));
    }
    if gates.gates.is_empty() {
        state.tally.round(gates, &[], all_ready);
        state.judged_at = Some(now);
        return settle(state, gates, now, interval);
    }
    if !state.is_asked {
        (state.round, state.is_asked) = (state.round + 1, true);
    }
    Some(Turn::act(Action::CheckGates { round: state.round, place }))
}

/// What the rounds so far come to.
fn settle(state: &mut State, gates: &Gates, now: Timestamp, interval: Duration) -> Option<Turn> {
    match state.tally.decision(gates) {
        Decision::Passed => None,
        Decision::Failed(why) => Some(Turn::Back(why)),
        Decision::Open => Some(Turn::Wait(told(state, gates), Some(clock::add(now, interval)))),
        Decision::Unclear(why) => {
            let waits_for = format!("nobody can tell whether it is well: {why}");
            state.pause.get_or_insert(Pause { by: None, why });
            Some(Turn::wait(waits_for))
        }
    }
}

fn told(state: &State, gates: &Gates) -> String {
    format!("{} of {} rounds of the gates have passed", state.tally.passed(), gates.count)
}
