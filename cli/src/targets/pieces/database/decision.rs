//! What to do about the two nodes, decided without doing any of it: who is to be fenced, what is to be written down
//! and who may write then, in which order. Pure, so that every order of faults can be tried out, a death of the
//! supervisor between any two steps included.

use std::time::Duration;

use tokio::time::Instant;

use super::probe::Word;
use super::roles::{Copy, Name, Roles};

/// A standby that said nothing for so long is away.
const STANDBY_QUIET_MAX: Duration = Duration::from_secs(3);
/// How long writes may wait for a standby that is away, before they go on without it.
pub(super) const STANDBY_AWAY_MAX: Duration = Duration::from_secs(10);

/// One act. The supervisor may die before and after each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Every process of the node is killed and seen to be gone.
    Fence(Name),
    /// The roles are on the disk.
    Note(Roles),
    /// The node's server runs: to write, unless it is marked as one that follows.
    Start(Name),
    /// The node's server may be written; nothing to do when it may.
    Promote(Name),
    /// The node's server waits for nobody before it answers.
    LetAlone(Name),
    /// The node's server acknowledges nothing that the other one does not have.
    Bind(Name),
}

/// Starts the node that may write, and finishes a promotion that was cut off (then the node `is_marked` as one that
/// follows). Whatever an earlier supervisor left behind on either node is gone before.
pub(super) fn start(roles: Roles, is_marked: bool, wants_standby: bool) -> Vec<Step> {
    let writer = roles.writer;
    let mut steps = vec![Step::Fence(Name::A), Step::Fence(Name::B), Step::Start(writer)];
    if is_marked {
        steps.push(Step::Promote(writer));
    }
    if is_marked || !wants_standby {
        steps.extend(go_alone(roles));
    }
    steps
}

/// The writer waits for nobody from now on, and nobody may take its place. That is written down first: once the writer
/// waits for nobody, the other node's copy is worth nothing.
pub(super) fn go_alone(roles: Roles) -> [Step; 2] {
    [Step::Note(Roles { copy: Copy::Behind, ..roles }), Step::LetAlone(roles.writer)]
}

/// The other node's copy counts from now on. That is written down last: only then has it all that was acknowledged.
pub(super) fn bind(roles: Roles) -> [Step; 2] {
    [Step::Bind(roles.writer), Step::Note(Roles { copy: Copy::Synchronous, ..roles })]
}

/// The writer is lost: the standby takes its place if it runs and nothing can have been acknowledged that it lacks;
/// otherwise the same node starts again, whose log has all of it.
pub(super) fn replace(roles: Roles, standby_runs: bool, is_marked: bool) -> Vec<Step> {
    let old = roles.writer;
    if standby_runs && roles.copy == Copy::Synchronous {
        let next = Roles { epoch: roles.epoch + 1, writer: old.other(), copy: Copy::Behind };
        return vec![
            Step::Fence(old),
            Step::Note(next),
            Step::Promote(next.writer),
            Step::LetAlone(next.writer),
        ];
    }
    let mut steps = vec![
        Step::Fence(old),
        // It will write without its standby, whose copy is worth nothing from then on.
        Step::Note(Roles { copy: Copy::Behind, ..roles }),
        Step::Start(old),
    ];
    if is_marked {
        steps.push(Step::Promote(old));
    }
    steps.push(Step::LetAlone(old));
    steps
}

/// What an answer of the writer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// All is as it should be.
    Nothing,
    /// Writes wait for a standby that is away for too long: [`go_alone`].
    GoAlone,
    /// The standby is there, and does not count yet: [`bind`].
    Bind,
}

/// Remembers since when the writer does not see its standby.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attention {
    away_since: Option<Instant>,
}

impl Attention {
    /// Takes note of what the writer said; `may_bind` when there is a standby that nobody is binding already. Whether it waits is its own word: whatever is written down of the copy, and
    /// whoever asked it to wait, writes must not hang for ever.
    pub(super) fn hear(&mut self, word: Word, copy: Copy, may_bind: bool, now: Instant) -> Duty {
        if word.standby_quiet.is_none_or(|quiet| quiet >= STANDBY_QUIET_MAX) {
            let last = now.checked_sub(word.standby_quiet.unwrap_or_default()).unwrap_or(now);
            let since = *self.away_since.get_or_insert(last);
            let is_too_long = now.saturating_duration_since(since) >= STANDBY_AWAY_MAX;
            return if word.waits && is_too_long { Duty::GoAlone } else { Duty::Nothing };
        }
        self.away_since = None;
        if copy == Copy::Behind && may_bind { Duty::Bind } else { Duty::Nothing }
    }

    /// There is another writer, who has seen nothing yet.
    pub(super) fn forget(&mut self) {
        self.away_since = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn word(quiet_s: Option<u64>, waits: bool) -> Word {
        Word { standby_quiet: quiet_s.map(Duration::from_secs), waits }
    }

    #[test]
    fn a_writer_that_waits_for_an_absent_standby_is_let_go_whatever_is_written_down() {
        for copy in [Copy::Behind, Copy::Synchronous] {
            for may_bind in [false, true] {
                let (mut attention, began) = (Attention::default(), Instant::now());
                let mut hear = |at, waits| attention.hear(word(None, waits), copy, may_bind, began + at);
                assert_eq!(hear(Duration::ZERO, true), Duty::Nothing);
                assert_eq!(hear(STANDBY_AWAY_MAX - Duration::from_millis(1), true), Duty::Nothing);
                assert_eq!(hear(STANDBY_AWAY_MAX, true), Duty::GoAlone);
                // Should it still wait, it is let go again.
                assert_eq!(hear(STANDBY_AWAY_MAX + SECOND, true), Duty::GoAlone);
                assert_eq!(hear(STANDBY_AWAY_MAX + 2 * SECOND, false), Duty::Nothing);
            }
        }
    }

    #[test]
    fn a_standby_that_fell_silent_is_away_since_its_last_word() {
        let (mut attention, began) = (Attention::default(), Instant::now() + 20 * SECOND);
        let mut hear = |quiet_s, at| {
            attention.hear(word(Some(quiet_s), true), Copy::Synchronous, false, began + at * SECOND)
        };
        assert_eq!(hear(2, 0), Duty::Nothing);
        assert_eq!(hear(3, 1), Duty::Nothing);
        assert_eq!(hear(9, 7), Duty::Nothing);
        assert_eq!(hear(10, 8), Duty::GoAlone);
    }

    #[test]
    fn a_standby_that_is_there_is_bound_once() {
        let (mut attention, now) = (Attention::default(), Instant::now());
        assert_eq!(attention.hear(word(Some(0), false), Copy::Behind, true, now), Duty::Bind);
        assert_eq!(attention.hear(word(Some(0), true), Copy::Behind, false, now), Duty::Nothing);
        assert_eq!(attention.hear(word(Some(0), true), Copy::Synchronous, true, now), Duty::Nothing);
    }

    /// A node as far as it matters who has what.
    #[derive(Clone, Debug, Default)]
    struct Machine {
        /// What is on its disk; none when a copy of it is being made anew.
        log: Option<Vec<u32>>,
        /// The mark on its disk that it follows.
        is_marked: bool,
        /// The setting on its disk that it waits for the other.
        waits: bool,
        server: Option<Running>,
    }

    #[derive(Clone, Debug, Default)]
    struct Running {
        is_frozen: bool,
        may_be_written: bool,
        /// Receives what the other writes.
        follows: bool,
        /// Written, and not acknowledged yet.
        waiting: Vec<u32>,
    }

    /// Two nodes, a disk with roles, and a supervisor that may be dead.
    #[derive(Debug)]
    struct World {
        nodes: [Machine; 2],
        roles: Roles,
        acknowledged: Vec<u32>,
        written: u32,
        supervisor: Option<Supervisor>,
    }

    #[derive(Debug, Default)]
    struct Supervisor {
        /// What it is about to do.
        plan: std::collections::VecDeque<Step>,
        standby_runs: bool,
        /// How much of a standby's coming is done.
        coming: Option<u32>,
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Write,
        /// The standby receives what it has missed.
        CatchUp,
        Kill(Name),
        Freeze(Name),
        Thaw(Name),
        SupervisorDies,
        /// It starts; does nothing when there is one.
        SupervisorStarts,
        /// It takes the next step of its plan, or looks and makes one.
        Act,
        /// The standby is away for so long that the writer is to be let go.
        Patience,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let name = || prop_oneof![Just(Name::A), Just(Name::B)];
        let event = prop_oneof![
            8 => Just(Event::Write),
            3 => Just(Event::CatchUp),
            2 => name().prop_map(Event::Kill),
            2 => name().prop_map(Event::Freeze),
            2 => name().prop_map(Event::Thaw),
            1 => Just(Event::SupervisorDies),
            2 => Just(Event::SupervisorStarts),
            12 => Just(Event::Act),
            1 => Just(Event::Patience),
        ];
        proptest::collection::vec(event, 1..400)
    }

    impl World {
        fn new() -> Self {
            let made = Machine { log: Some(Vec::new()), ..Machine::default() };
            Self {
                nodes: [made, Machine::default()],
                roles: Roles::default(),
                acknowledged: Vec::new(),
                written: 0,
                supervisor: None,
            }
        }

        fn node(&mut self, name: Name) -> &mut Machine {
            &mut self.nodes[usize::from(name == Name::B)]
        }

        /// Whether `name` receives what the other one writes at this moment.
        fn streams(&self, name: Name) -> bool {
            let [a, b] = &self.nodes;
            let (own, other) = if name == Name::A { (a, b) } else { (b, a) };
            own.server.as_ref().is_some_and(|server| server.follows && !server.is_frozen)
                && other.server.as_ref().is_some_and(|server| server.may_be_written && !server.is_frozen)
        }

        fn happen(&mut self, event: Event) {
            match event {
                Event::Write => self.write(),
                Event::CatchUp => self.catch_up(),
                Event::Kill(name) => self.node(name).server = None,
                Event::Freeze(name) | Event::Thaw(name) => {
                    if let Some(server) = &mut self.node(name).server {
                        server.is_frozen = matches!(event, Event::Freeze(_));
                    }
                }
                Event::SupervisorDies => {
                    self.supervisor = None;
                    // Its servers are told to end; those that are frozen do not hear it.
                    for node in &mut self.nodes {
                        node.server.take_if(|server| !server.is_frozen);
                    }
                }
                Event::SupervisorStarts => {
                    if self.supervisor.is_none() {
                        let is_marked = self.node(self.roles.writer).is_marked;
                        let plan = start(self.roles, is_marked, true).into();
                        self.supervisor = Some(Supervisor { plan, ..Supervisor::default() });
                    }
                }
                Event::Act => self.act(),
                Event::Patience => {
                    let waits = self.node(self.roles.writer).waits;
                    let is_there = self.streams(self.roles.writer.other());
                    let roles = self.roles;
                    if let Some(supervisor) = &mut self.supervisor
                        && supervisor.plan.is_empty()
                        && waits
                        && !is_there
                    {
                        supervisor.plan = go_alone(roles).into();
                    }
                }
            }
        }

        /// Clients write to whoever takes it.
        fn write(&mut self) {
            self.written += 1;
            let txn = self.written;
            for name in [Name::A, Name::B] {
                let streams = self.streams(name.other());
                let node = self.node(name);
                let waits = node.waits;
                let Some(server) =
                    node.server.as_mut().filter(|server| server.may_be_written && !server.is_frozen)
                else {
                    continue;
                };
                node.log.as_mut().expect("it runs on data").push(txn);
                server.waiting.push(txn);
                if !waits {
                    let done = std::mem::take(&mut server.waiting);
                    self.acknowledged.extend(done);
                }
                if streams && waits {
                    self.catch_up();
                }
            }
        }

        fn catch_up(&mut self) {
            for name in [Name::A, Name::B] {
                if self.streams(name) {
                    let log = self.node(name.other()).log.clone();
                    self.node(name).log = log;
                    // Whoever waited for exactly that is answered.
                    let server = self.node(name.other()).server.as_mut().expect("it streams");
                    let done = std::mem::take(&mut server.waiting);
                    self.acknowledged.extend(done);
                }
            }
        }

        fn act(&mut self) {
            let Some(supervisor) = &mut self.supervisor else { return };
            match supervisor.plan.pop_front() {
                Some(step) => self.take(step),
                None => self.look(),
            }
        }

        /// What the guardian does when nothing is under way.
        fn look(&mut self) {
            let (roles, writer, other) = (self.roles, self.roles.writer, self.roles.writer.other());
            let is_marked = self.node(writer).is_marked;
            let is_lost = self.node(writer).server.as_ref().is_none_or(|server| server.is_frozen);
            let standby_ended = self.node(other).server.is_none();
            let streams = self.streams(other);
            let supervisor = self.supervisor.as_mut().expect("it acts");
            if supervisor.standby_runs && standby_ended {
                supervisor.standby_runs = false;
            }
            if is_lost {
                supervisor.plan = replace(roles, supervisor.standby_runs, is_marked).into();
                if roles.copy == Copy::Synchronous {
                    supervisor.standby_runs = false;
                }
                supervisor.coming = None;
                return;
            }
            if !supervisor.standby_runs {
                self.bring_standby();
            } else if roles.copy == Copy::Behind && streams {
                supervisor.plan = bind(roles).into();
            }
        }

        /// A standby comes in three parts: what was there is of no use, a copy is made, it runs.
        fn bring_standby(&mut self) {
            let (writer, other) = (self.roles.writer, self.roles.writer.other());
            let supervisor = self.supervisor.as_mut().expect("it acts");
            let part = supervisor.coming.unwrap_or(0);
            supervisor.coming = Some(part + 1);
            match part {
                0 => {
                    let node = self.node(other);
                    (node.server, node.log) = (None, None);
                }
                1 => {
                    let source = self.node(writer).clone();
                    let node = self.node(other);
                    (node.log, node.is_marked, node.waits) = (source.log, true, source.waits);
                }
                _ => {
                    supervisor.coming = None;
                    supervisor.standby_runs = true;
                    self.node(other).server = Some(Running { follows: true, ..Running::default() });
                    self.catch_up();
                }
            }
        }

        fn take(&mut self, step: Step) {
            match step {
                Step::Fence(name) => self.node(name).server = None,
                Step::Note(roles) => self.roles = roles,
                Step::Start(name) => {
                    let node = self.node(name);
                    assert!(node.log.is_some(), "{name:?} is started without data");
                    let may_be_written = !node.is_marked;
                    node.server = Some(Running { may_be_written, ..Running::default() });
                }
                Step::Promote(name) => {
                    let node = self.node(name);
                    let Some(server) = node.server.as_mut().filter(|server| !server.is_frozen) else {
                        // It ended or hangs: the guardian starts it anew, from its fence on.
                        let is_marked = node.is_marked;
                        let plan = replace(self.roles, false, is_marked).into();
                        self.supervisor.as_mut().expect("it acts").plan = plan;
                        return;
                    };
                    (server.may_be_written, server.follows) = (true, false);
                    node.is_marked = false;
                }
                Step::LetAlone(name) | Step::Bind(name) => {
                    let streams = self.streams(name.other());
                    let node = self.node(name);
                    let Some(server) = node.server.as_mut().filter(|server| !server.is_frozen) else {
                        self.supervisor.as_mut().expect("it acts").plan.clear();
                        return;
                    };
                    node.waits = matches!(step, Step::Bind(_));
                    if matches!(step, Step::LetAlone(_)) {
                        // Whoever waited is answered.
                        let done = std::mem::take(&mut server.waiting);
                        self.acknowledged.extend(done);
                    } else if streams {
                        self.catch_up();
                    } else {
                        // The standby does not become synchronous: that is given up, and tried again later.
                        self.supervisor.as_mut().expect("it acts").plan.clear();
                    }
                }
            }
        }

        fn check(&self) {
            let writers = self.nodes.iter().filter_map(|node| node.server.as_ref());
            let writers = writers.filter(|server| server.may_be_written).count();
            assert!(writers <= 1, "two nodes may be written");
            let keeper = &self.nodes[usize::from(self.roles.writer == Name::B)];
            let kept = keeper.log.as_deref().expect("who may write has data");
            let lost = self.acknowledged.iter().find(|txn| !kept.contains(txn));
            assert_eq!(lost, None, "the node that may write lacks what was acknowledged");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        #[test]
        fn there_are_never_two_writers_and_nothing_acknowledged_is_lost(events in events()) {
            let mut world = World::new();
            for event in events {
                world.happen(event);
                world.check();
            }
        }
    }

    #[test]
    fn the_story_of_a_failover_is_possible_in_the_model() {
        let mut world = World::new();
        let mut happen = |events: &[Event]| {
            for event in events {
                world.happen(*event);
                world.check();
            }
            world.roles
        };
        happen(&[Event::SupervisorStarts]);
        let bound = happen(&[Event::Act; 9]);
        assert_eq!((bound.writer, bound.copy), (Name::A, Copy::Synchronous));
        let next =
            happen(&[Event::Write, Event::Freeze(Name::A), Event::Act, Event::Act, Event::Act, Event::Act]);
        assert_eq!((next.writer, next.epoch), (Name::B, 2));
        happen(&[Event::Act, Event::Write]);
        assert_eq!(world.acknowledged, [1, 2]);
    }
}
