//! What is promised of every release, tried out over simulated clusters.

use proptest::prelude::*;

use super::gates::Gates;
use super::observation::Verb;
use super::plan::{BlueGreen, Cutover, Limits, Plan, Promote, Strategy as How};
use super::simulation::{Crash, Habits, Quality, World};
use super::slot::{Selector, Slot};
use super::state::Phase;
use super::testing::gates;
use super::{Next, Outcome};

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Pass(u64),
    Drive(Crash),
    Lose(Slot, usize, bool),
    Autoscale(u32),
    SpoilAReading,
    Say(Verb),
    DeadlinePasses,
    Meddle(Selector),
}

fn rounds() -> impl Strategy<Value = Gates> {
    let asked = (0..3_u32).prop_map(|count| Gates { count, interval_seconds: 5, ..gates() });
    prop_oneof![Just(Gates::none()), asked]
}

fn how() -> impl Strategy<Value = How> {
    let promote = prop_oneof![3 => Just(Promote::Auto), 1 => Just(Promote::Manual)];
    let cutover = prop_oneof![4 => Just(Cutover::default()), 1 => Just(Cutover::Strict)];
    let previews = prop_oneof![Just(None), Just(Some(1))];
    let warmth = prop_oneof![Just(0_u32), Just(90)];
    let blue_green = (previews, rounds(), promote, cutover, warmth).prop_map(
        |(preview_replicas, preview, promote, cutover, keep_warm_seconds)| {
            How::BlueGreen(BlueGreen {
                preview_replicas,
                preview,
                promote,
                cutover,
                scale_down_delay_seconds: 20,
                keep_warm_seconds,
            })
        },
    );
    prop_oneof![1 => Just(How::Rolling), 3 => blue_green]
}

fn plan() -> impl Strategy<Value = Plan> {
    let replicas =
        prop_oneof![2 => Just(Some(3_u32)), 1 => Just(Some(2)), 1 => Just(Some(5)), 3 => Just(None)];
    (how(), replicas, 0..2_u32, any::<bool>(), rounds()).prop_map(
        |(strategy, replicas, max_unavailable, prepare, bake)| Plan {
            strategy,
            replicas,
            max_unavailable,
            prepare,
            bake,
            limits: Limits { prepare_seconds: 60, ready_seconds: 120, switch_seconds: 60 },
            ..super::testing::plan(How::Rolling)
        },
    )
}

fn habits() -> impl Strategy<Value = Habits> {
    let quality = prop_oneof![
        3 => Just(Quality::Good),
        1 => Just(Quality::NeverReady),
        1 => Just(Quality::Slow),
        1 => Just(Quality::Unmeasured),
    ];
    let left_over = prop_oneof![2 => Just(0_u32), 1 => Just(2)];
    (quality, 0..15_u64, 0..4_u64, 0..13_u64, left_over).prop_map(
        |(quality, boot_seconds, slices_lag_seconds, routes_lag_seconds, left_over)| Habits {
            quality,
            boot_seconds,
            slices_lag_seconds,
            routes_lag_seconds,
            left_over,
        },
    )
}

fn drive() -> impl Strategy<Value = Event> {
    let crash = prop_oneof![
        6 => Just(Crash::Never),
        1 => Just(Crash::BeforeStoring),
        1 => Just(Crash::BeforeActing),
        1 => (1..3_usize).prop_map(Crash::After),
    ];
    crash.prop_map(Event::Drive)
}

fn calm() -> impl Strategy<Value = Event> {
    let pass = prop_oneof![(0..3_u64), (3..40_u64)].prop_map(Event::Pass);
    let verb = prop_oneof![3 => Just(Verb::Promote), 1 => Just(Verb::Pause), 1 => Just(Verb::Undo)];
    prop_oneof![
        12 => drive(),
        8 => pass,
        1 => verb.prop_map(Event::Say),
        1 => Just(Event::SpoilAReading),
    ]
}

fn stormy() -> impl Strategy<Value = Event> {
    let slot = prop_oneof![Just(Slot::A), Just(Slot::B)];
    prop_oneof![
        20 => calm(),
        3 => (slot, 0..6_usize, any::<bool>()).prop_map(|(slot, which, is_gone)| Event::Lose(slot, which, is_gone)),
        3 => (1..7_u32).prop_map(Event::Autoscale),
        1 => Just(Event::Say(Verb::Abort)),
        1 => prop_oneof![5 => Just(Event::Pass(1)), 1 => Just(Event::DeadlinePasses)],
    ]
}

fn wild() -> impl Strategy<Value = Event> {
    let selector =
        prop_oneof![Just(Selector::Wide), Just(Selector::Narrow(Slot::A)), Just(Selector::Narrow(Slot::B)),];
    prop_oneof![30 => stormy(), 1 => selector.prop_map(Event::Meddle)]
}

fn happen(world: &mut World, event: &Event) {
    match event {
        Event::Pass(seconds) => world.pass(*seconds),
        Event::Drive(crash) => drop(world.drive(*crash)),
        Event::Lose(slot, which, is_gone) => world.lose(*slot, *which, *is_gone),
        Event::Autoscale(replicas) => world.autoscale(*replicas),
        Event::SpoilAReading => world.spoil_a_reading(),
        Event::Say(verb) => world.say(*verb),
        Event::Meddle(selector) => world.meddle(*selector),
        Event::DeadlinePasses => world.deadline_passed = true,
    }
}

fn verb() -> impl Strategy<Value = Verb> {
    prop_oneof![Just(Verb::Promote), Just(Verb::Abort)]
}

proptest! {
    // 512, unless PROPTEST_CASES asks for more.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases * 2))]

    /// Every action is held to its promise as it is carried out, see `World::act`.
    #[test]
    fn whatever_happens_somebody_serves_and_it_comes_to_an_end(
        plan in plan(),
        habits in habits(),
        events in proptest::collection::vec(wild(), 0..150),
        verb in verb(),
    ) {
        let mut world = World::new(plan, habits);
        events.iter().for_each(|event| happen(&mut world, event));
        let outcome = world.finish(verb);
        world.check_the_end(&outcome);
    }

    /// Every second is held to the promise, see `World::pass`: whoever sends requests finds enough pods that answer.
    #[test]
    fn as_long_as_no_pod_is_lost_enough_pods_answer_at_every_moment(
        mut plan in plan(),
        habits in habits(),
        events in proptest::collection::vec(calm(), 0..150),
        verb in verb(),
    ) {
        if let How::BlueGreen(blue_green) = &mut plan.strategy {
            // Strict loses requests, and says so.
            blue_green.cutover = Cutover::default();
        }
        let mut world = World::new(plan, habits);
        world.is_calm = true;
        events.iter().for_each(|event| happen(&mut world, event));
        let outcome = world.finish(verb);
        world.check_the_end(&outcome);
    }

    #[test]
    fn until_it_is_released_it_can_be_aborted_at_any_point(
        plan in plan(),
        habits in habits(),
        events in proptest::collection::vec(stormy(), 0..120),
    ) {
        let mut world = World::new(plan, habits);
        events.iter().for_each(|event| happen(&mut world, event));
        let state = world.state();
        let is_released = state.is_released() || *state.phase() == Phase::Ended(Outcome::Released);
        world.say(Verb::Abort);
        let outcome = world.finish(Verb::Promote);
        prop_assert_eq!(outcome == Outcome::Released, is_released);
        prop_assert_eq!(world.state().live(), if is_released { state.new_slot() } else { state.old_slot() });
        world.check_the_end(&outcome);
    }
}

/// The model itself can tell the story that the properties are about; otherwise they would hold of nothing.
#[test]
fn a_release_of_each_kind_comes_to_its_usual_end_in_the_model() {
    let habits = Habits {
        quality: Quality::Good,
        boot_seconds: 5,
        slices_lag_seconds: 1,
        routes_lag_seconds: 1,
        left_over: 2,
    };
    let blue_green = How::BlueGreen(BlueGreen { preview: gates(), ..BlueGreen::default() });
    for strategy in [How::Rolling, blue_green] {
        for (quality, is_released) in [
            (Quality::Good, true),
            (Quality::NeverReady, false),
            (Quality::Slow, false),
            (Quality::Unmeasured, true),
        ] {
            let plan = Plan { bake: gates(), ..super::testing::plan(strategy.clone()) };
            let mut world = World::new(plan, Habits { quality, ..habits });
            world.is_calm = true;
            let outcome = world.finish(Verb::Promote);
            assert_eq!(outcome == Outcome::Released, is_released, "{strategy:?} {quality:?}");
            world.check_the_end(&outcome);
        }
    }
}

/// At each of its steps the driver dies in each way, and the next one goes on.
#[test]
fn a_driver_may_die_at_every_single_step() {
    let habits = Habits {
        quality: Quality::Good,
        boot_seconds: 3,
        slices_lag_seconds: 2,
        routes_lag_seconds: 2,
        left_over: 2,
    };
    for is_autoscaled in [true, false] {
        for strategy in [How::Rolling, How::BlueGreen(BlueGreen::default())] {
            for crash in [Crash::BeforeStoring, Crash::BeforeActing, Crash::After(1), Crash::After(2)] {
                for dies_at in 0..60 {
                    let mut plan = super::testing::plan(strategy.clone());
                    plan.replicas = plan.replicas.filter(|_| !is_autoscaled);
                    let mut world = World::new(plan, habits);
                    world.is_calm = true;
                    for _ in 0..dies_at {
                        if matches!(world.drive(Crash::Never), Next::Ended(_)) {
                            break;
                        }
                        world.pass(2);
                    }
                    world.drive(crash);
                    let outcome = world.finish(Verb::Promote);
                    assert_eq!(outcome, Outcome::Released, "{crash:?} at {dies_at}");
                    world.check_the_end(&outcome);
                }
            }
        }
    }
}
