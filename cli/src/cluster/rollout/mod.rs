//! One release of one service after the other, without a moment in which nobody serves. Pure: [`step`] is told what is to
//! be seen and says what to do; it never asks a cluster.
//!
//! ```text
//! blue-green  record -> prepare -> clear -> start -> preview -> fill -> await -> overlap -> narrow -> bake
//!             -> release -> retire -> ended
//! rolling     record -> prepare -> update -> bake -> release -> ended
//! back        (return | revert) -> withdraw -> ended
//! ```
//!
//! Every service has two slots, and its Service selects one of them ([`Selector::Narrow`]) or both
//! ([`Selector::Wide`]). A blue-green release starts the new revision in the slot that is idle, lets both serve for a
//! while, and then the new one alone. A rolling release changes the pods of the live slot in place.
//!
//! # How to drive it
//!
//! ```text
//! state = State::new(plan, live, now), or the stored one: stored.resume(now)
//! loop:
//!     seen = look at the cluster                     (after the answers to all actions before)
//!     step = step(&state, &seen, now)
//!     store step.state, compare-and-swap             (before the actions; whoever loses the race stops at once)
//!     carry out step.actions in their order          (each may be carried out twice, and then does nothing new)
//!     step.next: look again, by that time at the latest; or it has ended; or it is stuck
//! ```
//!
//! What is promised when it is driven like that, and held by tests over a simulated cluster that crashes the driver before
//! and after every action, loses pods, fails gates and scales meanwhile:
//!
//! - no action leaves the Service without a ready pod when it had one;
//! - no action takes the ready pods behind the Service below what the service needs, less `max_unavailable`;
//! - whoever resumes brings it to an end: the old slot or the new one is live, and the Service selects it alone;
//! - until it is released, it can be aborted at any point, and the old slot is live then.
//!
//! Nothing is remembered that can be seen: a phase compares what is with what is to be, and asks for the difference. So
//! an action that was lost is asked for again. What cannot be seen (since when both slots are served, how many rounds of
//! the gates passed) is in the [`State`].

mod action;
mod backward;
mod blue_green;
mod command;
mod forward;
mod gates;
mod machine;
mod observation;
mod plan;
mod rolling;
mod rounds;
mod slot;
mod state;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod testing;

pub use action::{Action, Outcome, Place, RevisionStatus};
pub use gates::{Gate, Gates, Reading, Readings, Verdict};
pub use machine::{Next, Step, step};
pub use observation::{Command, Endpoint, JobSeen, Observation, SlotSeen, Verb};
pub use plan::{BlueGreen, Cutover, Limits, Plan, Promote, Strategy};
pub use slot::{PerSlot, Selector, Slot};
pub use state::{Pause, Phase, State};
