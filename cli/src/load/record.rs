//! What a run was and what came of it: the one document that every report is made from.
//!
//! [`RunRecord`] is written at the end of a run, [`Snapshot`](super::snapshot::Snapshot) is its life second by second.
//! Both are made of the same types. Fields are only ever added; what a reader does not know it skips. Times in the names
//! of fields are whole microseconds (`_us`) or seconds (`_s`); percentiles are *corrected* for coordinated omission unless
//! the name says `service`: they run from the moment a step was meant to start, not from when it could be sent.

use std::collections::BTreeMap;
use std::path::PathBuf;

use platform::vocabulary::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::latencies::Latencies;

/// The schema of [`RunRecord`].
pub const SCHEMA: &str = "shopctl/load/v1";

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`SCHEMA`].
    pub schema: String,
    /// The run: the name of its folder.
    pub id: String,
    /// What was asked for.
    pub scenario: ScenarioFacts,
    /// Who was asked.
    pub target: TargetFacts,
    /// On what.
    pub machine: MachineFacts,
    /// What decided the sequence of journeys and their contents.
    pub seed: u64,
    /// The first arrival was meant for this moment.
    pub started_at: Timestamp,
    /// The last answer came, or was given up.
    pub ended_at: Timestamp,
    /// Seconds of load that were planned.
    pub planned_s: f64,
    /// Seconds of load that there were.
    pub lasted_s: f64,
    /// How it ended.
    pub ended: Ended,
    /// Arrivals and what became of them.
    pub journeys: Journeys,
    /// Every step that was taken at least once, in the order of the list of steps.
    pub steps: Vec<StepRecord>,
    /// Steps that ended in each way, over all.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// How late the generator itself was: from when a task was to wake to when it did.
    pub lateness: Latencies,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// Rates that were held for a while, in the order they were tried: profiles `step` and `knee`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plateaus: Vec<Plateau>,
    /// The highest rate that met the objectives: profile `knee`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knee_per_s: Option<f64>,
    /// How soon things were as before: profile `spike`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// How the end differs from the beginning: profile `soak`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// Whether somebody paused or multiplied the load while it ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_changed: bool,
    /// Each objective and whether it was met.
    pub objectives: Vec<ObjectiveResult>,
    /// Where the acknowledged orders stand, when any could be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalFacts>,
    /// What `verify` found (schema `shopctl/v1/verify`); absent when it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Value>,
    /// What all of this means.
    pub verdict: Verdict,
}

/// The load that was asked for, as it was after file and flags.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScenarioFacts {
    /// Its name.
    pub name: String,
    /// What it asks, in a sentence.
    pub about: String,
    /// Who decides when the next journey starts.
    pub model: ModelFacts,
    /// constant, ramp, spike, soak, step or knee.
    pub profile: String,
    /// Journeys and their weights.
    pub mix: BTreeMap<String, f64>,
    /// After this long an answer is given up, and counts as having taken this long.
    pub timeout_us: u64,
    /// The scenario as a file: `shopctl load run --file` runs it again.
    pub file: String,
}

/// Who decides when the next journey starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelFacts {
    /// The clock: arrivals do not wait for answers.
    Open {
        /// Journeys a second at factor 1 of the profile.
        journeys_per_s: f64,
        /// poisson or uniform.
        arrivals: String,
        /// An arrival over this many journeys in flight is dropped.
        max_in_flight: u64,
        /// A journey over this many connections waits for one.
        max_connections: u64,
    },
    /// The users: each thinks, acts, waits for the answer and thinks again.
    Closed {
        /// How many.
        users: u64,
        /// The mean time between an answer and the next step.
        think_us: u64,
    },
}

/// Who was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetFacts {
    /// Where it answers.
    pub url: String,
    /// The data folder of the shop on this machine.
    pub data_dir: Option<PathBuf>,
    /// Its process, when it is one of this machine.
    pub pid: Option<u32>,
    /// Its version, as it says.
    pub version: Option<String>,
    /// What keeps its data.
    pub engine: Option<String>,
    /// The environment whose shop it is, when that lives on a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Whether requests went through the cluster's API server: what was measured includes that way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_forwarded: bool,
}

/// What generator and, on loopback, target ran on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineFacts {
    /// Processors that this process may use.
    pub cores: usize,
    /// Its memory.
    pub memory_mib: Option<u64>,
    /// The operating system's kernel.
    pub kernel: Option<String>,
    /// This shopctl.
    pub shopctl: String,
    /// Whether this shopctl was built for speed: figures of a debug build are of no use.
    pub is_release: bool,
    /// Threads of the generator.
    pub workers: usize,
    /// Descriptors that the run may need at most, and the limit it found.
    pub descriptors: [u64; 2],
    /// Source addresses that its connections were spread over.
    pub source_addresses: usize,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// It ran as long as was planned.
    Completed,
    /// Somebody stopped it; what is here is what there was until then.
    Interrupted,
}

/// Arrivals and what became of them. In a closed model a journey arrives when its user sets out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Journeys {
    /// Were meant to start.
    pub asked: u64,
    /// Started.
    pub started: u64,
    /// Came to their end.
    pub completed: u64,
    /// Broke off: a step failed, and what follows needs it.
    pub broken_off: u64,
    /// Were never started, since too many were in flight.
    pub dropped: u64,
    /// Meant to buy with an account and only looked, since others had all accounts.
    #[serde(default)]
    pub without_account: u64,
    /// Asked for, per second of the load.
    pub asked_per_s: f64,
    /// Started, per second of the load.
    pub started_per_s: f64,
}

impl Journeys {
    /// The same with the rates that they make over `seconds`.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub(super) fn over(self, seconds: f64) -> Self {
        let seconds = seconds.max(f64::EPSILON);
        Self {
            asked_per_s: self.asked as f64 / seconds,
            started_per_s: self.started as f64 / seconds,
            ..self
        }
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The answer that was hoped for.
    Ok,
    /// A refusal that is right: the last unit is sold, the card is declined.
    Expected,
    /// Nobody accepted the connection.
    Refused,
    /// The connection broke before the answer was whole, or it was no answer in HTTP.
    Broken,
    /// No whole answer within the time-out.
    Timeout,
    /// 5xx.
    ServerError,
    /// 429.
    RateLimited,
    /// An answer, and not one that the step may have.
    CheckFailed,
    /// Never sent: too many journeys were in flight.
    Dropped,
}

impl Outcome {
    /// All of them, in the order of [`Outcome::index`].
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::Expected,
        Self::Refused,
        Self::Broken,
        Self::Timeout,
        Self::ServerError,
        Self::RateLimited,
        Self::CheckFailed,
        Self::Dropped,
    ];

    /// Its place in [`Outcome::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// Whether it counts against the shop.
    #[must_use]
    pub fn is_error(self) -> bool {
        !matches!(self, Self::Ok | Self::Expected)
    }

    /// Its name in records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Expected => "expected",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
            Self::ServerError => "server_error",
            Self::RateLimited => "rate_limited",
            Self::CheckFailed => "check_failed",
            Self::Dropped => "dropped",
        }
    }

    /// Its name for a person.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Expected => "expected 4xx",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
            Self::ServerError => "5xx",
            Self::RateLimited => "429",
            Self::CheckFailed => "check failed",
            Self::Dropped => "dropped",
        }
    }
}

/// One step of the journeys over the whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its name: `checkout`.
    pub step: String,
    /// The request: `POST /v1/orders`.
    pub request: String,
    /// How many were taken, dropped ones included.
    pub count: u64,
    /// How many of them count against the shop.
    pub errors: u64,
    /// Each way it ended that happened, with its own times.
    pub outcomes: BTreeMap<Outcome, OutcomeRecord>,
    /// From the moment it was meant to start to the end of the answer, over every outcome. Time-outs and drops
    /// are in at the time-out. This is what objectives speak of.
    pub response: Latencies,
    /// From the first byte sent to the end of the answer, over every outcome that was sent: what an
    /// uncorrected tool would show.
    pub service: Latencies,
    /// From the moment it was meant to start to the first byte sent.
    pub lag: Latencies,
    /// The first answers that were errors: status and the beginning of the body, at most five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
}

/// One way a step ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// How often.
    pub count: u64,
    /// Meant to start → end.
    pub response: Latencies,
    /// Sent → end; empty for what was never sent.
    pub service: Latencies,
}

/// An answer that was an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Seconds into the load.
    pub at_s: f64,
    /// How it was counted.
    pub outcome: Outcome,
    /// The status, when there was one.
    pub status: Option<u16>,
    /// What came back, or what went wrong: at most 200 characters.
    pub said: String,
}

/// One second of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Which: 0 is the first.
    pub at_s: u64,
    /// Journeys that were meant to start in it.
    pub asked: u64,
    /// Journeys that started.
    pub started: u64,
    /// Journeys that were dropped.
    pub dropped: u64,
    /// Requests that ended, of all steps.
    pub requests: u64,
    /// Journeys in flight at its end; in a closed model, users that wait for an answer.
    pub in_flight: u64,
    /// Connections open at its end.
    pub connections: u64,
    /// How late the generator itself was, 99th percentile.
    pub lateness_p99_us: u64,
    /// From meant to sent, 99th percentile: the generator's lateness and the wait for a connection.
    pub lag_p99_us: u64,
    /// Over all steps.
    pub all: StepSecond,
    /// Over all steps but signing in, whose time is the password's hash, whatever the load.
    #[serde(default)]
    pub without_sign_ins: StepSecond,
    /// Each step that ended at least once in it.
    pub steps: BTreeMap<String, StepSecond>,
    /// Ends that count against the shop, by class.
    pub errors: BTreeMap<Outcome, u64>,
    /// What the shop itself said at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerSample>,
}

/// One step in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepSecond {
    /// How many ended.
    pub count: u64,
    /// How many of them count against the shop.
    pub errors: u64,
    /// Corrected.
    pub p50_us: u64,
    /// Corrected.
    pub p99_us: u64,
    /// Corrected.
    pub max_us: u64,
    /// Uncorrected.
    pub service_p99_us: u64,
}

/// What a shop of this machine says about itself. What it does not say is absent, not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerSample {
    /// Processors in use over the second, by all its processes: 1.5 is one and a half.
    pub cpu: Option<f64>,
    /// Resident memory of all its processes; what they share is counted in each.
    pub resident_kib: Option<u64>,
    /// Open files and sockets.
    pub open_files: Option<u64>,
    /// Orders confirmed since it started.
    pub orders: Option<u64>,
    /// Sagas that have not ended.
    pub sagas_in_flight: Option<u64>,
    /// Sagas that wait for a person.
    pub sagas_stuck: Option<u64>,
    /// Messages that wait, over all queues.
    pub queue_depth: Option<u64>,
    /// Dead letters, over all queues.
    pub dead_letters: Option<u64>,
    /// Batches that wait for a database connection or the writer.
    pub pool_waiting: Option<u64>,
    /// Requests shed with 503.
    pub shed: Option<u64>,
    /// Bytes it made the disk write since the sample before.
    pub written_bytes: Option<u64>,
    /// Processors that the generator used over the second.
    pub generator_cpu: Option<f64>,
    /// Resident memory of the generator.
    pub generator_resident_kib: Option<u64>,
}

/// A rate that was held for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// Seconds into the load.
    pub from_s: f64,
    /// Seconds into the load.
    pub to_s: f64,
    /// Journeys a second.
    pub asked_per_s: f64,
    /// Journeys a second that started.
    pub started_per_s: f64,
    /// Corrected, over all steps.
    pub p50_us: u64,
    /// Corrected, over all steps.
    pub p99_us: u64,
    /// Fraction of steps that count against the shop.
    pub error_rate: f64,
    /// Whether it met the objectives; absent when the generator could not tell.
    pub met: Option<bool>,
    /// What was missed, or why it cannot be told.
    pub why: Vec<String>,
}

/// How soon things were as before a spike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// The spike began, seconds into the load.
    pub spike_from_s: f64,
    /// The load was back at its old height.
    pub spike_to_s: f64,
    /// The middle of the corrected p99 of the seconds before the spike.
    pub before_p99_us: u64,
    /// The highest of the spike.
    pub worst_p99_us: u64,
    /// From the end of the spike until it stayed as before, without an error; absent when it did not.
    pub took_s: Option<f64>,
}

/// The last fifth of a run beside its first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// The middle of the corrected p99 of its seconds.
    pub first_p99_us: u64,
    /// The same at the end.
    pub last_p99_us: u64,
    /// Last over first.
    pub p99_factor: f64,
    /// Resident memory of the shop.
    pub first_resident_kib: Option<u64>,
    /// The same at the end.
    pub last_resident_kib: Option<u64>,
    /// Requests a second.
    pub first_requests_per_s: f64,
    /// The same at the end.
    pub last_requests_per_s: f64,
}

/// An objective and whether it was met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveResult {
    /// As it was written: `checkout.p99<200ms`.
    pub objective: String,
    /// What was seen, as a person reads it; absent when nothing was.
    pub seen: Option<String>,
    /// Whether it was met; absent when there is no data.
    pub met: Option<bool>,
}

/// Where the acknowledged orders stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalFacts {
    /// The file, in the folder of the run.
    pub file: PathBuf,
    /// Orders in it.
    pub orders: u64,
    /// Why it is not whole, when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What a run means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// In one word.
    pub word: VerdictWord,
    /// Why: the worst first.
    pub reasons: Vec<String>,
    /// What a person may do about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// What a run means, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictWord {
    /// Every objective was met and, where orders were placed, every promise kept.
    Pass,
    /// An objective was missed.
    Missed,
    /// `verify` found a broken promise.
    Broken,
    /// It cannot be told: the generator was too slow, or there is no data.
    Unknown,
}

impl VerdictWord {
    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Missed => "missed",
            Self::Broken => "broken",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_called_the_same_everywhere() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index(), index);
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.word());
        }
    }
}
