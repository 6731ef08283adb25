//! Tables are brought up to date once, by a Job, before any service of a release is driven. Older pods serve meanwhile:
//! what such a Job changes only adds.

use std::collections::BTreeMap;
use std::time::Duration;

use platform::vocabulary::Env;
use platform::vocabulary::clock::since;

use super::desired::Desired;
use super::{Event, ReleaseError, Talk, causes, shared};
use crate::cluster::apply::Consent;
use crate::cluster::connect::Cluster;
use crate::cluster::mirror::Mirror;
use crate::cluster::object::{Key, Object};
use crate::cluster::readiness::{Sight, Status, Troubles, status};

const JOB: (&str, &str) = ("batch/v1", "Job");
const TICK: Duration = Duration::from_secs(1);

/// Runs the Job of `desired` unless one of its name did before, and waits for at most `limit` until it is done. One that
/// failed or is late is taken away after what is wrong was told, so that the next release can try again: what it did not
/// commit is undone.
///
/// # Errors
/// [`ReleaseError::Prepare`] when it fails, [`ReleaseError::NotReady`] when it is late; when somebody asks to stop; when the
/// cluster refuses or does not answer.
pub async fn run(
    cluster: &Cluster,
    desired: &Desired,
    mirror: &mut Mirror,
    env: &Env,
    limit: Duration,
    is_stopped: &dyn Fn() -> bool,
    talk: Talk<'_>,
) -> Result<(), ReleaseError> {
    let Some(job) = desired.job() else { return Ok(()) };
    let (api, namespace) = (&cluster.api, cluster.namespace());
    let mut troubles: BTreeMap<Key, Troubles> = BTreeMap::new();
    let began = env.now();
    let mut said = String::new();
    loop {
        if is_stopped() {
            return Err(ReleaseError::Interrupted);
        }
        let live = api.get(JOB, namespace, job.name()).await?;
        let (status, found) = match &live {
            // One that failed before, and whose pods are still ending.
            Some(live) if live.at("/metadata/deletionTimestamp").is_some() => {
                (Status::InProgress { why: "an older one of its name ends".to_owned() }, None)
            }
            Some(live) => (status(live, None), trouble(live, mirror, &mut troubles, env)),
            None => {
                shared::apply_all(api, namespace, &desired.prepare, Consent::default(), talk).await?;
                (Status::InProgress { why: "it begins".to_owned() }, None)
            }
        };
        // A Job that waits for the chart's own database says so, but not why that one does not come.
        let found = found.or_else(|| {
            let sets = mirror
                .look(|all| all.values().filter(|one| is_beneath(one, desired)).cloned().collect::<Vec<_>>());
            sets.iter().find_map(|set| trouble(set, mirror, &mut troubles, env))
        });
        let failed = |why: String| Some(ReleaseError::Prepare { why });
        let error = match (&status, found) {
            (Status::Current, _) => return Ok(()),
            (Status::Failed { why }, None) => failed(why.clone()),
            (_, Some(trouble)) => failed(trouble),
            (status, None) if since(began, env.now()) >= limit => Some(ReleaseError::NotReady {
                object: job.key().to_string(),
                seconds: limit.as_secs(),
                why: status.to_string(),
            }),
            (status, None) => {
                let waits_for = status.to_string();
                if waits_for != said {
                    talk(Event::Waits { service: job.name().to_owned(), waits_for: waits_for.clone() });
                    said = waits_for;
                }
                None
            }
        };
        if let Some(error) = error {
            let causes = causes::of(cluster, mirror, job.key()).await;
            talk(Event::Causes { service: job.name().to_owned(), causes });
            api.delete(JOB, namespace, job.name(), None).await?;
            return Err(error);
        }
        mirror.changed(TICK).await;
    }
}

/// Whether it is one of the workloads that all services stand on.
fn is_beneath(object: &Object, desired: &Desired) -> bool {
    object.kind() == "StatefulSet" && desired.shared.iter().any(|one| one.key() == object.key())
}

/// What keeps the pods of `owner` from getting well, as told by all looks so far.
fn trouble(
    owner: &Object,
    mirror: &Mirror,
    troubles: &mut BTreeMap<Key, Troubles>,
    env: &Env,
) -> Option<String> {
    let of_kind = |kind: &str| {
        let is_about = |object: &&Object| {
            object.kind() == kind
                && (object.name().starts_with(owner.name())
                    || object.text("/involvedObject/name").is_some_and(|name| name.starts_with(owner.name())))
        };
        mirror.look(|objects| objects.values().filter(is_about).cloned().collect::<Vec<_>>())
    };
    let (pods, events) = (of_kind("Pod"), of_kind("Event"));
    let sight = Sight { owner: Some(owner), pods: &pods, events: &events };
    let found = troubles.entry(owner.key().clone()).or_default().observe(&sight, env.now());
    found.map(|trouble| trouble.to_string())
}
