//! What to do about what a container, a registry or an API server says: one line each.

use crate::cluster::readiness::Ended;

/// The name of the container that is our own program, whose exit codes we know.
const OUR_PROGRAM: &str = "shopd";

fn says(message: &str, signs: &[&str]) -> bool {
    signs.iter().any(|sign| message.contains(sign))
}

/// An image that cannot be pulled: which of name, registry and secret it is.
pub(super) fn image(image: &str, reason: &str, message: &str) -> String {
    match reason {
        "InvalidImageName" => return format!("`{image}` is no name of an image: correct it"),
        "ErrImageNeverPull" => {
            return format!(
                "{image} is not on the node, and image.pullPolicy is Never: put it there, or pull it"
            );
        }
        _ => {}
    }
    let lower = message.to_ascii_lowercase();
    if says(
        &lower,
        &["unauthorized", "403 forbidden", "401", "denied", "no basic auth", "authorization failed"],
    ) {
        return format!("the registry refuses: check image.pullSecrets, and that {image} is there");
    }
    if says(
        &lower,
        &["no such host", "dial tcp", "i/o timeout", "connection refused", "tls:", "x509", ": eof"],
    ) {
        return "the node does not reach the registry: check its name, the network, and its certificate"
            .to_owned();
    }
    if says(&lower, &["429", "too many requests", "toomanyrequests"]) {
        return "the registry allows no more pulls for now: sign in (image.pullSecrets), or use a mirror"
            .to_owned();
    }
    if says(&lower, &["no match for platform", "no matching manifest"]) {
        return format!("{image} was not built for the node's processor: build it for that one too");
    }
    if says(&lower, &["not found", "manifest unknown", "does not exist"]) {
        return format!(
            "{image} is not in the registry: check tag and digest, or push it (`shopctl image push`)"
        );
    }
    format!(
        "check that {image} is there (tag or digest), that the node reaches the registry, and image.pullSecrets"
    )
}

/// What an object that is spoken of and is not there is called: `Secret shop-secrets`.
fn missing(message: &str) -> Option<String> {
    let kinds = [("secret", "Secret"), ("configmap", "ConfigMap"), ("serviceaccount", "ServiceAccount")];
    let lower = message.to_ascii_lowercase();
    if !says(&lower, &["not found", "non-existent"]) {
        return None;
    }
    kinds.into_iter().find_map(|(word, kind)| {
        let at = lower.find(&format!("{word} \""))? + word.len() + 2;
        let name = message.get(at..)?.split('"').next()?;
        let name = name.rsplit('/').next()?;
        Some(format!("{kind} {name}"))
    })
}

/// A container or a volume that cannot be made as it is described.
pub(super) fn config(message: &str) -> String {
    let lower = message.to_ascii_lowercase();
    if let Some(missing) = missing(message) {
        return format!("make {missing}, or wait for whoever makes it; the pod starts by itself then");
    }
    if says(&lower, &["couldn't find key", "non-existent secret key", "non-existent config key"]) {
        return "the object is there, and the key that the pod reads is not in it: add the key".to_owned();
    }
    if says(&lower, &["runasnonroot"]) {
        return "the image runs as root, and the pod may not: name a user in the image, or set runAsUser"
            .to_owned();
    }
    if says(&lower, &["multi-attach"]) {
        return "the volume is still held by a pod on another node: wait for that pod to end, or delete it"
            .to_owned();
    }
    "correct what the message names; the pod starts by itself then".to_owned()
}

/// A container that ended with an error, or ended at all.
pub(super) fn crash(container: &str, end: Ended<'_>) -> String {
    let known = match (container, end.code) {
        (_, 0) => "it ended as if its work were done, and it is to go on for ever: check its arguments",
        (OUR_PROGRAM, 2) => "an argument or a setting is wrong: the last line of its log names it",
        (OUR_PROGRAM, 4) => {
            "what it needs is not as it must be (secrets, data folder, or data of a newer version): its log names it"
        }
        (OUR_PROGRAM, 6) => {
            "its database did not answer: see that it runs, and that the NetworkPolicy lets it through"
        }
        (_, 126) => "its command may not be executed: check the image's entrypoint and its mode",
        (_, 127 | 128) => {
            "its command is not in the image: check the image's entrypoint and the pod's command"
        }
        (_, 134) => "it ended itself after a fault that it found: its log says which",
        (_, 137) => "it was killed: its node ran short of memory, or it did not stop in time",
        (_, 139) => {
            "it touched memory that is not its own: a fault in the program, or an image for another processor"
        }
        (_, 143) => "it was told to stop: see who did, in the events of the pod and its node",
        _ => "its last lines say why; `shopctl rollback` brings the last version back",
    };
    known.to_owned()
}

/// A container that used more memory than it may.
pub(super) fn memory(limit: Option<&str>) -> String {
    let limit = limit
        .map_or_else(|| "it has no limit of its own".to_owned(), |limit| format!("its limit is {limit}"));
    format!("{limit}: raise resources.limits.memory, or find what grows")
}

/// A probe that fails, by its own words.
pub(super) fn probe(message: &str) -> String {
    let lower = message.to_ascii_lowercase();
    let known = if says(&lower, &["connection refused"]) {
        "nothing listens on the probe's port: the process has not come up yet, or listens elsewhere"
    } else if says(&lower, &["statuscode: 503"]) {
        "it says itself that it cannot work: its database, or a service that it needs, does not answer"
    } else if says(&lower, &["statuscode: 404"]) {
        "the probe asks for a path that the program does not have: check path and image"
    } else if says(&lower, &["statuscode"]) {
        "it answers the probe with an error: its log says which"
    } else if says(&lower, &["deadline exceeded", "timeout", "timed out"]) {
        "it does not answer the probe in time: it has too little processor (resources.limits.cpu), or it hangs"
    } else {
        "see what the probe says, and the log below"
    };
    known.to_owned()
}

/// A quota that is used up, or that demands what the pod does not say.
pub(super) fn quota(message: &str) -> String {
    let name = ["exceeded quota: ", "failed quota: "].into_iter().find_map(|sign| {
        let (_, rest) = message.split_once(sign)?;
        rest.split([',', ':', ' ']).next()
    });
    let name = name.unwrap_or("of the namespace");
    if message.contains("must specify") {
        return format!("the quota {name} demands what the message names: add it to resources");
    }
    format!(
        "raise the quota {name}, or run fewer pods: a release needs room for its new pods beside the old ones"
    )
}

/// Pods that the namespace's Pod Security standard refuses.
pub(super) fn pod_security(message: &str) -> String {
    let standard = message.split_once("PodSecurity \"").and_then(|(_, rest)| rest.split(['"', ':']).next());
    let standard = standard.unwrap_or("enforced");
    format!(
        "the namespace enforces the standard `{standard}`: correct what the message names, or the namespace's label \
         pod-security.kubernetes.io/enforce"
    )
}

/// Pods that are refused for another reason.
pub(super) fn refused(message: &str) -> String {
    if let Some(missing) = missing(message) {
        return format!("make {missing}: the pods are made by themselves then");
    }
    if message.contains("failed calling webhook") {
        return "a webhook that has to agree does not answer: look at the service behind it".to_owned();
    }
    if message.contains("denied the request") {
        return "a policy of the cluster refuses the pods: correct what the message names".to_owned();
    }
    "correct what the message names: the pods are made by themselves then".to_owned()
}

/// A Job that has failed, by the reason that its controller gives.
pub(super) fn job(reason: &str) -> &'static str {
    match reason {
        "DeadlineExceeded" => {
            "it did not end in time: see how far it came, and raise its deadline (prepare.deadlineSeconds)"
        }
        "PodFailurePolicy" => {
            "its exit code says that trying again changes nothing: the last line of its log says what to correct"
        }
        _ => "its pods ended badly again and again: correct what the log says, and deploy again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_missing_or_forbidden_or_out_of_reach() {
        let told = |message: &str| image("registry.example.com/shop:1.2", "ImagePullBackOff", message);
        let pull = "failed to pull and unpack image \"registry.example.com/shop:1.2\"";
        insta::assert_snapshot!(
            [
                told(&format!(
                    "rpc error: code = NotFound desc = {pull}: failed to resolve reference: not found"
                )),
                told(&format!(
                    "{pull}: pull access denied, repository does not exist or may require authorization"
                )),
                told(&format!("{pull}: dial tcp: lookup registry.example.com: no such host")),
                told(&format!("{pull}: 429 Too Many Requests")),
                told(&format!("{pull}: no match for platform in manifest: not found")),
                told("Back-off pulling image"),
                image("Shop:1.2", "InvalidImageName", "couldn't parse image name"),
                image("shop:1.2", "ErrImageNeverPull", ""),
            ]
            .join("\n")
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let secret = "MountVolume.SetUp failed for volume \"secrets\" : secret \"shop-secrets\" not found";
        assert_eq!(missing(secret).as_deref(), Some("Secret shop-secrets"));
        let account = "pods \"x\" is forbidden: error looking up service account shop/order: serviceaccount \"order\" \
                       not found";
        assert_eq!(missing(account).as_deref(), Some("ServiceAccount order"));
        assert_eq!(missing("configmap \"order-b\" not found").as_deref(), Some("ConfigMap order-b"));
        assert_eq!(missing("secret \"x\" is too large"), None);
    }

    #[test]
    fn probes_and_quotas_say_what_to_do() {
        insta::assert_snapshot!(
            [
                probe("Readiness probe failed: HTTP probe failed with statuscode: 503"),
                probe("Readiness probe failed: HTTP probe failed with statuscode: 404"),
                probe("Liveness probe failed: HTTP probe failed with statuscode: 500"),
                probe("Startup probe failed: Get \"http://10.1.0.7:8083/healthz\": connect: connection refused"),
                probe("Liveness probe failed: Get \"http://10.1.0.7:8083/healthz\": context deadline exceeded"),
                quota("pods \"x\" is forbidden: exceeded quota: shop-quota, requested: pods=1, used: pods=9"),
                quota("pods \"x\" is forbidden: failed quota: shop-quota: must specify limits.cpu for: shopd"),
                pod_security("pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true"),
                config("couldn't find key password in Secret shop/shop-database"),
                config("container has runAsNonRoot and image will run as root"),
                refused("admission webhook \"policy.example.com\" denied the request: no"),
                refused("Internal error occurred: failed calling webhook \"x\""),
            ]
            .join("\n")
        );
    }
}
