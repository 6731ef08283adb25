//! What the system says to a process that should end.

use tokio::signal::unix::{SignalKind, signal};

/// Listens from this call on, and waits when awaited for the first SIGINT or SIGTERM: one that comes in between is
/// not missed. Where a handler cannot be installed, that signal ends the process at once, as it would without us.
///
/// # Panics
/// Outside a Tokio runtime.
pub fn until_told_to_stop() -> impl Future<Output = ()> {
    let (interrupted, terminated) = (listen(SignalKind::interrupt()), listen(SignalKind::terminate()));
    async move {
        tokio::select! {
            () = interrupted => {}
            () = terminated => {}
        }
    }
}

fn listen(kind: SignalKind) -> impl Future<Output = ()> {
    let signals =
        signal(kind).inspect_err(|error| tracing::warn!(%error, "a signal handler could not be installed"));
    async move {
        match signals {
            Ok(mut signals) => drop(signals.recv().await),
            Err(_) => std::future::pending().await,
        }
    }
}
