//! Where a value comes from.

use std::fmt;

use serde::Serialize;

use super::document::line_of;
use super::keys::{self, Key};
use super::{Config, secret};
use crate::failure::{Exit, Failure, nearest};

/// Who said so. The order is the precedence, highest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// The command line.
    Flag {
        /// The flag.
        flag: String,
    },
    /// A variable of the environment.
    Environment {
        /// The variable.
        variable: String,
    },
    /// A section of `shop.toml`.
    File {
        /// The file.
        path: String,
        /// The section, without brackets.
        section: String,
        /// The line of the value.
        line: usize,
    },
    /// Nobody: it is built in.
    BuiltIn,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag { flag } => f.write_str(flag),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
            Self::File { path, section, line } => write!(f, "[{section}] in {path}:{line}"),
            Self::BuiltIn => f.write_str("built in"),
        }
    }
}

/// A value and who said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The value as text; `None` when nothing sets it.
    pub value: Option<String>,
    /// Who said so.
    pub origin: Origin,
}

impl Config {
    /// The value of `key` and all that was said about it, the one that holds first.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn explain(
        &self,
        key: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(&'static Key, Vec<Found>), Failure> {
        let Some(known) = keys::find(key) else {
            let names = keys::KEYS.iter().map(|key| key.name);
            let hint = match nearest(key, names.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known keys: {}", names.collect::<Vec<_>>().join(", ")),
            };
            let message = format!("there is no key `{key}`");
            return Err(Failure::new(Exit::Usage, "E-CONFIG-KEY", message).hint(hint));
        };
        let name = known.variable();
        let said = variable(&name).filter(|value| !value.is_empty());
        let from_environment = said.map(|value| Found {
            value: Some(if key == "database_url" { secret::masked(&value) } else { value }),
            origin: Origin::Environment { variable: name },
        });
        let built_in =
            Found { value: keys::built_in(known, self.environment(), self.root()), origin: Origin::BuiltIn };
        let all = from_environment.into_iter().chain(self.in_file(key)).chain([built_in]);
        Ok((known, all.collect()))
    }

    /// What the file says about `key`: the environment's section, then the defaults.
    fn in_file(&self, key: &str) -> Vec<Found> {
        let Ok(document) = toml_edit::Document::parse(self.text()) else { return Vec::new() };
        let sections = [vec!["env", self.environment()], vec!["defaults"]];
        let mut found = Vec::new();
        for section in sections {
            let table = section.iter().try_fold(document.as_item(), |item, part| item.get(part));
            let Some(item) = table.and_then(|table| table.get(key)) else { continue };
            let span = item.span().unwrap_or(0..0);
            let line = line_of(self.text(), span.start);
            let text = item.as_str().or_else(|| self.text().get(span)).unwrap_or_default();
            found.push(Found {
                value: Some(text.to_owned()),
                origin: Origin::File {
                    path: self.path().map(|path| path.display().to_string()).unwrap_or_default(),
                    section: section.join("."),
                    line,
                },
            });
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::dev as config;
    use super::*;

    #[test]
    fn the_environment_beats_the_section_beats_the_defaults_beats_what_is_built_in() {
        let (_folder, config) = config("schema = 1\n[defaults]\nport = 1\n[env.dev]\nport = 2\n");
        let (_, found) =
            config.explain("port", |name| (name == "SHOPCTL_PORT").then(|| "3".to_owned())).unwrap();
        let values: Vec<&str> = found.iter().filter_map(|found| found.value.as_deref()).collect();
        assert_eq!(values, ["3", "2", "1", "8080"]);
        assert!(found[1].origin.to_string().ends_with("shop.toml:5"), "{}", found[1].origin);
        assert!(found[2].origin.to_string().starts_with("[defaults] in"), "{}", found[2].origin);
    }

    #[test]
    fn a_password_in_the_environment_is_never_shown() {
        let (_folder, config) = config("schema = 1\n[env.dev]\n");
        let (_, found) = config
            .explain("database_url", |name| {
                (name == "SHOPCTL_DATABASE_URL").then(|| "postgres://shop:s3cret@db/shop".to_owned())
            })
            .unwrap();
        assert_eq!(found[0].value.as_deref(), Some("postgres://shop:***@db/shop"));
    }

    #[test]
    fn a_key_nobody_knows_gets_a_suggestion() {
        let (_folder, config) = config("schema = 1\n[env.dev]\n");
        let failure = config.explain("data_dri", |_| None).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
    }
}
