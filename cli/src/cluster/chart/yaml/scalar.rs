//! What a plain scalar means: YAML 1.1 as Go's `yaml.v2` reads it.

use crate::cluster::chart::value::Value;

/// What a plain scalar is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    /// The text as it stands.
    Text,
    /// A value of another kind.
    Value(Value),
    /// A point in time. It is read as the text that it is, but a text like it is written in quotes.
    Time,
}

/// What `text` is when nothing is around it.
pub(super) fn resolve(text: &str) -> Scalar {
    let Some(first) = text.bytes().next() else { return Scalar::Value(Value::Nothing) };
    if let Some(value) = word(text) {
        return Scalar::Value(value);
    }
    let number = match first {
        b'.' => decimal(text),
        b'+' | b'-' | b'0'..=b'9' if is_time(text) => return Scalar::Time,
        b'+' | b'-' | b'0'..=b'9' => {
            let plain = text.replace('_', "");
            whole(&plain).or_else(|| is_decimal(&plain).then(|| decimal(&plain)).flatten())
        }
        _ => None,
    };
    number.map_or(Scalar::Text, Scalar::Value)
}

fn word(text: &str) -> Option<Value> {
    Some(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        "~" | "null" | "Null" | "NULL" => Value::Nothing,
        ".nan" | ".NaN" | ".NAN" => Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Value::Float(f64::NEG_INFINITY),
        _ => return None,
    })
}

/// A whole number in any base that its beginning tells: `0x`, `0o`, `0b`, and a zero alone for octal.
fn whole(text: &str) -> Option<Value> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let based = |prefix: [&str; 2]| prefix.iter().find_map(|prefix| digits.strip_prefix(prefix));
    let (base, digits) = match digits {
        _ if based(["0x", "0X"]).is_some() => (16, based(["0x", "0X"])?),
        _ if based(["0o", "0O"]).is_some() => (8, based(["0o", "0O"])?),
        _ if based(["0b", "0B"]).is_some() => (2, based(["0b", "0B"])?),
        "0" => (10, digits),
        _ => digits.strip_prefix('0').map_or((10, digits), |octal| (8, octal)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = i128::from_str_radix(&format!("{sign}{digits}"), base).ok()?;
    #[expect(clippy::cast_precision_loss, reason = "what is larger than 64 bits is a float, as in JSON")]
    Some(i64::try_from(number).map_or(Value::Float(number as f64), Value::Int))
}

fn decimal(text: &str) -> Option<Value> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_decimal(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_mantissa = are_digits(whole) && are_digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let is_exponent = |text: &str| {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        !digits.is_empty() && are_digits(digits)
    };
    is_mantissa && exponent.is_none_or(is_exponent)
}

fn are_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A number to the base of 60, as YAML 1.1 has it. Nobody reads them any more; they are written in quotes for those who do.
/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`
pub(super) fn is_sexagesimal(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_digit_or_bar = |byte: u8| byte.is_ascii_digit() || byte == b'_';
    let (text, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = text.split(':');
    let first = parts.next().unwrap_or_default();
    let is_sixtieth = |part: &str| match part.as_bytes() {
        [one] => one.is_ascii_digit(),
        [ten, one] => (b'0'..=b'5').contains(ten) && one.is_ascii_digit(),
        _ => false,
    };
    let rest: Vec<&str> = parts.collect();
    first.starts_with(|letter: char| letter.is_ascii_digit())
        && first.bytes().all(is_digit_or_bar)
        && !rest.is_empty()
        && rest.into_iter().all(is_sixtieth)
        && fraction.bytes().all(is_digit_or_bar)
}

/// `2006-1-2`, `2006-1-2 15:4:5.9`, `2006-1-2T15:4:5.9Z`, and the last with an offset.
fn is_time(text: &str) -> bool {
    let Some((date, rest)) = split_date(text) else { return false };
    if !is_day(date) {
        return false;
    }
    match rest.chars().next() {
        None => true,
        Some(' ') => is_time_of_day(&rest[1..]),
        Some('T' | 't') => {
            let rest = &rest[1..];
            match rest.strip_suffix('Z') {
                Some(time) => is_time_of_day(time),
                None => rest
                    .rfind(['+', '-'])
                    .is_some_and(|at| is_time_of_day(&rest[..at]) && is_offset(&rest[at + 1..])),
            }
        }
        Some(_) => false,
    }
}

/// Year, month and day, and what follows them.
fn split_date(text: &str) -> Option<([u32; 3], &str)> {
    let (year, rest) = text.split_once('-').filter(|(year, _)| year.len() == 4 && are_digits(year))?;
    let (month, rest) = rest.split_once('-')?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    let (day, rest) = rest.split_at(end);
    Some(([year.parse().ok()?, one_or_two(month)?, one_or_two(day)?], rest))
}

fn one_or_two(text: &str) -> Option<u32> {
    (matches!(text.len(), 1 | 2) && are_digits(text)).then(|| text.parse().ok()).flatten()
}

fn is_day([year, month, day]: [u32; 3]) -> bool {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

/// `15:4:5`, and a fraction of a second after it.
fn is_time_of_day(text: &str) -> bool {
    let (whole, fraction) = text.split_once(['.', ',']).unwrap_or((text, "0"));
    let parts: Vec<Option<u32>> = whole.split(':').map(one_or_two).collect();
    let is_fraction = !fraction.is_empty() && are_digits(fraction);
    matches!(parts[..], [Some(0..24), Some(0..60), Some(0..60)]) && is_fraction
}

/// `07:00`
fn is_offset(text: &str) -> bool {
    let parts: Vec<Option<u32>> =
        text.split(':').map(|part| one_or_two(part).filter(|_| part.len() == 2)).collect();
    matches!(parts[..], [Some(0..=24), Some(0..=60)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_mean_what_they_meant_in_yaml_1_1() {
        let value = |text: &str| match resolve(text) {
            Scalar::Value(value) => value.to_json().to_string(),
            other => format!("{other:?}"),
        };
        for (text, meant) in [
            ("yes", "true"),
            ("Off", "false"),
            ("y", "true"),
            ("~", "null"),
            ("", "null"),
            ("12", "12"),
            ("-1_000", "-1000"),
            ("+7", "7"),
            ("0", "0"),
            ("0777", "511"),
            ("08", "8"),
            ("0o17", "15"),
            ("0x1F", "31"),
            ("-0b11", "-3"),
            ("1e3", "1000"),
            ("1.5", "1.5"),
            ("1.", "1"),
            (".5", "0.5"),
            ("+.5e1", "5"),
            ("9223372036854775807", "9223372036854775807"),
            ("18446744073709551616", "1.8446744073709552e+19"),
            ("2001-12-14", "Time"),
            ("2001-1-2T3:4:5.6Z", "Time"),
            ("2001-01-02t03:04:05+07:00", "Time"),
            ("2001-01-02 03:04:05", "Time"),
        ] {
            assert_eq!(value(text), meant, "{text}");
        }
    }

    #[test]
    fn what_is_almost_a_number_is_text() {
        for text in [
            "yES",
            "nil",
            "<<",
            "1e",
            "1e400",
            "0x",
            "0xg",
            "--1",
            "0x-1",
            "1.2.3",
            "10m",
            "64Mi",
            "1:2",
            "a1",
            "_1",
            ".",
            ".a",
            "+",
            "-",
            "2001-13-01",
            "2001-02-29",
            "01-02-03",
            "2001-12-14T",
            "2001-12-14 24:00:00",
            "2001-12-14T1:2:3",
        ] {
            assert_eq!(resolve(text), Scalar::Text, "{text}");
        }
    }

    #[test]
    fn a_number_to_the_base_of_sixty_is_known() {
        assert!(
            ["1:2", "-190:20:30.15", "1_0:59", "8080:80"].map(is_sexagesimal) == [true, true, true, false]
        );
        assert!(!["1", "a:1", "1:60", "1:", "", ":1"].into_iter().any(is_sexagesimal));
    }
}
