//! Mails as lines of `mails.ndjson` in the data folder: what a shop without a mail server has instead of one.
//!
//! Only the owner may read the file, since a mail holds what its recipient alone should see.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Channel, ChannelSpec, Letter, Outcome};
use crate::vocabulary::Env;

/// The file, in the data folder.
const FILE: &str = "mails.ndjson";
/// A file that grew larger makes room for a new one; one older is kept.
const BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The log channel: used as long as there is no mail server.
pub(super) const CHANNEL: ChannelSpec = ChannelSpec {
    name: "log",
    letters_max: 256,
    is_active: |config| config.smtp.is_none(),
    open: |capabilities| {
        Ok(Box::new(LogChannel {
            env: capabilities.env.clone(),
            sender: capabilities.config.notification.sender.as_str().into(),
            path: capabilities.config.data_dir.join(FILE).into(),
        }))
    },
};

struct LogChannel {
    env: Env,
    sender: Arc<str>,
    path: Arc<Path>,
}

impl Channel for LogChannel {
    fn deliver<'call>(
        &'call self,
        letters: &'call [Letter],
        _: &'call CancellationToken,
    ) -> BoxFuture<'call, Vec<Outcome>> {
        Box::pin(async move {
            let lines: String = letters.iter().map(|letter| self.line(letter)).collect();
            let path = Arc::clone(&self.path);
            let written = tokio::task::spawn_blocking(move || append(&path, lines.as_bytes())).await;
            let outcome = match written {
                Ok(Ok(())) => Outcome::Sent,
                Ok(Err(error)) => Outcome::Away { reason: format!("{}: {error}", self.path.display()) },
                Err(error) => Outcome::Away { reason: error.to_string() },
            };
            vec![outcome; letters.len()]
        })
    }
}

impl LogChannel {
    fn line(&self, letter: &Letter) -> String {
        let line = json!({
            "at": self.env.now(),
            "delivery_id": letter.id,
            "message_id": letter.message_id,
            "template": letter.template,
            "from": &*self.sender,
            "to": letter.to,
            "subject": letter.subject,
            "body": letter.body,
        });
        format!("{line}\n")
    }
}

/// All lines or none that count: they are on the disk when this answers. A torn last line of a crash is ended first.
fn append(path: &Path, lines: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
    if file.metadata()?.len() > BYTES_MAX {
        std::fs::rename(path, older(path))?;
        file = std::fs::OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
    }
    if is_torn(&file)? {
        file.write_all(b"\n")?;
    }
    file.write_all(lines)?;
    file.sync_data()
}

fn is_torn(file: &std::fs::File) -> std::io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let length = file.metadata()?.len();
    let Some(last) = length.checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("1.ndjson")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_torn_line_is_ended_and_only_the_owner_reads() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        append(&path, b"{\"a\":1}\n{\"tor").expect("written");
        append(&path, b"{\"b\":2}\n").expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "{\"a\":1}\n{\"tor\n{\"b\":2}\n");
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
