//! `shopctl down`: stops the shop, and waits until it has stopped.

mod cluster;
mod local;

use std::path::PathBuf;

use clap::Args;

use super::duration::Span;
use super::only::{not_for_a_cluster, not_for_here};
use crate::config::Target;
use crate::context::Context;
use crate::output::Report;
use crate::targets::kubernetes::Consent;

/// The words of `down`.
#[derive(Debug, Args)]
#[command(
    after_help = "On a cluster everything goes that a deploy made, with the history of its releases. Volumes, the\n\
                        Secrets that open them and the namespace stay, and `shopctl up` goes on with them."
)]
pub struct DownArgs {
    /// Folder of the shop's data
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// How long to wait for it to finish what it is doing [default: 30s, on a cluster 5m]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
    /// On a cluster: take the volumes and the Secrets too; nothing brings them back
    #[arg(long)]
    volumes: bool,
    /// On a cluster: do not ask
    #[arg(long)]
    yes: bool,
    /// On a cluster: wait so long for somebody else's deploy [default: 0s]
    #[arg(long, value_name = "LENGTH")]
    lock_wait: Option<Span>,
    #[command(flatten)]
    consent: Consent,
}

pub(super) fn run(args: &DownArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    match context.config()?.target() {
        Target::Embedded => {
            let flags = [
                ("--volumes", args.volumes),
                ("--yes", args.yes),
                ("--lock-wait", args.lock_wait.is_some()),
                ("--confirm", args.consent.confirm.is_some()),
            ];
            not_for_a_cluster(&flags, context)?;
            local::run(args, context)
        }
        Target::Kubernetes => {
            not_for_here(&[("--data-dir", args.data_dir.is_some())], context)?;
            cluster::run(args, context)
        }
    }
}
