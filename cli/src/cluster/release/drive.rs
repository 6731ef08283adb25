//! Drives the releases of services: looks, steps the machine, stores where it is, carries out what it asks for.
//!
//! Whoever dies in between leaves a state that the next one goes on from: it is stored before the actions are carried out,
//! and each action says how things are to be, so that carrying it out again does nothing new.

use std::collections::BTreeMap;
use std::time::Duration;

use platform::vocabulary::Env;

use super::desired::{Desired, ServiceObjects};
use super::observe::{Memory, observe};
use super::shop::ShopState;
use super::{Event, ReleaseError, Talk, causes, command, figures, shared};
use crate::cluster::apply::Consent;
use crate::cluster::connect::Cluster;
use crate::cluster::lock::Lock;
use crate::cluster::mirror::Mirror;
use crate::cluster::object::{Key, Object};
use crate::cluster::revision::{self, Revision};
use crate::cluster::rollout::{
    Action, Command, Next, Outcome, Phase, Plan, RevisionStatus, Selector, Slot, State, Step, step,
};
use crate::cluster::state::Stored;
use crate::cluster::workload::{self, AUTOSCALER, DEPLOYMENT};

/// How long to wait for a change at most: time itself is one.
const TICK: Duration = Duration::from_secs(1);

/// How the release of one service came out, as far as this run saw it.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// It has ended.
    With(Outcome),
    /// It waits for a person.
    Paused {
        /// Why.
        why: String,
    },
    /// On its way back it waits for what does not come.
    Stuck {
        /// What it waits for.
        reason: String,
    },
    /// Somebody asked to stop: it can be gone on with.
    Interrupted,
}

impl Ended {
    /// Whether the new revision is live, and nothing is left to be done.
    #[must_use]
    pub fn is_good(&self) -> bool {
        *self == Self::With(Outcome::Released)
    }
}

/// What a run knows of the revision that it brings out.
#[derive(Clone, Debug)]
pub struct Cargo {
    /// What is recorded of it.
    pub revision: Revision,
    /// Its objects.
    pub objects: ServiceObjects,
}

/// Drives releases on one cluster.
pub struct Driver<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Time and chance.
    pub env: &'a Env,
    /// The lock, while it is ours.
    pub lock: &'a Lock,
    /// What may be taken from others.
    pub consent: Consent,
    /// Hears what happens.
    pub talk: Talk<'a>,
    /// Whether somebody asked to stop.
    pub is_stopped: &'a dyn Fn() -> bool,
}

/// What is remembered while the releases of some services are driven.
pub struct Course {
    stored: Stored<ShopState>,
    desired: Desired,
    cargo: BTreeMap<String, Cargo>,
    memories: BTreeMap<String, Memory>,
    /// What was said last of each service, so that it is said once.
    said: BTreeMap<String, (String, String)>,
}

impl Course {
    /// A course over `desired`, from where `stored` says.
    #[must_use]
    pub fn new(stored: Stored<ShopState>, desired: Desired, cargo: BTreeMap<String, Cargo>) -> Self {
        Self { stored, desired, cargo, memories: BTreeMap::new(), said: BTreeMap::new() }
    }

    /// Where all services are.
    #[must_use]
    pub fn shop(&self) -> &ShopState {
        &self.stored.value
    }
}

impl Driver<'_> {
    /// Begins the releases of `plans`, or goes on with those that were begun, all at the same time, until none goes on.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer, somebody else wrote the state, or the lock is lost. All can be gone on
    /// with.
    pub async fn drive(
        &self,
        course: &mut Course,
        plans: Vec<Plan>,
        mirror: &mut Mirror,
    ) -> Result<BTreeMap<String, Ended>, ReleaseError> {
        let services: Vec<String> = plans.iter().map(|plan| plan.service.clone()).collect();
        let told = command::told(&self.cluster.api, self.cluster.namespace()).await?;
        for plan in plans {
            self.begin(course, plan, told.as_ref().map(|(_, command)| command));
        }
        course.stored.save(&self.cluster.api).await?;
        let mut ended = BTreeMap::new();
        loop {
            if self.lock.is_lost() {
                return Err(ReleaseError::LockLost);
            }
            self.hear(course).await?;
            let mut has_acted = false;
            for service in &services {
                if ended.contains_key(service) {
                    continue;
                }
                if (self.is_stopped)() {
                    ended.insert(service.clone(), Ended::Interrupted);
                    continue;
                }
                let (acted, end) = self.turn(course, service, mirror).await?;
                has_acted |= acted;
                if let Some(end) = end {
                    ended.insert(service.clone(), end);
                }
            }
            if ended.len() == services.len() {
                return Ok(ended);
            }
            if !has_acted {
                mirror.changed(TICK).await;
            }
        }
    }

    /// A release that goes on is taken up; another one is begun. `told` was meant for one before it.
    fn begin(&self, course: &mut Course, plan: Plan, told: Option<&Command>) {
        let now = self.env.now();
        let service = course.stored.value.service_mut(&plan.service);
        let state = match service.release.take() {
            Some(going_on) if going_on.plan().revision == plan.revision => going_on.resume(now),
            _ => State::new(plan, service.live, now).deaf_to(told),
        };
        service.release = Some(state);
    }

    async fn hear(&self, course: &mut Course) -> Result<(), ReleaseError> {
        let told = command::told(&self.cluster.api, self.cluster.namespace()).await?;
        if let Some((whose, command)) = told {
            for service in course.cargo.keys() {
                if whose.is_empty() || whose == *service {
                    course.memories.entry(service.clone()).or_default().command = Some(command.clone());
                }
            }
        }
        Ok(())
    }

    /// One step of one service: whether it did something, and how it ended if it did.
    async fn turn(
        &self,
        course: &mut Course,
        service: &str,
        mirror: &Mirror,
    ) -> Result<(bool, Option<Ended>), ReleaseError> {
        let Some(state) = course.stored.value.service(service).release else {
            // It was begun before: whoever took it away since has decided.
            return Ok((false, Some(Ended::Interrupted)));
        };
        let memory = course.memories.entry(service.to_owned()).or_default();
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        let seen = observe(api, namespace, state.plan(), mirror, memory, self.env.now()).await?;
        let step = step(&state, &seen, self.env.now());
        if let Some(why) = &step.refused {
            (self.talk)(Event::RefusedCommand { service: service.to_owned(), why: why.clone() });
        }
        if is_backward(&step.state) && !is_backward(&state) {
            let causes =
                causes::of(self.cluster, mirror, &deployment_key(namespace, service, state.new_slot())).await;
            (self.talk)(Event::Causes { service: service.to_owned(), causes });
        }
        self.tell(course, service, &step);
        if step.state != state {
            let kept = course.stored.value.service_mut(service);
            kept.live = step.state.live();
            if step.state.is_released() {
                kept.revision = Some(step.state.plan().revision);
            } else if kept.revision == Some(step.state.plan().revision) {
                kept.revision = step.state.plan().previous;
            }
            kept.release = Some(step.state.clone());
            course.stored.save(api).await?;
        }
        for action in &step.actions {
            (self.talk)(Event::Did { service: service.to_owned(), action: action.to_string() });
            self.carry_out(course, service, action).await?;
        }
        let end = match step.next {
            Next::Ended(outcome) => Some(Ended::With(outcome)),
            Next::Stuck { reason } => Some(Ended::Stuck { reason }),
            Next::Look { waits_for, .. } if step.actions.is_empty() && step.state.waits_for_a_person() => {
                Some(Ended::Paused { why: waits_for })
            }
            Next::Look { .. } => None,
        };
        Ok((!step.actions.is_empty(), end))
    }

    /// Tells of another phase, and of what is waited for: what is done now is told when it is done.
    fn tell(&self, course: &mut Course, service: &str, step: &Step) {
        let phase = step.state.phase().name().to_owned();
        let waits_for = match &step.next {
            Next::Look { waits_for, .. } if step.actions.is_empty() => waits_for.clone(),
            Next::Stuck { reason } => reason.clone(),
            Next::Look { .. } | Next::Ended(_) => String::new(),
        };
        let said = course.said.entry(service.to_owned()).or_default();
        if said.0 != phase {
            (self.talk)(Event::Phase { service: service.to_owned(), phase: phase.clone() });
        }
        if said.1 != waits_for && !waits_for.is_empty() {
            (self.talk)(Event::Waits { service: service.to_owned(), waits_for: waits_for.clone() });
        }
        *said = (phase, waits_for);
    }

    async fn carry_out(
        &self,
        course: &mut Course,
        service: &str,
        action: &Action,
    ) -> Result<(), ReleaseError> {
        let namespace = self.cluster.namespace();
        match action {
            Action::MarkRevision { revision, status } => self.mark(course, service, *revision, *status).await,
            // Tables are brought up to date once for all services, before any of them is driven.
            Action::RunPrepareJob { .. } => Ok(()),
            Action::ApplySlot { slot, revision, replicas } => {
                let objects = self.objects(course, service, *revision).await?;
                let is_idle = course.stored.value.service(service).live != *slot;
                let preview = objects.preview(service, *slot).filter(|_| is_idle);
                let generation =
                    self.apply_slot(service, &objects, preview, *slot, *revision, *replicas).await?;
                let memory = course.memories.entry(service.to_owned()).or_default();
                *memory.generations.of_mut(*slot) = generation;
                Ok(())
            }
            Action::Scale { slot, replicas } => {
                let generation = self.scale(service, *slot, *replicas).await?;
                let memory = course.memories.entry(service.to_owned()).or_default();
                *memory.generations.of_mut(*slot) = generation;
                Ok(())
            }
            Action::Select { selector } => self.select(course, service, *selector).await,
            Action::Autoscale { slot } => self.autoscale(course, service, *slot).await,
            Action::CheckGates { round, place } => {
                let Some(state) = course.stored.value.service(service).release else { return Ok(()) };
                let (slot, api) = (state.new_slot(), &self.cluster.api);
                let readings = figures::read(api, namespace, &state, slot, *round, *place).await;
                course.memories.entry(service.to_owned()).or_default().readings = Some(readings);
                Ok(())
            }
        }
    }

    async fn mark(
        &self,
        course: &Course,
        service: &str,
        number: u64,
        status: RevisionStatus,
    ) -> Result<(), ReleaseError> {
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        let found = revision::find(api, namespace, service, number).await?;
        let mine = course.cargo.get(service).filter(|cargo| cargo.revision.number == number);
        match (found, mine) {
            (None, Some(cargo)) => {
                let revision = Revision { status, ..cargo.revision.clone() };
                revision::create(api, namespace, &revision, &cargo.objects.kept()).await?;
            }
            (Some(mut revision), _) => {
                revision.status = status;
                if status != RevisionStatus::Pending {
                    revision.ended_at = Some(self.env.now().to_string());
                }
                if matches!(status, RevisionStatus::Failed | RevisionStatus::RolledBack) {
                    let release = course.stored.value.service(service).release;
                    revision.reason = release.and_then(|state| state.reason().map(str::to_owned));
                }
                revision::update(api, namespace, &revision).await?;
            }
            // It was forgotten since: there is nothing to write it to.
            (None, None) => {}
        }
        Ok(())
    }

    /// The objects of a revision: of the one that is brought out as they are at hand, of another as they were kept.
    async fn objects(
        &self,
        course: &Course,
        service: &str,
        number: u64,
    ) -> Result<ServiceObjects, ReleaseError> {
        if let Some(cargo) = course.cargo.get(service).filter(|cargo| cargo.revision.number == number) {
            return Ok(cargo.objects.clone());
        }
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        let kept = revision::objects(api, namespace, service, number).await?;
        Ok(ServiceObjects::of_slots(kept))
    }

    async fn apply_slot(
        &self,
        service: &str,
        objects: &ServiceObjects,
        preview: Option<Object>,
        slot: Slot,
        revision: u64,
        replicas: Option<u32>,
    ) -> Result<Option<i64>, ReleaseError> {
        let mut wanted: Vec<Object> = objects.of(slot, "ConfigMap").cloned().into_iter().collect();
        wanted.extend(preview);
        wanted.push(objects.deployment(service, slot, revision)?);
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        let applied = shared::apply_all(api, namespace, &wanted, self.consent, self.talk).await?;
        let generation = |object: &Object| object.number("/metadata/generation");
        let of_apply = applied.last().and_then(|(deployment, _)| generation(deployment));
        match replicas {
            Some(replicas) => self.scale(service, slot, replicas).await,
            None => Ok(of_apply),
        }
    }

    async fn scale(&self, service: &str, slot: Slot, replicas: u32) -> Result<Option<i64>, ReleaseError> {
        let name = format!("{service}-{slot}");
        Ok(workload::scale(&self.cluster.api, self.cluster.namespace(), &name, replicas).await?)
    }

    async fn select(&self, course: &Course, service: &str, selector: Selector) -> Result<(), ReleaseError> {
        let missing = || ReleaseError::NotRendered { service: service.to_owned(), what: "Service" };
        let objects = course.desired.services.get(service).ok_or_else(missing)?;
        let object = objects.service(service, selector)?;
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        shared::apply_one(api, namespace, &object, self.consent, false).await.map(drop)
    }

    async fn autoscale(
        &self,
        course: &Course,
        service: &str,
        slot: Option<Slot>,
    ) -> Result<(), ReleaseError> {
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        for other in Slot::ALL.into_iter().filter(|one| Some(*one) != slot) {
            api.delete(AUTOSCALER, namespace, &format!("{service}-{other}"), None).await?;
        }
        let wanted = slot.and_then(|slot| course.desired.services.get(service)?.of(slot, AUTOSCALER.1));
        if let Some(wanted) = wanted {
            shared::apply_one(api, namespace, wanted, self.consent, false).await?;
        }
        Ok(())
    }
}

fn is_backward(state: &State) -> bool {
    matches!(state.phase(), Phase::Return | Phase::Revert | Phase::Withdraw)
}

fn deployment_key(namespace: &str, service: &str, slot: Slot) -> Key {
    Key {
        group: "apps".to_owned(),
        kind: DEPLOYMENT.1.to_owned(),
        namespace: namespace.to_owned(),
        name: format!("{service}-{slot}"),
    }
}
