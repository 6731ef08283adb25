//! An object as the cluster reads it, and the order in which objects of different kinds need each other.

use std::fmt;

use serde_json::Value;

/// The kinds in the order in which they are applied, as helm has it; what is deleted goes in the reverse order. A kind
/// that is not here comes last.
const ORDER: &[&str] = &[
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "Ingress",
    "APIService",
];

/// Names one object in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The API group; empty for the core.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace; empty for what belongs to the cluster.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// An object: at least its kind and its name are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    value: Value,
    key: Key,
}

/// What is no object.
#[derive(Debug, thiserror::Error)]
#[error("not a Kubernetes object: it has no {0}")]
pub struct NoObject(&'static str);

impl Object {
    /// What `value` describes.
    ///
    /// # Errors
    /// When it has no API version, kind or name.
    pub fn new(value: Value) -> Result<Self, NoObject> {
        let text = |pointer: &'static str| value.pointer(pointer).and_then(Value::as_str);
        let version = text("/apiVersion").ok_or(NoObject("apiVersion"))?;
        let key = Key {
            group: version.rsplit_once('/').map(|(group, _)| group.to_owned()).unwrap_or_default(),
            kind: text("/kind").ok_or(NoObject("kind"))?.to_owned(),
            namespace: text("/metadata/namespace").unwrap_or_default().to_owned(),
            name: text("/metadata/name").ok_or(NoObject("metadata.name"))?.to_owned(),
        };
        Ok(Self { value, key })
    }

    /// What names it.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// `v1`, `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.text("/apiVersion").unwrap_or_default()
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.key.kind
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.key.name
    }

    /// The whole, as JSON.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The whole, to be changed: kind and name are not to be.
    pub fn value_mut(&mut self) -> &mut Value {
        &mut self.value
    }

    /// What lies at a JSON pointer (`/spec/replicas`).
    #[must_use]
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        self.value.pointer(pointer)
    }

    /// The text at a JSON pointer.
    #[must_use]
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.at(pointer).and_then(Value::as_str)
    }

    /// The whole number at a JSON pointer.
    #[must_use]
    pub fn number(&self, pointer: &str) -> Option<i64> {
        self.at(pointer).and_then(Value::as_i64)
    }

    /// A label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.at("/metadata/labels")?.get(name)?.as_str()
    }

    /// An annotation.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.at("/metadata/annotations")?.get(name)?.as_str()
    }

    /// The system's own id of it; absent before it was applied.
    #[must_use]
    pub fn uid(&self) -> Option<&str> {
        self.text("/metadata/uid")
    }

    /// Its place in the order of applying.
    #[must_use]
    pub fn place(&self) -> usize {
        ORDER.iter().position(|kind| *kind == self.kind()).unwrap_or(ORDER.len())
    }
}

/// Puts `objects` into the order of applying: by kind, then by name.
pub fn sort(objects: &mut [Object]) {
    objects.sort_by(|one, other| (one.place(), one.key()).cmp(&(other.place(), other.key())));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(version: &str, kind: &str, name: &str) -> Object {
        Object::new(json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}})).unwrap()
    }

    #[test]
    fn an_object_is_named_by_group_kind_and_name() {
        let deployment = object("apps/v1", "Deployment", "order-a");
        assert_eq!(
            (deployment.key().group.as_str(), deployment.key().to_string().as_str()),
            ("apps", "Deployment/order-a")
        );
        assert_eq!(object("v1", "Service", "order").key().group, "");
        let nameless = Object::new(json!({"apiVersion": "v1", "kind": "Service"})).unwrap_err();
        assert_eq!(nameless.to_string(), "not a Kubernetes object: it has no metadata.name");
    }

    #[test]
    fn what_others_need_comes_first() {
        let mut all = [
            object("example.com/v1", "Unheard", "x"),
            object("apps/v1", "Deployment", "b"),
            object("apps/v1", "Deployment", "a"),
            object("v1", "Service", "z"),
            object("v1", "Secret", "s"),
        ];
        sort(&mut all);
        assert_eq!(all.each_ref().map(Object::name), ["s", "z", "a", "b", "x"]);
    }
}
