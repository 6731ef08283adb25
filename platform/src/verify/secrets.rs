//! V19: no card number, verification code, password, token or key in anything that was written down or shown.
//!
//! Looks for the patterns that the logs are cleaned of (`telemetry::redaction`), and for fields whose name speaks of a
//! secret and whose value is one. A finding is told by its kind and its place, never by what it is.

use std::io::{BufRead as _, BufReader};
use std::path::Path;

use super::ground::{Ground, Keys};
use super::orders;
use super::tally::Tally;
use crate::storage::{Row, StorageError, Value};
use crate::telemetry::redaction::{self, Finding, REDACTED};

/// Tables that hold free text or JSON, with the key that they are paged by, and the columns to search. Events of
/// orders are searched while the orders are told anew.
const TABLES: &[(&str, &str, &[&str])] = &[
    ("order_sagas", "id", &["params", "last_error"]),
    ("order_outbox", "id", &["payload"]),
    ("payment_outbox", "id", &["payload"]),
    ("product_outbox", "id", &["payload"]),
    ("user_outbox", "id", &["payload"]),
    ("bus_messages", "id", &["body", "last_error"]),
    ("bus_dead_letters", "id", &["body", "reason"]),
    ("notification_deliveries", "id", &["facts", "last_error"]),
    ("notification_attempts", "delivery_id", &["reason"]),
    ("payment_attempts", "payment_id", &["payment_method", "outcome"]),
    ("order_audit", "id", &["before", "after"]),
    ("payment_audit", "id", &["before", "after"]),
    ("product_audit", "id", &["before", "after"]),
    ("user_audit", "id", &["before", "after"]),
    ("notification_audit", "id", &["before", "after"]),
];
/// Rows of one query.
const PAGE: u32 = 2_000;
/// Words of the names whose secret may be a number. Other numbers under such names count something: `token_epoch`.
const SECRETS_OF_DIGITS: &[&str] = &["cvv", "cvc", "password", "card_number"];
/// A line of a log that is longer is searched in pieces of this size.
const LINE_BYTES_MAX: usize = 1 << 20;

/// V19.
pub(super) async fn v19(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = orders::secrets(ground).await?;
    for (table, key, columns) in TABLES {
        let list = columns.join(", ");
        let sql = format!(
            "SELECT {key} AS place, {list} FROM {table} WHERE {key} > $1 AND {key} <= $2 ORDER BY {key}"
        );
        let mut take = |row: &Row| {
            let place: uuid::Uuid = row.get("place")?;
            for (value, column) in row.values.iter().skip(1).zip(*columns) {
                search_value(&mut tally, value, || format!("{table}.{column} {place}"));
            }
            Ok(())
        };
        ground.each(Keys::of(table, key, PAGE), &sql, &[], &mut take).await?;
    }
    webhooks(ground, &mut tally).await?;
    answers(ground, &mut tally).await?;
    tally.count("rows", tally.examined);
    for path in &ground.beside.logs {
        log(path, &mut tally);
    }
    let beside = &ground.beside;
    for (name, text) in &beside.log_texts {
        let lines = lines(name, text, &mut tally);
        tally.count("log lines", lines);
    }
    for (name, text) in &beside.texts {
        lines(name, text, &mut tally);
    }
    for what in &beside.unread {
        tally.blind(format!("{what} could not be read, and was not searched"));
    }
    let is_missing = |kind: &str| beside.texts_of(kind).next().is_none();
    if is_missing("metrics") && ground.live {
        tally.blind("the metrics of the running shop were not searched: they could not be read");
    } else if is_missing("metrics") {
        tally.left_out.push("metrics were not searched: only a running shop has them".to_owned());
    }
    if is_missing("traces") {
        tally.left_out.push("traces were not searched: only the operations page has them".to_owned());
    }
    if !beside.log_texts.is_empty() {
        let whose = beside.log_texts.len();
        tally.left_out.push(format!("of {whose} logs only the last lines were searched"));
    }
    if beside.logs.is_empty() && beside.log_texts.is_empty() {
        tally.blind("there are no logs to search: they are part of what must hold no secret");
    }
    Ok(tally)
}

/// What the provider told, kept until it is understood; the key is text.
async fn webhooks(ground: &Ground, tally: &mut Tally) -> Result<(), StorageError> {
    let mut after = String::new();
    loop {
        let sql = "SELECT event_id, raw FROM payment_webhooks WHERE event_id > $1 AND raw IS NOT NULL
                   ORDER BY event_id LIMIT $2";
        let rows = ground.rows(sql, vec![after.as_str().into(), PAGE.into()]).await?;
        for row in &rows {
            after = row.get("event_id")?;
            if let Some(raw) = row.get::<Option<String>>("raw")? {
                // The provider's own objects carry a `client_secret`, which opens nothing of ours.
                search_patterns(tally, &raw, || format!("payment_webhooks {after}"));
            }
        }
        if rows.len() < PAGE as usize {
            return Ok(());
        }
    }
}

/// Answers that are kept under their keys; the key is two words.
async fn answers(ground: &Ground, tally: &mut Tally) -> Result<(), StorageError> {
    let (mut scope, mut key) = (String::new(), String::new());
    loop {
        let sql = "SELECT scope, key, body FROM order_idempotency WHERE (scope, key) > ($1, $2)
                   ORDER BY scope, key LIMIT $3";
        let params = vec![scope.as_str().into(), key.as_str().into(), PAGE.into()];
        let rows = ground.rows(sql, params).await?;
        for row in &rows {
            (scope, key) = (row.get("scope")?, row.get("key")?);
            tally.saw(1);
            if let Some(body) = row.get::<Option<String>>("body")? {
                search(tally, &body, || format!("order_idempotency {scope}"));
            }
        }
        if rows.len() < PAGE as usize {
            return Ok(());
        }
    }
}

fn log(path: &Path, tally: &mut Tally) {
    let mut lines = match std::fs::File::open(path) {
        Ok(file) => BufReader::with_capacity(256 << 10, file),
        Err(error) => return tally.blind(format!("the log {} could not be read: {error}", path.display())),
    };
    let name = path.file_name().map_or_else(|| "log".into(), |name| name.to_string_lossy().into_owned());
    let (mut line, mut number) = (Vec::new(), 0u64);
    loop {
        line.clear();
        let mut piece = std::io::Read::take(&mut lines, LINE_BYTES_MAX as u64);
        match piece.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => number += 1,
            Err(error) => {
                return tally.blind(format!("the log {} could not be read: {error}", path.display()));
            }
        }
        tally.saw(1);
        search(tally, &String::from_utf8_lossy(&line), || format!("{name} line {number}"));
    }
    tally.count("log lines", number);
}

/// Searches a text, and answers how many lines it has.
fn lines(name: &str, text: &str, tally: &mut Tally) -> u64 {
    let mut number = 0;
    for line in text.lines() {
        number += 1;
        tally.saw(1);
        search(tally, line, || format!("{name} line {number}"));
    }
    number
}

/// Searches a cell.
pub(super) fn search_value(tally: &mut Tally, value: &Value, place: impl Fn() -> String) {
    match value {
        Value::Text(text) | Value::Json(text) => search(tally, text, place),
        _ => {}
    }
    tally.saw(1);
}

fn search(tally: &mut Tally, text: &str, place: impl Fn() -> String) {
    search_patterns(tally, text, &place);
    for name in secret_fields(text) {
        tally.suspect(place(), format!("a field named `{name}` with a value"));
    }
}

fn search_patterns(tally: &mut Tally, text: &str, place: impl Fn() -> String) {
    for finding in redaction::findings(text) {
        let what = match finding {
            Finding::CardNumber => "a card number",
            Finding::Token => "a signed token",
            Finding::Key => "a key",
            Finding::Bearer => "a bearer token",
            Finding::UrlPassword => "a password in a URL",
        };
        tally.suspect(place(), what);
    }
}

/// The names of JSON fields in `text` that speak of a secret and hold one that is not redacted; also in JSON that is the
/// text of a field.
fn secret_fields(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in fields(text) {
        if redaction::is_secret_name(name) && is_secret_value(name, value) {
            found.push(name.to_owned());
        }
        if value.starts_with('"')
            && value.contains("\\\"")
            && let Ok(inner) = serde_json::from_str::<String>(value)
        {
            let inner = fields(&inner)
                .into_iter()
                .filter(|(name, value)| redaction::is_secret_name(name) && is_secret_value(name, value))
                .map(|(name, _)| name.to_owned());
            found.extend(inner);
        }
    }
    found
}

/// Whether the value of a field that speaks of a secret is one: text, or digits where a secret has digits.
fn is_secret_value(name: &str, value: &str) -> bool {
    match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
        Some(text) => !text.is_empty() && text != REDACTED,
        None => {
            let name = name.to_ascii_lowercase();
            SECRETS_OF_DIGITS.iter().any(|word| name.contains(word))
        }
    }
}

/// The JSON fields in `text` that hold text, in its quotes, or digits.
fn fields(text: &str) -> Vec<(&str, &str)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(begin) = next_quote(bytes, at) {
        let Some(end) = string_end(bytes, begin + 1) else { break };
        at = end + 1;
        let colon = at + bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if bytes.get(colon) != Some(&b':') {
            continue;
        }
        let name = &text[begin + 1..end];
        let value = colon + 1;
        let value = value + bytes[value..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        at = value;
        match bytes.get(value) {
            Some(b'"') => {
                let Some(value_end) = string_end(bytes, value + 1) else { break };
                at = value_end + 1;
            }
            Some(byte) if byte.is_ascii_digit() => {
                at += bytes[value..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            }
            _ => continue,
        }
        found.push((name, &text[value..at]));
    }
    found
}

fn next_quote(bytes: &[u8], from: usize) -> Option<usize> {
    bytes[from..].iter().position(|byte| *byte == b'"').map(|at| from + at)
}

/// Where the string whose text begins at `from` ends.
fn string_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_named_like_a_secret_must_not_hold_one() {
        assert_eq!(secret_fields(r#"{"password":"hunter2","n":1}"#), ["password"]);
        assert_eq!(secret_fields(r#"{"card": {"cvv" : "123"}, "a\"b":"x"}"#), ["cvv"]);
        assert_eq!(secret_fields(r#"{"cvv":123,"n":1}"#), ["cvv"]);
        assert_eq!(secret_fields(r#"{"body":"{\"card\":{\"cvc\":\"123\"}}"}"#), ["cvc"]);
        for clean in [
            r#"{"password":"[redacted]"}"#,
            r#"{"token_epoch":3,"token":""}"#,
            r#"{"body":"{\"password\":\"[redacted]\"}"}"#,
            r#"{"reason":"the \"password\": field is empty"}"#,
            "no json \" at all",
        ] {
            assert_eq!(secret_fields(clean), Vec::<String>::new(), "{clean}");
        }
    }

    #[test]
    fn a_finding_names_its_place_and_never_the_secret() {
        let mut tally = Tally::default();
        search(&mut tally, "card 4242424242424242 and sk_test_51Habcdefghij", || {
            "shop.log line 7".to_owned()
        });
        let told: Vec<String> =
            tally.suspicions.iter().map(|one| format!("{} {}", one.id, one.what)).collect();
        assert_eq!(told, ["shop.log line 7 a card number", "shop.log line 7 a key"]);
    }
}
