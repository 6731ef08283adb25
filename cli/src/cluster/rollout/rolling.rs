//! A release in the live slot, pod by pod: the Deployment does it, and never has less than it may.

use super::action::Action;
use super::machine::Turn;
use super::observation::Observation;
use super::slot::Selector;
use super::state::{Phase, State};

/// The live slot has the new revision.
pub(super) fn update(state: &State, seen: &Observation) -> Turn {
    let turn = bring(state, seen, state.plan.revision, state.plan.replicas);
    turn.unwrap_or(Turn::On(Phase::Bake))
}

/// The live slot has the old revision again.
pub(super) fn revert(state: &State, seen: &Observation) -> Turn {
    let replicas = if state.plan.is_autoscaled() { None } else { Some(state.old_replicas) };
    let turn = state.plan.previous.and_then(|previous| bring(state, seen, previous, replicas));
    turn.unwrap_or(Turn::On(Phase::Withdraw))
}

/// What is missing until the live slot serves `revision`.
fn bring(state: &State, seen: &Observation, revision: u64, replicas: Option<u32>) -> Option<Turn> {
    let slot = state.new;
    if seen.slots.of(slot).revision != Some(revision) {
        return Some(Turn::act(Action::ApplySlot { slot, revision, replicas }));
    }
    let needed = replicas.unwrap_or(seen.slots.of(slot).replicas);
    let turn = state.autoscaler(seen, Some(slot)).or_else(|| state.grow(seen, slot, needed));
    turn.or_else(|| select(state, seen, needed)).or_else(|| state.settle(seen, slot, needed)).or_else(|| {
        // A slot of no pods has nothing that could be taken up.
        (needed > 0).then(|| state.take_up(seen, slot, needed)).flatten()
    })
}

/// The Service selects the live slot alone. Only the first release finds it otherwise, or one beside which somebody else
/// moved it.
fn select(state: &State, seen: &Observation, needed: u32) -> Option<Turn> {
    let narrow = Selector::Narrow(state.new);
    let select = |selector| Some(Turn::act(Action::Select { selector }));
    match seen.selector {
        Some(selector) if selector == narrow => None,
        None if state.plan.previous.is_none() => select(narrow),
        Some(Selector::Wide) => state.take_up(seen, state.new, needed).or_else(|| select(narrow)),
        _ => select(Selector::Wide),
    }
}

#[cfg(test)]
mod tests {
    use super::super::action::RevisionStatus;
    use super::super::observation::Verb;
    use super::super::slot::Slot;
    use super::super::testing::{Scene, plan};
    use super::super::{Plan, SlotSeen, Strategy};
    use super::*;
    use crate::cluster::readiness::Status;

    #[test]
    fn the_live_slot_gets_the_new_revision_in_place() {
        let mut scene = Scene::rolling();
        assert_eq!(scene.told(), "update: apply revision 2 to slot a with 3 pods");
        scene.runs(Slot::A, 2, 3);
        scene.slot(Slot::A).status =
            Status::InProgress { why: "1 of 3 pods are of the new version".to_owned() };
        assert_eq!(scene.told(), "update: (order-a: 1 of 3 pods are of the new version)");
        scene.runs(Slot::A, 2, 3);
        // A Deployment that is ready is not yet a Service that serves it.
        assert_eq!(scene.told(), "update: (0 of 3 pods of order-a are behind the Service order)");
        scene.serve(&[Slot::A]);
        assert_eq!(scene.told(), "release: mark revision 2 as deployed; mark revision 1 as superseded");
        scene.seen.record = Some(RevisionStatus::Deployed);
        scene.seen.previous_record = Some(RevisionStatus::Superseded);
        assert_eq!(scene.told(), "ended: Released");
        assert_eq!(scene.state.live(), Slot::A);
    }

    #[test]
    fn an_autoscaler_keeps_its_number() {
        let mut scene = Scene::rolling();
        scene.state.plan.replicas = None;
        assert_eq!(scene.told(), "update: apply revision 2 to slot a");
        scene.runs(Slot::A, 2, 7);
        assert_eq!(scene.told(), "update: give the autoscaler to slot a");
        scene.slot(Slot::A).is_autoscaled = true;
        scene.serve(&[Slot::A]);
        assert_eq!(scene.told(), "release: mark revision 2 as deployed; mark revision 1 as superseded");
    }

    #[test]
    fn a_failure_brings_the_old_revision_back() {
        let mut scene = Scene::rolling();
        scene.step();
        scene.runs(Slot::A, 2, 3);
        scene.slot(Slot::A).status = Status::Failed { why: "progress deadline exceeded".to_owned() };
        assert_eq!(scene.told(), "revert: apply revision 1 to slot a with 3 pods");
        scene.runs(Slot::A, 1, 3);
        scene.seen.endpoints.clear();
        assert_eq!(scene.told(), "revert: (0 of 3 pods of order-a are behind the Service order)");
        scene.serve(&[Slot::A]);
        assert_eq!(scene.told(), "withdraw: mark revision 2 as failed");
        scene.seen.record = Some(RevisionStatus::Failed);
        let reason = "order-a: progress deadline exceeded";
        assert_eq!(scene.told(), format!("ended: RolledBack {{ reason: {reason:?} }}"));
    }

    #[test]
    fn a_revert_that_does_not_come_about_needs_a_person() {
        let mut scene = Scene::rolling();
        scene.step();
        scene.hear("1", Verb::Abort);
        assert_eq!(scene.told(), "withdraw: mark revision 2 as failed", "nothing was changed yet");
        let mut scene = Scene::rolling();
        scene.step();
        scene.runs(Slot::A, 2, 0);
        scene.hear("1", Verb::Abort);
        assert_eq!(scene.told(), "revert: apply revision 1 to slot a with 3 pods");
        scene.runs(Slot::A, 1, 3);
        scene.slot(Slot::A).ready.clear();
        let waits = "0 of 3 pods of order-a are ready";
        assert_eq!(scene.later(10), format!("revert: ({waits})"));
        assert_eq!(scene.later(600), format!("revert: stuck: {waits}: not done after 600 s"));
        scene.state = scene.state.clone().resume(super::super::testing::at(scene.now));
        assert_eq!(scene.told(), format!("revert: ({waits})"));
    }

    fn first() -> Scene {
        let mut scene = Scene::new(Plan { previous: None, ..plan(Strategy::BlueGreen(Default::default())) });
        *scene.slot(Slot::A) = SlotSeen::default();
        (scene.seen.selector, scene.seen.previous_record) = (None, None);
        scene.seen.endpoints.clear();
        scene
    }

    #[test]
    fn the_first_release_has_nothing_to_take_the_place_of() {
        let mut scene = first();
        assert_eq!(scene.told(), "update: apply revision 2 to slot a with 3 pods");
        scene.runs(Slot::A, 2, 3);
        assert_eq!(scene.told(), "update: let the Service select slot a");
        scene.select(Selector::Narrow(Slot::A));
        scene.serve(&[Slot::A]);
        assert_eq!(scene.told(), "release: mark revision 2 as deployed");
        scene.seen.record = Some(RevisionStatus::Deployed);
        assert_eq!(scene.told(), "ended: Released");
    }

    #[test]
    fn a_first_release_that_fails_has_nothing_to_go_back_to() {
        let mut scene = first();
        scene.step();
        scene.runs(Slot::A, 2, 0);
        scene.slot(Slot::A).status = Status::Failed { why: "late".to_owned() };
        assert_eq!(scene.told(), "withdraw: mark revision 2 as failed");
        scene.seen.record = Some(RevisionStatus::Failed);
        assert_eq!(scene.told(), "ended: Failed { reason: \"order-a: late\" }");
    }

    #[test]
    fn a_service_that_somebody_moved_is_brought_back_by_way_of_both() {
        let mut scene = Scene::rolling();
        scene.step();
        scene.runs(Slot::A, 2, 3);
        scene.serve(&[Slot::A]);
        scene.select(Selector::Narrow(Slot::B));
        assert_eq!(scene.told(), "update: let the Service select both slots");
        scene.select(Selector::Wide);
        assert_eq!(scene.told(), "update: let the Service select slot a");
    }
}
