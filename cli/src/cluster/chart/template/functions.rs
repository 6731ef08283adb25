//! The functions that the chart uses, as helm has them: Go's own, sprig's and helm's.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::print::{formatted, plain, quoted};
use super::{Evaluation, TemplateError};
use crate::cluster::chart::value::Value;
use crate::cluster::chart::yaml;

/// Why a function has no value.
#[derive(Debug)]
pub(in crate::cluster::chart) enum Trouble {
    /// What was given does not fit, or the template says so itself.
    Told(String),
    /// Somebody outside did not answer.
    Outside(String, anyhow::Error),
    /// A template that it runs failed.
    Within(TemplateError),
}

impl From<String> for Trouble {
    fn from(message: String) -> Self {
        Self::Told(message)
    }
}

impl From<&str> for Trouble {
    fn from(message: &str) -> Self {
        Self::Told(message.to_owned())
    }
}

impl From<TemplateError> for Trouble {
    fn from(error: TemplateError) -> Self {
        Self::Within(error)
    }
}

type Answer = Result<Value, Trouble>;

/// A function.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    least: usize,
    most: usize,
    pub(super) call: Call,
}

impl Function {
    /// Whether it can be given so many arguments.
    pub(super) fn takes(&self, count: usize) -> bool {
        (self.least..=self.most).contains(&count)
    }
}

/// How a function comes to its value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    /// Argument by argument up to the first that is not true.
    And,
    /// Argument by argument up to the first that is true.
    Or,
    /// With all its arguments.
    Plain(fn(&Evaluation<'_>, &[Value]) -> Answer),
}

const ANY: usize = usize::MAX;

/// By name, how many arguments it takes, and what it does.
const FUNCTIONS: &[Function] = &[
    plainly("add", 0, ANY, |_, given| sum(given)),
    Function { name: "and", least: 1, most: ANY, call: Call::And },
    plainly("b64enc", 1, 1, |_, given| Ok(Value::text(STANDARD.encode(text(&given[0])?.as_bytes())))),
    plainly("default", 1, 2, |_, given| Ok(default(given))),
    plainly("dict", 0, ANY, |_, given| dict(given)),
    plainly("div", 2, 2, |_, given| divide(given)),
    plainly("eq", 2, ANY, |_, given| equal(given).map(Value::Bool)),
    plainly("fail", 1, 1, |_, given| Err(Trouble::Told(text(&given[0])?.to_string()))),
    plainly("has", 2, 2, |_, given| has(&given[0], &given[1])),
    plainly("include", 2, 2, |evaluation, given| {
        Ok(Value::text(evaluation.run(text(&given[0])?, &given[1])?))
    }),
    plainly("index", 1, ANY, |_, given| index(given)),
    plainly("int", 1, 1, |_, given| whole(&given[0]).map(Value::Int)),
    plainly("le", 2, 2, |_, given| less_or_equal(&given[0], &given[1])),
    plainly("list", 0, ANY, |_, given| Ok(Value::list(given.iter().cloned()))),
    plainly("lookup", 4, 4, look_up),
    plainly("ne", 2, 2, |_, given| Ok(Value::Bool(!equal(given)?))),
    plainly("nindent", 2, 2, |_, given| indent_on_new_line(&given[0], &given[1])),
    plainly("not", 1, 1, |_, given| Ok(Value::Bool(!given[0].is_true()))),
    Function { name: "or", least: 1, most: ANY, call: Call::Or },
    plainly("printf", 1, ANY, |_, given| Ok(Value::text(formatted(text(&given[0])?, &given[1..])?))),
    plainly("quote", 0, ANY, |_, given| Ok(quote(given))),
    plainly("randAlphaNum", 1, 1, random_letters),
    plainly("required", 2, 2, |_, given| required(&given[0], &given[1])),
    plainly("sha256sum", 1, 1, |_, given| Ok(digest(text(&given[0])?))),
    plainly("toString", 1, 1, |_, given| Ok(Value::text(plain(&given[0])))),
    plainly("toYaml", 1, 1, |_, given| Ok(Value::text(yaml::written(&given[0])?))),
    plainly("trunc", 2, 2, |_, given| truncate(&given[0], text(&given[1])?)),
];

const fn plainly(
    name: &'static str,
    least: usize,
    most: usize,
    call: fn(&Evaluation<'_>, &[Value]) -> Answer,
) -> Function {
    Function { name, least, most, call: Call::Plain(call) }
}

/// The function of that name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// The names of all.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|function| function.name)
}

fn text(value: &Value) -> Result<&Arc<str>, Trouble> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(format!("a text is wanted here, not {}", other.kind()).into()),
    }
}

/// A whole number out of whatever says one.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the fraction is to go; out of range, the nearest is meant"
)]
fn whole(value: &Value) -> Result<i64, Trouble> {
    match value {
        Value::Nothing => Ok(0),
        Value::Bool(value) => Ok(i64::from(*value)),
        Value::Int(value) => Ok(*value),
        Value::Float(value) => Ok(*value as i64),
        Value::Text(text) => text.parse().map_err(|_| format!("{text:?} is no whole number").into()),
        other => Err(format!("a number is wanted here, not {}", other.kind()).into()),
    }
}

/// A whole number as it stands, for a function that takes no other.
fn count(value: &Value) -> Result<usize, Trouble> {
    match value {
        Value::Int(value) => usize::try_from(*value).map_err(|_| format!("{value} is less than none").into()),
        other => Err(format!("a whole number is wanted here, not {}", other.kind()).into()),
    }
}

fn sum(given: &[Value]) -> Answer {
    given.iter().try_fold(0_i64, |sum, value| Ok(sum.wrapping_add(whole(value)?))).map(Value::Int)
}

fn divide(given: &[Value]) -> Answer {
    let (one, by) = (whole(&given[0])?, whole(&given[1])?);
    one.checked_div(by).map(Value::Int).ok_or_else(|| format!("{one} cannot be divided by {by}").into())
}

/// `default FALLBACK VALUE`
fn default(given: &[Value]) -> Value {
    given.get(1).filter(|value| value.is_true()).unwrap_or(&given[0]).clone()
}

fn dict(given: &[Value]) -> Answer {
    let (pairs, []) = given.as_chunks::<2>() else { return Err("`dict` wants a value for each key".into()) };
    let members = pairs.iter().map(|[key, value]| (Arc::from(plain(key)), value.clone()));
    Ok(Value::Map(Arc::new(members.collect())))
}

/// Whether the first equals one of the others. What is of another kind cannot be compared; what is not there can, with
/// everything.
fn equal(given: &[Value]) -> Result<bool, Trouble> {
    let one = &given[0];
    for other in &given[1..] {
        let is_equal = match (one, other) {
            (Value::Nothing, _) | (_, Value::Nothing) => one == other,
            (Value::List(_) | Value::Map(_), _) | (_, Value::List(_) | Value::Map(_)) => {
                return Err(incomparable(one, other));
            }
            _ if std::mem::discriminant(one) != std::mem::discriminant(other) => {
                return Err(incomparable(one, other));
            }
            _ => one == other,
        };
        if is_equal {
            return Ok(true);
        }
    }
    Ok(false)
}

fn less_or_equal(one: &Value, other: &Value) -> Answer {
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => Ok(Value::Bool(one <= other)),
        (Value::Float(one), Value::Float(other)) => Ok(Value::Bool(one <= other)),
        (Value::Text(one), Value::Text(other)) => Ok(Value::Bool(one <= other)),
        _ => Err(incomparable(one, other)),
    }
}

fn incomparable(one: &Value, other: &Value) -> Trouble {
    format!("{} cannot be compared with {}", one.kind(), other.kind()).into()
}

fn has(needle: &Value, haystack: &Value) -> Answer {
    match haystack {
        Value::Nothing => Ok(Value::Bool(false)),
        Value::List(items) => Ok(Value::Bool(items.contains(needle))),
        other => Err(format!("`has` looks into a list, not into {}", other.kind()).into()),
    }
}

fn index(given: &[Value]) -> Answer {
    let mut found = &given[0];
    for key in &given[1..] {
        found = match (found, key) {
            (Value::Map(members), Value::Text(key)) => members.get(key).unwrap_or(&Value::Nothing),
            (Value::List(items), Value::Int(_)) => {
                let place = count(key)?;
                items.get(place).ok_or_else(|| format!("the list has no place {place}"))?
            }
            (found, key) => {
                return Err(format!("{} has no member by {}", found.kind(), key.kind()).into());
            }
        };
    }
    if found.is_something() || given.len() > 1 { Ok(found.clone()) } else { Err("`index` of nothing".into()) }
}

fn look_up(evaluation: &Evaluation<'_>, given: &[Value]) -> Answer {
    let (version, kind) = (text(&given[0])?, text(&given[1])?);
    let (namespace, name) = (text(&given[2])?, text(&given[3])?);
    match (evaluation.outside.lookup)(version, kind, namespace, name) {
        // What is not there is an empty map, and so no condition is true of it.
        Ok(serde_json::Value::Null) => Ok(Value::map([])),
        Ok(found) => Ok(Value::from(&found)),
        Err(cause) => Err(Trouble::Outside(format!("could not look up {kind} {namespace}/{name}"), cause)),
    }
}

fn indent_on_new_line(width: &Value, value: &Value) -> Answer {
    let pad = " ".repeat(count(width)?);
    let indented = text(value)?.replace('\n', &format!("\n{pad}"));
    Ok(Value::text(format!("\n{pad}{indented}")))
}

fn quote(given: &[Value]) -> Value {
    let there = given.iter().filter(|value| value.is_something());
    Value::text(there.map(|value| quoted(&plain(value))).collect::<Vec<_>>().join(" "))
}

fn random_letters(evaluation: &Evaluation<'_>, given: &[Value]) -> Answer {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let letter = |number: u64| {
        // The high part of the product: as even as 64 bits allow.
        let place = (u128::from(number) * LETTERS.len() as u128) >> 64;
        char::from(LETTERS[usize::try_from(place).expect("less than the number of letters")])
    };
    let letters = (0..count(&given[0])?).map(|_| letter((evaluation.outside.random)()));
    Ok(Value::text(letters.collect::<String>()))
}

fn required(message: &Value, value: &Value) -> Answer {
    match value {
        Value::Nothing => Err(Trouble::Told(text(message)?.to_string())),
        Value::Text(empty) if empty.is_empty() => Err(Trouble::Told(text(message)?.to_string())),
        there => Ok(there.clone()),
    }
}

fn digest(text: &str) -> Value {
    let bytes = Sha256::digest(text.as_bytes());
    Value::text(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn truncate(length: &Value, text: &str) -> Answer {
    let length = count(length)?;
    if text.len() <= length {
        return Ok(Value::text(text));
    }
    match text.get(..length) {
        Some(start) => Ok(Value::text(start)),
        None => Err(format!("byte {length} is within a letter of {text:?}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_in_order_and_each_is_there_once() {
        assert!(names().is_sorted_by(|one, other| one < other));
        assert!(names().all(|name| find(name).is_some()));
    }

    #[test]
    fn numbers_are_taken_out_of_what_says_one() {
        let told = [Value::Nothing, Value::Bool(true), Value::Float(-2.9), Value::text("12")];
        assert_eq!(told.map(|value| whole(&value).unwrap()), [0, 1, -2, 12]);
        assert!(whole(&Value::text("a")).is_err() && whole(&Value::map([])).is_err());
    }

    #[test]
    fn only_what_is_of_one_kind_is_compared() {
        let (one, float, word) = (Value::Int(1), Value::Float(1.0), Value::text("1"));
        assert!(
            equal(&[one.clone(), float.clone()]).is_err() && equal(&[one.clone(), word.clone()]).is_err()
        );
        assert!(equal(&[Value::list([]), Value::list([])]).is_err());
        assert!(!equal(&[Value::Nothing, word.clone()]).unwrap());
        assert!(equal(&[word.clone(), Value::text("2"), word]).unwrap());
        assert!(less_or_equal(&one, &float).is_err());
    }
}
