//! A rolling restart: the pods of a service follow each other as its strategy has it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{RestartArgs, TIMEOUT_ON_A_CLUSTER};
use crate::cluster::release::Event;
use crate::cluster::workload;
use crate::commands::changing::{awaited, known, live, until_well};
use crate::commands::duration::Span;
use crate::commands::errand::{Held, connect, say};
use crate::context::{Context, variable};
use crate::output::Report;
use crate::targets::kubernetes::Danger;

pub(super) fn run(args: &RestartArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let settings = context.config()?.kubernetes(variable)?;
    known(&args.services)?;
    context.runtime()?.block_on(async {
        let began = Instant::now();
        let cluster = connect(&settings, context).await?;
        let what = format!("restarting {} in {}", args.services.join(", "), settings.environment);
        args.consent.to(&what, Danger::Moderate, &settings, context.printer)?;
        let run = context.printer.run().to_owned();
        let patience = args.lock_wait.map_or(Duration::ZERO, Span::duration);
        let at_most = args.timeout.unwrap_or(TIMEOUT_ON_A_CLUSTER).duration();
        let held = Held { command: "restart", patience, run: &run };
        let rows = held
            .locked(&cluster, context, async |_, is_stopped| {
                let mut rows = Vec::new();
                for live in live(&cluster, &args.services).await? {
                    let began = Instant::now();
                    let (api, namespace) = (&cluster.api, cluster.namespace());
                    let generation = workload::restart(api, namespace, &live.name, context.env.now()).await;
                    let generation = generation.map_err(|error| cluster.refused(error, "restart it"))?;
                    let (service, action) = (live.service.clone(), "gets new pods".to_owned());
                    say(&Event::Did { service, action }, context);
                    let waits = [awaited(&cluster, "Deployment", &live.name, generation)];
                    until_well(&cluster, &waits, at_most, is_stopped, context).await?;
                    rows.push((live, began.elapsed()));
                }
                Ok(rows)
            })
            .await?;
        let facts = rows.iter().map(|(live, took)| {
            let told = format!("all pods of {} are new and ready after {:.1} s", live.name, took.as_secs_f64());
            (live.service.clone(), told)
        });
        let services: Vec<_> = rows
            .iter()
            .map(|(live, took)| {
                let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                json!({"service": live.service, "workload": live.name, "revision": live.revision, "took_ms": took_ms})
            })
            .collect();
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Report::facts(json!({"services": services, "took_ms": took_ms}), facts).after_events())
    })
}
