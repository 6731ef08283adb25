//! `shopctl man`: the manual pages, made from the same tree as `--help`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use clap_mangen::Man;
use serde_json::json;

use super::help;
use crate::context::Context;
use crate::output::{Body, Report};

/// The words of `man`.
#[derive(Debug, Args)]
#[command(after_help = "As in: shopctl man up | man -l -")]
pub struct ManArgs {
    /// The command; shopctl itself without one
    #[arg(value_name = "COMMAND")]
    words: Vec<String>,
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "words")]
    out_dir: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    if let Some(folder) = &args.out_dir {
        return write_all(folder, context);
    }
    let mut tree = (context.tree)();
    tree.build();
    let command = help::find(&tree, &args.words)?.clone();
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    let page = String::from_utf8_lossy(&page).into_owned();
    Ok(Report::new(json!({"page": page}), Body::Text(page)))
}

fn write_all(folder: &Path, context: &Context<'_>) -> anyhow::Result<Report> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to((context.tree)(), folder))
        .with_context(|| format!("could not write the manual pages into {}", folder.display()))?;
    let data = json!({"folder": folder});
    Ok(Report::new(data, Body::Nothing).last_line(format!("the manual pages are in {}", folder.display())))
}
