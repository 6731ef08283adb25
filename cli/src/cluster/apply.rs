//! Objects onto the cluster: each is applied by the server, under one manager's name, with unknown fields refused and
//! nothing taken from others.

use super::api::{Api, ApiError, Applying};
use super::object::{Key, Object};
use super::{MANAGER, PART_OF, ownership};

/// Times that somebody may change an object between two looks at whose it is.
const SOLE_TRIES: usize = 5;

/// Somebody else owns a field that we name.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Contest {
    /// The field, as the server writes it: `.spec.replicas`.
    pub field: String,
    /// Who owns it.
    pub manager: String,
}

/// Why an object was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Others own fields of it.
    #[error("{key}: others own {}", told(contests))]
    Contested {
        /// The object.
        key: Key,
        /// What of it, and who.
        contests: Vec<Contest>,
    },
    /// It is there, and is not ours.
    #[error("{key} is there already and does not belong to this shop")]
    Foreign {
        /// The object.
        key: Key,
    },
    /// The cluster refused it or did not answer.
    #[error("{key} could not be applied")]
    Refused {
        /// The object.
        key: Key,
        /// What came back.
        #[source]
        error: ApiError,
    },
}

fn told(contests: &[Contest]) -> String {
    contests.iter().map(|one| format!("{} ({})", one.field, one.manager)).collect::<Vec<_>>().join(", ")
}

/// What applying an object did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Did {
    /// It was not there.
    Created,
    /// It was otherwise.
    Changed,
    /// It was so already.
    Nothing,
}

/// How to deal with what others own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Consent {
    /// Take fields that others own, and objects that are not ours.
    pub takes_over: bool,
}

/// Applies `object`, which was `live` before. Answers it as it is then, and what that did.
///
/// # Errors
/// When somebody else owns the object or a field of it and `consent` does not allow to take it; when the cluster refuses.
pub async fn apply(
    api: &Api,
    object: &Object,
    live: Option<&Object>,
    consent: Consent,
    is_dry: bool,
) -> Result<(Object, Did), ApplyError> {
    let key = object.key().clone();
    if let Some(live) = live
        && live.label(PART_OF).is_none()
        && !consent.takes_over
    {
        return Err(ApplyError::Foreign { key });
    }
    let how = Applying { manager: MANAGER, is_dry, takes_over: consent.takes_over };
    match api.apply(object, how).await {
        Ok(now) => {
            let now = if consent.takes_over && !is_dry { alone(api, now).await? } else { now };
            let did = match live {
                None => Did::Created,
                Some(live) if is_same(live, &now) => Did::Nothing,
                Some(_) => Did::Changed,
            };
            Ok((now, did))
        }
        Err(error) => match contests(&error) {
            found if found.is_empty() => Err(ApplyError::Refused { key, error }),
            contests => Err(ApplyError::Contested { key, contests }),
        },
    }
}

/// Makes what we applied ours alone, so that the next change meets nobody. Answers the object as it is then.
async fn alone(api: &Api, mut now: Object) -> Result<Object, ApplyError> {
    let key = now.key().clone();
    let (version, kind) = (now.api_version().to_owned(), now.kind().to_owned());
    let kind = (version.as_str(), kind.as_str());
    for tries_left in (0..SOLE_TRIES).rev() {
        let Some(operations) = ownership::sole(&now, MANAGER) else { break };
        match api.amend(kind, &key.namespace, &key.name, &operations.into()).await {
            Ok(ours) => return Ok(ours),
            // A controller wrote its status meanwhile.
            Err(ApiError::Refused(status)) if tries_left > 0 && matches!(status.code, 409 | 422) => {
                let again = api.get(kind, &key.namespace, &key.name).await;
                let again = again.map_err(|error| ApplyError::Refused { key: key.clone(), error })?;
                let Some(again) = again else { break };
                now = again;
            }
            Err(error) => return Err(ApplyError::Refused { key, error }),
        }
    }
    Ok(now)
}

/// Whether nothing but bookkeeping differs.
fn is_same(live: &Object, now: &Object) -> bool {
    super::diff::essence(live) == super::diff::essence(now)
}

/// The fields that the server says others own: one cause each, `conflict with "NAME" using apps/v1` and the field.
fn contests(error: &ApiError) -> Vec<Contest> {
    let ApiError::Refused(status) = error else { return Vec::new() };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .map(|cause| Contest {
            field: cause.field.clone(),
            manager: cause.message.split('"').nth(1).unwrap_or(&cause.message).to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_contest_names_field_and_owner() {
        let status: Status = serde_json::from_value(json!({
            "code": 409, "reason": "Conflict",
            "details": {"causes": [{
                "reason": "FieldManagerConflict",
                "message": "conflict with \"kubectl-edit\" using apps/v1",
                "field": ".spec.template.spec.containers[name=\"shopd\"].image"
            }]}
        }))
        .unwrap();
        let found = contests(&ApiError::Refused(Box::new(status)));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].manager, "kubectl-edit");
        assert!(found[0].field.ends_with(".image"));
    }
}
