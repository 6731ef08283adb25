//! Storage: decide, then do.
//!
//! A service reads what it needs, decides in pure code, and hands over a [`Batch`]: statements, each with how many
//! rows it must touch. The engine runs a batch as one transaction; when an expectation fails nothing is written and
//! the error names the statement. No transaction is ever held open across an `await` on something else.
//!
//! One SQL text serves both engines: `$1…$n` placeholders, tables prefixed by their service, `NOT NULL` on keys,
//! PostgreSQL's type names in the DDL, JSON documents that are always objects, `CAST(SUM(x) AS BIGINT)`.
//! Where dialects really differ (full-text search), a small constant per engine: [`Db::dialect`].
//!
//! # Adding one
//! A storage engine is one file that implements [`Engine`] and one arm in [`Db::open`]; the conformance suite
//! (`tests/it/engines.rs`) then runs on it.

mod batch;
mod engine;
pub mod faults;
pub mod migrations;
pub mod postgres;
mod read_only;
pub mod sqlite;
mod value;

pub(crate) use batch::places;
pub use batch::{Batch, Expect, Statement};
pub use engine::{Db, Dialect, Engine, EngineConfig, StorageError, StorageHealth};
pub use faults::{FaultRule, FaultSwitch, StorageFault};
pub use migrations::Migration;
pub use value::{FromValue, JsonText, Kind, Row, Value};
