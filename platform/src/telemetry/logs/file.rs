//! A log file that does not fill the disk: it is put aside when it is large, and one older file is kept. Several
//! processes may append to the same one: a line goes out in one write, and only one of them puts the file aside.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file that grew larger is put aside.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// After so many bytes of its own a process looks what the others have made of the file.
const LOOK_EVERY: u64 = 1024 * 1024;

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Written since the last look.
    bytes: u64,
    bytes_max: u64,
}

impl LogFile {
    /// Opens `path` for appending, and makes its folder.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        Self::with_limit(path, BYTES_MAX)
    }

    fn with_limit(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { path: path.to_owned(), file, bytes: 0, bytes_max })
    }

    /// When the file is large, `shop.log` becomes `shop.log.1`; when another process was faster, goes over to the
    /// new file.
    fn look(&mut self) -> io::Result<()> {
        self.bytes = 0;
        let own = self.file.metadata()?;
        if own.len() <= self.bytes_max && self.is_current(own.ino()) {
            return Ok(());
        }
        // Whoever comes second finds that the file has another name by now.
        self.file.lock()?;
        if self.is_current(own.ino()) {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            std::fs::rename(&self.path, older)?;
        }
        *self = Self::with_limit(&self.path, self.bytes_max)?;
        Ok(())
    }

    fn is_current(&self, inode: u64) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|found| found.ino() == inode)
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        // Whole lines come in, a buffer of them at a time: only after one may the file be changed.
        let is_between_lines = bytes[..written].ends_with(b"\n");
        if self.bytes > self.bytes_max.min(LOOK_EVERY) && is_between_lines {
            // What was written is written; what could not be done is tried again after as much more.
            self.look().ok();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_is_put_aside_between_two_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("shop.log");
        let mut file = LogFile::with_limit(&path, 10).expect("opened");
        for part in ["one\n", "two thr", "ee four\n", "five\n"] {
            file.write_all(part.as_bytes()).expect("written");
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("read");
        assert_eq!(read("shop.log.1"), "one\ntwo three four\n");
        assert_eq!(read("shop.log"), "five\n");
    }

    #[test]
    fn of_two_processes_one_puts_the_file_aside_and_the_other_follows() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("shop.log");
        let open = || LogFile::with_limit(&path, 10).expect("opened");
        let (mut one, mut two) = (open(), open());
        one.write_all(b"one, long enough\n").expect("written");
        two.write_all(b"two, which finds another name\n").expect("written");
        two.write_all(b"two again\n").expect("written");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("read");
        assert_eq!(read("shop.log.1"), "one, long enough\ntwo, which finds another name\n");
        assert_eq!(read("shop.log"), "two again\n");
    }
}
