//! Where a shop can live.
//!
//! A target knows how to start a shop there, how to find it again, and what must be in place before.
//!
//! # Adding one
//! A folder beside `local/` that can tell what must be in place, a line in [`TARGETS`] and a word in
//! [`crate::config::Target`]. `doctor` follows from the list.

mod check;
pub mod evidence;
pub mod kubernetes;
pub mod local;
pub mod operator;
pub mod pieces;

pub use check::{Check, Verdict};

use crate::config::{Config, Settings, Target};

/// What is known of a target.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// The word in shop.toml.
    pub target: Target,
    /// What it is.
    pub about: &'static str,
    /// What must be in place before a shop can live there.
    pub checks: fn(&Config, &Settings) -> Vec<Check>,
}

/// The list.
pub const TARGETS: &[Description] = &[
    Description {
        target: Target::Embedded,
        about: "every service in one process on this machine",
        checks: local::checks::all,
    },
    Description {
        target: Target::Kubernetes,
        about: "every service in pods of its own, in a namespace of a cluster",
        checks: kubernetes::checks::all,
    },
];
