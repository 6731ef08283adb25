//! A pseudo terminal of 80 columns and 24 rows with shopctl before it: keys go in, and what stands on it is read as a
//! person would see it.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::shopctl::{PATIENCE, Project};

const COLUMNS: u16 = 80;
const ROWS: u16 = 24;
/// A byte that shopctl never writes.
const END: u8 = 0;

/// shopctl before a terminal.
pub(super) struct Seated {
    child: Child,
    stdout: std::thread::JoinHandle<String>,
    /// The person's side; absent once they have gone.
    person: Option<Arc<OwnedFd>>,
    /// The program's side, kept to see how it was left.
    program: OwnedFd,
    before: Termios,
    screen: Arc<Mutex<Seen>>,
}

/// How it ended.
pub(super) struct Left {
    pub(super) code: i32,
    pub(super) stdout: String,
    /// What stands on the terminal, or stood there when its reader went away.
    pub(super) screen: String,
    pub(super) is_as_it_was: bool,
}

impl Seated {
    /// `shopctl WORDS` with keys and talk on a terminal, and its result in a pipe.
    pub(super) fn begin(project: &Project, words: &[&str]) -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo terminal");
        grantpt(&person).expect("the right to it");
        unlockpt(&person).expect("it opens");
        let name = ptsname(&person, Vec::new()).expect("its name");
        let program = open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("its other side");
        tcsetwinsize(&program, size(COLUMNS, ROWS)).expect("a size");
        let before = tcgetattr(&program).expect("its ways");
        let side = || Stdio::from(program.try_clone().expect("a descriptor"));
        let mut command = project.command(words);
        command.stdin(side()).stderr(side()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("shopctl starts");
        let mut stdout = child.stdout.take().expect("a pipe");
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).expect("text");
            text
        });
        let person = Arc::new(person);
        let screen = Arc::new(Mutex::new(Seen::default()));
        let (reader, seen) = (Arc::downgrade(&person), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Looked at in turns, so that nobody holds the descriptor when the person goes.
            while let Some(person) = reader.upgrade() {
                let mut wanted = [rustix::event::PollFd::new(&*person, rustix::event::PollFlags::IN)];
                let patience = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                match rustix::event::poll(&mut wanted, Some(&patience)) {
                    Ok(0) => {}
                    _ => match rustix::io::read(&*person, &mut bytes) {
                        Ok(count) if count > 0 => seen.lock().expect("a screen").take(&bytes[..count]),
                        _ => return,
                    },
                }
            }
        });
        Self { child, stdout, person: Some(person), program, before, screen }
    }

    /// Presses keys.
    pub(super) fn press(&self, keys: &str) {
        let person = self.person.as_ref().expect("somebody sits there");
        rustix::io::write(&**person, keys.as_bytes()).expect("a key goes in");
    }

    /// Makes the terminal larger or smaller.
    pub(super) fn resize(&self, columns: u16, rows: u16) {
        self.screen.lock().expect("a screen").resize(columns, rows);
        tcsetwinsize(&self.program, size(columns, rows)).expect("a size");
    }

    /// The person goes away, terminal and all.
    pub(super) fn hang_up(&mut self) {
        self.person = None;
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("a signal arrives");
    }

    /// Waits until `is_there` can say so of what stands on the terminal: that.
    pub(super) fn until(&mut self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let picture = self.screen.lock().expect("a screen").picture();
            if is_there(&picture) {
                return picture;
            }
            assert!(Instant::now() < deadline, "no {what}:\n{picture}");
            assert!(self.child.try_wait().expect("a status").is_none(), "ended without {what}:\n{picture}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end.
    pub(super) fn end(mut self) -> Left {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                break status;
            }
            let picture = self.screen.lock().expect("a screen").picture();
            if Instant::now() > deadline {
                self.child.kill().ok();
                panic!("it does not end:\n{picture}");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let ways = |all: &Termios| (all.input_modes, all.output_modes, all.local_modes, all.control_modes);
        let stdout = self.stdout.join().expect("stdout is read");
        // What was written last may still be on its way to the reader: a byte after it tells when it has come.
        if self.person.is_some() {
            rustix::io::write(&self.program, &[END]).expect("a byte goes out");
            while !self.screen.lock().expect("a screen").has_ended {
                assert!(Instant::now() < deadline, "what was written does not come");
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(self.screen.lock().expect("a screen").is_main(), "the screen is still taken");
        }
        let screen = self.screen.lock().expect("a screen").picture();
        Left {
            code: status.code().unwrap_or(-1),
            stdout,
            screen,
            // A terminal that is gone has no ways.
            is_as_it_was: tcgetattr(&self.program).is_ok_and(|after| ways(&after) == ways(&self.before)),
        }
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

/// What stands on the terminal: as much of one as shopctl uses.
struct Seen {
    cells: Vec<Vec<char>>,
    at: (usize, usize),
    /// The second screen, which a view draws on, is shown.
    is_second: bool,
    is_cursor_hidden: bool,
    /// [`END`] has come.
    has_ended: bool,
    /// Bytes of an escape or a letter that has not come whole.
    rest: Vec<u8>,
}

impl Default for Seen {
    fn default() -> Self {
        let cells = vec![vec![' '; COLUMNS.into()]; ROWS.into()];
        Self {
            cells,
            at: (0, 0),
            is_second: false,
            is_cursor_hidden: false,
            has_ended: false,
            rest: Vec::new(),
        }
    }
}

impl Seen {
    fn is_main(&self) -> bool {
        !self.is_second && !self.is_cursor_hidden
    }

    fn resize(&mut self, columns: u16, rows: u16) {
        self.cells = vec![vec![' '; columns.into()]; rows.into()];
    }

    fn picture(&self) -> String {
        let rows: Vec<String> =
            self.cells.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned()).collect();
        rows.join("\n")
    }

    fn clear(&mut self) {
        self.cells.iter_mut().flatten().for_each(|cell| *cell = ' ');
    }

    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let whole = std::mem::take(&mut self.rest);
        let mut at = 0;
        while at < whole.len() {
            let left = &whole[at..];
            match self.one(left) {
                Some(taken) => at += taken,
                None => {
                    self.rest = left.to_vec();
                    return;
                }
            }
        }
    }

    /// Takes up one letter or escape: how many bytes it had, when it is whole.
    fn one(&mut self, left: &[u8]) -> Option<usize> {
        match left[0] {
            0x1b => {
                let end = left.iter().skip(2).position(|byte| (b'@'..=b'~').contains(byte))? + 2;
                let told = std::str::from_utf8(&left[2..end]).expect("an escape of letters");
                self.escape(told, char::from(left[end]));
                Some(end + 1)
            }
            b'\n' => {
                self.at = (0, self.at.1 + 1);
                if self.at.1 >= self.cells.len() {
                    let width = self.cells[0].len();
                    self.cells.remove(0);
                    self.cells.push(vec![' '; width]);
                    self.at.1 -= 1;
                }
                Some(1)
            }
            b'\r' => {
                self.at.0 = 0;
                Some(1)
            }
            END => {
                self.has_ended = true;
                Some(1)
            }
            first => {
                let length = match first {
                    0..0x80 => 1,
                    0x80..0xe0 => 2,
                    0xe0..0xf0 => 3,
                    _ => 4,
                };
                let text = std::str::from_utf8(left.get(..length)?).expect("text");
                let (column, row) = self.at;
                if let Some(cell) = self.cells.get_mut(row).and_then(|row| row.get_mut(column)) {
                    *cell = text.chars().next().expect("a letter");
                }
                self.at.0 += 1;
                Some(length)
            }
        }
    }

    fn escape(&mut self, told: &str, last: char) {
        match (told, last) {
            ("?1049", 'h') => {
                self.is_second = true;
                self.clear();
            }
            ("?1049", 'l') => {
                self.is_second = false;
                self.at = (0, 0);
                self.clear();
            }
            ("?25", 'l') => self.is_cursor_hidden = true,
            ("?25", 'h') => self.is_cursor_hidden = false,
            (place, 'H') => {
                let mut parts = place.split(';').map(|part| part.parse::<usize>().unwrap_or(1) - 1);
                let row = parts.next().unwrap_or(0);
                self.at = (parts.next().unwrap_or(0), row);
            }
            ("2", 'J') => self.clear(),
            // Colours and weights.
            (_, 'm') => {}
            other => panic!("an escape that this terminal does not know: {other:?}"),
        }
    }
}
