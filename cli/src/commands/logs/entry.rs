//! One entry of a log, however it was written, and how a person reads it.

use platform::vocabulary::Timestamp;
use serde_json::{Map, Value};

use super::SERVICES;
use crate::output::{Body, Format, Paint, Printer, Report};

/// A line that is not JSON is kept as its message: nothing is swallowed.
pub(in crate::commands) fn parse(line: &[u8]) -> Value {
    serde_json::from_slice(line).ok().filter(Value::is_object).unwrap_or_else(|| {
        let message = String::from_utf8_lossy(line).trim_end().to_owned();
        Value::Object(Map::from_iter([("message".to_owned(), Value::String(message))]))
    })
}

pub(in crate::commands) fn show(entries: &[Value], printer: &Printer, is_whole: bool) -> anyhow::Result<()> {
    match printer.format() {
        Format::Text => {
            let paint = printer.paint();
            let lines: String = entries.iter().map(|entry| line(entry, paint)).collect();
            printer.data(&lines)?;
        }
        Format::Json | Format::Csv | Format::Md if is_whole => {
            let items = Value::Array(entries.to_vec());
            let text = entries.iter().map(|entry| line(entry, Paint::new(false))).collect();
            printer.report(&Report::new(items, Body::Text(text)))?;
        }
        _ => {
            let lines: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
            printer.data(&lines)?;
        }
    }
    Ok(())
}

/// An entry as a person reads it: when, how bad, who, what, and the rest as `name=value`.
pub(super) fn line(entry: &Value, paint: Paint) -> String {
    let level = text(entry, &["level"]).unwrap_or("");
    let painted = match level {
        "error" => paint.red(level),
        "warn" => paint.yellow(level),
        _ => paint.faint(level),
    };
    let when = text(entry, TIMES).unwrap_or("");
    // Many pods may be of one service: their names tell them apart.
    let pod = text(entry, &["pod"]);
    let who = pod.or_else(|| service_of(entry)).unwrap_or("shop");
    let room = if pod.is_some() { POD_LETTERS } else { SERVICE_LETTERS };
    let what = text(entry, &["message"]).or_else(|| entry.pointer("/fields/message")?.as_str()).unwrap_or("");
    let rest: String = rest(entry)
        .iter()
        .map(|(name, value)| format!(" {}", paint.faint(&format!("{name}={value}"))))
        .collect();
    format!("{} {painted:<5} {who:<room$} {what}{rest}\n", paint.faint(when))
}

/// The room that the name of a service has in a line.
const SERVICE_LETTERS: usize = 12;
/// The room that the name of a pod has.
const POD_LETTERS: usize = 26;
/// Names that a log may call its moment.
const TIMES: &[&str] = &["ts", "timestamp", "time", "at"];

fn rest(entry: &Value) -> Vec<(String, String)> {
    let own = ["level", "message", "service", "target", "fields", "span", "spans", "pod"];
    let nested = entry.get("fields").and_then(Value::as_object).into_iter().flatten();
    let all = entry.as_object().into_iter().flatten().chain(nested);
    all.filter(|(name, value)| {
        // A process of a pod is called as the pod is.
        let is_known = name.as_str() == "process" && entry.get("pod") == Some(*value);
        !own.contains(&name.as_str()) && !TIMES.contains(&name.as_str()) && !value.is_null() && !is_known
    })
    .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    .collect()
}

fn text<'a>(entry: &'a Value, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| entry.get(*name)?.as_str())
}

pub(super) fn time_of(entry: &Value) -> Option<Timestamp> {
    text(entry, TIMES)?.parse().ok()
}

/// The service of an entry: as it says, by the process that wrote it, or by the room.
pub(super) fn service_of(entry: &Value) -> Option<&str> {
    if let Some(service) = text(entry, &["service"]) {
        return Some(service);
    }
    if let Some((role, _)) = text(entry, &["process"]).and_then(|process| process.rsplit_once('-')) {
        return Some(role);
    }
    let room = text(entry, &["target"])?.strip_prefix("platform::")?;
    let mut parts = room.split("::");
    let first = parts.next()?;
    let name = match first {
        "services" => parts.next()?,
        "sandbox" => "fakepay",
        "web" => "gateway",
        other => other,
    };
    SERVICES.into_iter().find(|service| *service == name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_service_is_what_it_says_or_the_room_that_wrote() {
        assert_eq!(service_of(&json!({"service": "order"})), Some("order"));
        assert_eq!(service_of(&json!({"target": "platform::services::payment::api"})), Some("payment"));
        assert_eq!(service_of(&json!({"target": "platform::sandbox::fakepay"})), Some("fakepay"));
        assert_eq!(service_of(&json!({"target": "platform::saga"})), None);
        assert_eq!(service_of(&json!({"target": "platform::saga", "process": "order-2"})), Some("order"));
    }

    #[test]
    fn what_is_not_json_is_shown_as_it_stands() {
        let entry = parse(b"thread panicked\n");
        assert!(line(&entry, Paint::new(false)).contains("thread panicked"));
    }

    #[test]
    fn of_a_pod_its_name_is_told_once() {
        let entry =
            json!({"level": "info", "message": "hello", "process": "order-a-1-x", "pod": "order-a-1-x"});
        assert_eq!(line(&entry, Paint::new(false)).matches("order-a-1-x").count(), 1);
    }
}
