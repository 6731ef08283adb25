//! `shopctl deploy`: brings the shop onto its cluster, or what changed of it.

use std::time::{Duration, Instant};

use clap::Args;

use super::changing::one_of;
use super::duration::Span;
use super::errand::{Errand, connect, report};
use super::lock::myself;
use crate::cluster::apply::Consent as Taking;
use crate::cluster::chart::Chart;
use crate::cluster::connect::Cluster;
use crate::config::{KubernetesSettings, Strategy};
use crate::context::{Context, variable};
use crate::failure::Exit;
use crate::output::Report;
use crate::targets::kubernetes::deploy::{Deployed, Wish};
use crate::targets::kubernetes::{self, Consent, Danger, rendering};

/// The words of `deploy`.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// The image to roll out, with a tag or a digest
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// How one release follows another: rolling or blue-green
    #[arg(long, value_enum, hide_possible_values = true, value_name = "HOW")]
    strategy: Option<Strategy>,
    /// Blue-green: wait for `shopctl rollout promote` before customers reach the new pods
    #[arg(long)]
    by_hand: bool,
    /// Blue-green: how long both slots serve
    #[arg(long, value_name = "LENGTH", default_value = "15s")]
    overlap: Span,
    /// Blue-green: how long the old slot keeps its pods, so that it can be undone at once
    #[arg(long, value_name = "LENGTH", default_value = "0s")]
    keep_warm: Span,
    /// One value of the chart, as `a.b=c`; may be given again
    #[arg(long = "set", value_name = "NAME=VALUE")]
    sets: Vec<String>,
    /// How long pods may take to get ready, and tables to be brought up to date
    #[arg(long, value_name = "LENGTH", default_value = "10m")]
    timeout: Span,
    /// Wait so long for somebody else's deploy
    #[arg(long, value_name = "LENGTH", default_value = "0s")]
    lock_wait: Span,
    /// How many revisions of each service are kept
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..))]
    history: u16,
    /// Take fields and objects that others own
    #[arg(long)]
    take_ownership: bool,
    #[command(flatten)]
    consent: Consent,
}

impl DeployArgs {
    /// All of the shop, as the environment has it, with `image`.
    pub(super) fn of_all(image: Option<String>, timeout: Span, lock_wait: Span, consent: Consent) -> Self {
        Self {
            services: Vec::new(),
            image,
            strategy: None,
            by_hand: false,
            overlap: Span::seconds(15),
            keep_warm: Span::seconds(0),
            sets: Vec::new(),
            timeout,
            lock_wait,
            history: 10,
            take_ownership: false,
            consent,
        }
    }
}

pub(super) fn run(args: &DeployArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let settings = context.config()?.kubernetes(variable)?;
    context.runtime()?.block_on(deploy(args, &settings, context))
}

async fn deploy(
    args: &DeployArgs,
    settings: &KubernetesSettings,
    context: &Context<'_>,
) -> anyhow::Result<Report> {
    let began = Instant::now();
    let cluster = connect(settings, context).await?;
    let known = rendering::services(Chart::embedded())?;
    for service in &args.services {
        one_of(&known, service, Exit::Usage, "there is no service")?;
    }
    for service in settings.gates.services.keys() {
        one_of(&known, service, Exit::Config, "shop.toml has gates for a service that is not there:")?;
    }
    args.consent.to(
        &format!("deploying to {}", settings.environment),
        Danger::Moderate,
        settings,
        context.printer,
    )?;
    let deployed = bring_out(args, &cluster, settings, context).await?;
    Ok(report(&deployed, began.elapsed()))
}

/// Does what `args` say, consent given.
pub(super) async fn bring_out(
    args: &DeployArgs,
    cluster: &Cluster,
    settings: &KubernetesSettings,
    context: &Context<'_>,
) -> anyhow::Result<Deployed> {
    kubernetes::make_namespace(cluster).await?;
    let seconds = |length: Duration| u32::try_from(length.as_secs()).unwrap_or(u32::MAX);
    let strategy = Wish::strategy(
        args.strategy.unwrap_or(settings.strategy),
        seconds(args.overlap.duration()),
        seconds(args.keep_warm.duration()),
        args.by_hand,
    );
    let wish = Wish {
        only: args.services.clone(),
        consent: Taking { takes_over: args.take_ownership },
        ready: args.timeout.duration(),
        keep: args.history.into(),
        ..Wish::usual(strategy, settings.gates.clone(), myself(), context.printer.run().to_owned())
    };
    let errand = Errand {
        command: "deploy",
        patience: args.lock_wait.duration(),
        image: args.image.as_deref(),
        sets: &args.sets,
        wish: &wish,
    };
    errand.under_lock(cluster, settings, context, async |deploy, desired| deploy.run(desired).await).await
}
