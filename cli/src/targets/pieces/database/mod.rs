//! The PostgreSQL of a shop in pieces, when nobody names one: made from the programs that are installed, in the data
//! folder, kept over restarts, stopped at the end.

pub mod at_rest;
mod decision;
mod guardian;
mod node;
mod probe;
mod roles;
mod session;
mod standby;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use platform::app::installed_postgres::{Installed, USER};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};
use crate::process;
use guardian::Guardian;
use node::{DATABASE, Node};
use roles::{Name, RolesFile};

/// The folder in the data folder.
const FOLDER: &str = "postgres";
/// How long making the shop's database may take.
const MAKE_MAX: Duration = Duration::from_secs(30);

/// Something that whoever runs the shop should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// A word for scripts: `primary_lost`.
    pub(super) what: &'static str,
    /// A sentence for people.
    pub(super) told: String,
    /// Whether it deserves a look.
    pub(super) is_alert: bool,
    /// How long what led to it took, by step, in milliseconds.
    pub(super) took: BTreeMap<String, u64>,
}

/// How the shop's own PostgreSQL is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseFacts {
    /// The node that writes.
    pub writer: String,
    /// Grows with every change of the writer.
    pub epoch: u64,
    /// The writer's server.
    pub writer_pid: Option<u32>,
    /// What the other node is: none, synchronous, or away.
    pub standby: String,
    /// The other node's server.
    pub standby_pid: Option<u32>,
}

/// A database of the shop's own that runs.
pub(crate) struct Database {
    nodes: [Node; 2],
    url: String,
    facts: watch::Receiver<DatabaseFacts>,
    stop: CancellationToken,
    guardian: JoinHandle<()>,
}

impl Database {
    /// Starts the database under `data_dir`; makes it when there is none. With a standby, answers once every write is on
    /// two nodes. Answers it with what happens to it from now on.
    pub(crate) async fn start(
        data_dir: &Path,
        wants_standby: bool,
    ) -> anyhow::Result<(Self, UnboundedReceiver<Notice>)> {
        let installed = Installed::find().map_err(missing)?;
        let folder = data_dir.join(FOLDER);
        make_folder(&installed, data_dir, &folder)?;
        let nodes = nodes(&installed, &folder);
        if !nodes[0].socket_fits() {
            return Err(too_deep(data_dir).into());
        }
        let url = format!("postgresql://{USER}@{},{}/{DATABASE}", nodes[0].host(), nodes[1].host());
        let (notices, heard) = unbounded_channel();
        let (sender, facts) = watch::channel(DatabaseFacts::default());
        let file = RolesFile::in_folder(&folder);
        let started = async {
            let mut guardian = Guardian::new(nodes.clone(), file, wants_standby, notices, sender)?;
            let server = guardian.start_writer().await?;
            let first = guardian.first_standby().await?;
            make_database(guardian.writer()).await?;
            Ok((guardian, server, first))
        };
        let (guardian, server, first) = started.await.map_err(|error| broken(data_dir, error))?;
        let stop = CancellationToken::new();
        let guardian = tokio::spawn(guardian.watch(server, first, stop.clone()));
        Ok((Self { nodes, url, facts, stop, guardian }, heard))
    }

    /// How it is, now and whenever that changes.
    pub(super) fn facts(&self) -> watch::Receiver<DatabaseFacts> {
        self.facts.clone()
    }

    /// Where the shop finds it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A program of PostgreSQL's, whose environment leads it to the server that writes.
    pub(crate) fn client(&self, name: &str) -> Command {
        self.writer().client(name)
    }

    /// Processor time so far of the processes of the server that writes. One that has ended counts no longer.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        let pids = self.writer().pids().ok()?;
        Some(pids.into_iter().filter_map(process::cpu_time).sum())
    }

    fn writer(&self) -> &Node {
        let [a, b] = &self.nodes;
        if self.facts.borrow().writer == b.name { b } else { a }
    }

    /// Stops it in order.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.guardian.await.ok();
    }
}

/// Both nodes in `folder`, whose ports number their sockets.
fn nodes(installed: &Installed, folder: &Path) -> [Node; 2] {
    let node = |name: Name, port| Node::new(name.word(), installed.clone(), folder, port);
    [node(Name::A, 5432), node(Name::B, 5433)]
}

/// The folder belongs to whoever the server runs as, and nobody else may look into it.
fn make_folder(installed: &Installed, data_dir: &Path, folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.and_then(|()| installed.give(folder))
        .and_then(|()| {
            // The folder of all environments is ours as well.
            let above = data_dir.parent().filter(|above| above.ends_with(".shopctl"));
            above.into_iter().chain([data_dir]).try_for_each(|folder| installed.let_through(folder))
        })
        .map_err(|error| broken(data_dir, error))?;
    match installed.barred(folder) {
        None => Ok(()),
        Some(barred) => Err(Failure::new(
            Exit::Preflight,
            "E-POSTGRES-FOLDER",
            format!("PostgreSQL runs as the user `postgres`, who may not enter {}", barred.display()),
        )
        .object(barred.display())
        .hint("name another folder with --data-dir, or run shopctl as an ordinary user")
        .into()),
    }
}

async fn make_database(node: &Node) -> io::Result<()> {
    let session = node.session(MAKE_MAX).await.map_err(io::Error::other)?;
    let known = format!("SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'");
    if session.value(&known).await.map_err(io::Error::other)?.is_none() {
        session.ask(&format!("CREATE DATABASE {DATABASE}")).await.map_err(io::Error::other)?;
    }
    Ok(())
}

fn missing(error: io::Error) -> Failure {
    let failure = Failure::new(Exit::Preflight, "E-POSTGRES", "there is no PostgreSQL to start");
    let hint = match error.kind() {
        io::ErrorKind::NotFound => {
            "install it (Debian: apt-get install postgresql); \
             `up` can also use one that runs: set SHOPCTL_DATABASE_URL"
        }
        _ => "`up` can also use one that runs: set SHOPCTL_DATABASE_URL",
    };
    failure.object("postgresql").hint(hint).because(error)
}

fn too_deep(data_dir: &Path) -> Failure {
    let message = "the data folder's path is too long for PostgreSQL's socket";
    Failure::new(Exit::Preflight, "E-POSTGRES-FOLDER", message)
        .object(data_dir.display())
        .hint("name a shorter one with --data-dir")
}

fn broken(data_dir: &Path, error: io::Error) -> Failure {
    let folder = data_dir.join(FOLDER);
    Failure::new(Exit::Preflight, "E-POSTGRES", "could not start the shop's own PostgreSQL")
        .object(folder.display())
        .hint(format!("its log is in {}", folder.display()))
        .because(error)
}
