//! The values that hold, typed: a configuration that cannot be half valid.

use std::path::PathBuf;

use clap::ValueEnum;

use super::model::Layer;
use super::{Config, DatabaseUrl, Engine, Limits, Target, database_url};
use crate::failure::{Exit, Failure};

/// What the command line says. The parser has already put variables of the environment in place of absent
/// flags, so both arrive here.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--port`.
    pub port: Option<u16>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--engine`.
    pub engine: Option<Engine>,
    /// `--database-url`.
    pub database_url: Option<String>,
    /// `--limits`.
    pub limits: Option<Limits>,
    /// `--allow-faults`.
    pub allow_faults: Option<bool>,
    /// `--empty` says no.
    pub demo: Option<bool>,
    /// `--processes`: the engine is PostgreSQL unless somebody says otherwise, and no address means one of the
    /// shop's own.
    pub processes: bool,
}

/// What a local shop is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the shop lives.
    pub target: Target,
    /// The port of the public listener; 0 takes a free one.
    pub port: u16,
    /// The folder of the shop's data, absolute.
    pub data_dir: PathBuf,
    /// What keeps the data.
    pub engine: Engine,
    /// The database's address; always there when the engine is PostgreSQL, but for a shop in pieces, which can have
    /// one of its own.
    pub database_url: Option<DatabaseUrl>,
    /// The table of rate limits.
    pub limits: Limits,
    /// Fault switches may be thrown.
    pub allow_faults: bool,
    /// A new shop starts with a demo catalogue.
    pub demo: bool,
}

impl Config {
    /// The values that hold under `flags`.
    ///
    /// # Errors
    /// When a value of the environment cannot be read, or PostgreSQL is asked for without an address.
    pub fn settings(
        &self,
        flags: &Overrides,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Settings, Failure> {
        let usual = if flags.processes { Engine::Postgres } else { Engine::Sqlite };
        let engine = flags.engine.or(self.pick(|layer| layer.engine)).unwrap_or(usual);
        if flags.processes && engine == Engine::Sqlite {
            let message =
                "a shop in several processes cannot keep its data in SQLite: one process owns the file";
            return Err(Failure::new(Exit::Usage, "E-ENGINE", message)
                .hint("leave --engine out, or say --engine postgres; without an address it starts its own"));
        }
        let in_file = self.pick(|layer| layer.database_url.clone());
        let database_url = database_url(flags.database_url.as_deref(), in_file.as_deref(), &variable)?;
        if engine == Engine::Postgres && database_url.is_none() && !flags.processes {
            let message = "the engine is postgres and there is no database address";
            return Err(Failure::new(Exit::Config, "E-DATABASE-URL", message)
                .hint("set SHOPCTL_DATABASE_URL, or SHOPCTL_DATABASE_URL_FILE to a file that holds it"));
        }
        Ok(Settings {
            target: self.pick(|layer| layer.target).unwrap_or(Target::Embedded),
            port: flags.port.or(self.pick(|layer| layer.port)).unwrap_or(8080),
            data_dir: self.data_dir(flags.data_dir.clone(), &variable)?,
            engine,
            database_url,
            limits: flags.limits.or(self.pick(|layer| layer.limits)).unwrap_or(Limits::Local),
            allow_faults: flags
                .allow_faults
                .or(switch("SHOPCTL_ALLOW_FAULTS", &variable)?)
                .or(self.pick(|layer| layer.allow_faults))
                .unwrap_or(self.environment() == "local"),
            demo: flags
                .demo
                .or(switch("SHOPCTL_DEMO", &variable)?)
                .or(self.pick(|layer| layer.demo))
                .unwrap_or(true),
        })
    }

    /// The data folder under the flag `--data-dir`, absolute.
    ///
    /// # Errors
    /// When the current folder cannot be told.
    pub fn data_dir(
        &self,
        flag: Option<PathBuf>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<PathBuf, Failure> {
        let from_variable =
            || variable("SHOPCTL_DATA_DIR").filter(|path| !path.is_empty()).map(PathBuf::from);
        // A folder that the file names is meant from where the file stands, one that a person types from here.
        let folder = match flag.or_else(from_variable) {
            Some(folder) => folder,
            None => self.root().join(
                self.pick(|layer| layer.data_dir.clone())
                    .unwrap_or_else(|| PathBuf::from(".shopctl").join(self.environment())),
            ),
        };
        std::path::absolute(&folder).map_err(|error| {
            Failure::new(Exit::Preflight, "E-DATA-DIR", "could not tell where the data folder is")
                .object(folder.display())
                .because(error)
        })
    }

    pub(super) fn pick<T>(&self, value: impl Fn(&Layer) -> Option<T>) -> Option<T> {
        self.environment_layer().and_then(&value).or_else(|| value(self.defaults_layer()))
    }
}

/// A switch in the environment. The words are those of the parser's own switches.
pub(super) fn switch(name: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Option<bool>, Failure> {
    match variable(name).as_deref() {
        None | Some("") => Ok(None),
        Some("1" | "true" | "yes" | "on") => Ok(Some(true)),
        Some("0" | "false" | "no" | "off") => Ok(Some(false)),
        Some(other) => {
            let message = format!("{name} is `{other}`, and must be true or false");
            Err(Failure::new(Exit::Usage, "E-SWITCH", message).object(name))
        }
    }
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        word(self, f)
    }
}

impl std::fmt::Display for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        word(self, f)
    }
}

/// The word that a person types for it.
fn word(value: &impl ValueEnum, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    f.write_str(value.to_possible_value().as_ref().map_or("", |value| value.get_name()))
}

#[cfg(test)]
mod tests {
    use super::super::keys::KEYS;
    use super::*;

    fn config(text: &str) -> Config {
        super::super::load::dev(text).1
    }

    #[test]
    fn flags_beat_sections_beat_defaults() {
        let config = config("schema = 1\n[defaults]\nport = 1\nlimits = \"none\"\n[env.dev]\nport = 2\n");
        let under = |flags: &Overrides| config.settings(flags, |_| None).unwrap();
        assert_eq!(under(&Overrides::default()).port, 2);
        assert_eq!(under(&Overrides::default()).limits, Limits::None);
        assert_eq!(under(&Overrides { port: Some(3), ..Overrides::default() }).port, 3);
    }

    #[test]
    fn faults_are_allowed_in_local_only_unless_said() {
        let dev = config("schema = 1\n[env.dev]\n");
        assert!(!dev.settings(&Overrides::default(), |_| None).unwrap().allow_faults);
        let said = |name: &str| (name == "SHOPCTL_ALLOW_FAULTS").then(|| "yes".to_owned());
        assert!(dev.settings(&Overrides::default(), said).unwrap().allow_faults);
        let local = Config::load("local", None, std::path::Path::new("/")).unwrap();
        assert!(local.settings(&Overrides::default(), |_| None).unwrap().allow_faults);
    }

    #[test]
    fn postgres_without_an_address_is_refused() {
        let config = config("schema = 1\n[env.dev]\nengine = \"postgres\"\n");
        let failure = config.settings(&Overrides::default(), |_| None).unwrap_err();
        assert_eq!(failure.exit(), Exit::Config);
    }

    #[test]
    fn a_shop_in_pieces_has_postgres_of_its_own_unless_it_is_told_of_another() {
        let pieces = Overrides { processes: true, ..Overrides::default() };
        let settings = config("schema = 1\n[env.dev]\n").settings(&pieces, |_| None).unwrap();
        assert_eq!((settings.engine, settings.database_url.is_none()), (Engine::Postgres, true));
        let sqlite = config("schema = 1\n[env.dev]\nengine = \"sqlite\"\n");
        assert_eq!(sqlite.settings(&pieces, |_| None).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn the_list_of_keys_and_the_fields_of_a_layer_are_the_same() {
        let message = toml::from_str::<Layer>("nobody = 1").unwrap_err().message().to_owned();
        let fields: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
        let keys: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        assert_eq!(fields, keys);
    }

    #[test]
    fn what_is_built_in_is_what_the_list_says() {
        let local = Config::load("local", None, std::path::Path::new("/nowhere")).unwrap();
        let settings = local.settings(&Overrides::default(), |_| None).unwrap();
        let built_in = |name: &str| {
            let key = super::super::keys::find(name).unwrap();
            super::super::keys::built_in(key, "local", local.root()).unwrap()
        };
        assert_eq!(settings.port.to_string(), built_in("port"));
        assert_eq!(settings.engine.to_string(), built_in("engine"));
        assert_eq!(settings.limits.to_string(), built_in("limits"));
        assert_eq!(settings.demo.to_string(), built_in("demo"));
        assert_eq!(settings.allow_faults.to_string(), built_in("allow_faults"));
        assert_eq!(settings.data_dir.display().to_string(), built_in("data_dir"));
    }
}
