//! Why there is no way to a pod, and what it means for whoever wanted one.

use crate::cluster::api::ApiError;
use crate::cluster::connect::Place;
use crate::failure::{Exit, Failure};

/// Why a connection could not be made, or was cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The namespace has no such Service.
    #[error("there is no Service `{0}`")]
    NoService(String),
    /// The Service has no such port, or its pods have none of that name.
    #[error("the Service `{service}` leads to no port `{port}`")]
    NoPort {
        /// The Service.
        service: String,
        /// The port, by name or number.
        port: String,
    },
    /// Nobody behind the Service takes requests now.
    #[error("no pod of `{0}` is ready")]
    NoneReady(String),
    /// The account may not do this.
    #[error("the account may not open ports of pods: {0}")]
    Forbidden(String),
    /// The API server, or the pod's node, made no way.
    #[error("no way leads to the pod {pod}: {why}")]
    NoWay {
        /// The pod.
        pod: String,
        /// What the API server said.
        why: String,
    },
    /// The node could not connect to the pod's port.
    #[error("the pod {pod} takes no connection: {why}")]
    Closed {
        /// The pod.
        pod: String,
        /// What the node said.
        why: String,
    },
    /// The pod went while the connection was open.
    #[error("the pod {0} went, and its connections with it; new ones go to another")]
    Went(String),
    /// The way broke while the connection was open.
    #[error("the way to the pod {pod} broke: {why}")]
    Broke {
        /// The pod.
        pod: String,
        /// What was seen of it.
        why: String,
    },
}

impl Trouble {
    /// What it means that no way to `pod` was made.
    pub(super) fn of(error: &ApiError, pod: &str) -> Self {
        match error.code() {
            Some(401 | 403) => Self::Forbidden(error.to_string()),
            _ => Self::NoWay { pod: pod.to_owned(), why: told(error) },
        }
    }

    /// Whether another pod of the Service may be reached all the same.
    pub(super) fn is_of_one_pod(&self) -> bool {
        matches!(self, Self::NoWay { .. } | Self::Closed { .. } | Self::Went(_) | Self::Broke { .. })
    }

    /// As the end of a command that `tried` something on the shop of `place`.
    #[must_use]
    pub fn failure(&self, tried: &str, place: &Place) -> Failure {
        let Place { environment, context, namespace, .. } = place;
        let (exit, code, hint) = match self {
            Self::NoService(_) => (
                Exit::Unreachable,
                "E-KUBE-NO-SHOP",
                format!("is there a shop in this namespace? `shopctl deploy -e {environment}` brings one"),
            ),
            Self::NoPort { .. } => (
                Exit::Conflict,
                "E-KUBE-PORT",
                format!("somebody changed it: `shopctl diff -e {environment}` says what"),
            ),
            Self::NoneReady(_) => (
                Exit::Unreachable,
                "E-KUBE-NO-POD",
                format!("`shopctl why -e {environment}` says what keeps them"),
            ),
            Self::Forbidden(_) => (
                Exit::Auth,
                "E-KUBE-FORBIDDEN",
                format!(
                    "the account needs `get` and `create` on `pods/portforward` in the namespace {namespace}"
                ),
            ),
            Self::NoWay { .. } | Self::Closed { .. } | Self::Broke { .. } => (
                Exit::Unreachable,
                "E-KUBE-NO-WAY",
                format!("`shopctl why -e {environment}` says how its pods are; try again"),
            ),
            Self::Went(_) => (
                Exit::Unreachable,
                "E-KUBE-POD-WENT",
                "it may have been done all the same: look before you try again".to_owned(),
            ),
        };
        Failure::new(exit, code, format!("could not {tried}"))
            .object(format!("context {context}, namespace {namespace}"))
            .hint(hint)
            .because(self.clone())
    }
}

/// The error with what lies beneath it, which says more.
fn told(error: &ApiError) -> String {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !said.contains(&more) {
            said = format!("{said}: {more}");
        }
        cause = inner.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;
    use crate::failure::Diagnosis;

    fn refused(code: u16, message: &str) -> ApiError {
        ApiError::Refused(Box::new(Status { code, message: message.to_owned(), ..Status::default() }))
    }

    #[test]
    fn a_right_that_is_missing_is_no_matter_of_the_pod() {
        let forbidden = Trouble::of(&refused(403, "pods \"a\" is forbidden"), "a");
        assert_eq!(forbidden, Trouble::Forbidden("pods \"a\" is forbidden".to_owned()));
        assert!(!forbidden.is_of_one_pod());
        let gone = Trouble::of(&refused(404, "pods \"a\" not found"), "a");
        assert!(gone.is_of_one_pod());
        assert_eq!(gone.to_string(), "no way leads to the pod a: pods \"a\" not found");
    }

    #[test]
    fn each_trouble_says_what_to_do_next() {
        let place = Place {
            environment: "lab".to_owned(),
            kubeconfig: None,
            context: "kind".to_owned(),
            namespace: "shop".to_owned(),
            cluster_uid: None,
        };
        let pod = || "gateway-a-1".to_owned();
        let all = [
            (Trouble::NoService("gateway".to_owned()), Exit::Unreachable, "deploy -e lab"),
            (Trouble::NoneReady("gateway".to_owned()), Exit::Unreachable, "why -e lab"),
            (Trouble::Forbidden("no".to_owned()), Exit::Auth, "`pods/portforward` in the namespace shop"),
            (Trouble::Closed { pod: pod(), why: "refused".to_owned() }, Exit::Unreachable, "why -e lab"),
            (Trouble::Went(pod()), Exit::Unreachable, "look before you try again"),
        ];
        for (trouble, exit, hint) in all {
            let found = Diagnosis::of(&trouble.failure("reach the shop", &place).into());
            assert_eq!(found.exit, exit, "{trouble}");
            assert_eq!(
                (found.message.as_str(), &found.causes[0]),
                ("could not reach the shop", &trouble.to_string())
            );
            assert!(found.hint.is_some_and(|said| said.contains(hint)), "{trouble}");
        }
    }
}
