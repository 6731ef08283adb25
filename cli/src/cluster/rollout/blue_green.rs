//! A release in the idle slot: started where no customer is, served together with the old one, then alone.

use platform::vocabulary::{Timestamp, clock};

use super::action::{Action, Outcome, Place};
use super::gates::Gates;
use super::machine::Turn;
use super::observation::Observation;
use super::rounds;
use super::slot::Selector;
use super::state::{Phase, State};

/// The idle slot has no pod of another revision: they would serve beside the new ones.
pub(super) fn clear(state: &State, seen: &Observation) -> Turn {
    if let Some(turn) = state.autoscaler(seen, Some(state.old_slot())) {
        return turn;
    }
    let (slot, name) = (seen.slots.of(state.new), state.name(state.new));
    if !slot.exists || slot.revision == Some(state.plan.revision) {
        return Turn::On(Phase::Start);
    }
    if seen.knows(state.new) {
        return Turn::wait(format!("{name} is still behind the Service {}", state.plan.service));
    }
    if slot.replicas > 0 {
        return Turn::act(Action::Scale { slot: state.new, replicas: 0 });
    }
    if slot.pods > 0 {
        return Turn::wait(format!("{} pods of another revision of {name} are still there", slot.pods));
    }
    Turn::On(Phase::Start)
}

/// The new revision runs in the idle slot, behind the preview Service.
pub(super) fn start(state: &State, seen: &Observation) -> Turn {
    let needed = state.needed_by_new();
    let previewed = state.plan.blue_green().and_then(|blue_green| blue_green.preview_replicas);
    let replicas = previewed.unwrap_or(needed).clamp(1, needed);
    if seen.slots.of(state.new).revision != Some(state.plan.revision) {
        let revision = state.plan.revision;
        return Turn::act(Action::ApplySlot { slot: state.new, revision, replicas: Some(replicas) });
    }
    let turn = state.grow(seen, state.new, replicas).or_else(|| state.settle(seen, state.new, replicas));
    turn.unwrap_or(Turn::On(Phase::Preview))
}

/// The gates hold where no customer is.
pub(super) fn preview(state: &mut State, seen: &Observation, now: Timestamp) -> Turn {
    let gates = state.plan.blue_green().map_or_else(Gates::none, |blue_green| blue_green.preview.clone());
    rounds::ask(state, seen, now, &gates, Place::Preview).unwrap_or(Turn::On(Phase::Fill))
}

/// The idle slot has as many pods as the live one.
pub(super) fn fill(state: &State, seen: &Observation) -> Turn {
    let needed = state.needed_by_new();
    let turn = state.grow(seen, state.new, needed).or_else(|| state.settle(seen, state.new, needed));
    turn.unwrap_or(Turn::On(Phase::Await))
}

/// A person says that customers may reach it, when one has to: [`Verb::Promote`](super::Verb::Promote) leads on. Meanwhile
/// the idle slot keeps up with the live one.
pub(super) fn await_promotion(state: &State, seen: &Observation) -> Turn {
    if !state.is_promoted_by_hand() {
        return Turn::On(state.cut_over());
    }
    let turn = state.grow(seen, state.new, state.needed_by_new());
    turn.unwrap_or_else(|| Turn::wait("waits to be promoted"))
}

impl State {
    /// The phase in which customers first reach the new revision.
    pub(super) fn cut_over(&self) -> Phase {
        if self.overlap().is_some() { Phase::Overlap } else { Phase::Narrow }
    }
}

/// Both slots serve, until everybody who sends requests has heard of the new pods.
pub(super) fn overlap(state: &mut State, seen: &Observation, now: Timestamp) -> Turn {
    let needed = state.needed_by_new();
    if let Some(turn) = state.autoscaler(seen, None).or_else(|| state.grow(seen, state.new, needed)) {
        return turn;
    }
    if seen.selector != Some(Selector::Wide) {
        let ready = seen.slots.of(state.new).ready.len();
        if ready < state.at_least(needed) as usize {
            return Turn::wait(format!("{ready} of {needed} pods of {} are ready", state.name(state.new)));
        }
        return Turn::act(Action::Select { selector: Selector::Wide });
    }
    if let Some(turn) = state.take_up(seen, state.new, needed) {
        state.held_since = None;
        return turn;
    }
    state.hold(now).unwrap_or(Turn::On(Phase::Narrow))
}

/// The new slot serves alone, once it can carry everything.
pub(super) fn narrow(state: &State, seen: &Observation) -> Turn {
    let (old, new, needed) = (state.old_slot(), state.new, state.needed_by_new());
    let select = || Turn::act(Action::Select { selector: Selector::Narrow(new) });
    match seen.selector {
        Some(Selector::Narrow(slot)) if slot == new => {
            if seen.has_let_go(old) {
                return Turn::On(Phase::Bake);
            }
            Turn::wait(format!("{} is still behind the Service {}", state.name(old), state.plan.service))
        }
        Some(Selector::Wide) => {
            let turn = state.grow(seen, new, needed).or_else(|| state.take_up(seen, new, needed));
            turn.unwrap_or_else(select)
        }
        _ if state.overlap().is_some() => Turn::On(Phase::Overlap),
        _ => {
            let turn = state.autoscaler(seen, None).or_else(|| state.grow(seen, new, needed));
            turn.or_else(|| state.settle(seen, new, needed)).unwrap_or_else(select)
        }
    }
}

/// The old slot is kept for a while, so that it can be undone in an instant; then it is scaled to zero, and its object
/// kept.
pub(super) fn retire(state: &State, seen: &Observation, now: Timestamp) -> Turn {
    let old = state.old_slot();
    if let Some(turn) = state.autoscaler(seen, Some(state.new)) {
        return turn;
    }
    if seen.selector != Some(Selector::Narrow(state.new)) {
        // It is not for us any more to say which of the two is right, and both are kept.
        return Turn::Stuck(state.astray(seen, state.new));
    }
    let until = clock::add(state.since, state.warmth());
    if now < until {
        return Turn::Wait(
            format!("{} is kept for {} s", state.name(old), state.warmth().as_secs()),
            Some(until),
        );
    }
    if seen.knows(old) {
        return Turn::wait(format!("{} is still behind the Service {}", state.name(old), state.plan.service));
    }
    if seen.slots.of(old).replicas > 0 {
        return Turn::act(Action::Scale { slot: old, replicas: 0 });
    }
    Turn::On(Phase::Ended(Outcome::Released))
}

#[cfg(test)]
mod tests {
    use super::super::action::RevisionStatus;
    use super::super::observation::Verb;
    use super::super::plan::{Cutover, Promote};
    use super::super::slot::Slot;
    use super::super::testing::{Scene, gates};
    use super::*;
    use crate::cluster::readiness::{Status, Trouble, TroubleKind};

    #[test]
    fn the_idle_slot_gets_rid_of_an_older_revision_first() {
        let mut scene = Scene::blue_green(|_| {});
        scene.runs(Slot::B, 0, 2);
        assert_eq!(scene.told(), "clear: scale slot b to 0 pods");
        scene.slot(Slot::B).replicas = 0;
        assert_eq!(scene.told(), "clear: (2 pods of another revision of order-b are still there)");
        scene.runs(Slot::B, 0, 0);
        assert_eq!(scene.told(), "start: apply revision 2 to slot b with 3 pods");
    }

    #[test]
    fn pods_that_the_service_still_knows_are_not_scaled_down() {
        let mut scene = Scene::blue_green(|_| {});
        scene.runs(Slot::B, 0, 2);
        scene.serve(&[Slot::A, Slot::B]);
        assert_eq!(scene.told(), "clear: (order-b is still behind the Service order)");
    }

    #[test]
    fn it_starts_with_as_many_pods_as_the_preview_needs_and_then_gets_the_rest() {
        let mut scene = Scene::blue_green(|blue_green| blue_green.preview_replicas = Some(1));
        assert_eq!(scene.told(), "start: apply revision 2 to slot b with 1 pod");
        scene.runs(Slot::B, 2, 1);
        scene.slot(Slot::B).status = Status::InProgress { why: "0 of 1 pods are available".to_owned() };
        assert_eq!(scene.told(), "start: (order-b: 0 of 1 pods are available)");
        scene.runs(Slot::B, 2, 1);
        assert_eq!(scene.told(), "fill: scale slot b to 3 pods");
        scene.slot(Slot::B).replicas = 3;
        assert_eq!(scene.told(), "fill: (1 of 3 pods of order-b are ready)");
        scene.runs(Slot::B, 2, 3);
        assert_eq!(scene.told(), "overlap: let the Service select both slots");
    }

    #[test]
    fn pods_that_will_never_be_ready_end_it_at_once() {
        let broken: [fn(&mut Scene); 2] = [
            |scene| {
                scene.slot(Slot::B).status = Status::Failed { why: "progress deadline exceeded".to_owned() }
            },
            |scene| {
                let message = "no such image".to_owned();
                let trouble = Trouble { kind: TroubleKind::ImagePull, object: "Pod/x".to_owned(), message };
                scene.slot(Slot::B).trouble = Some(trouble);
            },
        ];
        let reasons = ["order-b: progress deadline exceeded", "order-b: Pod/x: no such image"];
        for (breaks, reason) in broken.into_iter().zip(reasons) {
            let mut scene = Scene::blue_green(|_| {});
            scene.runs(Slot::B, 2, 3);
            breaks(&mut scene);
            assert_eq!(scene.told(), "withdraw: mark revision 2 as failed");
            assert_eq!(scene.state.reason(), Some(reason));
            scene.seen.record = Some(RevisionStatus::Failed);
            assert_eq!(scene.told(), "withdraw: scale slot b to 0 pods", "nobody was served by it");
            scene.slot(Slot::B).replicas = 0;
            assert_eq!(scene.told(), format!("ended: RolledBack {{ reason: {reason:?} }}"));
            // The failure of another revision in that slot is of the past.
            let mut scene = Scene::blue_green(|_| {});
            scene.runs(Slot::B, 0, 0);
            breaks(&mut scene);
            assert_eq!(scene.told(), "start: apply revision 2 to slot b with 3 pods");
        }
    }

    #[test]
    fn pods_that_take_too_long_end_it() {
        let mut scene = Scene::blue_green(|_| {});
        scene.runs(Slot::B, 2, 3);
        scene.slot(Slot::B).ready.clear();
        assert_eq!(scene.later(599), "start: (0 of 3 pods of order-b are ready)");
        scene.later(600);
        assert_eq!(scene.state.reason(), Some("0 of 3 pods of order-b are ready: not done after 600 s"));
    }

    #[test]
    fn the_preview_is_looked_at_where_no_customer_is() {
        let mut scene = Scene::blue_green(|blue_green| blue_green.preview = gates());
        scene.runs(Slot::B, 2, 3);
        assert_eq!(scene.told(), "preview: (0 of 2 rounds of the gates have passed)");
        assert_eq!(scene.later(10), "preview: check the gates of the preview (round 1)");
        scene.answer(Some(900.0));
        scene.step();
        scene.later(10);
        scene.answer(Some(900.0));
        assert_eq!(scene.told(), "withdraw: mark revision 2 as failed");
    }

    #[test]
    fn a_person_promotes_it_and_meanwhile_it_keeps_up_with_the_live_slot() {
        let mut scene = Scene::blue_green(|blue_green| blue_green.promote = Promote::Manual);
        scene.state.plan.replicas = None;
        scene.slot(Slot::A).is_autoscaled = true;
        scene.runs(Slot::B, 2, 3);
        assert_eq!(scene.told(), "await: (waits to be promoted)");
        assert_eq!(scene.later(100_000), "await: (waits to be promoted)");
        scene.runs(Slot::A, 1, 5);
        assert_eq!(scene.told(), "await: scale slot b to 5 pods");
        scene.runs(Slot::B, 2, 5);
        scene.hear("1", Verb::Promote);
        assert_eq!(scene.told(), "overlap: hold the autoscaler");
        scene.slot(Slot::A).is_autoscaled = false;
        assert_eq!(scene.told(), "overlap: let the Service select both slots");
    }

    fn overlapping() -> Scene {
        let mut scene = Scene::blue_green(|_| {});
        scene.runs(Slot::B, 2, 3);
        scene.select(Selector::Wide);
        scene.serve(&[Slot::A, Slot::B]);
        scene.within(Phase::Overlap)
    }

    #[test]
    fn both_serve_until_everybody_has_heard_of_the_new_pods() {
        let mut scene = overlapping();
        scene.select(Selector::Narrow(Slot::A));
        scene.serve(&[Slot::A]);
        assert_eq!(scene.told(), "overlap: let the Service select both slots");
        scene.select(Selector::Wide);
        assert_eq!(scene.told(), "overlap: (0 of 3 pods of order-b are behind the Service order)");
        scene.serve(&[Slot::A, Slot::B]);
        assert_eq!(scene.later(100), "overlap: (both slots serve for 15 s)");
        assert_eq!(scene.later(14), "overlap: (both slots serve for 15 s)");
        assert_eq!(scene.later(1), "narrow: let the Service select slot b");
    }

    #[test]
    fn the_time_that_both_serve_begins_anew_when_a_pod_is_lost_or_another_driver_takes_over() {
        let mut scene = overlapping();
        assert_eq!(scene.told(), "overlap: (both slots serve for 15 s)");
        let lost = scene.seen.endpoints.pop().unwrap();
        assert_eq!(scene.later(10), "overlap: (2 of 3 pods of order-b are behind the Service order)");
        scene.seen.endpoints.push(lost);
        assert_eq!(scene.later(5), "overlap: (both slots serve for 15 s)");
        assert_eq!(scene.later(14), "overlap: (both slots serve for 15 s)");
        scene.state = scene.state.clone().resume(super::super::testing::at(scene.now));
        assert_eq!(scene.later(14), "overlap: (both slots serve for 15 s)");
        assert_eq!(scene.later(15), "narrow: let the Service select slot b");
    }

    #[test]
    fn the_new_slot_serves_alone_only_when_it_can_carry_everything() {
        let mut scene = overlapping().within(Phase::Narrow);
        scene.slot(Slot::B).ready.pop_last();
        let waits = "2 of 3 pods of order-b are behind the Service order, 2 are ready";
        scene.seen.endpoints.pop();
        assert_eq!(scene.told(), format!("narrow: ({waits})"));
        scene.state.plan.max_unavailable = 1;
        assert_eq!(scene.told(), "narrow: let the Service select slot b");
        scene.select(Selector::Narrow(Slot::B));
        assert_eq!(scene.told(), "narrow: (order-a is still behind the Service order)");
        scene.seen.endpoints.clear();
        assert_eq!(
            scene.told(),
            "narrow: (order-a is still behind the Service order)",
            "nothing was heard at all"
        );
        scene.serve(&[Slot::B]);
        assert_eq!(scene.told(), "release: mark revision 2 as deployed; mark revision 1 as superseded");
    }

    #[test]
    fn a_switch_that_somebody_turned_back_begins_with_both_again() {
        let mut scene = overlapping().within(Phase::Narrow);
        scene.select(Selector::Narrow(Slot::A));
        assert_eq!(scene.told(), "overlap: let the Service select both slots");
    }

    #[test]
    fn revisions_that_must_not_serve_together_never_do() {
        let mut scene = Scene::blue_green(|blue_green| blue_green.cutover = Cutover::Strict);
        scene.runs(Slot::B, 2, 3);
        assert_eq!(scene.told(), "narrow: let the Service select slot b");
        scene.select(Selector::Narrow(Slot::B));
        scene.hear("1", Verb::Abort);
        assert_eq!(scene.told(), "return: let the Service select slot a");
        scene.slot(Slot::A).ready.clear();
        assert_eq!(scene.told(), "return: (0 of 3 pods of order-a are ready)");
    }

    #[test]
    fn an_early_release_whose_service_somebody_moves_goes_back() {
        let mut scene = Scene::blue_green(|_| {});
        scene.runs(Slot::B, 2, 3);
        scene.slot(Slot::B).ready.clear();
        scene.step();
        scene.select(Selector::Narrow(Slot::B));
        assert_eq!(scene.told(), "return: let the Service select both slots");
        assert_eq!(
            scene.state.reason(),
            Some("somebody made the Service order select slot b instead of slot a")
        );
    }

    #[test]
    fn the_old_slot_is_kept_for_a_while_and_then_scaled_to_zero() {
        let mut scene = Scene::blue_green(|blue_green| blue_green.keep_warm_seconds = 900);
        scene.runs(Slot::B, 2, 3);
        scene.select(Selector::Narrow(Slot::B));
        scene.serve(&[Slot::B]);
        let mut scene = scene.within(Phase::Retire);
        assert_eq!(scene.later(899), "retire: (order-a is kept for 900 s)");
        assert_eq!(scene.later(1), "retire: scale slot a to 0 pods");
        scene.runs(Slot::A, 1, 0);
        assert_eq!(scene.told(), "ended: Released");
        assert_eq!(scene.told(), "ended: Released");
    }

    #[test]
    fn a_slot_that_somebody_made_the_service_select_is_not_scaled_down() {
        let mut scene = overlapping().within(Phase::Retire);
        assert_eq!(
            scene.later(1000),
            "retire: stuck: somebody made the Service order select both slots instead of slot b"
        );
    }
}
