//! `shopctl image inspect`: what is in an image, read to its last byte.

use std::path::{Path, PathBuf};

use clap::Args;

use super::size;
use crate::image::inspect::{Inspection, inspect};
use crate::image::stored::Stored;
use crate::output::{Body, Report, Table};

/// The words of `image inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// An archive or an OCI layout; `-` reads an archive from stdin
    #[arg(value_name = "PATH")]
    image: PathBuf,
    /// List the files instead
    #[arg(long)]
    files: bool,
}

pub(super) fn run(args: &InspectArgs) -> anyhow::Result<Report> {
    let stored = if args.image == Path::new("-") {
        Stored::from_stream(&mut std::io::stdin().lock())?
    } else {
        Stored::open(&args.image)?
    };
    let found = inspect(&stored)?;
    let data = serde_json::to_value(&found)?;
    Ok(if args.files {
        Report::new(data, Body::Table(files(&found)))
    } else {
        Report::facts(data, facts(&found)).last_line("every layer was read and is what its name says")
    })
}

fn facts(found: &Inspection) -> Vec<(String, String)> {
    let words = |words: &Option<Vec<String>>| words.as_ref().map(|words| words.join(" ")).unwrap_or_default();
    let keys = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>().join(" ");
    let run = &found.run;
    let mut facts = vec![
        ("digest", found.digest.to_string()),
        ("tag", found.tag.clone().unwrap_or_default()),
        ("platform", found.platform.to_string()),
        ("created", found.created.clone()),
        ("size", format!("{} compressed, {} unpacked", size(found.size_bytes), size(found.plain_bytes))),
        ("user", run.user.clone()),
        ("entrypoint", words(&run.entrypoint)),
        ("command", words(&run.cmd)),
        ("environment", words(&run.env)),
        ("ports", run.exposed_ports.as_ref().map(|ports| keys(ports.keys().collect())).unwrap_or_default()),
        ("volumes", run.volumes.as_ref().map(|paths| keys(paths.keys().collect())).unwrap_or_default()),
        ("working folder", run.working_dir.clone()),
        ("health check", run.healthcheck.as_ref().map(|check| check.test.join(" ")).unwrap_or_default()),
    ];
    facts.retain(|(_, value)| !value.is_empty());
    let mut facts: Vec<(String, String)> =
        facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    for (key, value) in run.labels.iter().flatten() {
        facts.push((format!("label {}", key.trim_start_matches("org.opencontainers.image.")), value.clone()));
    }
    for (at, layer) in found.layers.iter().enumerate() {
        let sizes = format!("{} compressed, {} unpacked", size(layer.size_bytes), size(layer.plain_bytes));
        let told = format!("{} {sizes}, {} entries: {}", layer.digest.short(), layer.entries, layer.about);
        facts.push((format!("layer {}", at + 1), told));
    }
    facts
}

fn files(found: &Inspection) -> Table {
    let mut table = Table::new(["layer", "kind", "mode", "owner", "size", "path"]);
    for file in &found.files {
        let path = match &file.target {
            Some(target) => format!("{} -> {target}", file.path),
            None => file.path.clone(),
        };
        let owner = format!("{}:{}", file.user, file.group);
        table.row([
            file.layer.to_string(),
            file.kind.to_owned(),
            file.mode.clone(),
            owner,
            file.size_bytes.to_string(),
            path,
        ]);
    }
    table
}
