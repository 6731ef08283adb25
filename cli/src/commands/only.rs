//! Flags that mean something for one kind of shop only: for the other they are refused, never passed over.

use crate::context::Context;
use crate::failure::{Exit, Failure};

/// A flag, and whether it was given.
pub(super) type Given<'a> = (&'a str, bool);

/// Goes on when none of `flags` was given: they are for a shop on this machine, and this one is on a cluster.
pub(super) fn not_for_here(flags: &[Given<'_>], context: &Context<'_>) -> Result<(), Failure> {
    refuse(flags, "E-ON-KUBERNETES", |flag| {
        format!(
            "{flag} is for a shop on this machine, and the one of `{}` lives on Kubernetes",
            context.environment
        )
    })
}

/// Goes on when none of `flags` was given: they are for a shop on a cluster, and this one is on this machine.
pub(super) fn not_for_a_cluster(flags: &[Given<'_>], context: &Context<'_>) -> Result<(), Failure> {
    refuse(flags, "E-NOT-KUBERNETES", |flag| {
        format!(
            "{flag} is for a shop on Kubernetes, and the one of `{}` lives on this machine",
            context.environment
        )
    })
}

fn refuse(flags: &[Given<'_>], code: &'static str, message: impl Fn(&str) -> String) -> Result<(), Failure> {
    let Some((flag, _)) = flags.iter().find(|(_, is_given)| *is_given) else { return Ok(()) };
    let variable = format!("SHOPCTL_{}", flag.trim_start_matches('-').replace('-', "_").to_uppercase());
    Err(Failure::new(Exit::Usage, code, message(flag))
        .hint(format!("leave {flag} out (and {variable}), or name another environment with -e")))
}
