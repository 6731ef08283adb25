//! The thread that writes log lines, and the bounded way to it.

use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

/// Lines that may wait.
const LINES_MAX: usize = 4096;

enum Message {
    Line(Arc<str>),
    Flush(SyncSender<()>),
}

/// Hands lines to the thread. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct WriterQueue {
    lines: SyncSender<Message>,
    dropped: Counter,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl WriterQueue {
    /// Queues a line, or drops and counts it.
    pub(super) fn push(&self, line: Arc<str>) {
        if self.lines.try_send(Message::Line(line)).is_err() {
            self.dropped.inc();
        }
    }
}

/// The running thread. It ends when every queue to it is gone.
#[derive(Debug)]
pub(super) struct Writer {
    queue: WriterQueue,
}

impl Writer {
    pub(super) fn start(out: impl Write + Send + 'static, dropped: Counter) -> Self {
        let (lines, received) = sync_channel(LINES_MAX);
        let counter = dropped.clone();
        let thread = std::thread::Builder::new().name("log-writer".to_owned());
        // Without the thread every line finds its queue closed, and is counted as dropped.
        let _ = thread.spawn(move || write_all(BufWriter::new(out), &received, &counter));
        Self { queue: WriterQueue { lines, dropped } }
    }

    pub(super) fn queue(&self) -> WriterQueue {
        self.queue.clone()
    }

    /// Whether all lines queued before this were written within `patience`.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let (done, finished) = sync_channel(1);
        let mut message = Message::Flush(done);
        loop {
            match self.queue.lines.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(back)) if Instant::now() < deadline => {
                    message = back;
                    std::thread::yield_now();
                }
                Err(TrySendError::Full(_)) => return false,
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        !matches!(
            finished.recv_timeout(left),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)
        )
    }
}

/// Writes what there is, then flushes and waits for more. A line that the disk refuses is counted and forgotten:
/// the shop goes on without logs rather than not at all.
fn write_all(mut out: impl Write, received: &Receiver<Message>, dropped: &Counter) {
    let mut whole = String::new();
    while let Ok(first) = received.recv() {
        let mut next = Some(first);
        while let Some(message) = next {
            let outcome = match message {
                // In one piece, so that a buffer that is written holds whole lines only.
                Message::Line(line) => {
                    whole.clear();
                    whole.push_str(&line);
                    whole.push('\n');
                    out.write_all(whole.as_bytes())
                }
                Message::Flush(done) => {
                    let outcome = out.flush();
                    let _ = done.send(());
                    outcome
                }
            };
            if outcome.is_err() {
                dropped.inc();
            }
            next = received.try_recv().ok();
        }
        if out.flush().is_err() {
            dropped.inc();
        }
    }
}
