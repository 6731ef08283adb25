//! One process of a shop in pieces, from the outside: its pipes, its signals, its end.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::charter::{Charter, Directory, Told};
use super::roster::Seat;

/// The file in the data folder that takes what pieces say on stderr: panics, mostly.
const TALK_FILE: &str = "pieces.stderr";

/// A process that runs. It is killed when this is dropped.
pub(super) struct Process {
    child: Child,
    /// Kept open: its end tells the piece that the supervisor is gone.
    words: ChildStdin,
    told: Lines<BufReader<ChildStdout>>,
    /// Whether its standard output is open.
    has_more: bool,
    has_ended: bool,
    pid: u32,
}

/// What comes from a process.
pub(super) enum Heard {
    /// A line that is understood.
    Told(Told),
    /// Its end.
    End(io::Result<ExitStatus>),
}

impl Process {
    /// Starts the process for `seat` and hands it its charter. The command line says who it is and nothing else.
    pub(super) async fn start(seat: Seat, charter: &Charter) -> io::Result<Self> {
        let talk = OpenOptions::new().create(true).append(true).open(charter.data_dir.join(TALK_FILE))?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["piece", &seat.to_string(), "--output", "ndjson", "--quiet"])
            .env_remove("SHOPCTL_DATABASE_URL")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(talk)
            // Ctrl-C in the terminal is for the supervisor, who stops its pieces in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        let words = child.stdin.take().ok_or_else(missing)?;
        let told = BufReader::new(child.stdout.take().ok_or_else(missing)?).lines();
        let pid = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
        let mut process = Self { child, words, told, has_more: true, has_ended: false, pid };
        process.say(charter).await?;
        Ok(process)
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Tells it who answers for each service.
    pub(super) async fn tell(&mut self, directory: &Directory) -> io::Result<()> {
        self.say(directory).await
    }

    async fn say(&mut self, what: &impl serde::Serialize) -> io::Result<()> {
        let mut line = serde_json::to_string(what).map_err(io::Error::other)?;
        line.push('\n');
        self.words.write_all(line.as_bytes()).await?;
        self.words.flush().await
    }

    /// The next thing that comes from it. May be dropped and asked again.
    pub(super) async fn next(&mut self) -> Heard {
        loop {
            let line = tokio::select! {
                status = self.child.wait(), if !self.has_ended || !self.has_more => {
                    if !self.has_more {
                        return Heard::End(status);
                    }
                    // What it said last is still in the pipe.
                    self.has_ended = true;
                    continue;
                }
                line = self.told.next_line(), if self.has_more => line,
            };
            match line {
                Ok(Some(line)) => {
                    if let Ok(told) = serde_json::from_str(&line) {
                        return Heard::Told(told);
                    }
                }
                Ok(None) | Err(_) => self.has_more = false,
            }
        }
    }

    /// Waits for its end.
    pub(super) async fn end(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks it to end in order.
    pub(super) fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // Not reaped yet as long as this lives, so the number is nobody else's.
        if let (Some(_), Some(pid)) = (self.child.id(), i32::try_from(self.pid).ok().and_then(Pid::from_raw))
        {
            kill_process(pid, signal).ok();
        }
    }
}

/// Begins a new file for what pieces say on stderr.
pub(super) fn clear_talk(data_dir: &Path) -> io::Result<()> {
    std::fs::write(data_dir.join(TALK_FILE), "")
}

/// How a process ended, as a person says it.
pub(super) fn told_end(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with {code}"),
        (None, Some(signal)) => format!("signal {signal} ended it"),
        (None, None) => "it ended".to_owned(),
    }
}
