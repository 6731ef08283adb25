//! Go's text templates, as far as the chart uses them.
//!
//! ```text
//! lexer       text -> tokens; what a trim marker takes is gone
//! parser      tokens -> tree; every function is known by then
//! evaluate    tree and values -> text
//! functions   the functions, one line each in a table
//! print       how a value becomes text: what Go's fmt does with it
//! ```
//!
//! # Why an engine of our own
//! `gtmpl-ng` speaks the language, and its source was read before this was written. Its functions are bare `fn`
//! pointers: `include`, `lookup` and `randAlphaNum` would have to find their templates, cluster and randomness in
//! thread-locals. Its values are owned trees, so that each `dict "root" $`, of which a rendering has some hundreds, copies
//! all values of the chart. And its own set of helm's functions, which brings certificates, password hashes and a YAML
//! writer of another style, would be left out anyway, since a checksum over included text must be that of helm to the
//! letter. What was left of it is a lexer and a parser.
//!
//! It would be taken if its functions were closures and its values shared. What this engine does not know is refused
//! when the chart is read, by name and line: `template`, `block`, `break`, `continue`, `tpl`, and every function that
//! the chart does not use.
//!
//! # Adding a function
//! A line in [`functions`], and a use of it in the chart that the tests render.

mod evaluate;
mod functions;
mod lexer;
mod parser;
mod print;
mod tree;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

pub(super) use evaluate::Evaluation;
pub(super) use functions::Trouble;
pub(super) use print::{NO_VALUE, float};

use tree::Body;

/// Why a template could not be read or rendered: in which file and line, and by which ways it came there.
#[derive(Debug, thiserror::Error)]
pub struct TemplateError {
    file: Arc<str>,
    line: usize,
    message: String,
    /// The includes that led here, the innermost first.
    through: Vec<(Arc<str>, usize)>,
    #[source]
    cause: Option<anyhow::Error>,
}

impl TemplateError {
    fn at(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { file: Arc::from(file), line, message: message.into(), through: Vec::new(), cause: None }
    }

    /// One that no line is to blame for.
    pub(super) fn nowhere(message: String) -> Self {
        Self::at("the chart", 0, message)
    }

    /// The file, as `shop/templates/services.yaml`.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line in it, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// What is wrong there.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)?;
        for (file, line) in &self.through {
            write!(f, ", included by {file}:{line}")?;
        }
        Ok(())
    }
}

/// The templates of a chart: one for each file, and what the files define.
#[derive(Debug, Default)]
pub(super) struct Templates {
    bodies: HashMap<String, Body>,
}

impl Templates {
    /// Reads one more file. Where two define the same, the later one holds.
    ///
    /// # Errors
    /// When it is no template, or uses what is not known here.
    pub(super) fn add(&mut self, file: &str, text: &str) -> Result<(), TemplateError> {
        let parsed = parser::parse(file, text)?;
        self.bodies.extend(parsed.definitions);
        self.bodies.insert(file.to_owned(), parsed.body);
        Ok(())
    }

    fn body(&self, name: &str) -> Option<&Body> {
        self.bodies.get(name)
    }
}
