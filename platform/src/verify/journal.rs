//! The journal of acknowledged orders: what a client was promised, written down by the client.
//!
//! One line per placed order, appended before the client counts the answer. Read beside the database it shows whether
//! an acknowledged order was lost. A line is one `write`, so a client that is killed leaves at most one line torn: that
//! order was never counted as acknowledged, and the reader tolerates and counts it.
//!
//! ```text
//! {"schema":"shopctl/journal/v1","run":"0199…","shop":"http://127.0.0.1:8080"}
//! {"order_id":"0199…","scope":"cart:9b1d…","key":"load-7-42","status":201,"at":"2026-11-23T15:00:00Z"}
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::vocabulary::{OrderId, Timestamp};

/// The schema that a journal's first line names.
pub const SCHEMA: &str = "shopctl/journal/v1";

/// The first line: which run wrote the journal, against which shop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`SCHEMA`].
    pub schema: String,
    /// Names the run that wrote it.
    pub run: String,
    /// The address of the shop that answered.
    pub shop: String,
}

impl Head {
    /// The head of the journal of `run` against `shop`.
    #[must_use]
    pub fn new(run: impl Into<String>, shop: impl Into<String>) -> Self {
        Self { schema: SCHEMA.to_owned(), run: run.into(), shop: shop.into() }
    }
}

/// An order that the shop said it took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The order, as the answer named it.
    pub order_id: OrderId,
    /// Whose key it was: `user:<id>` for somebody who was signed in, `cart:<id>` for a guest.
    pub scope: String,
    /// The `Idempotency-Key` that was sent.
    pub key: String,
    /// 201 or 202.
    pub status: u16,
    /// When the answer arrived, by the client's clock.
    pub at: Timestamp,
}

/// Why a journal could not be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be opened or read.
    #[error("cannot read the journal {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no journal, or one that a newer binary wrote.
    #[error("{} is not a journal of acknowledged orders: its first line must name {SCHEMA}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A line that is not the last cannot be understood: something else wrote into the file.
    #[error("line {line} of the journal {} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// Appends to a journal. Each thread of a client may hold one of the same file ([`JournalWriter::another`]).
#[derive(Debug)]
pub struct JournalWriter {
    file: File,
    line: Vec<u8>,
}

impl JournalWriter {
    /// Makes the journal at `path`, which must not exist, and writes its head.
    ///
    /// # Errors
    /// When it exists, or cannot be written.
    pub fn create(path: &Path, head: &Head) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        let mut writer = Self { file, line: Vec::with_capacity(256) };
        writer.write(head)?;
        Ok(writer)
    }

    /// Another writer of the same journal, for another thread.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn another(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, line: Vec::with_capacity(256) })
    }

    /// Writes one order down. It is in the file when this answers, so it outlives the process (not the machine).
    ///
    /// # Errors
    /// When it could not be written: the order must then not be counted as acknowledged.
    pub fn append(&mut self, order: &Acknowledged) -> io::Result<()> {
        self.write(order)
    }

    fn write(&mut self, line: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)?;
        self.line.push(b'\n');
        self.file.write_all(&self.line)
    }
}

/// A whole journal in memory: for small ones, and tests. [`Reader`] takes no memory for the orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// Its first line.
    pub head: Head,
    /// The orders, in the order in which their answers were written down.
    pub orders: Vec<Acknowledged>,
    /// Lines that the end of the process cut off: 0 or 1.
    pub torn: u64,
}

impl Journal {
    /// Reads the journal at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or something other than its end is damaged.
    pub fn read(path: &Path) -> Result<Self, JournalError> {
        let mut reader = Reader::open(path)?;
        let orders = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
        Ok(Self { torn: reader.torn(), head: reader.head, orders })
    }
}

/// Reads a journal line by line.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    lines: BufReader<File>,
    head: Head,
    line: u64,
    torn: u64,
}

impl Reader {
    /// Opens the journal at `path` and reads its head.
    ///
    /// # Errors
    /// When it cannot be read, or is no journal.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let unreadable = |source| JournalError::Unreadable { path: path.to_owned(), source };
        let mut lines = BufReader::new(File::open(path).map_err(unreadable)?);
        let mut first = String::new();
        lines.read_line(&mut first).map_err(unreadable)?;
        let head = serde_json::from_str::<Head>(&first).ok().filter(|head| head.schema == SCHEMA);
        let head = head.ok_or_else(|| JournalError::Foreign { path: path.to_owned() })?;
        Ok(Self { path: path.to_owned(), lines, head, line: 1, torn: 0 })
    }

    /// The first line.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Lines that the end of the process cut off, of those read so far.
    #[must_use]
    pub fn torn(&self) -> u64 {
        self.torn
    }

    fn is_at_end(&mut self) -> io::Result<bool> {
        self.lines.fill_buf().map(<[u8]>::is_empty)
    }
}

impl Iterator for Reader {
    type Item = Result<Acknowledged, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let unreadable =
            |path: &Path, source| Some(Err(JournalError::Unreadable { path: path.to_owned(), source }));
        let mut line = Vec::new();
        match self.lines.read_until(b'\n', &mut line) {
            Ok(0) => return None,
            Ok(_) => self.line += 1,
            Err(error) => return unreadable(&self.path, error),
        }
        let is_whole = line.last() == Some(&b'\n');
        match serde_json::from_slice(&line) {
            Ok(order) if is_whole => Some(Ok(order)),
            // Without its end nobody knows whether the line is whole, so whoever wrote it had not counted it yet.
            Ok(_) => {
                self.torn += 1;
                None
            }
            Err(error) => match self.is_at_end() {
                Ok(true) => {
                    self.torn += 1;
                    None
                }
                Ok(false) => Some(Err(JournalError::Damaged {
                    path: self.path.clone(),
                    line: self.line,
                    why: error.to_string(),
                })),
                Err(error) => unreadable(&self.path, error),
            },
        }
    }
}

/// The journals that load runs left in a shop's folder, in the order of the runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfRuns {
    /// Those of runs against this shop; and those that cannot be read, because they may be.
    pub own: Vec<PathBuf>,
    /// Those of runs against other addresses, with the address. It may be another shop, or this one by another name.
    pub elsewhere: Vec<(PathBuf, String)>,
}

/// The journals that load runs left in the folder of the shop on `url`. One of a run against another shop says nothing
/// of this one.
#[must_use]
pub fn of_runs(data_dir: &Path, url: &str) -> OfRuns {
    let bare = |url: &str| url.trim_end_matches('/').to_owned();
    let runs = std::fs::read_dir(data_dir.join("runs")).into_iter().flatten().flatten();
    let mut journals: Vec<PathBuf> = runs.map(|run| run.path().join("journal.ndjson")).collect();
    // A run that died before its first line promised nothing.
    journals.retain(|path| std::fs::metadata(path).map_or_else(is_hidden, |about| about.len() > 0));
    journals.sort();
    let mut found = OfRuns::default();
    for path in journals {
        match Reader::open(&path) {
            Ok(reader) if bare(&reader.head().shop) != bare(url) => {
                found.elsewhere.push((path, bare(&reader.head().shop)));
            }
            _ => found.own.push(path),
        }
    }
    found
}

/// Whether there may be a file that only cannot be looked at.
fn is_hidden(error: io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(n: u128) -> Acknowledged {
        Acknowledged {
            order_id: OrderId::from_uuid(uuid::Uuid::from_u128(n)),
            scope: format!("cart:{n}"),
            key: format!("key-{n}"),
            status: 201,
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.ndjson");
        let head = Head::new("run-1", "http://127.0.0.1:1");
        let mut writer = JournalWriter::create(&path, &head).unwrap();
        writer.append(&order(1)).unwrap();
        writer.another().unwrap().append(&order(2)).unwrap();
        let journal = Journal::read(&path).unwrap();
        assert_eq!(journal, Journal { head, orders: vec![order(1), order(2)], torn: 0 });
        assert!(JournalWriter::create(&path, &journal.head).is_err(), "a journal is never written over");
    }

    #[test]
    fn a_journal_may_be_torn_at_every_byte_of_its_last_line() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole");
        let mut writer = JournalWriter::create(&whole, &Head::new("run", "shop")).unwrap();
        writer.append(&order(1)).unwrap();
        let kept = std::fs::metadata(&whole).unwrap().len() as usize;
        writer.append(&order(2)).unwrap();
        let bytes = std::fs::read(&whole).unwrap();
        let torn = folder.path().join("torn");
        for end in kept..bytes.len() {
            std::fs::write(&torn, &bytes[..end]).unwrap();
            let journal = Journal::read(&torn).unwrap();
            assert_eq!((journal.orders.len(), journal.torn), (1, u64::from(end > kept)), "cut at {end}");
        }
    }

    #[test]
    fn damage_elsewhere_is_told_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        JournalWriter::create(&path, &Head::new("run", "shop")).unwrap().append(&order(1)).unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"order_id\":\n");
        text.push_str(text.clone().lines().nth(1).unwrap());
        text.push('\n');
        std::fs::write(&path, text).unwrap();
        let error = Journal::read(&path).unwrap_err().to_string();
        assert!(error.contains("line 3"), "{error}");
        std::fs::write(&path, "hello\n").unwrap();
        assert!(matches!(Journal::read(&path), Err(JournalError::Foreign { .. })));
    }

    #[test]
    fn only_journals_of_runs_against_this_shop_speak_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let shops =
            [("b", "http://127.0.0.1:8080/"), ("a", "http://127.0.0.1:8080"), ("c", "http://elsewhere")];
        for (run, shop) in shops {
            let run = folder.path().join("runs").join(run);
            std::fs::create_dir_all(&run).unwrap();
            JournalWriter::create(&run.join("journal.ndjson"), &Head::new("run", shop)).unwrap();
        }
        for (run, text) in [("d", None), ("e", Some("damaged\n")), ("f", Some(""))] {
            std::fs::create_dir_all(folder.path().join("runs").join(run)).unwrap();
            if let Some(text) = text {
                std::fs::write(folder.path().join("runs").join(run).join("journal.ndjson"), text).unwrap();
            }
        }
        let found = of_runs(folder.path(), "http://127.0.0.1:8080");
        let named = |run: &str| folder.path().join("runs").join(run).join("journal.ndjson");
        assert_eq!(found.own, ["a", "b", "e"].map(named), "what cannot be read may speak of it");
        assert_eq!(found.elsewhere, [(named("c"), "http://elsewhere".to_owned())]);
        assert_eq!(of_runs(&folder.path().join("nowhere"), "http://127.0.0.1:8080"), OfRuns::default());
    }
}
