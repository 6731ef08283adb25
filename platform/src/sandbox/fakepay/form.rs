//! Stripe's requests: forms with brackets (`metadata[order_id]=…`), every parameter known or refused.

use std::collections::BTreeMap;

use super::answers::{ApiError, Metadata};

/// A request's parameters. Each is taken once; what is left over at the end was unknown.
#[derive(Debug)]
pub(super) struct Form {
    params: BTreeMap<String, String>,
}

impl Form {
    /// Parses a body or a query.
    pub(super) fn parse(text: &[u8]) -> Result<Self, ApiError> {
        serde_urlencoded::from_bytes::<Vec<(String, String)>>(text)
            .map(|pairs| Self { params: pairs.into_iter().collect() })
            .map_err(|error| ApiError::invalid(None, None, format!("Invalid form encoding: {error}")))
    }

    /// Names the request by what it asks, for replays.
    pub(super) fn fingerprint(&self, path: &str) -> u64 {
        let mut text = path.to_owned();
        for (name, value) in &self.params {
            text.push('\u{1}');
            text.push_str(name);
            text.push('\u{2}');
            text.push_str(value);
        }
        super::journal::fnv1a(text.as_bytes())
    }

    /// An optional text; an empty one is none.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.params.remove(name).filter(|value| !value.is_empty())
    }

    /// A required text.
    pub(super) fn required(&mut self, name: &'static str) -> Result<String, ApiError> {
        self.text(name).ok_or_else(|| {
            ApiError::invalid(
                Some("parameter_missing"),
                Some(name),
                format!("Missing required param: {name}."),
            )
        })
    }

    /// An optional whole number.
    pub(super) fn integer(&mut self, name: &'static str) -> Result<Option<i64>, ApiError> {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    let message = format!("Invalid integer: {text}");
                    ApiError::invalid(Some("parameter_invalid_integer"), Some(name), message)
                })
            })
            .transpose()
    }

    /// An optional truth; absent is false.
    pub(super) fn truth(&mut self, name: &'static str) -> Result<bool, ApiError> {
        match self.text(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(ApiError::invalid(None, Some(name), format!("Invalid boolean: {other}"))),
        }
    }

    /// All of `name[…]`, by what stands in the brackets.
    pub(super) fn bracketed(&mut self, name: &str) -> Metadata {
        let mut found = Metadata::new();
        self.params.retain(|param, value| {
            let inner = param.strip_prefix(name).and_then(|rest| rest.strip_prefix('[')?.strip_suffix(']'));
            match inner {
                Some(inner) => {
                    found.insert(inner.to_owned(), std::mem::take(value));
                    false
                }
                None => true,
            }
        });
        found
    }

    /// Whether `expand[]` asks for the charge.
    pub(super) fn expands_charge(&mut self) -> bool {
        self.bracketed("expand").into_values().any(|path| path.ends_with("latest_charge"))
    }

    /// Drops parameters that a real provider minds and this one does not.
    pub(super) fn ignore(&mut self, names: &[&str]) {
        self.params.retain(|param, _| {
            let root = param.split('[').next().unwrap_or(param);
            !names.contains(&root)
        });
    }

    /// Refuses what nobody took.
    pub(super) fn end(self) -> Result<(), ApiError> {
        match self.params.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(ApiError::invalid(
                Some("parameter_unknown"),
                None,
                format!("Received unknown parameter: {name}"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_read_and_the_unknown_is_refused() {
        let mut form = Form::parse(
            b"amount=5&metadata[order_id]=o%201&expand[]=data.latest_charge&confirm=true&colour=red",
        )
        .unwrap();
        assert_eq!(form.integer("amount").unwrap(), Some(5));
        assert_eq!(form.bracketed("metadata")["order_id"], "o 1");
        assert!(form.expands_charge() && form.truth("confirm").unwrap());
        let left = form.end().unwrap_err();
        assert_eq!(left.body()["error"]["code"], "parameter_unknown");
    }

    #[test]
    fn the_fingerprint_minds_values_and_not_their_order() {
        let print = |text: &str| Form::parse(text.as_bytes()).unwrap().fingerprint("/v1/refunds");
        assert_eq!(print("a=1&b=2"), print("b=2&a=1"));
        assert_ne!(print("a=1&b=2"), print("a=2&b=1"));
    }
}
