//! What of an object is otherwise than the last deploy made it, and by whom. Four classes: it is not there, it was changed,
//! somebody added fields to it that no deploy names, and it is there without any deploy that made it.
//!
//! What is nobody's doing is none: status, what the control plane writes, the number of pods where an autoscaler or
//! `shopctl scale` has it, and the moment of a restart.

use serde::Serialize;
use serde_json::Value;

use super::MANAGER;
use super::diff::{Difference, MASKED, differences};
use super::object::{Key, Object};
use super::ownership::{Claim, Place, claims, is_within};

/// Managers whose fields are no drift: our own, and the control plane's.
const IGNORED: &[&str] = &[
    MANAGER,
    "shopctl-scale",
    "shopctl-restart",
    "shopctl-applyset",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-apiserver",
    "cloud-controller-manager",
    "kubelet",
];
/// The moment of a restart, whoever asked for it.
const RESTARTED_AT: &str = "spec.template.metadata.annotations[\"kubectl.kubernetes.io/restartedAt\"]";

/// How something is otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// It is not there.
    Missing,
    /// Fields that a deploy set are otherwise.
    Changed,
    /// Fields that no deploy names were added to its pods or to what it serves.
    Foreign,
    /// It is marked as the shop's, and no deploy made it.
    Extra,
}

impl Class {
    /// Its name, as scripts read it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Foreign => "foreign",
            Self::Extra => "extra",
        }
    }
}

/// A field that is otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Field {
    /// Where it is: `spec.template.spec.hostname`.
    pub path: String,
    /// As the deploy made it; absent when it made none.
    pub ours: Option<Value>,
    /// As it is; absent when it is not there.
    pub theirs: Option<Value>,
    /// Who set it last; absent when the server does not say.
    pub manager: Option<String>,
    /// When.
    pub since: Option<String>,
}

/// What is otherwise of an object.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drift {
    /// `Deployment/order-a`.
    pub object: String,
    /// How.
    pub class: Class,
    /// Which fields.
    pub fields: Vec<Field>,
    /// Why it cannot be put right; absent when it can.
    pub unfixable: Option<String>,
    /// The object.
    #[serde(skip)]
    pub key: Key,
}

impl Drift {
    /// `key` is otherwise in the way of `class`.
    #[must_use]
    pub fn new(key: &Key, class: Class, fields: Vec<Field>) -> Self {
        Self { object: key.to_string(), class, fields, unfixable: None, key: key.clone() }
    }

    /// The same, and it cannot be put right.
    #[must_use]
    pub fn unfixable(mut self, why: impl Into<String>) -> Self {
        self.unfixable = Some(why.into());
        self
    }

    /// Whether `other` speaks of the same class of the same object.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.class == other.class && self.key == other.key
    }
}

/// What is otherwise of an object that is `live`, that a deploy makes as `ours`, and that applying `ours` would make
/// `after`.
#[must_use]
pub fn of(ours: &Object, live: &Object, after: &Object) -> Vec<Drift> {
    let key = ours.key();
    let changed: Vec<Field> = changed(live, after);
    let foreign: Vec<Field> =
        added(ours, live).into_iter().map(|(place, claim)| foreign(place, &claim)).collect();
    let of_class = |class, fields: Vec<Field>| (!fields.is_empty()).then(|| Drift::new(key, class, fields));
    [of_class(Class::Changed, changed), of_class(Class::Foreign, foreign)].into_iter().flatten().collect()
}

fn changed(live: &Object, after: &Object) -> Vec<Field> {
    let owned: Vec<(String, Claim<'_>)> = claims(live)
        .filter(|claim| claim.manager != MANAGER)
        .flat_map(|claim| claim.fields(live, &[]).into_iter().map(move |place| (place.path, claim.clone())))
        .collect();
    let field = |Difference { path, before, after }| {
        let mine = owned.iter().filter(|(other, _)| is_within(&path, other) || is_within(other, &path));
        let last = mine.map(|(_, claim)| claim).max_by_key(|claim| claim.since);
        Field {
            path,
            ours: after,
            theirs: before,
            manager: last.map(|claim| claim.manager.to_owned()),
            since: last.and_then(|claim| claim.since).map(str::to_owned),
        }
    };
    differences(Some(live), Some(after)).into_iter().map(field).collect()
}

fn foreign(place: Place, claim: &Claim<'_>) -> Field {
    Field {
        path: place.path,
        ours: None,
        theirs: Some(place.value),
        manager: Some(claim.manager.to_owned()),
        since: claim.since.map(str::to_owned),
    }
}

/// What others added to the pods that `ours` makes, or to what it serves, each place once.
fn added<'a>(ours: &Object, live: &'a Object) -> Vec<(Place, Claim<'a>)> {
    let root: &[&str] = match ours.kind() {
        "Deployment" | "StatefulSet" | "DaemonSet" => &["spec", "template"],
        "Service" => &["spec"],
        _ => return Vec::new(),
    };
    let (ignored, others): (Vec<_>, Vec<_>) =
        claims(live).partition(|claim| IGNORED.contains(&claim.manager));
    let mut spared: Vec<String> =
        ignored.iter().flat_map(|claim| claim.fields(live, root)).map(|place| place.path).collect();
    spared.push(RESTARTED_AT.to_owned());
    let is_shared = |path: &str| spared.iter().any(|other| is_within(other, path));
    let mut found: Vec<(Place, Claim<'_>)> = others
        .into_iter()
        .flat_map(|claim| {
            let places = claim.added(live, ours, root, &is_shared);
            places.into_iter().map(move |place| (place, claim.clone()))
        })
        .filter(|(place, _)| !spared.contains(&place.path))
        .collect();
    // The outer ones first, so that what lies in one of them is seen to.
    found.sort_by(|(one, _), (other, _)| one.path.cmp(&other.path));
    let mut kept: Vec<(Place, Claim<'_>)> = Vec::new();
    for (place, claim) in found {
        if !kept.iter().any(|(other, _)| place.is_within(other)) {
            kept.push((place, claim));
        }
    }
    kept
}

/// The operations of a JSON patch that remove from `live` what others added to it, as far as it is among `shown`; with each
/// its path and who had added it. What stands later in a list goes first.
#[must_use]
pub fn removals(ours: &Object, live: &Object, shown: &[Field]) -> Vec<(String, String, Vec<Value>)> {
    let is_shown = |place: &Place| shown.iter().any(|field| field.path == place.path);
    let mut places = added(ours, live);
    places.retain(|(place, _)| is_shown(place));
    places.sort_by_key(|(place, _)| std::cmp::Reverse(place.order()));
    places
        .into_iter()
        .map(|(place, claim)| (place.path.clone(), claim.manager.to_owned(), place.removal()))
        .collect()
}

/// A Secret as the deploy made it, with the values that it has: a deploy keeps those that are there. And the names that it
/// has no more.
#[must_use]
pub fn with_values(ours: &Object, live: &Object) -> (Object, Vec<Field>) {
    let mut filled = ours.clone();
    let mut lost = Vec::new();
    let there = |name: &str| live.at("/data").and_then(|data| data.get(name)).cloned();
    if let Some(values) = filled.value_mut().get_mut("data").and_then(Value::as_object_mut) {
        lost.extend(values.keys().filter(|name| there(name).is_none()).map(|name| gone(name)));
        *values = values.keys().filter_map(|name| Some((name.clone(), there(name)?))).collect();
    }
    (filled, lost)
}

fn gone(name: &str) -> Field {
    Field {
        path: format!("data.{name}"),
        ours: Some(MASKED.0.into()),
        theirs: None,
        manager: None,
        since: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(spec: Value, managed: Value) -> Object {
        let metadata = json!({"name": "order-a", "namespace": "shop", "managedFields": managed});
        Object::new(
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}),
        )
        .unwrap()
    }

    fn claim(manager: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": "Update", "time": "2026-11-30T10:00:00Z", "fieldsV1": fields})
    }

    fn in_pods(fields: Value) -> Value {
        json!({"f:spec": {"f:template": fields}})
    }

    fn told(drifts: &[Drift]) -> Vec<(&'static str, Vec<&str>)> {
        drifts
            .iter()
            .map(|drift| {
                let paths = drift.fields.iter().map(|field| field.path.as_str());
                (drift.class.word(), paths.collect())
            })
            .collect()
    }

    #[test]
    fn what_was_set_and_what_was_added_are_told_apart_with_who_did_it() {
        let ours = deployment(json!({"minReadySeconds": 5, "template": {"spec": {"tty": 1}}}), json!([]));
        let managed = json!([
            claim("shopctl", in_pods(json!({"f:spec": {"f:tty": {}}}))),
            claim(
                "kubectl-patch",
                json!({"f:spec": {"f:minReadySeconds": {}, "f:template": {"f:spec": {"f:hostname": {}}}}})
            ),
        ]);
        let spec = |seconds: u32| json!({"minReadySeconds": seconds, "template": {"spec": {"tty": 1, "hostname": "x"}}});
        let (live, after) = (deployment(spec(7), managed.clone()), deployment(spec(5), managed));
        let found = of(&ours, &live, &after);
        assert_eq!(
            told(&found),
            [("changed", vec!["spec.minReadySeconds"]), ("foreign", vec!["spec.template.spec.hostname"])]
        );
        let field = &found[0].fields[0];
        assert_eq!((&field.ours, &field.theirs), (&Some(json!(5)), &Some(json!(7))));
        for drift in &found {
            assert_eq!(drift.fields[0].manager.as_deref(), Some("kubectl-patch"));
            assert_eq!(drift.fields[0].since.as_deref(), Some("2026-11-30T10:00:00Z"));
        }
    }

    #[test]
    fn restarts_scales_autoscalers_and_the_control_plane_are_no_drift() {
        let ours = deployment(json!({"template": {"spec": {}}}), json!([]));
        let restarted =
            json!({"f:metadata": {"f:annotations": {".": {}, "f:kubectl.kubernetes.io/restartedAt": {}}}});
        let mut by_status = claim("somebody", in_pods(json!({"f:spec": {"f:hostname": {}}})));
        by_status["subresource"] = "status".into();
        let managed = json!([
            claim("shopctl-restart", in_pods(restarted.clone())),
            claim("kubectl-rollout", in_pods(restarted)),
            claim("shopctl-scale", json!({"f:spec": {"f:replicas": {}}})),
            claim("kube-controller-manager", in_pods(json!({"f:spec": {"f:hostname": {}}}))),
            by_status,
        ]);
        let template = json!({
            "metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "2026-11-30T10:00:00Z"}},
            "spec": {"hostname": "x"},
        });
        let live = deployment(json!({"replicas": 9, "template": template}), managed);
        assert_eq!(of(&ours, &live, &live), []);
    }

    #[test]
    fn an_annotation_beside_a_restart_is_found_alone() {
        let ours = deployment(json!({"template": {}}), json!([]));
        let annotations = json!({".": {}, "f:kubectl.kubernetes.io/restartedAt": {}, "f:note": {}});
        let managed =
            json!([claim("somebody", in_pods(json!({"f:metadata": {"f:annotations": annotations}})))]);
        let template =
            json!({"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "t", "note": "x"}}});
        let live = deployment(json!({"template": template}), managed);
        let found = of(&ours, &live, &live);
        assert_eq!(told(&found), [("foreign", vec!["spec.template.metadata.annotations.note"])]);
    }

    #[test]
    fn removals_begin_with_what_stands_last_and_keep_to_what_was_shown() {
        let ours = deployment(json!({"template": {"spec": {"containers": [{"name": "shopd"}]}}}), json!([]));
        let added = |name: &str| (format!("k:{{\"name\":\"{name}\"}}"), json!({".": {}, "f:name": {}}));
        let items: serde_json::Map<_, _> = ["one", "two"].map(added).into_iter().collect();
        let fields = json!({"f:spec": {"f:hostname": {}, "f:containers": items}});
        let containers = json!([{"name": "shopd"}, {"name": "one"}, {"name": "two"}]);
        let live = deployment(
            json!({"template": {"spec": {"hostname": "x", "containers": containers}}}),
            json!([claim("somebody", in_pods(fields))]),
        );
        let mut shown = of(&ours, &live, &live).remove(0).fields;
        let paths = |shown: &[Field]| {
            removals(&ours, &live, shown).into_iter().map(|(path, ..)| path).collect::<Vec<_>>()
        };
        let at = "spec.template.spec";
        assert_eq!(
            paths(&shown),
            [format!("{at}.hostname"), format!("{at}.containers[two]"), format!("{at}.containers[one]")]
        );
        shown.retain(|field| field.path.ends_with("hostname"));
        assert_eq!(paths(&shown), [format!("{at}.hostname")]);
    }

    #[test]
    fn a_secret_keeps_its_values_and_a_name_that_it_lost_is_told() {
        let secret = |data: Value| {
            let metadata = json!({"name": "keys"});
            Object::new(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}))
                .unwrap()
        };
        let ours = secret(json!({"password": null, "pepper": null}));
        let (filled, lost) = with_values(&ours, &secret(json!({"password": "c2VjcmV0", "else": "eA=="})));
        assert_eq!(filled.at("/data"), Some(&json!({"password": "c2VjcmV0"})));
        assert_eq!(lost.iter().map(|field| field.path.as_str()).collect::<Vec<_>>(), ["data.pepper"]);
    }
}
