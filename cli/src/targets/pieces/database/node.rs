//! One PostgreSQL server of ours: its folder, its socket, its processes.
//!
//! It listens on a socket in a folder that only its owner can enter, and on no port: whoever reaches it may do
//! everything. Its settings stand on its command line, so that copying a data folder from one node to the other never
//! copies who a node is.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use platform::app::installed_postgres::{Installed, USER};
use platform::client::escaped;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command as AsyncCommand};
use tokio::time::{Instant, sleep, timeout};

use super::session::{Session, Silence};

/// The shop's database in the cluster.
pub(super) const DATABASE: &str = "shop";
/// How long a server may take until it answers: after a crash it replays its log first.
const START_MAX: Duration = Duration::from_secs(120);
/// How long an orderly stop may take: the last checkpoint writes what is not written yet.
const STOP_MAX: Duration = Duration::from_secs(20);
/// How long processes that were killed may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(10);
/// The longest path of a socket that systems take.
const SOCKET_PATH_MAX: usize = 103;

/// The data in the folder where they are made.
const MADE: &str = "data";

/// Ends the server when the pipe to whoever started it closes, so that none is left behind when that one is killed.
const KEEPER: &str = r#"read -r server || exit
read -r word
[ "$word" = done ] && exit
kill -QUIT "$server" || exit
looks=0
while [ "$looks" -lt 30 ] && kill -0 "$server"; do sleep 0.1; looks=$((looks + 1)); done
kill -KILL "$server""#;

/// Becomes the server once it is told to, and not when whoever would tell it is gone.
const BEGINNER: &str = r#"read -r word && exec "$@" </dev/null"#;

/// Where a server lives.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// `a` or `b`.
    pub(super) name: &'static str,
    installed: Installed,
    folder: PathBuf,
    /// Numbers the socket; nothing listens on a port.
    port: u16,
}

/// A server that runs.
#[derive(Debug)]
pub(super) struct Server {
    child: Box<Child>,
    keeper: Box<Child>,
}

impl Node {
    /// The node `name` in `folder`, whose socket has `port`.
    pub(super) fn new(name: &'static str, installed: Installed, folder: &Path, port: u16) -> Self {
        Self { name, installed, folder: folder.to_owned(), port }
    }

    /// The folder of its data.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.join(self.name)
    }

    /// The folder that holds its data, its log and its socket.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where data is made or ended: nothing there is ever taken for a cluster.
    pub(super) fn partial(&self) -> PathBuf {
        self.folder.join(format!("{}.partial", self.name))
    }

    /// Where it logs.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    /// Its place in a URL with several hosts.
    pub(super) fn host(&self) -> String {
        format!("{}:{}", escaped(&self.folder.display().to_string()), self.port)
    }

    /// How PostgreSQL's own programs find it, when they come for `caller`.
    pub(super) fn conninfo(&self, caller: &str) -> String {
        let folder = self.folder.display().to_string().replace('\\', "\\\\").replace('\'', "\\'");
        format!("host='{folder}' port={} user={USER} application_name={caller}", self.port)
    }

    /// A program of PostgreSQL's, as the server's user.
    pub(super) fn program(&self, name: &str) -> Command {
        self.installed.command(name, &self.folder)
    }

    /// A program of PostgreSQL's, as the server's user, whose environment leads it to this server.
    pub(super) fn client(&self, name: &str) -> Command {
        let mut command = self.program(name);
        command.env("PGHOST", &self.folder).env("PGPORT", self.port.to_string()).env("PGUSER", USER);
        command
    }

    /// Gives a file to the server's user.
    pub(super) fn give(&self, path: &Path) -> io::Result<()> {
        self.installed.give(path)
    }

    /// Whether the socket's path is one that the system takes.
    pub(super) fn socket_fits(&self) -> bool {
        self.folder.join(format!(".s.PGSQL.{}", self.port)).as_os_str().len() <= SOCKET_PATH_MAX
    }

    /// Whether there is a cluster.
    pub(super) fn exists(&self) -> bool {
        self.data().join("PG_VERSION").exists()
    }

    /// Makes an empty cluster.
    pub(super) fn make(&self) -> io::Result<()> {
        let partial = self.make_partial()?;
        self.installed.make_cluster(&partial, true)?;
        self.keep_partial()
    }

    /// Where to make its data, whatever was left there before. The folder above is there, and whoever works in that is
    /// fenced like one who works in the data.
    pub(super) fn make_partial(&self) -> io::Result<PathBuf> {
        let partial = self.partial();
        remove_folder(&partial)?;
        fs::DirBuilder::new().mode(0o700).create(&partial)?;
        self.installed.give(&partial)?;
        Ok(partial.join(MADE))
    }

    /// What was made is whole, and on the disk: from now on it is the node's data.
    pub(super) fn keep_partial(&self) -> io::Result<()> {
        let made = self.partial().join(MADE);
        sync_folder(&made)?;
        fs::rename(made, self.data())?;
        sync_folder(&self.folder)?;
        remove_folder(&self.partial())
    }

    /// Removes its data, if there is any. One that is cut off leaves nothing that looks like a cluster.
    pub(super) fn discard(&self) -> io::Result<()> {
        remove_folder(&self.partial())?;
        match fs::rename(self.data(), self.partial()) {
            Ok(()) => sync_folder(&self.folder)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        remove_folder(&self.partial())
    }

    /// A conversation with its database.
    pub(super) async fn session(&self, deadline: Duration) -> Result<Session, Silence> {
        Session::open(&self.folder, self.port, "postgres", deadline).await
    }

    /// Starts it with `settings` beside its own, and waits until it answers.
    pub(super) async fn start(&self, settings: &[(&str, String)]) -> io::Result<Server> {
        self.end_leftovers().await?;
        let mut server = self.spawn(settings).await?;
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Some(status) = server.child.try_wait()? {
                server.dismiss_keeper().await;
                return Err(io::Error::other(format!(
                    "PostgreSQL did not start ({status}): {}",
                    self.last_words()
                )));
            }
            if self.session(Duration::from_secs(1)).await.is_ok() {
                return Ok(server);
            }
            if Instant::now() > deadline {
                server.kill(self).await?;
                return Err(io::Error::other(format!(
                    "PostgreSQL did not answer within {} s: {}",
                    START_MAX.as_secs(),
                    self.last_words()
                )));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn spawn(&self, settings: &[(&str, String)]) -> io::Result<Server> {
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        // The keeper knows the server before that may begin: whenever we are killed, somebody ends it.
        let mut keeper = self.installed.as_account(Command::new("sh"), &self.folder);
        keeper
            .args(["-c", KEEPER, "keeper", self.name])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut keeper = Box::new(AsyncCommand::from(keeper).spawn()?);
        let mut command = self.installed.as_account(Command::new("sh"), &self.folder);
        command.args(["-c", BEGINNER, "beginner"]).arg(self.installed.binaries().join("postgres"));
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        let own = [
            ("listen_addresses", String::new()),
            ("unix_socket_directories", self.folder.display().to_string()),
            ("cluster_name", format!("shop_{}", self.name)),
            ("max_connections", "200".to_owned()),
            ("wal_level", "replica".to_owned()),
            ("max_wal_senders", "8".to_owned()),
            ("wal_keep_size", "256MB".to_owned()),
            ("max_slot_wal_keep_size", "2GB".to_owned()),
        ];
        for (name, value) in own
            .iter()
            .map(|(name, value)| (*name, value))
            .chain(settings.iter().map(|(name, value)| (*name, value)))
        {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let mut child = AsyncCommand::from(command).spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("PostgreSQL ended at once"))?;
        say(keeper.stdin.as_mut(), &format!("{pid}\n")).await?;
        say(child.stdin.take().as_mut(), "begin\n").await?;
        Ok(Server { child: Box::new(child), keeper })
    }

    /// The end of its log.
    pub(super) fn last_words(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(2_000)..]).into_owned();
        let telling = |line: &&str| ["FATAL", "PANIC", "ERROR"].iter().any(|word| line.contains(word));
        let line = text.lines().rev().find(telling).or_else(|| text.lines().last());
        line.unwrap_or("it said nothing").to_owned()
    }

    /// Every process that works in its data folder, or where that is made: the server and all it started, whoever
    /// started that.
    pub(super) fn pids(&self) -> io::Result<Vec<u32>> {
        let mut folders = Vec::new();
        for folder in [self.data(), self.partial()] {
            match fs::canonicalize(folder) {
                Ok(folder) => folders.push(folder),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let works_there = |at: PathBuf| folders.iter().any(|folder| at.starts_with(folder));
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            if fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(&works_there) {
                found.push(pid);
            }
        }
        Ok(found)
    }

    /// Kills every process that works in its data folder and waits until the last is gone: afterwards nothing can be
    /// written there. It works on frozen ones, and on those that an earlier supervisor left behind.
    pub(super) async fn fence(&self) -> io::Result<usize> {
        let deadline = Instant::now() + GONE_MAX;
        let mut killed = 0;
        loop {
            let pids = self.pids()?;
            if pids.is_empty() {
                return Ok(killed);
            }
            killed = killed.max(pids.len());
            for pid in pids {
                if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    kill_process(pid, Signal::KILL).ok();
                }
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("processes of node {} do not end", self.name)));
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// What an earlier supervisor left behind is given a moment to end by itself.
    pub(super) async fn end_leftovers(&self) -> io::Result<()> {
        let patience = Instant::now() + Duration::from_secs(3);
        while !self.pids()?.is_empty() && Instant::now() < patience {
            sleep(Duration::from_millis(20)).await;
        }
        self.fence().await?;
        self.forget_locks()
    }

    /// A server that was killed leaves its notes that it runs. As long as somebody has its number, be it itself as a
    /// zombie that nobody has asked yet or a stranger, the next one would refuse to start.
    fn forget_locks(&self) -> io::Result<()> {
        let socket = self.folder.join(format!(".s.PGSQL.{}.lock", self.port));
        for note in [self.data().join("postmaster.pid"), socket] {
            let text = match fs::read_to_string(&note) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let holder = text.lines().next().and_then(|line| line.trim().parse::<u32>().ok());
            if let Some(holder) = holder
                && !self.pids()?.contains(&holder)
            {
                fs::remove_file(note)?;
            }
        }
        Ok(())
    }
}

impl Server {
    /// The process id of the server.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it ends. May be dropped and asked again.
    pub(super) async fn end(&mut self) -> io::Result<std::process::ExitStatus> {
        self.child.wait().await
    }

    /// Stops it in order; at once when that takes too long.
    pub(super) async fn stop(mut self, node: &Node) -> io::Result<()> {
        if let Some(pid) = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
            kill_process(pid, Signal::INT).ok();
        }
        if timeout(STOP_MAX, self.child.wait()).await.is_err() {
            node.fence().await?;
        }
        self.dismiss_keeper().await;
        Ok(())
    }

    /// Kills it and all it started, and waits until they are gone.
    pub(super) async fn kill(mut self, node: &Node) -> io::Result<()> {
        node.fence().await?;
        timeout(GONE_MAX, self.child.wait()).await.map_err(io::Error::other)??;
        self.dismiss_keeper().await;
        Ok(())
    }

    /// The server is gone, and its number may be somebody else's soon.
    async fn dismiss_keeper(&mut self) {
        say(self.keeper.stdin.take().as_mut(), "done\n").await.ok();
        self.keeper.wait().await.ok();
    }
}

async fn say(to: Option<&mut ChildStdin>, words: &str) -> io::Result<()> {
    match to {
        Some(to) => to.write_all(words.as_bytes()).await,
        None => Ok(()),
    }
}

/// What `folder` holds by name is on the disk before this answers.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_a_host_when_every_odd_letter_is_escaped() {
        assert_eq!(escaped("/data/my shop/postgres"), "%2Fdata%2Fmy%20shop%2Fpostgres");
    }
}
