//! Who holds a data folder: a file that is locked while its shop lives, with the facts inside.
//!
//! The lock is the truth and the facts are a courtesy: the system frees the lock however the process ends, so
//! a shop that was killed never leaves a stale one behind.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use platform::vocabulary::{Env, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::Engine;
use crate::failure::{Exit, Failure};

/// The file in the data folder.
const FILE_NAME: &str = "up.lock";
/// A reader that looks who is there holds the file for an instant; a shop that starts waits this long for it.
const READER_GRACE: Duration = Duration::from_millis(300);

/// The facts about the process that holds a data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Where it answers, once it does.
    pub url: Option<String>,
    /// Where its payment sandbox answers, once it does.
    pub fakepay_url: Option<String>,
    /// When it started.
    pub started_at: Timestamp,
    /// The shopctl that it is.
    pub version: String,
    /// The engine it keeps its data in.
    pub engine: String,
    /// Where the PostgreSQL answers that it started for itself; only its owner can use it, so there is no password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_url: Option<String>,
    /// The file its logs go to.
    pub log: PathBuf,
    /// Whether it is no shop, and only looks at what the last one left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub looks: bool,
}

impl Holder {
    /// This process, which keeps its data in `engine` and logs to `log`, before it answers anywhere.
    #[must_use]
    pub fn new(engine: Engine, log: Option<PathBuf>, env: &Env) -> Self {
        Self {
            pid: std::process::id(),
            url: None,
            fakepay_url: None,
            started_at: env.now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            engine: engine.to_string(),
            database_url: None,
            log: log.unwrap_or_default(),
            looks: false,
        }
    }
}

/// Whether somebody holds a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A shop lives there. The facts are absent for the instant before they are written.
    Held(Option<Holder>),
    /// The last one that did has ended.
    Ended(Holder),
    /// There never was one.
    Never,
}

/// The right to use a data folder; ends with the process.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the folder, which is made when it is absent.
    ///
    /// # Errors
    /// When somebody else holds it, or it cannot be written.
    pub fn acquire(data_dir: &Path) -> Result<Self, Failure> {
        let file = open(data_dir).map_err(|error| unwritable(data_dir, error))?;
        let patience = Instant::now() + READER_GRACE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { file }),
                Err(TryLockError::WouldBlock) if Instant::now() < patience => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => return Err(held(data_dir, read(&file).as_ref())),
                Err(TryLockError::Error(error)) => return Err(unwritable(data_dir, error)),
            }
        }
    }

    /// Writes the facts for others to read.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn publish(&self, holder: &Holder) -> io::Result<()> {
        let text = serde_json::to_vec(holder).map_err(io::Error::other)?;
        self.file.set_len(0)?;
        self.file.write_all_at(&text, 0)
    }
}

/// Who holds the folder.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn standing(data_dir: &Path) -> Result<Standing, Failure> {
    let file = match File::open(data_dir.join(FILE_NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Never),
        Err(error) => return Err(unreadable(data_dir, error)),
    };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Ok(match read(&file) {
            // No shop lives where somebody only looks.
            Some(holder) if holder.looks => Standing::Ended(holder),
            holder => Standing::Held(holder),
        }),
        Ok(()) => Ok(read(&file).map_or(Standing::Never, Standing::Ended)),
        Err(TryLockError::Error(error)) => Err(unreadable(data_dir, error)),
    }
}

/// The shop that lives in the folder.
///
/// # Errors
/// When none does.
pub fn running(data_dir: &Path) -> Result<Holder, Failure> {
    let place = data_dir.display();
    let (message, hint) = match standing(data_dir)? {
        Standing::Held(Some(holder)) => return Ok(holder),
        Standing::Held(None) => (format!("a shop is starting on {place}"), "try again in a moment"),
        Standing::Ended(holder) => (
            format!("no shop is running on {place}; the last one (process {}) has ended", holder.pid),
            "start it with `shopctl up`",
        ),
        Standing::Never => (format!("no shop is running on {place}"), "start one with `shopctl up`"),
    };
    Err(Failure::new(Exit::Unreachable, "E-NOT-RUNNING", message).object(data_dir.display()).hint(hint))
}

fn open(data_dir: &Path) -> io::Result<File> {
    // The data is its owner's: accounts, addresses, keys.
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
    let path = data_dir.join(FILE_NAME);
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn read(file: &File) -> Option<Holder> {
    let mut text = vec![0; 4096];
    let length = file.read_at(&mut text, 0).ok()?;
    serde_json::from_slice(&text[..length]).ok()
}

fn held(data_dir: &Path, holder: Option<&Holder>) -> Failure {
    if let Some(Holder { pid, looks: true, .. }) = holder {
        let message = format!("process {pid} looks at the data in {}", data_dir.display());
        return Failure::new(Exit::Locked, "E-DATA-LOCKED", message)
            .object(data_dir.display())
            .hint("wait until it is done: `shopctl verify` on a shop that does not run holds its folder for a moment");
    }
    let who = match holder {
        Some(Holder { pid, url: Some(url), started_at, .. }) => {
            format!("process {pid} holds it since {started_at} and answers on {url}")
        }
        Some(Holder { pid, started_at, .. }) => {
            format!("process {pid} holds it since {started_at} and is not ready yet")
        }
        None => "another process holds it".to_owned(),
    };
    Failure::new(
        Exit::Locked,
        "E-DATA-LOCKED",
        format!("a shop is already running on {}", data_dir.display()),
    )
    .object(data_dir.display())
    .hint("use that one, stop it with `shopctl down`, or start another with --data-dir")
    .because(anyhow::Error::msg(who))
}

fn unwritable(data_dir: &Path, error: io::Error) -> Failure {
    let message = format!("could not use the data folder {}", data_dir.display());
    Failure::new(Exit::Preflight, "E-DATA-DIR", message)
        .object(data_dir.display())
        .hint("make it writable for you, or name another with --data-dir")
        .because(error)
}

fn unreadable(data_dir: &Path, error: io::Error) -> Failure {
    let message = format!("could not read who holds {}", data_dir.display());
    Failure::new(Exit::Preflight, "E-DATA-DIR", message).object(data_dir.display()).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(url: Option<&str>) -> Holder {
        Holder {
            pid: 42,
            url: url.map(str::to_owned),
            fakepay_url: None,
            started_at: Timestamp::UNIX_EPOCH,
            version: "0".into(),
            engine: "sqlite".into(),
            database_url: None,
            log: "shop.log".into(),
            looks: false,
        }
    }

    #[test]
    fn a_folder_has_one_holder_who_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(standing(folder.path()).unwrap(), Standing::Never);
        let lock = Lock::acquire(folder.path()).unwrap();
        lock.publish(&holder(Some("http://127.0.0.1:1"))).unwrap();
        let refused = Lock::acquire(folder.path()).unwrap_err();
        assert_eq!(refused.exit(), Exit::Locked);
        let said = format!("{:#}", anyhow::Error::from(refused));
        assert!(said.contains("process 42") && said.contains("http://127.0.0.1:1"), "{said}");
        assert_eq!(running(folder.path()).unwrap().pid, 42);
    }

    #[test]
    fn a_shop_that_was_killed_leaves_no_lock_behind() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::acquire(folder.path()).unwrap();
        lock.publish(&holder(None)).unwrap();
        drop(lock);
        assert_eq!(standing(folder.path()).unwrap(), Standing::Ended(holder(None)));
        assert_eq!(running(folder.path()).unwrap_err().exit(), Exit::Unreachable);
        Lock::acquire(folder.path()).unwrap();
    }

    #[test]
    fn somebody_who_looks_keeps_shops_away_and_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::acquire(folder.path()).unwrap();
        lock.publish(&Holder { looks: true, ..holder(Some("http://127.0.0.1:1")) }).unwrap();
        assert!(matches!(standing(folder.path()).unwrap(), Standing::Ended(_)));
        assert_eq!(running(folder.path()).unwrap_err().exit(), Exit::Unreachable);
        let refused = Lock::acquire(folder.path()).unwrap_err();
        assert_eq!(refused.exit(), Exit::Locked);
        let said = format!("{:#}", anyhow::Error::from(refused));
        assert!(said.contains("process 42 looks at the data"), "{said}");
    }

    #[test]
    fn shorter_facts_leave_nothing_of_longer_ones() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::acquire(folder.path()).unwrap();
        lock.publish(&holder(Some("http://127.0.0.1:65535"))).unwrap();
        lock.publish(&holder(None)).unwrap();
        assert_eq!(standing(folder.path()).unwrap(), Standing::Held(Some(holder(None))));
    }
}
