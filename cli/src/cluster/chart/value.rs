//! A value as the chart's templates see it. A clone costs nothing, since one rendering hands the whole of its values to
//! some hundred helpers.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The members of a map, in the order of their keys.
pub(super) type Members = BTreeMap<Arc<str>, Value>;

/// A value.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) enum Value {
    /// What is not there, and what is `null`.
    #[default]
    Nothing,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number. Those of a values file are all of this kind: they reach the templates by way of JSON.
    Float(f64),
    /// A text.
    Text(Arc<str>),
    /// A list.
    List(Arc<[Value]>),
    /// A map.
    Map(Arc<Members>),
}

impl Value {
    /// A text.
    pub(super) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// A map of these members.
    pub(super) fn map<'k>(members: impl IntoIterator<Item = (&'k str, Self)>) -> Self {
        Self::Map(Arc::new(members.into_iter().map(|(key, value)| (Arc::from(key), value)).collect()))
    }

    /// A list of these.
    pub(super) fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self::List(items.into_iter().collect())
    }

    /// The member of that name; nothing where there is none, or where this is no map.
    pub(super) fn member(&self, key: &str) -> &Self {
        match self {
            Self::Map(members) => members.get(key).unwrap_or(&Self::Nothing),
            _ => &Self::Nothing,
        }
    }

    /// Whether it is there.
    pub(super) fn is_something(&self) -> bool {
        *self != Self::Nothing
    }

    /// Whether a condition takes it for true: what is empty or zero is not.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(members) => !members.is_empty(),
        }
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// The same with every whole number as a number: what is left of a document that passed through JSON.
    pub(super) fn with_floats(self) -> Self {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "JSON's numbers are of this precision")]
            Self::Int(value) => Self::Float(value as f64),
            Self::List(items) => Self::list(items.iter().cloned().map(Self::with_floats)),
            Self::Map(members) => {
                let floats = members.iter().map(|(key, value)| (key.clone(), value.clone().with_floats()));
                Self::Map(Arc::new(floats.collect()))
            }
            other => other,
        }
    }

    /// As JSON. A number without a fraction is a whole number there.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Nothing => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Float(value) => json_number(*value),
            Self::Text(text) => (**text).into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(members) => {
                members.iter().map(|(key, value)| (key.to_string(), value.to_json())).collect()
            }
        }
    }
}

impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Nothing,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(value) => Self::Int(value),
                None => Self::Float(number.as_f64().unwrap_or(f64::MAX)),
            },
            serde_json::Value::String(text) => Self::text(text.as_str()),
            serde_json::Value::Array(items) => Self::list(items.iter().map(Self::from)),
            serde_json::Value::Object(members) => {
                Self::map(members.iter().map(|(key, value)| (key.as_str(), Self::from(value))))
            }
        }
    }
}

fn json_number(value: f64) -> serde_json::Value {
    // Below 2^63 in both directions, which a float of that size can say exactly.
    const WHOLE: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "it has no fraction and fits")]
    if value.fract() == 0.0 && value.abs() < WHOLE { (value as i64).into() } else { value.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_comes_back_as_it_went_in() {
        let json = json!({"a": [1, 2.5, "x", null, true], "b": {"c": {}}});
        assert_eq!(Value::from(&json).to_json(), json);
        assert_eq!(Value::from(&json).with_floats().to_json(), json);
    }

    #[test]
    fn what_is_empty_or_zero_is_not_true() {
        let empty = [json!(null), json!(false), json!(0), json!(0.0), json!(""), json!([]), json!({})];
        assert!(empty.iter().all(|value| !Value::from(value).is_true()));
        let full = [json!(true), json!(-1), json!(0.5), json!("no"), json!([null]), json!({"a": null})];
        assert!(full.iter().all(|value| Value::from(value).is_true()));
    }
}
