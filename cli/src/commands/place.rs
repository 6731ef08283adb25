//! Which shop a command runs: the one of a data folder on this machine, or one behind an address.

use std::path::PathBuf;

use clap::Args;
use platform::client::Operator;

use crate::context::{Context, variable};
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
    /// The right to run that shop.
    pub(super) fn operator(&self, context: &Context<'_>) -> anyhow::Result<Operator> {
        match &self.url {
            Some(url) => operator::elsewhere(url, variable),
            None => {
                context.on_this_machine()?;
                operator::local(&context.data_dir(self.data_dir.as_deref())?)
            }
        }
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
