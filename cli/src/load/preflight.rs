//! What a run needs of this machine, told before it begins: descriptors, ports, and a target that may be loaded.

use std::net::{IpAddr, Ipv4Addr};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::target::Target;
use crate::failure::{Exit, Failure};

/// Descriptors that a run needs beside its connections: files, the runtimes' own, the shop's metrics.
const BESIDE: u64 = 64;
/// Descriptors that a shop needs beside the connections of its visitors.
const BESIDE_OF_SHOP: u64 = 128;
/// The part of a port range that is used: connections that were closed keep theirs for a minute.
const PORTS_USED: f64 = 0.75;
/// The range when the system does not tell it.
const PORTS: u64 = 28_232;

/// What a run has been given.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Granted {
    /// Descriptors that it may need at most, and the limit.
    pub(super) descriptors: [u64; 2],
    /// Addresses that its connections come from; empty leaves it to the system.
    pub(super) sources: Vec<IpAddr>,
}

/// Raises the limit of descriptors and chooses source addresses for `connections` to `target`.
///
/// # Errors
/// With the exact numbers, when there are too few descriptors or ports.
pub(super) fn grant(connections: usize, target: &Target) -> Result<Granted, Failure> {
    let connections = connections as u64;
    let each = target.descriptors_each();
    let needed = connections * each + BESIDE;
    let limit = raise(needed);
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        let message = format!("{needed} descriptors are needed and the limit is {limit}");
        let hint = format!(
            "raise it (`ulimit -n {needed}`), or ask for at most {} connections with --connections",
            limit.saturating_sub(BESIDE) / each
        );
        return Err(Failure::new(Exit::Preflight, "E-DESCRIPTORS", message).hint(hint));
    }
    if let Some(limit) = target.pid().and_then(limit_of) {
        let needed = connections + BESIDE_OF_SHOP;
        if limit < needed {
            let message = format!("the shop needs {needed} descriptors and its limit is {limit}");
            let hint = format!("start it after `ulimit -n {needed}`, or ask for fewer with --connections");
            return Err(Failure::new(Exit::Preflight, "E-DESCRIPTORS", message).hint(hint));
        }
    }
    let sources = sources(connections, target.address.ip(), ports())?;
    Ok(Granted { descriptors: [needed, limit.unwrap_or(u64::MAX)], sources })
}

/// Raises the soft limit to what is needed, as far as the hard one lets it; the limit that holds then. Absent when
/// there is none.
fn raise(needed: u64) -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.current?;
    if soft >= needed {
        return Some(soft);
    }
    let wanted = limit.maximum.map_or(needed, |hard| needed.min(hard));
    // When the system refuses, the limit is what it was, and that is what is told.
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).ok();
    getrlimit(Resource::Nofile).current
}

/// The limit of descriptors of another process, when the system tells it.
fn limit_of(pid: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How many ports connections may come from.
fn ports() -> u64 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = range.split_whitespace().filter_map(|end| end.parse::<u64>().ok());
    ends.next().zip(ends.next()).map_or(PORTS, |(first, last)| last.saturating_sub(first) + 1)
}

/// The addresses that `connections` to `target` come from, when one has too few ports.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of ports"
)]
fn sources(connections: u64, target: IpAddr, ports: u64) -> Result<Vec<IpAddr>, Failure> {
    let usable = ((ports as f64 * PORTS_USED) as u64).max(1);
    if connections <= usable {
        return Ok(Vec::new());
    }
    let needed = connections.div_ceil(usable);
    let loopback = matches!(target, IpAddr::V4(address) if address.is_loopback());
    if !loopback || needed > 250 {
        let message = format!("{connections} connections need as many ports, and {usable} can be used");
        let hint =
            format!("ask for at most {usable} with --connections, or widen net.ipv4.ip_local_port_range");
        return Err(Failure::new(Exit::Preflight, "E-PORTS", message).hint(hint));
    }
    let address = |number: u64| IpAddr::V4(Ipv4Addr::new(127, 0, 0, u8::try_from(number + 2).unwrap_or(2)));
    Ok((0..needed).map(address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_enough_until_its_ports_are_used_up() {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(sources(10_000, loopback, 28_232).unwrap(), Vec::<IpAddr>::new());
        let many = sources(50_000, loopback, 28_232).unwrap();
        assert_eq!(many.len(), 3);
        assert_eq!(many[0].to_string(), "127.0.0.2");
    }

    #[test]
    fn elsewhere_too_many_connections_are_refused_with_the_number() {
        let failure = sources(50_000, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 28_232).unwrap_err();
        assert_eq!(failure.exit(), Exit::Preflight);
        assert_eq!(failure.to_string(), "50000 connections need as many ports, and 21174 can be used");
    }

    #[test]
    fn the_limit_of_a_process_is_read() {
        assert!(limit_of(std::process::id()).is_some_and(|limit| limit > 0));
    }
}
