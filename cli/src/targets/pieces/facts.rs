//! What a supervisor tells about its processes, for whoever asks: a file in the data folder, replaced whole.

use std::io;
use std::path::Path;

use platform::vocabulary::Timestamp;
use serde::{Deserialize, Serialize};

pub use super::database::DatabaseFacts;

/// The file in the data folder.
const FILE_NAME: &str = "processes.json";

/// The processes of a shop in pieces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The supervisor that wrote this.
    pub supervisor_pid: u32,
    /// Every process, by seat.
    pub processes: Vec<ProcessFacts>,
    /// The shop's own PostgreSQL, when it has one.
    pub database: Option<DatabaseFacts>,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// Its seat: `order-2`.
    pub name: String,
    /// What it is: `order`.
    pub role: String,
    /// What it does now.
    pub state: State,
    /// The process, while there is one.
    pub pid: Option<u32>,
    /// Where it answers, once it does.
    pub url: Option<String>,
    /// How often another had to take its place.
    pub restarts: u32,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// How the last one in this seat ended.
    pub last_end: Option<String>,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is not ready yet.
    Starting,
    /// It answers.
    Ready,
    /// It ended, and the next one waits for its turn.
    Waiting,
    /// It ended again and again: the waits are long.
    CrashLoop,
    /// It was told to end, and has.
    Ended,
}

impl State {
    /// The word that a person reads.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Waiting => "waiting",
            Self::CrashLoop => "crash loop",
            Self::Ended => "ended",
        }
    }
}

impl Facts {
    /// Replaces the file in `data_dir`: a reader sees the old facts or the new ones.
    pub(super) fn write(&self, data_dir: &Path) -> io::Result<()> {
        let partial = data_dir.join("processes.partial");
        std::fs::write(&partial, serde_json::to_vec_pretty(self).map_err(io::Error::other)?)?;
        std::fs::rename(partial, data_dir.join(FILE_NAME))
    }

    /// The facts that the process `supervisor_pid` wrote into `data_dir`; none when it is no supervisor.
    #[must_use]
    pub fn read(data_dir: &Path, supervisor_pid: u32) -> Option<Self> {
        let text = std::fs::read(data_dir.join(FILE_NAME)).ok()?;
        let facts: Self = serde_json::from_slice(&text).ok()?;
        (facts.supervisor_pid == supervisor_pid).then_some(facts)
    }
}

/// Removes the file: the shop has ended.
pub(super) fn forget(data_dir: &Path) {
    std::fs::remove_file(data_dir.join(FILE_NAME)).ok();
}
