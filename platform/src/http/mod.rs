//! HTTP as every service speaks it: errors, extractors, who is asking, and calls to siblings.
//!
//! A request that reaches a handler always carries a [`Context`]: the gateway makes it, an in-process call hands it
//! on, and a call over a socket carries it in a signed envelope ([`envelope`]).

pub mod address;
pub mod addresses;
pub mod client;
pub mod context;
pub mod endpoint;
pub mod envelope;
pub mod extract;
mod head_timer;
pub mod operator;
pub mod page;
pub mod problem;
pub mod server;
pub mod standing;

pub use addresses::Addresses;
pub use client::HttpClient;
pub use context::{Bearer, Context};
pub use endpoint::{CallError, Endpoint};
pub use extract::{IdempotencyKey, Internal, Json, Path, Query, SignedIn};
pub use page::{Page, PageQuery};
pub use problem::{Code, FieldError, Problem};
