//! What every release does on its way: it is recorded, tables are prepared, it is looked at, it is called released.

use platform::vocabulary::Timestamp;

use super::action::{Action, Outcome, Place, RevisionStatus};
use super::machine::Turn;
use super::observation::Observation;
use super::rounds;
use super::slot::Selector;
use super::state::{Phase, State};
use crate::cluster::readiness::Status;

/// The revision is recorded as pending, and how things were is remembered. Nothing is begun when the Service does not
/// select the slot that counts as live: who is right cannot be told from here.
pub(super) fn record(state: &mut State, seen: &Observation) -> Turn {
    let revision = state.plan.revision;
    state.old_replicas = seen.slots.of(state.live).replicas;
    let is_first = state.plan.previous.is_none() && seen.selector.is_none();
    let reason = if seen.selector != Some(Selector::Narrow(state.live)) && !is_first {
        Some(state.astray(seen, state.live))
    } else {
        let ended = seen.record.filter(|status| *status != RevisionStatus::Pending);
        ended.map(|status| format!("revision {revision} is recorded as {} already", status.name()))
    };
    let mark = |status| Turn::act(Action::MarkRevision { revision, status });
    match (reason, seen.record) {
        (None, None) => mark(RevisionStatus::Pending),
        (None, Some(_)) => Turn::On(Phase::Prepare),
        (Some(_), Some(RevisionStatus::Pending)) => mark(RevisionStatus::Failed),
        (Some(reason), _) => {
            state.reason = Some(reason.clone());
            Turn::On(Phase::Ended(Outcome::Failed { reason }))
        }
    }
}

/// Tables are brought up to date before the first new pod starts; old pods go on with the new tables.
pub(super) fn prepare(state: &State, seen: &Observation) -> Turn {
    let next = if state.plan.blue_green().is_some() { Phase::Clear } else { Phase::Update };
    if !state.plan.prepare {
        return Turn::On(next);
    }
    let Some(job) = &seen.prepare else {
        return Turn::act(Action::RunPrepareJob { revision: state.plan.revision });
    };
    match (&job.status, &job.trouble) {
        (Status::Current, _) => Turn::On(next),
        (Status::Failed { why }, _) => Turn::Back(format!("the tables could not be prepared: {why}")),
        (_, Some(trouble)) => Turn::Back(format!("the tables could not be prepared: {trouble}")),
        (status, None) => Turn::wait(format!("the tables are being prepared: {status}")),
    }
}

/// Customers reach the new revision, and the gates are asked.
pub(super) fn bake(state: &mut State, seen: &Observation, now: Timestamp) -> Turn {
    if let Some(turn) = state.autoscaler(seen, Some(state.new)) {
        return turn;
    }
    if seen.selector != Some(Selector::Narrow(state.new)) {
        // Whoever moved it had a reason; the way back is the safe one.
        return Turn::Back(state.astray(seen, state.new));
    }
    let gates = state.plan.bake.clone();
    rounds::ask(state, seen, now, &gates, Place::Service).unwrap_or(Turn::On(Phase::Release))
}

/// It is recorded as deployed, and the one before as superseded. With that the new slot is live.
pub(super) fn release(state: &mut State, seen: &Observation) -> Turn {
    let mut actions = Vec::new();
    let mut mark = |revision, status| actions.push(Action::MarkRevision { revision, status });
    if seen.record != Some(RevisionStatus::Deployed) {
        mark(state.plan.revision, RevisionStatus::Deployed);
    }
    let is_before = |status| status != RevisionStatus::Superseded;
    if let Some(previous) = state.plan.previous.filter(|_| seen.previous_record.is_some_and(is_before)) {
        mark(previous, RevisionStatus::Superseded);
    }
    if !actions.is_empty() {
        return Turn::Do(actions, "the release is recorded".to_owned());
    }
    (state.live, state.is_released) = (state.new, true);
    match state.plan.blue_green() {
        Some(_) => Turn::On(Phase::Retire),
        None => Turn::On(Phase::Ended(Outcome::Released)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::observation::{JobSeen, Verb};
    use super::super::slot::Slot;
    use super::super::testing::{Scene, gates, plan};
    use super::super::{BlueGreen, Strategy};
    use super::*;
    use crate::cluster::readiness::{Trouble, TroubleKind};

    #[test]
    fn a_release_is_recorded_before_anything_is_done() {
        let mut scene = Scene::blue_green(|_| {});
        scene.seen.record = None;
        assert_eq!(scene.told(), "record: mark revision 2 as pending");
        assert_eq!(scene.told(), "record: mark revision 2 as pending", "the answer was lost");
        scene.seen.record = Some(RevisionStatus::Pending);
        assert_eq!(scene.told(), "start: apply revision 2 to slot b with 3 pods");
    }

    #[test]
    fn nothing_is_begun_when_the_service_selects_something_else() {
        for (selector, told) in [
            (Some(Selector::Wide), "both slots instead of slot a"),
            (Some(Selector::Narrow(Slot::B)), "slot b instead of slot a"),
            (None, "something else than its slots"),
        ] {
            let mut scene = Scene::blue_green(|_| {});
            (scene.seen.selector, scene.seen.record) = (selector, None);
            let reason = format!("somebody made the Service order select {told}");
            assert_eq!(scene.told(), format!("ended: Failed {{ reason: {reason:?} }}"));
            // It was begun before, and is not left open.
            let mut scene = Scene::blue_green(|_| {});
            scene.seen.selector = selector;
            assert_eq!(scene.told(), "record: mark revision 2 as failed");
        }
    }

    #[test]
    fn a_number_that_was_used_is_not_used_again() {
        let mut scene = Scene::rolling();
        scene.seen.record = Some(RevisionStatus::Superseded);
        let reason = "revision 2 is recorded as superseded already";
        assert_eq!(scene.told(), format!("ended: Failed {{ reason: {reason:?} }}"));
    }

    #[test]
    fn tables_come_first_and_a_failure_there_changes_no_pod() {
        let new = || {
            let mut scene = Scene::new(super::super::Plan { prepare: true, ..plan(Strategy::Rolling) });
            assert_eq!(scene.told(), "prepare: prepare the tables for revision 2");
            scene
        };
        let job = |status| Some(JobSeen { status, trouble: None });
        let mut scene = new();
        scene.seen.prepare = job(Status::InProgress { why: "1 of its pods run".to_owned() });
        assert_eq!(scene.told(), "prepare: (the tables are being prepared: 1 of its pods run)");
        scene.seen.prepare = job(Status::Current);
        assert_eq!(scene.told(), "update: apply revision 2 to slot a with 3 pods");

        let mut scene = new();
        scene.seen.prepare = job(Status::Failed { why: "exit code 4".to_owned() });
        assert_eq!(scene.told(), "withdraw: mark revision 2 as failed");
        scene.seen.record = Some(RevisionStatus::Failed);
        let reason = "the tables could not be prepared: exit code 4";
        assert_eq!(scene.told(), format!("ended: RolledBack {{ reason: {reason:?} }}"));

        let mut scene = new();
        let message = "no such image".to_owned();
        let trouble = Trouble { kind: TroubleKind::ImagePull, object: String::new(), message };
        let status = Status::InProgress { why: String::new() };
        scene.seen.prepare = Some(JobSeen { status, trouble: Some(trouble) });
        scene.step();
        assert_eq!(scene.state.reason(), Some("the tables could not be prepared: no such image"));

        let mut scene = new();
        scene.seen.prepare = job(Status::InProgress { why: "slow".to_owned() });
        scene.now = 1800;
        scene.step();
        let reason = "the tables are being prepared: slow: not done after 1800 s";
        assert_eq!(scene.state.reason(), Some(reason));
    }

    fn baking() -> Scene {
        let mut scene = Scene::new(super::super::Plan {
            bake: gates(),
            ..plan(Strategy::BlueGreen(BlueGreen::default()))
        });
        scene.runs(Slot::B, 2, 3);
        scene.select(Selector::Narrow(Slot::B));
        scene.serve(&[Slot::B]);
        scene.within(Phase::Bake)
    }

    #[test]
    fn gates_are_asked_until_they_have_held_often_enough() {
        let mut scene = baking();
        assert_eq!(scene.told(), "bake: (0 of 2 rounds of the gates have passed)");
        assert_eq!(scene.later(10), "bake: check the gates of the service (round 1)");
        assert_eq!(scene.told(), "bake: check the gates of the service (round 1)", "the answer was lost");
        scene.answer(Some(10.0));
        assert_eq!(scene.told(), "bake: (1 of 2 rounds of the gates have passed)");
        assert_eq!(
            scene.later(5),
            "bake: (1 of 2 rounds of the gates have passed)",
            "one answer counts once"
        );
        assert_eq!(scene.later(5), "bake: check the gates of the service (round 2)");
        assert_eq!(
            scene.told(),
            "bake: check the gates of the service (round 2)",
            "the answer is an old one"
        );
        scene.answer(Some(10.0));
        assert_eq!(scene.told(), "release: mark revision 2 as deployed; mark revision 1 as superseded");
    }

    #[test]
    fn gates_that_fail_turn_it_back() {
        let mut scene = baking();
        for _ in 0..2 {
            scene.later(10);
            scene.answer(Some(900.0));
            scene.step();
        }
        assert_eq!(scene.state.reason(), Some("gate latency: p99_ms is 900, more than 200 (failed 2 times)"));
        assert_eq!(scene.told(), "return: let the Service select both slots");
    }

    #[test]
    fn without_figures_a_person_decides() {
        let unclear = || {
            let mut scene = baking();
            for _ in 0..2 {
                scene.later(10);
                scene.answer(None);
                scene.step();
            }
            let waits = "nobody can tell whether it is well: gate latency: p99_ms could not be had: nobody came (2 times in a row)";
            assert_eq!(scene.later(1000), format!("bake: ({waits})"));
            assert!(scene.state.waits_for_a_person());
            scene
        };
        let mut scene = unclear();
        scene.hear("1", Verb::Promote);
        assert_eq!(scene.told(), "release: mark revision 2 as deployed; mark revision 1 as superseded");
        let mut scene = unclear();
        scene.hear("1", Verb::Abort);
        assert_eq!(scene.told(), "return: let the Service select both slots");
    }

    #[test]
    fn pods_that_are_not_ready_are_a_gate_of_their_own() {
        let mut scene = baking();
        scene.state.plan.bake.gates.clear();
        scene.slot(Slot::B).status = Status::InProgress { why: "2 of 3 pods are ready".to_owned() };
        assert_eq!(scene.later(10), "bake: (0 of 2 rounds of the gates have passed)");
        scene.later(10);
        assert_eq!(scene.state.reason(), Some("not all pods are ready (failed 2 times)"));
    }

    #[test]
    fn a_service_that_somebody_moves_away_from_the_new_slot_goes_back() {
        let mut scene = baking();
        scene.select(Selector::Narrow(Slot::A));
        scene.step();
        assert_eq!(
            scene.state.reason(),
            Some("somebody made the Service order select slot a instead of slot b")
        );
    }

    #[test]
    fn the_new_slot_is_live_when_that_is_recorded() {
        let mut scene = baking().within(Phase::Release);
        assert_eq!(scene.told(), "release: mark revision 2 as deployed; mark revision 1 as superseded");
        scene.seen.record = Some(RevisionStatus::Deployed);
        assert_eq!(scene.told(), "release: mark revision 1 as superseded", "the second one was lost");
        assert_eq!((scene.state.live(), scene.state.is_released()), (Slot::A, false));
        scene.seen.previous_record = Some(RevisionStatus::Superseded);
        assert_eq!(scene.told(), "retire: (order-a is kept for 30 s)");
        assert_eq!((scene.state.live(), scene.state.is_released()), (Slot::B, true));
    }

    #[test]
    fn time_that_is_over_turns_it_back_unless_it_waits_for_a_person() {
        let mut scene = baking();
        scene.seen.deadline_passed = true;
        scene.hear("1", Verb::Pause);
        assert_eq!(scene.told(), "bake: (0 of 2 rounds of the gates have passed)");
        scene.hear("2", Verb::Promote);
        scene.step();
        assert_eq!(scene.state.reason(), Some("the time for the whole release is over, in the phase bake"));
    }
}
