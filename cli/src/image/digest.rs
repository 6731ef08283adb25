//! What a blob is called: the SHA-256 of its bytes, which is also how one knows that it is whole.

use std::fmt;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const ALGORITHM: &str = "sha256:";

/// `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::finished(Sha256::new().chain_update(bytes))
    }

    fn finished(hasher: Sha256) -> Self {
        let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{ALGORITHM}{hex}"))
    }

    /// The digits alone, as files are named.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0[ALGORITHM.len()..]
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first twelve digits: enough for a person.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.strip_prefix(ALGORITHM).unwrap_or("");
        let is_hex = |letter: u8| letter.is_ascii_digit() || (b'a'..=b'f').contains(&letter);
        if digits.len() == 64 && digits.bytes().all(is_hex) {
            Ok(Self(text))
        } else {
            Err(format!("`{text}` is not a digest: sha256: and 64 digits"))
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

/// Passes bytes on and keeps their count and their digest.
#[derive(Debug)]
pub struct Measured<S> {
    inner: S,
    hasher: Sha256,
    bytes: u64,
}

impl<S> Measured<S> {
    /// Nothing has passed yet.
    pub fn new(inner: S) -> Self {
        Self { inner, hasher: Sha256::new(), bytes: 0 }
    }

    /// What passed: its digest, its length, and where it went to or came from.
    pub fn finish(self) -> (Digest, u64, S) {
        (Digest::finished(self.hasher), self.bytes, self.inner)
    }

    fn passed(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

impl<W: Write> Write for Measured<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.inner.write(bytes)?;
        self.passed(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let came = self.inner.read(bytes)?;
        self.passed(&bytes[..came]);
        Ok(came)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '' | sha256sum`
    const OF_NOTHING: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digest_is_the_one_everybody_computes() {
        assert_eq!(Digest::of(b"").as_str(), OF_NOTHING);
        let mut measured = Measured::new(Vec::new());
        measured.write_all(b"ab").unwrap();
        measured.write_all(b"c").unwrap();
        assert_eq!(measured.finish(), (Digest::of(b"abc"), 3, b"abc".to_vec()));
    }

    #[test]
    fn a_digest_that_names_a_path_is_none() {
        for text in ["", "sha256:", "sha256:../../etc/passwd", "md5:00", &OF_NOTHING.to_uppercase()] {
            assert!(Digest::try_from(text.to_owned()).is_err(), "{text}");
        }
        assert!(Digest::try_from(OF_NOTHING.to_owned()).is_ok());
    }
}
