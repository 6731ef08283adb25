//! Which objects are the shop's, so that what a release no longer has can go: an ApplySet (KEP-3659). A parent Secret
//! names the kinds; each member carries the set's id.
//!
//! Before an apply the parent names the old kinds and the new, afterwards only the new ones: whoever dies in between
//! leaves nothing behind that the next one does not find.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::PART_OF;
use super::api::{Api, ApiError, Applying};
use super::object::{Object, sort};

/// The parent's name.
pub const PARENT: &str = "shopctl-set";
/// Who owns the parent's fields.
const MANAGER: &str = "shopctl-applyset";
const ID: &str = "applyset.kubernetes.io/id";
const TOOLING: &str = "applyset.kubernetes.io/tooling";
const KINDS: &str = "applyset.kubernetes.io/contains-group-kinds";
/// An object that says `keep` here outlives its release.
const KEEP: &str = "shopctl.dev/prune";
/// Kinds that are never pruned: what people keep in them cannot be brought back.
const KEPT: &[&str] = &["Namespace", "PersistentVolumeClaim", "PersistentVolume", "CustomResourceDefinition"];

/// Kinds that the chart also makes in another namespace than the shop's.
const ELSEWHERE: &[(&str, &str)] = &[("RoleBinding", "kube-system")];

/// The id of the set whose parent is the Secret `name` in `namespace`.
#[must_use]
pub fn id(name: &str, namespace: &str) -> String {
    let digest = Sha256::digest(format!("{name}.{namespace}.Secret."));
    format!("applyset-{}-v1", URL_SAFE_NO_PAD.encode(digest))
}

/// Marks `object` as a member.
pub fn enrol(object: &mut Object, namespace: &str) {
    let id = id(PARENT, namespace);
    let metadata = &mut object.value_mut()["metadata"];
    if !metadata["labels"].is_object() {
        metadata["labels"] = json!({});
    }
    metadata["labels"][PART_OF] = id.into();
}

/// The kinds of `objects` with the API version they are asked for by.
fn kinds<'a>(objects: impl IntoIterator<Item = &'a Object>) -> BTreeMap<String, String> {
    let named = |object: &Object| (group_kind(object), object.api_version().to_owned());
    objects.into_iter().map(named).collect()
}

/// `Deployment.apps`, `Service`.
fn group_kind(object: &Object) -> String {
    let key = object.key();
    if key.group.is_empty() { key.kind.clone() } else { format!("{}.{}", key.kind, key.group) }
}

/// The set as it was found.
pub struct ApplySet {
    namespace: String,
    /// The kinds that it had, with the versions that it was written by.
    held: BTreeMap<String, String>,
}

impl ApplySet {
    /// The set of `namespace`; empty when there is none yet.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer.
    pub async fn find(api: &Api, namespace: &str) -> Result<Self, ApiError> {
        let parent = api.get(("v1", "Secret"), namespace, PARENT).await?;
        let written = parent.as_ref().and_then(|parent| parent.annotation("shopctl.dev/versions"));
        let held = written.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        Ok(Self { namespace: namespace.to_owned(), held })
    }

    /// Says that the set may hold the kinds of `objects` too: before they are applied.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer.
    pub async fn widen(&mut self, api: &Api, objects: &[Object]) -> Result<(), ApiError> {
        self.held.extend(kinds(objects));
        self.write(api).await
    }

    /// The members on the cluster that `objects` no longer has, in the order in which they go. What is kept is not
    /// among them.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer.
    pub async fn leftovers(&self, api: &Api, objects: &[Object]) -> Result<Vec<Object>, ApiError> {
        let wanted: BTreeSet<_> = objects.iter().map(Object::key).collect();
        let mut found = self.members(api).await?;
        found.retain(|member| !wanted.contains(member.key()) && !is_kept(member));
        found.reverse();
        Ok(found)
    }

    /// All members on the cluster, in the order of applying.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer.
    pub async fn members(&self, api: &Api) -> Result<Vec<Object>, ApiError> {
        let selector = format!("{PART_OF}={}", id(PARENT, &self.namespace));
        let mut found = Vec::new();
        for (group_kind, version) in &self.held {
            let kind = group_kind.split('.').next().unwrap_or(group_kind);
            let elsewhere = ELSEWHERE.iter().filter(|(other, _)| *other == kind).map(|(_, place)| *place);
            for namespace in elsewhere.chain([self.namespace.as_str()]) {
                match api.list((version, kind), namespace, &selector).await {
                    // The kind has gone from the cluster, and all its objects with it.
                    Err(ApiError::UnknownKind { .. }) => {}
                    members => found.extend(members?),
                }
            }
        }
        sort(&mut found);
        // Two versions of one kind list the same objects.
        found.dedup_by(|one, other| one.key() == other.key());
        Ok(found)
    }

    /// Takes the parent away: the set has no members any more.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer.
    pub async fn end(self, api: &Api) -> Result<(), ApiError> {
        api.delete(("v1", "Secret"), &self.namespace, PARENT, None).await
    }

    /// Says that the set holds the kinds of `objects` and no other: after the leftovers have gone.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer.
    pub async fn narrow(&mut self, api: &Api, objects: &[Object]) -> Result<(), ApiError> {
        let now = kinds(objects);
        if now == self.held {
            return Ok(());
        }
        self.held = now;
        self.write(api).await
    }

    async fn write(&self, api: &Api) -> Result<(), ApiError> {
        let parent = self.parent();
        let how = Applying { manager: MANAGER, is_dry: false, takes_over: true };
        api.apply(&parent, how).await.map(drop)
    }

    fn parent(&self) -> Object {
        let names: Vec<&str> = self.held.keys().map(String::as_str).collect();
        let versions = serde_json::to_string(&self.held).unwrap_or_default();
        let value: Value = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "shopctl.dev/applyset.v1",
            "metadata": {
                "name": PARENT,
                "namespace": self.namespace,
                "labels": {ID: id(PARENT, &self.namespace)},
                "annotations": {
                    TOOLING: format!("shopctl/{}", env!("CARGO_PKG_VERSION")),
                    KINDS: names.join(","),
                    "shopctl.dev/versions": versions,
                },
            },
        });
        Object::new(value).expect("it has all that an object has")
    }
}

/// Whether `object` stays when its release goes: it says so, to us or to helm.
#[must_use]
pub fn is_kept(object: &Object) -> bool {
    KEPT.contains(&object.kind())
        || object.annotation(KEEP) == Some("keep")
        || object.annotation("helm.sh/resource-policy") == Some("keep")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_one_that_every_tool_computes() {
        let id = id("shopctl-shop", "shop");
        assert_eq!(id, "applyset-Njy-yH6L8we-btXp_WJd_S11sUQdUajKiRqV29EfPps-v1");
    }

    #[test]
    fn a_member_carries_the_id_and_what_says_keep_is_kept() {
        let metadata = json!({"name": "x", "annotations": {"shopctl.dev/prune": "keep"}});
        let mut object =
            Object::new(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}))
                .unwrap();
        enrol(&mut object, "shop");
        assert_eq!(object.label(PART_OF), Some(id(PARENT, "shop").as_str()));
        assert!(is_kept(&object));
        assert_eq!(kinds([&object]), [("Deployment.apps".to_owned(), "apps/v1".to_owned())].into());
    }
}
