//! The last result of every claim, in a file that is kept with the code.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use platform::vocabulary::Timestamp;
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};

/// What a measurement gave, and when and on what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Result {
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// When it was measured.
    pub at: Timestamp,
    /// The machine, as far as it matters for the number.
    pub machine: String,
}

/// Every result, by the claim's id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ledger {
    results: BTreeMap<String, Result>,
}

impl Ledger {
    /// The results that this binary was built with.
    ///
    /// # Errors
    /// When the file of the code is not valid: a bug that a test finds.
    pub fn built_in() -> anyhow::Result<Self> {
        serde_json::from_str(include_str!("../../../docs/claims.json"))
            .context("docs/claims.json is not valid")
    }

    /// The results in `path`; those that are built in when there is no such file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| invalid(path, error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::built_in(),
            Err(error) => Err(error).with_context(|| format!("could not read {}", path.display())),
        }
    }

    /// The last result of a claim.
    #[must_use]
    pub fn last(&self, id: &str) -> Option<&Result> {
        self.results.get(id)
    }

    /// Takes a new result in.
    pub fn record(&mut self, id: &str, result: Result) {
        self.results.insert(id.to_owned(), result);
    }

    /// Writes the results to `path`: the old file stays until the new one is whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let partial = path.with_extension("partial");
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(&partial, text)
            .and_then(|()| std::fs::rename(&partial, path))
            .with_context(|| format!("could not write {}", path.display()))
    }
}

fn invalid(path: &Path, error: serde_json::Error) -> anyhow::Error {
    Failure::new(Exit::Config, "E-LEDGER", format!("could not read the results in {}", path.display()))
        .object(path.display())
        .hint("take it back from version control, or remove it and measure again with --record")
        .because(error)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("claims.json");
        let mut ledger = Ledger::read(&path).unwrap();
        assert_eq!(ledger, Ledger::built_in().unwrap());
        let result =
            Result { value: 1.5, unit: "ms".into(), at: Timestamp::UNIX_EPOCH, machine: "2 cores".into() };
        ledger.record("x", result.clone());
        ledger.write(&path).unwrap();
        assert_eq!(Ledger::read(&path).unwrap().last("x"), Some(&result));
    }
}
