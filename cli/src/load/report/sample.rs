//! A made run with known values, for the tests of whatever reads records.

use std::time::Duration;

use super::super::latencies::Latencies;
use super::super::record::{
    Ended, JournalFacts, Journeys, MachineFacts, ModelFacts, ObjectiveResult, Outcome, OutcomeRecord,
    RunRecord, SCHEMA, ScenarioFacts, Second, ServerSample, StepRecord, StepSecond, TargetFacts, Verdict,
    VerdictWord,
};

/// As many as `count` of each length in milliseconds.
pub(in crate::load) fn latencies(all: &[(u64, u64)]) -> Latencies {
    let mut latencies = Latencies::new();
    for (ms, count) in all {
        (0..*count).for_each(|_| latencies.record(Duration::from_millis(*ms)));
    }
    latencies
}

/// A step that was felt as `response`, with `errors` time-outs among it.
pub(in crate::load) fn step(name: &str, response: &[(u64, u64)], errors: u64) -> StepRecord {
    let response = latencies(response);
    let count = response.count();
    let outcome = |count| OutcomeRecord { count, response: Latencies::new(), service: Latencies::new() };
    StepRecord {
        step: name.into(),
        request: format!("GET /{name}"),
        count,
        errors,
        outcomes: [(Outcome::Ok, count - errors), (Outcome::Timeout, errors)]
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(which, count)| (which, outcome(count)))
            .collect(),
        service: response.clone(),
        response,
        lag: Latencies::new(),
        examples: Vec::new(),
    }
}

/// A run of ten seconds: 1000 products in 30 ms, 100 checkouts in 1 s but for a time-out, watched by the shop.
pub(in crate::load) fn record() -> RunRecord {
    let second = |at_s: u64| Second {
        at_s,
        asked: 110,
        started: 110,
        requests: 110,
        in_flight: 17,
        connections: 23,
        lateness_p99_us: 150,
        lag_p99_us: 420,
        all: StepSecond { count: 110, p50_us: 30_000, p99_us: 1_000_000, ..StepSecond::default() },
        steps: [
            (
                "product".to_owned(),
                StepSecond { count: 100, p50_us: 30_000, p99_us: 31_000, ..StepSecond::default() },
            ),
            (
                "checkout".to_owned(),
                StepSecond { count: 10, p50_us: 990_000, p99_us: 1_000_000, ..StepSecond::default() },
            ),
        ]
        .into(),
        errors: if at_s == 6 { [(Outcome::Timeout, 1)].into() } else { [].into() },
        server: Some(ServerSample {
            cpu: Some(0.75),
            resident_kib: Some(49_152),
            sagas_in_flight: Some(3),
            queue_depth: Some(5),
            pool_waiting: Some(0),
            written_bytes: Some(1_048_576),
            generator_cpu: Some(0.25),
            generator_resident_kib: Some(20_480),
            ..ServerSample::default()
        }),
        ..Second::default()
    };
    RunRecord {
        schema: SCHEMA.into(),
        id: "20260102-030405-mixed-ab12".into(),
        scenario: ScenarioFacts {
            name: "mixed".into(),
            about: "a day in the shop".into(),
            model: ModelFacts::Open {
                journeys_per_s: 110.0,
                arrivals: "poisson".into(),
                max_in_flight: 500,
                max_connections: 200,
            },
            profile: "constant".into(),
            mix: [("browse".to_owned(), 90.0), ("checkout".to_owned(), 10.0)].into(),
            timeout_us: 10_000_000,
            file: "schema = 1\nabout = \"<a day>\"\n".into(),
        },
        target: TargetFacts {
            url: "http://127.0.0.1:4000".into(),
            data_dir: Some("/shop/data".into()),
            pid: Some(4711),
            version: Some("0.1.0".into()),
            engine: Some("sqlite".into()),
            environment: None,
            is_forwarded: false,
        },
        machine: MachineFacts {
            cores: 2,
            memory_mib: Some(8192),
            kernel: Some("6.1".into()),
            shopctl: "0.1.0".into(),
            is_release: true,
            workers: 2,
            descriptors: [300, 1024],
            source_addresses: 1,
        },
        seed: 42,
        started_at: "2026-01-02T03:04:05Z".parse().unwrap(),
        ended_at: "2026-01-02T03:04:15Z".parse().unwrap(),
        planned_s: 10.0,
        lasted_s: 10.0,
        ended: Ended::Completed,
        journeys: Journeys {
            asked: 1100,
            started: 1100,
            completed: 1099,
            broken_off: 1,
            dropped: 0,
            without_account: 0,
            asked_per_s: 110.0,
            started_per_s: 110.0,
        },
        steps: vec![step("product", &[(30, 1000)], 0), step("checkout", &[(1000, 100)], 1)],
        outcomes: [(Outcome::Ok, 1099), (Outcome::Timeout, 1)].into(),
        lateness: latencies(&[(1, 100)]),
        seconds: (0..10).map(second).collect(),
        plateaus: Vec::new(),
        knee_per_s: None,
        recovery: None,
        drift: None,
        was_changed: false,
        objectives: vec![
            ObjectiveResult {
                objective: "checkout.p99<200ms".into(),
                seen: Some("1000.45 ms".into()),
                met: Some(false),
            },
            ObjectiveResult { objective: "errors<1%".into(), seen: Some("0.09 %".into()), met: Some(true) },
        ],
        journal: Some(JournalFacts { file: "journal.ndjson".into(), orders: 99, failed: None }),
        verify: None,
        verdict: Verdict {
            word: VerdictWord::Missed,
            reasons: vec!["checkout.p99<200ms was 1000.45 ms".into()],
            hints: Vec::new(),
        },
    }
}
