//! `shopctl load runs`, `report`: what is made of runs that are over.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::load::lines;
use crate::load::record::RunRecord;
use crate::load::report::{html, markdown, seconds};
use crate::load::run::Ran;
use crate::load::store;
use crate::output::{Body, Format, Report, Table};

/// The words of `load runs`.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// Folder of the shop's data
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// The newest so many
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    last: usize,
}

/// The words of `load report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run: its id, its file or folder, or `latest`
    #[arg(default_value = "latest")]
    run: String,
    /// What to write: html, json, csv or md [default: html, or what -o says]
    #[arg(long, value_enum, hide_possible_values = true)]
    format: Option<ReportFormat>,
    /// Write it here; `-` is stdout [default: a page beside the run, anything else to stdout]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Folder of the shop's data
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

/// What a run may be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// One self-contained page
    Html,
    /// The record of the run
    Json,
    /// A row a second and step
    Csv,
    /// Tables in Markdown
    Md,
}

impl ReportFormat {
    fn word(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Md => "md",
        }
    }

    fn write(self, record: &RunRecord) -> anyhow::Result<String> {
        Ok(match self {
            Self::Html => html(record)?,
            Self::Json => serde_json::to_string_pretty(record)? + "\n",
            Self::Csv => seconds(record).to_csv(),
            Self::Md => markdown(record),
        })
    }
}

pub(super) fn runs(args: &RunsArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let data_dir = context.data_dir(args.data_dir.as_deref())?;
    let all = store::runs(&data_dir)?;
    if all.is_empty() {
        return Ok(Report::new(json!([]), Body::Text("no runs yet\n".to_owned()))
            .last_line("make one with `shopctl load run mixed`"));
    }
    let mut table = Table::new(["run", "verdict", "lasted", "started", "p99", "errors"]);
    let mut data = Vec::new();
    for id in all.iter().take(args.last) {
        match store::read(&data_dir, id) {
            Ok(record) => {
                let (cells, facts) = row(&record);
                table.row(cells);
                data.push(facts);
            }
            // One that cannot be read hides no other.
            Err(failure) => {
                context.printer.warn(&failure.to_string());
                table.row([id.as_str(), "unreadable", "", "", "", ""]);
                data.push(json!({"id": id, "verdict": null}));
            }
        }
    }
    let left = all.len().saturating_sub(args.last);
    let more = if left > 0 { format!("{left} older ones: --last {}; ", all.len()) } else { String::new() };
    Ok(Report::new(data.into(), Body::Table(table))
        .last_line(format!("{more}`shopctl load report RUN` writes the page of one")))
}

fn row(record: &RunRecord) -> ([String; 6], Value) {
    let mut all = crate::load::latencies::Latencies::new();
    record.steps.iter().for_each(|step| all.merge(&step.response));
    let p99 = all.quantile(0.99);
    let errors: u64 = record.steps.iter().map(|step| step.errors).sum();
    let cells = [
        record.id.clone(),
        record.verdict.word.word().to_owned(),
        format!("{:.0} s", record.lasted_s),
        format!("{:.1}/s", record.journeys.started_per_s),
        lines::told(p99),
        errors.to_string(),
    ];
    let facts = json!({
        "id": record.id,
        "scenario": record.scenario.name,
        "verdict": record.verdict.word,
        "started_at": record.started_at,
        "lasted_s": record.lasted_s,
        "started_per_s": record.journeys.started_per_s,
        "p99_us": u64::try_from(p99.as_micros()).unwrap_or(u64::MAX),
        "errors": errors,
    });
    (cells, facts)
}

pub(super) fn report(args: &ReportArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    let printer = context.printer;
    let data_dir = context.data_dir(args.data_dir.as_deref())?;
    let path = store::find(&data_dir, &args.run)?;
    let record = store::read_file(&path)?;
    let format = args.format.unwrap_or(match printer.format() {
        Format::Text => ReportFormat::Html,
        Format::Json | Format::Ndjson => ReportFormat::Json,
        Format::Csv => ReportFormat::Csv,
        Format::Md => ReportFormat::Md,
    });
    let beside = || (format == ReportFormat::Html).then(|| store::page_of(&path));
    let to = args.to.clone().or_else(beside).filter(|to| to != Path::new("-"));
    let Some(to) = to else {
        // A script that asked for an envelope gets one; who asked for the record gets it as it is kept.
        if args.format.is_none() && format == ReportFormat::Json {
            printer.report(&Report::new(serde_json::to_value(&record)?, Body::Nothing))?;
        } else {
            printer.data(&format.write(&record)?)?;
        }
        return Ok(Exit::Ok);
    };
    store::write_whole(&to, format.write(&record)?.as_bytes()).map_err(|error| {
        Failure::new(Exit::Preflight, "E-REPORT-WRITE", format!("could not write {}", to.display()))
            .object(to.display())
            .hint("name another file with --to, or `--to -` for stdout")
            .because(error)
    })?;
    let data = json!({"run": record.id, "format": format.word(), "file": to});
    let body = Body::Text(format!("{}\n", to.display()));
    printer.report(&Report::new(data, body).last_line(format!(
        "{}: {}; the file needs nothing beside it",
        record.scenario.name,
        record.verdict.word.word()
    )))?;
    Ok(Exit::Ok)
}

/// Writes the page of a run beside its record; a page that cannot be written does not change what the run means.
pub(super) fn keep_page(ran: &Ran, context: &Context<'_>) {
    let page = store::page_of(&ran.folder.record());
    let written = html(&ran.record)
        .and_then(|text| store::write_whole(&page, text.as_bytes()).context("the file could not be written"));
    if let Err(error) = written {
        context.printer.warn(&format!("the page {} is missing: {error:#}", page.display()));
    }
}
