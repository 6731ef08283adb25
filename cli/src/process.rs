//! What the system says about a process, and where a program is. Absent where the system does not say.

use std::path::PathBuf;
use std::time::Duration;

/// Where `program` is on the PATH.
#[must_use]
pub fn find_program(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident now.
    pub resident_kib: u64,
    /// The most that ever was.
    pub peak_kib: u64,
}

/// The memory of `pid`.
#[must_use]
pub fn memory(pid: u32) -> Option<Memory> {
    parse_memory(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The processor time that `pid` has used, in user and in system.
#[must_use]
pub fn cpu_time(pid: u32) -> Option<Duration> {
    Some(of_ticks(parse_ticks(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))
}

/// The processor time of all threads of this process called `name`, at most 15 letters of it.
#[must_use]
pub fn cpu_time_of_threads(name: &str) -> Option<Duration> {
    let called = format!("({})", name.chars().take(15).collect::<String>());
    let mut ticks = 0;
    for thread in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        // A thread may end between the listing and the look.
        let Ok(stat) = std::fs::read_to_string(thread.path().join("stat")) else { continue };
        if stat.contains(&called) {
            ticks += parse_ticks(&stat)?;
        }
    }
    Some(of_ticks(ticks))
}

/// `pid` and every living process that it started, directly or not: a shop in pieces is as many as it has pieces.
#[must_use]
pub fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(parent) = all.get(next) {
        let threads = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let children: Vec<u32> = threads
            .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
            .flat_map(|line| line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect();
        all.extend(children);
        next += 1;
    }
    all
}

/// Whether a child of this process has ended and waits to be reaped, or is gone.
#[must_use]
pub fn has_ended(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    }
}

fn of_ticks(ticks: u64) -> Duration {
    let ticks_a_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_micros(ticks.saturating_mul(1_000_000) / ticks_a_second)
}

fn parse_memory(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Memory { resident_kib: field("VmRSS")?, peak_kib: field("VmHWM")? })
}

/// utime and stime: fields 14 and 15, counted after the name, which may hold anything.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    ticks(11)?.checked_add(ticks(12)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_confuses_nothing() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 4 0 100 1000 200";
        assert_eq!(parse_ticks(stat), Some(12));
    }

    #[test]
    fn a_child_is_of_the_family_until_it_is_reaped() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = family(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&child.id()) && found[0] == std::process::id());
        assert!(!family(std::process::id()).contains(&child.id()));
    }

    #[test]
    fn memory_is_read_in_kibibytes() {
        let status = "Name:\tx\nVmPeak:\t  999 kB\nVmHWM:\t  300 kB\nVmRSS:\t  200 kB\n";
        assert_eq!(parse_memory(status), Some(Memory { resident_kib: 200, peak_kib: 300 }));
        assert_eq!(parse_memory("Name:\tx\n"), None);
    }
}
