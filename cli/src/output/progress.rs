//! How far something is: a bar on a terminal, one line per state change elsewhere, events for scripts.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{Format, Printer};

/// Shows one piece of work that goes through phases.
pub struct Progress<'a> {
    printer: &'a Printer,
    bar: Option<ProgressBar>,
    phase: String,
}

impl std::fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl<'a> Progress<'a> {
    /// Nothing is shown until the first step.
    #[must_use]
    pub fn new(printer: &'a Printer) -> Self {
        Self { printer, bar: None, phase: String::new() }
    }

    /// `done` of `total` of `phase` are through; a new phase is a state change. `total` 0 means unknown.
    pub fn step(&mut self, phase: &str, done: u64, total: u64) {
        let is_new = phase != self.phase;
        phase.clone_into(&mut self.phase);
        if self.printer.format() == Format::Ndjson {
            // A script that stopped reading does not stop the work.
            self.printer
                .event(&json!({"event": "progress", "phase": phase, "done": done, "total": total}))
                .ok();
        }
        if !self.printer.is_talkative() {
        } else if self.printer.terminal().animate {
            self.draw(phase, done, total);
        } else if is_new {
            self.printer.say(phase);
        }
    }

    /// Whether a living line would be seen.
    #[must_use]
    pub fn is_animated(&self) -> bool {
        self.printer.terminal().animate && self.printer.is_talkative()
    }

    /// The living line: replaces what stands there. Nothing off a terminal.
    pub fn line(&mut self, text: &str) {
        if self.is_animated() {
            let bar = self.bar.get_or_insert_with(|| new_bar("{spinner} {msg}"));
            bar.set_style(style("{spinner} {msg}"));
            bar.set_message(text.to_owned());
        }
    }

    /// Clears the line, so that what comes next starts on a clean one.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn draw(&mut self, phase: &str, done: u64, total: u64) {
        let template = if total > 0 { "{spinner} {msg} {bar:24} {pos}/{len}" } else { "{spinner} {msg}" };
        let bar = self.bar.get_or_insert_with(|| new_bar(template));
        bar.set_style(style(template));
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message(phase.to_owned());
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

fn new_bar(template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(style(template));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
