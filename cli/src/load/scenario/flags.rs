//! What the command line says instead of the file.

use super::super::length::Length;
use super::super::objective::Objective;
use super::file::{ProfileKind, Scenario};

/// What the command line says instead of the file. What is absent stays as the file has it.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Journeys a second: the clock decides.
    pub rate: Option<f64>,
    /// Users: they decide.
    pub users: Option<u32>,
    /// How long; in a profile of several parts, how long its longest part holds.
    pub duration: Option<Length>,
    /// What decides journeys and their contents.
    pub seed: Option<u64>,
    /// Each replaces the file's about the same measure of the same steps, and comes beside the others.
    pub objectives: Vec<Objective>,
    /// After this long an answer is given up.
    pub timeout: Option<Length>,
    /// The mean time between an answer and the next step.
    pub think: Option<Length>,
    /// Units of the flash sale.
    pub units: Option<u32>,
    /// The most connections.
    pub connections: Option<u32>,
}

impl Scenario {
    /// The scenario as the flags change it. Check it again afterwards.
    #[must_use]
    pub fn under(mut self, flags: &Flags) -> Self {
        if flags.rate.is_some() || flags.users.is_some() {
            (self.load.rate, self.load.users) = (flags.rate, flags.users);
        }
        if let Some(duration) = flags.duration {
            match self.profile.kind {
                ProfileKind::Spike | ProfileKind::Step | ProfileKind::Knee => {
                    self.profile.hold = Some(duration)
                }
                ProfileKind::Constant | ProfileKind::Ramp | ProfileKind::Soak => {
                    self.load.duration = Some(duration);
                }
            }
        }
        self.load.seed = flags.seed.or(self.load.seed);
        self.objectives.retain(|kept| !flags.objectives.iter().any(|flag| flag.is_about_the_same_as(kept)));
        self.objectives.extend_from_slice(&flags.objectives);
        self.bounds.timeout = flags.timeout.unwrap_or(self.bounds.timeout);
        self.think.mean = flags.think.unwrap_or(self.think.mean);
        self.flash_sale.units = flags.units.unwrap_or(self.flash_sale.units);
        self.bounds.max_connections = flags.connections.or(self.bounds.max_connections);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objective_replaces_only_the_one_about_the_same() {
        let file = "schema = 1\nabout = \"x\"\nobjectives = [\"p99<200ms\", \"reads.p99<50ms\", \"errors<1%\"]\n\
                    [load]\nrate = 5\n[mix]\nbrowse = 1\n";
        let scenario: Scenario = toml::from_str(file).unwrap();
        let flags = Flags { objectives: vec!["p99<1s".parse().unwrap()], ..Flags::default() };
        let objectives: Vec<String> =
            scenario.under(&flags).objectives.iter().map(ToString::to_string).collect();
        assert_eq!(objectives, ["reads.p99<50ms", "errors<1%", "p99<1s"]);
    }
}
