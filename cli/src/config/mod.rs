//! `shop.toml`: where it is, what it may say, and where each value comes from.
//!
//! A value is looked for on the command line, then in the environment (`SHOPCTL_*`), in `[env.NAME]`, in
//! `[defaults]`, and is built in last. [`keys`] lists every key once; `config explain`, `config schema` and the
//! loader follow from the list.
//!
//! Adding one: a line in [`keys::KEYS`] and a field in [`model::Layer`]; a test holds them together.

pub mod document;
mod explain;
mod gates;
pub mod keys;
mod kubernetes;
mod load;
pub mod model;
mod schema;
mod secret;
mod settings;

pub use explain::{Found, Origin};
pub use gates::{Bake, Gate, Gates, Query};
pub use kubernetes::KubernetesSettings;
pub use load::Config;
pub use model::{Engine, Limits, Strategy, Target};
pub use schema::schema;
pub use secret::{DatabaseUrl, database_url};
pub use settings::{Overrides, Settings};
