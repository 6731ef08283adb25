//! A tree and values become text.

use std::cell::Cell;
use std::sync::Arc;

use super::functions::{Call, Function, Trouble};
use super::print::printed;
use super::tree::{Body, Command, Node, Operand, Pipeline};
use super::{TemplateError, Templates};
use crate::cluster::chart::render::Outside;
use crate::cluster::chart::value::Value;

/// So many includes within one another are a circle.
const DEPTH_MAX: usize = 100;

/// One rendering: what its templates may reach.
pub(in crate::cluster::chart) struct Evaluation<'a> {
    templates: &'a Templates,
    pub(super) outside: &'a Outside<'a>,
    depth: Cell<usize>,
}

impl<'a> Evaluation<'a> {
    /// Of these templates, in these surroundings.
    pub(in crate::cluster::chart) fn new(templates: &'a Templates, outside: &'a Outside<'a>) -> Self {
        Self { templates, outside, depth: Cell::new(0) }
    }

    /// The text of the template `name` with `dot` as its dot.
    ///
    /// # Errors
    /// When there is no such template, or it fails.
    pub(in crate::cluster::chart) fn run(&self, name: &str, dot: &Value) -> Result<String, Trouble> {
        let body = self.templates.body(name).ok_or_else(|| format!("there is no template `{name}`"))?;
        if self.depth.get() >= DEPTH_MAX {
            return Err(format!("`{name}` includes itself without end").into());
        }
        self.depth.set(self.depth.get() + 1);
        let mut frame = Frame {
            evaluation: self,
            body,
            variables: vec![(Arc::from("$"), dot.clone())],
            text: String::new(),
        };
        let walked = frame.walk(&body.nodes, dot);
        self.depth.set(self.depth.get() - 1);
        walked?;
        Ok(frame.text)
    }
}

/// The evaluation of one body.
struct Frame<'e> {
    evaluation: &'e Evaluation<'e>,
    body: &'e Body,
    /// The innermost last.
    variables: Vec<(Arc<str>, Value)>,
    text: String,
}

impl Frame<'_> {
    fn walk(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        nodes.iter().try_for_each(|node| self.node(node, dot))
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), TemplateError> {
        let outside = self.variables.len();
        match node {
            Node::Text(text) => self.text.push_str(text),
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.declared.is_empty() {
                    self.text.push_str(&printed(&value));
                }
                // What it declares is there until the block ends.
                return Ok(());
            }
            Node::If { condition, then, otherwise } => {
                let is_true = self.pipeline(condition, dot)?.is_true();
                self.walk(if is_true { then } else { otherwise }, dot)?;
            }
            Node::With { value, then, otherwise } => {
                let value = self.pipeline(value, dot)?;
                if value.is_true() {
                    self.walk(then, &value)?;
                } else {
                    self.walk(otherwise, dot)?;
                }
            }
            Node::Range { over, each, otherwise } => {
                let value = self.pipeline(over, dot)?;
                if value.is_true() {
                    self.range(over, &value, each, outside)?;
                } else {
                    self.walk(otherwise, dot)?;
                }
            }
        }
        self.variables.truncate(outside);
        Ok(())
    }

    /// `first` is where the variables of the range stand, when it declares any.
    fn range(
        &mut self,
        over: &Pipeline,
        value: &Value,
        each: &[Node],
        first: usize,
    ) -> Result<(), TemplateError> {
        match value {
            Value::List(items) => (0..)
                .zip(items.iter())
                .try_for_each(|(place, item)| self.iteration(over, &Value::Int(place), item, each, first)),
            Value::Map(members) => members.iter().try_for_each(|(key, item)| {
                self.iteration(over, &Value::Text(Arc::clone(key)), item, each, first)
            }),
            other => {
                Err(self.error(over.line, format!("a range goes over a list or a map, not {}", other.kind())))
            }
        }
    }

    fn iteration(
        &mut self,
        over: &Pipeline,
        key: &Value,
        item: &Value,
        each: &[Node],
        first: usize,
    ) -> Result<(), TemplateError> {
        let given = if over.declared.len() > 1 { vec![key, item] } else { vec![item] };
        for (place, (name, value)) in over.declared.iter().zip(given).enumerate() {
            if over.is_assignment {
                self.assign(name, value);
            } else {
                self.variables[first + place].1 = value.clone();
            }
        }
        let outside = self.variables.len();
        self.walk(each, item)?;
        self.variables.truncate(outside);
        Ok(())
    }

    /// The value of a pipeline; its variables have it from then on.
    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or_default();
        for name in &pipeline.declared {
            if pipeline.is_assignment {
                self.assign(name, &value);
            } else {
                self.variables.push((Arc::clone(name), value.clone()));
            }
        }
        Ok(value)
    }

    fn assign(&mut self, name: &str, value: &Value) {
        if let Some(variable) = self.variables.iter_mut().rev().find(|(known, _)| known.as_ref() == name) {
            variable.1 = value.clone();
        }
    }

    /// `piped` is the value of the command before, the last argument of this one.
    fn command(
        &mut self,
        command: &Command,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let (first, arguments) =
            command.operands.split_first().expect("the parser gives each command an operand");
        if let Operand::Function(function) = first {
            return self.call(function, command.line, arguments, dot, piped);
        }
        if !arguments.is_empty() || piped.is_some() {
            return Err(self.error(command.line, "what is given arguments is no function"));
        }
        self.operand(first, command.line, dot)
    }

    fn call(
        &mut self,
        function: &Function,
        line: usize,
        arguments: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let count = arguments.len() + usize::from(piped.is_some());
        if !function.takes(count) {
            return Err(self.error(line, format!("`{}` cannot be given {count} arguments", function.name)));
        }
        match function.call {
            Call::And | Call::Or => {
                let ends_with = matches!(function.call, Call::Or);
                let mut value = Value::Nothing;
                for argument in arguments {
                    value = self.operand(argument, line, dot)?;
                    // What comes after the value that decides is not looked at.
                    if value.is_true() == ends_with {
                        return Ok(value);
                    }
                }
                Ok(piped.unwrap_or(value))
            }
            Call::Plain(body) => {
                let mut values = Vec::with_capacity(count);
                for argument in arguments {
                    values.push(self.operand(argument, line, dot)?);
                }
                values.extend(piped);
                body(self.evaluation, &values).map_err(|trouble| self.trouble(line, trouble))
            }
        }
    }

    fn operand(&mut self, operand: &Operand, line: usize, dot: &Value) -> Result<Value, TemplateError> {
        match operand {
            Operand::Dot => Ok(dot.clone()),
            Operand::Constant(value) => Ok(value.clone()),
            Operand::Field(path) => self.field(dot, path, line),
            Operand::Variable(name, path) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) =
                    found.ok_or_else(|| self.error(line, format!("there is no variable {name}")))?;
                self.field(value, path, line)
            }
            Operand::Function(function) => self.call(function, line, &[], dot, None),
            Operand::Group(pipeline) => self.pipeline(pipeline, dot),
            Operand::Member(inner, path) => {
                let value = self.operand(inner, line, dot)?;
                self.field(&value, path, line)
            }
        }
    }

    /// What lies at `path` in `value`. Nothing has every field, and each of them is nothing; but a field that a map lacks
    /// has none, so that a wrong path is told of.
    fn field(&self, value: &Value, path: &[Arc<str>], line: usize) -> Result<Value, TemplateError> {
        let mut found = value;
        for (place, name) in path.iter().enumerate() {
            found = match found {
                Value::Map(members) => members.get(name).unwrap_or(&Value::Nothing),
                Value::Nothing if place == 0 => return Ok(Value::Nothing),
                other => {
                    let before = path[..place].join(".");
                    let kind = other.kind();
                    return Err(self.error(line, format!("`.{before}` is {kind} and has no `{name}`")));
                }
            };
        }
        Ok(found.clone())
    }

    fn error(&self, line: usize, message: impl Into<String>) -> TemplateError {
        TemplateError::at(&self.body.file, line, message)
    }

    fn trouble(&self, line: usize, trouble: Trouble) -> TemplateError {
        match trouble {
            Trouble::Told(message) => self.error(line, message),
            Trouble::Outside(message, cause) => {
                TemplateError { cause: Some(cause), ..self.error(line, message) }
            }
            Trouble::Within(mut error) => {
                error.through.push((Arc::clone(&self.body.file), line));
                error
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The text of `main`, with a dot of `{"map": {"a": 1}, "text": "x"}`.
    fn rendered(main: &str, helpers: &str) -> Result<String, String> {
        let mut templates = Templates::default();
        templates.add("helpers", helpers).unwrap();
        templates.add("main", main).unwrap();
        let outside = Outside { lookup: &|_, _, _, _| Ok(serde_json::Value::Null), random: &|| 0 };
        let dot = Value::from(&json!({"map": {"a": 1}, "text": "x"}));
        Evaluation::new(&templates, &outside).run("main", &dot).map_err(|trouble| match trouble {
            Trouble::Within(error) => error.to_string(),
            other => format!("{other:?}"),
        })
    }

    fn error(main: &str) -> String {
        rendered(main, "").unwrap_err()
    }

    #[test]
    fn what_fails_is_told_with_the_way_that_led_there() {
        let helpers = "{{ define \"outer\" }}\n{{ include \"inner\" . }}{{ end }}{{ define \"inner\" }}\n\n{{ fail \"no\" }}{{ end }}";
        assert_eq!(
            rendered("\n\n\n{{ include \"outer\" . }}", helpers).unwrap_err(),
            "helpers:4: no, included by helpers:2, included by main:4"
        );
        assert_eq!(error("\n{{ include \"nowhere\" . }}"), "main:2: there is no template `nowhere`");
    }

    #[test]
    fn a_circle_of_includes_ends() {
        let told = rendered("{{ include \"a\" . }}", "{{ define \"a\" }}{{ include \"a\" . }}{{ end }}")
            .unwrap_err();
        assert!(
            told.starts_with("helpers:1: `a` includes itself without end, included by helpers:1"),
            "{told}"
        );
    }

    #[test]
    fn a_wrong_path_is_told_and_a_missing_end_is_nothing() {
        assert_eq!(
            rendered("{{ .map.b }}|{{ $x := .map.b }}{{ $x.c.d }}", "").unwrap(),
            "<no value>|<no value>"
        );
        assert_eq!(error("{{ .map.b.c }}"), "main:1: `.map.b` is nothing and has no `c`");
        assert_eq!(error("{{ .text.b }}"), "main:1: `.text` is a text and has no `b`");
        assert_eq!(
            error("{{ range .text }}{{ end }}"),
            "main:1: a range goes over a list or a map, not a text"
        );
        assert_eq!(error("{{ .text 1 }}"), "main:1: what is given arguments is no function");
        assert_eq!(error("{{ 1 | .text }}"), "main:1: what is given arguments is no function");
        assert_eq!(error("{{ trunc 1 }}"), "main:1: `trunc` cannot be given 1 arguments");
    }

    #[test]
    fn a_template_sees_nothing_of_who_includes_it() {
        let helpers = "{{ define \"a\" }}{{ $ }}{{ . }}{{ $x := 2 }}{{ $x }}{{ end }}";
        assert_eq!(rendered("{{ $x := 1 }}{{ include \"a\" \"d\" }}{{ $x }}", helpers).unwrap(), "dd21");
    }

    #[test]
    fn a_loop_may_assign_to_what_is_outside() {
        let main = "{{ $x := 0 }}{{ $k := 0 }}{{ range $k, $x = list 5 6 }}{{ end }}{{ $k }}{{ $x }}";
        assert_eq!(rendered(main, "").unwrap(), "16");
        assert_eq!(rendered("{{ range $i, $v := list }}x{{ else }}none{{ end }}", "").unwrap(), "none");
    }
}
