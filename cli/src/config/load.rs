//! Finds `shop.toml`, reads it, and says which part of it holds.

use std::path::{Path, PathBuf};

use super::document::{self, Kind};
use super::model::{File, Layer};
use crate::failure::{Exit, Failure, nearest};

/// The name of the file that is searched upward.
const FILE_NAME: &str = "shop.toml";

/// The configuration of one environment: the file, when there is one, and which part of it holds.
#[derive(Debug)]
pub struct Config {
    environment: String,
    root: PathBuf,
    path: Option<PathBuf>,
    text: String,
    file: File,
}

impl Config {
    /// The configuration for `environment`: from `path` when given, else from the first `shop.toml` upward of
    /// `folder`, else all built in.
    ///
    /// # Errors
    /// When a named file is absent, the file is invalid, or it does not know the environment.
    pub fn load(environment: &str, path: Option<&Path>, folder: &Path) -> Result<Self, Failure> {
        let found = match path {
            Some(path) => Some(path.to_owned()),
            None => search_upward(folder),
        };
        let Some(path) = found else {
            let config = Self {
                environment: environment.to_owned(),
                root: folder.to_owned(),
                path: None,
                text: String::new(),
                file: File { schema: 1, ..File::default() },
            };
            return config.checked();
        };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::new(Exit::Config, "E-CONFIG-READ", format!("could not read {}", path.display()))
                .object(path.display())
                .hint("name an existing file with --config, or leave it out to use what is built in")
                .because(error)
        })?;
        let file = parse(&path, &text)?;
        let root = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let root = root.map_or_else(|| folder.to_owned(), |parent| folder.join(parent));
        let environment = environment.to_owned();
        Self { environment, root, path: Some(path), text, file }.checked()
    }

    /// The environment it is for.
    #[must_use]
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// The folder of `shop.toml`, or the current one.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file, when there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What the file says.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The text of the file.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// `[env.NAME]`, when the file has it.
    pub(super) fn environment_layer(&self) -> Option<&Layer> {
        self.file.env.get(&self.environment)
    }

    /// `[defaults]`.
    pub(super) fn defaults_layer(&self) -> &Layer {
        &self.file.defaults
    }

    fn checked(self) -> Result<Self, Failure> {
        if self.file.schema != 1 {
            let message = format!("shop.toml has schema {}, and this shopctl reads 1", self.file.schema);
            return Err(self.invalid("E-CONFIG-SCHEMA", message, "use the shopctl that wrote it"));
        }
        if let Some(least) = self.file.min_version.clone() {
            let ours = env!("CARGO_PKG_VERSION");
            if version(&least) > version(ours) {
                let message = format!("shop.toml needs shopctl {least} or newer, and this is {ours}");
                return Err(self.invalid("E-CONFIG-VERSION", message, "install a newer shopctl"));
            }
        }
        if self.environment != "local" && !self.file.env.contains_key(&self.environment) {
            let known: Vec<&str> =
                self.file.env.keys().map(String::as_str).chain(["local"]).collect::<Vec<_>>();
            let near = nearest(&self.environment, known.iter().copied());
            let hint = near.map_or_else(
                || format!("known here: {}; add [env.{}] to shop.toml", known.join(", "), self.environment),
                |near| format!("did you mean `-e {near}`?"),
            );
            let message = format!("there is no environment `{}`", self.environment);
            return Err(self.invalid("E-CONFIG-ENV", message, &hint));
        }
        Ok(self)
    }

    pub(super) fn invalid(&self, code: &'static str, message: String, hint: &str) -> Failure {
        let failure = Failure::new(Exit::Config, code, message).hint(hint);
        match &self.path {
            Some(path) => failure.object(path.display()),
            None => failure,
        }
    }
}

fn search_upward(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().map(|folder| folder.join(FILE_NAME)).find(|path| path.is_file())
}

/// `1.2.3` as numbers; what is not a number counts as 0.
fn version(text: &str) -> Vec<u64> {
    let mut parts: Vec<u64> = text.split('.').map(|part| part.parse().unwrap_or(0)).collect();
    parts.resize(3, 0);
    parts
}

fn parse(path: &Path, text: &str) -> Result<File, Failure> {
    let kind =
        Kind { code: "E-CONFIG-INVALID", hint: "`shopctl config schema` prints what the file may say" };
    document::read(&path.display().to_string(), text, kind)
}

/// The environment `dev` of a `shop.toml` with this text, for tests; the folder that it stands in goes with the first.
#[cfg(test)]
pub(super) fn dev(text: &str) -> (tempfile::TempDir, Config) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shop.toml"), text).unwrap();
    let config = Config::load("dev", None, folder.path()).unwrap();
    (folder, config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Diagnosis;

    fn diagnosis(text: &str, environment: &str) -> Diagnosis {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("shop.toml"), text).unwrap();
        let failure = Config::load(environment, None, folder.path()).unwrap_err();
        Diagnosis::of(&failure.into())
    }

    #[test]
    fn the_file_is_searched_upward() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(folder.path().join("shop.toml"), "schema = 1\n[env.dev]\nport = 9000\n").unwrap();
        let config = Config::load("dev", None, &deep).unwrap();
        assert_eq!(config.root(), folder.path());
        assert_eq!(config.environment_layer().unwrap().port, Some(9000));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest() {
        let found = diagnosis("schema = 1\n\n[defaults]\nprot = 9000\n", "local");
        assert_eq!(found.exit, Exit::Config);
        assert!(found.message.ends_with("shop.toml:4: unknown key `prot`"), "{}", found.message);
        assert_eq!(found.hint.as_deref(), Some("did you mean `port`?"));
        assert!(found.picture.unwrap().contains("prot = 9000"));
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_shown_where_it_stands() {
        let found = diagnosis("schema = 1\n[defaults]\nport = \"many\"\n", "local");
        assert!(found.message.contains("shop.toml:3: invalid type"), "{}", found.message);
    }

    #[test]
    fn an_environment_nobody_knows_gets_a_suggestion() {
        let found = diagnosis("schema = 1\n[env.staging]\n", "stagin");
        assert_eq!(found.hint.as_deref(), Some("did you mean `-e staging`?"));
    }

    #[test]
    fn a_file_for_a_newer_shopctl_is_refused() {
        let found = diagnosis("schema = 1\nmin_version = \"99.1\"\n", "local");
        assert_eq!(found.code, "E-CONFIG-VERSION");
        assert!(version("0.10.0") > version("0.9.9"));
    }
}
