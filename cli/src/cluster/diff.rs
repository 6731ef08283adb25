//! What an apply would change, field by field: the live object beside what the server says it would become. Secrets are
//! told apart, never shown.

use serde::Serialize;
use serde_json::{Map, Value};

use super::object::Object;

/// What the server keeps for itself, and no one means.
const BOOKKEEPING: &[&str] =
    &["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"];
/// What stands for a secret's value before and after.
pub(super) const MASKED: (&str, &str) = ("*** (before)", "*** (after)");
/// Annotations that others write and no render names.
const NOT_OURS: &[&str] = &["deployment.kubernetes.io/revision", "kubectl.kubernetes.io/restartedAt"];

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Where it is: `spec.template.spec.containers[shopd].image`.
    pub path: String,
    /// What it is; absent when it is not there.
    pub before: Option<Value>,
    /// What it would be; absent when it would go.
    pub after: Option<Value>,
}

/// `object` without status and bookkeeping.
#[must_use]
pub fn essence(object: &Object) -> Value {
    let mut value = object.value().clone();
    let Some(all) = value.as_object_mut() else { return value };
    all.remove("status");
    if let Some(metadata) = all.get_mut("metadata").and_then(Value::as_object_mut) {
        for name in BOOKKEEPING {
            metadata.remove(*name);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|name, _| !NOT_OURS.contains(&name.as_str()));
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    value
}

/// What differs between `before` and `after`, in the order of their fields. Values of Secrets are masked.
#[must_use]
pub fn differences(before: Option<&Object>, after: Option<&Object>) -> Vec<Difference> {
    let is_secret = before.or(after).is_some_and(|object| object.kind() == "Secret");
    let essence_of = |object: Option<&Object>| object.map(essence);
    let (before, after) = (essence_of(before), essence_of(after));
    let nothing = Value::Object(Map::new());
    let mut found = Vec::new();
    match (&before, &after) {
        (None, None) => {}
        (before, after) => {
            compare("", before.as_ref().or(Some(&nothing)), after.as_ref().or(Some(&nothing)), &mut found);
        }
    }
    for difference in &mut found {
        if is_secret && (difference.path.starts_with("data") || difference.path.starts_with("stringData")) {
            difference.before = difference.before.as_ref().map(|_| MASKED.0.into());
            difference.after = difference.after.as_ref().map(|_| MASKED.1.into());
        }
    }
    found
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            compare_maps(path, before, after, found);
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            compare_lists(path, before, after, found);
        }
        (before, after) => found.push(Difference {
            path: path.trim_start_matches('.').to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

fn compare_maps(
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    found: &mut Vec<Difference>,
) {
    for (name, value) in before {
        compare(&joined(path, name), Some(value), after.get(name), found);
    }
    for (name, value) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        compare(&joined(path, name), None, Some(value), found);
    }
}

/// Lists of named things are compared by name, others by place.
fn compare_lists(path: &str, before: &[Value], after: &[Value], found: &mut Vec<Difference>) {
    let name = |value: &Value| value["name"].as_str().map(str::to_owned);
    let are_named = before.iter().chain(after).all(|value| name(value).is_some());
    if !are_named {
        for at in 0..before.len().max(after.len()) {
            compare(&format!("{path}[{at}]"), before.get(at), after.get(at), found);
        }
        return;
    }
    let find = |all: &[Value], wanted: &str| all.iter().find(|value| value["name"] == wanted).cloned();
    for word in before.iter().filter_map(name) {
        compare(&format!("{path}[{word}]"), find(before, &word).as_ref(), find(after, &word).as_ref(), found);
    }
    for word in after.iter().filter_map(name).filter(|word| find(before, word).is_none()) {
        compare(&format!("{path}[{word}]"), None, find(after, &word).as_ref(), found);
    }
}

/// A name with dots or slashes is quoted, so that a path can be read.
pub(super) fn joined(path: &str, name: &str) -> String {
    if name.contains(['.', '/']) { format!("{path}[\"{name}\"]") } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, rest: Value) -> Object {
        let mut value =
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x", "resourceVersion": "7"}});
        for (name, part) in rest.as_object().unwrap() {
            value[name] = part.clone();
        }
        Object::new(value).unwrap()
    }

    #[test]
    fn fields_are_found_by_name_and_bookkeeping_is_none() {
        let before = object(
            "Pod",
            json!({"spec": {"containers": [
            {"name": "shopd", "image": "shop:1"}, {"name": "old", "image": "x"}]}, "status": {"phase": "Running"}}),
        );
        let mut after = object(
            "Pod",
            json!({"spec": {"containers": [
            {"name": "new", "image": "y"}, {"name": "shopd", "image": "shop:2"}]}}),
        );
        after.value_mut()["metadata"]["resourceVersion"] = "8".into();
        let paths: Vec<_> =
            differences(Some(&before), Some(&after)).into_iter().map(|one| one.path).collect();
        assert_eq!(paths, ["spec.containers[shopd].image", "spec.containers[old]", "spec.containers[new]"]);
    }

    #[test]
    fn a_secret_is_told_to_differ_and_not_shown() {
        let before = object("Secret", json!({"data": {"key": "b25l", "same": "eA=="}}));
        let after = object("Secret", json!({"data": {"key": "dHdv", "same": "eA=="}}));
        let found = differences(Some(&before), Some(&after));
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0].before, &found[0].after), (&Some(json!(MASKED.0)), &Some(json!(MASKED.1))));
        let new = differences(None, Some(&after));
        assert!(!serde_json::to_string(&new).unwrap().contains("dHdv"), "{new:?}");
    }

    #[test]
    fn names_with_dots_are_quoted() {
        let before = object("Service", json!({"spec": {"selector": {"shopctl.dev/slot": "a"}}}));
        let after = object("Service", json!({"spec": {"selector": {"shopctl.dev/slot": "b"}}}));
        assert_eq!(differences(Some(&before), Some(&after))[0].path, "spec.selector[\"shopctl.dev/slot\"]");
    }
}
