//! What must be in place before a shop can live on a cluster.

use platform::vocabulary::Env;

use crate::cluster::connect::Cluster;
use crate::config::{Config, KubernetesSettings, Settings};
use crate::failure::Failure;
use crate::targets::{Check, Verdict};

/// The oldest Kubernetes that the chart is tested with.
const OLDEST_MINOR: u32 = 33;

/// All of them, in the order a deploy would trip over them.
#[must_use]
pub fn all(config: &Config, _: &Settings) -> Vec<Check> {
    let settings = match config.kubernetes(|name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(failure) => return vec![failed("configuration", &failure)],
    };
    let mut checks = vec![Check::ok(
        "configuration",
        format!("context {}, namespace {}", settings.context, settings.namespace),
    )];
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(on_cluster(&settings, &mut checks)),
        Err(error) => checks.push(Check::not_ok("cluster", Verdict::Unknown, error.to_string(), "try again")),
    }
    checks
}

async fn on_cluster(settings: &KubernetesSettings, checks: &mut Vec<Check>) {
    let cluster = match super::connect(settings, &Env::system()).await {
        Ok(cluster) => cluster,
        Err(failure) => return checks.push(failed("cluster", &failure)),
    };
    checks.push(version(&cluster));
    checks.push(identity(&cluster, settings));
    let namespace = cluster.api.get(("v1", "Namespace"), "", cluster.namespace()).await;
    checks.push(match namespace {
        Ok(Some(_)) => Check::ok("namespace", cluster.namespace()),
        Ok(None) => Check::ok("namespace", format!("{} will be made", cluster.namespace())),
        Err(error) => failed("namespace", &cluster.refused(error, "look at the namespace")),
    });
}

fn version(cluster: &Cluster) -> Check {
    let minor = cluster.version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    match minor {
        Some(minor) if minor >= OLDEST_MINOR => Check::ok("cluster", cluster.version.clone()),
        Some(_) => Check::not_ok(
            "cluster",
            Verdict::Warning,
            cluster.version.clone(),
            format!("the chart is tested from 1.{OLDEST_MINOR} on: raise the cluster's version"),
        ),
        None => Check::not_ok("cluster", Verdict::Unknown, cluster.version.clone(), "ask `kubectl version`"),
    }
}

fn identity(cluster: &Cluster, settings: &KubernetesSettings) -> Check {
    match &settings.cluster_uid {
        Some(uid) => Check::ok("identity", format!("it is the cluster {uid}")),
        None => Check::not_ok(
            "identity",
            Verdict::Warning,
            "any cluster behind the context will do",
            format!("put `cluster_uid = \"{}\"` into [env.{}]", cluster.uid, settings.environment),
        ),
    }
}

fn failed(name: &'static str, failure: &Failure) -> Check {
    Check::not_ok(name, Verdict::Failed, failure.to_string(), failure.advice().unwrap_or("").to_owned())
}
