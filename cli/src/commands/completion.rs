//! `shopctl completion`: what a shell needs to complete our words.

use clap::Args;
use clap_complete::Shell;
use serde_json::json;

use crate::context::Context;
use crate::output::{Body, Report};

/// The words of `completion`.
#[derive(Debug, Args)]
#[command(after_help = "As in: source <(shopctl completion bash)")]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionArgs, context: &Context<'_>) -> Report {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut (context.tree)(), "shopctl", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    Report::new(json!({"shell": args.shell.to_string(), "script": script}), Body::Text(script))
}
