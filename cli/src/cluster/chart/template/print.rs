//! How a value becomes text: what Go's `fmt` makes of it.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::cluster::chart::value::Value;

/// What is printed for a value that is not there. Helm takes these words out of every file in the end.
pub(in crate::cluster::chart) const NO_VALUE: &str = "<no value>";

/// The text of a value where an action prints it.
pub(super) fn printed(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Nothing => Cow::Borrowed(NO_VALUE),
        other => plain(other),
    }
}

/// The text of a value inside others, and for the functions: `%v`.
pub(super) fn plain(value: &Value) -> Cow<'_, str> {
    Cow::Owned(match value {
        Value::Text(text) => return Cow::Borrowed(text),
        Value::Nothing => return Cow::Borrowed("<nil>"),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => float(*value),
        Value::List(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Map(members) => {
            let members = members.iter().map(|(key, value)| format!("{key}:{}", plain(value)));
            format!("map[{}]", members.collect::<Vec<_>>().join(" "))
        }
    })
}

/// From this power of ten on, a float is written with an exponent.
const EXPONENT_FROM: i32 = 6;

/// A float in the fewest digits that tell it from others, with an exponent where the number is large or small: `%g`.
pub(in crate::cluster::chart) fn float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..EXPONENT_FROM).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{value}"),
    }
}

/// A text in double quotes: `%q`.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            _ if is_printable(letter) => quoted.push(letter),
            _ => {
                let code = u32::from(letter);
                let written = match code {
                    0..=0x7f => write!(quoted, "\\x{code:02x}"),
                    0x80..=0xffff => write!(quoted, "\\u{code:04x}"),
                    _ => write!(quoted, "\\U{code:08x}"),
                };
                written.expect("a String takes every write");
            }
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a letter can be seen, or is a space. The library knows it and tells it only through its way of escaping, which
/// also escapes what is drawn onto the letter before: so one is given it.
fn is_printable(letter: char) -> bool {
    if letter.is_ascii() {
        return (' '..='~').contains(&letter);
    }
    let mut pair = String::from("a");
    pair.push(letter);
    pair.escape_debug().eq(pair.chars())
}

/// `printf`. What Go would print as a complaint is an error here.
pub(super) fn formatted(format: &str, values: &[Value]) -> Result<String, String> {
    let mut text = String::new();
    let mut values = values.iter();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let verb = letters.next();
        if verb == Some('%') {
            text.push('%');
            continue;
        }
        let value = values.next().ok_or_else(|| format!("printf has no value for `{format}`"))?;
        match (verb, value) {
            (Some('s'), Value::Text(same)) => text.push_str(same),
            (Some('d'), Value::Int(number)) => text.push_str(&number.to_string()),
            (Some('q'), Value::Text(same)) => text.push_str(&quoted(same)),
            (Some('v'), value) => text.push_str(&plain(value)),
            (Some(verb @ ('s' | 'd' | 'q')), value) => {
                return Err(format!("printf cannot print {} as %{verb}", value.kind()));
            }
            _ => return Err(format!("printf knows %s, %d, %q, %v and %%, not all of `{format}`")),
        }
    }
    match values.next() {
        None => Ok(text),
        Some(_) => Err(format!("printf has more values than `{format}` prints")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn floats_are_printed_as_go_prints_them() {
        let told = [
            0.0,
            -0.0,
            1.0,
            0.5,
            100_000.0,
            999_999.0,
            1e6,
            1_234_567.0,
            1e21,
            0.0001,
            0.000_01,
            -2.5e-7,
            0.1,
        ];
        let told = told.map(float);
        let wanted = [
            "0",
            "-0",
            "1",
            "0.5",
            "100000",
            "999999",
            "1e+06",
            "1.234567e+06",
            "1e+21",
            "0.0001",
            "1e-05",
            "-2.5e-07",
            "0.1",
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn texts_are_quoted_as_go_quotes_them() {
        assert_eq!(quoted("a\"\\\n\t\r\x07\x00\x1b\x7f"), r#""a\"\\\n\t\r\a\x00\x1b\x7f""#);
        assert_eq!(quoted("é–😀 e\u{301}"), "\"é–😀 e\u{301}\"");
        assert_eq!(quoted("\u{a0}\u{ad}\u{2028}\u{feff}\u{e000}"), r#""\u00a0\u00ad\u2028\ufeff\ue000""#);
        assert_eq!(quoted("\u{301}\u{10ffff}"), "\"\u{301}\\U0010ffff\"");
    }

    #[test]
    fn values_are_printed_whole() {
        let value = Value::from(&json!({"b": [1, null, "x"], "a": {"c": true}}));
        assert_eq!(plain(&value), "map[a:map[c:true] b:[1 <nil> x]]");
        assert_eq!(printed(&Value::Nothing), "<no value>");
    }

    #[test]
    fn a_format_and_its_values_fit_or_are_refused() {
        let text = Value::text("a");
        assert_eq!(
            formatted("%s-%d%%%v%q", &[text.clone(), Value::Int(3), Value::Float(0.5), text.clone()])
                .unwrap(),
            "a-3%0.5\"a\""
        );
        assert_eq!(formatted("%d", &[Value::Float(1.0)]).unwrap_err(), "printf cannot print a number as %d");
        assert_eq!(formatted("%s", &[]).unwrap_err(), "printf has no value for `%s`");
        assert_eq!(formatted("x", &[text]).unwrap_err(), "printf has more values than `x` prints");
        assert!(formatted("%5d", &[Value::Int(1)]).is_err());
    }
}
