//! From a value to text, letter by letter as helm's `toYaml`: checksums over such text name Jobs and start pods.
//!
//! Lists stand at the indent of their key, keys come in an order that knows numbers, a line of more than 80 letters is
//! broken at its next space, and what would mean something else stands in quotes.

use std::cmp::Ordering;

use super::scalar::{Scalar, is_sexagesimal, resolve};
use crate::cluster::chart::template::float;
use crate::cluster::chart::value::Value;

/// After so many letters a line is broken where it can be.
const WIDTH: usize = 80;
const STEP: usize = 2;
/// A key that is longer is written as `? key`.
const KEY_LENGTH_MAX: usize = 128;

/// The text of `value`, without a newline at its end.
///
/// # Errors
/// When a text has a letter that YAML cannot say.
pub(in crate::cluster::chart) fn written(value: &Value) -> Result<String, String> {
    let mut writer = Writer { text: String::new(), column: 0, is_apart: true, is_at_indent: true };
    writer.node(value, None, Within::Nothing)?;
    writer.break_to(0);
    if writer.text.ends_with('\n') {
        writer.text.pop();
    }
    Ok(writer.text)
}

/// What a node stands in.
#[derive(Clone, Copy, PartialEq)]
enum Within {
    Nothing,
    List,
    /// After the colon of a key.
    Map,
    /// Before it.
    Key,
}

/// How a text is written.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

struct Writer {
    text: String,
    /// Of the line, in letters.
    column: usize,
    /// Whether the last thing was a space, or stood where none is needed after it.
    is_apart: bool,
    /// Whether nothing but indent and dashes is in the line.
    is_at_indent: bool,
}

impl Writer {
    /// `indent` is that of whatever the node stands in; none at the top.
    fn node(&mut self, value: &Value, indent: Option<usize>, within: Within) -> Result<(), String> {
        match value {
            Value::List(items) if items.is_empty() => self.word("[]"),
            Value::Map(members) if members.is_empty() => self.word("{}"),
            Value::List(items) => {
                let is_level_with_key = within == Within::Map && !self.is_at_indent;
                let indent =
                    indent.map_or(0, |indent| if is_level_with_key { indent } else { indent + STEP });
                for item in items.iter() {
                    self.break_to(indent);
                    self.sign("-", true);
                    self.node(item, Some(indent), Within::List)?;
                }
            }
            Value::Map(members) => {
                let indent = indent.map_or(0, |indent| indent + STEP);
                let mut members: Vec<_> = members.iter().collect();
                members.sort_by(|(one, _), (other, _)| natural(one, other));
                for (key, value) in members {
                    self.break_to(indent);
                    self.key(key, indent)?;
                    self.node(value, Some(indent), Within::Map)?;
                }
            }
            scalar => self.scalar(scalar, indent, within)?,
        }
        Ok(())
    }

    fn key(&mut self, key: &str, indent: usize) -> Result<(), String> {
        let key_value = Value::text(key);
        if key.len() <= KEY_LENGTH_MAX && !key.contains(is_break) {
            self.scalar(&key_value, Some(indent), Within::Key)?;
            self.append(":");
            self.is_at_indent = false;
        } else {
            self.sign("?", true);
            self.scalar(&key_value, Some(indent), Within::Map)?;
            self.break_to(indent);
            self.sign(":", true);
        }
        self.is_apart = false;
        Ok(())
    }

    fn scalar(&mut self, value: &Value, indent: Option<usize>, within: Within) -> Result<(), String> {
        match value {
            Value::Nothing => self.word("null"),
            Value::Bool(value) => self.word(&value.to_string()),
            Value::Int(value) => self.word(&value.to_string()),
            Value::Float(value) => self.word(&number(*value)?),
            Value::Text(text) => {
                if let Some(letter) = text.chars().find(|letter| !can_be_read(*letter)) {
                    return Err(format!("YAML cannot say U+{:04X}, which is in {text:?}", u32::from(letter)));
                }
                let indent = indent.map_or(STEP, |indent| indent + STEP);
                match style(text, within == Within::Key) {
                    Style::Plain => self.plain(text, indent, within != Within::Key),
                    Style::Single => self.single(text, indent, within != Within::Key),
                    Style::Double => self.double(text, indent, within != Within::Key),
                    Style::Literal => self.literal(text, indent),
                }
            }
            Value::List(_) | Value::Map(_) => {}
        }
        Ok(())
    }

    /// A line that is longer than it should be goes on in the next one at a space that stands alone.
    fn plain(&mut self, text: &str, indent: usize, may_break: bool) {
        self.space();
        self.broken(text, indent, |column, before, next| {
            may_break && column > WIDTH && before != Some(' ') && next != Some(' ')
        });
        self.is_apart = false;
        self.is_at_indent = false;
    }

    fn single(&mut self, text: &str, indent: usize, may_break: bool) {
        self.sign("'", false);
        self.broken(&text.replace('\'', "''"), indent, |column, before, next| {
            let is_inside = before.is_some() && next.is_some();
            may_break && column > WIDTH && is_inside && before != Some(' ') && next != Some(' ')
        });
        self.append("'");
        self.is_apart = false;
        self.is_at_indent = false;
    }

    /// Appends `text`, with a new line for each space at which `breaks` says so, given the column and the letters around.
    fn broken(
        &mut self,
        text: &str,
        indent: usize,
        breaks: impl Fn(usize, Option<char>, Option<char>) -> bool,
    ) {
        let mut before = None;
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            if letter == ' ' && breaks(self.column, before, letters.peek().copied()) {
                self.break_to(indent);
            } else {
                self.letter(letter);
                self.is_at_indent = false;
            }
            before = Some(letter);
        }
    }

    fn double(&mut self, text: &str, indent: usize, may_break: bool) {
        self.sign("\"", false);
        let mut before = None;
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            let is_inside = before.is_some() && letters.peek().is_some();
            if !is_printable(letter) || is_break(letter) || matches!(letter, '"' | '\\') {
                let escaped = escaped(letter);
                self.append(&escaped);
                before = Some(letter);
            } else if letter == ' ' && may_break && before != Some(' ') && self.column > WIDTH && is_inside {
                self.is_at_indent = false;
                self.break_to(indent);
                if letters.peek() == Some(&' ') {
                    self.append("\\");
                }
                before = Some(' ');
            } else {
                self.letter(letter);
                before = Some(letter);
            }
        }
        self.append("\"");
        self.is_apart = false;
        self.is_at_indent = false;
    }

    fn literal(&mut self, text: &str, indent: usize) {
        let first = text.chars().next();
        let mut sign = String::from("|");
        if first == Some(' ') || first.is_some_and(is_break) {
            sign.push_str(&STEP.to_string());
        }
        let mut back = text.chars().rev();
        match (back.next().is_some_and(is_break), back.next().is_none_or(is_break)) {
            (false, _) => sign.push('-'),
            (true, true) => sign.push('+'),
            (true, false) => {}
        }
        self.sign(&sign, false);
        self.newline();
        self.is_apart = true;
        let mut is_fresh = true;
        for letter in text.chars() {
            if letter == '\n' {
                self.newline();
                is_fresh = true;
            } else {
                if is_fresh {
                    self.break_to(indent);
                }
                self.letter(letter);
                self.is_at_indent = false;
                is_fresh = false;
            }
        }
    }

    /// A word that needs no quotes.
    fn word(&mut self, word: &str) {
        self.sign(word, false);
    }

    /// A sign of the grammar, a space before it where one is needed. A dash leaves the line at its indent.
    fn sign(&mut self, sign: &str, is_indent: bool) {
        self.space();
        self.append(sign);
        self.is_apart = false;
        self.is_at_indent &= is_indent;
    }

    fn space(&mut self) {
        if !self.is_apart {
            self.append(" ");
        }
    }

    /// To the indent: in this line where it is not past it, else in the next.
    fn break_to(&mut self, indent: usize) {
        if !self.is_at_indent || self.column > indent || (self.column == indent && !self.is_apart) {
            self.newline();
        }
        while self.column < indent {
            self.letter(' ');
        }
        self.is_apart = true;
        self.is_at_indent = true;
    }

    fn newline(&mut self) {
        self.text.push('\n');
        self.column = 0;
        self.is_at_indent = true;
    }

    fn append(&mut self, text: &str) {
        text.chars().for_each(|letter| self.letter(letter));
    }

    fn letter(&mut self, letter: char) {
        self.text.push(letter);
        self.column += 1;
    }
}

/// A number as it is after JSON: a whole one without a point, whatever it was before.
fn number(value: f64) -> Result<String, String> {
    if !value.is_finite() {
        return Err(format!("{value} is no number in JSON"));
    }
    let is_scientific = value != 0.0 && !(1e-6..1e21).contains(&value.abs());
    Ok(match value {
        0.0 => "0".to_owned(),
        _ if value.fract() == 0.0 && !is_scientific => format!("{value}"),
        _ => float(value),
    })
}

fn style(text: &str, is_key: bool) -> Style {
    let facts = Facts::of(text);
    let means_itself = resolve(text) == Scalar::Text && !is_sexagesimal(text);
    let wanted = if text.contains('\n') {
        Style::Literal
    } else if means_itself {
        Style::Plain
    } else {
        Style::Double
    };
    match wanted {
        _ if is_key && facts.has_break => Style::Double,
        Style::Plain if facts.can_be_plain => Style::Plain,
        Style::Plain if facts.can_be_single => Style::Single,
        Style::Literal if facts.can_be_literal && !is_key => Style::Literal,
        _ => Style::Double,
    }
}

/// What decides how a text may be written.
struct Facts {
    has_break: bool,
    can_be_plain: bool,
    can_be_single: bool,
    can_be_literal: bool,
}

impl Facts {
    fn of(text: &str) -> Self {
        let first = text.chars().next();
        let last = text.chars().next_back();
        let is_edge = |letter: Option<char>| letter.is_some_and(|letter| letter == ' ' || is_break(letter));
        let has_pair = |one: fn(char) -> bool, other: fn(char) -> bool| {
            text.chars().zip(text.chars().skip(1)).any(|(before, after)| one(before) && other(after))
        };
        let is_space = |letter: char| letter == ' ';
        let has_break = text.contains(is_break);
        let has_break_space = has_pair(is_break, is_space);
        let is_odd = has_pair(is_space, is_break) || !text.chars().all(is_printable);
        Self {
            has_break,
            can_be_plain: !(is_edge(first) || is_edge(last) || has_break || is_odd || has_indicator(text)),
            can_be_single: !(has_break_space || is_odd),
            can_be_literal: last != Some(' ') && !is_odd,
        }
    }
}

/// Whether a sign in the text would mean something where it stands.
fn has_indicator(text: &str) -> bool {
    if text.starts_with("---") || text.starts_with("...") {
        return true;
    }
    let is_blank = |letter: Option<char>| letter.is_none_or(|letter| matches!(letter, ' ' | '\t'));
    let mut letters = text.chars().peekable();
    let mut before = None;
    while let Some(letter) = letters.next() {
        let after = letters.peek().copied();
        let means = match letter {
            '#' => before.is_none_or(|before: char| matches!(before, ' ' | '\t' | '\0') || is_break(before)),
            ':' => is_blank(after),
            '?' | '-' => before.is_none() && is_blank(after),
            ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => {
                before.is_none()
            }
            _ => false,
        };
        if means {
            return true;
        }
        before = Some(letter);
    }
    false
}

/// Whether it is written as it is, in quotes too.
fn is_printable(letter: char) -> bool {
    matches!(letter, '\n' | ' '..='~' | '\u{a0}'..='\u{fffd}') && letter != '\u{feff}'
}

fn is_break(letter: char) -> bool {
    matches!(letter, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether a reader takes it, be it escaped.
fn can_be_read(letter: char) -> bool {
    !matches!(letter, '\u{7f}'..='\u{9f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn escaped(letter: char) -> String {
    let code = u32::from(letter);
    match letter {
        '\0' => "\\0".to_owned(),
        '\x07' => "\\a".to_owned(),
        '\x08' => "\\b".to_owned(),
        '\t' => "\\t".to_owned(),
        '\n' => "\\n".to_owned(),
        '\x0b' => "\\v".to_owned(),
        '\x0c' => "\\f".to_owned(),
        '\r' => "\\r".to_owned(),
        '\x1b' => "\\e".to_owned(),
        '"' | '\\' => format!("\\{letter}"),
        '\u{2028}' => "\\L".to_owned(),
        '\u{2029}' => "\\P".to_owned(),
        _ if code <= 0xff => format!("\\x{code:02X}"),
        _ if code <= 0xffff => format!("\\u{code:04X}"),
        _ => format!("\\U{code:08X}"),
    }
}

/// The order of keys: letters after other signs, and digits by the number that they make.
fn natural(one: &str, other: &str) -> Ordering {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let Some(at) = one.iter().zip(&other).position(|(one, other)| one != other) else {
        return one.len().cmp(&other.len());
    };
    let (a, b) = (one[at], other[at]);
    match (a.is_alphabetic(), b.is_alphabetic()) {
        (true, true) => return a.cmp(&b),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // A zero within a number is a digit like others: the numbers before it are the same, so their lengths decide.
    let is_within = |letters: &[char]| {
        letters[..at].iter().rev().take_while(|letter| letter.is_ascii_digit()).any(|digit| *digit != '0')
    };
    let start = i64::from((a == '0' || b == '0') && is_within(&one));
    let (one_number, one_end) = number_at(&one, at, start);
    let (other_number, other_end) = number_at(&other, at, start);
    one_number.cmp(&other_number).then(one_end.cmp(&other_end)).then(a.cmp(&b))
}

/// The number whose digits go on at `at`, begun with `start`, and where it ends.
fn number_at(letters: &[char], at: usize, start: i64) -> (i64, usize) {
    let digits: Vec<u32> = letters[at..].iter().map_while(|letter| letter.to_digit(10)).collect();
    let number =
        digits.iter().fold(start, |number, digit| number.wrapping_mul(10).wrapping_add(i64::from(*digit)));
    (number, at + digits.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn yaml(json: &serde_json::Value) -> String {
        written(&Value::from(json)).unwrap()
    }

    #[test]
    fn lists_stand_level_with_their_key() {
        let value = json!({"a": [1, {"b": [], "c": {}}, [true, [null]]], "d": {"e": "f"}});
        insta::assert_snapshot!(yaml(&value), @"
        a:
        - 1
        - b: []
          c: {}
        - - true
          - - null
        d:
          e: f
        ");
        assert_eq!(
            (yaml(&json!([])), yaml(&json!({})), yaml(&json!("x"))),
            ("[]".into(), "{}".into(), "x".into())
        );
    }

    #[test]
    fn what_would_mean_something_else_stands_in_quotes() {
        for (text, wanted) in [
            ("", r#""""#),
            ("yes", r#""yes""#),
            ("1", r#""1""#),
            ("0x1", r#""0x1""#),
            ("1:20", r#""1:20""#),
            ("2001-01-01", r#""2001-01-01""#),
            ("<<", "<<"),
            ("=", "="),
            ("500m", "500m"),
            ("a: b", "'a: b'"),
            ("a:b", "a:b"),
            ("a #b", "'a #b'"),
            ("a#b", "a#b"),
            ("- a", "'- a'"),
            ("-a", "-a"),
            ("it's", "it's"),
            ("'s", "'''s'"),
            ("{a}", "'{a}'"),
            (" a", "' a'"),
            ("a\tb", r#""a\tb""#),
            ("😀", r#""\U0001F600""#),
            ("é", "é"),
            ("a\u{2028}b", "'a\u{2028}b'"),
            ("a\nb", "|-\n  a\n  b"),
            ("a\nb\n", "|\n  a\n  b"),
            ("a\n\n", "|+\n  a\n"),
            (" a\nb", "|2-\n   a\n  b"),
            ("a \nb", r#""a \nb""#),
            ("a\n b ", r#""a\n b ""#),
        ] {
            assert_eq!(yaml(&json!(text)), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_long_line_is_broken_at_its_next_space() {
        let words = "abcdefghi ".repeat(10);
        assert_eq!(yaml(&json!({"k": words.trim()})), format!("k: {}\n  {}", &words[..79], &words[80..99]));
        assert_eq!(yaml(&json!({ words.trim(): 1 })), format!("{}: 1", words.trim()));
    }

    #[test]
    fn keys_are_in_the_order_of_people() {
        let keys = ["a10", "a2", "b", "1", "10", "2", "a-b", "a_b", "ab", "A", "a02", "a"];
        let mut sorted = keys;
        sorted.sort_by(|one, other| natural(one, other));
        assert_eq!(sorted, ["1", "2", "10", "A", "a", "a-b", "a_b", "a2", "a02", "a10", "ab", "b"]);
    }

    #[test]
    fn numbers_are_those_of_json() {
        let told = [1.0, 1.5, 1e6, 1e21, -0.0, 1e-7, 123_456_789.5]
            .map(|number| written(&Value::Float(number)).unwrap());
        assert_eq!(told, ["1", "1.5", "1000000", "1e+21", "0", "1e-07", "1.234567895e+08"]);
    }

    #[test]
    fn what_yaml_cannot_say_is_refused() {
        assert_eq!(
            written(&Value::text("a\u{7f}")).unwrap_err(),
            "YAML cannot say U+007F, which is in \"a\\u{7f}\""
        );
    }
}
