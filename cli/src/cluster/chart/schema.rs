//! What values may be: the chart's `values.schema.json`. Helm refuses values that do not fit, and so must whoever takes
//! its place.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

/// The schema of a chart's values.
#[derive(Debug)]
pub(super) struct Schema(Validator);

impl Schema {
    /// Reads it.
    ///
    /// # Errors
    /// When it is no JSON, or no schema.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        jsonschema::validator_for(&schema).map(Self).map_err(|error| error.to_string())
    }

    /// What in `values` does not fit: where, as a JSON pointer, and why.
    pub(super) fn misfits(&self, values: &Value) -> Vec<(String, String)> {
        self.0.iter_errors(values).flat_map(|error| misfits(&error)).collect()
    }
}

/// A key that is too much or missing is told by itself, not by the map that it is in.
fn misfits(error: &ValidationError<'_>) -> Vec<(String, String)> {
    let path = error.instance_path().as_str();
    let at = |key: &str| format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            unexpected.iter().map(|key| (at(key), "the chart has no such value".to_owned())).collect()
        }
        ValidationErrorKind::Required { property: Value::String(key) } => {
            vec![(at(key), "the chart needs this value".to_owned())]
        }
        _ => vec![(path.to_owned(), error.to_string())],
    }
}
