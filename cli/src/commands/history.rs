//! `shopctl history`: what was rolled out, and what became of it.

use clap::Args;
use serde_json::json;

use crate::cluster::revision;
use crate::context::{Context, variable};
use crate::output::{Body, Report, Table};
use crate::targets::kubernetes;

/// The words of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Only this service
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
}

pub(super) fn run(args: &HistoryArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let settings = context.config()?.kubernetes(variable)?;
    context.runtime()?.block_on(async {
        let cluster = kubernetes::connect(&settings, &context.env).await?;
        let revisions = revision::list(&cluster.api, cluster.namespace()).await;
        let mut revisions = revisions.map_err(|error| cluster.refused(error, "list the revisions"))?;
        revisions.retain(|revision| args.service.as_ref().is_none_or(|service| *service == revision.service));
        let mut table = Table::new(["service", "revision", "status", "strategy", "image", "by", "at", "why"]);
        for revision in &revisions {
            let why = match (&revision.reason, revision.rollback_of) {
                (Some(reason), _) => reason.clone(),
                (None, Some(of)) => format!("brings {of} back"),
                (None, None) => String::new(),
            };
            table.row([
                revision.service.clone(),
                revision.number.to_string(),
                revision.status.name().to_owned(),
                revision.strategy.clone(),
                revision.image.clone(),
                revision.who.clone(),
                revision.at.clone(),
                why,
            ]);
        }
        let report = Report::new(json!({"revisions": revisions}), Body::Table(table));
        Ok(if revisions.is_empty() {
            report.last_line("nothing was rolled out yet: `shopctl deploy`")
        } else {
            report
        })
    })
}
