//! The chart that helm installs, rendered here: the same objects, without helm. `charts/shop` is in the program, and a
//! test holds what comes out equal to what helm makes of it.
//!
//! ```text
//! package    a chart's files, read and checked          -> Chart
//! values     defaults, files, names, the program's own   -> Values; sets: `a.b=c`; schema: what may be
//! render     a chart with values, for a release          -> objects, hooks, notes
//! template   Go's text templates, as far as they are used
//! yaml       YAML as helm has it, read and written
//! ```
//!
//! # What is not here
//! Charts within charts, library charts, `.Files`, post-renderers, and every function that the product's chart does not
//! use: another chart may be refused.
//!
//! What is rendered is rendered as helm does it, but for this. Helm drops a value that YAML cannot say, and takes the last
//! of two equal keys in a values file; both are refused here. And where a template puts a value without quotes, it is
//! YAML 1.2 that says where the value ends: a few that helm cannot read, as `{cidr: ::/0}`, can be read here.

mod package;
mod render;
mod schema;
mod sets;
mod template;
mod value;
mod values;
mod yaml;

pub use package::{Chart, ChartError, Facts};
pub use render::{Cluster, Lookup, Outside, Release, RenderError, Rendered, render};
pub use template::TemplateError;
pub use values::{Misfit, Overrides, Values, ValuesError};
