//! Whether a person wants what a command is about to change on a cluster.

use std::io::{self, BufRead as _, Write as _};

use crate::config::KubernetesSettings;
use crate::failure::{Exit, Failure};
use crate::output::Printer;

/// How much a change can hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Danger {
    /// A scale, a restart, a deploy: asked for where the environment is protected.
    Moderate,
    /// What somebody did on purpose, maybe, is undone: asked for everywhere, unless it was agreed to beforehand.
    Undoing {
        /// Whether it was, by `--yes`. A protected environment wants its name all the same.
        is_agreed: bool,
    },
    /// Customers are not served until somebody undoes it: asked for everywhere, unless it was agreed to beforehand.
    Outage {
        /// Whether it was, by `--yes`. A protected environment wants its name all the same.
        is_agreed: bool,
    },
    /// What cannot be taken back, or breaks somebody else's work: the environment's name must be typed.
    Severe,
}

/// What the command line says about it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Consent {
    /// Do it in the environment of this name, which a protected one and the severe ask for
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
}

impl Consent {
    /// Goes on when `what` may be done to the environment of `settings`.
    ///
    /// # Errors
    /// When nobody may be asked, or somebody was and said no; when another environment was confirmed.
    pub fn to(
        &self,
        what: &str,
        danger: Danger,
        settings: &KubernetesSettings,
        printer: &Printer,
    ) -> Result<(), Failure> {
        let name = &settings.environment;
        if let Some(confirmed) = &self.confirm {
            return if confirmed == name { Ok(()) } else { Err(other(confirmed, name)) };
        }
        match danger {
            Danger::Moderate | Danger::Undoing { is_agreed: true } | Danger::Outage { is_agreed: true }
                if !settings.protected =>
            {
                Ok(())
            }
            Danger::Undoing { is_agreed: false } | Danger::Outage { is_agreed: false }
                if !settings.protected =>
            {
                agree(what, printer)
            }
            _ => self.ask(what, name, printer),
        }
    }

    fn ask(&self, what: &str, name: &str, printer: &Printer) -> Result<(), Failure> {
        let hint = format!("say --confirm {name}");
        let question = format!("{what}\ntype the environment's name ({name}) to go on: ");
        match answer(&question, printer) {
            None => Err(nobody(what).hint(hint)),
            Some(typed) if typed == *name => Ok(()),
            Some(_) => Err(declined("nothing was changed: the name was not typed").hint(hint)),
        }
    }
}

/// A yes, typed.
fn agree(what: &str, printer: &Printer) -> Result<(), Failure> {
    let hint = "say --yes";
    match answer(&format!("{what}\ngo on? [y/N] "), printer) {
        None => Err(nobody(what).hint(hint)),
        Some(typed) if matches!(typed.to_lowercase().as_str(), "y" | "yes") => Ok(()),
        Some(_) => Err(declined("nothing was changed").hint(hint)),
    }
}

/// What a person types; none when there is nobody.
fn answer(question: &str, printer: &Printer) -> Option<String> {
    if !printer.terminal().is_interactive {
        return None;
    }
    printer.talk(question);
    io::stderr().flush().ok();
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed).ok();
    Some(typed.trim().to_owned())
}

fn nobody(what: &str) -> Failure {
    declined(format!("{what} needs consent, and there is nobody to ask"))
}

fn declined(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Declined, "E-CONSENT", message)
}

fn other(confirmed: &str, name: &str) -> Failure {
    let message = format!("`{confirmed}` was confirmed, and the environment is `{name}`");
    Failure::new(Exit::Declined, "E-CONSENT", message)
        .hint(format!("say -e {confirmed}, or --confirm {name}"))
}
