//! A deploy: everybody's objects, the tables, then each service that changed, one release after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use platform::vocabulary::Env;

use super::rendering;
use crate::cluster::apply::{Consent, Did};
use crate::cluster::applyset::ApplySet;
use crate::cluster::chart::Chart;
use crate::cluster::connect::Cluster;
use crate::cluster::lock::Lock;
use crate::cluster::mirror::{KINDS, Mirror};
use crate::cluster::object::{Object, sort};
use crate::cluster::release::desired::{Desired, ServiceObjects, selector_of};
use crate::cluster::release::drive::{Cargo, Course, Driver, Ended};
use crate::cluster::release::record::{Record, RecordError};
use crate::cluster::release::shop::{ServiceState, ShopState};
use crate::cluster::release::{Event, ReleaseError, Talk, prepare, shared};
use crate::cluster::revision::{self, Revision, RevisionError};
use crate::cluster::rollout::{
    BlueGreen, Cutover, Gate, Gates, Limits, Plan, Promote, RevisionStatus, Selector, Slot, Strategy,
};
use crate::cluster::state::Stored;
use crate::cluster::workload::{AUTOSCALER, DEPLOYMENT};

/// What a deploy is to do.
#[derive(Clone, Debug)]
pub struct Wish {
    /// How each service's release goes.
    pub strategy: Strategy,
    /// The figures that releases are held to.
    pub gates: crate::config::Gates,
    /// Only these services; none means all that changed.
    pub only: Vec<String>,
    /// What may be taken from others.
    pub consent: Consent,
    /// The time that pods may take to get ready.
    pub ready: Duration,
    /// How many revisions of each service are kept.
    pub keep: usize,
    /// `user@host`.
    pub who: String,
    /// The run.
    pub run: String,
}

/// How long both slots serve, unless somebody says otherwise.
const OVERLAP_S: u32 = 15;
/// How long pods may take to get ready, unless somebody says otherwise.
const READY: Duration = Duration::from_secs(600);
/// How many revisions are kept, unless somebody says otherwise.
const KEPT: usize = 10;

/// What became of a deploy.
#[derive(Clone, Debug, Default)]
pub struct Deployed {
    /// Shared objects that were made or changed.
    pub applied: usize,
    /// Objects that were taken away.
    pub pruned: usize,
    /// How the release of each service that changed came out.
    pub services: BTreeMap<String, Ended>,
    /// The services that were as they should be.
    pub unchanged: Vec<String>,
}

impl Deployed {
    /// Whether every service is at its new revision.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.services.values().all(Ended::is_good)
    }
}

impl Wish {
    /// All that changed, with nothing taken from others, in the run `run` of `who`.
    #[must_use]
    pub fn usual(strategy: Strategy, gates: crate::config::Gates, who: String, run: String) -> Self {
        Self {
            strategy,
            gates,
            only: Vec::new(),
            consent: Consent::default(),
            ready: READY,
            keep: KEPT,
            who,
            run,
        }
    }

    /// The strategy with this name and the usual settings.
    #[must_use]
    pub fn usual_strategy(word: crate::config::Strategy) -> Strategy {
        Self::strategy(word, OVERLAP_S, 0, false)
    }

    /// The strategy with this name; `by_hand` waits for a person before customers reach it.
    #[must_use]
    pub fn strategy(
        word: crate::config::Strategy,
        overlap_s: u32,
        keep_warm_s: u32,
        by_hand: bool,
    ) -> Strategy {
        match word {
            crate::config::Strategy::Rolling => Strategy::Rolling,
            crate::config::Strategy::BlueGreen => Strategy::BlueGreen(BlueGreen {
                promote: if by_hand { Promote::Manual } else { Promote::Auto },
                cutover: Cutover::Overlap { seconds: overlap_s },
                keep_warm_seconds: keep_warm_s,
                ..BlueGreen::default()
            }),
        }
    }
}

/// Hands on what a deploy works with.
pub struct Deploy<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Time and chance.
    pub env: &'a Env,
    /// The lock, which is ours.
    pub lock: &'a Lock,
    /// What is to be done.
    pub wish: &'a Wish,
    /// Hears what happens.
    pub talk: Talk<'a>,
    /// Whether somebody asked to stop.
    pub is_stopped: &'a dyn Fn() -> bool,
}

impl Deploy<'_> {
    /// Brings `desired` onto the cluster.
    ///
    /// # Errors
    /// When something cannot be applied, the tables cannot be brought up to date, or the cluster does not answer. What was
    /// begun can be gone on with by the same deploy again.
    pub async fn run(&self, desired: Desired) -> Result<Deployed, ReleaseError> {
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        let stored = Stored::<ShopState>::load(api, namespace).await?;
        let mut set = ApplySet::find(api, namespace).await?;
        let members = members(&desired);
        set.widen(api, &members).await?;

        let shared = self.shared(&desired, &stored.value).await?;
        let (later, sooner): (Vec<_>, Vec<_>) = shared.into_iter().partition(runs_the_shop);
        let applied = self.apply(&sooner).await?;
        self.record(&desired, &stored.value).await?;
        let mut mirror = Mirror::of(api, namespace, KINDS).await?;
        let cargo = self.cargo(&desired, &stored.value).await?;
        let mut deployed = Deployed { applied, ..Deployed::default() };
        deployed.unchanged =
            desired.services.keys().filter(|service| !cargo.contains_key(*service)).cloned().collect();
        if !cargo.is_empty() {
            let (limit, stop) = (self.wish.ready, self.is_stopped);
            prepare::run(self.cluster, &desired, &mut mirror, self.env, limit, stop, self.talk).await?;
        }
        deployed.applied += self.apply(&later).await?;
        deployed.services = self.release(&desired, stored, cargo, &mut mirror).await?;
        if deployed.is_good() {
            deployed.pruned = shared::prune(api, &mut set, &members, self.talk).await?;
        }
        Ok(deployed)
    }

    /// Brings revision `to` of `service` back, as a new revision; absent means the newest good one before the one that is
    /// live. Answers which it is, none when there is none.
    ///
    /// # Errors
    /// As for [`Deploy::run`].
    pub async fn roll_back(
        &self,
        desired: &Desired,
        service: &str,
        to: Option<u64>,
    ) -> Result<Option<(u64, Deployed)>, ReleaseError> {
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        let stored = Stored::<ShopState>::load(api, namespace).await?;
        let live = stored.value.service(service).revision;
        let mut all = revision::list(api, namespace).await?;
        all.retain(|revision| revision.service == service);
        let Some(target) = target(&all, live, to) else { return Ok(None) };
        let newest = all.last().map_or(0, |revision| revision.number);
        let objects =
            ServiceObjects::of_slots(revision::objects(api, namespace, service, target.number).await?);
        let mut revision = self.pending(service, newest + 1, &objects, live);
        revision.rollback_of = Some(target.number);
        let cargo = BTreeMap::from([(service.to_owned(), Cargo { revision, objects })]);
        let mut mirror = Mirror::of(api, namespace, KINDS).await?;
        let services = self.release(desired, stored, cargo, &mut mirror).await?;
        Ok(Some((target.number, Deployed { services, ..Deployed::default() })))
    }

    /// Goes on with the releases that were begun and not brought to their end.
    ///
    /// # Errors
    /// As for [`Deploy::run`].
    pub async fn go_on(&self, desired: &Desired) -> Result<Deployed, ReleaseError> {
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        let stored = Stored::<ShopState>::load(api, namespace).await?;
        let mut cargo = BTreeMap::new();
        for (service, state) in &stored.value.services {
            if let Some(going_on) = self.going_on(service, state).await? {
                cargo.insert(service.clone(), going_on);
            }
        }
        let mut mirror = Mirror::of(api, namespace, KINDS).await?;
        let services = self.release(desired, stored, cargo, &mut mirror).await?;
        Ok(Deployed { services, ..Deployed::default() })
    }

    /// What a release that was begun was begun with.
    async fn going_on(&self, service: &str, state: &ServiceState) -> Result<Option<Cargo>, ReleaseError> {
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        let Some(going_on) = state.unfinished() else { return Ok(None) };
        let number = going_on.plan().revision;
        let Some(revision) = revision::find(api, namespace, service, number).await? else { return Ok(None) };
        let objects = ServiceObjects::of_slots(revision::objects(api, namespace, service, number).await?);
        Ok(Some(Cargo { revision, objects }))
    }

    /// Everybody's objects, and each Service as it selects now: that is for its release to change.
    async fn shared(&self, desired: &Desired, shop: &ShopState) -> Result<Vec<Object>, ReleaseError> {
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        // What is everybody's stays as it is when only some services are to be brought out.
        let is_whole = self.wish.only.is_empty() || shop.services.is_empty();
        let mut objects = if is_whole { desired.shared.clone() } else { Vec::new() };
        for (service, rendered) in &desired.services {
            let live = api.get(("v1", "Service"), namespace, service).await?;
            let now = live.as_ref().and_then(selector_of);
            let selector = now.unwrap_or(Selector::Narrow(shop.service(service).live));
            objects.push(rendered.service(service, selector)?);
            objects.extend(rendered.preview(service, shop.service(service).live.other()));
        }
        objects.extend(self.autoscalers(desired, shop).await?);
        sort(&mut objects);
        Ok(objects)
    }

    /// Applies these, and answers how many were made or changed.
    async fn apply(&self, objects: &[Object]) -> Result<usize, ReleaseError> {
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        let done = shared::apply_all(api, namespace, objects, self.wish.consent, self.talk).await?;
        Ok(done.iter().filter(|(_, did)| *did != Did::Nothing).count())
    }

    /// Writes down what was applied, for whoever asks later what others changed.
    async fn record(&self, desired: &Desired, shop: &ShopState) -> Result<(), ReleaseError> {
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        let only: &[String] = if shop.services.is_empty() { &[] } else { &self.wish.only };
        let before = match Record::load(api, namespace).await {
            // What somebody spoilt is written anew.
            Err(RecordError::Unreadable(_)) => None,
            before => before?,
        };
        let record = match before {
            Some(before) => before.after(desired, only),
            // Without one, what is everybody's may be of another version: that is not for us to say.
            None if !only.is_empty() => return Ok(()),
            None => Record::of(desired),
        };
        Ok(record.save(api, namespace).await?)
    }

    /// The autoscalers that are at work, as they are to be: no release changes the bounds of one that is there.
    async fn autoscalers(&self, desired: &Desired, shop: &ShopState) -> Result<Vec<Object>, ReleaseError> {
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        let mut found = Vec::new();
        for (service, rendered) in &desired.services {
            let state = shop.service(service);
            let is_wanted = self.wish.only.is_empty() || self.wish.only.contains(service);
            let is_at_rest = state.unfinished().is_none_or(|release| release.is_released());
            let Some(wanted) = rendered.of(state.live, AUTOSCALER.1).filter(|_| is_wanted && is_at_rest)
            else {
                continue;
            };
            if api.get(AUTOSCALER, namespace, wanted.name()).await?.is_some() {
                found.push(wanted.clone());
            }
        }
        Ok(found)
    }

    /// What each service that changed, or whose release was not brought to its end, is brought out with.
    async fn cargo(
        &self,
        desired: &Desired,
        shop: &ShopState,
    ) -> Result<BTreeMap<String, Cargo>, ReleaseError> {
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        let revisions = revision::list(api, namespace).await?;
        let mut cargo = BTreeMap::new();
        for (service, objects) in &desired.services {
            let is_wanted = self.wish.only.is_empty() || self.wish.only.contains(service);
            let state = shop.service(service);
            // What was begun is brought to its end first, with what it was begun with: both slots may be serving.
            let is_begun = state.unfinished().is_some_and(|state| !state.is_released());
            if is_begun && let Some(going_on) = self.going_on(service, &state).await? {
                cargo.insert(service.clone(), going_on);
                continue;
            }
            if !is_wanted || !self.has_changed(service, objects, state.live, state.revision).await? {
                continue;
            }
            let mine = |revision: &&Revision| revision.service == *service;
            let newest = revisions.iter().filter(mine).map(|revision| revision.number).max().unwrap_or(0);
            let revision = self.pending(service, newest + 1, objects, state.revision);
            cargo.insert(service.clone(), Cargo { revision, objects: objects.clone() });
        }
        Ok(cargo)
    }

    /// What is recorded of a release of `service` before it begins; `live` is the revision that it follows.
    fn pending(&self, service: &str, number: u64, objects: &ServiceObjects, live: Option<u64>) -> Revision {
        let strategy = match self.wish.strategy {
            Strategy::BlueGreen(_) if live.is_some() => "blue-green",
            _ => "rolling",
        };
        Revision {
            service: service.to_owned(),
            number,
            status: RevisionStatus::Pending,
            image: objects.image().to_owned(),
            strategy: strategy.to_owned(),
            who: self.wish.who.clone(),
            run: self.wish.run.clone(),
            at: self.env.now().to_string(),
            ended_at: None,
            reason: None,
            rollback_of: None,
        }
    }

    /// Whether the live slot is otherwise than `objects` say.
    async fn has_changed(
        &self,
        service: &str,
        objects: &ServiceObjects,
        live: Slot,
        revision: Option<u64>,
    ) -> Result<bool, ReleaseError> {
        let Some(revision) = revision else { return Ok(true) };
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        let mut wanted: Vec<Object> = objects.of(live, "ConfigMap").cloned().into_iter().collect();
        wanted.push(objects.deployment(service, live, revision)?);
        for object in &wanted {
            let (_, did) = shared::apply_one(api, namespace, object, self.wish.consent, true).await?;
            if did != Did::Nothing {
                return Ok(true);
            }
        }
        let before = self.rendered_pods(service, revision).await?;
        Ok(before.is_some_and(|before| before != objects.replicas()))
    }

    /// How many pods were rendered for revision `number` of `service`, within that none when an autoscaler said so. None
    /// when its record cannot be read.
    async fn rendered_pods(&self, service: &str, number: u64) -> Result<Option<Option<u32>>, ReleaseError> {
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        match revision::objects(api, namespace, service, number).await {
            Ok(objects) => Ok(Some(ServiceObjects::of_slots(objects).replicas())),
            Err(RevisionError::Unreadable { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// How many pods a release of `service` brings, which renders `rendered`: as many as that when it is not what the
    /// revision before rendered, since then somebody changed it; else as many as run, whoever scaled it.
    async fn pods(
        &self,
        service: &str,
        rendered: Option<u32>,
        state: &ServiceState,
    ) -> Result<Option<u32>, ReleaseError> {
        let (Some(number), Some(live)) = (rendered, state.revision) else { return Ok(rendered) };
        if self.rendered_pods(service, live).await? != Some(rendered) {
            return Ok(rendered);
        }
        let (api, namespace) = (&self.cluster.api, self.cluster.namespace());
        let name = format!("{service}-{}", state.live);
        let deployment = api.get(DEPLOYMENT, namespace, &name).await?;
        let running = deployment.as_ref().and_then(|deployment| deployment.number("/spec/replicas"));
        let running = running.and_then(|running| u32::try_from(running).ok()).unwrap_or(number);
        if running != number {
            let (service, rendered) = (service.to_owned(), number);
            (self.talk)(Event::Keeps { service, pods: running, rendered });
        }
        Ok(Some(running))
    }

    /// Drives the releases: the first ones all at once, since nobody is served yet; later ones in the order in which
    /// services need each other, and none after one that did not come about.
    async fn release(
        &self,
        desired: &Desired,
        stored: Stored<ShopState>,
        cargo: BTreeMap<String, Cargo>,
        mirror: &mut Mirror,
    ) -> Result<BTreeMap<String, Ended>, ReleaseError> {
        let shop = stored.value.clone();
        let order = rendering::services(Chart::embedded()).unwrap_or_default();
        let (first, later): (Vec<_>, Vec<_>) = order
            .into_iter()
            .filter(|service| cargo.contains_key(service))
            .partition(|service| shop.service(service).revision.is_none());
        let mut waves: Vec<Vec<String>> = Vec::new();
        if !first.is_empty() {
            waves.push(first);
        }
        waves.extend(later.into_iter().map(|service| vec![service]));
        let mut plans: Vec<Vec<Plan>> = Vec::new();
        for wave in waves {
            let mut plan = Vec::new();
            for service in wave {
                plan.push(self.plan(&service, &cargo[&service], &shop.service(&service)).await?);
            }
            plans.push(plan);
        }
        let driver = Driver {
            cluster: self.cluster,
            env: self.env,
            lock: self.lock,
            consent: self.wish.consent,
            talk: self.talk,
            is_stopped: self.is_stopped,
        };
        let mut course = Course::new(stored, desired.clone(), cargo);
        let mut ended = BTreeMap::new();
        for wave in plans {
            let names: Vec<String> = wave.iter().map(|plan| plan.service.clone()).collect();
            let came = driver.drive(&mut course, wave, mirror).await?;
            let is_good = came.values().all(Ended::is_good);
            ended.extend(came);
            for service in names {
                revision::forget(&self.cluster.api, self.cluster.namespace(), &service, self.wish.keep)
                    .await?;
            }
            if !is_good {
                break;
            }
        }
        Ok(ended)
    }

    /// A first release is not held to gates: nobody sends it requests yet, and there is nothing to go back to.
    async fn plan(&self, service: &str, cargo: &Cargo, state: &ServiceState) -> Result<Plan, ReleaseError> {
        let seconds = u32::try_from(self.wish.ready.as_secs()).unwrap_or(u32::MAX);
        Ok(Plan {
            service: service.to_owned(),
            revision: cargo.revision.number,
            previous: state.revision,
            strategy: self.wish.strategy.clone(),
            replicas: self.pods(service, cargo.objects.replicas(), state).await?,
            max_unavailable: 0,
            prepare: false,
            bake: state.revision.map_or_else(Gates::none, |_| bake(&self.wish.gates, service)),
            limits: Limits { ready_seconds: seconds, ..Limits::default() },
        })
    }
}

/// Whether `object` is a workload of the shop's own program beside the services: the sandbox's, or that of the metrics. What
/// cannot bring its tables up to date must not reach these either.
fn runs_the_shop(object: &Object) -> bool {
    matches!(object.kind(), "Deployment" | "StatefulSet")
        && object.label("app.kubernetes.io/component").is_some_and(|component| component != "database")
}

/// The gates of `service`, as a release asks them.
fn bake(gates: &crate::config::Gates, service: &str) -> Gates {
    let Some(named) = gates.services.get(service) else { return Gates::none() };
    let gate = |(name, gate): &(String, crate::config::Gate)| Gate {
        name: name.clone(),
        query: gate.query.word().to_owned(),
        min: gate.min,
        max: gate.max,
        min_samples: gate.min_samples,
        failure_limit: gate.failure_limit,
    };
    let how = &gates.bake;
    Gates {
        gates: named.iter().map(gate).collect(),
        count: how.rounds,
        interval_seconds: how.interval_s,
        inconclusive_limit: how.inconclusive_limit,
        unready_limit: how.unready_limit,
    }
}

/// The revision to go back to: the one that is asked for, or the newest that was good before the one that is live.
fn target(all: &[Revision], live: Option<u64>, to: Option<u64>) -> Option<&Revision> {
    let was_good = |revision: &&Revision| {
        matches!(revision.status, RevisionStatus::Deployed | RevisionStatus::Superseded)
    };
    match to {
        Some(number) => all.iter().find(|revision| revision.number == number),
        None => {
            all.iter().rev().filter(was_good).find(|revision| live.is_none_or(|live| revision.number < live))
        }
    }
}

/// All objects that are the shop's. Those of idle slots are among them: a release and its undoing need them.
fn members(desired: &Desired) -> Vec<Object> {
    let mut all = desired.shared.clone();
    all.extend(desired.prepare.iter().cloned());
    for objects in desired.services.values() {
        all.extend(objects.service.iter().chain(&objects.preview).cloned());
        all.extend(objects.slots.iter().cloned());
    }
    all
}

/// An event in words, for people.
#[must_use]
pub fn told(event: &Event) -> String {
    match event {
        Event::Applied { object, did: Did::Created } => format!("made {object}"),
        Event::Applied { object, .. } => format!("changed {object}"),
        Event::Pruned { object } => format!("took {object} away"),
        Event::Removed { object, path, manager } => format!("removed {path} of {manager} from {object}"),
        Event::Phase { service, phase } => format!("{service}: {phase}"),
        Event::Did { service, action } => format!("{service}: {action}"),
        Event::Keeps { service, pods, rendered } => {
            format!("{service}: keeps {pods} pods, as it was scaled; the values say {rendered}")
        }
        Event::Waits { service, waits_for } => format!("{service}: {waits_for}"),
        Event::RefusedCommand { service, why } => format!("{service}: not done: {why}"),
        Event::Causes { service, causes } if causes.is_empty() => {
            format!("{service}: nothing more is known of why")
        }
        Event::Causes { service, causes } => {
            let all: Vec<String> = causes.iter().take(3).map(ToString::to_string).collect();
            format!("{service}: goes back, since\n{}", all.join("\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_the_newest_that_was_good_before_what_is_live() {
        use RevisionStatus::{Deployed, Failed, Superseded};
        let all = [(1, Superseded), (2, Superseded), (3, Failed), (4, Deployed)]
            .map(|(number, status)| Revision::sample(number, status));
        let number = |to| target(&all, Some(4), to).map(|revision| revision.number);
        assert_eq!(number(None), Some(2));
        assert_eq!(number(Some(1)), Some(1));
        assert_eq!(number(Some(9)), None);
        assert_eq!(target(&all[..1], Some(1), None), None);
    }
}
