//! The statement's journal: an append-only file, one frame per change, many frames per fsync.
//!
//! Why a journal and not a table: the sandbox answers two calls per order beside the shop on the same cores, and a
//! frame costs a fraction of a transaction in time and nothing in memory but its place. A frame is
//! `length, checksum, payload`; after a crash the file is read up to the first frame that is not whole, and what
//! follows was never acknowledged. The file grows in steps of zeros, so that a sync writes data and no metadata.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use tokio::sync::watch;

/// The magic first bytes of a journal, with its version.
const HEADER: &[u8; 8] = b"fakepay1";
const FRAME_HEAD: u64 = 12;
const FRAME_BYTES_MAX: u32 = 1 << 20;
const GROW_BYTES: u64 = 1 << 20;

/// Where a frame begins in the file.
pub(super) type Offset = u64;

/// Why the journal cannot go on.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the statement's journal failed: {0}")]
pub(super) struct JournalError(String);

/// Appends frames and tells how far the file is durable. Shared by all requests.
#[derive(Debug)]
pub(super) struct Journal {
    file: Arc<File>,
    jobs: Sender<Job>,
    durable: watch::Receiver<Durable>,
}

type Durable = Result<Offset, JournalError>;

enum Job {
    Frame {
        bytes: Vec<u8>,
        end: Offset,
        /// Whether somebody waits until it survives a crash.
        is_awaited: bool,
    },
    Close,
}

/// What a file held when it was opened.
pub(super) struct Opened {
    /// The journal, ready for more.
    pub(super) journal: Journal,
    /// Where the next frame goes.
    pub(super) end: Offset,
}

impl Journal {
    /// Opens or makes the file at `path`, hands every whole frame to `replay`, and starts the writer. A second
    /// process on the same file is refused.
    pub(super) fn open(
        path: &Path,
        mut replay: impl FnMut(Offset, &[u8]) -> io::Result<()>,
    ) -> io::Result<Opened> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(|_| {
            io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("another process holds {}: end it first, or give another folder", path.display()),
            )
        })?;
        // A crash at the very first start may have left less than the header.
        if file.metadata()?.len() < HEADER.len() as u64 {
            file.set_len(0)?;
            file.write_all(HEADER)?;
            file.sync_all()?;
            if let Some(folder) = path.parent() {
                File::open(folder)?.sync_all()?;
            }
        }
        file.rewind()?;
        let end = read_frames(&mut file, path, &mut replay)?;
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        let file = Arc::new(file);
        let (jobs, queue) = mpsc::channel();
        let (told, durable) = watch::channel(Ok(end));
        let writer = Writer { file: Arc::clone(&file), end, size: end };
        std::thread::Builder::new().name("fakepay-journal".to_owned()).spawn(move || {
            writer.run(&queue, &told);
        })?;
        Ok(Opened { journal: Self { file, jobs, durable }, end })
    }

    /// Queues a frame that begins at `at`, and answers where the next begins. The caller holds the lock that orders
    /// frames. Durable only after [`Journal::durable_to`].
    pub(super) fn append(&self, at: Offset, payload: &[u8]) -> Offset {
        self.queue(at, payload, true)
    }

    /// As [`Journal::append`], for what nobody waits for: it is written, and synced with the next frame that somebody
    /// waits for.
    pub(super) fn append_lazily(&self, at: Offset, payload: &[u8]) -> Offset {
        self.queue(at, payload, false)
    }

    fn queue(&self, at: Offset, payload: &[u8], is_awaited: bool) -> Offset {
        let bytes = frame(payload);
        let end = at + bytes.len() as u64;
        // When the writer is gone its last word, an error, waits in `durable`.
        self.jobs.send(Job::Frame { bytes, end, is_awaited }).ok();
        end
    }

    /// Waits until everything before `end` survives a crash.
    pub(super) async fn durable_to(&self, end: Offset) -> Result<(), JournalError> {
        let mut durable = self.durable.clone();
        let reached = durable
            .wait_for(|so_far| so_far.as_ref().map_or(true, |so_far| *so_far >= end))
            .await
            .map_err(|_| JournalError("its writer stopped".to_owned()))?;
        reached.as_ref().map(drop).map_err(Clone::clone)
    }

    /// Writes what waits and lets go of the file, so that it can be opened again.
    pub(super) async fn close(&self) {
        self.jobs.send(Job::Close).ok();
        let mut durable = self.durable.clone();
        durable.wait_for(Result::is_err).await.map(drop).ok();
    }

    /// The payload of the frame at `at`, which must be durable.
    pub(super) fn read(&self, at: Offset) -> io::Result<Vec<u8>> {
        read_frame(&self.file, at)
    }
}

/// Hands every whole frame of the journal at `path` to `replay`, and leaves the file as it is: for a reader beside the
/// process that holds it, or after it. What a crash cut off is left out, as the next start will. Answers the file.
pub(super) fn read_only(
    path: &Path,
    mut replay: impl FnMut(Offset, &[u8]) -> io::Result<()>,
) -> io::Result<File> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() >= HEADER.len() as u64 {
        read_frames(&mut file, path, &mut replay)?;
    }
    Ok(file)
}

/// The payload of the frame at `at`.
pub(super) fn read_frame(file: &File, at: Offset) -> io::Result<Vec<u8>> {
    let mut head = [0; FRAME_HEAD as usize];
    file.read_exact_at(&mut head, at)?;
    let (length, checksum) = parse_head(&head);
    if length == 0 || length > FRAME_BYTES_MAX {
        return Err(damaged(at));
    }
    let mut payload = vec![0; length as usize];
    file.read_exact_at(&mut payload, at + FRAME_HEAD)?;
    if fnv1a(&payload) == checksum { Ok(payload) } else { Err(damaged(at)) }
}

/// Writes `payloads` as a new journal beside `path` and puts it in its place: a crash leaves the old or the new.
pub(super) fn rewrite(path: &Path, payloads: impl Iterator<Item = io::Result<Vec<u8>>>) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = io::BufWriter::new(File::create(&partial)?);
    file.write_all(HEADER)?;
    for payload in payloads {
        file.write_all(&frame(&payload?))?;
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    std::fs::rename(&partial, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

struct Writer {
    file: Arc<File>,
    /// Where the data ends.
    end: Offset,
    /// Where the file ends: zeros lie between.
    size: Offset,
}

impl Writer {
    /// Works until the journal is dropped. After a failed write or sync nobody knows what the disk holds, so the
    /// first failure is final.
    fn run(mut self, queue: &Receiver<Job>, told: &watch::Sender<Durable>) {
        let mut bytes = Vec::with_capacity(64 << 10);
        let mut open = true;
        while open && let Ok(first) = queue.recv() {
            bytes.clear();
            let mut next = Some(first);
            // The end is synced too, so that what was delivered is not delivered again.
            let (mut end, mut syncs) = (self.end, false);
            while let Some(job) = next {
                let Job::Frame { bytes: frame, end: after, is_awaited } = job else {
                    (open, syncs) = (false, true);
                    break;
                };
                bytes.extend_from_slice(&frame);
                end = after;
                syncs |= is_awaited;
                next = queue.try_recv().ok();
            }
            if let Err(error) = self.write(&bytes, syncs) {
                tracing::error!(%error, "the sandbox provider cannot write its statement");
                drop(told.send_replace(Err(JournalError(error.to_string()))));
                return;
            }
            if syncs {
                drop(told.send_replace(Ok(end)));
            }
        }
        self.file.set_len(self.end).ok();
        self.file.unlock().ok();
        drop(told.send_replace(Err(JournalError("it is closed".to_owned()))));
    }

    fn write(&mut self, bytes: &[u8], syncs: bool) -> io::Result<()> {
        let end = self.end + bytes.len() as u64;
        if end > self.size {
            let size = end.next_multiple_of(GROW_BYTES);
            let zeros = vec![0; (size - self.size) as usize];
            self.file.write_all_at(&zeros, self.size)?;
            self.size = size;
        }
        self.file.write_all_at(bytes, self.end)?;
        if syncs {
            self.file.sync_data()?;
        }
        self.end = end;
        Ok(())
    }
}

fn read_frames(
    file: &mut File,
    path: &Path,
    replay: &mut impl FnMut(Offset, &[u8]) -> io::Result<()>,
) -> io::Result<Offset> {
    let mut reader = BufReader::with_capacity(256 << 10, &mut *file);
    let mut header = [0; HEADER.len()];
    reader.read_exact(&mut header)?;
    if header != *HEADER {
        let why = format!("{} is not a statement of this sandbox: move it away", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let mut at = HEADER.len() as u64;
    let mut payload = Vec::new();
    let mut head = [0; FRAME_HEAD as usize];
    loop {
        if reader.read_exact(&mut head).is_err() {
            return Ok(at);
        }
        let (length, checksum) = parse_head(&head);
        if length == 0 || length > FRAME_BYTES_MAX {
            return Ok(at);
        }
        payload.resize(length as usize, 0);
        if reader.read_exact(&mut payload).is_err() || fnv1a(&payload) != checksum {
            return Ok(at);
        }
        replay(at, &payload)?;
        at += FRAME_HEAD + u64::from(length);
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + FRAME_HEAD as usize);
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&fnv1a(payload).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn parse_head(head: &[u8; FRAME_HEAD as usize]) -> (u32, u64) {
    let (length, checksum) = head.split_at(4);
    let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
    (length, u64::from_le_bytes(checksum.try_into().expect("eight bytes")))
}

fn damaged(at: Offset) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the frame at byte {at} is damaged"))
}

/// FNV-1a: tells a torn frame from a whole one; no guard against malice is needed in one's own file.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> (Opened, Vec<Vec<u8>>) {
        let mut frames = Vec::new();
        let opened = Journal::open(path, |_, payload| {
            frames.push(payload.to_vec());
            Ok(())
        })
        .unwrap();
        (opened, frames)
    }

    #[tokio::test]
    async fn what_was_durable_is_read_again_and_a_torn_tail_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (first, frames) = open(&path);
        assert!(frames.is_empty());
        let next = first.journal.append(first.end, b"one");
        let end = first.journal.append(next, b"two");
        first.journal.durable_to(end).await.unwrap();
        assert_eq!(first.journal.read(next).unwrap(), b"two");
        // The file as a crash in the middle of the next frame would leave it: zeros behind the data, half a frame.
        let mut bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() as u64 > end, "the file is grown ahead");
        bytes[end as usize..end as usize + 6].copy_from_slice(&frame(b"torn")[..6]);
        let torn = folder.path().join("torn");
        std::fs::write(&torn, &bytes).unwrap();
        let (second, frames) = open(&torn);
        assert_eq!(frames, [b"one".to_vec(), b"two".to_vec()]);
        assert_eq!(second.end, end);
    }

    #[tokio::test]
    async fn what_nobody_waited_for_is_read_again_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (first, _) = open(&path);
        let next = first.journal.append_lazily(first.end, b"note");
        let end = first.journal.append(next, b"awaited");
        first.journal.durable_to(end).await.unwrap();
        first.journal.append_lazily(end, b"last");
        first.journal.close().await;
        drop(first);
        let (_second, frames) = open(&path);
        assert_eq!(frames, [b"note".to_vec(), b"awaited".to_vec(), b"last".to_vec()]);
    }

    #[test]
    fn a_second_process_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (_held, _) = open(&path);
        let second = Journal::open(&path, |_, _| Ok(())).map(drop).unwrap_err();
        assert!(second.to_string().contains("another process holds"), "{second}");
    }
}
