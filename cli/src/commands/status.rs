//! `shopctl status`: whether the shop runs, and how it is.

pub(super) mod cluster;
mod local;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::only::not_for_here;
use crate::config::Target;
use crate::context::Context;
use crate::failure::Exit;

/// How often `-w` looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The words of `status`.
#[derive(Debug, Args)]
#[command(after_help = "Ends with 12 when the shop is not ready: when nobody answers for some part of it.\n\
                  On a cluster, READY counts the pods of the live slot, and AGE is since when they are of their version.")]
pub struct StatusArgs {
    /// Folder of the shop's data
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Keep watching until interrupted
    #[arg(short, long)]
    watch: bool,
}

pub(super) fn run(args: &StatusArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    match context.config()?.target() {
        Target::Embedded => local::run(args, context),
        Target::Kubernetes => {
            not_for_here(&[("--data-dir", args.data_dir.is_some())], context)?;
            cluster::run(args, context)
        }
    }
}
