//! A log file that does not fill the disk: it is put aside when it is large, and one older file is kept.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file that grew larger is put aside.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
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
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, bytes_max })
    }

    /// `shop.log` becomes `shop.log.1`.
    fn put_aside(&mut self) -> io::Result<()> {
        let mut older = self.path.clone().into_os_string();
        older.push(".1");
        std::fs::rename(&self.path, older)?;
        *self = Self::with_limit(&self.path, self.bytes_max)?;
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        // Whole lines come in, a buffer of them at a time: only after one may the file be changed.
        let is_between_lines = bytes[..written].ends_with(b"\n");
        if self.bytes > self.bytes_max && is_between_lines && self.put_aside().is_err() {
            // What was written is written; it is tried again after as much more.
            self.bytes = 0;
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
        let reopened = LogFile::open(&path).expect("opened");
        assert_eq!(reopened.bytes, 5);
    }
}
