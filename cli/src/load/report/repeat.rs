//! The command that makes a run again.

use super::super::record::RunRecord;
use super::super::scenario::{Scenario, find};

/// How a run is made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repeat {
    /// The command.
    pub(super) command: String,
    /// The name of the file that it reads, which holds the scenario of the record; absent when it is a built-in one.
    pub(super) file: Option<String>,
}

/// How the run of `record` is made again: by name when its scenario is one that every shopctl has.
pub(super) fn repeat(record: &RunRecord) -> Repeat {
    let name = &record.scenario.name;
    let file = (!is_built_in(record)).then(|| {
        let plain = name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' });
        format!("{}.toml", plain.collect::<String>())
    });
    let what = file.as_ref().map_or_else(|| name.clone(), |file| format!("--file {file}"));
    let mut command =
        format!("shopctl load run {what} --seed {} --workers {}", record.seed, record.machine.workers);
    if let Some(environment) = &record.target.environment {
        command.push_str(&format!(" -e {environment}"));
    }
    // A forwarded port is another one every time.
    if record.target.data_dir.is_none() && !record.target.is_forwarded {
        command.push_str(&format!(" --url '{}'", record.target.url.replace('\'', "%27")));
    }
    Repeat { command, file }
}

/// Whether the scenario is the built-in one of its name: the seed is told beside it.
fn is_built_in(record: &RunRecord) -> bool {
    let text_of = |name: &str, text: &str| {
        let mut scenario = Scenario::read(name, text).ok()?;
        scenario.load.seed = None;
        Some(scenario.to_text())
    };
    let name = &record.scenario.name;
    let Ok(built_in) = find(name) else { return false };
    let own = text_of(name, built_in.text);
    own.is_some() && own == text_of(name, &record.scenario.file)
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_built_in_scenario_is_repeated_by_its_name_and_any_other_by_its_file() {
        let mut record = sample::record();
        let mixed = find("mixed").unwrap();
        let mut scenario = Scenario::read("mixed", mixed.text).unwrap();
        scenario.load.seed = Some(42);
        record.scenario.file = scenario.to_text();
        let told = repeat(&record);
        assert_eq!(told.command, "shopctl load run mixed --seed 42 --workers 2");
        assert_eq!(told.file, None);

        scenario.load.rate = Some(7.0);
        record.scenario.file = scenario.to_text();
        record.target.data_dir = None;
        let told = repeat(&record);
        assert_eq!(
            told.command,
            "shopctl load run --file mixed.toml --seed 42 --workers 2 --url 'http://127.0.0.1:4000'"
        );
        assert_eq!(told.file.as_deref(), Some("mixed.toml"));
    }

    #[test]
    fn a_run_on_a_cluster_is_repeated_by_its_environment() {
        let mut record = sample::record();
        (record.target.data_dir, record.target.environment) = (None, Some("lab".to_owned()));
        assert!(repeat(&record).command.ends_with("-e lab --url 'http://127.0.0.1:4000'"));
        record.target.is_forwarded = true;
        assert!(repeat(&record).command.ends_with("-e lab"), "the port was of that run only");
    }
}
