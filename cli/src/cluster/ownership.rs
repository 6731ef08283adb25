//! Whose a field is, as the server keeps it in `metadata.managedFields`: each manager has a tree of the fields that it set
//! last. `f:name` is a field, `k:{…}` an item of a list by its keys, `v:…` a value of a set, and `.` the thing itself.

use serde_json::{Map, Value, json};

use super::diff::joined;
use super::object::Object;

/// What helm calls itself.
const HELM: &str = "helm";

/// A field of an object as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// For people: `spec.template.spec.containers[shopd].image`.
    pub path: String,
    /// What is there.
    pub value: Value,
    /// As a JSON patch names it.
    pointer: String,
    /// Operations that make sure that the pointer leads there still.
    tests: Vec<Value>,
}

impl Place {
    /// The operations of a JSON patch that remove it, if it is still what it was.
    #[must_use]
    pub fn removal(&self) -> Vec<Value> {
        let mut operations = self.tests.clone();
        operations.push(json!({"op": "test", "path": self.pointer, "value": self.value}));
        operations.push(json!({"op": "remove", "path": self.pointer}));
        operations
    }

    /// What sorts places of one object as they stand in it.
    #[must_use]
    pub fn order(&self) -> Vec<(usize, String)> {
        let number = |word: &str| word.parse().unwrap_or(0);
        self.pointer.split('/').map(|word| (number(word), word.to_owned())).collect()
    }

    /// Whether it is `other` or lies in it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        is_within(&self.path, &other.path)
    }

    fn field(&self, name: &str, value: &Value) -> Self {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        Self {
            path: joined(&self.path, name).trim_start_matches('.').to_owned(),
            value: value.clone(),
            pointer: format!("{}/{escaped}", self.pointer),
            tests: self.tests.clone(),
        }
    }

    fn item(&self, at: usize, value: &Value, keys: &Map<String, Value>) -> Self {
        let pointer = format!("{}/{at}", self.pointer);
        let mut tests = self.tests.clone();
        tests.extend(
            keys.iter().map(
                |(key, value)| json!({"op": "test", "path": format!("{pointer}/{key}"), "value": value}),
            ),
        );
        let word = value["name"].as_str().map_or_else(|| at.to_string(), str::to_owned);
        Self { path: format!("{}[{word}]", self.path), value: value.clone(), pointer, tests }
    }
}

/// Whether the field at `path` is the one at `other` or lies in it.
#[must_use]
pub fn is_within(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// A manager's fields.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    /// Who.
    pub manager: &'a str,
    /// Since when, as the server says it.
    pub since: Option<&'a str>,
    fields: &'a Map<String, Value>,
}

/// What managers say is theirs of `object`, but for its status and other parts with a door of their own.
pub fn claims(object: &Object) -> impl Iterator<Item = Claim<'_>> {
    let entries = object.at("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let of_whole = entries.filter(|entry| entry["subresource"].as_str().unwrap_or_default().is_empty());
    of_whole.filter_map(|entry| {
        let fields = entry["fieldsV1"].as_object()?;
        Some(Claim { manager: entry["manager"].as_str()?, since: entry["time"].as_str(), fields })
    })
}

/// The operations of a JSON patch after which `ours` alone says of the fields that it names on `object` that they are its
/// own; none when it is so already. A field that two applied with the same value is both's, and who changes it first
/// would meet the other. Of helm nothing is left: it claims the server's defaults too, which would be foreign to us.
#[must_use]
pub fn sole(object: &Object, ours: &str) -> Option<Vec<Value>> {
    let entries = object.at("/metadata/managedFields")?.as_array()?;
    let is_of_whole = |entry: &Value| entry["subresource"].as_str().unwrap_or_default().is_empty();
    let own = claims(object).find(|claim| claim.manager == ours)?.fields;
    let mut left = Vec::with_capacity(entries.len());
    for entry in entries {
        let theirs = entry["fieldsV1"].as_object().filter(|_| entry["manager"] != ours && is_of_whole(entry));
        let rest =
            theirs.map(|theirs| if entry["manager"] == HELM { Map::new() } else { without(theirs, own) });
        if rest.as_ref().is_some_and(Map::is_empty) {
            continue;
        }
        let mut entry = entry.clone();
        if let Some(rest) = rest {
            entry["fieldsV1"] = Value::Object(rest);
        }
        left.push(entry);
    }
    let version = object.at("/metadata/resourceVersion")?;
    (left != *entries).then(|| {
        vec![
            json!({"op": "test", "path": "/metadata/resourceVersion", "value": version}),
            json!({"op": "replace", "path": "/metadata/managedFields", "value": left}),
        ]
    })
}

/// The fields in a field; none when it was set as a whole.
fn parts(field: &Value) -> Option<&Map<String, Value>> {
    field.as_object().filter(|parts| !parts.is_empty())
}

/// What `theirs` has that `ours` has not. What was set as a whole by either is one field.
fn without(theirs: &Map<String, Value>, ours: &Map<String, Value>) -> Map<String, Value> {
    let left = theirs.iter().filter_map(|(word, below)| {
        let Some(own) = ours.get(word) else { return Some((word.clone(), below.clone())) };
        let rest = without(parts(below)?, parts(own)?);
        (!rest.is_empty()).then(|| (word.clone(), Value::Object(rest)))
    });
    left.collect()
}

impl Claim<'_> {
    /// The fields that are there below `root` (`spec.template`), each one that has no other in it.
    #[must_use]
    pub fn fields(&self, live: &Object, root: &[&str]) -> Vec<Place> {
        self.beyond(live, None, root, &|_| true)
    }

    /// The fields below `root` that are there and that `ours` does not name. One that was added with all that is in it is
    /// one field, unless `is_shared` says that others have a part in it.
    #[must_use]
    pub fn added(
        &self,
        live: &Object,
        ours: &Object,
        root: &[&str],
        is_shared: &dyn Fn(&str) -> bool,
    ) -> Vec<Place> {
        self.beyond(live, Some(ours.value()), root, is_shared)
    }

    fn beyond(
        &self,
        live: &Object,
        ours: Option<&Value>,
        root: &[&str],
        is_shared: &dyn Fn(&str) -> bool,
    ) -> Vec<Place> {
        let mut place = Place { value: live.value().clone(), ..Place::default() };
        let (mut fields, mut ours) = (self.fields, ours);
        for name in root {
            let below = fields.get(&format!("f:{name}")).and_then(Value::as_object);
            let (Some(below), Some(value)) = (below, place.value.get(*name).cloned()) else {
                return Vec::new();
            };
            place = place.field(name, &value);
            ours = ours.and_then(|ours| ours.get(*name));
            fields = below;
        }
        let mut found = Vec::new();
        walk(fields, &place, ours, is_shared, &mut found);
        found
    }
}

fn walk(
    fields: &Map<String, Value>,
    at: &Place,
    ours: Option<&Value>,
    is_shared: &dyn Fn(&str) -> bool,
    found: &mut Vec<Place>,
) {
    for (word, below) in fields {
        let Some((place, ours)) = step(word, at, ours) else { continue };
        let below = below.as_object().filter(|below| !below.is_empty());
        match below {
            None if ours.is_none() => found.push(place),
            None => {}
            Some(below) if ours.is_none() && below.contains_key(".") && !is_shared(&place.path) => {
                found.push(place);
            }
            Some(below) => walk(below, &place, ours, is_shared, found),
        }
    }
}

/// Where `word` leads from `at`, and what we name there; none when nothing is there.
fn step<'a>(word: &str, at: &Place, ours: Option<&'a Value>) -> Option<(Place, Option<&'a Value>)> {
    let (kind, name) = word.split_once(':')?;
    match kind {
        "f" => Some((at.field(name, at.value.get(name)?), ours.and_then(|ours| ours.get(name)))),
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(name).ok()?;
            let items = at.value.as_array()?;
            let index =
                items.iter().position(|item| keys.iter().all(|(key, value)| item.get(key) == Some(value)))?;
            // A key that we leave out has its default, as a port's protocol has.
            let is_named = |item: &&Value| {
                let same = |(key, value): (&String, &Value)| item.get(key).map(|own| own == value);
                keys.iter().filter_map(same).fold(None, |all, one| Some(all.unwrap_or(true) && one))
                    == Some(true)
            };
            let ours = ours.and_then(Value::as_array).and_then(|all| all.iter().find(is_named));
            Some((at.item(index, &items[index], &keys), ours))
        }
        "v" => {
            let value: Value = serde_json::from_str(name).ok()?;
            let index = at.value.as_array()?.iter().position(|item| *item == value)?;
            let ours = ours.and_then(Value::as_array).and_then(|all| all.iter().find(|item| **item == value));
            Some((at.item(index, &value, &Map::new()), ours))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(spec: &Value, fields: &Value) -> Object {
        let managed = json!([{
            "manager": "somebody", "operation": "Update", "time": "2026-11-30T10:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:template": {"f:spec": fields}}},
        }]);
        Object::new(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "order-a", "managedFields": managed},
            "spec": {"template": {"spec": spec}},
        }))
        .unwrap()
    }

    fn added(live: &Value, fields: &Value, ours: &Value, shared: &str) -> Vec<String> {
        let (live, ours) = (deployment(live, fields), deployment(ours, &json!({})));
        let claim = claims(&live).next().unwrap();
        let is_shared = |path: &str| !shared.is_empty() && is_within(shared, path);
        let found = claim.added(&live, &ours, &["spec", "template"], &is_shared);
        found.into_iter().map(|place| place.path).collect()
    }

    #[test]
    fn what_we_name_is_not_added_whoever_owns_it() {
        let live = json!({"hostname": "x", "containers": [{"name": "shopd", "image": "other"}]});
        let fields = json!({"f:hostname": {}, "f:containers": {"k:{\"name\":\"shopd\"}": {"f:image": {}}}});
        let ours = json!({"containers": [{"name": "shopd", "image": "shop:1"}]});
        assert_eq!(added(&live, &fields, &ours, ""), ["spec.template.spec.hostname"]);
    }

    #[test]
    fn a_container_that_was_added_is_one_field() {
        let live = json!({"containers": [
            {"name": "shopd"}, {"name": "spy", "image": "spy:1", "ports": [{"containerPort": 1, "protocol": "TCP"}]},
        ]});
        let fields = json!({"f:containers": {"k:{\"name\":\"spy\"}": {
            ".": {}, "f:name": {}, "f:image": {},
            "f:ports": {".": {}, "k:{\"containerPort\":1,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
        }}});
        let ours = json!({"containers": [{"name": "shopd"}]});
        assert_eq!(added(&live, &fields, &ours, ""), ["spec.template.spec.containers[spy]"]);
        let kept = "spec.template.spec.containers[spy].image";
        assert_eq!(
            added(&live, &fields, &ours, kept),
            [
                "spec.template.spec.containers[spy].image",
                "spec.template.spec.containers[spy].name",
                "spec.template.spec.containers[spy].ports"
            ],
            "what others have a part in is told apart"
        );
    }

    #[test]
    fn a_port_is_ours_also_when_we_leave_its_protocol_out() {
        let live =
            json!({"containers": [{"name": "shopd", "ports": [{"containerPort": 8080, "protocol": "TCP"}]}]});
        let fields = json!({"f:containers": {"k:{\"name\":\"shopd\"}": {"f:ports": {
            "k:{\"containerPort\":8080,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}},
        }}}});
        let ours = json!({"containers": [{"name": "shopd", "ports": [{"containerPort": 8080}]}]});
        assert_eq!(added(&live, &fields, &ours, ""), [""; 0]);
        let other = json!({"containers": [{"name": "shopd", "ports": [{"containerPort": 9090}]}]});
        assert_eq!(added(&live, &fields, &other, ""), ["spec.template.spec.containers[shopd].ports[0]"]);
    }

    #[test]
    fn what_two_applied_alike_becomes_one_owners() {
        let entry = |manager: &str, fields: Value| json!({"manager": manager, "operation": "Apply", "fieldsV1": fields});
        let scaled =
            json!({"manager": "edit", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        let of = |entries: Value| {
            Object::new(json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "order-a", "resourceVersion": "7", "managedFields": entries},
            }))
            .unwrap()
        };
        let image = json!({"f:spec": {"k:{\"name\":\"shopd\"}": {".": {}, "f:image": {}}, "f:selector": {}}});
        let more = json!({
            "f:metadata": {"f:labels": {"f:theirs": {}}},
            "f:spec": {"k:{\"name\":\"shopd\"}": {".": {}, "f:image": {}, "f:tty": {}}, "f:selector": {"f:app": {}}},
        });
        let own = entry("shopctl", image.clone());
        let told = sole(
            &of(json!([
                own,
                entry("edit", more.clone()),
                entry("helm", more),
                entry("kubectl", image.clone()),
                scaled
            ])),
            "shopctl",
        )
        .unwrap();
        let rest = json!({
            "f:metadata": {"f:labels": {"f:theirs": {}}},
            "f:spec": {"k:{\"name\":\"shopd\"}": {"f:tty": {}}},
        });
        assert_eq!(told[0], json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"}));
        assert_eq!(told[1]["value"], json!([own, entry("edit", rest.clone()), scaled]));
        assert_eq!(sole(&of(json!([own, entry("edit", rest)])), "shopctl"), None, "nothing is shared");
        assert_eq!(sole(&of(json!([entry("helm", image)])), "shopctl"), None, "we own nothing there");
    }

    #[test]
    fn what_is_gone_again_is_nobodys() {
        assert_eq!(added(&json!({}), &json!({"f:hostname": {}}), &json!({}), ""), [""; 0]);
    }

    #[test]
    fn a_removal_makes_sure_that_it_removes_what_was_seen() {
        let live = json!({"containers": [{"name": "shopd", "tty": true}]});
        let fields = json!({"f:containers": {"k:{\"name\":\"shopd\"}": {"f:tty": {}}}});
        let live = deployment(&live, &fields);
        let claim = claims(&live).next().unwrap();
        let found = claim.fields(&live, &["spec", "template"]);
        let at = "/spec/template/spec/containers/0";
        assert_eq!(
            found[0].removal(),
            [
                json!({"op": "test", "path": format!("{at}/name"), "value": "shopd"}),
                json!({"op": "test", "path": format!("{at}/tty"), "value": true}),
                json!({"op": "remove", "path": format!("{at}/tty")}),
            ]
        );
    }
}
