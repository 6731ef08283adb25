//! `shopctl config`: where values come from, and what the file may say.

use clap::Subcommand;
use serde_json::json;

use crate::config::{keys, schema};
use crate::context::{Context, variable};
use crate::output::{Body, Report, Table};

/// The words of `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show the value of a key and where it comes from; every key without one
    Explain {
        /// The key
        key: Option<String>,
    },
    /// Print the JSON Schema of shop.toml
    Schema,
}

impl ConfigCommand {
    /// The second word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Explain { .. } => "explain",
            Self::Schema => "schema",
        }
    }
}

pub(super) fn run(command: ConfigCommand, context: &Context<'_>) -> anyhow::Result<Report> {
    match command {
        ConfigCommand::Explain { key: Some(key) } => explain(&key, context),
        ConfigCommand::Explain { key: None } => explain_all(context),
        ConfigCommand::Schema => {
            let schema = schema();
            let text = format!("{schema:#}\n");
            Ok(Report::new(schema, Body::Text(text)))
        }
    }
}

fn explain(name: &str, context: &Context<'_>) -> anyhow::Result<Report> {
    let config = context.config()?;
    let (key, said) = config.explain(name, variable)?;
    let mut facts = vec![
        ("key", key.name.to_owned()),
        ("means", key.about.to_owned()),
        ("value", shown(said[0].value.as_deref())),
        ("from", said[0].origin.to_string()),
        ("variable", key.variable()),
    ];
    let hidden = said[1..].iter().filter(|found| found.value.is_some());
    facts.extend(
        hidden.map(|found| ("hides", format!("{} ({})", shown(found.value.as_deref()), found.origin))),
    );
    let data = json!({
        "key": key.name,
        "about": key.about,
        "variable": key.variable(),
        "value": said[0].value,
        "origin": said[0].origin,
        "hidden": &said[1..],
    });
    Ok(Report::facts(data, facts))
}

fn explain_all(context: &Context<'_>) -> anyhow::Result<Report> {
    let config = context.config()?;
    let mut table = Table::new(["key", "value", "from"]);
    let mut items = Vec::new();
    for key in keys::KEYS {
        let (_, said) = config.explain(key.name, variable)?;
        let holds = &said[0];
        table.row([key.name.to_owned(), shown(holds.value.as_deref()), holds.origin.to_string()]);
        items.push(json!({"key": key.name, "value": holds.value, "origin": holds.origin}));
    }
    Ok(Report::new(items.into(), Body::Table(table)))
}

fn shown(value: Option<&str>) -> String {
    value.unwrap_or("not set").to_owned()
}
