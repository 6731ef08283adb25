//! What an operator wants, and whether it can be had.

use platform::vocabulary::Timestamp;

use super::observation::{Command, Verb};
use super::state::{Pause, Phase, State};

/// Follows `command`, once; says why, when it cannot be followed.
pub(super) fn hear(state: &mut State, command: &Command, now: Timestamp) -> Option<String> {
    if state.heard.as_deref() == Some(&command.id) {
        return None;
    }
    state.heard = Some(command.id.clone());
    match command.verb {
        Verb::Pause => pause(state, command),
        Verb::Promote => promote(state, now),
        Verb::Abort => abort(state, command, now),
        Verb::Undo => undo(state, command, now),
    }
}

fn pause(state: &mut State, command: &Command) -> Option<String> {
    if !state.phase.is_forward() && state.phase != Phase::Retire {
        return Some(format!("a release in the phase {} cannot be paused", state.phase));
    }
    let why = command.why.clone().unwrap_or_else(|| "no reason given".to_owned());
    state.pause = Some(Pause { by: Some(command.by.clone()), why });
    None
}

fn promote(state: &mut State, now: Timestamp) -> Option<String> {
    let paused = state.pause.take();
    let next = match (&state.phase, &paused) {
        (Phase::Await, _) if state.is_promoted_by_hand() => Some(state.cut_over()),
        // Whoever goes on although nobody can tell has decided that it is well.
        (Phase::Preview, Some(Pause { by: None, .. })) => Some(Phase::Fill),
        (Phase::Bake, Some(Pause { by: None, .. })) => Some(Phase::Release),
        _ => None,
    };
    match (next, paused) {
        (Some(next), _) => state.enter(next, now),
        (None, Some(_)) => {
            state.since = now;
            state.tally.forgive();
        }
        (None, None) => return Some(format!("nothing waits to be promoted in the phase {}", state.phase)),
    }
    None
}

fn abort(state: &mut State, command: &Command, now: Timestamp) -> Option<String> {
    match &state.phase {
        phase if phase.is_forward() => {
            state.turn_back(told("aborted", command), now);
            None
        }
        Phase::Return | Phase::Revert | Phase::Withdraw => None,
        Phase::Retire => Some("it is released: undo it, or roll back".to_owned()),
        phase => Some(format!("a release in the phase {phase} cannot be aborted")),
    }
}

fn undo(state: &mut State, command: &Command, now: Timestamp) -> Option<String> {
    match state.phase {
        Phase::Retire => {
            state.turn_back(told("undone", command), now);
            None
        }
        Phase::Ended(_) => Some("the old slot has no pods any more: roll back".to_owned()),
        _ => abort(state, command, now),
    }
}

fn told(act: &str, command: &Command) -> String {
    match &command.why {
        Some(why) => format!("{act} by {}: {why}", command.by),
        None => format!("{act} by {}", command.by),
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Promote;
    use super::super::slot::{Selector, Slot};
    use super::super::testing::Scene;
    use super::*;

    fn at_rest(phase: Phase) -> Scene {
        let mut scene = Scene::blue_green(|blue_green| blue_green.promote = Promote::Manual);
        scene.runs(Slot::B, 2, 3);
        scene.within(phase)
    }

    #[test]
    fn a_command_is_heard_once() {
        let mut scene = at_rest(Phase::Await);
        scene.hear("1", Verb::Promote);
        assert_eq!(scene.told(), "overlap: let the Service select both slots");
        scene.hear("1", Verb::Promote);
        assert_eq!(scene.told(), "overlap: let the Service select both slots");
        scene.hear("2", Verb::Promote);
        assert_eq!(scene.told(), "overlap: refused: nothing waits to be promoted in the phase overlap");
    }

    #[test]
    fn what_was_told_before_a_release_began_is_not_heard() {
        let mut scene = Scene::blue_green(|_| {});
        scene.hear("1", Verb::Abort);
        let told = scene.seen.command.clone();
        scene.state = scene.state.clone().deaf_to(told.as_ref());
        let step = scene.step();
        assert_eq!((step.state.reason(), step.refused), (None, None));
        scene.hear("2", Verb::Abort);
        assert_eq!(scene.step().state.reason(), Some("aborted by ann: because"));
    }

    #[test]
    fn a_pause_holds_it_where_it_is_until_it_is_promoted() {
        let mut scene = Scene::blue_green(|_| {});
        scene.runs(Slot::B, 2, 3);
        scene.slot(Slot::B).ready.clear();
        scene.hear("1", Verb::Pause);
        assert_eq!(scene.told(), "record: (paused by ann: because)");
        assert_eq!(scene.later(100_000), "record: (paused by ann: because)");
        scene.hear("2", Verb::Promote);
        assert_eq!(scene.told(), "start: (0 of 3 pods of order-b are ready)");
        scene.hear("3", Verb::Pause);
        assert_eq!(scene.told(), "start: (0 of 3 pods of order-b are ready)");
        scene.runs(Slot::B, 2, 3);
        assert_eq!(scene.later(100_000), "start: (paused by ann: because)", "its time does not run");
        scene.hear("4", Verb::Promote);
        assert_eq!(scene.told(), "overlap: let the Service select both slots");
    }

    #[test]
    fn a_pause_never_holds_it_while_both_slots_serve() {
        let mut scene = at_rest(Phase::Overlap);
        scene.select(Selector::Wide);
        scene.serve(&[Slot::A, Slot::B]);
        scene.hear("1", Verb::Pause);
        assert_eq!(scene.told(), "overlap: (both slots serve for 15 s)");
        assert_eq!(scene.later(15), "narrow: let the Service select slot b");
        scene.select(Selector::Narrow(Slot::B));
        scene.serve(&[Slot::B]);
        assert_eq!(scene.told(), "bake: (paused by ann: because)");
        scene.hear("2", Verb::Promote);
        assert_eq!(scene.told(), "release: mark revision 2 as deployed; mark revision 1 as superseded");
    }

    #[test]
    fn a_pause_holds_the_old_slot_warm() {
        let mut scene = at_rest(Phase::Retire);
        scene.runs(Slot::A, 1, 0);
        scene.select(Selector::Narrow(Slot::B));
        scene.serve(&[Slot::B]);
        scene.hear("1", Verb::Pause);
        assert_eq!(scene.later(1000), "retire: (paused by ann: because)");
    }

    #[test]
    fn what_is_on_its_way_back_or_has_ended_takes_no_command_forward() {
        for phase in [Phase::Return, Phase::Withdraw] {
            for verb in [Verb::Pause, Verb::Promote] {
                let mut scene = at_rest(phase.clone());
                scene.hear("1", verb);
                assert!(scene.step().refused.is_some(), "{phase} {verb:?}");
            }
            for verb in [Verb::Abort, Verb::Undo] {
                let mut scene = at_rest(phase.clone());
                scene.hear("1", verb);
                assert_eq!(scene.step().refused, None, "{phase} {verb:?}: it is on its way already");
            }
        }
        let ended = Phase::Ended(super::super::Outcome::Released);
        for verb in [Verb::Pause, Verb::Promote, Verb::Abort, Verb::Undo] {
            let mut scene = at_rest(ended.clone());
            scene.hear("1", verb);
            assert!(scene.step().refused.is_some(), "{verb:?}");
        }
    }

    #[test]
    fn what_is_released_is_undone_and_not_aborted() {
        let mut scene = at_rest(Phase::Retire);
        scene.select(Selector::Narrow(Slot::B));
        scene.serve(&[Slot::B]);
        scene.hear("1", Verb::Abort);
        assert_eq!(scene.told(), "retire: refused: it is released: undo it, or roll back");
        scene.hear("2", Verb::Undo);
        assert_eq!(scene.told(), "return: let the Service select both slots");
        assert_eq!(scene.state.reason(), Some("undone by ann: because"));
    }
}
