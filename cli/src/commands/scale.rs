//! `shopctl scale`: how many pods services on a cluster have.

use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::changing::{Live, awaited, known, live, until_well};
use super::duration::Span;
use super::errand::{Held, connect, say};
use crate::cluster::connect::Cluster;
use crate::cluster::release::Event;
use crate::cluster::workload::{self, AUTOSCALER, DEPLOYMENT};
use crate::config::Target;
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::output::Report;
use crate::targets::kubernetes::{Consent, Danger};

/// More pods of one service than this are a slip of the finger.
const PODS_MAX: u32 = 500;

/// The words of `scale`.
#[derive(Debug, Args)]
#[command(after_help = "A deploy keeps the number, until the values name another than they did.\n\
                  A service with an autoscaler has the number of pods that this says: change its bounds instead.")]
pub struct ScaleArgs {
    /// How many pods each has, as order=3
    #[arg(value_name = "SERVICE=COUNT", required = true)]
    counts: Vec<Count>,
    /// How long pods may take to get ready
    #[arg(long, value_name = "LENGTH", default_value = "10m")]
    timeout: Span,
    /// Wait so long for somebody else's deploy
    #[arg(long, value_name = "LENGTH", default_value = "0s")]
    lock_wait: Span,
    #[command(flatten)]
    consent: Consent,
}

/// `order=3`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Count {
    service: String,
    pods: u32,
}

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, pods) =
            text.split_once('=').ok_or_else(|| format!("`{text}` is not SERVICE=COUNT, as in order=3"))?;
        let in_bounds = |pods: &u32| (1..=PODS_MAX).contains(pods);
        let pods = pods.parse().ok().filter(in_bounds).ok_or_else(|| {
            format!("`{pods}` is not a count from 1 to {PODS_MAX}; `shopctl down` stops the shop")
        })?;
        Ok(Self { service: service.to_owned(), pods })
    }
}

/// How a service was scaled.
struct Scaled {
    service: String,
    before: Option<i64>,
    pods: u32,
}

pub(super) fn run(args: &ScaleArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    if context.config()?.target() == Target::Embedded {
        let message = format!(
            "the shop of `{}` lives on this machine, with the processes that it was started with",
            context.environment
        );
        return Err(Failure::new(Exit::Usage, "E-NOT-KUBERNETES", message)
            .hint("start it with as many as you want: `shopctl up --processes --replicas order=2`")
            .into());
    }
    let settings = context.config()?.kubernetes(variable)?;
    let services: Vec<String> = args.counts.iter().map(|count| count.service.clone()).collect();
    known(&services)?;
    context.runtime()?.block_on(async {
        let began = Instant::now();
        let cluster = connect(&settings, context).await?;
        let what = format!("scaling {} in {}", services.join(", "), settings.environment);
        args.consent.to(&what, Danger::Moderate, &settings, context.printer)?;
        let run = context.printer.run().to_owned();
        let held = Held { command: "scale", patience: args.lock_wait.duration(), run: &run };
        let scaled = held
            .locked(&cluster, context, async |_, is_stopped| {
                let live = live(&cluster, &services).await?;
                let mut scaled = Vec::new();
                // Nothing is changed unless all of it may be.
                for (live, count) in live.iter().zip(&args.counts) {
                    refuse_autoscaled(&cluster, live).await?;
                    let before = pods_of(&cluster, live).await?;
                    scaled.push(Scaled { service: live.service.clone(), before, pods: count.pods });
                }
                let mut awaiting = Vec::new();
                for (live, count) in live.iter().zip(&args.counts) {
                    let generation =
                        workload::scale(&cluster.api, cluster.namespace(), &live.name, count.pods).await;
                    let generation = generation.map_err(|error| cluster.refused(error, "scale it"))?;
                    let (service, action) = (live.service.clone(), format!("is to have {} pods", count.pods));
                    say(&Event::Did { service, action }, context);
                    awaiting.push(awaited(&cluster, "Deployment", &live.name, generation));
                }
                until_well(&cluster, &awaiting, args.timeout.duration(), is_stopped, context).await?;
                Ok(scaled)
            })
            .await?;
        Ok(report(&scaled, began.elapsed()))
    })
}

/// Goes on when no autoscaler would change the number again.
async fn refuse_autoscaled(cluster: &Cluster, live: &Live) -> Result<(), Failure> {
    let scaler = cluster.api.get(AUTOSCALER, cluster.namespace(), &live.name).await;
    let scaler = scaler.map_err(|error| cluster.refused(error, "look at the autoscaler"))?;
    let Some(scaler) = scaler else { return Ok(()) };
    let bound = |pointer: &str| scaler.number(pointer).map(|number| number.to_string()).unwrap_or_default();
    let (service, name) = (&live.service, &live.name);
    let message = format!(
        "an autoscaler says how many pods {name} has: between {} and {}",
        bound("/spec/minReplicas"),
        bound("/spec/maxReplicas")
    );
    Err(Failure::new(Exit::Refused, "E-AUTOSCALED", message).object(scaler.key()).hint(format!(
        "change services.{service}.autoscaling.minReplicas and maxReplicas in the values and deploy, or switch autoscaling.enabled off"
    )))
}

/// How many pods it is to have now.
async fn pods_of(cluster: &Cluster, live: &Live) -> Result<Option<i64>, Failure> {
    let deployment = cluster.api.get(DEPLOYMENT, cluster.namespace(), &live.name).await;
    let deployment = deployment.map_err(|error| cluster.refused(error, "look at the service"))?;
    Ok(deployment.and_then(|deployment| deployment.number("/spec/replicas")))
}

fn report(scaled: &[Scaled], took: Duration) -> Report {
    let rows: Vec<_> = scaled
        .iter()
        .map(|one| json!({"service": one.service, "pods_before": one.before, "pods": one.pods}))
        .collect();
    let told = |one: &Scaled| match one.before {
        Some(before) if before == i64::from(one.pods) => format!("{} pods, as before", one.pods),
        Some(before) => format!("{} pods, {before} before", one.pods),
        None => format!("{} pods", one.pods),
    };
    let mut facts: Vec<(String, String)> =
        scaled.iter().map(|one| (one.service.clone(), told(one))).collect();
    facts.push(("took".to_owned(), format!("{:.1} s", took.as_secs_f64())));
    let data = json!({"services": rows, "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX)});
    Report::facts(data, facts)
        .after_events()
        .last_line("all are ready; a deploy keeps it, until the values name another number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_service_and_how_many() {
        let count: Count = "order=3".parse().unwrap();
        assert_eq!(count, Count { service: "order".to_owned(), pods: 3 });
        for text in ["order", "order=", "order=0", "order=-1", "order=501", "order=two"] {
            assert!(text.parse::<Count>().is_err(), "{text}");
        }
    }
}
