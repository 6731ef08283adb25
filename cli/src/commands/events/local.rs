//! What the supervisor of a shop in pieces recorded of its processes: lines of the shop's log.

use std::fs::File;
use std::io::{BufRead as _, BufReader};

use anyhow::Context as _;
use serde_json::Value;

use super::EventsArgs;
use crate::commands::logs::entry::{parse, show};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::targets::local::lock::{self, Standing};

/// Where the supervisor tells what happens.
const ROOM: &str = "shopctl::targets::pieces";

pub(super) fn run(args: &EventsArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    let data_dir = context.data_dir(args.data_dir.as_deref())?;
    let holder = match lock::standing(&data_dir)? {
        Standing::Held(Some(holder)) | Standing::Ended(holder) => holder,
        Standing::Held(None) | Standing::Never => lock::running(&data_dir)?,
    };
    if args.watch {
        return Err(not_recorded("nobody tells of the processes of this shop while it goes on").into());
    }
    let file = File::open(&holder.log);
    let file = file.with_context(|| format!("could not read {}", holder.log.display()))?;
    let mut found = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        let entry = parse(&line.context("could not read the log")?);
        if is_of_supervisor(&entry) && is_about(&entry, args.service.as_deref()) {
            found.push(entry);
        }
    }
    if found.is_empty() {
        return Err(not_recorded("no events are recorded of this shop").into());
    }
    show(&found, context.printer, true)?;
    Ok(Exit::Ok)
}

fn not_recorded(message: &str) -> Failure {
    Failure::new(Exit::Usage, "E-NO-EVENTS", message)
        .hint("`shopctl logs -f` has what the shop writes; events are of a shop in pieces, or on a cluster")
}

fn is_of_supervisor(entry: &Value) -> bool {
    entry["target"].as_str().is_some_and(|target| target.starts_with(ROOM))
}

fn is_about(entry: &Value, service: Option<&str>) -> bool {
    let Some(service) = service else { return true };
    let name = entry["name"].as_str().or_else(|| entry.pointer("/fields/name")?.as_str());
    name.is_some_and(|name| name == service || name.rsplit_once('-').is_some_and(|(role, _)| role == service))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_supervisor_tells_of_a_service_is_of_its_processes() {
        let entry = json!({"target": "shopctl::targets::pieces::serve", "name": "order-2"});
        assert!(
            is_of_supervisor(&entry) && is_about(&entry, Some("order")) && is_about(&entry, Some("order-2"))
        );
        assert!(!is_about(&entry, Some("user")));
        assert!(!is_of_supervisor(&json!({"target": "platform::saga"})));
    }
}
