//! Colours and weights, by what they say.

use ratatui::style::{Color, Modifier, Style};

/// Whether colours may be used. What they say is always said in words too.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Colours may be used.
    pub has_color: bool,
}

impl Look {
    pub(super) fn colored(self, style: Style, color: Color) -> Style {
        if self.has_color { style.fg(color) } else { style }
    }

    pub(super) fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn good(self) -> Style {
        self.colored(Style::new(), Color::Green)
    }

    pub(super) fn bad(self) -> Style {
        self.colored(self.bold(), Color::Red)
    }

    pub(super) fn careful(self) -> Style {
        self.colored(self.bold(), Color::Yellow)
    }

    pub(super) fn accent(self) -> Style {
        self.colored(Style::new(), Color::Cyan)
    }
}
