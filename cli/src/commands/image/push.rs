//! `shopctl image push`: an archive or a layout to a registry.

use std::path::PathBuf;

use clap::Args;

use super::size;
use crate::context::{Context, variable};
use crate::image::reference::Reference;
use crate::image::registry::{Credentials, Line, Pushed, Session, push};
use crate::image::stored::Stored;
use crate::output::{Progress, Report};

/// The words of `image push`.
#[derive(Debug, Args)]
#[command(
    after_help = "The login is SHOPCTL_REGISTRY_USERNAME with the file SHOPCTL_REGISTRY_PASSWORD_FILE, or what\n\
                        `docker login` and `podman login` left in ~/.docker/config.json."
)]
pub struct PushArgs {
    /// The image: an archive or an OCI layout
    image: PathBuf,
    /// Where to, with a tag
    #[arg(value_name = "REGISTRY/NAME:TAG")]
    reference: Reference,
    /// Speak plain http; registries on this machine need no leave
    #[arg(long)]
    insecure_registry: bool,
    /// Trust the certificates in this PEM file too
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

pub(super) fn run(args: &PushArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let image = Stored::open(&args.image)?;
    let line = Line::new(args.ca_file.as_deref())?;
    let mut progress = Progress::new(context.printer);
    let carrying = carry(&image, &args.reference, line, args.insecure_registry, &mut progress);
    let pushed = context.runtime()?.block_on(carrying)?;
    progress.clear();
    let facts = [
        ("image", pushed.reference.clone()),
        ("digest", pushed.digest.to_string()),
        ("sent", format!("{} blobs, {}", pushed.sent, size(pushed.sent_bytes))),
        ("there before", format!("{} blobs", pushed.there)),
    ];
    let last = if pushed.was_there {
        format!("{} was there already; nothing was sent", pushed.by_digest)
    } else {
        format!("give Kubernetes {}", pushed.by_digest)
    };
    Ok(Report::facts(serde_json::to_value(&pushed)?, facts).last_line(last))
}

/// Brings `image` to the registry of `reference`.
pub(in crate::commands) async fn carry(
    image: &Stored,
    reference: &Reference,
    line: Line,
    is_insecure: bool,
    progress: &mut Progress<'_>,
) -> anyhow::Result<Pushed> {
    let credentials = Credentials::find(reference, variable)?;
    let mut session = Session::new(line, reference.clone(), credentials, is_insecure);
    let tell = |phase: &str, done: u64, total: u64| progress.step(phase, done, total);
    let pushed = push(&mut session, image, tell).await;
    Ok(pushed.map_err(|trouble| trouble.failure(reference))?)
}
