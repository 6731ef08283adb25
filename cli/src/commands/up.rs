//! `shopctl up`: a shop that runs: on this machine until it is told to stop, or on its cluster.

mod cluster;
mod local;

use std::path::PathBuf;

use clap::Args;

use super::duration::Span;
use super::only::{not_for_a_cluster, not_for_here};
use crate::config::{Engine, Limits, Overrides, Target};
use crate::context::Context;
use crate::failure::Exit;
use crate::targets::kubernetes::Consent;
use crate::targets::local::launch::Life;
use crate::targets::pieces::roster::Replicas;

/// The words of `up`.
#[derive(Debug, Args)]
#[command(
    after_help = "The database's address is a secret: set SHOPCTL_DATABASE_URL, or SHOPCTL_DATABASE_URL_FILE.\n\
                  Without one, --processes starts a PostgreSQL of its own from the programs that are installed.\n\n\
                  On a cluster the image is the environment's `image`; without one it is built from the sources around\n\
                  and pushed to its `registry`. What is up already is brought up to date, as `shopctl deploy` does."
)]
pub struct UpArgs {
    /// Port of the public listener; 0 takes a free one [default: 8080]
    #[arg(long)]
    port: Option<u16>,
    /// Folder of the shop's data [default: .shopctl/<env> beside shop.toml]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// What keeps the data: sqlite or postgres [default: sqlite; postgres with --processes]
    #[arg(long, value_enum, hide_possible_values = true)]
    engine: Option<Engine>,
    /// Run every service as a process of its own, on PostgreSQL
    #[arg(long)]
    processes: bool,
    /// How many processes a service has, as order=2,payment=2 [default: one each]
    #[arg(long, value_name = "COUNTS", requires = "processes")]
    replicas: Option<Replicas>,
    /// Keep every write on a second PostgreSQL as well, which takes over when the first is lost
    #[arg(long, requires = "processes")]
    standby: bool,
    /// Address of the PostgreSQL database, without a password
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Table of rate limits: local or none [default: local]
    #[arg(long, value_enum, hide_possible_values = true)]
    limits: Option<Limits>,
    /// Start without demo data
    #[arg(long)]
    empty: bool,
    /// Return when the shop is ready, and leave it running
    #[arg(long)]
    detach: bool,
    /// How long it may take to get ready: with --detach, or on a cluster [default: 60s, on a cluster 10m]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
    /// Make a new password for the admin, and show it
    #[arg(long)]
    reset_admin: bool,
    /// Allow fault switches to be thrown; as it is in local
    #[arg(long, overrides_with = "no_allow_faults")]
    allow_faults: bool,
    /// Do not allow fault switches to be thrown
    #[arg(long)]
    no_allow_faults: bool,
    /// On a cluster: the image, with a tag or a digest
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// On a cluster: wait so long for somebody else's deploy [default: 0s]
    #[arg(long, value_name = "LENGTH")]
    lock_wait: Option<Span>,
    #[command(flatten)]
    consent: Consent,
    /// How long the process lives; set by the one that launches it
    #[arg(long, value_enum, hide = true)]
    life: Option<Life>,
}

impl UpArgs {
    fn overrides(&self) -> Overrides {
        let allow_faults = match (self.allow_faults, self.no_allow_faults) {
            (_, true) => Some(false),
            (true, false) => Some(true),
            (false, false) => None,
        };
        Overrides {
            port: self.port,
            data_dir: self.data_dir.clone(),
            engine: self.engine,
            database_url: self.database_url.clone(),
            limits: self.limits,
            allow_faults,
            demo: self.empty.then_some(false),
            processes: self.processes,
        }
    }
}

pub(super) fn run(args: &UpArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    platform::app::keep_files_private();
    if let Some(life) = args.life {
        life.begin();
    }
    match context.config()?.target() {
        Target::Embedded => {
            let flags = [
                ("--image", args.image.is_some()),
                ("--lock-wait", args.lock_wait.is_some()),
                ("--confirm", args.consent.confirm.is_some()),
            ];
            not_for_a_cluster(&flags, context)?;
            local::run(args, context)
        }
        Target::Kubernetes => {
            let flags = [
                ("--port", args.port.is_some()),
                ("--data-dir", args.data_dir.is_some()),
                ("--engine", args.engine.is_some()),
                ("--processes", args.processes),
                ("--replicas", args.replicas.is_some()),
                ("--standby", args.standby),
                ("--database-url", args.database_url.is_some()),
                ("--limits", args.limits.is_some()),
                ("--empty", args.empty),
                ("--detach", args.detach),
                ("--reset-admin", args.reset_admin),
                ("--allow-faults", args.allow_faults),
                ("--no-allow-faults", args.no_allow_faults),
            ];
            not_for_here(&flags, context)?;
            cluster::run(args, context)
        }
    }
}
