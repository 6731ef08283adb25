//! The numbers that the documentation states, each with what measures it.
//!
//! A claim names the words in which a page states its number, so that a test can tell which numbers no claim
//! covers; the measurement, so that anybody can repeat it; and the bound that the number must keep. The last
//! result stands with its date in `docs/claims.json`, which `claims check --record` writes.
//!
//! # Adding one
//! A line in [`CLAIMS`].

mod check;
mod ledger;
mod stated;

pub use check::{Finding, check};
pub use ledger::{Ledger, Result};
pub use stated::{NOT_CLAIMS, uncovered};

/// A number that a page states.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// What a person types for it.
    pub id: &'static str,
    /// What is claimed.
    pub says: &'static str,
    /// The words of the pages: each number among them is covered.
    pub stated: &'static [&'static str],
    /// What measures it.
    pub measure: Measure,
    /// What the number must keep.
    pub bound: Bound,
    /// The unit of the number.
    pub unit: &'static str,
}

/// What measures a claim.
#[derive(Clone, Copy, Debug)]
pub enum Measure {
    /// This tool: the number stands at `pointer` of its JSON document.
    Shopctl {
        /// The words after `shopctl`.
        words: &'static str,
        /// The place of the number.
        pointer: &'static str,
    },
}

impl Measure {
    /// The command that a person types to see for themselves.
    #[must_use]
    pub fn command(&self) -> String {
        let Self::Shopctl { words, .. } = self;
        format!("shopctl {words}")
    }
}

/// What a number must keep.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Bound {
    /// Whether `value` keeps it.
    #[must_use]
    pub fn is_kept(&self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= *most,
            Self::AtLeast(least) => value >= *least,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}

/// The list.
pub const CLAIMS: &[Claim] = &[
    Claim {
        id: "first-order",
        says: "from an empty folder to the first confirmed order, demo data included",
        stated: &["≤ 1 s", "1,000 ms", "within 1 s", "in a second"],
        measure: Measure::Shopctl { words: "bench start", pointer: "/data/first_order_ms" },
        bound: Bound::AtMost(1000.0),
        unit: "ms",
    },
    Claim {
        id: "ready-again",
        says: "on a folder with data, from the start of the process to `readyz`",
        stated: &["≤ 200 ms", "200 ms"],
        measure: Measure::Shopctl { words: "bench start", pointer: "/data/ready_again_ms" },
        bound: Bound::AtMost(200.0),
        unit: "ms",
    },
    Claim {
        id: "memory",
        says: "resident memory of the whole shop after 100 orders, idle",
        stated: &["≤ 40 MiB", "40 MiB", "100 orders"],
        measure: Measure::Shopctl { words: "bench memory", pointer: "/data/idle_mib" },
        bound: Bound::AtMost(40.0),
        unit: "MiB",
    },
    Claim {
        id: "checkout",
        says: "durable orders a second on SQLite, whole saga, 64 buyers at once, driver included",
        stated: &[
            "≥ 1,000 orders/s",
            "1,000 orders/s",
            "1,000 orders a second",
            "64 buyers",
            "64 concurrent buyers",
            "2 cores",
        ],
        measure: Measure::Shopctl { words: "bench checkout", pointer: "/data/orders_per_second" },
        bound: Bound::AtLeast(1000.0),
        unit: "orders/s",
    },
    Claim {
        id: "outage-answer",
        says: "the slowest checkout while the provider refuses, 20 buyers at once",
        stated: &["20 buyers"],
        measure: Measure::Shopctl { words: "bench outage --mode refuse", pointer: "/data/answer_max_ms" },
        bound: Bound::AtMost(1000.0),
        unit: "ms",
    },
    Claim {
        id: "outage-recovery",
        says: "from the provider's recovery to the last confirmed order",
        stated: &["≤ 10 s"],
        measure: Measure::Shopctl { words: "bench outage --mode refuse", pointer: "/data/recovered_ms" },
        bound: Bound::AtMost(10_000.0),
        unit: "ms",
    },
    Claim {
        id: "outage-hanging",
        says: "the slowest checkout while the provider takes requests and never answers",
        stated: &["≤ 2.3 s"],
        measure: Measure::Shopctl { words: "bench outage --mode blackhole", pointer: "/data/answer_max_ms" },
        bound: Bound::AtMost(2300.0),
        unit: "ms",
    },
    Claim {
        id: "help",
        says: "`shopctl --help`, from the making of the process to its end",
        stated: &["≤ 10 ms", "10 ms"],
        measure: Measure::Shopctl { words: "bench help", pointer: "/data/ours_ms" },
        bound: Bound::AtMost(10.0),
        unit: "ms",
    },
    Claim {
        id: "catalogue-read",
        says: "CPU of a catalogue read through the gateway, beside bare axum that returns the same bytes",
        stated: &["≤ 2 ×"],
        measure: Measure::Shopctl { words: "bench catalogue", pointer: "/data/ratio" },
        bound: Bound::AtMost(2.0),
        unit: "×",
    },
    Claim {
        id: "load-engine",
        says: "CPU of a request of the load engine at 64 connections with its histograms, beside wrk",
        stated: &["≤ 1.5 ×", "64 connections"],
        measure: Measure::Shopctl { words: "bench load-engine", pointer: "/data/ratio" },
        bound: Bound::AtMost(1.5),
        unit: "×",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_claim_has_a_name_of_its_own_and_a_number_it_states() {
        let mut ids: Vec<&str> = CLAIMS.iter().map(|claim| claim.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), CLAIMS.len());
        assert!(CLAIMS.iter().all(|claim| !claim.stated.is_empty()));
    }

    #[test]
    fn a_bound_holds_at_its_edge() {
        assert!(Bound::AtMost(40.0).is_kept(40.0) && !Bound::AtMost(40.0).is_kept(40.1));
        assert!(Bound::AtLeast(40.0).is_kept(40.0) && !Bound::AtLeast(40.0).is_kept(39.9));
    }
}
