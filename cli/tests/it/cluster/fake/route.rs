//! Paths of the API taken apart.

/// API version, kind, the word in paths, and whether it lives in namespaces.
pub(super) const KINDS: &[(&str, &str, &str, bool)] = &[
    ("v1", "Namespace", "namespaces", false),
    ("v1", "Node", "nodes", false),
    ("v1", "Pod", "pods", true),
    ("v1", "Service", "services", true),
    ("v1", "ServiceAccount", "serviceaccounts", true),
    ("v1", "Secret", "secrets", true),
    ("v1", "ConfigMap", "configmaps", true),
    ("v1", "Event", "events", true),
    ("v1", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("apps/v1", "Deployment", "deployments", true),
    ("apps/v1", "ReplicaSet", "replicasets", true),
    ("apps/v1", "StatefulSet", "statefulsets", true),
    ("batch/v1", "Job", "jobs", true),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", true),
    ("networking.k8s.io/v1", "Ingress", "ingresses", true),
    ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", true),
    ("coordination.k8s.io/v1", "Lease", "leases", true),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", true),
];

/// What a path is of.
#[derive(Debug, PartialEq)]
pub(super) enum Route {
    /// The kinds of an API version.
    Kinds(String),
    /// All objects of a kind, below a path.
    Collection(String),
    /// One object.
    Object(String),
    /// The log of a pod.
    Log(String),
    /// Ways to the ports of a pod.
    Forward(String),
    /// The version of the server.
    Version,
    /// Nothing that is known.
    Unknown,
}

pub(super) fn route(path: &str) -> Route {
    if path == "/version" {
        return Route::Version;
    }
    let Some(root) = KINDS.iter().map(|(version, ..)| root(version)).find(|root| {
        path == root || path.strip_prefix(root.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }) else {
        return Route::Unknown;
    };
    let rest: Vec<&str> = path[root.len()..].split('/').filter(|part| !part.is_empty()).collect();
    let own = path.to_owned();
    match rest[..] {
        [] => Route::Kinds(root),
        [_] => Route::Collection(own),
        ["namespaces", _, "pods", pod, "log"] => Route::Log(pod.to_owned()),
        ["namespaces", _, "pods", pod, "portforward"] => Route::Forward(pod.to_owned()),
        ["namespaces", _] | ["namespaces", _, _, _] => Route::Object(own),
        ["namespaces", _, _] => Route::Collection(own),
        [_, _] => Route::Object(own),
        _ => Route::Unknown,
    }
}

pub(super) fn root(version: &str) -> String {
    if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") }
}

/// Where an object of a kind is kept.
pub(super) fn path(version: &str, kind: &str, namespace: &str, name: &str) -> String {
    let (_, _, plural, is_namespaced) = KINDS
        .iter()
        .find(|(v, k, ..)| (*v, *k) == (version, kind))
        .unwrap_or_else(|| panic!("{version} {kind}"));
    let inside = if *is_namespaced { format!("/namespaces/{namespace}") } else { String::new() };
    format!("{}{inside}/{plural}/{name}", root(version))
}

/// The value of a field of a query, with its percent signs undone.
pub(super) fn field(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let hex: String = rest.by_ref().take(2).map(char::from).collect();
            bytes.push(u8::from_str_radix(&hex, 16).expect("two hexadecimal digits"));
        } else {
            bytes.push(byte);
        }
    }
    Some(String::from_utf8(bytes).expect("text"))
}
