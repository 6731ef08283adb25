//! One deploy at a time: a Lease in the shop's namespace. It is renewed while its holder works, so that it ends by itself
//! when the holder dies; one that a person holds has no end.
//!
//! No clock of another machine is trusted: a lease counts as given up only after it has stayed unchanged for its whole
//! length on this machine's clock. A holder on this machine is looked for, and one that is gone is not waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use platform::vocabulary::Env;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::api::{Api, ApiError};
use super::object::Object;
use super::process::Process;

/// The lease's name.
const NAME: &str = "shopctl-deploy";
/// The annotation that says which process renews it.
const PROCESS: &str = "shopctl.dev/process";
const LEASE: (&str, &str) = ("coordination.k8s.io/v1", "Lease");
/// How long a lease lasts without being renewed.
const LASTS: Duration = Duration::from_secs(60);
/// How often it is renewed.
const RENEWED: Duration = Duration::from_secs(20);
/// How long a renewal may fail before its holder must not begin anything more.
const MAY_FAIL: Duration = Duration::from_secs(40);
/// How often a lease of somebody else is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Who holds the lock, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// `user@host#run`.
    pub who: String,
    /// What it was taken for.
    pub command: String,
    /// What its holder has to say.
    pub message: String,
    /// When it was taken, as its holder's clock says.
    pub since: String,
    /// Whether a person holds it: then it has no end.
    pub is_manual: bool,
    /// The version of the lease that says so.
    #[serde(skip)]
    version: String,
    /// The process that renews it, when it told.
    #[serde(skip)]
    process: Option<Process>,
}

/// How taking the lock came out.
#[derive(Debug)]
pub enum Taken {
    /// It is ours.
    Ours(Lock),
    /// Somebody else has it.
    Held(Holder),
}

/// The lock, while it is ours. Dropping it does not give it back: [`Lock::release`] does.
#[derive(Debug)]
pub struct Lock {
    api: Arc<Api>,
    namespace: String,
    who: String,
    is_lost: Arc<AtomicBool>,
    renewal: tokio::task::JoinHandle<()>,
}

/// What a lock is asked for with.
#[derive(Clone, Debug)]
pub struct Wish {
    /// `user@host#run`.
    pub who: String,
    /// The command's words.
    pub command: String,
    /// What to tell whoever finds it held.
    pub message: String,
    /// Without an end: held until somebody releases it.
    pub is_manual: bool,
}

/// Who holds the lock of `namespace` now; absent when nobody does.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn holder(api: &Api, namespace: &str) -> Result<Option<Holder>, ApiError> {
    Ok(api.get(LEASE, namespace, NAME).await?.as_ref().and_then(read))
}

/// Takes the lock of `namespace`. One that somebody else holds is waited for up to `patience`; never one that a person
/// holds. A lease that nobody renews is taken after its whole length, at once when its holder is a process of this machine that
/// has ended.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn take(
    api: &Arc<Api>,
    namespace: &str,
    wish: &Wish,
    patience: Duration,
    env: &Env,
) -> Result<Taken, ApiError> {
    let began = Instant::now();
    let mut watched: Option<(String, Instant)> = None;
    loop {
        let live = api.get(LEASE, namespace, NAME).await?;
        let held = live.as_ref().and_then(read);
        let may_take = match &held {
            None => true,
            Some(holder) if holder.who == wish.who => true,
            Some(holder) if holder.is_manual => return Ok(Taken::Held(holder.clone())),
            Some(holder) if holder.process.as_ref().is_some_and(Process::is_gone) => true,
            Some(holder) => {
                let since = match &watched {
                    Some((version, since)) if *version == holder.version => *since,
                    _ => Instant::now(),
                };
                watched = Some((holder.version.clone(), since));
                since.elapsed() >= LASTS
            }
        };
        if may_take {
            let lease = lease(namespace, wish, live.as_ref(), env);
            let written = match live {
                None => api.create(&lease).await,
                Some(_) => api.replace(&lease).await,
            };
            match written {
                Ok(_) => return Ok(Taken::Ours(Lock::keep(api, namespace, wish, env))),
                // Somebody was faster: look again.
                Err(error) if error.is_conflict() => continue,
                Err(error) => return Err(error),
            }
        }
        // Whether the holder is dead takes a lease's length to tell; who has no patience is told at once.
        if let Some(holder) = held
            && began.elapsed() >= patience
        {
            return Ok(Taken::Held(holder));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Ends the lock of `namespace`, whoever holds it. Answers who held it.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn end(api: &Api, namespace: &str) -> Result<Option<Holder>, ApiError> {
    let Some(mut lease) = api.get(LEASE, namespace, NAME).await? else { return Ok(None) };
    let Some(holder) = read(&lease) else { return Ok(None) };
    lease.value_mut()["spec"]["holderIdentity"] = "".into();
    api.replace(&lease).await?;
    Ok(Some(holder))
}

/// Takes the lease itself away, whoever holds it: there is nothing left that it could guard.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn forget(api: &Api, namespace: &str) -> Result<(), ApiError> {
    api.delete(LEASE, namespace, NAME, None).await
}

impl Lock {
    fn keep(api: &Arc<Api>, namespace: &str, wish: &Wish, env: &Env) -> Self {
        let is_lost = Arc::new(AtomicBool::new(false));
        let renewal = tokio::spawn(renew(
            Arc::clone(api),
            namespace.to_owned(),
            wish.who.clone(),
            env.clone(),
            Arc::clone(&is_lost),
        ));
        Self {
            api: Arc::clone(api),
            namespace: namespace.to_owned(),
            who: wish.who.clone(),
            is_lost,
            renewal,
        }
    }

    /// Whether somebody else may have it by now: then nothing more may be begun.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::SeqCst)
    }

    /// Leaves the lock behind for a person to hold: it is renewed no more, and has no end.
    pub fn leave(self) {
        self.renewal.abort();
    }

    /// Gives it back. One that is lost is somebody else's and left alone.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer; the lease then ends by itself.
    pub async fn release(self) -> Result<(), ApiError> {
        self.renewal.abort();
        let Some(mut lease) = self.api.get(LEASE, &self.namespace, NAME).await? else { return Ok(()) };
        if lease.text("/spec/holderIdentity") != Some(&self.who) {
            return Ok(());
        }
        lease.value_mut()["spec"]["holderIdentity"] = "".into();
        match self.api.replace(&lease).await {
            Err(error) if error.is_conflict() => Ok(()),
            answer => answer.map(drop),
        }
    }
}

async fn renew(api: Arc<Api>, namespace: String, who: String, env: Env, is_lost: Arc<AtomicBool>) {
    let mut good = Instant::now();
    loop {
        tokio::time::sleep(RENEWED).await;
        match renewed(&api, &namespace, &who, &env).await {
            Ok(true) => good = Instant::now(),
            Ok(false) => return is_lost.store(true, Ordering::SeqCst),
            Err(error) => {
                tracing::warn!(%error, "the deploy lock could not be renewed");
                if good.elapsed() >= MAY_FAIL {
                    is_lost.store(true, Ordering::SeqCst);
                }
            }
        }
    }
}

/// False when the lease is somebody else's.
async fn renewed(api: &Api, namespace: &str, who: &str, env: &Env) -> Result<bool, ApiError> {
    let Some(mut lease) = api.get(LEASE, namespace, NAME).await? else { return Ok(false) };
    if lease.text("/spec/holderIdentity") != Some(who) {
        return Ok(false);
    }
    lease.value_mut()["spec"]["renewTime"] = micro_time(env).into();
    api.replace(&lease).await.map(|_| true)
}

/// The lease as `wish` wants it, in the place of `live`.
fn lease(namespace: &str, wish: &Wish, live: Option<&Object>, env: &Env) -> Object {
    let now = micro_time(env);
    let transitions =
        live.and_then(|live| live.number("/spec/leaseTransitions")).unwrap_or(0) + i64::from(live.is_some());
    let mut spec = json!({
        "holderIdentity": wish.who,
        "acquireTime": now,
        "renewTime": now,
        "leaseTransitions": transitions,
    });
    if !wish.is_manual {
        spec["leaseDurationSeconds"] = LASTS.as_secs().into();
    }
    let mut value = json!({
        "apiVersion": LEASE.0,
        "kind": LEASE.1,
        "metadata": {
            "name": NAME,
            "namespace": namespace,
            "annotations": {"shopctl.dev/command": wish.command, "shopctl.dev/message": wish.message},
        },
        "spec": spec,
    });
    if let Some(process) = Process::own() {
        value["metadata"]["annotations"][PROCESS] = process.to_string().into();
    }
    if let Some(version) = live.and_then(|live| live.text("/metadata/resourceVersion")) {
        value["metadata"]["resourceVersion"] = version.into();
    }
    Object::new(value).expect("it has all that an object has")
}

/// A time as a Lease has it: with six digits behind the second.
fn micro_time(env: &Env) -> String {
    format!("{:.6}", env.now())
}

/// Who holds `lease`; absent when nobody does.
fn read(lease: &Object) -> Option<Holder> {
    let text = |pointer: &str| lease.text(pointer).unwrap_or_default().to_owned();
    let annotation = |name: &str| lease.annotation(name).unwrap_or_default().to_owned();
    let who = text("/spec/holderIdentity");
    (!who.is_empty()).then(|| Holder {
        who,
        command: annotation("shopctl.dev/command"),
        message: annotation("shopctl.dev/message"),
        since: text("/spec/acquireTime"),
        is_manual: lease.number("/spec/leaseDurationSeconds").is_none(),
        version: text("/metadata/resourceVersion"),
        process: lease.annotation(PROCESS).and_then(|process| process.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(is_manual: bool) -> Wish {
        Wish { who: "ada@desk#1".into(), command: "deploy".into(), message: String::new(), is_manual }
    }

    #[test]
    fn a_lease_says_who_holds_it_and_whether_it_ends() {
        let env = Env::system();
        let lease_of = |is_manual| lease("shop", &wish(is_manual), None, &env);
        let held = read(&lease_of(false)).unwrap();
        assert_eq!((held.who.as_str(), held.is_manual), ("ada@desk#1", false));
        assert!(read(&lease_of(true)).unwrap().is_manual);
        let mut free = lease_of(false);
        free.value_mut()["spec"]["holderIdentity"] = "".into();
        assert_eq!(read(&free), None);
    }

    #[test]
    fn times_have_six_digits() {
        let time = micro_time(&Env::system());
        let digits = time.trim_end_matches('Z').rsplit('.').next().unwrap();
        assert_eq!(digits.len(), 6, "{time}");
    }
}
