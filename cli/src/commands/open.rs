//! `shopctl open`: opens a page of the running shop, or prints its address where there is no browser.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Body, Format, Report};
use crate::process::find_program;
use crate::targets::local::lock;
use crate::targets::local::pages::Page;

/// The words of `open`.
#[derive(Debug, Args)]
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

pub(super) fn run(args: &OpenArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    context.on_this_machine()?;
    let data_dir = context.data_dir(args.data_dir.as_deref())?;
    let holder = lock::running(&data_dir)?;
    let Some(shop) = holder.url else {
        return Err(Failure::new(Exit::Unreachable, "E-NOT-READY", "the shop is not ready yet")
            .object(data_dir.display())
            .hint("try again in a moment; `shopctl status` tells how it is")
            .into());
    };
    let url = args.page.address(&shop);
    let wants_browser = !args.print && context.printer.format() == Format::Text;
    let browser = if wants_browser && context.printer.terminal().is_interactive { browser() } else { None };
    if let Some(browser) = &browser {
        launch(browser, &url)?;
    }
    let data = json!({"url": url, "opened": browser.is_some()});
    Ok(Report::new(data, Body::Text(format!("{url}\n"))))
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
