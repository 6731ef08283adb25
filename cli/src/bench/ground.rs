//! A shop of its own for one measurement, in a process of its own, on a folder that is removed afterwards.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hyper::Method;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;

use crate::config::Engine;
use crate::failure::{Exit, Failure};
use crate::targets::local::launch::{Launched, Life, launch};
use crate::wire::Connection;

/// How long a shop may take to become ready before the measurement gives up.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a shop may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How the folders of measurements are called; the number of their process follows.
const PREFIX: &str = "bench-";

/// Where and on what a measurement takes place.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The folder that the measurement's own folders are made in.
    pub folder: PathBuf,
    /// What keeps the data.
    pub engine: Engine,
}

/// A data folder that is removed at the end.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

/// A shop that runs; it is stopped when this is dropped.
#[derive(Debug)]
pub(super) struct Shop {
    launched: Launched,
}

impl Ground {
    /// A fresh data folder. Folders of measurements that were killed are removed on the way.
    pub(super) fn folder(&self, name: &str) -> Folder {
        self.sweep();
        Folder(self.folder.join(format!("{PREFIX}{}-{name}", std::process::id())))
    }

    fn sweep(&self) {
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let owner =
                name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok());
            let is_gone = owner.and_then(Pid::from_raw).is_some_and(|pid| test_kill_process(pid).is_err());
            if is_gone {
                drop(Folder(entry.path()));
            }
        }
    }

    /// Starts a shop on `folder`, without rate limits and with `more` words, and waits until it is ready.
    pub(super) fn start(&self, folder: &Folder, more: &[&str]) -> anyhow::Result<Shop> {
        let engine = self.engine.to_string();
        let words = ["--port", "0", "--limits", "none", "--engine", &engine];
        let words: Vec<OsString> = words.iter().chain(more).map(OsString::from).collect();
        let launched = launch(&folder.0, &words, Life::Parent, START_TIMEOUT, |_| ())?;
        Ok(Shop { launched })
    }
}

impl Folder {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left for a person to look at.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

impl Shop {
    /// Where it answers.
    pub(super) fn url(&self) -> String {
        self.launched.text("/url")
    }

    /// The process.
    pub(super) fn pid(&self) -> u32 {
        self.launched.child.id()
    }

    /// The moment before its process was made.
    pub(super) fn began(&self) -> Instant {
        self.launched.began
    }

    /// From the making of its process to its `ready`.
    pub(super) fn took(&self) -> Duration {
        self.launched.took
    }

    /// A word of what it told when it was ready.
    pub(super) fn word(&self, pointer: &str) -> String {
        self.launched.text(pointer)
    }

    /// Signs in as the admin that this start made: an access token.
    pub(super) async fn admin_token(&self) -> anyhow::Result<String> {
        let admin = json!({
            "email": self.launched.text("/admin/email"),
            "password": self.launched.text("/admin/password"),
        });
        let mut connection = Connection::open(&self.url()).await?;
        let reply = connection.send(Method::POST, "/v1/auth/login", &[], Some(&admin)).await?;
        let token = reply.json()["access_token"].as_str().map(str::to_owned);
        token.with_context(|| format!("could not sign in as the admin: {} {}", reply.status, reply.text()))
    }

    /// Signs in as the admin that this start made, and adds `quantity` of each of `skus` to the stock.
    pub(super) async fn receive_stock(&self, skus: &[String], quantity: u64) -> anyhow::Result<()> {
        let token = self.admin_token().await?;
        let mut connection = Connection::open(&self.url()).await?;
        let bearer = format!("Bearer {token}");
        for sku in skus {
            let path = format!("/v1/admin/stock/{sku}/receive");
            let key = format!("bench-{}-{sku}", self.pid());
            let headers = [("authorization", bearer.as_str()), ("idempotency-key", key.as_str())];
            let body = json!({"quantity": quantity, "reason": "bench"});
            let reply = connection.send(Method::POST, &path, &headers, Some(&body)).await?;
            anyhow::ensure!(
                reply.status.is_success(),
                "could not receive stock of {sku}: {} {}",
                reply.status,
                reply.text()
            );
        }
        Ok(())
    }

    /// Asks it to stop, and waits until it has.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        ask_to_stop(&self.launched.child);
        let began = Instant::now();
        while self.launched.child.try_wait()?.is_none() {
            if began.elapsed() > STOP_TIMEOUT {
                return Err(
                    Failure::new(Exit::Timeout, "E-BENCH-STOP", "the shop did not stop in time").into()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // Gone already when it was stopped; otherwise the measurement failed and nobody needs it any more.
        self.launched.child.kill().ok();
        self.launched.child.wait().ok();
    }
}

fn ask_to_stop(child: &Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // A process that is gone meanwhile is what was wanted.
        kill_process(pid, Signal::TERM).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_dead_are_swept_and_those_of_the_living_stay() {
        let folder = tempfile::tempdir().unwrap();
        let ground = Ground { folder: folder.path().to_owned(), engine: Engine::Sqlite };
        let make = |name: String| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let dead = make(format!("bench-{}-start", i32::MAX - 1));
        let living = make(format!("bench-{}-start", std::process::id()));
        let other = make("local".to_owned());
        ground.sweep();
        assert!(!dead.exists() && living.exists() && other.exists());
    }
}
