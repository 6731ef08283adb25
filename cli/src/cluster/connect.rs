//! Which cluster a command talks to, and whether it is the one that is meant.
//!
//! A context of a kubeconfig is only a name, and names are given anew: an environment therefore also names the cluster by
//! the uid of its `kube-system` namespace, which no other cluster has. The context that kubectl happens to be set to is
//! never used.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use platform::vocabulary::Env;

use super::api::{Api, ApiError};
use crate::failure::{Exit, Failure};

/// How long the cluster may take to take a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long it may take to answer; a watch is quiet for longer.
const READ: Duration = Duration::from_secs(295);

/// Where an environment's shop lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The environment's name.
    pub environment: String,
    /// The kubeconfig; absent where `KUBECONFIG` or `~/.kube/config` say.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it.
    pub context: String,
    /// The namespace.
    pub namespace: String,
    /// The uid of the cluster's `kube-system` namespace.
    pub cluster_uid: Option<String>,
}

/// A cluster that was found to be the one that is meant.
#[derive(Clone)]
pub struct Cluster {
    /// Its API.
    pub api: Arc<Api>,
    /// Where in it the shop lives.
    pub place: Place,
    /// The uid that it answered with.
    pub uid: String,
    /// The version of its API server: `v1.34.4`.
    pub version: String,
}

impl Cluster {
    /// Connects to the cluster of `place`, and makes sure that it is the one.
    ///
    /// # Errors
    /// When the kubeconfig or its context is not there, when the cluster does not answer or let us in, and when it is another
    /// one than `place` says.
    pub async fn connect(place: &Place, env: &Env) -> Result<Self, Failure> {
        let api = Api::new(client(place).await?, env.clone());
        let system = api.get(("v1", "Namespace"), "", "kube-system").await;
        let system = system.map_err(|error| refused(error, place, "look at the cluster"))?;
        let uid = system.and_then(|system| system.uid().map(str::to_owned)).unwrap_or_default();
        if let Some(meant) = &place.cluster_uid
            && *meant != uid
        {
            let message = format!(
                "the context `{}` leads to another cluster than `{}` is",
                place.context, place.environment
            );
            return Err(Failure::new(Exit::Refused, "E-KUBE-WRONG-CLUSTER", message)
                .object(format!("found {uid}, meant {meant}"))
                .hint("compare `kubectl get namespace kube-system -o jsonpath={.metadata.uid}`; if the cluster was made anew, put its uid into `cluster_uid`"));
        }
        let version =
            api.read("/version").await.map_err(|error| refused(error, place, "ask for the version"))?;
        let version: serde_json::Value = serde_json::from_str(&version).unwrap_or_default();
        let version = version["gitVersion"].as_str().unwrap_or_default().to_owned();
        Ok(Self { api: Arc::new(api), place: place.clone(), uid, version })
    }

    /// The namespace of the shop.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.place.namespace
    }

    /// One line that says what a change would change: shown before every one.
    #[must_use]
    pub fn banner(&self) -> String {
        let Place { environment, context, namespace, .. } = &self.place;
        format!("{environment} · {context} ({}) · namespace {namespace}", self.version)
    }

    /// Says what it means that `error` came of `tried`.
    #[must_use]
    pub fn refused(&self, error: ApiError, tried: &str) -> Failure {
        refused(error, &self.place, tried)
    }
}

async fn client(place: &Place) -> Result<kube::Client, Failure> {
    // More than one program of this process may have set it; all set the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = read(place)?;
    let names: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
    if !names.contains(&place.context.as_str()) {
        let message = format!("the kubeconfig has no context `{}`", place.context);
        let near = crate::failure::nearest(&place.context, names.iter().copied());
        return Err(Failure::new(Exit::Config, "E-KUBE-CONTEXT", message).object(source(place)).hint(
            match near {
                Some(near) => format!("did you mean `{near}`? set `context` in shop.toml"),
                None if names.is_empty() => "it has none at all: sign in to your cluster first".to_owned(),
                None => format!("it has {}", names.join(", ")),
            },
        ));
    }
    let options = KubeConfigOptions { context: Some(place.context.clone()), ..KubeConfigOptions::default() };
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| {
        Failure::new(Exit::Auth, "E-KUBE-CONFIG", format!("the context `{}` cannot be used", place.context))
            .object(source(place))
            .because(error)
    })?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(READ);
    kube::Client::try_from(config).map_err(|error| {
        Failure::new(Exit::Auth, "E-KUBE-CREDENTIALS", "the credentials of the kubeconfig cannot be used")
            .object(format!("context {} of {}", place.context, source(place)))
            .hint("a program that the kubeconfig names for credentials must be on the PATH")
            .because(error)
    })
}

fn read(place: &Place) -> Result<Kubeconfig, Failure> {
    let read = match &place.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    read.map_err(|error| {
        Failure::new(Exit::Auth, "E-KUBE-NO-CONFIG", "there is no kubeconfig that can be read")
            .object(source(place))
            .hint("set KUBECONFIG, or `kubeconfig` in shop.toml")
            .because(error)
    })
}

fn source(place: &Place) -> String {
    match (&place.kubeconfig, std::env::var("KUBECONFIG")) {
        (Some(path), _) => path.display().to_string(),
        (None, Ok(path)) if !path.is_empty() => path,
        _ => "~/.kube/config".to_owned(),
    }
}

fn refused(error: ApiError, place: &Place, tried: &str) -> Failure {
    let message = format!("could not {tried}");
    let object = format!("context {}, namespace {}", place.context, place.namespace);
    let failure = match error.code() {
        Some(401) => Failure::new(Exit::Auth, "E-KUBE-UNAUTHORIZED", message)
            .hint("the credentials are expired or unknown to the cluster: sign in again"),
        Some(403) => Failure::new(Exit::Auth, "E-KUBE-FORBIDDEN", message)
            .hint("the account may not do this: the answer names the right that it lacks"),
        Some(409) => Failure::new(Exit::Conflict, "E-KUBE-CONFLICT", message)
            .hint("somebody changed it at the same time: try again"),
        Some(400 | 422) => Failure::new(Exit::Config, "E-KUBE-INVALID", message)
            .hint("the cluster does not take it as it is: the answer names the field"),
        Some(404) => Failure::new(Exit::Conflict, "E-KUBE-GONE", message),
        Some(_) => Failure::new(Exit::Unreachable, "E-KUBE-ERROR", message),
        None => match error {
            ApiError::UnknownKind { .. } => Failure::new(Exit::Preflight, "E-KUBE-KIND", message)
                .hint("the cluster is older than the chart needs, or lacks an extension"),
            ApiError::Garbage(_) => Failure::new(Exit::Internal, "E-KUBE-GARBAGE", message),
            _ => Failure::new(Exit::Unreachable, "E-KUBE-UNREACHABLE", message)
                .hint("is the cluster up, and does the way to it lead there (VPN, proxy)?"),
        },
    };
    failure.object(object).because(error)
}
