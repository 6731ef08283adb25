//! Gates: figures that have to hold before a release goes on. No figure is no pass.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The pods themselves are a gate as well: this is its name.
const PODS: &str = "pods";

/// One figure that has to hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Its name in shop.toml.
    pub name: String,
    /// The figure that is asked for: `success_rate`, `p99_ms`.
    pub query: String,
    /// It has to be at least this.
    pub min: Option<f64>,
    /// It has to be at most this.
    pub max: Option<f64>,
    /// With fewer requests behind it, a figure says nothing.
    pub min_samples: u64,
    /// So many failures, and the release goes back.
    pub failure_limit: u32,
}

/// What a round of asking came to for one gate.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The gate's name.
    pub gate: String,
    /// The figure, or why it could not be had.
    pub value: Result<f64, String>,
    /// The requests behind it.
    pub samples: u64,
}

/// The answer to [`CheckGates`](super::Action::CheckGates).
#[derive(Clone, Debug, PartialEq)]
pub struct Readings {
    /// The round that was asked for; the answer to any other is ignored.
    pub round: u32,
    /// One for each gate. One that is missing is a figure that could not be had.
    pub readings: Vec<Reading>,
}

/// What one figure says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Passes,
    /// It does not.
    Fails(String),
    /// Nobody can tell.
    Inconclusive(String),
}

impl Gate {
    /// What `reading` says.
    #[must_use]
    pub fn judge(&self, reading: Option<&Reading>) -> Verdict {
        let Self { name, query, min_samples, .. } = self;
        let (value, samples) = match reading {
            Some(Reading { value: Ok(value), samples, .. }) => (*value, *samples),
            Some(Reading { value: Err(why), .. }) => {
                return Verdict::Inconclusive(format!("gate {name}: {query} could not be had: {why}"));
            }
            None => return Verdict::Inconclusive(format!("gate {name}: {query} could not be had")),
        };
        if samples < *min_samples {
            return Verdict::Inconclusive(format!("gate {name}: {samples} of {min_samples} requests"));
        }
        if value.is_nan() {
            return Verdict::Inconclusive(format!("gate {name}: {query} is no number"));
        }
        if let Some(min) = self.min.filter(|min| value < *min) {
            return Verdict::Fails(format!("gate {name}: {query} is {value}, less than {min}"));
        }
        if let Some(max) = self.max.filter(|max| value > *max) {
            return Verdict::Fails(format!("gate {name}: {query} is {value}, more than {max}"));
        }
        Verdict::Passes
    }
}

/// Gates, and how often they are asked. Each round also asks whether all pods are ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gates {
    /// The gates.
    pub gates: Vec<Gate>,
    /// So many rounds have to pass; none passes at once.
    pub count: u32,
    /// The time before the first round, and between two.
    pub interval_seconds: u32,
    /// So many rounds in a row of which nobody can tell, and a person has to decide.
    pub inconclusive_limit: u32,
    /// So many rounds with a pod that is not ready, and the release goes back.
    pub unready_limit: u32,
}

impl Gates {
    /// Gates that always hold.
    #[must_use]
    pub fn none() -> Self {
        Self { gates: Vec::new(), count: 0, interval_seconds: 0, inconclusive_limit: 1, unready_limit: 1 }
    }
}

/// What all rounds so far come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// More rounds are needed.
    Open,
    Passed,
    Failed(String),
    /// A person has to decide.
    Unclear(String),
}

/// The rounds so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    passed: u32,
    inconclusive: u32,
    failed: BTreeMap<String, Failures>,
    /// What could not be told in the last round that was inconclusive.
    unclear: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Failures {
    times: u32,
    /// What was said the last time.
    said: String,
}

impl Tally {
    /// Takes in one round.
    pub(super) fn round(&mut self, gates: &Gates, readings: &[Reading], all_ready: bool) {
        let mut unclear = None;
        let mut failed = Vec::new();
        if !all_ready {
            failed.push((PODS, "not all pods are ready".to_owned()));
        }
        for gate in &gates.gates {
            match gate.judge(readings.iter().find(|reading| reading.gate == gate.name)) {
                Verdict::Passes => {}
                Verdict::Fails(why) => failed.push((&gate.name, why)),
                Verdict::Inconclusive(why) => unclear = Some(why),
            }
        }
        match unclear {
            Some(why) if failed.is_empty() => {
                (self.inconclusive, self.unclear) = (self.inconclusive + 1, why);
            }
            _ => self.inconclusive = 0,
        }
        if failed.is_empty() && self.inconclusive == 0 {
            self.passed += 1;
        }
        for (name, said) in failed {
            let failures = self.failed.entry(name.to_owned()).or_default();
            *failures = Failures { times: failures.times + 1, said };
        }
    }

    /// What the rounds so far come to.
    pub(super) fn decision(&self, gates: &Gates) -> Decision {
        let limit = |name: &str| match gates.gates.iter().find(|gate| gate.name == name) {
            Some(gate) => gate.failure_limit,
            None => gates.unready_limit,
        };
        let mut failed = self.failed.iter();
        if let Some((_, worst)) = failed.find(|(name, failures)| failures.times >= limit(name).max(1)) {
            return Decision::Failed(format!("{} (failed {} times)", worst.said, worst.times));
        }
        if self.passed >= gates.count {
            return Decision::Passed;
        }
        if self.inconclusive >= gates.inconclusive_limit.max(1) {
            return Decision::Unclear(format!("{} ({} times in a row)", self.unclear, self.inconclusive));
        }
        Decision::Open
    }

    /// A person looks at it anew: what could not be told is forgotten.
    pub(super) fn forgive(&mut self) {
        self.inconclusive = 0;
    }

    pub(super) fn passed(&self) -> u32 {
        self.passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency() -> Gate {
        Gate {
            name: "latency".to_owned(),
            query: "p99_ms".to_owned(),
            min: None,
            max: Some(200.0),
            min_samples: 100,
            failure_limit: 2,
        }
    }

    fn reading(value: Option<f64>, samples: u64) -> Reading {
        let value = value.ok_or_else(|| "nobody came".to_owned());
        Reading { gate: "latency".to_owned(), value, samples }
    }

    fn gates() -> Gates {
        Gates {
            gates: vec![latency()],
            count: 2,
            interval_seconds: 30,
            inconclusive_limit: 3,
            unready_limit: 2,
        }
    }

    #[test]
    fn a_figure_passes_fails_or_says_nothing() {
        let availability = Gate { min: Some(95.0), max: None, query: "success_rate".to_owned(), ..latency() };
        let cases = [
            (latency(), Some(reading(Some(200.0), 100)), "passes"),
            (latency(), Some(reading(Some(201.0), 100)), "gate latency: p99_ms is 201, more than 200"),
            (availability.clone(), Some(reading(Some(95.0), 100)), "passes"),
            (
                availability,
                Some(reading(Some(94.5), 100)),
                "gate latency: success_rate is 94.5, less than 95",
            ),
            (latency(), Some(reading(Some(1.0), 99)), "? gate latency: 99 of 100 requests"),
            (latency(), Some(reading(Some(f64::NAN), 100)), "? gate latency: p99_ms is no number"),
            (latency(), Some(reading(None, 100)), "? gate latency: p99_ms could not be had: nobody came"),
            (latency(), None, "? gate latency: p99_ms could not be had"),
        ];
        for (gate, reading, expected) in cases {
            let found = match gate.judge(reading.as_ref()) {
                Verdict::Passes => "passes".to_owned(),
                Verdict::Fails(why) => why,
                Verdict::Inconclusive(why) => format!("? {why}"),
            };
            assert_eq!(found, expected, "{reading:?}");
        }
    }

    /// What rounds with these figures come to; none is no figure.
    fn decided(rounds: &[(Option<f64>, bool)]) -> Decision {
        let mut tally = Tally::default();
        for (value, all_ready) in rounds {
            assert_eq!(tally.decision(&gates()), Decision::Open, "{rounds:?}");
            tally.round(&gates(), &[reading(*value, 1000)], *all_ready);
        }
        tally.decision(&gates())
    }

    #[test]
    fn rounds_add_up() {
        let (good, bad, none) = ((Some(10.0), true), (Some(900.0), true), (None, true));
        let unready = (Some(10.0), false);
        assert_eq!(decided(&[good]), Decision::Open);
        assert_eq!(decided(&[good, good]), Decision::Passed);
        assert_eq!(decided(&[good, bad, good]), Decision::Passed);
        assert_eq!(decided(&[none, none, good]), Decision::Open);
        let failed = "gate latency: p99_ms is 900, more than 200 (failed 2 times)";
        assert_eq!(decided(&[bad, good, bad]), Decision::Failed(failed.to_owned()));
        let unclear = "gate latency: p99_ms could not be had: nobody came (3 times in a row)";
        assert_eq!(decided(&[good, none, none, none]), Decision::Unclear(unclear.to_owned()));
        let unready_twice = "not all pods are ready (failed 2 times)";
        assert_eq!(decided(&[unready, unready]), Decision::Failed(unready_twice.to_owned()));
        assert_eq!(decided(&[none, unready, none, none]), Decision::Open);
    }

    #[test]
    fn no_gates_hold_at_once() {
        assert_eq!(Tally::default().decision(&Gates::none()), Decision::Passed);
    }
}
