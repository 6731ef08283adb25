//! Where runs are kept: a folder each under `runs/` of the data folder, with `run.json` and `journal.ndjson`.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use platform::vocabulary::Env;

use super::record::{RunRecord, SCHEMA};
use crate::failure::{Exit, Failure, nearest};

/// The folder of all runs in a data folder.
const RUNS: &str = "runs";
/// The record in the folder of a run.
const RECORD: &str = "run.json";
/// The page beside it.
const PAGE: &str = "report.html";
/// The journal beside it.
pub const JOURNAL: &str = "journal.ndjson";

/// The folder of one run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    /// The run.
    pub id: String,
    /// The folder.
    pub path: PathBuf,
}

impl RunFolder {
    /// A new folder for a run of `scenario`. Runs that begin at the same moment get one each.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(data_dir: &Path, scenario: &str, env: &Env) -> Result<Self, Failure> {
        let runs = data_dir.join(RUNS);
        let when = env.now().strftime("%Y%m%d-%H%M%S").to_string();
        let name: String = scenario
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
            .collect();
        let make = |id: &str| {
            let path = runs.join(id);
            DirBuilder::new().recursive(true).mode(0o700).create(&runs)?;
            DirBuilder::new().mode(0o700).create(&path)?;
            io::Result::Ok(path)
        };
        loop {
            let [one, two] = env.bytes::<2>();
            let id = format!("{when}-{name}-{one:02x}{two:02x}");
            match make(&id) {
                Ok(path) => return Ok(Self { id, path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && runs.join(&id).exists() => {}
                Err(error) => {
                    let message = format!("could not make a folder for the run in {}", runs.display());
                    return Err(Failure::new(Exit::Preflight, "E-RUN-FOLDER", message)
                        .object(runs.display())
                        .hint("make room and make it writable, or name another with --data-dir")
                        .because(error));
                }
            }
        }
    }

    /// Where its record is, once it is saved.
    #[must_use]
    pub fn record(&self) -> PathBuf {
        self.path.join(RECORD)
    }

    /// Writes the record whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written: the disk is full, most likely.
    pub fn save(&self, record: &RunRecord) -> io::Result<PathBuf> {
        let path = self.record();
        write_whole(&path, &serde_json::to_vec(record).map_err(io::Error::other)?)?;
        Ok(path)
    }
}

/// The runs of a data folder by name, the newest first.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn runs(data_dir: &Path) -> Result<Vec<String>, Failure> {
    let folder = data_dir.join(RUNS);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let message = format!("could not read the runs in {}", folder.display());
            return Err(Failure::new(Exit::Preflight, "E-RUNS", message)
                .object(folder.display())
                .hint("run it as the user whose shop it is")
                .because(error));
        }
    };
    let mut all: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join(RECORD).is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    all.sort_unstable_by(|one, two| two.cmp(one));
    Ok(all)
}

/// The record that `name` means: a run of the data folder, `latest`, or a file or folder.
///
/// # Errors
/// When there is none, or it is of another kind.
pub fn read(data_dir: &Path, name: &str) -> Result<RunRecord, Failure> {
    read_file(&find(data_dir, name)?)
}

/// Where the record that `name` means is.
///
/// # Errors
/// When there is none.
pub fn find(data_dir: &Path, name: &str) -> Result<PathBuf, Failure> {
    let all = runs(data_dir)?;
    let path = Path::new(name);
    match (name, all.first()) {
        ("latest", Some(newest)) => Ok(data_dir.join(RUNS).join(newest).join(RECORD)),
        ("latest", None) => Err(no_run("there is no run yet", &all, name)),
        _ if all.iter().any(|run| run == name) => Ok(data_dir.join(RUNS).join(name).join(RECORD)),
        _ if path.is_file() => Ok(path.to_owned()),
        _ if path.join(RECORD).is_file() => Ok(path.join(RECORD)),
        _ => Err(no_run(&format!("there is no run `{name}`"), &all, name)),
    }
}

/// Where the page of the record at `path` belongs: beside it.
#[must_use]
pub fn page_of(path: &Path) -> PathBuf {
    if path.file_name().is_some_and(|name| name == RECORD) {
        path.with_file_name(PAGE)
    } else {
        path.with_extension("html")
    }
}

/// Writes `text` to `path` whole or not at all, for its owner only.
///
/// # Errors
/// When it cannot be written: the disk is full, most likely.
pub fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!("{name}.part"));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&draft, path));
    if written.is_err() {
        // What is left of a draft would only fill the disk further.
        std::fs::remove_file(&draft).ok();
    }
    written
}

/// The record in the file at `path`.
///
/// # Errors
/// When it is none.
pub fn read_file(path: &Path) -> Result<RunRecord, Failure> {
    let unusable = |error: anyhow::Error| {
        Failure::new(Exit::Usage, "E-RUN-RECORD", format!("{} is not the record of a run", path.display()))
            .object(path.display())
            .hint(format!("a run's {RECORD} has the schema {SCHEMA}"))
            .because(error)
    };
    let text = std::fs::read(path).map_err(|error| unusable(error.into()))?;
    let record: RunRecord = serde_json::from_slice(&text).map_err(|error| unusable(error.into()))?;
    if record.schema == SCHEMA {
        Ok(record)
    } else {
        Err(unusable(anyhow::anyhow!("its schema is {}", record.schema)))
    }
}

fn no_run(message: &str, all: &[String], name: &str) -> Failure {
    let hint = match nearest(name, all.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`? `shopctl load runs` lists them"),
        None if all.is_empty() => "make one with `shopctl load run mixed`".to_owned(),
        None => format!("the newest is `{}`; `shopctl load runs` lists them", all[0]),
    };
    Failure::new(Exit::Usage, "E-NO-RUN", message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_the_same_moment_get_a_folder_each() {
        let folder = tempfile::tempdir().unwrap();
        let env = Env::system();
        let all: Vec<RunFolder> =
            (0..20).map(|_| RunFolder::create(folder.path(), "a b/c", &env).unwrap()).collect();
        assert!(all.iter().all(|run| run.path.is_dir() && run.id.contains("-a-b-c-")));
        assert_eq!(runs(folder.path()).unwrap(), Vec::<String>::new(), "a run without a record is none");
    }

    #[test]
    fn what_is_no_record_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path(), "latest").unwrap_err().to_string(), "there is no run yet");
        let path = folder.path().join("x.json");
        std::fs::write(&path, "{}").unwrap();
        let failure = read(folder.path(), path.to_str().unwrap()).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
    }
}
