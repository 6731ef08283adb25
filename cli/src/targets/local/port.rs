//! The port of the public listener: whether it is free, and which neighbour is.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use crate::failure::{Exit, Failure};

/// How far to look for a free neighbour.
const NEIGHBOURS: u16 = 100;

/// Whether a shop could listen on `port` now. 0 always can.
///
/// # Errors
/// When it is taken, with its next free neighbour; or the system forbids it.
pub fn check(port: u16) -> Result<(), Failure> {
    match bind(port) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(taken(port)),
        Err(error) => Err(forbidden(port, error)),
    }
}

/// The failure of a port that somebody else has.
#[must_use]
pub fn taken(port: u16) -> Failure {
    let hint = match free_neighbour(port) {
        Some(free) => format!("{free} is free: `shopctl up --port {free}`"),
        None => "use --port 0 for any free one".to_owned(),
    };
    Failure::new(Exit::Preflight, "E-PORT-TAKEN", format!("port {port} is taken"))
        .object(format!("127.0.0.1:{port}"))
        .hint(hint)
}

/// The failure of a port that the system does not give.
#[must_use]
pub fn forbidden(port: u16, error: io::Error) -> Failure {
    Failure::new(Exit::Preflight, "E-PORT", format!("could not listen on 127.0.0.1:{port}"))
        .object(format!("127.0.0.1:{port}"))
        .hint("choose a port above 1023, or --port 0 for any free one")
        .because(error)
}

/// The next port after `port` that is free.
fn free_neighbour(port: u16) -> Option<u16> {
    (1..=NEIGHBOURS).filter_map(|step| port.checked_add(step)).find(|port| bind(*port).is_ok())
}

fn bind(port: u16) -> io::Result<()> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Diagnosis;

    #[test]
    fn a_taken_port_names_its_next_free_neighbour() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = Diagnosis::of(&check(port).unwrap_err().into());
        assert_eq!(found.exit, Exit::Preflight);
        assert!(found.hint.unwrap().contains("is free: `shopctl up --port "));
        drop(listener);
        check(port).unwrap();
        check(0).unwrap();
    }
}
