//! What a template says, once it is parsed.

use std::sync::Arc;

use super::functions::Function;
use crate::cluster::chart::value::Value;

/// The body of a file or of a `define`, and the file it stands in.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) file: Arc<str>,
    pub(super) nodes: Vec<Node>,
}

/// A part of a body.
#[derive(Debug)]
pub(super) enum Node {
    /// Text as it is.
    Text(String),
    /// `{{ pipeline }}`: its value is printed, unless it is given to a variable.
    Action(Pipeline),
    /// `if`: an `else if` is an `if` in `otherwise`.
    If { condition: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    /// `with`: an `if` whose value is the dot.
    With { value: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    /// `range`.
    Range { over: Pipeline, each: Vec<Node>, otherwise: Vec<Node> },
}

/// Commands, each given the value of the one before as its last argument.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) line: usize,
    pub(super) declared: Vec<Arc<str>>,
    /// Whether the variables were there before: `=`, not `:=`.
    pub(super) is_assignment: bool,
    pub(super) commands: Vec<Command>,
}

/// A function with its arguments, or a value alone.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) line: usize,
    pub(super) operands: Vec<Operand>,
}

/// What a command is made of.
#[derive(Debug)]
pub(super) enum Operand {
    /// `.`
    Dot,
    /// `.a.b`
    Field(Vec<Arc<str>>),
    /// `$x.a.b`
    Variable(Arc<str>, Vec<Arc<str>>),
    /// A constant.
    Constant(Value),
    /// A function by its name.
    Function(&'static Function),
    /// `( … )`
    Group(Box<Pipeline>),
    /// `( … ).a.b`
    Member(Box<Operand>, Vec<Arc<str>>),
}
