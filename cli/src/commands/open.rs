//! `shopctl open`: opens a page of the running shop, or prints its address where there is no browser.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{KubernetesSettings, Target};
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::output::{Body, Format, Report};
use crate::process::find_program;
use crate::targets::kubernetes::reach::Reach;
use crate::targets::local::lock;
use crate::targets::local::pages::Page;

/// The words of `open`.
#[derive(Debug, Args)]
#[command(
    after_help = "A shop on a cluster (-e) is opened where its Ingress publishes it. Without one, a port of this machine is \
                  forwarded to it through the API server, and open stays until Ctrl-C; new connections follow a release."
)]
pub struct OpenArgs {
    /// The page
    #[arg(value_enum)]
    page: Page,
    /// Folder of the shop's data
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Print the address, and open nothing
    #[arg(long)]
    print: bool,
}

pub(super) fn run(args: &OpenArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    let config = context.config()?;
    if config.target() == Target::Kubernetes {
        return context.runtime()?.block_on(on_cluster(args, &config.kubernetes(variable)?, context));
    }
    let data_dir = context.data_dir(args.data_dir.as_deref())?;
    let holder = lock::running(&data_dir)?;
    let Some(shop) = holder.url else {
        return Err(Failure::new(Exit::Unreachable, "E-NOT-READY", "the shop is not ready yet")
            .object(data_dir.display())
            .hint("try again in a moment; `shopctl status` tells how it is")
            .into());
    };
    show(args, &shop, context)?;
    Ok(Exit::Ok)
}

/// A page of a shop on a cluster: where the public finds it, or through a port that is forwarded until somebody ends it.
async fn on_cluster(
    args: &OpenArgs,
    settings: &KubernetesSettings,
    context: &Context<'_>,
) -> anyhow::Result<Exit> {
    let reach = Reach::of(settings, &context.env).await?;
    if let Some(shop) = reach.public_url().await? {
        show(args, &shop, context)?;
        return Ok(Exit::Ok);
    }
    let mut forward = reach.gateway().await?;
    let (mut interrupted, mut terminated) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    show(args, &forward.url(), context)?;
    context.printer.say("forwarded through the API server until you press Ctrl-C");
    loop {
        tokio::select! {
            trouble = forward.next_trouble() => context.printer.warn(&trouble.to_string()),
            _ = interrupted.recv() => return Ok(Exit::Interrupted),
            _ = terminated.recv() => return Ok(Exit::Terminated),
        }
    }
}

/// Opens the page in the browser where there is one, and prints where it is.
fn show(args: &OpenArgs, shop: &str, context: &Context<'_>) -> anyhow::Result<()> {
    let url = args.page.address(shop);
    let wants_browser = !args.print && context.printer.format() == Format::Text;
    let browser = if wants_browser && context.printer.terminal().is_interactive { browser() } else { None };
    if let Some(browser) = &browser {
        launch(browser, &url)?;
    }
    let data = json!({"url": url, "opened": browser.is_some()});
    context.printer.report(&Report::new(data, Body::Text(format!("{url}\n"))))?;
    Ok(())
}

/// The program that opens addresses here, when there is a screen to open them on.
fn browser() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(browser) = set("BROWSER") {
        return Some(browser.into());
    }
    let has_screen = cfg!(target_os = "macos") || set("DISPLAY").or(set("WAYLAND_DISPLAY")).is_some();
    let name = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    has_screen.then(|| find_program(name)).flatten()
}

fn launch(browser: &Path, url: &str) -> anyhow::Result<()> {
    let mut command = Command::new(browser);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(drop).with_context(|| format!("could not start {}", browser.display()))
}
