//! A shop that `shopctl up` runs, in a process of its own; gone when the test is.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::shopctl::{PATIENCE, Project};

/// A shop that runs.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    /// What it told until it was ready, the event `ready` last.
    pub(crate) told: Vec<Value>,
}

impl Running {
    /// `shopctl up -o ndjson --port 0` with `words` after it, ready.
    pub(crate) fn up(project: &Project, words: &[&str]) -> Self {
        let all = [&["up", "-o", "ndjson", "--port", "0"], words].concat();
        let mut running = Self::begin(project, &all);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = running.lines.recv_timeout(left).expect("a `ready` in time");
            let event: Value = serde_json::from_str(&line).expect("an event a line");
            let is_ready = event["event"] == "ready";
            assert_ne!(event["event"], "failed", "{event}");
            running.told.push(event);
            if is_ready {
                return running;
            }
        }
    }

    /// `shopctl WORDS`, whatever it does.
    pub(crate) fn begin(project: &Project, words: &[&str]) -> Self {
        let mut child = project
            .command(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("shopctl starts");
        let stdout = child.stdout.take().expect("a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, told: Vec::new() }
    }

    /// The event `ready`.
    pub(crate) fn ready(&self) -> &Value {
        self.told.last().expect("it is ready")
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        self.ready()["url"].as_str().expect("an address").to_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("a signal arrives");
    }

    /// The next line of stdout.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line in time")
    }

    /// Waits for its end: the exit code and the rest of stdout.
    pub(crate) fn end(mut self) -> (i32, Vec<String>) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        (status.code().unwrap_or(-1), self.lines.try_iter().chain(self.lines.iter()).collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
