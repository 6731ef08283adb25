//! A run while it goes on, second by second: what lines, events and the live view are made from.

use std::collections::BTreeMap;

use serde::Serialize;

use super::control::Control;
use super::course::Course;
use super::record::{Journeys, ObjectiveResult, Outcome, Plateau, Second};
use super::scenario::Scenario;
use super::tally::Tally;

/// What a live view gets once a second. A view that comes late misses seconds and never holds up the run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// The scenario's name.
    pub scenario: String,
    /// Where the load goes.
    pub target: String,
    /// What is being done: `steady`, `spike`, `plateau 3 at 400/s`, `waiting for the last answers`.
    pub phase: String,
    /// Seconds of load that are planned; absent while nobody can tell (profile `knee`).
    pub planned_s: Option<f64>,
    /// Whether somebody has paused the load.
    pub is_paused: bool,
    /// What the load is multiplied with by hand: 1 unless somebody added some.
    pub factor: f64,
    /// The second that just ended.
    pub second: Second,
    /// The run up to now.
    pub so_far: SoFar,
}

/// A run up to now.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SoFar {
    /// Arrivals and what became of them.
    pub journeys: Journeys,
    /// All steps together, called `all`.
    pub all: StepSoFar,
    /// Each step that was taken.
    pub steps: Vec<StepSoFar>,
    /// Ends of steps by class.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Orders that the shop has acknowledged.
    pub orders: u64,
    /// Each objective and whether it is met up to now; none where plateaus are judged instead (profile `knee`).
    pub objectives: Vec<ObjectiveResult>,
    /// Rates that were held for a while and are judged: profiles `step` and `knee`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plateaus: Vec<Plateau>,
}

/// A step up to now. Percentiles are corrected unless named.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StepSoFar {
    /// Its name.
    pub step: String,
    /// How many ended.
    pub count: u64,
    /// How many of them count against the shop.
    pub errors: u64,
    /// Corrected.
    pub p50_us: u64,
    /// Corrected.
    pub p90_us: u64,
    /// Corrected.
    pub p99_us: u64,
    /// Corrected.
    pub max_us: u64,
    /// Uncorrected.
    pub service_p99_us: u64,
}

impl Snapshot {
    /// The run of `scenario` under `name` against `target` as it is after `second`, `total` being all until then.
    pub(super) fn new(
        (scenario, name, target): (&Scenario, &str, &str),
        control: &Control,
        second: &Second,
        total: &Tally,
        course: &Course,
    ) -> Self {
        let plan = control.plan().borrow().clone();
        #[expect(clippy::cast_precision_loss, reason = "seconds of a run")]
        let at = second.at_s as f64 + 0.5;
        let phase = if plan.is_stopped { "stopping" } else { plan.schedule.phase(at) };
        let (all, steps) = total.so_far();
        Self {
            scenario: name.to_owned(),
            target: target.to_owned(),
            phase: phase.to_owned(),
            planned_s: scenario.planned_seconds(),
            is_paused: control.is_paused(),
            factor: control.factor(),
            second: second.clone(),
            so_far: SoFar {
                journeys: total.journeys.over(at + 0.5),
                all,
                steps,
                outcomes: total.outcomes(),
                orders: total.orders,
                objectives: course.judge_all(total),
                plateaus: course.plateaus().to_vec(),
            },
        }
    }
}
