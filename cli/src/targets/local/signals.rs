//! What the system asks of a process that serves: to stop, or to stop at once.

use rustix::process::{Pid, Signal as Kill, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Exit;

/// Asks the process `pid` to end. One that went away meanwhile is what was wanted.
///
/// # Errors
/// When it belongs to somebody else.
pub fn ask_to_end(pid: u32) -> std::io::Result<()> {
    let Some(target) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    match kill_process(target, Kill::TERM) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A wish to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::targets) enum Stop {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM, or the terminal is gone.
    Terminate,
}

impl Stop {
    /// The signal's name.
    pub(in crate::targets) fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }

    /// How a process ends that was stopped by it.
    pub(in crate::targets) fn exit(self) -> Exit {
        match self {
            Self::Interrupt => Exit::Interrupted,
            Self::Terminate => Exit::Terminated,
        }
    }
}

/// The wishes as they come.
#[derive(Debug)]
pub(in crate::targets) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    last: Stop,
}

impl Signals {
    /// From now on a signal is a wish and ends nothing by itself.
    pub(in crate::targets) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            last: Stop::Terminate,
        })
    }

    /// The next wish.
    pub(in crate::targets) async fn next(&mut self) -> Stop {
        self.last = tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupt,
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.hang_up.recv() => Stop::Terminate,
        };
        self.last
    }

    /// How a process ends that was stopped by the last wish.
    pub(in crate::targets) fn exit(&self) -> Exit {
        self.last.exit()
    }
}
