//! Watches the server and starts it again when it ends.

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Notice;
use super::node::{Node, Server};
use crate::targets::pieces::back_off::BackOff;

/// The one who watches.
pub(super) struct Guardian {
    pub(super) node: Node,
    pub(super) notices: UnboundedSender<Notice>,
}

impl Guardian {
    /// Until told to stop; then the server is stopped in order.
    pub(super) async fn watch(self, mut server: Server, stop: CancellationToken) {
        let mut back_off = BackOff::default();
        loop {
            let began = Instant::now();
            tokio::select! {
                _ = server.end() => {}
                () = stop.cancelled() => {
                    if let Err(error) = server.stop(&self.node).await {
                        self.alert("stop_failed", format!("PostgreSQL could not be stopped: {error}"));
                    }
                    return;
                }
            }
            self.alert("server_ended", format!("PostgreSQL ended: {}", self.node.last_words()));
            server.kill(&self.node).await.ok();
            server = loop {
                sleep(back_off.after(began.elapsed())).await;
                match self.node.start(&[]).await {
                    Ok(server) => break server,
                    Err(error) => self.alert("start_failed", error.to_string()),
                }
                if stop.is_cancelled() {
                    return;
                }
            };
            self.tell("server_started", "PostgreSQL runs again".to_owned());
        }
    }

    fn alert(&self, what: &'static str, told: String) {
        tracing::error!(what, "{told}");
        self.notices.send(Notice { what, told, is_alert: true }).ok();
    }

    fn tell(&self, what: &'static str, told: String) {
        tracing::info!(what, "{told}");
        self.notices.send(Notice { what, told, is_alert: false }).ok();
    }
}
