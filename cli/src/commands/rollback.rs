//! `shopctl rollback`: brings an earlier revision of a service back.

use clap::Args;

use super::deploy::{failed, report, say, stop_switch, take_lock};
use super::duration::Span;
use super::lock::myself;
use crate::cluster::apply::Consent as Taking;
use crate::cluster::release::Event;
use crate::config::Strategy;
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::output::Report;
use crate::targets::kubernetes::deploy::{Deploy, Wish};
use crate::targets::kubernetes::{self, Consent, Danger, rendering};

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
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let began = std::time::Instant::now();
        let cluster = kubernetes::connect(&settings, &context.env).await?;
        context.printer.say(&cluster.banner());
        let what = format!("rolling {} back in {}", args.service, settings.environment);
        args.consent.to(&what, Danger::Moderate, &settings, context.printer)?;
        let run = context.env.id::<()>().to_string();
        let lock = take_lock("rollback", std::time::Duration::ZERO, &cluster, &run, context).await?;
        let stopped = stop_switch(context);
        let outcome = async {
            let desired = rendering::desired(&cluster, &settings, None, &[], &context.env).await?;
            let wish = Wish {
                strategy: Wish::strategy(args.strategy.unwrap_or(settings.strategy), 15, 0, false),
                only: vec![args.service.clone()],
                consent: Taking::default(),
                ready: args.timeout.duration(),
                keep: 10,
                who: myself(),
                run,
                waits_for_old: true,
            };
            let talk = |event: Event| say(&event, context);
            let is_stopped = || stopped.load(std::sync::atomic::Ordering::SeqCst) > 0;
            let deploy = Deploy {
                cluster: &cluster,
                env: &context.env,
                lock: &lock,
                wish: &wish,
                talk: &talk,
                is_stopped: &is_stopped,
            };
            deploy.roll_back(&desired, &args.service, args.to).await.map_err(failed)
        }
        .await;
        if let Err(error) = lock.release().await {
            context.printer.warn(&format!("the deploy lock ends by itself in a minute: {error}"));
        }
        match outcome? {
            Some((number, deployed)) => {
                Ok(report(&deployed, began.elapsed())
                    .last_line(format!("revision {number} is what runs again")))
            }
            None => {
                let message = format!("{} has no revision to go back to", args.service);
                Err(Failure::new(Exit::Usage, "E-NO-REVISION", message).hint("see `shopctl history`").into())
            }
        }
    })
}
