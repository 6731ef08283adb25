//! The shop on this machine in pieces: every service a process of its own, and PostgreSQL under them.
//!
//! [`serve`] is the way from the lock to the end, [`roster`] says which processes there are. A piece is this same
//! binary ([`piece`]); its supervisor and it speak through two pipes, and when the one above closes, the piece ends.

mod back_off;
mod charter;
pub mod database;
pub mod facts;
mod keeping;
pub mod piece;
mod process;
pub mod roster;
pub mod serve;
mod supervisor;
