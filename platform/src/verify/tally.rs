//! What a check notes while it looks: how much it saw, what looks broken, and what it could not see.

use std::collections::BTreeMap;

use super::report::Example;

/// The most suspicions that are kept to be compared with a second look; more are only counted.
const KEPT_MAX: usize = 10_000;

/// The notes of one look at one invariant.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Things that were looked at.
    pub(super) examined: u64,
    /// What was counted on the way.
    pub(super) counts: BTreeMap<String, u64>,
    /// Things that look broken.
    pub(super) suspicions: Vec<Example>,
    /// Suspicions beyond those that are kept.
    pub(super) dropped: u64,
    /// What could not be seen, so that even a clean look proves nothing.
    pub(super) blind: Vec<String>,
    /// What was not looked at, although the rest was: told beside the verdict.
    pub(super) left_out: Vec<String>,
    /// Nothing to look at is what the promise wants: no dead letter, nothing that waits.
    pub(super) nothing_is_fine: bool,
}

impl Tally {
    /// Counts things that were looked at.
    pub(super) fn saw(&mut self, examined: u64) {
        self.examined += examined;
    }

    /// Adds to a count that the report shows.
    pub(super) fn count(&mut self, name: &str, by: u64) {
        if by > 0 {
            *self.counts.entry(name.to_owned()).or_default() += by;
        }
    }

    /// Notes that `id` looks broken.
    pub(super) fn suspect(&mut self, id: impl Into<String>, what: impl Into<String>) {
        if self.suspicions.len() < KEPT_MAX {
            self.suspicions.push(Example { id: id.into(), what: what.into() });
        } else {
            self.dropped += 1;
        }
    }

    /// Notes what could not be seen.
    pub(super) fn blind(&mut self, why: impl Into<String>) {
        self.blind.push(why.into());
    }

    /// Whether anything looks broken.
    pub(super) fn is_suspicious(&self) -> bool {
        !self.suspicions.is_empty()
    }

    /// Keeps of this second look what the first one saw too, unchanged. Answers how much healed in between.
    pub(super) fn confirm(&mut self, first: &Self) -> u64 {
        let mut seen: Vec<(&str, &str)> =
            first.suspicions.iter().map(|one| (one.id.as_str(), one.what.as_str())).collect();
        seen.sort_unstable();
        self.suspicions.retain(|one| seen.binary_search(&(&one.id, &one.what)).is_ok());
        if self.suspicions.is_empty() && first.dropped > 0 {
            self.blind("more looked broken than could be compared with a second look");
        }
        self.dropped = if self.suspicions.is_empty() { 0 } else { self.dropped.min(first.dropped) };
        (first.suspicions.len() - self.suspicions.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(suspicions: &[(&str, &str)]) -> Tally {
        let mut tally = Tally::default();
        for (id, what) in suspicions {
            tally.suspect(*id, *what);
        }
        tally
    }

    #[test]
    fn only_what_is_still_there_unchanged_counts() {
        let first = tally(&[("a", "off by 1"), ("b", "off by 2"), ("c", "gone")]);
        let mut second = tally(&[("a", "off by 1"), ("b", "off by 3"), ("d", "new")]);
        assert_eq!(second.confirm(&first), 2);
        assert_eq!(second.suspicions, [Example { id: "a".into(), what: "off by 1".into() }]);
    }
}
