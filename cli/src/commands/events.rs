//! `shopctl events`: what happened to the shop's processes, or was reported of its objects on a cluster.

mod cluster;
mod local;

use std::path::PathBuf;

use clap::Args;

use super::only::not_for_here;
use crate::config::Target;
use crate::context::Context;
use crate::failure::Exit;

/// The words of `events`.
#[derive(Debug, Args)]
#[command(after_help = "A cluster keeps its events for an hour, unless it is told otherwise.\n\
                        On this machine it is for a shop in pieces (`shopctl up --processes`).")]
pub struct EventsArgs {
    /// Only those of this service
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// Keep showing what happens
    #[arg(short, long)]
    watch: bool,
    /// Folder of the shop's data
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

pub(super) fn run(args: &EventsArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    match context.config()?.target() {
        Target::Embedded => local::run(args, context),
        Target::Kubernetes => {
            not_for_here(&[("--data-dir", args.data_dir.is_some())], context)?;
            cluster::run(args, context)
        }
    }
}
