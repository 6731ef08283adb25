//! Stories of the shop. Every step of a story really runs.
//!
//! A story is data ([`Story`]): what is said, what is run, what must come of it, how long it stands. The
//! [`Player`] tells it at a person's pace, or runs it headless as a test; the steps are the same, so a story
//! that can be told cannot be a lie.
//!
//! # Adding one
//! A file with a [`Story`] in it and a line in [`WALKTHROUGHS`]. `walkthrough list`, `play` and `check` follow.

mod deploy;
mod first_order;
mod player;
mod story;

pub use player::{Played, Player, StepResult};
pub use story::{Act, Call, Expect, Keep, Place, Step, Story};

/// The list.
pub const WALKTHROUGHS: &[Story] = &[first_order::STORY, deploy::STORY];
