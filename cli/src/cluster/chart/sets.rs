//! Values by name and value, as `--set` has them: `slots.order.live=b,image.pullSecrets={one,two}`.
//!
//! A comma separates, a dot goes into a map, `[0]` into a list, `{a,b}` is a list, and a backslash takes away what the
//! next letter means. `true`, `false`, `null` and whole numbers are what they say, everything else is text.

use std::iter::Peekable;
use std::str::Chars;
use std::sync::Arc;

use super::value::{Members, Value};

/// So far a list may be filled up to a place that is named.
const PLACE_MAX: usize = 65536;

/// Puts what `text` says into `values`.
///
/// # Errors
/// When it is no list of names and values, or goes into what is no map or list.
pub(super) fn set(values: &mut Value, text: &str) -> Result<(), String> {
    let mut letters = text.chars().peekable();
    while letters.peek().is_some() {
        let path = path(&mut letters)?;
        let value = value(&mut letters)?;
        put(values, &path, value)?;
    }
    Ok(())
}

/// A step on the way to a value.
#[derive(Debug)]
enum Step {
    Member(String),
    Place(usize),
}

fn path(letters: &mut Peekable<Chars<'_>>) -> Result<Vec<Step>, String> {
    let mut path = Vec::new();
    let mut wants_name = true;
    loop {
        let mut name = String::new();
        let end = until(letters, &mut name, &['=', '[', ',', '.'])?;
        if wants_name && name.is_empty() {
            return Err("a name is missing".to_owned());
        }
        if wants_name {
            path.push(Step::Member(name));
        }
        wants_name = end == Some('.');
        match end {
            Some('=') => return Ok(path),
            Some('.') => {}
            Some('[') => {
                path.push(Step::Place(place(letters)?));
                if !matches!(letters.peek(), Some('=' | '.' | '[')) {
                    return Err("a place is followed by `=`, `.` or another place".to_owned());
                }
            }
            _ => return Err(format!("`{}` has no value", told(&path))),
        }
    }
}

fn place(letters: &mut Peekable<Chars<'_>>) -> Result<usize, String> {
    let mut place = String::new();
    until(letters, &mut place, &[']'])?;
    match place.parse() {
        Ok(place) if place <= PLACE_MAX => Ok(place),
        _ => Err(format!("`{place}` is no place in a list")),
    }
}

fn value(letters: &mut Peekable<Chars<'_>>) -> Result<Value, String> {
    let mut text = String::new();
    if letters.peek() != Some(&'{') {
        until(letters, &mut text, &[','])?;
        return Ok(typed(&text));
    }
    letters.next();
    let mut items = Vec::new();
    loop {
        let end = until(letters, &mut text, &[',', '}'])?;
        items.push(typed(&std::mem::take(&mut text)));
        match end {
            Some('}') => break,
            Some(_) => {}
            None => return Err("a list is closed by `}`".to_owned()),
        }
    }
    letters.next_if_eq(&',');
    Ok(Value::list(items))
}

/// Reads into `read` up to one of `ends`, and tells which it was.
fn until(
    letters: &mut Peekable<Chars<'_>>,
    read: &mut String,
    ends: &[char],
) -> Result<Option<char>, String> {
    while let Some(letter) = letters.next() {
        match letter {
            end if ends.contains(&end) => return Ok(Some(end)),
            '\\' => read.push(letters.next().ok_or("a backslash is the last letter")?),
            letter => read.push(letter),
        }
    }
    Ok(None)
}

fn typed(text: &str) -> Value {
    if text.eq_ignore_ascii_case("true") {
        return Value::Bool(true);
    }
    if text.eq_ignore_ascii_case("false") {
        return Value::Bool(false);
    }
    if text.eq_ignore_ascii_case("null") {
        return Value::Nothing;
    }
    // What begins with a zero is a code, not a number.
    let is_code = text.len() > 1 && text.starts_with('0');
    match text.parse() {
        Ok(number) if !is_code => Value::Int(number),
        _ => Value::text(text),
    }
}

fn put(values: &mut Value, path: &[Step], value: Value) -> Result<(), String> {
    let mut into = values;
    for (at, step) in path.iter().enumerate() {
        let called = || told(&path[..at]);
        into = match step {
            Step::Member(name) => {
                if !into.is_something() {
                    *into = Value::Map(Arc::default());
                }
                let Value::Map(members) = into else { return Err(format!("`{}` is no map", called())) };
                let members: &mut Members = Arc::make_mut(members);
                members.entry(Arc::from(name.as_str())).or_default()
            }
            Step::Place(place) => {
                if !into.is_something() {
                    *into = Value::list([]);
                }
                let Value::List(items) = into else { return Err(format!("`{}` is no list", called())) };
                if items.len() <= *place {
                    let missing = vec![Value::Nothing; place + 1 - items.len()];
                    *items = items.iter().cloned().chain(missing).collect();
                }
                &mut Arc::make_mut(items)[*place]
            }
        };
    }
    *into = value;
    Ok(())
}

fn told(path: &[Step]) -> String {
    let mut told = String::new();
    for step in path {
        match step {
            Step::Member(name) if told.is_empty() => told.push_str(name),
            Step::Member(name) => told.push_str(&format!(".{name}")),
            Step::Place(place) => told.push_str(&format!("[{place}]")),
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn after(texts: &[&str]) -> serde_json::Value {
        let mut values = Value::map([]);
        for text in texts {
            set(&mut values, text).unwrap();
        }
        values.to_json()
    }

    fn error(text: &str) -> String {
        set(&mut Value::from(&json!({"text": "x", "list": []})), text).unwrap_err()
    }

    #[test]
    fn names_go_into_maps_and_lists() {
        assert_eq!(after(&["a.b=1,a.c=x", "a.b=2"]), json!({"a": {"b": 2, "c": "x"}}));
        assert_eq!(
            after(&["a[1].b=x", "a[0]=y", "a[1].c[0][1]=z"]),
            json!({"a": ["y", {"b": "x", "c": [[null, "z"]]}]})
        );
        assert_eq!(after(&["a={1,x},b={}", "c=1"]), json!({"a": [1, "x"], "b": [""], "c": 1}));
    }

    #[test]
    fn words_are_what_they_say() {
        let wanted = json!({"a": true, "b": false, "c": null, "d": -3, "e": 0, "f": "007", "g": "1.5", "h": "", "i": "null x"});
        assert_eq!(after(&["a=True,b=false,c=null,d=-3,e=0,f=007,g=1.5,h=,i=null x"]), wanted);
    }

    #[test]
    fn a_backslash_takes_a_meaning_away() {
        assert_eq!(after(&[r"a\.b=c\,d\\,e={f\},g}"]), json!({"a.b": "c,d\\", "e": ["f}", "g"]}));
    }

    #[test]
    fn what_cannot_be_is_told() {
        assert_eq!(error("a"), "`a` has no value");
        assert_eq!(error("a.b,c=1"), "`a.b` has no value");
        assert_eq!(error("=1"), "a name is missing");
        assert_eq!(error("a..b=1"), "a name is missing");
        assert_eq!(error("a[0].=1"), "a name is missing");
        assert_eq!(error("a[x]=1"), "`x` is no place in a list");
        assert_eq!(error("a[70000]=1"), "`70000` is no place in a list");
        assert_eq!(error("a[0]b=1"), "a place is followed by `=`, `.` or another place");
        assert_eq!(error("a={1"), "a list is closed by `}`");
        assert_eq!(error("text.a=1"), "`text` is no map");
        assert_eq!(error("list.a=1"), "`list` is no map");
        assert_eq!(error("text[0]=1"), "`text` is no list");
        assert_eq!(error("a=1\\"), "a backslash is the last letter");
    }
}
