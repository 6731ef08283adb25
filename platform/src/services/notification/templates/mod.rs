//! What the mails say: one text per message, locale and version, built in.
//!
//! A text begins with `Subject: …` and an empty line. `{{name}}` stands for a fact, `{{#name}} … {{/name}}` is there
//! once for each entry of a list or when the fact is known, `{{^name}} … {{/name}}` when it is not. A text that names
//! a fact which is not known cannot be sent: better no mail than one that says "Dear null".
//!
//! # Adding one
//! Add a [`Message`](super::model::MESSAGES) when it is about a new event; put `templates/<key>.<locale>.txt` here and a
//! line into [`BUILT_IN`]. A text that changes its meaning gets a new version.

mod text;

use std::sync::LazyLock;

use serde_json::Value;

use text::Text;
pub(super) use text::TextError;

/// The locales there are; the first is what everybody gets who did not choose.
pub(super) const LOCALES: [&str; 2] = ["en", "de"];

struct BuiltIn {
    key: &'static str,
    locale: &'static str,
    version: u32,
    text: &'static str,
}

macro_rules! built_in {
    ($($key:literal $locale:literal $version:literal),* $(,)?) => {
        &[$(BuiltIn {
            key: $key,
            locale: $locale,
            version: $version,
            text: include_str!(concat!($key, ".", $locale, ".txt")),
        }),*]
    };
}

const BUILT_IN: &[BuiltIn] = built_in![
    "order_confirmed" "en" 1,
    "order_confirmed" "de" 1,
    "order_cancelled" "en" 1,
    "order_cancelled" "de" 1,
    "order_rejected" "en" 1,
    "order_rejected" "de" 1,
    "order_expired" "en" 1,
    "order_expired" "de" 1,
    "payment_queued" "en" 1,
    "payment_queued" "de" 1,
    "order_shipped" "en" 1,
    "order_shipped" "de" 1,
    "order_delivered" "en" 1,
    "order_delivered" "de" 1,
    "order_refunded" "en" 1,
    "order_refunded" "de" 1,
    "user_registered" "en" 1,
    "user_registered" "de" 1,
    "password_changed" "en" 1,
    "password_changed" "de" 1,
    "user_locked" "en" 1,
    "user_locked" "de" 1,
];

struct Template {
    key: &'static str,
    locale: &'static str,
    version: u32,
    subject: Result<Text, TextError>,
    body: Result<Text, TextError>,
}

/// Read once. A text that is broken answers its error when it is used; the test below finds it before.
static TEMPLATES: LazyLock<Vec<Template>> = LazyLock::new(|| {
    let template = |built_in: &BuiltIn| {
        let (head, body) = built_in.text.split_once("\n\n").unwrap_or((built_in.text, ""));
        Template {
            key: built_in.key,
            locale: built_in.locale,
            version: built_in.version,
            subject: Text::parse(head.trim_start_matches("Subject: ")),
            body: Text::parse(body),
        }
    };
    BUILT_IN.iter().map(template).collect()
});

/// A mail's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    pub(super) subject: String,
    pub(super) body: String,
    /// Which text it was: `order_confirmed.en.1`.
    pub(super) template: String,
}

/// The newest version of `key` in `locale`, or in the first locale when it was not translated, with `facts`.
pub(super) fn render(key: &str, locale: &str, facts: &Value) -> Result<Rendered, TextError> {
    let newest = |locale: &str| {
        TEMPLATES
            .iter()
            .filter(|template| template.key == key && template.locale == locale)
            .max_by_key(|template| template.version)
    };
    let template = newest(locale)
        .or_else(|| newest(LOCALES[0]))
        .ok_or_else(|| TextError::Absent(format!("the template `{key}`")))?;
    let text = |text: &Result<Text, TextError>| text.as_ref().map_err(Clone::clone)?.render(facts);
    Ok(Rendered {
        subject: text(&template.subject)?,
        body: text(&template.body)?,
        template: format!("{}.{}.{}", template.key, template.locale, template.version),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::notification::model::MESSAGES;
    use serde_json::json;

    fn everything() -> Value {
        json!({
            "number": "K7-93QX-2M4D",
            "lines": [{"title": "Mug, blue", "quantity": "2", "line_total": "$25.98"}, {"title": "Tea", "quantity": "1"}],
            "total": "$31.97",
            "refunded": "$31.97",
            "tracking": "1Z999",
            "reason": "cancelled by the customer",
            "held_until": "14:32 UTC",
            "name": "Ada",
            "order_link": "https://shop.example/orders/1",
            "shop_link": "https://shop.example",
            "shop": "Shop",
        })
    }

    #[test]
    fn every_message_has_a_text_in_every_locale_and_each_reads_as_below() {
        let mut all = String::new();
        for message in MESSAGES {
            for locale in LOCALES {
                let known = BUILT_IN.iter().any(|text| text.key == message.template && text.locale == locale);
                assert!(known, "{} has no text in {locale}", message.template);
                let rendered = render(message.template, locale, &everything()).expect(message.template);
                all.push_str(&format!(
                    "=== {}\nSubject: {}\n\n{}\n",
                    rendered.template, rendered.subject, rendered.body
                ));
            }
        }
        insta::assert_snapshot!("mails", all);
    }

    #[test]
    fn what_may_be_unknown_is_left_out_and_what_must_be_known_is_missed() {
        let facts = json!({"number": "K7", "order_link": "x", "shop": "Shop"});
        let shipped = render("order_shipped", "en", &facts).expect("rendered");
        assert!(!shipped.body.contains("Tracking"), "{}", shipped.body);
        let refunded = render("order_refunded", "en", &facts).expect("rendered");
        assert!(refunded.body.starts_with("We have given your money back"), "{}", refunded.body);
        let confirmed = render("order_confirmed", "en", &facts);
        assert_eq!(confirmed, Err(TextError::Absent("the fact `total`".to_owned())));
    }

    #[test]
    fn an_unknown_locale_reads_english() {
        assert_eq!(
            render("user_locked", "fr", &everything()).expect("rendered").template,
            "user_locked.en.1"
        );
    }
}
