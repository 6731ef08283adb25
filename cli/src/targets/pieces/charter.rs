//! What the supervisor and a piece say to each other, a line of JSON at a time: down the piece's standard input, up its
//! standard output. The pipe is the bond as well: when it closes, the supervisor is gone.
//!
//! Addresses that hold a password go this way, and never over a command line or into the environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The first line down: what the piece is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Charter {
    pub(super) role: String,
    pub(super) number: u32,
    /// Where to listen; port 0 takes a free one.
    pub(super) listen: SocketAddr,
    pub(super) environment: String,
    pub(super) data_dir: PathBuf,
    /// None for a piece that keeps nothing there.
    pub(super) database_url: Option<String>,
    pub(super) connections_max: usize,
    /// Whether rate limits apply.
    pub(super) limits: bool,
    pub(super) allow_faults: bool,
    /// Whether siblings of the same service answer as well, so that no piece may trust its own memory for long.
    pub(super) has_twins: bool,
    pub(super) provider_url: Option<String>,
    /// Where the sandbox provider is told how to fail.
    pub(super) control_url: Option<String>,
    /// The port of the sandbox provider's door for the shop; 0 takes a free one.
    pub(super) own_port: u16,
    pub(super) webhook_url: Option<String>,
    /// Where customers find the shop.
    pub(super) shop_url: Option<String>,
}

/// Every later line down: who answers for each service from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Directory {
    /// Grows with every change.
    pub(super) version: u64,
    pub(super) peers: BTreeMap<String, Vec<String>>,
}

/// A line up that the supervisor understands; any other is passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Told {
    /// It listens.
    Ready {
        url: String,
        /// The sandbox provider's door for the shop.
        own_url: Option<String>,
    },
    /// It knows who answers as of this version of the directory.
    Knows { version: u64 },
    /// It could not start: the command line's own failure.
    Failed { exit: u64, errors: Vec<Fault> },
}

/// Why, as the command line tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fault {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failure_that_the_printer_tells_is_understood() {
        let line = r#"{"event":"failed","exit":4,"errors":[{"code":"E-PORT-TAKEN","message":"port 1 is taken",
            "hint":"2 is free","docs":"","object":"127.0.0.1:1"}]}"#;
        let Ok(Told::Failed { exit: 4, errors }) = serde_json::from_str(line) else {
            panic!("not understood")
        };
        assert_eq!(errors[0].code, "E-PORT-TAKEN");
        assert!(serde_json::from_str::<Told>(r#"{"event":"stopping","signal":"SIGTERM"}"#).is_err());
    }
}
