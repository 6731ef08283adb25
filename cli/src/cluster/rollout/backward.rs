//! The way back: the old slot serves alone again, and nothing of the new revision is left but its record.

use platform::vocabulary::{Timestamp, clock};

use super::action::{Action, Outcome, RevisionStatus};
use super::machine::Turn;
use super::observation::Observation;
use super::slot::Selector;
use super::state::{Phase, State};

/// The old slot serves alone again: both first, unless they must not, then the old one, once it can carry everything.
pub(super) fn go_back(state: &mut State, seen: &Observation, now: Timestamp) -> Turn {
    let (old, new, needed) = (state.old_slot(), state.new, state.needed_by_old());
    if let Some(turn) = state.autoscaler(seen, None) {
        return turn;
    }
    let select = |selector| Turn::act(Action::Select { selector });
    let narrow = || select(Selector::Narrow(old));
    match seen.selector {
        Some(Selector::Narrow(slot)) if slot == old => {
            if let Some(turn) = state.grow(seen, old, needed) {
                return turn;
            }
            if !seen.has_let_go(new) {
                return Turn::wait(format!(
                    "{} is still behind the Service {}",
                    state.name(new),
                    state.plan.service
                ));
            }
            state.live = old;
            Turn::On(Phase::Withdraw)
        }
        Some(Selector::Wide) => {
            // Nobody is lost by leaving a slot of which no pod serves, or could.
            let is_dead = seen.serving(new) == 0 && seen.slots.of(new).ready.is_empty();
            if is_dead && seen.serving(old) > 0 {
                return narrow();
            }
            let turn = state.grow(seen, old, needed).or_else(|| state.take_up(seen, old, needed));
            if let Some(turn) = turn {
                state.held_since = None;
                return turn;
            }
            // Who has never left need not be heard of anew.
            let is_heard_of = !state.has_left;
            if is_heard_of { narrow() } else { state.hold(now).unwrap_or_else(narrow) }
        }
        _ if state.overlap().is_some() => select(Selector::Wide),
        _ => {
            let turn = state.grow(seen, old, needed);
            let ready = seen.slots.of(old).ready.len();
            let few = (ready < state.at_least(needed) as usize)
                .then(|| Turn::wait(format!("{ready} of {needed} pods of {} are ready", state.name(old))));
            turn.or(few).unwrap_or_else(narrow)
        }
    }
}

/// The records say what came of it, the autoscaler is where it was, and the slot of the new revision has no pods.
pub(super) fn withdraw(state: &State, seen: &Observation, now: Timestamp) -> Turn {
    let (old, new) = (state.old_slot(), state.new);
    let is_rolling = old == new;
    // Where nothing was begun, nothing is restored: what the Service selects was not ours to know.
    if !is_rolling && state.has_begun {
        if seen.selector != Some(Selector::Narrow(old)) {
            return Turn::On(Phase::Return);
        }
        if let Some(turn) = state.autoscaler(seen, Some(old)) {
            return turn;
        }
    }
    let marks = marks(state, seen);
    if !marks.is_empty() {
        return Turn::Do(marks, "what came of it is recorded".to_owned());
    }
    let slot = seen.slots.of(new);
    if !is_rolling && slot.revision == Some(state.plan.revision) && slot.replicas > 0 {
        let until = clock::add(state.since, state.scale_down_delay());
        if state.is_served && now < until {
            let seconds = state.scale_down_delay().as_secs();
            return Turn::Wait(format!("{} is kept for {seconds} s", state.name(new)), Some(until));
        }
        if seen.knows(new) {
            return Turn::wait(format!(
                "{} is still behind the Service {}",
                state.name(new),
                state.plan.service
            ));
        }
        return Turn::act(Action::Scale { slot: new, replicas: 0 });
    }
    let reason = state.reason.clone().unwrap_or_default();
    Turn::On(Phase::Ended(match state.plan.previous {
        Some(_) => Outcome::RolledBack { reason },
        None => Outcome::Failed { reason },
    }))
}

/// The records that do not say yet what came of it. What was never recorded stays so.
fn marks(state: &State, seen: &Observation) -> Vec<Action> {
    let came_of_it = if state.is_released { RevisionStatus::RolledBack } else { RevisionStatus::Failed };
    let wanted = [
        (Some(state.plan.revision), seen.record, came_of_it),
        (state.plan.previous, seen.previous_record, RevisionStatus::Deployed),
    ];
    let missing = wanted.into_iter().filter_map(|(revision, found, status)| {
        let is_missing = found.is_some_and(|found| found != status);
        revision.filter(|_| is_missing).map(|revision| Action::MarkRevision { revision, status })
    });
    missing.collect()
}

#[cfg(test)]
mod tests {
    use super::super::observation::Verb;
    use super::super::slot::Slot;
    use super::super::testing::Scene;
    use super::*;

    /// Slot b serves revision 2 alone, and customers have reached it.
    fn switched() -> Scene {
        let mut scene = Scene::blue_green(|_| {});
        scene.runs(Slot::B, 2, 3);
        scene.select(Selector::Narrow(Slot::B));
        scene.serve(&[Slot::B]);
        let mut scene = scene.within(Phase::Narrow);
        scene.hear("1", Verb::Abort);
        scene
    }

    #[test]
    fn the_old_slot_serves_alone_again_by_way_of_both() {
        let mut scene = switched();
        assert_eq!(scene.told(), "return: let the Service select both slots");
        scene.select(Selector::Wide);
        assert_eq!(scene.told(), "return: (0 of 3 pods of order-a are behind the Service order)");
        scene.serve(&[Slot::A, Slot::B]);
        assert_eq!(scene.told(), "return: (both slots serve for 15 s)");
        assert_eq!(scene.later(15), "return: let the Service select slot a");
        scene.select(Selector::Narrow(Slot::A));
        assert_eq!(scene.told(), "return: (order-b is still behind the Service order)");
        scene.serve(&[Slot::A]);
        assert_eq!(scene.told(), "withdraw: mark revision 2 as failed");
        scene.seen.record = Some(RevisionStatus::Failed);
        assert_eq!(scene.told(), "withdraw: (order-b is kept for 30 s)");
        assert_eq!(scene.later(30), "withdraw: scale slot b to 0 pods");
        scene.slot(Slot::B).replicas = 0;
        assert_eq!(scene.told(), "ended: RolledBack { reason: \"aborted by ann: because\" }");
        assert_eq!(scene.state.live(), Slot::A);
    }

    #[test]
    fn an_old_slot_that_became_too_small_grows_first() {
        let mut scene = switched();
        scene.runs(Slot::A, 1, 1);
        scene.select(Selector::Wide);
        assert_eq!(scene.told(), "return: scale slot a to 3 pods");
        // With an autoscaler it needs what the traffic needs now.
        let mut scene = switched();
        scene.state.plan.replicas = None;
        scene.runs(Slot::B, 2, 8);
        scene.slot(Slot::B).is_autoscaled = true;
        assert_eq!(scene.told(), "return: hold the autoscaler");
        scene.slot(Slot::B).is_autoscaled = false;
        scene.select(Selector::Wide);
        assert_eq!(scene.told(), "return: scale slot a to 8 pods");
    }

    #[test]
    fn an_old_slot_that_never_left_serves_alone_at_once() {
        let mut scene = Scene::blue_green(|_| {});
        scene.runs(Slot::B, 2, 3);
        scene.select(Selector::Wide);
        scene.serve(&[Slot::A, Slot::B]);
        let mut scene = scene.within(Phase::Overlap);
        scene.hear("1", Verb::Abort);
        assert_eq!(scene.told(), "return: let the Service select slot a");
    }

    #[test]
    fn a_new_slot_of_which_no_pod_serves_is_left_whatever_the_old_one_can_carry() {
        let mut scene = switched();
        scene.slot(Slot::A).ready.pop_last();
        scene.slot(Slot::B).ready.clear();
        scene.select(Selector::Wide);
        scene.serve(&[Slot::A, Slot::B]);
        assert_eq!(scene.told(), "return: let the Service select slot a");
    }

    #[test]
    fn an_old_slot_that_does_not_come_back_needs_a_person() {
        let mut scene = switched();
        scene.select(Selector::Wide);
        scene.step();
        let waits = "0 of 3 pods of order-a are behind the Service order";
        assert_eq!(scene.later(915), format!("return: stuck: {waits}: not done after 915 s"));
        // What can be done is still done, however late.
        scene.serve(&[Slot::A, Slot::B]);
        scene.later(1);
        assert_eq!(scene.later(15), "return: let the Service select slot a");
    }

    #[test]
    fn what_was_released_and_is_undone_is_recorded_as_rolled_back() {
        let mut scene = switched();
        scene.state.phase = Phase::Retire;
        scene.state.is_released = true;
        scene.state.live = Slot::B;
        scene.seen.record = Some(RevisionStatus::Deployed);
        scene.seen.previous_record = Some(RevisionStatus::Superseded);
        scene.hear("1", Verb::Undo);
        assert_eq!(scene.told(), "return: let the Service select both slots");
        assert!(!scene.state.is_released());
        scene.select(Selector::Narrow(Slot::A));
        scene.serve(&[Slot::A]);
        assert_eq!(scene.told(), "withdraw: mark revision 2 as rolled-back; mark revision 1 as deployed");
        assert_eq!(scene.state.live(), Slot::A);
    }

    #[test]
    fn a_slot_that_somebody_selects_again_is_not_scaled_down() {
        let mut scene = switched();
        scene.step();
        let mut scene = scene.within(Phase::Withdraw);
        scene.select(Selector::Wide);
        assert_eq!(scene.told(), "return: (0 of 3 pods of order-a are behind the Service order)");
    }

    #[test]
    fn an_older_revision_in_the_idle_slot_is_left_alone() {
        let mut scene = Scene::blue_green(|_| {});
        scene.runs(Slot::B, 0, 2);
        scene.seen.record = None;
        scene.hear("1", Verb::Abort);
        assert_eq!(scene.told(), "ended: RolledBack { reason: \"aborted by ann: because\" }");
    }
}
