//! `shopctl rollback`: brings an earlier revision of a service back.

use std::time::{Duration, Instant};

use clap::Args;

use super::duration::Span;
use super::errand::{Errand, connect, report};
use super::lock::myself;
use crate::config::{KubernetesSettings, Strategy};
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::output::Report;
use crate::targets::kubernetes::deploy::Wish;
use crate::targets::kubernetes::{Consent, Danger};

/// The words of `rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The revision to bring back [default: the newest good one before the one that runs]
    #[arg(long, value_name = "REVISION")]
    to: Option<u64>,
    /// How it follows the one that runs: rolling or blue-green
    #[arg(long, value_enum, hide_possible_values = true, value_name = "HOW")]
    strategy: Option<Strategy>,
    /// How long pods may take to get ready
    #[arg(long, value_name = "LENGTH", default_value = "10m")]
    timeout: Span,
    #[command(flatten)]
    consent: Consent,
}

pub(super) fn run(args: &RollbackArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let settings = context.config()?.kubernetes(variable)?;
    context.runtime()?.block_on(roll_back(args, &settings, context))
}

async fn roll_back(
    args: &RollbackArgs,
    settings: &KubernetesSettings,
    context: &Context<'_>,
) -> anyhow::Result<Report> {
    let began = Instant::now();
    let cluster = connect(settings, context).await?;
    let what = format!("rolling {} back in {}", args.service, settings.environment);
    args.consent.to(&what, Danger::Moderate, settings, context.printer)?;
    let strategy = Wish::usual_strategy(args.strategy.unwrap_or(settings.strategy));
    let wish = Wish {
        only: vec![args.service.clone()],
        ready: args.timeout.duration(),
        ..Wish::usual(strategy, settings.gates.clone(), myself(), context.printer.run().to_owned())
    };
    let errand =
        Errand { command: "rollback", patience: Duration::ZERO, image: None, sets: &[], wish: &wish };
    let came = errand.under_lock(&cluster, settings, context, async |deploy, desired| {
        deploy.roll_back(&desired, &args.service, args.to).await
    });
    let Some((number, deployed)) = came.await? else {
        let message = format!("{} has no revision to go back to", args.service);
        return Err(Failure::new(Exit::Usage, "E-NO-REVISION", message).hint("see `shopctl history`").into());
    };
    Ok(report(&deployed, began.elapsed()).last_line(format!("revision {number} is what runs again")))
}
