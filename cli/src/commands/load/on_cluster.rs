//! A load on a shop that lives on a cluster: through a port that is forwarded to it, or by an address of the caller's.

use std::path::Path;

use platform::client::Operator;
use tokio::runtime::Runtime;

use super::RunArgs;
use crate::cluster::forward::Forward;
use crate::config::KubernetesSettings;
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::load::target::{self, Target};
use crate::targets::kubernetes::reach::Reach;

/// The environment's shop, ready to be loaded.
pub(super) struct OnCluster {
    pub(super) target: Target,
    /// The right to prepare the shop; it goes through the cluster, whatever the way of the load.
    pub(super) operator: Option<Operator>,
    _forward: Option<Forward>,
    /// Carries what is forwarded: the load's own runtime has other things to do.
    _runtime: Runtime,
}

impl OnCluster {
    /// Reaches the environment's shop.
    ///
    /// # Errors
    /// When it cannot be reached, or is protected and nobody said that it may be loaded.
    pub(super) fn find(args: &RunArgs, data_dir: &Path, context: &Context<'_>) -> anyhow::Result<Self> {
        let settings = context.config()?.kubernetes(variable)?;
        if settings.protected && !args.i_own_this_target {
            return Err(protected(&settings).into());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (name, forward, operator) = runtime.block_on(async {
            let reach = Reach::of(&settings, &context.env).await?;
            let forward = match (reach.gateway().await, &args.url) {
                (Ok(forward), _) => Some(forward),
                (Err(failure), None) => return Err(failure),
                (Err(_), Some(_)) => None,
            };
            // A right that is not there is missed by the scenarios that need it, and they say so.
            let operator = match &forward {
                Some(forward) => reach.operator(&forward.url()).await.ok(),
                None => None,
            };
            Ok((reach.name().await?, forward, operator))
        })?;
        let url = match (&args.url, &forward) {
            (Some(url), _) => url.clone(),
            (None, Some(forward)) => forward.url(),
            (None, None) => unreachable!("without a way and an address there was a failure"),
        };
        let is_forwarded = args.url.is_none();
        if is_forwarded {
            context.printer.warn(&format!(
                "the load goes through the API server of {}: what is measured includes that way; --url names a shorter one",
                settings.context
            ));
        }
        let target = Target::find(data_dir, Some(&url), args.i_own_this_target)?
            .on_cluster(target::OnCluster { environment: settings.environment, name, is_forwarded });
        Ok(Self { target, operator, _forward: forward, _runtime: runtime })
    }
}

fn protected(settings: &KubernetesSettings) -> Failure {
    let message = format!("`{}` is protected, and load on it may hurt somebody", settings.environment);
    Failure::new(Exit::Refused, "E-NOT-MINE", message)
        .object(format!("context {}, namespace {}", settings.context, settings.namespace))
        .hint("add --i-own-this-target when it is yours to load")
}
