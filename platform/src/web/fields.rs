//! What a person typed into a form, kept so that a form with a mistake comes back as it was sent, with the
//! mistake explained beside the field.

use std::collections::BTreeMap;

/// A form's values and what is wrong with them.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    values: BTreeMap<String, String>,
    errors: Vec<(String, String)>,
}

impl Fields {
    /// The fields of a form body. A field sent twice keeps its last value.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(body).unwrap_or_default();
        Self { values: pairs.into_iter().collect(), errors: Vec::new() }
    }

    /// The value of `name` without surrounding spaces; empty when it was not sent.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.values.get(name).map_or("", |value| value.trim())
    }

    /// The value of `name` exactly as typed: for passwords, where a space counts.
    #[must_use]
    pub fn exact(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// The value of `name`, or nothing when it is blank.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<String> {
        Some(self.value(name)).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// The names of all fields that were sent.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Whether a box was ticked.
    #[must_use]
    pub fn is_ticked(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Sets a value, as the form should show it.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.values.insert(name.to_owned(), value.into());
        self
    }

    /// Notes what is wrong with `name`.
    pub fn reject(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push((name.to_owned(), message.into()));
    }

    /// Rejects `name` with `message` when it is blank.
    pub fn require(&mut self, name: &str, message: &str) {
        if self.value(name).is_empty() {
            self.reject(name, message);
        }
    }

    /// What is wrong with `name`, when something is.
    #[must_use]
    pub fn error(&self, name: &str) -> Option<&str> {
        self.errors.iter().find(|(field, _)| field == name).map(|(_, message)| message.as_str())
    }

    /// All that is wrong: the field and the words.
    #[must_use]
    pub fn errors(&self) -> &[(String, String)] {
        &self.errors
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.errors.is_empty()
    }

    /// The value of `name` as a whole number of at least `least`; rejected with a helpful word otherwise.
    pub fn whole(&mut self, name: &str, least: i64) -> Option<i64> {
        match self.value(name).parse::<i64>() {
            Ok(number) if number >= least => Some(number),
            _ => {
                self.reject(name, format!("enter a whole number, {least} or more"));
                None
            }
        }
    }

    /// The value of `name`, written in units such as `19.99`, in minor units.
    pub fn minor(&mut self, name: &str) -> Option<i64> {
        let minor = minor_units(self.value(name));
        if minor.is_none() {
            self.reject(name, "enter an amount such as 19.99");
        }
        minor
    }
}

/// `19.99`, `$19.99`, `19` and `1,299.50` in minor units; nothing when it is not such an amount.
#[must_use]
pub fn minor_units(text: &str) -> Option<i64> {
    let text = text.trim().trim_start_matches('$').replace(',', "");
    let (units, cents) = text.split_once('.').unwrap_or((&text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(units) || !digits(cents) || cents.len() > 2 {
        return None;
    }
    let cents = if cents.len() == 1 { cents.parse::<i64>().ok()? * 10 } else { cents.parse().ok()? };
    units.parse::<i64>().ok()?.checked_mul(100)?.checked_add(cents)
}

/// Minor units as a person types them into a field: `1999` is `19.99`.
#[must_use]
pub fn typed_amount(minor: i64) -> String {
    format!(
        "{}{}.{:02}",
        if minor < 0 { "-" } else { "" },
        minor.unsigned_abs() / 100,
        minor.unsigned_abs() % 100
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them_and_never_rounded() {
        assert_eq!(minor_units("19.99"), Some(1999));
        assert_eq!(minor_units(" $1,299.5 "), Some(129_950));
        assert_eq!(minor_units("19"), Some(1900));
        for wrong in ["", "-1", "1.999", "1.", ".5", "ten", "99999999999999999999", "1e3"] {
            assert_eq!(minor_units(wrong), None, "{wrong}");
        }
        assert_eq!(typed_amount(1999), "19.99");
    }

    #[test]
    fn a_form_keeps_what_was_typed_beside_what_is_wrong() {
        let mut fields = Fields::parse(b"name=+Ada+&password=+x+&quantity=-1");
        fields.require("name", "enter a name");
        fields.require("city", "enter a city");
        assert_eq!(fields.whole("quantity", 0), None);
        assert_eq!((fields.value("name"), fields.exact("password")), ("Ada", " x "));
        assert_eq!(fields.error("name"), None);
        assert_eq!(fields.error("city"), Some("enter a city"));
        assert_eq!(fields.error("quantity"), Some("enter a whole number, 0 or more"));
    }
}
