//! A little cluster, and a driver that may die at any moment. Pods take time to get ready and get lost, EndpointSlices lag
//! behind pods, whoever routes requests forgets an endpoint at once and takes a while until it uses a new one, an
//! autoscaler changes its mind.

use std::collections::BTreeMap;

use super::action::{Action, Outcome, RevisionStatus};
use super::gates::{Reading, Readings};
use super::machine::{Next, step};
use super::observation::{Command, Endpoint, JobSeen, Observation, SlotSeen, Verb};
use super::plan::Plan;
use super::slot::{PerSlot, Selector, Slot};
use super::state::{Phase, State};
use super::testing::at;
use crate::cluster::readiness::Status;

/// When a simulation begins. Everything was as it is for long.
const BEGIN: u64 = 1_000;
/// A pod that ends goes on answering for so long.
const GRACE_SECONDS: u64 = 10;
/// A Deployment whose pods do not get ready has failed after so long.
const PROGRESS_SECONDS: u64 = 60;

/// What the new revision is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quality {
    Good,
    /// Its pods never get ready.
    NeverReady,
    /// Its pods are ready, and customers suffer.
    Slow,
    /// Nobody measures it.
    Unmeasured,
}

/// How the cluster behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    pub(super) quality: Quality,
    /// From the making of a pod until it is ready.
    pub(super) boot_seconds: u64,
    /// How far EndpointSlices lag behind pods.
    pub(super) slices_lag_seconds: u64,
    /// How long it takes until a new endpoint is sent requests.
    pub(super) routes_lag_seconds: u64,
    /// Pods of an even older revision in the idle slot.
    pub(super) left_over: u32,
}

/// When the driver dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    Never,
    /// It has decided, and not stored it.
    BeforeStoring,
    /// It has stored it, and done nothing of it.
    BeforeActing,
    /// It has done so many of the actions.
    After(usize),
}

#[derive(Clone, Debug)]
struct Pod {
    uid: String,
    revision: u64,
    ready_at: u64,
}

#[derive(Clone, Debug, Default)]
struct Deployment {
    exists: bool,
    revision: u64,
    replicas: u32,
    applied_at: u64,
    is_autoscaled: bool,
    pods: Vec<Pod>,
}

/// The EndpointSlices, which follow the pods with a lag.
#[derive(Default)]
struct Slices {
    endpoints: Vec<Endpoint>,
    behind_since: Option<u64>,
}

impl Slices {
    fn follow(&mut self, selected: &[Endpoint], now: u64, lag: u64) {
        if self.endpoints == selected {
            self.behind_since = None;
        } else if now >= *self.behind_since.get_or_insert(now) + lag {
            (self.endpoints, self.behind_since) = (selected.to_vec(), None);
        }
    }
}

/// The cluster, what is stored in it, and the driver.
pub(super) struct World {
    plan: Plan,
    habits: Habits,
    now: u64,
    slots: PerSlot<Deployment>,
    selector: Option<Selector>,
    slices: Slices,
    /// Pods that whoever routes knows, and since when.
    routes: BTreeMap<String, u64>,
    /// Pods that are about to end, and when they have.
    leaving: Vec<(String, u64)>,
    records: [Option<RevisionStatus>; 2],
    job_started_at: Option<u64>,
    readings: Option<Readings>,
    next_reading_is_bad: bool,
    /// What the autoscaler thinks is needed.
    demand: u32,
    is_meddled: bool,
    made: u32,
    stored: String,
    driver: Option<State>,
    command: Option<Command>,
    commands: u32,
    pub(super) deadline_passed: bool,
    /// Whether whoever routes is held to the promise at every moment: only where nobody takes pods away.
    pub(super) is_calm: bool,
}

impl World {
    /// Revision 1 serves in slot a with three pods.
    pub(super) fn new(plan: Plan, habits: Habits) -> Self {
        let state = State::new(plan.clone(), Slot::A, at(BEGIN));
        let mut world = Self {
            habits,
            now: BEGIN,
            slots: PerSlot::default(),
            selector: Some(Selector::Narrow(Slot::A)),
            slices: Slices::default(),
            routes: BTreeMap::new(),
            leaving: Vec::new(),
            records: [None, Some(RevisionStatus::Deployed)],
            job_started_at: None,
            readings: None,
            next_reading_is_bad: false,
            demand: 3,
            is_meddled: false,
            made: 0,
            stored: serde_json::to_string(&state).unwrap(),
            driver: Some(state),
            command: None,
            commands: 0,
            deadline_passed: false,
            is_calm: false,
            plan,
        };
        for (slot, revision, replicas) in [(Slot::A, 1, 3), (Slot::B, 0, habits.left_over)] {
            *world.slots.of_mut(slot) = Deployment {
                exists: slot == Slot::A || replicas > 0,
                revision,
                replicas,
                is_autoscaled: slot == Slot::A && world.plan.is_autoscaled(),
                ..Deployment::default()
            };
            world.reconcile(slot);
        }
        // It has been like that for long.
        let rested = |pod: &mut Pod| pod.ready_at = 0;
        Slot::ALL.into_iter().for_each(|slot| world.slots.of_mut(slot).pods.iter_mut().for_each(rested));
        world.slices.endpoints = world.selected();
        world.routes = world.slices.endpoints.iter().map(|endpoint| (endpoint.uid.clone(), 0)).collect();
        world
    }

    pub(super) fn state(&self) -> State {
        serde_json::from_str(&self.stored).unwrap()
    }

    fn is_ready(&self, pod: &Pod) -> bool {
        pod.ready_at <= self.now
    }

    fn ready(&self, slot: Slot) -> u32 {
        let ready = self.slots.of(slot).pods.iter().filter(|pod| self.is_ready(pod)).count();
        u32::try_from(ready).unwrap()
    }

    /// The endpoints that there are to be.
    fn selected(&self) -> Vec<Endpoint> {
        let Some(selector) = self.selector else { return Vec::new() };
        let selected = Slot::ALL.into_iter().filter(|slot| selector.selects(*slot));
        selected
            .flat_map(|slot| {
                self.slots.of(slot).pods.iter().map(move |pod| Endpoint {
                    uid: pod.uid.clone(),
                    slot: Some(slot),
                    ready: self.is_ready(pod),
                })
            })
            .collect()
    }

    /// How many ready pods the Service selects.
    fn behind_the_service(&self) -> u32 {
        let selects = |slot: &Slot| self.selector.is_some_and(|selector| selector.selects(*slot));
        Slot::ALL.into_iter().filter(selects).map(|slot| self.ready(slot)).sum()
    }

    /// How many pods the service is to have at least.
    fn floor(&self) -> u32 {
        let needed = match self.plan.replicas {
            Some(replicas) => replicas.min(3),
            None => self.demand,
        };
        needed.saturating_sub(self.plan.max_unavailable)
    }

    /// How many pods answer the requests that are sent to them.
    fn answering(&self) -> u32 {
        let answers = |uid: &String| {
            let is_leaving = self.leaving.iter().any(|(leaving, _)| leaving == uid);
            let mut pods = Slot::ALL.into_iter().flat_map(|slot| &self.slots.of(slot).pods);
            is_leaving || pods.any(|pod| pod.uid == *uid && self.is_ready(pod))
        };
        let is_used = |since: u64| self.now >= since + self.habits.routes_lag_seconds;
        let used = self.routes.iter().filter(|(uid, since)| is_used(**since) && answers(uid));
        u32::try_from(used.count()).unwrap()
    }

    /// Time passes.
    pub(super) fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += 1;
            let now = self.now;
            self.leaving.retain(|(_, until)| *until > now);
            Slot::ALL.into_iter().for_each(|slot| self.reconcile(slot));
            let selected = self.selected();
            self.slices.follow(&selected, now, self.habits.slices_lag_seconds);
            let ready = self.slices.endpoints.iter().filter(|endpoint| endpoint.ready);
            let known = |endpoint: &Endpoint| self.routes.get(&endpoint.uid).copied().unwrap_or(now);
            self.routes = ready.map(|endpoint| (endpoint.uid.clone(), known(endpoint))).collect();
            if self.is_calm {
                let (answering, floor) = (self.answering(), self.floor());
                assert!(answering >= floor, "{answering} pods answer, {floor} are needed: {}", self.told());
            }
        }
    }

    /// What the Deployment's controller does in a second.
    fn reconcile(&mut self, slot: Slot) {
        let (now, habits) = (self.now, self.habits);
        let floor = self.slots.of(slot).replicas.saturating_sub(self.plan.max_unavailable);
        let deployment = self.slots.of_mut(slot);
        let wanted = deployment.replicas as usize;
        let is_ready = |pod: &Pod| pod.ready_at <= now;
        // `minReadySeconds` is chosen so that a new pod is sent requests before an old one goes.
        let settled = habits.slices_lag_seconds + habits.routes_lag_seconds + 1;
        let is_available = |pod: &Pod| is_ready(pod) && pod.ready_at.saturating_add(settled) <= now;
        // Old ones go first, and those that are not ready before those that are.
        let revision = deployment.revision;
        deployment.pods.sort_by_key(|pod| (pod.revision != revision, !is_ready(pod)));
        let mut gone = deployment.pods.split_off(deployment.pods.len().min(wanted + 1));
        let is_old = |pod: &Pod| pod.revision != revision;
        let available = deployment.pods.iter().filter(|pod| is_available(pod)).count();
        let has_old = deployment.pods.iter().any(is_old);
        let may_lose = |pod: &Pod| !is_available(pod) || available > floor as usize;
        if deployment.pods.len() > wanted
            && deployment.pods.last().is_some_and(|pod| !has_old || may_lose(pod))
        {
            gone.extend(deployment.pods.pop());
        }
        let surge = usize::from(deployment.pods.iter().any(is_old));
        while deployment.pods.len() < wanted + surge {
            self.made += 1;
            let is_bad = revision == self.plan.revision && habits.quality == Quality::NeverReady;
            let ready_at = if is_bad { u64::MAX } else { now + habits.boot_seconds };
            deployment.pods.push(Pod { uid: format!("{slot}-{}", self.made), revision, ready_at });
        }
        self.leaving.extend(gone.into_iter().filter(is_ready).map(|pod| (pod.uid, now + GRACE_SECONDS)));
    }

    /// A pod is lost: its container starts again, or another one takes its place.
    pub(super) fn lose(&mut self, slot: Slot, which: usize, is_gone: bool) {
        let ready_at = self.now + self.habits.boot_seconds;
        let pods = &mut self.slots.of_mut(slot).pods;
        if pods.is_empty() {
            return;
        }
        let which = which % pods.len();
        if is_gone {
            pods.remove(which);
        } else {
            pods[which].ready_at = pods[which].ready_at.max(ready_at);
        }
    }

    /// The autoscaler changes its mind, where there is one. Once somebody has moved the traffic under it, what it thinks is
    /// no measure of what is needed.
    pub(super) fn autoscale(&mut self, replicas: u32) {
        for slot in Slot::ALL {
            let deployment = self.slots.of_mut(slot);
            if deployment.is_autoscaled && !self.is_meddled {
                (deployment.replicas, self.demand) = (replicas, replicas);
            }
        }
    }

    /// The next figures are bad, whatever the revision.
    pub(super) fn spoil_a_reading(&mut self) {
        self.next_reading_is_bad = true;
    }

    /// Somebody else makes the Service select something else. A rolling release that changed nothing yet has nothing to
    /// say to that, nor has one that has ended.
    pub(super) fn meddle(&mut self, selector: Selector) {
        let has_ended = matches!(self.state().phase(), Phase::Ended(_));
        if self.plan.blue_green().is_some() && !has_ended {
            (self.selector, self.is_meddled) = (Some(selector), true);
        }
    }

    pub(super) fn say(&mut self, verb: Verb) {
        self.commands += 1;
        let id = self.commands.to_string();
        self.command = Some(Command { id, by: "ann".to_owned(), why: None, verb });
    }

    fn see_slot(&self, slot: Slot) -> SlotSeen {
        let deployment = self.slots.of(slot);
        let ready = deployment.pods.iter().filter(|pod| self.is_ready(pod));
        let is_done = self.ready(slot) == deployment.replicas
            && deployment.pods.len() == deployment.replicas as usize
            && deployment.pods.iter().all(|pod| pod.revision == deployment.revision);
        let is_late = self.now >= deployment.applied_at + PROGRESS_SECONDS
            && deployment.pods.iter().any(|pod| pod.ready_at == u64::MAX);
        SlotSeen {
            exists: deployment.exists,
            revision: deployment.exists.then_some(deployment.revision),
            replicas: deployment.replicas,
            pods: u32::try_from(deployment.pods.len()).unwrap(),
            ready: ready.map(|pod| pod.uid.clone()).collect(),
            status: match (is_done, is_late) {
                (true, _) => Status::Current,
                (false, true) => Status::Failed { why: "late".to_owned() },
                (false, false) => Status::InProgress { why: "not yet".to_owned() },
            },
            trouble: None,
            is_autoscaled: deployment.is_autoscaled,
        }
    }

    fn see(&self) -> Observation {
        let mut endpoints = self.slices.endpoints.clone();
        for endpoint in &mut endpoints {
            let is_there = |slot: &Slot| self.slots.of(*slot).pods.iter().any(|pod| pod.uid == endpoint.uid);
            endpoint.slot = Slot::ALL.into_iter().find(is_there);
        }
        let prepare = self.job_started_at.map(|started_at| JobSeen {
            status: if self.now >= started_at + 5 {
                Status::Current
            } else {
                Status::InProgress { why: "runs".to_owned() }
            },
            trouble: None,
        });
        Observation {
            slots: PerSlot { a: self.see_slot(Slot::A), b: self.see_slot(Slot::B) },
            endpoints,
            selector: self.selector,
            prepare,
            record: self.records[0],
            previous_record: self.records[1],
            readings: self.readings.clone(),
            command: self.command.clone(),
            deadline_passed: self.deadline_passed,
        }
    }

    /// The driver takes a step, or dies in it; one that is dead is followed by another.
    pub(super) fn drive(&mut self, crash: Crash) -> Next {
        let stored = self.state();
        let state = self.driver.take().unwrap_or_else(|| stored.resume(at(self.now)));
        let step = step(&state, &self.see(), at(self.now));
        let again = super::machine::step(&state, &self.see(), at(self.now));
        assert_eq!(step, again, "the same sight asks for the same");
        if crash == Crash::BeforeStoring {
            return step.next;
        }
        self.stored = serde_json::to_string(&step.state).unwrap();
        assert_eq!(self.state(), step.state, "what is stored is read back as it was");
        self.command = None;
        let done = match crash {
            Crash::BeforeActing => 0,
            Crash::After(actions) => actions,
            Crash::BeforeStoring | Crash::Never => step.actions.len(),
        };
        step.actions.iter().take(done).for_each(|action| self.act(action));
        if crash == Crash::Never && !matches!(step.next, Next::Stuck { .. }) {
            self.driver = Some(step.state);
        }
        step.next
    }

    /// Carries out an action, and holds it to what is promised of every one.
    fn act(&mut self, action: &Action) {
        let before = self.behind_the_service();
        self.carry_out(action);
        let after = self.behind_the_service();
        assert!(before == 0 || after > 0, "{action} leaves nobody: {}", self.told());
        let floor = self.floor().min(before);
        assert!(
            after >= floor,
            "{action} leaves {after} ready pods of {before}, {floor} are needed: {}",
            self.told()
        );
    }

    fn carry_out(&mut self, action: &Action) {
        match action {
            Action::MarkRevision { revision, status } => {
                self.records[usize::from(*revision != self.plan.revision)] = Some(*status);
            }
            Action::RunPrepareJob { .. } => {
                self.job_started_at.get_or_insert(self.now);
            }
            Action::ApplySlot { slot, revision, replicas } => {
                let now = self.now;
                let deployment = self.slots.of_mut(*slot);
                (deployment.exists, deployment.revision, deployment.applied_at) = (true, *revision, now);
                if let Some(replicas) = replicas {
                    self.scale(*slot, *replicas);
                }
            }
            Action::Scale { slot, replicas } => self.scale(*slot, *replicas),
            Action::Select { selector } => self.selector = Some(*selector),
            Action::Autoscale { slot } => {
                for one in Slot::ALL {
                    self.slots.of_mut(one).is_autoscaled = *slot == Some(one);
                }
            }
            Action::CheckGates { round, .. } => {
                let is_bad = std::mem::take(&mut self.next_reading_is_bad);
                let value = match self.habits.quality {
                    _ if is_bad => Some(900.0),
                    Quality::Slow => Some(900.0),
                    Quality::Unmeasured => None,
                    Quality::Good | Quality::NeverReady => Some(10.0),
                };
                let value = value.ok_or_else(|| "nobody came".to_owned());
                let reading = Reading { gate: "latency".to_owned(), value, samples: 10 };
                self.readings = Some(Readings { round: *round, readings: vec![reading] });
            }
        }
    }

    /// Pods beyond a smaller number go at once, which is the worst that can happen; the youngest first.
    fn scale(&mut self, slot: Slot, replicas: u32) {
        let now = self.now;
        let deployment = self.slots.of_mut(slot);
        if replicas < deployment.replicas {
            deployment.pods.sort_by_key(|pod| pod.ready_at);
            let gone = deployment.pods.split_off(deployment.pods.len().min(replicas as usize));
            let ready = gone.into_iter().filter(|pod| pod.ready_at <= now);
            self.leaving.extend(ready.map(|pod| (pod.uid, now + GRACE_SECONDS)));
        }
        self.slots.of_mut(slot).replicas = replicas;
    }

    /// Nothing bad happens any more: it is driven to its end. A person who is waited for says `verb`.
    pub(super) fn finish(&mut self, verb: Verb) -> Outcome {
        for _ in 0..2_000 {
            let next = self.drive(Crash::Never);
            if let Next::Ended(outcome) = next {
                return outcome;
            }
            let state = self.state();
            if matches!(next, Next::Stuck { .. }) && *state.phase() == Phase::Retire {
                // Somebody moved the Service: which of the two is right is for a person to say.
                self.say(Verb::Undo);
            }
            if state.waits_for_a_person() {
                // What is released is not aborted any more.
                self.say(if state.is_released() { Verb::Promote } else { verb });
            }
            self.pass(2);
        }
        panic!("it comes to no end: {}", self.told());
    }

    /// Checks that nothing is left half done.
    pub(super) fn check_the_end(&mut self, outcome: &Outcome) {
        let state = self.state();
        if !state.has_begun {
            // It was aborted before, or the Service selected something else than what counts as live.
            assert!(!matches!(self.records[0], Some(RevisionStatus::Pending | RevisionStatus::Deployed)));
            assert_eq!(self.slots.of(state.old_slot()).revision, 1, "{}", self.told());
            return;
        }
        // Old pods may still be on their way out, and lost ones on their way back.
        self.pass(100);
        let live = state.live();
        let told = self.told();
        assert_eq!(self.selector, Some(Selector::Narrow(live)), "{told}");
        let is_released = *outcome == Outcome::Released;
        let (slot, revision) = if is_released { (state.new_slot(), 2) } else { (state.old_slot(), 1) };
        let deployment = self.slots.of(live);
        assert_eq!((live, deployment.revision), (slot, revision), "{told}");
        assert!(self.ready(live) > 0 && self.ready(live) == deployment.replicas, "{told}");
        assert!(self.ready(live) >= self.floor(), "{told}");
        assert!(deployment.pods.iter().all(|pod| pod.revision == revision), "{told}");
        for one in Slot::ALL {
            let is_autoscaled = self.plan.is_autoscaled() && one == live;
            assert_eq!(self.slots.of(one).is_autoscaled, is_autoscaled, "{told}");
        }
        let other = self.slots.of(live.other());
        assert!(other.pods.is_empty() || other.revision == 0, "{told}");
        let records = match (is_released, self.records[0]) {
            (true, _) => [Some(RevisionStatus::Deployed), Some(RevisionStatus::Superseded)],
            (false, Some(RevisionStatus::RolledBack)) if state.reason().is_some() => {
                [Some(RevisionStatus::RolledBack), Some(RevisionStatus::Deployed)]
            }
            (false, None) => [None, Some(RevisionStatus::Deployed)],
            (false, _) => [Some(RevisionStatus::Failed), Some(RevisionStatus::Deployed)],
        };
        assert_eq!(self.records, records, "{told}");
        assert!(matches!(state.phase(), Phase::Ended(_)), "{told}");
    }

    fn told(&self) -> String {
        let slots = Slot::ALL.map(|slot| {
            let deployment = self.slots.of(slot);
            format!("{slot}: revision {} {}/{}", deployment.revision, self.ready(slot), deployment.replicas)
        });
        format!("at {} s {slots:?} {:?} {:?}", self.now, self.selector, self.state())
    }
}
