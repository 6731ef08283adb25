//! From tokens to a tree. What the chart does not use (`template`, `block`, `break`, `continue`) is refused by name.

use std::sync::Arc;

use super::TemplateError;
use super::functions::{self, Function};
use super::lexer::{Kind, Token, lex};
use super::tree::{Body, Command, Node, Operand, Pipeline};
use crate::cluster::chart::value::Value;

/// A file's own body, and what it defines besides.
pub(super) struct Parsed {
    pub(super) body: Body,
    pub(super) definitions: Vec<(String, Body)>,
}

/// Reads the text of the file `file`.
///
/// # Errors
/// When it is no template, or uses what is not known here.
pub(super) fn parse(file: &str, text: &str) -> Result<Parsed, TemplateError> {
    let tokens = lex(file, text)?;
    let file = Arc::from(file);
    let mut parser = Parser { file: Arc::clone(&file), tokens: &tokens, at: 0, scope: vec![Arc::from("$")] };
    let mut definitions = Vec::new();
    let mut nodes = Vec::new();
    while let Some(token) = parser.peek() {
        if token.kind == Kind::Open && parser.is_word(1, "define") {
            definitions.push(parser.definition()?);
        } else {
            match parser.node()? {
                Part::Node(node) => nodes.push(node),
                Part::Else | Part::End => return Err(parser.error_before("there is nothing that this ends")),
            }
        }
    }
    Ok(Parsed { body: Body { file, nodes }, definitions })
}

/// A part of a body, or what ends it.
enum Part {
    Node(Node),
    Else,
    End,
}

struct Parser<'p, 't> {
    file: Arc<str>,
    tokens: &'p [Token<'t>],
    at: usize,
    /// The variables that may be named here.
    scope: Vec<Arc<str>>,
}

impl<'p, 't> Parser<'p, 't> {
    fn definition(&mut self) -> Result<(String, Body), TemplateError> {
        self.at += 2;
        let name = match self.next() {
            Some(Token { kind: Kind::Quoted(name), .. }) => name.clone(),
            _ => return Err(self.error_before("`define` wants a name in quotes")),
        };
        self.expect(&Kind::Close, "define")?;
        let outer = std::mem::replace(&mut self.scope, vec![Arc::from("$")]);
        let (nodes, end) = self.list()?;
        self.scope = outer;
        match end {
            Part::End => Ok((name, Body { file: Arc::clone(&self.file), nodes })),
            _ => Err(self.error_before("`else` has no `if` here")),
        }
    }

    /// Parts up to an `else` or `end`, and which of them it was.
    fn list(&mut self) -> Result<(Vec<Node>, Part), TemplateError> {
        let mut nodes = Vec::new();
        while self.peek().is_some() {
            match self.node()? {
                Part::Node(node) => nodes.push(node),
                end => return Ok((nodes, end)),
            }
        }
        Err(self.error_before("an `end` is missing"))
    }

    fn node(&mut self) -> Result<Part, TemplateError> {
        let Some(token) = self.next() else { return Err(self.error_before("the file ends too early")) };
        if let Kind::Text(text) = token.kind {
            return Ok(Part::Node(Node::Text(text.to_owned())));
        }
        if token.kind != Kind::Open {
            let called = token.kind.called();
            return Err(self.error_before(format!("`{called}` has no place here")));
        }
        let Some(Token { kind: Kind::Word(word), .. }) = self.peek() else { return self.action() };
        match *word {
            "end" => {
                self.at += 1;
                self.expect(&Kind::Close, "end")?;
                Ok(Part::End)
            }
            "else" => {
                self.at += 1;
                // The condition of an `else if` is read by whoever asked for this list.
                if !(self.is_word(0, "if") || self.is_word(0, "with")) {
                    self.expect(&Kind::Close, "else")?;
                }
                Ok(Part::Else)
            }
            "if" => self.control("if").map(Part::Node),
            "with" => self.control("with").map(Part::Node),
            "range" => self.control("range").map(Part::Node),
            "define" => Err(self.error_before("a `define` stands outside of every block")),
            word @ ("template" | "block" | "break" | "continue") => {
                Err(self.error_before(format!("`{word}` is not known here")))
            }
            _ => self.action(),
        }
    }

    fn action(&mut self) -> Result<Part, TemplateError> {
        Ok(Part::Node(Node::Action(self.pipeline("action", &Kind::Close)?)))
    }

    /// `if`, `with` or `range`, from its word to its `end`.
    fn control(&mut self, word: &'static str) -> Result<Node, TemplateError> {
        self.at += 1;
        let outside = self.scope.len();
        let head = self.pipeline(word, &Kind::Close)?;
        let inside = self.scope.len();
        let (then, mut end) = self.list()?;
        self.scope.truncate(inside);
        let mut otherwise = Vec::new();
        if matches!(end, Part::Else) {
            if word != "range" && self.is_word(0, word) {
                // Its `end` is ours too.
                otherwise.push(self.control(word)?);
                end = Part::End;
            } else {
                (otherwise, end) = self.list()?;
            }
        }
        self.scope.truncate(outside);
        if !matches!(end, Part::End) {
            return Err(self.error_before(format!("this `{word}` has an `else` already")));
        }
        Ok(match word {
            "if" => Node::If { condition: head, then, otherwise },
            "with" => Node::With { value: head, then, otherwise },
            _ => Node::Range { over: head, each: then, otherwise },
        })
    }

    fn pipeline(&mut self, context: &str, end: &Kind<'_>) -> Result<Pipeline, TemplateError> {
        let line = self.line();
        let (declared, is_assignment) = self.declarations(context)?;
        let mut commands = Vec::new();
        loop {
            let command = self.command(context)?;
            let is_constant = matches!(command.operands[0], Operand::Constant(_) | Operand::Dot);
            if !commands.is_empty() && is_constant {
                return Err(self.error_before("what stands after a `|` is a function"));
            }
            commands.push(command);
            match self.next() {
                Some(token) if token.kind == *end => break,
                Some(Token { kind: Kind::Pipe, .. }) => {}
                _ => return Err(self.error_before(format!("this {context} does not go on like that"))),
            }
        }
        if !is_assignment {
            self.scope.extend(declared.iter().cloned());
        }
        Ok(Pipeline { line, declared, is_assignment, commands })
    }

    /// `$x :=`, `$x =`, and in a `range` also `$k, $v :=`.
    fn declarations(&mut self, context: &str) -> Result<(Vec<Arc<str>>, bool), TemplateError> {
        let kind =
            |parser: &Self, ahead: usize| parser.tokens.get(parser.at + ahead).map(|token| &token.kind);
        let Some(Kind::Variable(first)) = kind(self, 0) else { return Ok((Vec::new(), false)) };
        let mut names = vec![Arc::from(*first)];
        let mut length = 1;
        if let (Some(Kind::Comma), Some(Kind::Variable(second))) = (kind(self, 1), kind(self, 2)) {
            names.push(Arc::from(*second));
            length = 3;
        }
        let is_assignment = match kind(self, length) {
            Some(Kind::Declare) => false,
            Some(Kind::Assign) => true,
            _ => return Ok((Vec::new(), false)),
        };
        self.at += length + 1;
        if names.len() > 1 && context != "range" {
            return Err(self.error_before("only a `range` has two variables"));
        }
        if is_assignment && let Some(unknown) = names.iter().find(|name| !self.scope.contains(name)) {
            return Err(self.error_before(format!("there is no variable {unknown}")));
        }
        Ok((names, is_assignment))
    }

    fn command(&mut self, context: &str) -> Result<Command, TemplateError> {
        let line = self.line();
        let mut operands = Vec::new();
        while let Some(token) = self.peek() {
            if matches!(token.kind, Kind::Close | Kind::CloseGroup | Kind::Pipe) {
                break;
            }
            if !operands.is_empty() && !token.is_apart {
                self.at += 1;
                let called = token.kind.called();
                return Err(self.error_before(format!("a space is missing before `{called}`")));
            }
            operands.push(self.operand()?);
        }
        if operands.is_empty() {
            self.at += 1;
            return Err(self.error_before(format!("this {context} lacks a value")));
        }
        Ok(Command { line, operands })
    }

    fn operand(&mut self) -> Result<Operand, TemplateError> {
        let first = self.term()?;
        let fields = self.fields();
        if fields.is_empty() {
            return Ok(first);
        }
        match first {
            Operand::Field(mut path) => {
                path.extend(fields);
                Ok(Operand::Field(path))
            }
            Operand::Variable(name, _) => Ok(Operand::Variable(name, fields)),
            Operand::Constant(_) | Operand::Dot => Err(self.error_before("this has no fields")),
            other => Ok(Operand::Member(Box::new(other), fields)),
        }
    }

    /// The fields that stand right after a term.
    fn fields(&mut self) -> Vec<Arc<str>> {
        let mut fields = Vec::new();
        while let Some(Token { kind: Kind::Field(name), is_apart: false, .. }) = self.peek() {
            fields.push(Arc::from(*name));
            self.at += 1;
        }
        fields
    }

    fn term(&mut self) -> Result<Operand, TemplateError> {
        let Some(token) = self.next() else { return Err(self.error_before("the file ends too early")) };
        match &token.kind {
            Kind::Dot => Ok(Operand::Dot),
            Kind::Field(name) => Ok(Operand::Field(vec![Arc::from(*name)])),
            Kind::Variable(name) => self.variable(name),
            Kind::Quoted(text) => Ok(Operand::Constant(Value::text(text.as_str()))),
            Kind::Number(text) => self.number(text),
            Kind::Word("true") => Ok(Operand::Constant(Value::Bool(true))),
            Kind::Word("false") => Ok(Operand::Constant(Value::Bool(false))),
            Kind::Word("nil") => Ok(Operand::Constant(Value::Nothing)),
            Kind::Word(name) => self.function(name).map(Operand::Function),
            Kind::OpenGroup => Ok(Operand::Group(Box::new(self.pipeline("group", &Kind::CloseGroup)?))),
            other => {
                let called = other.called();
                Err(self.error_before(format!("`{called}` has no place here")))
            }
        }
    }

    fn variable(&self, name: &str) -> Result<Operand, TemplateError> {
        match self.scope.iter().find(|known| known.as_ref() == name) {
            Some(known) => Ok(Operand::Variable(Arc::clone(known), Vec::new())),
            None => Err(self.error_before(format!("there is no variable {name}"))),
        }
    }

    fn function(&self, name: &str) -> Result<&'static Function, TemplateError> {
        functions::find(name).ok_or_else(|| {
            let known = functions::names().collect::<Vec<_>>().join(", ");
            self.error_before(format!("there is no function `{name}` here; there are {known}"))
        })
    }

    /// Decimal numbers only: a leading zero would mean another base.
    fn number(&self, text: &str) -> Result<Operand, TemplateError> {
        let digits = text.trim_start_matches(['+', '-']);
        let has_base = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
        let whole = text.parse().map(Value::Int).ok();
        let value = whole.or_else(|| text.parse().map(Value::Float).ok().filter(|_| digits.contains('.')));
        match value {
            Some(value) if !has_base => Ok(Operand::Constant(value)),
            _ => Err(self.error_before(format!("`{text}` is no decimal number"))),
        }
    }

    fn peek(&self) -> Option<&'p Token<'t>> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<&'p Token<'t>> {
        let token = self.tokens.get(self.at);
        self.at += 1;
        token
    }

    fn is_word(&self, ahead: usize, word: &str) -> bool {
        self.tokens.get(self.at + ahead).is_some_and(|token| token.kind == Kind::Word(word))
    }

    fn expect(&mut self, kind: &Kind<'_>, context: &str) -> Result<(), TemplateError> {
        match self.next() {
            Some(token) if token.kind == *kind => Ok(()),
            _ => Err(self.error_before(format!("`{context}` stands alone with what belongs to it"))),
        }
    }

    /// The line of the token that comes next.
    fn line(&self) -> usize {
        self.peek().or(self.tokens.last()).map_or(1, |token| token.line)
    }

    /// An error at the token that was read last.
    fn error_before(&self, message: impl Into<String>) -> TemplateError {
        let token = self.tokens.get(self.at.saturating_sub(1)).or(self.tokens.last());
        TemplateError::at(&self.file, token.map_or(1, |token| token.line), message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse("t", text).err().expect("an error").to_string()
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        assert_eq!(error("\n{{ if .a }}"), "t:2: an `end` is missing");
        assert_eq!(error("\n{{ end }}"), "t:2: there is nothing that this ends");
        assert_eq!(error("{{ if .a }}{{ else }}{{ else }}{{ end }}"), "t:1: this `if` has an `else` already");
        assert_eq!(error("{{ if }}x{{ end }}"), "t:1: this if lacks a value");
        assert_eq!(error("{{ $x }}"), "t:1: there is no variable $x");
        assert_eq!(error("{{ $x = 1 }}"), "t:1: there is no variable $x");
        assert_eq!(error("{{ $a, $b := .x }}"), "t:1: only a `range` has two variables");
        assert_eq!(error("{{ .x | 3 }}"), "t:1: what stands after a `|` is a function");
        assert_eq!(error("{{ quote\"x\" }}"), "t:1: `\"` has no place after `quote`");
        assert_eq!(error("{{ (.x)\"y\" }}"), "t:1: a space is missing before `\"y\"`");
        assert_eq!(error("{{ 010 }}"), "t:1: `010` is no decimal number");
        assert_eq!(error("{{ define \"x\" }}"), "t:1: an `end` is missing");
        assert_eq!(error("{{ if .a }}{{ define \"x\" }}"), "t:1: a `define` stands outside of every block");
        assert_eq!(error("{{ if .a }}{{ else with .b }}{{ end }}"), "t:1: `with` has no place here");
        assert_eq!(error("{{ template \"x\" . }}"), "t:1: `template` is not known here");
        assert!(
            error("{{ env \"HOME\" }}")
                .starts_with("t:1: there is no function `env` here; there are add, and, ")
        );
    }

    #[test]
    fn a_variable_ends_with_its_block() {
        assert_eq!(error("{{ if .a }}{{ $x := 1 }}{{ end }}{{ $x }}"), "t:1: there is no variable $x");
        assert_eq!(
            error("{{ if .a }}{{ $x := 1 }}{{ else }}{{ $x }}{{ end }}"),
            "t:1: there is no variable $x"
        );
        assert_eq!(error("{{ with $x := .a }}{{ end }}{{ $x }}"), "t:1: there is no variable $x");
        assert_eq!(error("{{ $x := 1 }}{{ define \"d\" }}{{ $x }}{{ end }}"), "t:1: there is no variable $x");
        assert!(parse("t", "{{ with $x := .a }}{{ else }}{{ $x }}{{ end }}").is_ok());
    }
}
