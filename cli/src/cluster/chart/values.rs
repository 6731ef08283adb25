//! The values of a rendering: the chart's defaults, over them values files, over those single values by name, and over
//! all of them what the program itself says. Merged as helm merges: maps go into one another, lists and everything else
//! take the place of what was there, and `null` takes a default away.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::package::Chart;
use super::sets;
use super::value::{Members, Value};
use super::yaml;

/// Values that fit a chart.
#[derive(Clone, Debug)]
pub struct Values(Value);

impl Values {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        self.0.to_json()
    }

    pub(super) fn value(&self) -> &Value {
        &self.0
    }
}

/// What is given over a chart's defaults. What comes later goes over what came before.
#[derive(Debug)]
pub struct Overrides<'c> {
    chart: &'c Chart,
    given: Value,
    origins: Vec<Origin>,
}

/// Where values came from.
#[derive(Debug)]
struct Origin {
    /// The file, or what else it was.
    called: String,
    /// Every value by its JSON pointer, with the line that it stands in; 0 where there are no lines.
    lines: BTreeMap<String, usize>,
}

/// Why values cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ValuesError {
    /// A file cannot be read.
    #[error("could not read the values file {file}; the chart brings {brought}")]
    Read {
        /// Which.
        file: String,
        /// The files that would have been found by their name alone.
        brought: String,
        /// Why.
        source: io::Error,
    },
    /// A file is no YAML, or has a key twice.
    #[error("{file}:{line}:{column}: {message}")]
    Yaml {
        /// Which.
        file: String,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// What is given is no map.
    #[error("{given}: values are a map, not {kind}")]
    NoMap {
        /// What was given.
        given: String,
        /// What it is.
        kind: &'static str,
    },
    /// A value by name cannot be understood, or does not go where it is to go.
    #[error("could not set `{text}`: {message}")]
    Set {
        /// As it was given.
        text: String,
        /// What is wrong with it.
        message: String,
    },
    /// Values do not fit the chart's schema.
    #[error("the values do not fit the chart{}", listed(.0))]
    Misfits(Vec<Misfit>),
}

/// A value that does not fit the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Its path, as `slots.order.live`.
    pub path: String,
    /// Where it was given: `values-mine.yaml:12`, or in another way.
    pub given: String,
    /// What does not fit.
    pub message: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.given, self.path, self.message)
    }
}

/// So many misfits are shown; the rest is counted.
const SHOWN: usize = 5;

fn listed(misfits: &[Misfit]) -> String {
    let mut listed: String = misfits.iter().take(SHOWN).map(|misfit| format!("\n{misfit}")).collect();
    if misfits.len() > SHOWN {
        listed.push_str(&format!("\nand {} more", misfits.len() - SHOWN));
    }
    listed
}

impl<'c> Overrides<'c> {
    pub(super) fn new(chart: &'c Chart) -> Self {
        Self { chart, given: Value::map([]), origins: Vec::new() }
    }

    /// A values file: one that the chart brings, by its name, or one at a path.
    ///
    /// # Errors
    /// When there is no such file, or it is no YAML with a map in it.
    pub fn file(self, file: &str) -> Result<Self, ValuesError> {
        if let Some(text) = self.chart.values_file(file) {
            return self.text(file, text);
        }
        let text = std::fs::read_to_string(file).map_err(|source| ValuesError::Read {
            file: file.to_owned(),
            brought: self.chart.values_files().collect::<Vec<_>>().join(", "),
            source,
        })?;
        self.text(file, &text)
    }

    /// The text of a values file that is called `file`.
    ///
    /// # Errors
    /// When it is no YAML with a map in it.
    pub fn text(self, file: &str, text: &str) -> Result<Self, ValuesError> {
        let document = yaml::settings(text).map_err(|error| ValuesError::Yaml {
            file: file.to_owned(),
            line: error.place.line,
            column: error.place.column,
            message: error.to_string(),
        })?;
        self.layer(file, document.value.with_floats(), document.lines)
    }

    /// One value or several by name: `slots.order.live=b,image.tag=2`.
    ///
    /// # Errors
    /// When the text cannot be understood, or a name goes into what is no map or list.
    pub fn set(mut self, text: &str) -> Result<Self, ValuesError> {
        let wrong = |message| ValuesError::Set { text: text.to_owned(), message };
        sets::set(&mut self.given, text).map_err(wrong)?;
        let mut alone = Value::map([]);
        sets::set(&mut alone, text).map_err(wrong)?;
        self.origins.push(Origin { called: format!("`{text}`"), lines: paths(&alone) });
        Ok(self)
    }

    /// What the program itself says; `called` names it in messages.
    ///
    /// # Errors
    /// When it is no map.
    pub fn overlay(self, called: &str, values: &serde_json::Value) -> Result<Self, ValuesError> {
        let value = Value::from(values).with_floats();
        let lines = paths(&value);
        self.layer(called, value, lines)
    }

    /// The chart's defaults with all that was given over them.
    ///
    /// # Errors
    /// When they do not fit the chart's schema.
    pub fn merged(self) -> Result<Values, ValuesError> {
        let defaults = self.chart.defaults().value.clone().with_floats();
        let values = coalesced(&self.given, &defaults);
        let misfits = self.chart.schema().map(|schema| schema.misfits(&values.to_json())).unwrap_or_default();
        if misfits.is_empty() {
            return Ok(Values(values));
        }
        let misfit = |(pointer, message): (String, String)| Misfit {
            path: pointer.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~"),
            given: self.origin(&pointer),
            message,
        };
        Err(ValuesError::Misfits(misfits.into_iter().map(misfit).collect()))
    }

    fn layer(
        mut self,
        called: &str,
        value: Value,
        lines: BTreeMap<String, usize>,
    ) -> Result<Self, ValuesError> {
        let value = match value {
            Value::Nothing => Value::map([]),
            map @ Value::Map(_) => map,
            other => return Err(ValuesError::NoMap { given: called.to_owned(), kind: other.kind() }),
        };
        self.given = layered(&self.given, &value);
        self.origins.push(Origin { called: called.to_owned(), lines });
        Ok(self)
    }

    /// Who gave the value at `pointer`, or the part of it that is nearest.
    fn origin(&self, pointer: &str) -> String {
        let defaults = ("values.yaml", &self.chart.defaults().lines);
        let mut wanted = pointer;
        loop {
            let mut given = self.origins.iter().rev().map(|origin| (origin.called.as_str(), &origin.lines));
            let found = given.find_map(|(called, lines)| Some((called, *lines.get(wanted)?)));
            match found.or_else(|| Some((defaults.0, *defaults.1.get(wanted)?))) {
                Some((called, 0)) => return called.to_owned(),
                Some((called, line)) => return format!("{called}:{line}"),
                None => match wanted.rsplit_once('/') {
                    Some((above, _)) => wanted = above,
                    None => {
                        return self.origins.last().map_or(defaults.0, |origin| &origin.called).to_owned();
                    }
                },
            }
        }
    }
}

/// `over` on `under`, where `null` is a value like others.
fn layered(under: &Value, over: &Value) -> Value {
    let (Value::Map(below), Value::Map(above)) = (under, over) else { return over.clone() };
    let mut both = Members::clone(below);
    for (key, value) in above.iter() {
        let value = both.get(key).map_or_else(|| value.clone(), |below| layered(below, value));
        both.insert(Arc::clone(key), value);
    }
    Value::Map(Arc::new(both))
}

/// `given` over the defaults, where `null` takes a default away.
fn coalesced(given: &Value, defaults: &Value) -> Value {
    let (Value::Map(given), Value::Map(defaults)) = (given, defaults) else { return given.clone() };
    let mut both = Members::clone(given);
    for (key, default) in defaults.iter() {
        match given.get(key) {
            None => both.insert(Arc::clone(key), default.clone()),
            Some(Value::Nothing) => both.remove(key),
            Some(value) => both.insert(Arc::clone(key), without_nothing(coalesced(value, default), default)),
        };
    }
    Value::Map(Arc::new(both))
}

/// A map that was merged with a default has no `null` in it, whether there was a default for that or not.
fn without_nothing(merged: Value, default: &Value) -> Value {
    match (merged, default) {
        (Value::Map(members), Value::Map(_)) if members.values().any(|value| !value.is_something()) => {
            let there = members.iter().filter(|(_, value)| value.is_something());
            Value::Map(Arc::new(there.map(|(key, value)| (Arc::clone(key), value.clone())).collect()))
        }
        (merged, _) => merged,
    }
}

/// The JSON pointers of everything in `value`; there are no lines to tell.
fn paths(value: &Value) -> BTreeMap<String, usize> {
    fn collect(value: &Value, path: &str, into: &mut BTreeMap<String, usize>) {
        let mut add = |key: &str, value: &Value| {
            let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
            collect(value, &path, into);
            into.insert(path, 0);
        };
        match value {
            Value::Map(members) => members.iter().for_each(|(key, value)| add(key, value)),
            Value::List(items) => {
                items.iter().enumerate().for_each(|(place, value)| add(&place.to_string(), value));
            }
            _ => {}
        }
    }
    let mut found = BTreeMap::new();
    collect(value, "", &mut found);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merge(given: serde_json::Value, defaults: serde_json::Value) -> serde_json::Value {
        coalesced(&Value::from(&given), &Value::from(&defaults)).to_json()
    }

    fn error(overrides: Result<Overrides<'_>, ValuesError>) -> String {
        overrides.and_then(Overrides::merged).unwrap_err().to_string()
    }

    #[test]
    fn maps_go_into_one_another_and_everything_else_takes_its_place() {
        let defaults = json!({"a": {"b": 1, "c": [1, 2]}, "d": {"e": 1}, "f": 1, "g": {"h": 1}});
        let given = json!({"a": {"c": [3]}, "d": 2, "f": {"x": 1}, "i": null, "g": {"h": null, "j": null}});
        let wanted = json!({"a": {"b": 1, "c": [3]}, "d": 2, "f": {"x": 1}, "i": null, "g": {}});
        assert_eq!(merge(given, defaults), wanted);
        assert_eq!(merge(json!({"a": null}), json!({"a": {"b": 1}})), json!({}));
    }

    #[test]
    fn what_comes_later_goes_over_what_came_before() {
        let values = Chart::embedded().values();
        let values = values.file("values-dev.yaml").unwrap();
        let values = values.text("mine.yaml", "logLevel: warn\nimage: {tag: '2'}\n").unwrap();
        let values = values.set("image.tag=3,slots.order.b.enabled=true").unwrap();
        let values = values.overlay("the rollout", &json!({"slots": {"order": {"live": "b"}}})).unwrap();
        let error = values.merged().unwrap_err().to_string();
        assert_eq!(
            error,
            "the values do not fit the chart\n`image.tag=3,slots.order.b.enabled=true`: image.tag: 3 is not of type \"string\""
        );
    }

    #[test]
    fn a_misfit_is_told_with_who_gave_it() {
        let chart = Chart::embedded();
        let text = "environment: prod\nslots:\n  order:\n    live: c\n";
        assert_eq!(
            error(chart.values().text("mine.yaml", text)),
            "the values do not fit the chart\nmine.yaml:4: slots.order.live: \"c\" is not one of \"a\" or \"b\""
        );
        let text = "\nsmtp:\n  nonsense: 1\n";
        let told = error(chart.values().text("mine.yaml", text));
        assert!(told.ends_with("\nmine.yaml:3: smtp.nonsense: the chart has no such value"), "{told}");
        let told = error(chart.values().text("mine.yaml", "\nimage: null\n"));
        assert!(told.ends_with("\nmine.yaml:2: image: the chart needs this value"), "{told}");
        let told = error(chart.values().overlay("the rollout", &json!({"slots": {"order": {"live": 3}}})));
        assert!(told.contains("the rollout: slots.order.live: "), "{told}");
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        let chart = Chart::embedded();
        assert_eq!(
            error(chart.values().text("mine.yaml", "a: 1\na: 2\n")),
            "mine.yaml:2:1: `a` is in line 1 already"
        );
        assert_eq!(
            error(chart.values().text("mine.yaml", "- 1\n")),
            "mine.yaml: values are a map, not a list"
        );
        assert_eq!(error(chart.values().set("a")), "could not set `a`: `a` has no value");
        let told = error(chart.values().file("values-nowhere.yaml"));
        assert_eq!(
            told,
            "could not read the values file values-nowhere.yaml; the chart brings values-dev.yaml, values-prod.yaml, values-staging.yaml"
        );
    }
}
