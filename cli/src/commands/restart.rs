//! `shopctl restart`: services start anew, one after the other, while others serve.

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

/// How long it may take, unless somebody says otherwise.
const TIMEOUT_HERE: Span = Span::seconds(60);
const TIMEOUT_ON_A_CLUSTER: Span = Span::seconds(600);

/// The words of `restart`.
#[derive(Debug, Args)]
#[command(
    after_help = "On a cluster the pods of a service follow each other, and it serves meanwhile; the version stays.\n\
                  On this machine it is for a shop in pieces (`shopctl up --processes`); a service without replicas\n\
                  is away for a moment."
)]
pub struct RestartArgs {
    /// The services; on this machine also one process, as order-2
    #[arg(value_name = "SERVICE", required = true)]
    services: Vec<String>,
    /// How long each may take to get ready [default: 60s, on a cluster 10m]
    #[arg(long, value_name = "LENGTH")]
    timeout: Option<Span>,
    /// On a cluster: wait so long for somebody else's deploy [default: 0s]
    #[arg(long, value_name = "LENGTH")]
    lock_wait: Option<Span>,
    /// Folder of the shop's data
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    consent: Consent,
}

pub(super) fn run(args: &RestartArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    match context.config()?.target() {
        Target::Embedded => {
            let flags =
                [("--lock-wait", args.lock_wait.is_some()), ("--confirm", args.consent.confirm.is_some())];
            not_for_a_cluster(&flags, context)?;
            local::run(args, context)
        }
        Target::Kubernetes => {
            not_for_here(&[("--data-dir", args.data_dir.is_some())], context)?;
            cluster::run(args, context)
        }
    }
}
