//! The built binary in a folder of its own, with nothing of the caller's environment that it would read.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long anything may take on a busy test machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder to run `shopctl` in.
pub(crate) struct Project {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

/// What came out of a run.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Project {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), variables: Vec::new() }
    }

    /// A folder with this `shop.toml`.
    pub(crate) fn with_config(text: &str) -> Self {
        let project = Self::new();
        project.write("shop.toml", text);
        project
    }

    /// Sets a variable of the environment for all runs.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("a file");
    }

    /// The command, ready to run with `words`.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shopctl"));
        command.args(words).current_dir(self.path());
        for (name, _) in std::env::vars() {
            if name.starts_with("SHOPCTL_")
                || matches!(name.as_str(), "NO_COLOR" | "CI" | "COLUMNS" | "TERM" | "BROWSER" | "DISPLAY")
            {
                command.env_remove(name);
            }
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `shopctl LINE` to its end. Words are split at spaces.
    pub(crate) fn run(&self, line: &str) -> Ran {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        self.run_words(&words)
    }

    /// Runs `shopctl` with these words to its end, which must come in time.
    pub(crate) fn run_words(&self, words: &[&str]) -> Ran {
        let mut command = self.command(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("shopctl starts");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
        let (sender, output) = channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        let output = output.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            kill_process(pid, Signal::KILL).ok();
            panic!("shopctl {words:?} does not end");
        });
        let Output { status, stdout, stderr } = output.expect("shopctl runs");
        let text =
            |bytes: Vec<u8>| String::from_utf8(bytes).expect("text").replace(self.folder_text(), "[DIR]");
        Ran { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
    }

    fn folder_text(&self) -> &str {
        self.path().to_str().expect("a readable path")
    }
}

impl Ran {
    /// Code, stdout and stderr as one picture.
    pub(crate) fn picture(&self) -> String {
        format!("exit {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }

    /// stdout as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {}", self.picture()))
    }
}

/// Hides what differs from run to run.
pub(crate) fn steady(body: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "[RUN]");
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[TIME]");
    settings.add_filter(r"127\.0\.0\.1:\d{2,5}", "127.0.0.1:[PORT]");
    settings.bind(body);
}
