//! Who may write, on the disk. What stands here outlives the supervisor: a node that lost the right to write never
//! gets it back by being started, only by being promoted.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const FILE_NAME: &str = "roles.json";

/// One of the two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Name {
    A,
    B,
}

impl Name {
    pub(super) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// What is known of the other node's copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Copy {
    /// It may lack what was acknowledged: it must never be promoted.
    #[default]
    Behind,
    /// Nothing is acknowledged before it is there too: it may be promoted.
    Synchronous,
}

/// The epoch and who writes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Roles {
    /// Grows by one with every change of the writer.
    pub(super) epoch: u64,
    pub(super) writer: Name,
    pub(super) copy: Copy,
}

impl Default for Roles {
    fn default() -> Self {
        Self { epoch: 1, writer: Name::A, copy: Copy::Behind }
    }
}

/// The file that holds the roles.
#[derive(Clone, Debug)]
pub(super) struct RolesFile {
    path: PathBuf,
}

impl RolesFile {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join(FILE_NAME) }
    }

    /// What stands there; the first epoch when nothing does. A file that cannot be understood is an error: guessing
    /// who may write could make two of them.
    pub(super) fn read(&self) -> io::Result<Roles> {
        match fs::read(&self.path) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Roles::default()),
            Err(error) => Err(error),
        }
    }

    /// Replaces it, durable before this answers.
    pub(super) fn write(&self, roles: Roles) -> io::Result<()> {
        let partial = self.path.with_extension("partial");
        let mut file = File::create(&partial)?;
        file.write_all(&serde_json::to_vec_pretty(&roles).map_err(io::Error::other)?)?;
        file.sync_all()?;
        fs::rename(&partial, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_write_outlives_whoever_wrote_it_down() {
        let folder = tempfile::tempdir().unwrap();
        let file = RolesFile::in_folder(folder.path());
        assert_eq!(file.read().unwrap(), Roles { epoch: 1, writer: Name::A, copy: Copy::Behind });
        let roles = Roles { epoch: 7, writer: Name::B, copy: Copy::Synchronous };
        file.write(roles).unwrap();
        assert_eq!(RolesFile::in_folder(folder.path()).read().unwrap(), roles);
        fs::write(folder.path().join(FILE_NAME), "{").unwrap();
        assert!(file.read().is_err(), "nobody guesses who may write");
    }
}
