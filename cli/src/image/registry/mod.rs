//! A registry that images are pushed to, over the OCI distribution API.
//!
//! [`push()`] is the story. It talks through a [`session`], which logs in when the registry asks for it ([`challenge`],
//! [`credentials`]) and tries again what may pass; [`line`](mod@line) is the wire. What went wrong has its name in [`trouble`].

pub mod challenge;
pub mod credentials;
pub mod line;
pub mod push;
pub mod session;
pub mod trouble;

pub use credentials::Credentials;
pub use line::Line;
pub use push::{Pushed, push};
pub use session::Session;
