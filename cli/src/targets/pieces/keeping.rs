//! Keeps one seat filled: starts a process, watches it, and starts the next one when it ends.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::back_off::BackOff;
use super::charter::{Charter, Directory, Fault, Told};
use super::process::{Heard, Process, told_end};
use super::roster::Seat;
use crate::wire;

/// How long a process may take until it listens.
const START_MAX: Duration = Duration::from_secs(60);
/// How often a process is asked whether it lives.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long it may take to answer that.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);
/// So many questions without any answer: it hangs. Generous, since a busy machine is slow and a restart makes it no
/// faster.
const PROBES_MISSED_MAX: u32 = 4;

/// What happened in a seat.
#[derive(Debug)]
pub(super) enum News {
    /// A process sits there, and is not ready yet.
    Started { pid: u32 },
    /// It answers at `url`; the sandbox provider also at a door for the shop alone.
    Ready { url: String, own_url: Option<String> },
    /// It knows who answers as of this version of the directory.
    Knows { version: u64 },
    /// It ended, and nobody had asked for it; the next one follows after `wait`.
    Ended { how: String, fault: Option<(u64, Fault)>, wait: Duration, is_loop: bool },
    /// It was asked to end, and has.
    Left,
}

/// Tells the processes of a seat apart from outside.
#[derive(Clone, Debug)]
pub(super) struct Leave {
    /// Told: end in order.
    pub(super) in_order: CancellationToken,
    /// Told: end now.
    pub(super) at_once: CancellationToken,
}

/// Keeps `seat` filled until told to leave it.
pub(super) async fn keep(
    seat: Seat,
    mut charter: Charter,
    mut directory: watch::Receiver<Directory>,
    leave: Leave,
    news: UnboundedSender<(Seat, News)>,
) {
    // Nobody listens any more when the supervisor gave up; then nobody needs to know.
    let tell = |what: News| drop(news.send((seat, what)));
    let mut back_off = BackOff::default();
    while !leave.in_order.is_cancelled() {
        let began = Instant::now();
        let (how, fault) = match Process::start(seat, &charter).await {
            Ok(process) => {
                tell(News::Started { pid: process.pid() });
                let sitting = Sitting { process, fault: None, ready_url: None };
                match sitting.through(&mut charter, &mut directory, &leave, &tell).await {
                    Outcome::Left => break,
                    Outcome::Ended { how, fault } => (how, fault),
                }
            }
            Err(error) => (format!("it could not be started: {error}"), None),
        };
        let wait = back_off.after(began.elapsed());
        tell(News::Ended { how, fault, wait, is_loop: back_off.is_loop() });
        tokio::select! {
            () = sleep(wait) => {}
            () = leave.in_order.cancelled() => {}
        }
    }
    tell(News::Left);
}

enum Outcome {
    Left,
    Ended { how: String, fault: Option<(u64, Fault)> },
}

/// One process in the seat.
struct Sitting {
    process: Process,
    fault: Option<(u64, Fault)>,
    ready_url: Option<String>,
}

impl Sitting {
    /// From its start to its end.
    async fn through(
        mut self,
        charter: &mut Charter,
        directory: &mut watch::Receiver<Directory>,
        leave: &Leave,
        tell: &impl Fn(News),
    ) -> Outcome {
        // Whoever is new in the seat knows nobody yet.
        directory.mark_changed();
        let mut probes = interval(PROBE_EVERY);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut missed = 0;
        let late = sleep(START_MAX);
        tokio::pin!(late);
        let mut why = None;
        loop {
            tokio::select! {
                heard = self.process.next() => match heard {
                    Heard::End(status) => {
                        let how = status.map_or_else(|error| error.to_string(), told_end);
                        return Outcome::Ended { how: why.unwrap_or(how), fault: self.fault };
                    }
                    Heard::Told(Told::Ready { url, own_url }) => {
                        keep_ports(charter, &url, own_url.as_deref());
                        self.ready_url = Some(url.clone());
                        tell(News::Ready { url, own_url });
                    }
                    Heard::Told(Told::Knows { version }) => tell(News::Knows { version }),
                    Heard::Told(Told::Failed { exit, errors }) => {
                        self.fault = errors.into_iter().next().map(|fault| (exit, fault));
                    }
                },
                Ok(()) = directory.changed() => {
                    let now = directory.borrow_and_update().clone();
                    // One that does not listen any more is about to end; one whose pipe is full hangs.
                    if timeout(PROBE_PATIENCE, self.process.tell(&now)).await.is_err() {
                        why = Some("it did not listen any more, and was killed".to_owned());
                        self.process.kill();
                    }
                }
                _ = probes.tick(), if self.ready_url.is_some() => {
                    let url = self.ready_url.clone().unwrap_or_default();
                    match probe(&url).await {
                        Probe::Well => missed = 0,
                        Probe::Silent if missed + 1 < PROBES_MISSED_MAX => missed += 1,
                        Probe::Silent => {
                            why = Some("it did not answer any more, and was killed".to_owned());
                            self.process.kill();
                        }
                        Probe::Unwell => {
                            why = Some("it said that it is no longer well".to_owned());
                            self.process.ask_to_end();
                        }
                    }
                }
                () = &mut late, if self.ready_url.is_none() && why.is_none() => {
                    why = Some(format!("it was not ready after {} s, and was killed", START_MAX.as_secs()));
                    self.process.kill();
                }
                () = leave.in_order.cancelled() => return self.out(leave).await,
            }
        }
    }

    async fn out(mut self, leave: &Leave) -> Outcome {
        self.process.ask_to_end();
        tokio::select! {
            _ = self.process.end() => {}
            () = leave.at_once.cancelled() => {
                self.process.kill();
                self.process.end().await.ok();
            }
        }
        Outcome::Left
    }
}

/// The public face and the provider are known by their address: the next one in the seat takes the same. The services
/// are found through the directory, so any free port will do, and nobody can have taken it meanwhile.
fn keep_ports(charter: &mut Charter, url: &str, own_url: Option<&str>) {
    let address = |url: &str| url.strip_prefix("http://").and_then(|rest| rest.parse::<SocketAddr>().ok());
    if matches!(charter.role.as_str(), "gateway" | "fakepay")
        && let Some(address) = address(url)
    {
        charter.listen = address;
    }
    if let Some(own) = own_url.and_then(address) {
        charter.own_port = own.port();
    }
}

enum Probe {
    Well,
    /// It answers, and says that a part of it has ended.
    Unwell,
    Silent,
}

async fn probe(url: &str) -> Probe {
    let answer = timeout(PROBE_PATIENCE, wire::get(url, "/readyz", PROBE_PATIENCE)).await;
    let Ok(Ok(reply)) = answer else { return Probe::Silent };
    let readiness = reply.json();
    let mut checks = readiness["checks"].as_array().into_iter().flatten();
    let is_down = checks.any(|check| check["name"] == "up" && check["ok"] == false);
    if is_down { Probe::Unwell } else { Probe::Well }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charter(role: &str) -> Charter {
        let text = serde_json::json!({
            "role": role, "number": 1, "listen": "127.0.0.1:0", "environment": "local", "data_dir": "/data",
            "database_url": null, "connections_max": 4, "limits": true, "allow_faults": false,
            "has_twins": false, "provider_url": null, "control_url": null, "own_port": 0, "webhook_url": null,
            "shop_url": null,
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn only_those_that_are_known_by_their_address_keep_it() {
        let port = |role: &str| {
            let mut charter = charter(role);
            let own = (role == "fakepay").then_some("http://127.0.0.1:4712");
            keep_ports(&mut charter, "http://127.0.0.1:4711", own);
            (charter.listen.port(), charter.own_port)
        };
        assert_eq!([port("gateway"), port("fakepay"), port("order")], [(4711, 0), (4711, 4712), (0, 0)]);
    }
}
