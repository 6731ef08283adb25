//! The thread between the run, the terminal and whoever sits before it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::broadcast::error::TryRecvError;

use super::super::control::Control;
use super::super::run::Live;
use super::draw::draw;
use super::keys::{self, Action, action};
use super::look::Look;
use super::state::State;
use crate::output::Screen;

/// A key is waited for so long, then it is looked for news of the run.
const TICK: Duration = Duration::from_millis(50);

/// Shows the run on `screen`, on a thread of its own, until it ends. Where the screen cannot be had nothing is shown.
pub fn watch(live: Live, state: State, screen: Arc<Screen>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let _closing = screen.closing();
        if screen.open().is_ok() {
            // A terminal that went away shows nothing more: the lines take over.
            show(live, state, &screen).ok();
        }
    })
}

fn show(mut live: Live, mut state: State, screen: &Screen) -> std::io::Result<()> {
    let look = Look { has_color: screen.has_color() };
    loop {
        let mut has_news = state.steered(&live.control);
        loop {
            match live.snapshots.try_recv() {
                Ok(snapshot) => state.on(snapshot),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Closed) => return Ok(()),
            }
            has_news = true;
        }
        if has_news || screen.is_resized() || !state.was_drawn() {
            state.drawn();
            screen.draw(|frame| draw(frame, &state, look))?;
        }
        for action in screen.keys(TICK)?.into_iter().filter_map(action) {
            take(action, &mut state, &live.control);
        }
    }
}

/// Does what a key asks for.
fn take(action: Action, state: &mut State, control: &Control) {
    match state.heard(action) {
        Some(Action::Pause) => control.pause(!control.is_paused()),
        Some(Action::More) => control.multiply(keys::more(control.factor())),
        Some(Action::Less) => control.multiply(keys::less(control.factor())),
        Some(Action::Stop) => control.stop(),
        // The very signal that the key would have made: whoever hears signals does what it means.
        Some(Action::Interrupt) => drop(kill_process(getpid(), Signal::INT)),
        Some(Action::Help) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::schedule::Schedule;
    use super::super::state::Levers;
    use super::*;

    #[test]
    fn keys_move_the_levers_that_a_load_has() {
        let control = Control::new(Schedule::default(), false);
        let mut state = State::new("mixed", "http://127.0.0.1:1", Levers::All);
        for action in [Action::Pause, Action::More, Action::More, Action::Less, Action::Less, Action::Less] {
            take(action, &mut state, &control);
        }
        assert_eq!((control.is_paused(), control.factor()), (true, 0.75));
        take(Action::Pause, &mut state, &control);
        take(Action::Stop, &mut state, &control);
        assert!(!control.is_paused() && control.is_stopped());
        assert!(state.steered(&control) && !state.steered(&control), "it is news once");
        take(Action::Pause, &mut state, &control);
        assert!(!control.is_paused(), "what is over is not paused");
    }

    #[test]
    fn a_search_decides_its_own_load_and_says_so() {
        let control = Control::new(Schedule::default(), false);
        let mut state = State::new("knee", "http://127.0.0.1:1", Levers::None);
        for action in [Action::Pause, Action::More, Action::Less] {
            take(action, &mut state, &control);
            assert!(state.note.is_some(), "{action:?}");
        }
        assert!(!control.is_paused() && control.factor() == 1.0 && !control.was_changed());
        take(Action::Stop, &mut state, &control);
        assert!(state.note.is_none() && control.is_stopped());
    }
}
