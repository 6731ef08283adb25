//! The live view: the whole terminal shows how the run stands, and keys steer it.
//!
//! [`State`] is what is known, [`draw`](fn@draw) is how it looks, [`action`] is what a key means: all three are pure.
//! [`watch`](fn@watch) is the thread between them and the terminal. It reads snapshots and never holds up the run; when
//! the terminal goes away the view ends, and the run does not.

mod draw;
mod keys;
mod look;
mod parts;
#[cfg(test)]
mod sample;
mod state;
mod steps;
mod watch;

pub use draw::draw;
pub use keys::{Action, action};
pub use look::Look;
pub use state::{Levers, State};
pub use watch::watch;
