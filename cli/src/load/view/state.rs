//! What the view knows: the newest snapshot, a little of the past, and where the levers stand.

use std::collections::VecDeque;

use super::super::control::Control;
use super::super::scenario::{ProfileKind, Scenario};
use super::super::snapshot::Snapshot;
use super::keys::Action;

/// Seconds of the past that are kept: as many as any terminal is wide.
const PAST_MAX: usize = 512;

/// Which levers a load has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levers {
    /// It can be paused, and there can be more and less of it.
    All,
    /// It can be paused: there are as many users as there are.
    Pause,
    /// None: its plateaus are judged at the rates that they were meant to have.
    None,
}

impl Levers {
    /// Those of `scenario`.
    #[must_use]
    pub fn of(scenario: &Scenario) -> Self {
        match scenario.profile.kind {
            ProfileKind::Step | ProfileKind::Knee => Self::None,
            _ if scenario.load.users.is_some() => Self::Pause,
            _ => Self::All,
        }
    }

    /// Why `action` cannot be had, when it cannot.
    fn refuse(self, action: Action) -> Option<&'static str> {
        match (self, action) {
            (Self::None, Action::Pause | Action::More | Action::Less) => {
                Some("plateaus are judged at their own rates: this load can only be stopped")
            }
            (Self::Pause, Action::More | Action::Less) => {
                Some("there are as many users as there are: `--users` says how many")
            }
            _ => None,
        }
    }
}

/// A second of the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Past {
    pub(super) asked: u64,
    pub(super) started: u64,
    /// Absent when nothing ended in it.
    pub(super) p99_us: Option<u64>,
    pub(super) errors: u64,
}

/// How a run stands.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) scenario: String,
    pub(super) target: String,
    pub(super) levers: Levers,
    /// Absent until the first second is over.
    pub(super) newest: Option<Snapshot>,
    /// The newest last. A second that was missed is absent.
    pub(super) past: VecDeque<Option<Past>>,
    pub(super) is_paused: bool,
    pub(super) is_stopped: bool,
    pub(super) factor: f64,
    pub(super) shows_help: bool,
    /// What the last key came to, when it came to nothing.
    pub(super) note: Option<&'static str>,
    is_fresh: bool,
}

impl State {
    /// A run of the scenario called `scenario` against `target` that has not begun.
    #[must_use]
    pub fn new(scenario: &str, target: &str, levers: Levers) -> Self {
        Self {
            scenario: scenario.to_owned(),
            target: target.to_owned(),
            levers,
            newest: None,
            past: VecDeque::new(),
            is_paused: false,
            is_stopped: false,
            factor: 1.0,
            shows_help: false,
            note: None,
            is_fresh: true,
        }
    }

    /// Takes up a second that is over.
    pub fn on(&mut self, snapshot: Snapshot) {
        let second = &snapshot.second;
        let missed = self.newest.as_ref().map_or(0, |newest| {
            second.at_s.saturating_sub(newest.second.at_s).saturating_sub(1).min(PAST_MAX as u64)
        });
        (0..missed).for_each(|_| self.past.push_back(None));
        self.past.push_back(Some(Past {
            asked: second.asked,
            started: second.started,
            p99_us: (second.all.count > 0).then_some(second.all.p99_us),
            errors: second.all.errors,
        }));
        while self.past.len() > PAST_MAX {
            self.past.pop_front();
        }
        self.newest = Some(snapshot);
    }

    /// Where the levers stand now. Whether that is news.
    pub(super) fn steered(&mut self, control: &Control) -> bool {
        let before = (self.is_paused, self.is_stopped, self.factor);
        (self.is_paused, self.is_stopped, self.factor) =
            (control.is_paused(), control.is_stopped(), control.factor());
        before != (self.is_paused, self.is_stopped, self.factor)
    }

    /// Takes up what a key asks for: what is left to be done about it, when anything is.
    pub(super) fn heard(&mut self, action: Action) -> Option<Action> {
        self.is_fresh = true;
        self.note = self.levers.refuse(action);
        if action == Action::Help {
            self.shows_help = !self.shows_help;
        }
        // A load that is over is not paused or multiplied.
        let is_too_late = self.is_stopped && matches!(action, Action::Pause | Action::More | Action::Less);
        (self.note.is_none() && !is_too_late).then_some(action)
    }

    /// Whether it was drawn since a key has changed it.
    pub(super) fn was_drawn(&self) -> bool {
        !self.is_fresh
    }

    /// It was drawn.
    pub(super) fn drawn(&mut self) {
        self.is_fresh = false;
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::snapshot;
    use super::*;

    #[test]
    fn the_newest_second_and_the_past_are_kept_and_what_was_missed_leaves_a_gap() {
        let mut state = State::new("mixed", "http://127.0.0.1:1", Levers::All);
        for at_s in [0, 1, 4] {
            state.on(snapshot(at_s));
        }
        let seen: Vec<Option<u64>> = state.past.iter().map(|past| past.map(|past| past.asked)).collect();
        assert_eq!(seen, [Some(46), Some(49), None, None, Some(53)]);
        assert_eq!(state.newest.as_ref().map(|newest| newest.second.at_s), Some(4));
    }

    #[test]
    fn a_second_in_which_nothing_ended_has_no_times() {
        let mut state = State::new("mixed", "http://127.0.0.1:1", Levers::All);
        let mut silent = snapshot(0);
        silent.second.all = Default::default();
        state.on(silent);
        assert_eq!(state.past[0].and_then(|past| past.p99_us), None);
    }

    #[test]
    fn memory_does_not_grow_with_the_length_of_a_run() {
        let mut state = State::new("soak", "http://127.0.0.1:1", Levers::All);
        for at_s in [0, 10_000, 10_001, 1_000_000] {
            state.on(snapshot(at_s));
            assert!(state.past.len() <= PAST_MAX);
        }
    }

    #[test]
    fn a_note_goes_with_the_next_key() {
        let mut state = State::new("knee", "http://127.0.0.1:1", Levers::None);
        assert_eq!(state.heard(Action::More), None);
        assert!(state.note.is_some());
        assert_eq!(state.heard(Action::Help), Some(Action::Help));
        assert!(state.note.is_none() && state.shows_help);
    }

    #[test]
    fn a_load_has_the_levers_that_it_can_follow() {
        let of = |name: &str| {
            let built_in = super::super::super::scenario::find(name).unwrap();
            Levers::of(&Scenario::read(name, built_in.text).unwrap())
        };
        assert_eq!([of("mixed"), of("spike"), of("knee")], [Levers::All, Levers::All, Levers::None]);
        assert_eq!(of("ten-thousand"), Levers::Pause);
    }
}
