//! A made run that goes on, for the tests of whatever watches one.

use super::super::record::{Journeys, ObjectiveResult, Outcome, Second, ServerSample, StepSecond};
use super::super::snapshot::{Snapshot, SoFar, StepSoFar};
use super::super::step::Step;
use super::state::{Levers, State};

/// The state after `seconds` seconds of a run of a minute.
pub(super) fn after(seconds: u64) -> State {
    let mut state = State::new("mixed", "http://127.0.0.1:4000", Levers::All);
    (0..seconds).for_each(|at_s| state.on(snapshot(at_s)));
    state
}

/// Second `at_s`: each step was taken five times in every second until then, later ones took longer, and the load goes
/// up and down a little.
pub(super) fn snapshot(at_s: u64) -> Snapshot {
    let wave = [0, 3, 7, 9, 7, 3][usize::try_from(at_s % 6).unwrap()];
    let steps = Step::ALL.into_iter().filter(|step| *step != Step::Probe);
    let of = |name: &str, count: u64, factor: u64| StepSoFar {
        step: name.to_owned(),
        count,
        errors: 0,
        p50_us: 800 * factor,
        p90_us: 2100 * factor,
        p99_us: 4300 * factor,
        max_us: 11_000 * factor,
        service_p99_us: 4100 * factor,
    };
    let ended = (at_s + 1) * 5;
    let steps: Vec<StepSoFar> = steps.zip(1..).map(|(step, place)| of(step.name(), ended, place)).collect();
    let second_of = |step: &StepSoFar| StepSecond {
        count: 5,
        errors: 0,
        p50_us: step.p50_us,
        p99_us: step.p99_us + 100 * wave,
        max_us: step.max_us,
        service_p99_us: step.service_p99_us,
    };
    let all = of("all", ended * 12, 9);
    let objective = |text: &str, seen: &str| ObjectiveResult {
        objective: text.into(),
        seen: Some(seen.into()),
        met: Some(true),
    };
    Snapshot {
        scenario: "mixed".into(),
        target: "http://127.0.0.1:4000".into(),
        phase: "steady".into(),
        planned_s: Some(60.0),
        is_paused: false,
        factor: 1.0,
        second: Second {
            at_s,
            asked: 46 + wave,
            started: 46 + wave,
            requests: 60,
            in_flight: 3,
            connections: 12,
            lateness_p99_us: 150,
            lag_p99_us: 420,
            all: second_of(&all),
            steps: steps.iter().map(|step| (step.step.clone(), second_of(step))).collect(),
            server: Some(ServerSample {
                cpu: Some(0.75),
                resident_kib: Some(49_152),
                sagas_in_flight: Some(3),
                queue_depth: Some(5),
                dead_letters: Some(0),
                generator_cpu: Some(0.25),
                generator_resident_kib: Some(20_480),
                ..ServerSample::default()
            }),
            ..Second::default()
        },
        so_far: SoFar {
            journeys: Journeys::default(),
            outcomes: [(Outcome::Ok, all.count)].into(),
            all,
            steps,
            orders: at_s * 3,
            objectives: vec![
                objective("reads.p99<200ms", "21.5 ms"),
                objective("checkout.p99<200ms", "34.41 ms"),
                objective("errors<1%", "0 %"),
                objective("availability>=99.9%", "100 %"),
            ],
            plateaus: Vec::new(),
        },
    }
}
