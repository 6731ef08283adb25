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
    /// What kind of break it is, for suspicions whose sentence holds numbers that move: by their place in the list.
    pub(super) kinds: BTreeMap<usize, &'static str>,
    /// What was seen was seen at one moment, so it needs no second look.
    pub(super) is_certain: bool,
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

    /// Notes that `id` breaks in the way that `kind` names: it is the same break at the second look, whatever numbers
    /// `what` tells of it by then.
    pub(super) fn suspect_kind(
        &mut self,
        id: impl Into<String>,
        kind: &'static str,
        what: impl Into<String>,
    ) {
        if self.suspicions.len() < KEPT_MAX {
            self.kinds.insert(self.suspicions.len(), kind);
        }
        self.suspect(id, what);
    }

    /// What a suspicion is known by: whose it is, and its kind or else its sentence.
    fn mark(&self, at: usize) -> (&str, &str) {
        let one = &self.suspicions[at];
        (&one.id, self.kinds.get(&at).copied().unwrap_or(&one.what))
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
        let mut seen: Vec<(&str, &str)> = (0..first.suspicions.len()).map(|at| first.mark(at)).collect();
        seen.sort_unstable();
        let lasts: Vec<bool> =
            (0..self.suspicions.len()).map(|at| seen.binary_search(&self.mark(at)).is_ok()).collect();
        let mut lasts = lasts.into_iter();
        self.suspicions.retain(|_| lasts.next().unwrap_or(false));
        self.kinds.clear();
        if self.suspicions.is_empty() && first.dropped > 0 {
            self.blind("more looked broken than could be compared with a second look");
        }
        self.dropped = if self.suspicions.is_empty() { 0 } else { self.dropped.min(first.dropped) };
        first.suspicions.len().saturating_sub(self.suspicions.len()) as u64
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

    #[test]
    fn a_break_whose_numbers_move_is_the_same_break() {
        let look = |events: u64| {
            let mut tally = tally(&[("a", "off by 1")]);
            tally.suspect_kind("a", "hole", format!("has {events} events"));
            tally.suspect_kind("b", "hole", format!("has {events} events"));
            tally
        };
        let mut second = look(4);
        assert_eq!(second.confirm(&look(3)), 0);
        assert_eq!(second.suspicions.len(), 3);
        let mut other = tally(&[]);
        other.suspect_kind("a", "overtaken", "has 3 events");
        assert_eq!(other.confirm(&look(3)), 3, "another kind is another break");
    }
}
