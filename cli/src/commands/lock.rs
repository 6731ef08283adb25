//! `shopctl lock`: who may change a shop on a cluster now, and who may not.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cluster::connect::Cluster;
use crate::cluster::lock::{self, Holder, Taken, Wish};
use crate::config::KubernetesSettings;
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::output::Report;
use crate::targets::kubernetes::{self, Consent, Danger};

/// The words of `lock`.
#[derive(Debug, Subcommand)]
pub enum LockCommand {
    /// Show who holds the lock
    Status,
    /// Take the lock until it is released: nobody deploys meanwhile
    Acquire(AcquireArgs),
    /// Give back a lock that was taken with `acquire`
    Release,
    /// End somebody else's lock: only when you know that they are not at work
    Steal(StealArgs),
}

/// The words of `lock acquire`.
#[derive(Debug, Args)]
pub struct AcquireArgs {
    /// Why; shown to whoever is kept out
    #[arg(short, long, value_name = "TEXT")]
    message: String,
}

/// The words of `lock steal`.
#[derive(Debug, Args)]
pub struct StealArgs {
    #[command(flatten)]
    consent: Consent,
}

impl LockCommand {
    /// The second word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Acquire(_) => "acquire",
            Self::Release => "release",
            Self::Steal(_) => "steal",
        }
    }
}

pub(super) fn run(command: LockCommand, context: &Context<'_>) -> anyhow::Result<Report> {
    let settings = context.config()?.kubernetes(variable)?;
    context.runtime()?.block_on(async {
        let cluster = kubernetes::connect(&settings, &context.env).await?;
        match command {
            LockCommand::Status => status(&cluster).await,
            LockCommand::Acquire(args) => acquire(&args, &cluster, context).await,
            LockCommand::Release => release(&cluster).await,
            LockCommand::Steal(args) => steal(&args, &cluster, &settings, context).await,
        }
    })
}

async fn status(cluster: &Cluster) -> anyhow::Result<Report> {
    let holder = holder(cluster).await?;
    Ok(match &holder {
        Some(holder) => Report::facts(json!({"held": true, "holder": holder}), facts(holder)),
        None => Report::facts(json!({"held": false}), [("lock", "nobody holds it")]),
    })
}

async fn holder(cluster: &Cluster) -> anyhow::Result<Option<Holder>> {
    let holder = lock::holder(&cluster.api, cluster.namespace()).await;
    Ok(holder.map_err(|error| cluster.refused(error, "look at the lock"))?)
}

async fn acquire(args: &AcquireArgs, cluster: &Cluster, context: &Context<'_>) -> anyhow::Result<Report> {
    let wish = Wish {
        who: myself(),
        command: "lock acquire".to_owned(),
        message: args.message.clone(),
        is_manual: true,
    };
    let taken = lock::take(&cluster.api, cluster.namespace(), &wish, Duration::ZERO, &context.env).await;
    match taken.map_err(|error| cluster.refused(error, "take the lock"))? {
        Taken::Ours(lock) => lock.leave(),
        Taken::Held(holder) => return Err(held(&holder).into()),
    }
    Ok(Report::facts(json!({"held": true}), [("lock", "yours until `shopctl lock release`")]))
}

async fn release(cluster: &Cluster) -> anyhow::Result<Report> {
    match holder(cluster).await? {
        None => Ok(Report::facts(json!({"held": false}), [("lock", "nobody held it")])),
        Some(holder) if holder.is_manual => end(cluster).await,
        Some(holder) => Err(held(&holder).into()),
    }
}

async fn steal(
    args: &StealArgs,
    cluster: &Cluster,
    settings: &KubernetesSettings,
    context: &Context<'_>,
) -> anyhow::Result<Report> {
    let Some(holder) = holder(cluster).await? else {
        return Ok(Report::facts(json!({"held": false}), [("lock", "nobody held it")]));
    };
    let what = format!("taking the lock away from {}", holder.who);
    args.consent.to(&what, Danger::Severe, settings, context.printer)?;
    end(cluster).await
}

async fn end(cluster: &Cluster) -> anyhow::Result<Report> {
    let ended = lock::end(&cluster.api, cluster.namespace()).await;
    let ended = ended.map_err(|error| cluster.refused(error, "end the lock"))?;
    let who = ended.map(|holder| holder.who).unwrap_or_default();
    Ok(Report::facts(json!({"held": false, "was": who}), [("lock", format!("free; {who} had it"))]))
}

fn facts(holder: &Holder) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("lock", format!("held by {}", holder.who)),
        ("for", holder.command.clone()),
        ("since", holder.since.clone()),
        (
            "ends",
            if holder.is_manual { "when it is released" } else { "when its holder is done, or dead" }
                .to_owned(),
        ),
    ];
    if !holder.message.is_empty() {
        facts.push(("says", holder.message.clone()));
    }
    facts
}

/// That somebody else holds the lock.
pub(super) fn held(holder: &Holder) -> Failure {
    let message = format!("{} holds the deploy lock since {}", holder.who, holder.since);
    let failure = Failure::new(Exit::Locked, "E-LOCKED", message).object(match holder.message.as_str() {
        "" => holder.command.clone(),
        message => format!("{}: {message}", holder.command),
    });
    failure.hint(if holder.is_manual {
        "ask them; or `shopctl lock steal` when you know that they are done"
    } else {
        "wait with --lock-wait; a lock whose holder died ends by itself after a minute"
    })
}

/// `user@host`.
pub(super) fn myself() -> String {
    let user = variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| "somebody".to_owned());
    let name = rustix::system::uname();
    format!("{user}@{}", name.nodename().to_string_lossy())
}
