//! The whole terminal, lent to a view that draws on it and hears its keys.
//!
//! What was changed of the terminal is put back by [`Screen::close`], which whoever opened it calls when all is over, and
//! [`Closing`] calls in every other case: an error, a panic. A panic on any thread is held back until then, since nobody
//! could read it on a screen that is about to vanish.
//!
//! It looks for keys and for the size by itself: the usual ways ask `/dev/tty` or start `tput`, and spin when the
//! terminal is gone.

use std::io::{self, BufWriter, IsTerminal as _, Stderr, Write as _};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::style::force_color_output;
use ratatui::crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetwinsize, tcsetattr};

/// What a terminal that does not know its size is taken to have.
const USUAL_SIZE: (u16, u16) = (80, 24);
/// Bytes of keys that are read at once.
const KEYS_MAX: usize = 256;

/// Panics of the time in which a screen is open; absent while none is.
static HELD_BACK: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A letter, a digit, a sign, a space.
    Letter(char),
    /// Ctrl-C, which makes no signal while the screen is open.
    Interrupt,
}

/// The terminal, once it is opened. Drawn on through stderr, keys come from stdin.
#[derive(Debug, Default)]
pub struct Screen {
    held: Mutex<Option<Held>>,
    /// It was closed, and whoever comes late with opening it does not: nobody would close it again.
    is_over: AtomicBool,
    has_color: bool,
}

#[derive(Debug)]
struct Held {
    terminal: Drawing,
    size: (u16, u16),
    /// How the terminal was.
    before: Termios,
}

type Drawing = Terminal<CrosstermBackend<BufWriter<Stderr>>>;

/// Closes the screen when it is dropped.
#[derive(Debug)]
pub struct Closing<'a>(&'a Screen);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Screen {
    /// A screen that is not open yet.
    #[must_use]
    pub fn new(has_color: bool) -> Self {
        Self { has_color, ..Self::default() }
    }

    /// Whether colours may be used on it.
    #[must_use]
    pub fn has_color(&self) -> bool {
        self.has_color
    }

    /// Closes it when what is answered is dropped.
    #[must_use]
    pub fn closing(&self) -> Closing<'_> {
        Closing(self)
    }

    /// Takes the terminal.
    ///
    /// # Errors
    /// When stdin or stderr is none, or it does not do as it is told; it is then as it was.
    pub fn open(&self) -> io::Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Ok(());
        }
        if self.is_over.load(Ordering::Relaxed) {
            return Err(io::Error::other("the screen was closed"));
        }
        let keys = io::stdin();
        if !io::stderr().is_terminal() {
            return Err(io::Error::other("stderr is not a terminal"));
        }
        let before = tcgetattr(&keys)?;
        hold_panics_back();
        let mut raw = before.clone();
        raw.make_raw();
        // A line that somebody else writes still begins at the left.
        raw.output_modes = before.output_modes;
        // A view that is its own has its own way with colours: it was asked for them by the flag.
        force_color_output(self.has_color);
        let size = size();
        let opened = tcsetattr(&keys, OptionalActions::Now, &raw)
            .map_err(io::Error::from)
            .and_then(|()| execute!(io::stderr(), EnterAlternateScreen, Hide, Clear(ClearType::All)))
            .and_then(|()| drawing(size));
        match opened {
            Ok(terminal) => {
                *held = Some(Held { terminal, size, before });
                Ok(())
            }
            Err(error) => {
                put_back(&before);
                Err(error)
            }
        }
    }

    /// Whether it can be drawn on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Puts the terminal back as it was, for good. Does nothing more when it is not open.
    pub fn close(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(Held { terminal, before, .. }) = held.take() {
            drop(terminal);
            put_back(&before);
        }
    }

    /// Draws all of it anew; only what has changed is sent. Does nothing when it is not open.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    pub fn draw(&self, view: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = held.as_mut() else { return Ok(()) };
        let size = size();
        if size != held.size {
            execute!(io::stderr(), Clear(ClearType::All))?;
            held.terminal = drawing(size)?;
            held.size = size;
        }
        held.terminal.draw(view).map(drop)
    }

    /// Whether somebody has made the terminal larger or smaller since it was drawn on.
    #[must_use]
    pub fn is_resized(&self) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().is_some_and(|held| held.size != size())
    }

    /// The keys that were pressed, after waiting for one for at most `patience`.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn keys(&self, patience: Duration) -> io::Result<Vec<Key>> {
        let keys = io::stdin();
        let mut wanted = [PollFd::new(&keys, PollFlags::IN)];
        let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
        match poll(&mut wanted, Some(&patience)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; KEYS_MAX];
        match rustix::io::read(keys.as_fd(), &mut bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => Ok(pressed(&bytes[..count])),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Columns and rows of the terminal.
fn size() -> (u16, u16) {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => USUAL_SIZE,
    }
}

fn drawing((columns, rows): (u16, u16)) -> io::Result<Drawing> {
    let viewport = Viewport::Fixed(Rect::new(0, 0, columns, rows));
    // One write a picture: on a slow line half of one would be seen otherwise.
    let backend = CrosstermBackend::new(BufWriter::with_capacity(64 * 1024, io::stderr()));
    Terminal::with_options(backend, TerminalOptions { viewport })
}

/// The terminal is as it was before, and what was held back is told. Nobody is left to tell what fails of it.
fn put_back(before: &Termios) {
    execute!(io::stderr(), LeaveAlternateScreen, Show).ok();
    let keys = io::stdin();
    // Keys that were meant for the view are no command for whoever reads next.
    tcflush(&keys, QueueSelector::IFlush).ok();
    tcsetattr(&keys, OptionalActions::Now, before).ok();
    let told = HELD_BACK.lock().unwrap_or_else(PoisonError::into_inner).take();
    for panic in told.unwrap_or_default() {
        writeln!(io::stderr(), "{panic}").ok();
    }
}

/// From now on until the terminal is put back, a panic is kept to be told then.
fn hold_panics_back() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let mut held_back = HELD_BACK.lock().unwrap_or_else(PoisonError::into_inner);
            match held_back.as_mut() {
                Some(all) => {
                    let thread = std::thread::current();
                    all.push(format!("thread '{}' {panic}", thread.name().unwrap_or("<unnamed>")));
                }
                None => {
                    drop(held_back);
                    usual(panic);
                }
            }
        }));
    });
    *HELD_BACK.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
}

/// The keys in what a terminal sent. Arrows and the like come as an escape and letters, which are no letters that
/// somebody typed.
fn pressed(bytes: &[u8]) -> Vec<Key> {
    const ESCAPE: u8 = 0x1b;
    const CONTROL_C: u8 = 0x03;
    let mut keys = Vec::new();
    let mut rest = bytes.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            ESCAPE => match rest.next() {
                // What follows is read to its last byte, which is the first from `@` on.
                Some(b'[') => while rest.next().is_some_and(|byte| !matches!(byte, b'@'..=b'~')) {},
                Some(b'O') => drop(rest.next()),
                _ => {}
            },
            CONTROL_C => keys.push(Key::Interrupt),
            b' '..=b'~' => keys.push(Key::Letter(char::from(byte))),
            _ => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_send_letters_after_an_escape_are_not_those_letters() {
        let letter = Key::Letter;
        assert_eq!(pressed(b"p q"), [letter('p'), letter(' '), letter('q')]);
        assert_eq!(pressed(b"\x1b[A\x1b[1;5q+\x1bOq-\x1bq"), [letter('+'), letter('-')]);
        assert_eq!(pressed("é\x03\r\x1a".as_bytes()), [Key::Interrupt]);
        assert_eq!(pressed(b"\x1b["), []);
    }

    #[test]
    fn a_screen_that_is_not_open_is_drawn_on_in_vain_and_closed_in_vain() {
        let screen = Screen::new(false);
        let mut was_drawn = false;
        screen.draw(|_| was_drawn = true).unwrap();
        screen.close();
        assert!(!was_drawn && !screen.is_open() && !screen.is_resized());
        assert!(screen.open().is_err(), "it was closed for good");
    }
}
