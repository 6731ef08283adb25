//! From text to a value, with the line of each key.

use std::collections::BTreeMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::scalar::{Scalar, resolve};
use crate::cluster::chart::value::{Members, Value};

/// A document.
#[derive(Debug, Default)]
pub(in crate::cluster::chart) struct Document {
    /// What it says.
    pub(in crate::cluster::chart) value: Value,
    /// The line of every key, by its JSON pointer. Counted from 1.
    pub(in crate::cluster::chart) lines: BTreeMap<String, usize>,
}

/// Where something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster::chart) struct Place {
    /// Counted from 1.
    pub(in crate::cluster::chart) line: usize,
    /// Counted from 1.
    pub(in crate::cluster::chart) column: usize,
}

/// Why a text is no YAML, or not what Kubernetes takes for it.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(in crate::cluster::chart) struct ReadError {
    pub(in crate::cluster::chart) place: Place,
    pub(in crate::cluster::chart) what: String,
}

impl From<ScanError> for ReadError {
    fn from(error: ScanError) -> Self {
        let marker = error.marker();
        let place = Place { line: marker.line(), column: marker.col() + 1 };
        Self { place, what: error.info().to_owned() }
    }
}

/// The one document in the text of a settings file, with the lines of its keys. A key that a map has twice is a slip of
/// whoever wrote it, and refused.
///
/// # Errors
/// When it is no YAML, has a second document, or a key that is there twice, or is a list or a map.
pub(in crate::cluster::chart) fn settings(text: &str) -> Result<Document, ReadError> {
    let mut reader = Reader { lines: Some(Lines::default()), ..Reader::of(text)? };
    Ok(Document { value: reader.document()?, lines: reader.lines.unwrap_or_default().found })
}

/// The one document in a text that a template made; one without content is nothing. Of a key that a map has twice the
/// last one holds.
///
/// # Errors
/// When it is no YAML, has a second document, or a key that is a list or a map.
pub(in crate::cluster::chart) fn made(text: &str) -> Result<Value, ReadError> {
    Reader::of(text)?.document()
}

/// A control character is to be escaped, wherever it stands.
fn check_letters(text: &str) -> Result<(), ReadError> {
    let can_stand = |letter: char| !letter.is_control() || matches!(letter, '\t' | '\n' | '\r' | '\u{85}');
    match text.char_indices().find(|(_, letter)| !can_stand(*letter)) {
        None => Ok(()),
        Some((at, letter)) => {
            let (above, before) = text[..at].rsplit_once('\n').unwrap_or(("", &text[..at]));
            let is_first = before.len() == at;
            let line = above.matches('\n').count() + if is_first { 1 } else { 2 };
            let place = Place { line, column: before.chars().count() + 1 };
            Err(ReadError {
                place,
                what: format!("the control character U+{:04X} is to be escaped", u32::from(letter)),
            })
        }
    }
}

struct Reader<'t> {
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
    /// What is named, and of how many nodes it is.
    anchors: BTreeMap<usize, (Value, usize)>,
    /// Where keys are, when that is asked for.
    lines: Option<Lines>,
    depth: usize,
    /// The nodes so far, those of an alias counted each time.
    size: usize,
}

#[derive(Default)]
struct Lines {
    /// Where the reader is, as a JSON pointer.
    path: String,
    found: BTreeMap<String, usize>,
}

/// Nobody's settings are so deep.
const DEPTH_MAX: usize = 100;
/// Nor are they so many; a few names within names can stand for more than there is memory.
const SIZE_MAX: usize = 1_000_000;

impl<'t> Reader<'t> {
    fn of(text: &'t str) -> Result<Self, ReadError> {
        check_letters(text)?;
        let events = Parser::new_from_str(text);
        Ok(Self { events, anchors: BTreeMap::new(), lines: None, depth: 0, size: 0 })
    }

    fn document(&mut self) -> Result<Value, ReadError> {
        let mut value = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(value.unwrap_or_default()),
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                _ if value.is_some() => return Err(refused(span, "a second document in one file")),
                event => value = Some(self.node(event, span)?),
            }
        }
    }

    /// Notes that the reader goes to the member `name` of where it is.
    fn enter(&mut self, name: &str, span: Span) -> Result<(), ReadError> {
        let Some(lines) = &mut self.lines else { return Ok(()) };
        lines.path.push('/');
        lines.path.push_str(&name.replace('~', "~0").replace('/', "~1"));
        match lines.found.insert(lines.path.clone(), span.start.line()) {
            None => Ok(()),
            Some(before) => Err(refused(span, &format!("`{name}` is in line {before} already"))),
        }
    }

    /// Notes that it comes back.
    fn leave(&mut self) {
        if let Some(lines) = &mut self.lines {
            lines.path.truncate(lines.path.rfind('/').unwrap_or_default());
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), ReadError> {
        match self.events.next() {
            Some(event) => Ok(event?),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span) -> Result<Value, ReadError> {
        let size_before = self.size;
        self.size += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(refused(span, "it is too deep"));
        }
        let (value, anchor) = match event {
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor);
                let (value, size) = known.ok_or_else(|| refused(span, "an alias within what it names"))?;
                self.size += size;
                (value.clone(), 0)
            }
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref(), span)?, anchor),
            Event::SequenceStart(anchor, _) => (self.list()?, anchor),
            Event::MappingStart(anchor, _) => (self.map()?, anchor),
            _ => return Err(refused(span, "a value is missing")),
        };
        self.depth -= 1;
        if self.size > SIZE_MAX {
            return Err(refused(span, "it is too much"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (value.clone(), self.size - size_before));
        }
        Ok(value)
    }

    fn list(&mut self) -> Result<Value, ReadError> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::list(items));
            }
            self.enter(&items.len().to_string(), span)?;
            items.push(self.node(event, span)?);
            self.leave();
        }
    }

    fn map(&mut self) -> Result<Value, ReadError> {
        let mut members = Members::new();
        let mut merged = Members::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                merged.extend(members);
                return Ok(Value::Map(Arc::new(merged)));
            }
            let key = key(&event, span)?;
            self.enter(key.as_deref().unwrap_or("<<"), span)?;
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span)?;
            self.leave();
            match key {
                Some(key) => {
                    members.insert(key, value);
                }
                None => merge(&mut merged, &value, span)?,
            }
        }
    }
}

/// A key's text; none for `<<`.
fn key(event: &Event<'_>, span: Span) -> Result<Option<Arc<str>>, ReadError> {
    let Event::Scalar(text, style, ..) = event else {
        return Err(refused(span, "a key that is no scalar"));
    };
    if *style != ScalarStyle::Plain {
        return Ok(Some(Arc::from(text.as_ref())));
    }
    match resolve(text) {
        _ if text == "<<" => Ok(None),
        Scalar::Text | Scalar::Time => Ok(Some(Arc::from(text.as_ref()))),
        Scalar::Value(Value::Nothing) => Err(refused(span, "a key is missing")),
        // By way of JSON: `0x10` is "16", and `yes` is "true".
        Scalar::Value(value) => Ok(Some(Arc::from(value.to_json().to_string()))),
    }
}

/// Takes over what `from`, a map or a list of maps, has and `into` has not.
fn merge(into: &mut Members, from: &Value, span: Span) -> Result<(), ReadError> {
    match from {
        Value::Map(members) => {
            for (key, value) in members.iter() {
                into.entry(Arc::clone(key)).or_insert_with(|| value.clone());
            }
            Ok(())
        }
        Value::List(maps) => maps.iter().try_for_each(|map| match map {
            Value::Map(_) => merge(into, map, span),
            _ => Err(refused(span, "`<<` takes maps")),
        }),
        _ => Err(refused(span, "`<<` takes maps")),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Result<Value, ReadError> {
    let is_resolved = match tag {
        None => style == ScalarStyle::Plain,
        Some(tag) => tag.is_yaml_core_schema() && matches!(&*tag.suffix, "int" | "float" | "bool" | "null"),
    };
    // A tag that nobody knows leaves the text as it is.
    if !is_resolved {
        return Ok(Value::text(text));
    }
    match (resolve(text), tag.map(|tag| &*tag.suffix)) {
        (Scalar::Value(value), None) => Ok(value),
        (Scalar::Text | Scalar::Time, None) => Ok(Value::text(text)),
        (Scalar::Value(value @ Value::Int(_)), Some("int")) => Ok(value),
        (Scalar::Value(value @ (Value::Int(_) | Value::Float(_))), Some("float")) => Ok(value.with_floats()),
        (Scalar::Value(value @ Value::Bool(_)), Some("bool")) => Ok(value),
        (Scalar::Value(Value::Nothing), Some("null")) => Ok(Value::Nothing),
        (_, Some(kind)) => Err(refused(span, &format!("`{text}` is no {kind}"))),
    }
}

fn refused(span: Span, what: &str) -> ReadError {
    let place = Place { line: span.start.line(), column: span.start.col() + 1 };
    ReadError { place, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> serde_json::Value {
        settings(text).unwrap().value.to_json()
    }

    fn error(text: &str) -> String {
        let error = settings(text).unwrap_err();
        format!("{}:{}: {error}", error.place.line, error.place.column)
    }

    #[test]
    fn values_are_what_kubernetes_takes_them_for() {
        assert_eq!(
            value(
                "a: yes\nb: 'yes'\nc: 0x10\nd: 2001-01-01\ne: |\n  x\nf: !!str 1\ng: [!!int '2', !own 3]\n7: [1.0, ~, <<]\non: {}\n"
            ),
            json!({"a": true, "b": "yes", "c": 16, "d": "2001-01-01", "e": "x\n", "f": "1", "g": [2, "3"], "7": [1, null, "<<"], "true": {}})
        );
        assert_eq!(value("# nothing\n"), json!(null));
        assert_eq!(value("---\na: 1\n"), json!({"a": 1}));
    }

    #[test]
    fn what_is_named_is_there_again() {
        let text = "a: &a {x: 1, w: 2}\nb: *a\nc:\n  <<: *a\n  x: 3\nd:\n  x: 4\n  <<: [{z: 5}, *a]\n";
        let a = json!({"x": 1, "w": 2});
        let wanted = json!({"a": a, "b": a, "c": {"x": 3, "w": 2}, "d": {"x": 4, "w": 2, "z": 5}});
        assert_eq!(value(text), wanted);
    }

    #[test]
    fn what_would_fill_the_memory_is_refused() {
        let mut text = String::from("a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
        for level in 1..9 {
            let name = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![name; 9].join(", ")));
        }
        assert_eq!(error(&text), "7:10: it is too much");
        assert_eq!(error(&format!("{}{}", "[".repeat(101), "]".repeat(101))), "1:101: it is too deep");
        assert_eq!(error("a: &a [*a]\n"), "1:8: an alias within what it names");
    }

    #[test]
    fn every_key_has_its_line() {
        let document = settings("a: 1\nb:\n  - c/d: 2\n\n  - x\n").unwrap();
        let lines: Vec<(&str, usize)> =
            document.lines.iter().map(|(path, line)| (path.as_str(), *line)).collect();
        assert_eq!(lines, [("/a", 1), ("/b", 2), ("/b/0", 3), ("/b/0/c~1d", 3), ("/b/1", 5)]);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        assert_eq!(error("a: 1\nb: 2\na: 3\n"), "3:1: `a` is in line 1 already");
        assert_eq!(error("a: {[x]: 1}\n"), "1:5: a key that is no scalar");
        assert_eq!(error("a: !!int x\n"), "1:4: `x` is no int");
        assert_eq!(error("a: 1\n---\nb: 2\n"), "3:1: a second document in one file");
        assert_eq!(error("<<: 1\n"), "1:1: `<<` takes maps");
        assert!(error("a: [1\nb: 2\n").starts_with("2:"));
        assert_eq!(error("a: 1\nb: \u{7f}\n"), "2:4: the control character U+007F is to be escaped");
        assert_eq!(error("\u{1}"), "1:1: the control character U+0001 is to be escaped");
        assert_eq!(made("a: 1\na: 2\n").unwrap().to_json(), json!({"a": 2}));
    }
}
