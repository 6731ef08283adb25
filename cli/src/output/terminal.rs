//! What the two streams can show. [`resolve`] is pure, so that every combination can be tested.

use std::io::IsTerminal;

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal that can show it.
    #[default]
    Auto,
    /// Always, also into a file or a pipe.
    Always,
    /// Never.
    Never,
}

/// What the streams are connected to, as the system says.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// stdout is a terminal.
    pub stdout_is_terminal: bool,
    /// stderr is a terminal.
    pub stderr_is_terminal: bool,
    /// stdin is a terminal, so that a person can answer.
    pub stdin_is_terminal: bool,
    /// The terminal of stdin listens to somebody else: a shell let this process go to the background.
    pub is_background: bool,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `TERM=dumb`.
    pub is_dumb: bool,
    /// `CI` is set, whatever the streams claim to be.
    pub is_ci: bool,
    /// `COLUMNS`, or what the terminal says.
    pub columns: Option<u16>,
}

impl Surroundings {
    /// Asks the system.
    #[must_use]
    pub fn of_process() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        Self {
            stdout_is_terminal: std::io::stdout().is_terminal(),
            stderr_is_terminal: std::io::stderr().is_terminal(),
            stdin_is_terminal: std::io::stdin().is_terminal(),
            // A terminal that rules no jobs has no background.
            is_background: rustix::termios::tcgetpgrp(std::io::stdin())
                .is_ok_and(|group| group != rustix::process::getpgrp()),
            no_color: set("NO_COLOR"),
            is_dumb: std::env::var_os("TERM").is_some_and(|term| term == "dumb"),
            is_ci: set("CI"),
            columns: columns
                .or_else(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| size.ws_col)),
        }
    }
}

/// What the printer may do on each stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Colour on stdout.
    pub color_out: bool,
    /// Colour on stderr.
    pub color_err: bool,
    /// Bars and living lines on stderr; one line per state change otherwise.
    pub animate: bool,
    /// All of stderr's terminal can be drawn on, and keys be read from stdin.
    pub has_screen: bool,
    /// A person sits at both ends and can be shown things at their pace.
    pub is_interactive: bool,
    /// How wide stdout is; nothing is cut where this is unknown.
    pub columns: Option<u16>,
}

/// Decides what the streams may show.
#[must_use]
pub fn resolve(color: ColorChoice, progress: bool, around: &Surroundings) -> Terminal {
    let may_color = |is_terminal: bool| match color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => is_terminal && !around.no_color && !around.is_dumb,
    };
    let animate = progress && around.stderr_is_terminal && !around.is_dumb && !around.is_ci;
    Terminal {
        color_out: may_color(around.stdout_is_terminal),
        color_err: may_color(around.stderr_is_terminal),
        animate,
        has_screen: animate && around.stdin_is_terminal && !around.is_background,
        is_interactive: around.stdin_is_terminal && around.stdout_is_terminal && !around.is_ci,
        columns: around.columns.filter(|columns| around.stdout_is_terminal && *columns >= 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal() -> Surroundings {
        Surroundings {
            stdout_is_terminal: true,
            stderr_is_terminal: true,
            stdin_is_terminal: true,
            columns: Some(100),
            ..Surroundings::default()
        }
    }

    #[test]
    fn a_terminal_gets_colour_bars_and_a_width() {
        let shown = resolve(ColorChoice::Auto, true, &terminal());
        assert!(shown.color_out && shown.color_err && shown.animate && shown.is_interactive);
        assert_eq!(shown.columns, Some(100));
    }

    #[test]
    fn a_pipe_gets_plain_lines_that_are_never_cut() {
        let piped = Surroundings { stdout_is_terminal: false, ..terminal() };
        let shown = resolve(ColorChoice::Auto, true, &piped);
        assert!(!shown.color_out && !shown.is_interactive);
        assert!(shown.color_err && shown.animate, "stderr is still a terminal");
        assert_eq!(shown.columns, None);
    }

    #[test]
    fn a_terminal_that_ci_fakes_gets_no_bars() {
        let ci = Surroundings { is_ci: true, ..terminal() };
        assert!(!resolve(ColorChoice::Auto, true, &ci).animate);
        assert!(!resolve(ColorChoice::Auto, false, &terminal()).animate);
    }

    #[test]
    fn a_screen_wants_a_terminal_at_stderr_and_keys_at_stdin() {
        let piped = Surroundings { stdout_is_terminal: false, ..terminal() };
        assert!(resolve(ColorChoice::Never, true, &terminal()).has_screen);
        assert!(resolve(ColorChoice::Auto, true, &piped).has_screen, "the result may go to a file");
        assert!(!resolve(ColorChoice::Auto, false, &terminal()).has_screen);
        for around in [
            Surroundings { stdin_is_terminal: false, ..terminal() },
            Surroundings { stderr_is_terminal: false, ..terminal() },
            Surroundings { is_background: true, ..terminal() },
            Surroundings { is_dumb: true, ..terminal() },
            Surroundings { is_ci: true, ..terminal() },
        ] {
            assert!(!resolve(ColorChoice::Auto, true, &around).has_screen, "{around:?}");
        }
    }

    #[test]
    fn no_color_and_dumb_terminals_are_honoured_unless_colour_is_forced() {
        for around in
            [Surroundings { no_color: true, ..terminal() }, Surroundings { is_dumb: true, ..terminal() }]
        {
            assert!(!resolve(ColorChoice::Auto, true, &around).color_out);
            assert!(resolve(ColorChoice::Always, true, &around).color_out);
        }
        assert!(!resolve(ColorChoice::Never, true, &terminal()).color_out);
    }
}
