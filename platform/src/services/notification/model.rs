//! The rules: which events are told to whom and in which words, and when a failed try is made again. Nothing here
//! reads or writes.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::vocabulary::{Currency, Event, Money, OrderId, Timestamp, Topic};

/// Whether a recipient may say no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// About money, goods, or the account's safety: always sent.
    Transactional,
    /// Kind, but not needed.
    Optional,
}

/// An event that is told, and the text that tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    /// Where the event is published.
    pub(super) topic: Topic,
    /// The event's kind.
    pub(super) event: &'static str,
    /// The text.
    pub(super) template: &'static str,
    /// Whether a recipient may say no.
    pub(super) class: Class,
}

const fn message(topic: Topic, event: &'static str, template: &'static str, class: Class) -> Message {
    Message { topic, event, template, class }
}

/// Everything that is told. The queue hears these kinds only.
pub(super) const MESSAGES: &[Message] = &[
    message(Topic::Order, "order_confirmed", "order_confirmed", Class::Transactional),
    message(Topic::Order, "order_cancelled", "order_cancelled", Class::Transactional),
    message(Topic::Order, "order_rejected", "order_rejected", Class::Transactional),
    message(Topic::Order, "order_expired", "order_expired", Class::Transactional),
    message(Topic::Order, "order_payment_queued", "payment_queued", Class::Transactional),
    message(Topic::Order, "order_shipped", "order_shipped", Class::Transactional),
    message(Topic::Order, "order_delivered", "order_delivered", Class::Optional),
    message(Topic::Order, "order_refunded", "order_refunded", Class::Transactional),
    message(Topic::User, "user_registered", "user_registered", Class::Optional),
    message(Topic::User, "password_changed", "password_changed", Class::Transactional),
    message(Topic::User, "user_locked", "user_locked", Class::Transactional),
];

/// The message that tells `event`, if one does.
pub(super) fn message_of(event: &Event) -> Option<&'static Message> {
    MESSAGES.iter().find(|message| message.topic == event.topic && message.event == event.kind)
}

/// Whether the recipient of `template` may say no.
pub(super) fn is_optional(template: &str) -> bool {
    MESSAGES.iter().any(|message| message.template == template && message.class == Class::Optional)
}

/// Why an event cannot be told to anybody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("the event carries no e-mail: whoever publishes it must add `email`")]
    NoRecipient,
    #[error("`{0}` is not a mail address")]
    BadRecipient(String),
}

/// Who is to be told.
pub(super) fn recipient(event: &Event) -> Result<&str, Unusable> {
    let email = event.data.get("email").and_then(Value::as_str).map(str::trim).unwrap_or_default();
    if email.is_empty() {
        return Err(Unusable::NoRecipient);
    }
    match email.parse::<lettre::Address>() {
        Ok(_) => Ok(email),
        Err(_) => Err(Unusable::BadRecipient(email.to_owned())),
    }
}

/// The order that an event is about.
pub(super) fn order_of(event: &Event) -> Option<OrderId> {
    (event.topic == Topic::Order).then(|| OrderId::from_uuid(event.aggregate))
}

/// What is kept of an event until it is told: only what the texts name, so nothing else can get into a mail.
pub(super) fn facts(event: &Event) -> Value {
    let data = &event.data;
    let mut facts = Map::new();
    for name in ["number", "name", "reason", "tracking", "held_until"] {
        if let Some(text) = data.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()) {
            facts.insert(name.to_owned(), one_line(text).into());
        }
    }
    let currency = data.get("currency").and_then(currency_of);
    for name in ["total", "refunded"] {
        let money = data.get(name).and_then(|value| money_of(value, currency));
        if let Some(money) = money.filter(|money| !money.is_zero() || name == "total") {
            facts.insert(name.to_owned(), money.to_string().into());
        }
    }
    if let Some(lines) = data.get("lines").and_then(Value::as_array) {
        let lines: Vec<Value> = lines.iter().map(|entry| line(entry, currency)).collect();
        facts.insert("lines".to_owned(), lines.into());
    }
    // A guest's link carries the key to the order; a user signs in instead.
    if event.topic == Topic::Order && data.get("user_id").is_none_or(Value::is_null) {
        facts.insert("guest".to_owned(), true.into());
    }
    Value::Object(facts)
}

fn line(entry: &Value, currency: Option<Currency>) -> Value {
    let title = ["title", "sku"].iter().find_map(|name| entry.get(name)?.as_str()).unwrap_or("item");
    let quantity = entry.get("quantity").and_then(Value::as_i64).unwrap_or(1);
    let mut line = json!({ "title": one_line(title), "quantity": quantity });
    if let Some(total) = entry.get("line_total").and_then(|value| money_of(value, currency)) {
        line["line_total"] = total.to_string().into();
    }
    line
}

fn currency_of(value: &Value) -> Option<Currency> {
    value.as_str()?.parse().ok()
}

/// Money as an object, or as minor units beside the event's currency.
fn money_of(value: &Value, currency: Option<Currency>) -> Option<Money> {
    match value {
        Value::Object(_) => serde_json::from_value(value.clone()).ok(),
        Value::Number(amount) => Some(Money::new(amount.as_i64()?, currency?)),
        _ => None,
    }
}

/// What people typed must not break a subject or look like another part of the mail.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect()
}

/// A time as a mail says it: `14:32 UTC`, with the day when it is another one.
pub(super) fn said_time(at: Timestamp, now: Timestamp) -> String {
    let shown = |format: &str, at: Timestamp| at.strftime(format).to_string();
    let same_day = shown("%F", at) == shown("%F", now);
    shown(if same_day { "%H:%M UTC" } else { "%F %H:%M UTC" }, at)
}

/// How long after the `attempts`-th failed try the next one is made; `None` when there is none: about 31 hours
/// after the first.
pub(super) fn back_off(attempts: i64) -> Option<Duration> {
    const SECONDS: [u64; 11] = [5, 30, 120, 600, 1800, 3600, 10_800, 21_600, 21_600, 21_600, 21_600];
    let at = usize::try_from(attempts).ok()?.checked_sub(1)?;
    SECONDS.get(at).map(|seconds| Duration::from_secs(*seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::EventId;

    fn event(data: Value) -> Event {
        Event {
            id: EventId::from_uuid(uuid::Uuid::nil()),
            topic: Topic::Order,
            kind: "order_confirmed".to_owned(),
            aggregate: uuid::Uuid::max(),
            aggregate_seq: 1,
            at: Timestamp::UNIX_EPOCH,
            request_id: None,
            traceparent: None,
            data,
        }
    }

    #[test]
    fn only_what_the_texts_name_is_kept() {
        let told = event(json!({
            "number": "K7", "email": "ada@example.com", "user_id": null,
            "total": {"amount": 3197, "currency": "USD"},
            "lines": [{"sku": "MUG", "title": "Mug\r\nBcc: eve@example.com", "quantity": 2,
                       "line_total": {"amount": 2598, "currency": "USD"}}],
            "payment_method": "pm_card_visa", "access_token": "t0ps3cret",
        }));
        assert_eq!(recipient(&told), Ok("ada@example.com"));
        assert_eq!(
            facts(&told),
            json!({
                "number": "K7", "total": "$31.97", "guest": true,
                "lines": [{"title": "Mug Bcc: eve@example.com", "quantity": 2, "line_total": "$25.98"}],
            })
        );
    }

    #[test]
    fn minor_units_beside_a_currency_are_money_too() {
        let told = event(json!({"total": 500, "currency": "EUR", "user_id": "u", "lines": []}));
        assert_eq!(facts(&told), json!({"total": "5.00 EUR", "lines": []}));
    }

    #[test]
    fn nobody_and_nonsense_are_not_told() {
        assert_eq!(recipient(&event(json!({}))), Err(Unusable::NoRecipient));
        for address in ["ada", "ada@example.com\r\nRCPT TO:<eve@example.com>", "a@b@c"] {
            assert!(matches!(recipient(&event(json!({"email": address}))), Err(Unusable::BadRecipient(_))));
        }
    }

    #[test]
    fn tries_grow_apart_from_five_seconds_to_six_hours_and_end() {
        assert_eq!(back_off(1), Some(Duration::from_secs(5)));
        let all: Vec<_> = (1..).map_while(back_off).collect();
        assert!(all.is_sorted());
        assert_eq!(all.last(), Some(&Duration::from_secs(6 * 3600)));
        assert_eq!(back_off(12), None);
        assert_eq!(back_off(0), None);
    }

    #[test]
    fn a_time_names_its_day_only_when_it_is_another() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let now = at("2026-03-01T13:00:00Z");
        assert_eq!(said_time(at("2026-03-01T14:32:10Z"), now), "14:32 UTC");
        assert_eq!(said_time(at("2026-03-02T00:10:00Z"), now), "2026-03-02 00:10 UTC");
    }
}
