//! Starts a shop in a process of its own and waits until it is ready.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use crate::failure::{Exit, Failure};

/// The file in the data folder that takes what a background shop says on stderr.
const TALK_FILE: &str = "up.stderr";

/// A shop in another process, ready.
#[derive(Debug)]
pub struct Launched {
    /// The process.
    pub child: Child,
    /// Its `ready` event.
    pub ready: Value,
    /// From just before the process was made to the event.
    pub took: Duration,
    /// The moment just before the process was made.
    pub began: Instant,
}

impl Launched {
    /// A field of the `ready` event, as text.
    #[must_use]
    pub fn text(&self, pointer: &str) -> String {
        self.ready.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

/// How long a launched shop lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Life {
    /// Until it is stopped: it outlives the process that started it and its terminal.
    Own,
    /// As long as the process that started it.
    Parent,
}

impl Life {
    /// Takes up this life: called by the launched process, first thing.
    pub fn begin(self) {
        match self {
            // Fails only in a process that leads its group already, and then there is nothing to do.
            Self::Own => drop(rustix::process::setsid()),
            // Where the system cannot do this, the parent's own care has to suffice.
            Self::Parent => {
                #[cfg(target_os = "linux")]
                rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).ok();
            }
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Parent => "parent",
        }
    }
}

/// Starts `shopctl up WORDS` on `data_dir` and waits up to `timeout` for its `ready` event, showing each
/// event before it to `on_event`.
///
/// # Errors
/// What the shop said went wrong, or that time ran out; the process is then gone.
pub fn launch(
    data_dir: &Path,
    words: &[OsString],
    life: Life,
    timeout: Duration,
    mut on_event: impl FnMut(&Value),
) -> anyhow::Result<Launched> {
    let mut command = command(data_dir, words, life)?;
    let began = Instant::now();
    let mut child = command.spawn().context("could not start a process of shopctl")?;
    let events = events_of(&mut child);
    loop {
        let left = timeout.saturating_sub(began.elapsed());
        match events.recv_timeout(left) {
            Ok(event) if event["event"] == "ready" => {
                return Ok(Launched { child, ready: event, took: began.elapsed(), began });
            }
            Ok(event) if event["event"] == "failed" => {
                child.wait().ok();
                return Err(retold(&event, data_dir));
            }
            Ok(event) => on_event(&event),
            Err(RecvTimeoutError::Timeout) => {
                child.kill().ok();
                child.wait().ok();
                return Err(late(timeout, data_dir));
            }
            Err(RecvTimeoutError::Disconnected) => return Err(ended(child.wait()?, data_dir)),
        }
    }
}

fn command(data_dir: &Path, words: &[OsString], life: Life) -> anyhow::Result<Command> {
    std::fs::create_dir_all(data_dir)
        .with_context(|| format!("could not make the data folder {}", data_dir.display()))?;
    let talk = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(data_dir.join(TALK_FILE))
        .with_context(|| format!("could not write into {}", data_dir.display()))?;
    let binary = std::env::current_exe().context("could not tell where shopctl is")?;
    let mut command = Command::new(binary);
    command
        .args(["up", "--output", "ndjson", "--life", life.word(), "--data-dir"])
        .arg(data_dir)
        .args(words)
        .env_remove("SHOPCTL_DETACH")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(talk);
    Ok(command)
}

/// The child's events as they come. The thread ends with the child's stdout.
fn events_of(child: &mut Child) -> Receiver<Value> {
    let (sender, receiver) = channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                let Ok(event) = serde_json::from_str(&line) else { continue };
                if sender.send(event).is_err() {
                    break;
                }
            }
        });
    }
    receiver
}

/// The child's own failure, told as ours.
fn retold(event: &Value, data_dir: &Path) -> anyhow::Error {
    let exit = event["exit"].as_u64().and_then(Exit::from_code).unwrap_or(Exit::Internal);
    let error = &event["errors"][0];
    let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
    let failure = Failure::new(exit, "E-UP", text("message")).object(data_dir.display());
    match error["hint"].as_str() {
        Some(hint) => failure.hint(hint).into(),
        None => failure.into(),
    }
}

fn late(timeout: Duration, data_dir: &Path) -> anyhow::Error {
    let message = format!("the shop was not ready within {} s, and was stopped", timeout.as_secs());
    Failure::new(Exit::Timeout, "E-UP-LATE", message)
        .object(data_dir.display())
        .hint("`shopctl logs` shows how far it came; --timeout gives it longer")
        .into()
}

fn ended(status: ExitStatus, data_dir: &Path) -> anyhow::Error {
    let talk = std::fs::read_to_string(data_dir.join(TALK_FILE)).unwrap_or_default();
    let exit = status.code().and_then(|code| Exit::from_code(u64::try_from(code).ok()?));
    let failure = Failure::new(
        exit.unwrap_or(Exit::Internal),
        "E-UP-ENDED",
        format!("the shop ended before it was ready ({status})"),
    )
    .object(data_dir.display())
    .hint(format!("what it said is in {}", data_dir.join(TALK_FILE).display()));
    match talk.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => failure.because(anyhow::Error::msg(line.to_owned())).into(),
        None => failure.into(),
    }
}
