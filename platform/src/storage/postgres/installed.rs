//! The PostgreSQL that is installed on this machine: its programs, and the account that its servers run as.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The superuser that a cluster of ours is made with.
pub const USER: &str = "shop";

/// Programs of one version, and whom they run as.
#[derive(Clone, Debug)]
pub struct Installed {
    binaries: PathBuf,
    account: Option<Account>,
}

/// Whom a server runs as: it refuses root.
#[derive(Clone, Copy, Debug)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Installed {
    /// The newest version that is here.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none, with the package's name; or when this process is root and
    /// there is no account to run a server as.
    pub fn find() -> io::Result<Self> {
        Ok(Self { binaries: binaries()?, account: account()? })
    }

    /// The folder of the programs.
    #[must_use]
    pub fn binaries(&self) -> &Path {
        &self.binaries
    }

    /// `program` of this version, run as the account. Its folder is `folder`, which the account must be able to enter.
    #[must_use]
    pub fn command(&self, program: &str, folder: &Path) -> Command {
        self.as_account(Command::new(self.binaries.join(program)), folder)
    }

    /// Any program, run as the account in `folder`.
    #[must_use]
    pub fn as_account(&self, mut command: Command, folder: &Path) -> Command {
        if let Some(account) = self.account {
            command.gid(account.gid).uid(account.uid);
        }
        command.current_dir(folder).stdin(Stdio::null());
        command
    }

    /// Gives `path` to the account.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        self.account.map_or(Ok(()), |account| chown(path, Some(account.uid), Some(account.gid)))
    }

    /// Lets the account, and nobody else, walk through `folder` without reading it. Nothing to do where it is this
    /// process's own.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn let_through(&self, folder: &Path) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let Some(account) = self.account else { return Ok(()) };
        let mode = fs::metadata(folder)?.permissions().mode();
        if mode & 0o001 == 0 {
            chown(folder, None, Some(account.gid))?;
            fs::set_permissions(folder, fs::Permissions::from_mode((mode & !0o070) | 0o010))?;
        }
        Ok(())
    }

    /// The nearest folder above `path` that the account may not walk through, if there is one.
    #[must_use]
    pub fn barred(&self, path: &Path) -> Option<PathBuf> {
        let account = self.account?;
        let is_open = |folder: &Path| {
            fs::metadata(folder).is_ok_and(|found| {
                let bit = match (found.uid() == account.uid, found.gid() == account.gid) {
                    (true, _) => 0o100,
                    (false, true) => 0o010,
                    (false, false) => 0o001,
                };
                found.mode() & bit != 0
            })
        };
        path.ancestors().skip(1).find(|folder| !is_open(folder)).map(Path::to_owned)
    }

    /// Makes an empty cluster in `data`. Whoever reaches its socket is let in: keep that in a folder that only its
    /// owner can enter. With `is_durable` it is on the disk before this answers.
    ///
    /// # Errors
    /// What `initdb` said.
    pub fn make_cluster(&self, data: &Path, is_durable: bool) -> io::Result<()> {
        let folder = data.parent().unwrap_or(Path::new("/"));
        let mut initdb = self.command("initdb", folder);
        initdb.args(["-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "--data-checksums"]);
        if !is_durable {
            initdb.arg("-N");
        }
        run(initdb.arg("-D").arg(data))
    }

    /// The version: `15.14`.
    ///
    /// # Errors
    /// When the server's program does not run.
    pub fn version(&self) -> io::Result<String> {
        let said = Command::new(self.binaries.join("postgres")).arg("--version").output()?.stdout;
        let said = String::from_utf8_lossy(&said);
        let version = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        Ok(version.unwrap_or("unknown").to_owned())
    }
}

/// Runs `command` to its end; what it said on stderr is the error.
///
/// # Errors
/// When it cannot be run, or says that it failed.
pub fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let program = command.get_program().to_string_lossy();
    Err(io::Error::other(format!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// The folder that holds `initdb` and `postgres`.
fn binaries() -> io::Result<PathBuf> {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort_by_key(|path| {
        let version = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        std::cmp::Reverse(version.and_then(|name| name.parse::<u32>().ok()).unwrap_or(0))
    });
    let searched = std::env::var_os("PATH").unwrap_or_default();
    versions.extend(std::env::split_paths(&searched));
    versions
        .into_iter()
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "PostgreSQL is not installed (apt-get install postgresql)",
            )
        })
}

fn account() -> io::Result<Option<Account>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd")?;
    let fields = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut found = fields.filter_map(|fields| match fields.as_slice() {
        ["postgres", _, uid, gid, ..] => Some(Account { uid: uid.parse().ok()?, gid: gid.parse().ok()? }),
        _ => None,
    });
    let missing =
        || io::Error::new(io::ErrorKind::NotFound, "PostgreSQL refuses root and there is no user `postgres`");
    found.next().map(Some).ok_or_else(missing)
}
