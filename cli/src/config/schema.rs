//! The schema of `shop.toml`, from the list of keys: for editors and for checks.

use serde_json::{Map, Value, json};

use super::gates::{Bake, Query};
use super::keys::{KEYS, Key, Kind};

/// `shop.toml` as a JSON Schema (draft 2020-12).
#[must_use]
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "shop.toml",
        "type": "object",
        "additionalProperties": false,
        "required": ["schema"],
        "properties": {
            "schema": {"const": 1, "description": "the version of this format"},
            "name": {"type": "string", "description": "the shop's name"},
            "min_version": {"type": "string", "description": "the oldest shopctl that may read this file"},
            "defaults": {"$ref": "#/$defs/layer", "description": "what holds in every environment"},
            "env": {
                "type": "object",
                "description": "what holds in one environment; `local` is built in",
                "additionalProperties": {"$ref": "#/$defs/layer"},
            },
            "services": {
                "type": "object",
                "description": "what is said of a service, in every environment on a cluster",
                "additionalProperties": {"$ref": "#/$defs/service"},
            },
            "gates": {
                "type": "object",
                "description": "the figures that releases on a cluster are held to, by name",
                "additionalProperties": {"$ref": "#/$defs/gate"},
            },
            "bake": bake(),
        },
        "$defs": {
            "layer": {
                "type": "object",
                "additionalProperties": false,
                "properties":
                    KEYS.iter().map(|key| (key.name.to_owned(), property(key))).collect::<Map<_, _>>(),
            },
            "service": {
                "type": "object",
                "additionalProperties": false,
                "properties": {"gates": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "the gates that its releases are held to",
                }},
            },
            "gate": gate(),
        },
    })
}

fn gate() -> Value {
    let words = [Query::SuccessRate, Query::P99Ms].map(Query::word);
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["query"],
        "anyOf": [{"required": ["min"]}, {"required": ["max"]}],
        "properties": {
            "query": {"enum": words, "description": "the figure, over the requests of one round"},
            "min": {"type": "number", "description": "it has to be at least this"},
            "max": {"type": "number", "description": "it has to be at most this"},
            "min_samples": count("with fewer requests behind it, a figure says nothing", 100),
            "failure_limit": count("so many rounds that it does not hold, and the release goes back", 2),
        },
    })
}

fn bake() -> Value {
    let usual = Bake::default();
    json!({
        "type": "object",
        "description": "how often gates are asked while customers reach the new pods",
        "additionalProperties": false,
        "properties": {
            "rounds": count("so many rounds have to pass", usual.rounds),
            "interval_s": count("the time before each", usual.interval_s),
            "inconclusive_limit":
                count("so many rounds in a row without a figure, and a person decides", usual.inconclusive_limit),
            "unready_limit":
                count("so many rounds with a pod that is not ready, and the release goes back", usual.unready_limit),
        },
    })
}

fn count(about: &str, usual: u32) -> Value {
    json!({"type": "integer", "minimum": 0, "description": about, "default": usual})
}

fn property(key: &Key) -> Value {
    let mut property = match key.kind {
        Kind::Port => json!({"type": "integer", "minimum": 0, "maximum": 65535}),
        Kind::Folder | Kind::File | Kind::Text => json!({"type": "string"}),
        Kind::Files => json!({"type": "array", "items": {"type": "string"}}),
        Kind::OneOf(words) => json!({"enum": words}),
        Kind::Switch => json!({"type": "boolean"}),
    };
    property["description"] = key.about.into();
    if let Some(value) = key.built_in {
        property["default"] = match key.kind {
            Kind::Port | Kind::Switch => serde_json::from_str(value).unwrap_or(Value::Null),
            Kind::Folder | Kind::File | Kind::Files | Kind::Text | Kind::OneOf(_) => value.into(),
        };
    }
    property
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_the_schema_with_its_default() {
        let layer = &schema()["$defs"]["layer"]["properties"];
        assert_eq!(layer.as_object().unwrap().len(), KEYS.len());
        assert_eq!(layer["port"]["default"], 8080);
        assert_eq!(layer["demo"]["default"], true);
        assert_eq!(layer["engine"]["enum"], json!(["sqlite", "postgres"]));
    }
}
