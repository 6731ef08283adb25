//! Card numbers, keys, tokens and passwords never reach a log, a span or an event.
//!
//! Metrics and spans have allow-lists (labels are `&'static str`, span attributes an enum); what is free text passes
//! [`clean`], and a log field whose name speaks of a secret is not even looked at.

use std::borrow::Cow;

/// What stands where a secret stood.
pub const REDACTED: &str = "[redacted]";

/// What was found in a text that must not hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finding {
    /// A payment card's number: 13 to 19 digits of a card network that pass the Luhn check.
    CardNumber,
    /// A signed token (`eyJ….….…`), or an operator's pass (`op_….…`).
    Token,
    /// A key with a known prefix (`sk_test_…`, `whsec_…`).
    Key,
    /// What follows `Bearer`.
    Bearer,
    /// A password inside a URL.
    UrlPassword,
}

/// Words that make a field's name secret.
const SECRET_NAMES: [&str; 10] = [
    "password",
    "passwd",
    "secret",
    "token",
    "authorization",
    "cookie",
    "api_key",
    "card_number",
    "cvv",
    "cvc",
];
/// Prefixes of keys.
const KEY_PREFIXES: [&str; 4] = ["sk_test_", "sk_live_", "rk_live_", "whsec_"];

/// Whether a field of this name is never shown. `order_token_count` is caught too: better so than the reverse.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    SECRET_NAMES.iter().any(|word| contains_ignoring_case(name, word))
}

fn contains_ignoring_case(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

/// `text` with everything that looks like a secret replaced. Borrowed when there is nothing to replace.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    let Some(mut found) = next_finding(text, 0) else { return Cow::Borrowed(text) };
    let mut cleaned = String::with_capacity(text.len());
    let mut copied = 0;
    loop {
        cleaned.push_str(&text[copied..found.begin]);
        cleaned.push_str(REDACTED);
        copied = found.end;
        match next_finding(text, copied) {
            Some(next) => found = next,
            None => break,
        }
    }
    cleaned.push_str(&text[copied..]);
    Cow::Owned(cleaned)
}

/// Everything in `text` that looks like a secret: for checks that read what was written.
#[must_use]
pub fn findings(text: &str) -> Vec<Finding> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(found) = next_finding(text, at) {
        all.push(found.what);
        at = found.end;
    }
    all
}

struct Found {
    begin: usize,
    end: usize,
    what: Finding,
}

/// One pass over the bytes; the detectors run only where a word begins. `begin` and `end` always lie next to an
/// ASCII byte or the text's end, so they are character boundaries.
fn next_finding(text: &str, from: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let mut at = from;
    while at < bytes.len() {
        let starts_word = at == 0 || !is_word(bytes[at - 1]);
        let found = match bytes[at] {
            b'2'..=b'6' if starts_word => card_number(bytes, at),
            b'e' | b'o' if starts_word => token(bytes, at),
            b's' | b'r' | b'w' if starts_word => key(bytes, at),
            b'B' | b'b' if starts_word => bearer(bytes, at),
            b':' => url_password(bytes, at),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
        at += 1;
    }
    None
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// The end of the run of bytes from `at` that `wanted` holds for.
fn run_end(bytes: &[u8], at: usize, wanted: impl Fn(u8) -> bool) -> usize {
    at + bytes[at..].iter().take_while(|byte| wanted(**byte)).count()
}

/// Digits, with single spaces or dashes between them.
fn card_number(bytes: &[u8], begin: usize) -> Option<Found> {
    let mut digits = [0u8; 19];
    let mut count = 0;
    let mut end = begin;
    while end < bytes.len() {
        match bytes[end] {
            digit @ b'0'..=b'9' => {
                *digits.get_mut(count)? = digit - b'0';
                count += 1;
            }
            b' ' | b'-' if bytes.get(end + 1).is_some_and(u8::is_ascii_digit) => {}
            _ => break,
        }
        end += 1;
    }
    let ends_word = bytes.get(end).is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    let digits = &digits[..count];
    (count >= 13 && ends_word && passes_luhn(digits) && !is_uuid(bytes, begin)).then_some(Found {
        begin,
        end,
        what: Finding::CardNumber,
    })
}

/// Of a hundred thousand random ids two begin with digits that pass for a card's.
fn is_uuid(bytes: &[u8], begin: usize) -> bool {
    bytes.get(begin..begin + 36).is_some_and(|word| {
        word.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    })
}

fn passes_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let doubled = u32::from(*digit) * if place % 2 == 1 { 2 } else { 1 };
            if doubled > 9 { doubled - 9 } else { doubled }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Base64url parts, the first of which is a JSON object: three of a token, two of an operator's pass.
fn token(bytes: &[u8], begin: usize) -> Option<Found> {
    let dots_min = match &bytes[begin..] {
        rest if rest.starts_with(b"eyJ") => 2,
        rest if rest.starts_with(b"op_eyJ") => 1,
        _ => return None,
    };
    let end = run_end(bytes, begin, is_word);
    let dots = bytes[begin..end].iter().filter(|byte| **byte == b'.').count();
    (dots >= dots_min).then_some(Found { begin, end, what: Finding::Token })
}

fn key(bytes: &[u8], begin: usize) -> Option<Found> {
    let prefix = KEY_PREFIXES.iter().find(|prefix| bytes[begin..].starts_with(prefix.as_bytes()))?;
    let end = run_end(bytes, begin, is_word);
    (end - begin >= prefix.len() + 8).then_some(Found { begin, end, what: Finding::Key })
}

fn bearer(bytes: &[u8], at: usize) -> Option<Found> {
    let word = bytes.get(at..at + 7)?;
    if !word.eq_ignore_ascii_case(b"bearer ") {
        return None;
    }
    let begin = at + 7;
    let end = run_end(bytes, begin, |byte| is_word(byte) || matches!(byte, b'+' | b'/' | b'=' | b'~'));
    (end - begin >= 12).then_some(Found { begin, end, what: Finding::Bearer })
}

/// The part between the second colon and the `@` of `scheme://user:password@host`.
fn url_password(bytes: &[u8], colon: usize) -> Option<Found> {
    if !bytes[colon..].starts_with(b"://") {
        return None;
    }
    let authority = colon + 3;
    let authority_end =
        run_end(bytes, authority, |byte| !matches!(byte, b'/' | b'?' | b'#' | b' ' | b'"' | b'\n'));
    let at_sign = bytes[authority..authority_end].iter().rposition(|byte| *byte == b'@')? + authority;
    let begin = bytes[authority..at_sign].iter().position(|byte| *byte == b':')? + authority + 1;
    (begin < at_sign && &bytes[begin..at_sign] != REDACTED.as_bytes()).then_some(Found {
        begin,
        end: at_sign,
        what: Finding::UrlPassword,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_replaced_and_the_rest_stays() {
        for (text, cleaned) in [
            ("card 4242424242424242 declined", "card [redacted] declined"),
            ("card 4242 4242 4242 4242.", "card [redacted]."),
            ("5555-5555-5555-4444", "[redacted]"),
            ("Authorization: Bearer abcdefghijkl0123==", "Authorization: Bearer [redacted]"),
            ("jwt=eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2ln end", "jwt=[redacted] end"),
            ("pass op_eyJrZXlfaWQiOiJrMSJ9.c2ln end", "pass [redacted] end"),
            ("key sk_test_51Habcdefghij used", "key [redacted] used"),
            ("whsec_abcdefghijklmnop", "[redacted]"),
            ("postgres://shop:hunter2@db:5432/shop", "postgres://shop:[redacted]@db:5432/shop"),
            ("zwölf ✓ 4000000000000002 ✓", "zwölf ✓ [redacted] ✓"),
        ] {
            assert_eq!(clean(text), cleaned);
            assert!(!findings(text).is_empty(), "{text}");
            assert!(findings(&clean(text)).is_empty(), "cleaning is done after one pass: {text}");
        }
    }

    #[test]
    fn what_only_resembles_a_secret_is_left_alone() {
        for text in [
            "4242424242424241",
            "order 0199f3a2-7c1e-7cc3-98c4-dc0c0c07398f confirmed",
            "at 1763899817123456 us",
            "eyJust a word",
            "http://127.0.0.1:8080/v1/orders?x=a@b",
            "bearer of bad news",
            "pm_card_visa",
            "66c07398f9d4a1b2",
            "cart 42424242-4242-4242-a1b2-c3d4e5f60718",
        ] {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn a_name_that_speaks_of_a_secret_is_secret() {
        for name in ["password", "new_password", "Authorization", "access_token", "cvv", "client_secret"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["order_id", "status", "took_ms", "card_brand"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
