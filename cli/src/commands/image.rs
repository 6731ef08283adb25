//! `shopctl image`: the shop as one small image, laid out, looked at and carried to a registry without any engine.

mod build;
mod inspect;
mod push;

use clap::Subcommand;

pub(super) use build::from_sources;
pub(super) use push::carry;

use crate::context::Context;
use crate::output::Report;

/// The words of `image`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Lay out the image of the shop; the same inputs have the same digest
    Build(Box<build::BuildArgs>),
    /// Push an image to a registry; what is there is not sent again
    Push(push::PushArgs),
    /// Tell what is in an image: layers, sizes, user, labels, files
    Inspect(inspect::InspectArgs),
}

impl ImageCommand {
    /// The second word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Build(_) => "build",
            Self::Push(_) => "push",
            Self::Inspect(_) => "inspect",
        }
    }
}

pub(super) fn run(command: ImageCommand, context: &Context<'_>) -> anyhow::Result<Report> {
    match command {
        ImageCommand::Build(args) => build::run(&args, context),
        ImageCommand::Push(args) => push::run(&args, context),
        ImageCommand::Inspect(args) => inspect::run(&args),
    }
}

/// Bytes for a person, in units of 1000 as registries count.
fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let count = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", count / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} MB", count / 1e6),
        _ => format!("{:.2} GB", count / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_told_as_registries_tell_them() {
        assert_eq!(
            [999, 1_000, 11_234_567, 1_500_000_000].map(size),
            ["999 B", "1.0 kB", "11.23 MB", "1.50 GB"]
        );
    }
}
