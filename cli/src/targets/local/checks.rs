//! What must be in place before a shop can live on this machine.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;

use super::lock::{self, Standing};
use super::port;
use crate::config::{Config, Engine, Settings};
use crate::targets::{Check, Verdict};

/// Descriptors that a shop with a few thousand buyers wants.
const DESCRIPTORS_WANTED: u64 = 4096;
/// Room on the disk under which a shop will soon refuse orders.
const DISK_LEAST: u64 = 64 << 20;
/// Room on the disk that deserves a look.
const DISK_WANTED: u64 = 1 << 30;

/// All of them, in the order a start would trip over them.
#[must_use]
pub fn all(config: &Config, settings: &Settings) -> Vec<Check> {
    let mut checks = vec![configuration(config), data_folder(&settings.data_dir), disk(&settings.data_dir)];
    let is_running = matches!(lock::standing(&settings.data_dir), Ok(Standing::Held(_)));
    checks.push(shop(&settings.data_dir));
    if !is_running {
        checks.push(port_free(settings.port));
    }
    checks.push(descriptors());
    if settings.engine == Engine::Postgres {
        checks.push(database(settings));
    }
    checks
}

fn configuration(config: &Config) -> Check {
    match config.path() {
        Some(path) => Check::ok("configuration", path.display().to_string()),
        None => Check::ok("configuration", "no shop.toml; what is built in holds"),
    }
}

fn data_folder(data_dir: &Path) -> Check {
    // The folder itself may not be there yet; then the nearest one that is must be writable.
    let Some(there) = data_dir.ancestors().find(|folder| folder.exists()) else {
        return Check::not_ok(
            "data folder",
            Verdict::Unknown,
            "no folder above it exists",
            "name another with --data-dir",
        );
    };
    let access = rustix::fs::access(there, rustix::fs::Access::WRITE_OK);
    match access {
        Ok(()) if there.is_dir() => Check::ok("data folder", data_dir.display().to_string()),
        Ok(()) => Check::not_ok(
            "data folder",
            Verdict::Failed,
            format!("{} is not a folder", there.display()),
            "name another with --data-dir",
        ),
        Err(error) => Check::not_ok(
            "data folder",
            Verdict::Failed,
            format!("{}: {error}", there.display()),
            "make it writable for you, or name another with --data-dir",
        ),
    }
}

fn disk(data_dir: &Path) -> Check {
    let there = data_dir.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let Ok(facts) = rustix::fs::statvfs(there) else {
        return Check::not_ok("disk", Verdict::Unknown, "the system does not say", "look with `df`");
    };
    let free = facts.f_bavail.saturating_mul(facts.f_frsize);
    let found = format!("{} MiB free", free >> 20);
    match free {
        ..DISK_LEAST => {
            Check::not_ok("disk", Verdict::Failed, found, "make room: a full disk refuses orders")
        }
        DISK_LEAST..DISK_WANTED => Check::not_ok("disk", Verdict::Warning, found, "make room soon"),
        _ => Check::ok("disk", found),
    }
}

fn shop(data_dir: &Path) -> Check {
    match lock::standing(data_dir) {
        Ok(Standing::Held(Some(holder))) => {
            let place = holder.url.unwrap_or_else(|| "not ready yet".to_owned());
            Check::ok("shop", format!("running: process {}, {place}", holder.pid))
        }
        Ok(Standing::Held(None)) => Check::ok("shop", "starting"),
        Ok(Standing::Ended(_) | Standing::Never) => Check::ok("shop", "not running"),
        Err(error) => {
            Check::not_ok("shop", Verdict::Failed, error.to_string(), "look at the data folder's rights")
        }
    }
}

fn port_free(port: u16) -> Check {
    match port::check(port) {
        Ok(()) => Check::ok("port", format!("{port} is free")),
        Err(error) => {
            let found = error.to_string();
            let remedy = crate::failure::Diagnosis::of(&error.into()).hint.unwrap_or_default();
            Check::not_ok("port", Verdict::Failed, found, remedy)
        }
    }
}

fn descriptors() -> Check {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    match limit {
        Some(limit) if limit < DESCRIPTORS_WANTED => Check::not_ok(
            "file descriptors",
            Verdict::Warning,
            format!("{limit}"),
            format!("`ulimit -n {DESCRIPTORS_WANTED}` before a load run"),
        ),
        Some(limit) => Check::ok("file descriptors", limit.to_string()),
        None => Check::ok("file descriptors", "no limit"),
    }
}

/// Whether somebody listens where the database should be; signing in is left to the start.
fn database(settings: &Settings) -> Check {
    let Some(url) = &settings.database_url else {
        return Check::not_ok("database", Verdict::Failed, "no address", "set SHOPCTL_DATABASE_URL");
    };
    let Some(address) = host_and_port(url.reveal()) else {
        return Check::not_ok(
            "database",
            Verdict::Unknown,
            url.to_string(),
            "use postgres://user@host:port/name",
        );
    };
    let reached = address.to_socket_addrs().map_err(|error| error.to_string()).and_then(|mut addresses| {
        let address = addresses.next().ok_or_else(|| "the name has no address".to_owned())?;
        TcpStream::connect_timeout(&address, Duration::from_secs(2)).map_err(|error| error.to_string())
    });
    match reached {
        Ok(_) => Check::ok("database", format!("{url} answers")),
        Err(error) => Check::not_ok(
            "database",
            Verdict::Failed,
            format!("{url}: {error}"),
            "start it, or mend the address",
        ),
    }
}

/// `host:port` of `postgres://user:password@host:port/name`.
fn host_and_port(url: &str) -> Option<String> {
    let authority = url.split_once("://")?.1.split(['/', '?']).next()?;
    let host = authority.rsplit('@').next().filter(|host| !host.is_empty())?;
    Some(if host.contains(':') { host.to_owned() } else { format!("{host}:5432") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_host_is_found_behind_any_password() {
        assert_eq!(host_and_port("postgres://shop:p@ss@db:6000/shop?x").as_deref(), Some("db:6000"));
        assert_eq!(host_and_port("postgresql://db/shop").as_deref(), Some("db:5432"));
        assert_eq!(host_and_port("host=db"), None);
    }

    #[test]
    fn a_folder_below_a_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(data_folder(&file.join("data")).verdict, Verdict::Failed);
        assert_eq!(data_folder(&folder.path().join("new/data")).verdict, Verdict::Ok);
    }
}
