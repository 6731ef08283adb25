//! What every command is handed: the configuration, the printer, the clock.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use platform::vocabulary::Env;

use crate::config::{Config, Overrides, Settings};
use crate::output::Printer;

/// Handed down to every command. Reads `shop.toml` only when a command asks for it.
pub struct Context<'a> {
    /// The way to the streams.
    pub printer: &'a Printer,
    /// Time and chance.
    pub env: Env,
    /// The environment that was asked for.
    pub environment: String,
    /// The file that was asked for.
    pub config_path: Option<PathBuf>,
    /// The tree of words, for help, completion and manual pages.
    pub tree: fn() -> clap::Command,
}

impl Context<'_> {
    /// The configuration of the environment.
    ///
    /// # Errors
    /// When `shop.toml` is invalid or does not know the environment.
    pub fn config(&self) -> anyhow::Result<Config> {
        let folder = std::env::current_dir().context("could not tell the current folder")?;
        Ok(Config::load(&self.environment, self.config_path.as_deref(), &folder)?)
    }

    /// The settings of a local shop under `flags`.
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn settings(&self, flags: &Overrides) -> anyhow::Result<Settings> {
        Ok(self.config()?.settings(flags, variable)?)
    }

    /// The data folder under the flag `--data-dir`.
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn data_dir(&self, flag: Option<&Path>) -> anyhow::Result<PathBuf> {
        Ok(self.config()?.data_dir(flag.map(Path::to_owned), variable)?)
    }

    /// Ctrl-C, listened to from here on: one that comes between two looks counts too. Needs a runtime.
    ///
    /// # Errors
    /// When the system lets nobody listen.
    pub fn interrupts(&self) -> anyhow::Result<tokio::signal::unix::Signal> {
        let interrupt = tokio::signal::unix::SignalKind::interrupt();
        tokio::signal::unix::signal(interrupt).context("could not listen to Ctrl-C")
    }

    /// A runtime for commands that wait: one thread, which is this one.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn runtime(&self) -> anyhow::Result<tokio::runtime::Runtime> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("could not start a runtime")
    }
}

/// A variable of the environment, when it is text.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
