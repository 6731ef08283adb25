//! Which shop a command runs: the one of a data folder on this machine, one behind an address, or one on a cluster.

use std::ops::Deref;
use std::path::PathBuf;

use clap::Args;
use platform::client::{CallError, Operator};

use crate::cluster::forward::Forward;
use crate::config::Target;
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::targets::kubernetes::reach::Reach;
use crate::targets::operator;

/// The words that name a shop.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Folder of the shop's data: the shop that runs on it, as its operator
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Address of a shop elsewhere; SHOPCTL_TOKEN_FILE names a file with a token of staff
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl Place {
    /// The right to run that shop, and the way to it. A shop on a cluster is reached through the API server, as its
    /// operator: who may read its Secret.
    pub(super) async fn operator(&self, context: &Context<'_>) -> anyhow::Result<Reached> {
        if let Some(url) = &self.url {
            return Ok(Reached { operator: operator::elsewhere(url, variable)?, way: None });
        }
        let config = context.config()?;
        if config.target() == Target::Embedded {
            let operator = operator::local(&context.data_dir(self.data_dir.as_deref())?)?;
            return Ok(Reached { operator, way: None });
        }
        let settings = config.kubernetes(variable)?;
        let reach = Reach::of(&settings, &context.env).await?;
        let forward = reach.gateway().await?;
        let operator = reach.operator(&forward.url()).await?;
        Ok(Reached { operator, way: Some(Way { forward, environment: settings.environment }) })
    }
}

/// A shop, the right to run it, and the way to it when it is not a plain address.
pub(super) struct Reached {
    operator: Operator,
    way: Option<Way>,
}

struct Way {
    forward: Forward,
    environment: String,
}

impl Deref for Reached {
    type Target = Operator;

    fn deref(&self) -> &Operator {
        &self.operator
    }
}

impl Reached {
    /// What a call came to, as the failure of `tried`: "retry the saga of order 7".
    pub(super) fn failed(&self, error: CallError, tried: &str) -> anyhow::Error {
        let Some(way) = &self.way else { return operator::failed(error, tried) };
        match error {
            CallError::Problem(problem) if problem.status == 401 => {
                Failure::new(Exit::Auth, "E-AUTH", format!("could not {tried}"))
                    .hint("are this machine's clock and the cluster's apart, or was the Secret changed after the pods began?")
                    .because(anyhow::Error::msg(problem.detail))
                    .into()
            }
            CallError::Refused(_) | CallError::Unknown(_) => way.failed(error, tried),
            told => operator::failed(told, tried),
        }
    }
}

impl Way {
    /// The way itself knows best why no answer came by it.
    fn failed(&self, error: CallError, tried: &str) -> anyhow::Error {
        if let Some(failure) = self.forward.failure(tried) {
            return failure.into();
        }
        let is_unknown = matches!(error, CallError::Unknown(_));
        let hint = format!("`shopctl why -e {}` says how its pods are", self.environment);
        let hint = if is_unknown { format!("it may have been done all the same; {hint}") } else { hint };
        Failure::new(Exit::Unreachable, "E-NO-ANSWER", format!("could not {tried}"))
            .hint(hint)
            .because(error)
            .into()
    }
}

/// The words of what changes something: why, and that it is meant.
#[derive(Debug, Args)]
pub(super) struct Deed {
    /// Why; kept in the shop's audit
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
    /// Do it; without this, only say what would be done
    #[arg(long)]
    pub(super) apply: bool,
}

/// The last line of what was not done.
pub(super) const NOT_DONE: &str = "nothing was changed: add --apply to do it";
