//! What the scheduler says when no node takes a pod, and what to do about it.

use serde_json::Value;

use crate::cluster::object::Object;

/// One of the scheduler's reasons, with the number of nodes that it holds for.
#[derive(Debug, PartialEq, Eq)]
struct Obstacle<'a> {
    nodes: u32,
    what: &'a str,
}

/// The obstacles in a message such as `0/3 nodes are available: 1 node(s) had untolerated taint {a: b}, 2 Insufficient
/// cpu. preemption: …`. None when it is not of that shape.
fn obstacles(message: &str) -> Vec<Obstacle<'_>> {
    let Some((_, list)) = message.split_once("nodes are available: ") else { return Vec::new() };
    let list = list.split(" preemption: ").next().unwrap_or_default();
    // A comma stands between two of them only when a number follows.
    let mut all: Vec<Obstacle<'_>> = Vec::new();
    let mut start = 0;
    for (at, _) in list.match_indices(", ") {
        if list[at + 2..].starts_with(|letter: char| letter.is_ascii_digit()) {
            all.extend(obstacle(&list[start..at]));
            start = at + 2;
        }
    }
    all.extend(obstacle(&list[start..]));
    // Those that hold for the most nodes are told first.
    all.sort_by_key(|obstacle| std::cmp::Reverse(obstacle.nodes));
    all
}

/// Some hold for the pod wherever it goes, and have no number.
fn obstacle(text: &str) -> Option<Obstacle<'_>> {
    let text = text.trim().trim_end_matches('.');
    let numbered =
        text.split_once(' ').and_then(|(nodes, what)| Some(Obstacle { nodes: nodes.parse().ok()?, what }));
    numbered.or_else(|| (!text.is_empty()).then_some(Obstacle { nodes: u32::MAX, what: text }))
}

/// What to do so that a node takes `pod`: one part for each obstacle, at most three.
pub(super) fn advice(message: &str, pod: &Object) -> String {
    if message.contains("persistentvolumeclaim \"") && message.contains("not found") {
        return "make the claim that the message names".to_owned();
    }
    let mut parts: Vec<String> = obstacles(message).iter().map(|one| way_round(one.what, pod)).collect();
    parts.dedup();
    parts.truncate(3);
    if parts.is_empty() { "look at the nodes: `kubectl describe nodes`".to_owned() } else { parts.join("; ") }
}

fn way_round(what: &str, pod: &Object) -> String {
    if let Some(resource) = what.strip_prefix("Insufficient ") {
        let asked = requests(pod, resource);
        let asked = if asked.is_empty() { String::new() } else { format!(" (the pod asks for {asked})") };
        return format!("no node has enough {resource} left{asked}: ask for less, or add a node");
    }
    if let Some((_, taint)) = what.split_once("untolerated taint") {
        let taint =
            taint.trim_start_matches("(s)").trim().trim_matches(['{', '}']).trim_end_matches(": ").trim();
        return match taint {
            "" => "the nodes' taints keep the pod away: tolerate them, or take them off".to_owned(),
            _ if taint.starts_with("node.kubernetes.io/") => {
                format!("a node is marked {taint}: look at that node")
            }
            _ => format!("the taint {taint} keeps the pod away: tolerate it, or take it off the node"),
        };
    }
    let known = [
        ("Too many pods", "the nodes are full of pods: add a node"),
        ("were unschedulable", "a node is cordoned: `kubectl uncordon` it when its work is done"),
        ("node affinity/selector", "no node has the labels that scheduling.nodeSelector asks for"),
        (
            "topology spread constraints",
            "the pods cannot be spread as scheduling.zones and scheduling.hosts demand: add a node, or ScheduleAnyway",
        ),
        ("volume node affinity conflict", "its volume is in a zone where no node takes it: add a node there"),
        ("anti-affinity", "the pod may not stand beside those that are there: add a node"),
        ("free ports", "another pod has the node's port"),
        ("unbound immediate PersistentVolumeClaims", "its claim has no volume yet: look at the claim"),
    ];
    let found = known.into_iter().find(|(sign, _)| what.contains(sign));
    found.map_or_else(|| format!("the nodes refuse it: {what}"), |(_, way)| way.to_owned())
}

/// What the containers of `pod` ask for of a resource, in the words of the pod.
fn requests(pod: &Object, resource: &str) -> String {
    let all = pod.at("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let asked = all.filter_map(|container| container.pointer("/resources/requests")?.get(resource)?.as_str());
    asked.collect::<Vec<_>>().join(" + ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_is_taken_apart_at_its_numbers() {
        let message = "0/4 nodes are available: 1 node(s) had untolerated taint {dedicated: a, b}, 3 Insufficient cpu. \
                       preemption: 0/4 nodes are available: 4 No preemption victims found for incoming pod.";
        let expected = [
            Obstacle { nodes: 3, what: "Insufficient cpu" },
            Obstacle { nodes: 1, what: "node(s) had untolerated taint {dedicated: a, b}" },
        ];
        assert_eq!(obstacles(message), expected);
        assert_eq!(obstacles("no nodes available to schedule pods"), []);
    }

    #[test]
    fn each_obstacle_has_its_way_round() {
        let pod = Object::new(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "shopd", "resources": {"requests": {"cpu": "100m"}}}]},
        }))
        .unwrap();
        let told = |list: &str| advice(&format!("0/2 nodes are available: {list}"), &pod);
        insta::assert_snapshot!(
            [
                told(
                    "2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No preemption victims found."
                ),
                told("1 Insufficient memory, 1 Too many pods."),
                told(
                    "1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }, 1 Insufficient cpu."
                ),
                told("2 node(s) had untolerated taint {gpu: true}."),
                told("2 node(s) had untolerated taint(s)."),
                told("2 node(s) didn't match Pod's node affinity/selector."),
                told("2 node(s) didn't match pod topology spread constraints."),
                told("1 node(s) were unschedulable, 1 node(s) had volume node affinity conflict."),
                told("pod has unbound immediate PersistentVolumeClaims."),
                told("persistentvolumeclaim \"data\" not found."),
                told("2 node(s) had moods."),
                advice("no nodes available to schedule pods", &pod),
            ]
            .join("\n")
        );
    }
}
