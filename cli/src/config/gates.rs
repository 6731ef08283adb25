//! Gates: the figures that a release of a service on a cluster is held to.
//!
//! ```toml
//! [gates.availability]
//! query = "success_rate"      # per cent of requests
//! min = 95.0
//!
//! [gates.latency]
//! query = "p99_ms"
//! max = 200
//!
//! [services.order]
//! gates = ["availability", "latency"]
//!
//! [bake]                      # how they are asked after customers reach the new pods
//! rounds = 3
//! interval_s = 10
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Config;
use crate::failure::{Failure, nearest};

/// What is said of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The gates that its releases are held to, by name.
    #[serde(default)]
    pub gates: Vec<String>,
}

/// A figure of the pods that were brought out, from the requests that they answered meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// Requests that did not end with 5xx, in per cent.
    SuccessRate,
    /// The time that 99 of 100 requests stayed within, in milliseconds.
    P99Ms,
}

impl Query {
    /// The word in shop.toml.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::SuccessRate => "success_rate",
            Self::P99Ms => "p99_ms",
        }
    }
}

/// A figure that has to hold.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// The figure.
    pub query: Query,
    /// It has to be at least this.
    pub min: Option<f64>,
    /// It has to be at most this.
    pub max: Option<f64>,
    /// With fewer requests behind it, it says nothing, and what says nothing does not pass.
    #[serde(default = "min_samples")]
    pub min_samples: u64,
    /// So many rounds that it does not hold, and the release goes back.
    #[serde(default = "failure_limit")]
    pub failure_limit: u32,
}

fn min_samples() -> u64 {
    100
}

fn failure_limit() -> u32 {
    2
}

/// How often gates are asked while customers reach the new pods.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bake {
    /// So many rounds have to pass.
    pub rounds: u32,
    /// The time before each.
    pub interval_s: u32,
    /// So many rounds in a row of which nobody can tell, and a person has to decide.
    pub inconclusive_limit: u32,
    /// So many rounds with a pod that is not ready, and the release goes back.
    pub unready_limit: u32,
}

impl Default for Bake {
    fn default() -> Self {
        Self { rounds: 3, interval_s: 10, inconclusive_limit: 3, unready_limit: 2 }
    }
}

/// The gates of each service, and how they are asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gates {
    /// How they are asked.
    pub bake: Bake,
    /// The gates of a service, with their names; a service without any is not in here.
    pub services: BTreeMap<String, Vec<(String, Gate)>>,
}

impl Config {
    /// The gates of each service.
    ///
    /// # Errors
    /// When a service names a gate that nobody described, or a gate has no bound.
    pub fn gates(&self) -> Result<Gates, Failure> {
        let file = self.file();
        for (name, gate) in &file.gates {
            if gate.min.is_none() && gate.max.is_none() {
                let message = format!("the gate `{name}` has no bound, so that it always holds");
                let hint = format!("put `min` or `max` into [gates.{name}]");
                return Err(self.invalid("E-CONFIG-GATE", message, &hint));
            }
        }
        let mut services = BTreeMap::new();
        for (service, said) in &file.services {
            let mut gates = Vec::new();
            for name in &said.gates {
                let Some(gate) = file.gates.get(name) else {
                    let near = nearest(name, file.gates.keys().map(String::as_str));
                    let hint = near.map_or_else(
                        || format!("add [gates.{name}] with its `query` and its bound"),
                        |near| format!("did you mean `{near}`?"),
                    );
                    let message = format!("[services.{service}] names the gate `{name}`, which is not there");
                    return Err(self.invalid("E-CONFIG-GATE", message, &hint));
                };
                gates.push((name.clone(), gate.clone()));
            }
            if !gates.is_empty() {
                services.insert(service.clone(), gates);
            }
        }
        Ok(Gates { bake: file.bake.clone(), services })
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::dev as config;
    use super::*;
    use crate::failure::Exit;

    const GATES: &str = "schema = 1\n[env.dev]\n[gates.latency]\nquery = \"p99_ms\"\nmax = 200\n";

    #[test]
    fn a_service_is_held_to_the_gates_that_it_names() {
        let text =
            format!("{GATES}[services.order]\ngates = [\"latency\"]\n[services.user]\n[bake]\nrounds = 5\n");
        let (_folder, config) = config(&text);
        let gates = config.gates().unwrap();
        let latency =
            Gate { query: Query::P99Ms, min: None, max: Some(200.0), min_samples: 100, failure_limit: 2 };
        assert_eq!(
            gates.services,
            BTreeMap::from([("order".to_owned(), vec![("latency".to_owned(), latency)])])
        );
        assert_eq!(gates.bake, Bake { rounds: 5, ..Bake::default() });
    }

    #[test]
    fn a_gate_that_is_not_there_or_always_holds_is_refused() {
        let refused = |text: &str| {
            let (_folder, config) = config(text);
            let failure = config.gates().unwrap_err();
            assert_eq!(failure.exit(), Exit::Config);
            failure.to_string()
        };
        let misnamed = refused(&format!("{GATES}[services.order]\ngates = [\"latncy\"]\n"));
        assert!(misnamed.contains("`latncy`"), "{misnamed}");
        let boundless = refused("schema = 1\n[env.dev]\n[gates.any]\nquery = \"success_rate\"\n");
        assert!(boundless.contains("no bound"), "{boundless}");
    }
}
