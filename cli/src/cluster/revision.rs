//! What was rolled out of a service, and can be again: each revision is a Secret with the objects of the service's slots as
//! they were rendered for it.
//!
//! No value of a Secret is kept in one: objects of that kind are left out, and a release that is brought back uses the
//! secrets that are there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::api::{Api, ApiError};
use super::object::Object;
use super::packed::{BYTES_MAX, unpack};
use super::rollout::RevisionStatus;

const SECRET: (&str, &str) = ("v1", "Secret");
const TYPE: &str = "shopctl.dev/revision.v1";
const NUMBER: &str = "shopctl.dev/revision";
const STATUS: &str = "shopctl.dev/status";
const SERVICE: &str = "shopctl.dev/service";

/// What is known of a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The service.
    pub service: String,
    /// Counts from 1 for each service.
    pub number: u64,
    /// What became of it.
    pub status: RevisionStatus,
    /// The image of its pods.
    pub image: String,
    /// `rolling`, `blue-green`.
    pub strategy: String,
    /// `user@host`.
    pub who: String,
    /// The run that made it.
    pub run: String,
    /// When it began.
    pub at: String,
    /// When it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// Why it failed or was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The revision that it brings back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_of: Option<u64>,
}

/// A revision is larger than the cluster keeps.
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// What was rendered does not fit.
    #[error("the rendered objects are {0} bytes compressed, and a Secret holds {BYTES_MAX}")]
    TooLarge(usize),
    /// It cannot be read.
    #[error("revision {number} cannot be read")]
    Unreadable {
        /// Which.
        number: u64,
        /// Why.
        #[source]
        error: anyhow::Error,
    },
    /// The cluster refused it or did not answer.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// All revisions of all services of `namespace`, by service, the newest last.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn list(api: &Api, namespace: &str) -> Result<Vec<Revision>, ApiError> {
    let secrets = api.list(SECRET, namespace, NUMBER).await?;
    let mut revisions: Vec<Revision> = secrets.iter().filter_map(read).collect();
    revisions.sort_by(|one, other| (&one.service, one.number).cmp(&(&other.service, other.number)));
    Ok(revisions)
}

/// The revision of a service; absent when there is none.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn find(
    api: &Api,
    namespace: &str,
    service: &str,
    number: u64,
) -> Result<Option<Revision>, ApiError> {
    Ok(api.get(SECRET, namespace, &name(service, number)).await?.as_ref().and_then(read))
}

/// Writes `revision` down with what was rendered for it, before anything of it is applied.
///
/// # Errors
/// A conflict when somebody else took its number; when it does not fit; when the cluster refuses or does not answer.
pub async fn create(
    api: &Api,
    namespace: &str,
    revision: &Revision,
    objects: &[Object],
) -> Result<(), RevisionError> {
    let packed = pack(objects).map_err(|error| unreadable(revision.number, error))?;
    if packed.len() > BYTES_MAX {
        return Err(RevisionError::TooLarge(packed.len()));
    }
    let mut secret = secret(namespace, revision);
    secret.value_mut()["data"]["manifest"] = STANDARD.encode(packed).into();
    api.create(&secret).await?;
    Ok(())
}

/// Writes down what became of `revision`.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn update(api: &Api, namespace: &str, revision: &Revision) -> Result<(), ApiError> {
    let secret = secret(namespace, revision);
    let patch = json!({
        "metadata": {"labels": secret.at("/metadata/labels")},
        "data": {"meta": secret.at("/data/meta")},
    });
    api.merge(SECRET, namespace, secret.name(), None, &patch).await.map(drop)
}

/// What was rendered for a revision, without Secrets.
///
/// # Errors
/// When there is none or it cannot be read; when the cluster refuses or does not answer.
pub async fn objects(
    api: &Api,
    namespace: &str,
    service: &str,
    number: u64,
) -> Result<Vec<Object>, RevisionError> {
    let secret = api.get(SECRET, namespace, &name(service, number)).await?;
    let missing = || unreadable(number, anyhow::anyhow!("it is not there any more"));
    let packed = secret.as_ref().and_then(|secret| secret.text("/data/manifest")).ok_or_else(missing)?;
    unpack(packed).map_err(|error| unreadable(number, error))
}

/// Deletes the oldest revisions of `service` beyond `keep`: never one that runs or is being rolled out, nor the newest
/// that one could go back to.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn forget(api: &Api, namespace: &str, service: &str, keep: usize) -> Result<Vec<u64>, ApiError> {
    let mut all = list(api, namespace).await?;
    all.retain(|revision| revision.service == service);
    let old = superfluous(&all, keep);
    for number in &old {
        api.delete(SECRET, namespace, &name(service, *number), None).await?;
    }
    Ok(old)
}

/// Deletes all revisions of all services. Answers how many there were.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn forget_all(api: &Api, namespace: &str) -> Result<usize, ApiError> {
    let secrets = api.list(SECRET, namespace, NUMBER).await?;
    for secret in &secrets {
        api.delete(SECRET, namespace, secret.name(), secret.uid()).await?;
    }
    Ok(secrets.len())
}

/// The numbers that may go.
fn superfluous(all: &[Revision], keep: usize) -> Vec<u64> {
    let back = all
        .iter()
        .rev()
        .find(|revision| revision.status == RevisionStatus::Superseded)
        .map(|revision| revision.number);
    let may_go = |revision: &&Revision| {
        !matches!(revision.status, RevisionStatus::Deployed | RevisionStatus::Pending)
            && Some(revision.number) != back
    };
    let too_many = all.len().saturating_sub(keep);
    all.iter().filter(may_go).take(too_many).map(|revision| revision.number).collect()
}

fn name(service: &str, number: u64) -> String {
    format!("shopctl.rev.{service}.v{number}")
}

fn unreadable(number: u64, error: anyhow::Error) -> RevisionError {
    RevisionError::Unreadable { number, error }
}

fn secret(namespace: &str, revision: &Revision) -> Object {
    let meta = serde_json::to_vec(revision).expect("a revision is plain data");
    let value = json!({
        "apiVersion": SECRET.0,
        "kind": SECRET.1,
        "type": TYPE,
        "metadata": {
            "name": name(&revision.service, revision.number),
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/managed-by": "shopctl",
                NUMBER: revision.number.to_string(),
                SERVICE: revision.service,
                STATUS: revision.status.name(),
            },
        },
        "data": {"meta": STANDARD.encode(meta)},
    });
    Object::new(value).expect("it has all that an object has")
}

fn read(secret: &Object) -> Option<Revision> {
    let meta = STANDARD.decode(secret.text("/data/meta")?).ok()?;
    serde_json::from_slice(&meta).ok()
}

/// The objects but Secrets, as compressed JSON.
fn pack(objects: &[Object]) -> anyhow::Result<Vec<u8>> {
    super::packed::pack(objects.iter().filter(|object| object.kind() != "Secret"))
}

#[cfg(test)]
impl Revision {
    /// One of the order service, for tests.
    pub(crate) fn sample(number: u64, status: RevisionStatus) -> Self {
        Self {
            service: "order".into(),
            number,
            status,
            image: "shop:1".into(),
            strategy: "rolling".into(),
            who: "ada@desk".into(),
            run: "r".into(),
            at: "2026-01-01T00:00:00Z".into(),
            ended_at: None,
            reason: None,
            rollback_of: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_rendered_comes_back_without_secrets() {
        let object = |kind: &str| {
            Object::new(
                json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, "data": {"a": "b"}}),
            )
            .unwrap()
        };
        let packed = pack(&[object("Secret"), object("ConfigMap")]).unwrap();
        assert_eq!(unpack(&STANDARD.encode(packed)).unwrap(), [object("ConfigMap")]);
    }

    #[test]
    fn a_secret_tells_the_revision_again() {
        let written = Revision::sample(7, RevisionStatus::RolledBack);
        let secret = secret("shop", &written);
        assert_eq!(secret.label(STATUS), Some("rolled-back"));
        assert_eq!(read(&secret), Some(written));
    }

    #[test]
    fn what_runs_and_the_way_back_are_never_forgotten() {
        use RevisionStatus::{Deployed, Failed, Pending, Superseded};
        let all: Vec<Revision> = [Superseded, Superseded, Failed, Deployed, Failed, Pending]
            .into_iter()
            .zip(1..)
            .map(|(status, number)| Revision::sample(number, status))
            .collect();
        assert_eq!(superfluous(&all, 10), [0; 0]);
        assert_eq!(superfluous(&all, 4), [1, 3]);
        assert_eq!(superfluous(&all, 1), [1, 3, 5], "2 is the way back, 4 runs, 6 is under way");
    }
}
