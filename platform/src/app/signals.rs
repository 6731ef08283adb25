//! What the system says to a process that should end.

use tokio::signal::unix::{SignalKind, signal};

/// Waits for the first SIGINT or SIGTERM. Where a handler cannot be installed, that signal ends the process at once,
/// as it would without us.
pub async fn until_told_to_stop() {
    let wait = |kind: SignalKind| async move {
        match signal(kind) {
            Ok(mut signals) => {
                signals.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "a signal handler could not be installed");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
    }
}
