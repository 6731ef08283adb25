//! A PostgreSQL of the test's own: a private cluster in a temporary folder, on a port of its own, gone when the test
//! process is.

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::storage::postgres::installed::{Installed, USER, run};

/// Set to `1` by the one test command: a missing PostgreSQL is then a failure, not a skipped test.
pub const REQUIRE: &str = "SHOPCTL_REQUIRE_POSTGRES";

const START: Duration = Duration::from_secs(60);
/// What the server's log says before it exits without having started.
const REFUSALS: &[&str] = &["could not create any TCP/IP sockets", "pre-existing shared memory", "lock file"];

/// Waits for the end of its parent, who holds the other end of its standard input, and then ends the server and its
/// folder: so nothing is left behind even when the test process is killed. It says so more than once: a server that has
/// only just begun does not listen yet, since what a shell starts in the background ignores this signal at first.
const KEEPER: &str = r#"
"$1" -D "$2/data" >"$2/server.log" 2>&1 &
server=$!
read -r word
(while kill -QUIT "$server"; do sleep 0.1; done) 2>/dev/null &
insists=$!
wait "$server"
kill "$insists" 2>/dev/null
[ "$word" = keep ] || rm -rf "$2"
"#;

/// A running cluster. Stopped and removed when dropped.
#[derive(Debug)]
pub struct Cluster {
    installed: Installed,
    port: u16,
    keeper: Child,
    folder: TempDir,
}

impl Cluster {
    /// Starts a cluster, or says what is missing. Blocks until it accepts connections.
    pub fn start() -> io::Result<Self> {
        let installed = Installed::find()?;
        let template = template(&installed)?;
        let mut failure = io::Error::other("PostgreSQL did not start");
        // Between finding a free port and using it somebody else may take it.
        for _ in 0..3 {
            match Self::start_once(&installed, &template) {
                Ok(cluster) => return Ok(cluster),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn start_once(installed: &Installed, template: &Path) -> io::Result<Self> {
        let folder = private_folder("shop-postgres-", installed)?;
        let data = copied(template, installed, folder.path())?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\n\
             max_connections = 200\nshared_buffers = 32MB\nfsync = off\nfull_page_writes = off\n",
            folder.path().display()
        );
        let mut configuration = fs::read_to_string(data.join("postgresql.conf"))?;
        configuration.push_str(&settings);
        fs::write(data.join("postgresql.conf"), configuration)?;
        let keeper = keeper(installed, folder.path())?;
        let cluster = Self { installed: installed.clone(), port, keeper, folder };
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// Kills the server without a chance to tidy up, and starts it again on the same data and port.
    pub fn crash_and_restart(&mut self) -> io::Result<()> {
        run(Command::new("kill").args(["-KILL", &self.pid()?.to_string()]))?;
        if let Some(mut words) = self.keeper.stdin.take() {
            words.write_all(b"keep\n")?;
        }
        self.keeper.wait()?;
        // The orphaned backends notice within moments; until then the server refuses to start.
        let started = Instant::now();
        loop {
            fs::remove_file(self.folder.path().join("data/postmaster.pid")).ok();
            self.keeper = keeper(&self.installed, self.folder.path())?;
            match self.wait_until_ready() {
                Ok(()) => return Ok(()),
                Err(error) if started.elapsed() > START => return Err(error),
                Err(_) => {
                    if let Some(mut words) = self.keeper.stdin.take() {
                        words.write_all(b"keep\n").ok();
                    }
                    self.keeper.wait()?;
                }
            }
        }
    }

    /// The URL of `database` in this cluster.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on the loopback interface.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's own folder: what is put here is gone with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process id of the server.
    pub fn pid(&self) -> io::Result<u32> {
        let text = fs::read_to_string(self.folder.path().join("data/postmaster.pid"))?;
        text.lines()
            .next()
            .and_then(|line| line.trim().parse().ok())
            .ok_or_else(|| io::Error::other("postmaster.pid holds no process id"))
    }

    /// Makes an empty database and answers its URL.
    pub async fn create_database(&self) -> Result<String, tokio_postgres::Error> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (client, connection) =
            tokio_postgres::connect(&self.url("postgres"), tokio_postgres::NoTls).await?;
        let driven = tokio::spawn(connection);
        client.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        drop(client);
        driven.await.ok();
        Ok(self.url(&name))
    }

    fn wait_until_ready(&self) -> io::Result<()> {
        let started = Instant::now();
        let pid = self.folder.path().join("data/postmaster.pid");
        let log = self.folder.path().join("server.log");
        loop {
            // The eighth line of the file is the server's own word on its state.
            let state = fs::read_to_string(&pid).unwrap_or_default();
            if state.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return Ok(());
            }
            let told = fs::read_to_string(&log).unwrap_or_default();
            let gave_up = REFUSALS.iter().any(|refusal| told.contains(refusal));
            if gave_up || started.elapsed() > START {
                return Err(io::Error::other(format!("PostgreSQL did not start: {told}")));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().ok();
    }
}

/// The URL of a fresh, empty database in the cluster that all tests of this process share. `None` when there is no
/// PostgreSQL here: the caller skips, and this has said so on standard error.
///
/// # Panics
/// When there is no PostgreSQL although [`REQUIRE`] is set, or when it does not work: a test cannot go on.
pub async fn database() -> Option<String> {
    static SHARED: OnceCell<Option<Arc<Cluster>>> = OnceCell::const_new();
    let cluster = SHARED.get_or_init(|| async {
        match tokio::task::spawn_blocking(Cluster::start).await.expect("the cluster's start") {
            Ok(cluster) => Some(Arc::new(cluster)),
            Err(error) => {
                skip(&error);
                None
            }
        }
    });
    let cluster = cluster.await.as_ref()?;
    Some(cluster.create_database().await.expect("a fresh database"))
}

/// Whether PostgreSQL is here, for tests that start their own; says so when it is not.
///
/// # Panics
/// When it is not although [`REQUIRE`] is set.
pub fn is_here() -> bool {
    Installed::find().inspect_err(skip).is_ok()
}

/// Says that there is no PostgreSQL to test with; fails where it must be there.
#[expect(clippy::print_stderr, reason = "a skipped test must say so, and tests have no printer")]
fn skip(error: &io::Error) {
    assert!(std::env::var_os(REQUIRE).is_none(), "{REQUIRE} is set, but {error}");
    eprintln!("SKIPPED on PostgreSQL: {error}");
}

fn keeper(installed: &Installed, folder: &Path) -> io::Result<Child> {
    // What the server before said is not held against this one.
    match fs::remove_file(folder.join("server.log")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    installed
        .as_account(Command::new("sh"), folder)
        .args(["-c", KEEPER, "keeper"])
        .arg(installed.binaries().join("postgres"))
        .arg(folder)
        // Not in the terminal's group: Ctrl-C must reach the test first, and the keeper then tidies up.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

fn private_folder(prefix: &str, installed: &Installed) -> io::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
    installed.give(folder.path())?;
    Ok(folder)
}

/// Copies the cluster `template` into `folder`: where its data are.
fn copied(template: &Path, installed: &Installed, folder: &Path) -> io::Result<PathBuf> {
    let data = folder.join("data");
    let mut copy = installed.as_account(Command::new("cp"), folder);
    run(copy.args(["-a", "--reflink=auto"]).arg(template).arg(&data))?;
    Ok(data)
}

/// `initdb` takes seconds, a copy of what it made takes milliseconds: so it is made once per machine and version.
fn template(installed: &Installed) -> io::Result<PathBuf> {
    let scratch = private_folder("shop-postgres-template-", installed)?;
    let owner = fs::metadata(scratch.path())?.uid();
    let name = format!("shop-postgres-template-{}-{owner}-sums", installed.version()?);
    let cached = std::env::temp_dir().join(name);
    if fs::metadata(&cached).is_ok_and(|found| found.uid() == owner) {
        return Ok(cached);
    }
    let made = scratch.path().join("data");
    installed.make_cluster(&made, false)?;
    match fs::rename(&made, &cached) {
        Ok(()) => Ok(cached),
        // Another process was faster.
        Err(_) if cached.exists() => Ok(cached),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ended while the shell or the server only begins, at whatever moment that is.
    #[test]
    fn a_server_that_has_hardly_begun_is_ended_too() {
        let installed = match Installed::find() {
            Ok(installed) => installed,
            Err(error) => return skip(&error),
        };
        let template = template(&installed).unwrap();
        for wait_ms in [0, 1, 2, 4, 8, 16, 32] {
            let folder = private_folder("shop-postgres-", &installed).unwrap();
            let data = copied(&template, &installed, folder.path()).unwrap();
            let settings =
                format!("listen_addresses = ''\nunix_socket_directories = '{}'\n", folder.path().display());
            fs::write(data.join("postgresql.auto.conf"), settings).unwrap();
            let mut keeper = keeper(&installed, folder.path()).unwrap();
            thread::sleep(Duration::from_millis(wait_ms));
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
            assert!(!data.exists(), "it ended the server and its folder after {wait_ms} ms");
        }
    }
}
