//! `shopctl logs`: what the shop has written, of one service or all.

mod cluster;
pub(super) mod entry;
mod local;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use platform::vocabulary::Timestamp;

use super::duration::Span;
use super::only::{not_for_a_cluster, not_for_here};
use crate::config::Target;
use crate::context::Context;
use crate::failure::{Exit, Failure, nearest};

/// The words of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Only this service: gateway, user, product, order, payment, notification, fakepay; on a cluster also postgresql,
    /// prepare and metrics
    service: Option<String>,
    /// Keep showing what is written
    #[arg(short, long)]
    follow: bool,
    /// Only what was written since: 10m, or 2026-11-23T12:00:00Z
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "COUNT")]
    lines: Option<usize>,
    /// On a cluster: what containers wrote before their last restart
    #[arg(long, conflicts_with = "follow")]
    previous: bool,
    /// Folder of the shop's data
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

/// A moment, or how long ago it was.
#[derive(Clone, Copy, Debug)]
enum Since {
    Ago(Span),
    At(Timestamp),
}

impl std::str::FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let moment = || text.parse().map(Self::At);
        text.parse().map(Self::Ago).or_else(|_| moment()).map_err(
            |_: <Timestamp as std::str::FromStr>::Err| {
                "how long ago, as 30s, 10m or 2h, or a moment, as 2026-11-23T12:00:00Z".to_owned()
            },
        )
    }
}

/// Services that write logs.
const SERVICES: [&str; 7] = ["gateway", "user", "product", "order", "payment", "notification", "fakepay"];
/// What else writes them in pods of its own.
const ON_A_CLUSTER: [&str; 3] = ["postgresql", "prepare", "metrics"];

pub(super) fn run(args: &LogsArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    let target = context.config()?.target();
    if let Some(service) = &args.service {
        check(service, target)?;
    }
    let since = args.since.map(|since| match since {
        Since::At(moment) => moment,
        Since::Ago(span) => before(context.env.now(), span.duration()),
    });
    match target {
        Target::Embedded => {
            not_for_a_cluster(&[("--previous", args.previous)], context)?;
            local::run(args, since, context)
        }
        Target::Kubernetes => {
            not_for_here(&[("--data-dir", args.data_dir.is_some())], context)?;
            cluster::run(args, since, context)
        }
    }
}

fn check(service: &str, target: Target) -> Result<(), Failure> {
    let more = if target == Target::Kubernetes { &ON_A_CLUSTER[..] } else { &[] };
    let known: Vec<&str> = SERVICES.iter().chain(more).copied().collect();
    if known.contains(&service) {
        return Ok(());
    }
    let hint = match nearest(service, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("services: {}", known.join(", ")),
    };
    Err(Failure::new(Exit::Usage, "E-SERVICE", format!("there is no service `{service}`")).hint(hint))
}

fn before(now: Timestamp, span: Duration) -> Timestamp {
    let us = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(now.as_microsecond().saturating_sub(us)).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_are_those_that_the_platform_can_run() {
        for service in SERVICES {
            assert!(service.parse::<platform::app::Role>().is_ok(), "{service}");
        }
        let known = "nobody".parse::<platform::app::Role>().unwrap_err();
        let (_, names) = known.rsplit_once("there are ").unwrap();
        for name in names.split(", ").filter(|name| *name != "all") {
            assert!(SERVICES.contains(&name), "`logs` does not know {name}");
        }
    }
}
