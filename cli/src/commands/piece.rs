//! `shopctl piece`: one process of a shop in pieces. Started by `shopctl up --processes`, not by people.

use clap::Args;

use crate::context::Context;
use crate::failure::Exit;
use crate::targets::pieces::piece;

/// The words of `piece`.
#[derive(Debug, Args)]
pub struct PieceArgs {
    /// Who it is, for whoever looks at the list of processes; what it does comes over standard input
    #[arg(value_name = "SEAT")]
    _seat: String,
}

pub(super) fn run(_: &PieceArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    platform::app::keep_files_private();
    piece::run(context.printer)
}
