//! `shopctl doctor`: looks for what would keep a shop from running, before it does.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::config::{Engine, Overrides};
use crate::context::Context;
use crate::failure::Exit;
use crate::output::{Body, Report, Table};
use crate::targets::{TARGETS, Verdict};

/// The words of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Folder of the shop's data
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Port of the public listener
    #[arg(long)]
    port: Option<u16>,
    /// What keeps the data: sqlite or postgres
    #[arg(long, value_enum, hide_possible_values = true)]
    engine: Option<Engine>,
}

pub(super) fn run(args: DoctorArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let config = context.config()?;
    let flags =
        Overrides { data_dir: args.data_dir, port: args.port, engine: args.engine, ..Overrides::default() };
    let settings = context.settings(&flags)?;
    let checks: Vec<_> = TARGETS
        .iter()
        .filter(|known| known.target == settings.target)
        .flat_map(|known| (known.checks)(&config, &settings))
        .collect();
    let mut table = Table::new(["check", "verdict", "found", "what to do"]);
    for check in &checks {
        let remedy = check.remedy.as_deref().unwrap_or_default();
        table.row([check.name, check.verdict.word(), &check.found, remedy]);
    }
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let failed = count(Verdict::Failed);
    let data = json!({"checks": checks, "failed": failed, "warnings": count(Verdict::Warning)});
    let report = Report::new(data, Body::Table(table));
    Ok(if failed > 0 {
        report.exit(Exit::Preflight).last_line(format!("{failed} of {} checks failed", checks.len()))
    } else if checks.iter().any(|check| check.verdict == Verdict::Unknown) {
        report.exit(Exit::Unknown).last_line("not everything could be told")
    } else {
        report.last_line("nothing stands in the way: `shopctl up`")
    })
}
