//! YAML as helm and Kubernetes have it, which is that of Go's `yaml.v2`: version 1.1 with its `yes` and `0777`, by way of
//! JSON. A parser of the world at large finds the nodes; what a plain scalar means, and how a value is written, is here.
//!
//! ```text
//! scalar   what a plain scalar means
//! read     text -> value, and the line of each key
//! write    value -> text, to the letter of helm's `toYaml`
//! ```

mod read;
mod scalar;
mod write;

pub(super) use read::{Document, made, settings};
pub(super) use write::written;
