//! Watches the writer and its standby, and sees to it that there is one writer, never two.
//!
//! A writer that is lost is first *fenced*: every process that works in its folder is killed and seen to be gone. Only
//! then is the next epoch written down, and only then the standby promoted, and only when nothing can have been
//! acknowledged that it lacks. Whoever dies in between leaves either the old epoch (the old writer starts again) or
//! the new one (its promotion is finished at the next start).

use std::io;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::node::{Node, Server};
use super::roles::{Copy, Name, Roles, RolesFile};
use super::session::{Session, Silence};
use super::standby::{attach, is_marked, last_word, make_alone, make_synchronous, settings};
use super::{DatabaseFacts, Notice};
use crate::targets::pieces::back_off::BackOff;

/// How often the writer is asked.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// How long it may take to answer: a frozen server answers nothing, so somebody has to stop waiting.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);
/// So many questions in a row without an answer: it is lost.
const PROBES_MISSED_MAX: u32 = 3;
/// With nobody to promote, more patience: a restart is the slower remedy.
const PROBES_MISSED_MAX_ALONE: u32 = 10;
/// A standby that said nothing for so long is away.
const STANDBY_QUIET_MAX: Duration = Duration::from_secs(3);
/// How long writes may wait for a standby that is away, before they go on without it.
const STANDBY_AWAY_MAX: Duration = Duration::from_secs(10);
/// How long a promotion may take.
const PROMOTE_MAX: Duration = Duration::from_secs(60);

/// The one who watches.
pub(super) struct Guardian {
    nodes: [Node; 2],
    file: RolesFile,
    roles: Roles,
    wants_standby: bool,
    /// Whether the writer may wait for its standby before it answers. Whatever is written down of the copy, this ends
    /// only with the writer's own word that it waits for nobody.
    writer_may_wait: bool,
    /// Since when the writer does not see its standby.
    away_since: Option<Instant>,
    notices: UnboundedSender<Notice>,
    facts: watch::Sender<DatabaseFacts>,
}

/// The writer as it is watched.
struct Writer {
    server: Server,
    session: Option<Session>,
    missed: u32,
    back_off: BackOff,
}

/// What the other node does.
enum Standby {
    /// Nothing: none is wanted.
    Unwanted,
    /// It is being made to follow.
    Coming(JoinHandle<io::Result<Server>>),
    /// It runs.
    There(Server),
    /// The next try comes then.
    Resting { until: Instant },
}

/// Something that happened to the other node.
enum StandbyNews {
    Came(Server),
    Failed(io::Error),
    Ended,
    MayTryAgain,
}

impl Guardian {
    pub(super) fn new(
        nodes: [Node; 2],
        file: RolesFile,
        wants_standby: bool,
        notices: UnboundedSender<Notice>,
        facts: watch::Sender<DatabaseFacts>,
    ) -> io::Result<Self> {
        let roles = file.read()?;
        let writer_may_wait = true;
        Ok(Self { nodes, file, roles, wants_standby, writer_may_wait, away_since: None, notices, facts })
    }

    fn node(&self, name: Name) -> &Node {
        &self.nodes[usize::from(name == Name::B)]
    }

    /// The node that may write.
    pub(super) fn writer(&self) -> &Node {
        self.node(self.roles.writer)
    }

    fn standby(&self) -> &Node {
        self.node(self.roles.writer.other())
    }

    fn set_roles(&mut self, roles: Roles) -> io::Result<()> {
        self.file.write(roles)?;
        self.roles = roles;
        Ok(())
    }

    /// Starts the node that may write; finishes a promotion that was cut off. Whatever an earlier supervisor left
    /// behind on either node is gone before.
    pub(super) async fn start_writer(&mut self) -> io::Result<Server> {
        for node in &self.nodes {
            node.end_leftovers().await?;
        }
        if !self.writer().exists() {
            if self.roles.epoch > 1 || self.standby().exists() {
                let lost = format!("the data of node {}, which may write, is gone", self.writer().name);
                return Err(io::Error::other(lost));
            }
            self.writer().make()?;
        }
        if is_marked(self.writer()) {
            let server = self.writer().start(&settings(self.standby(), self.writer())).await?;
            self.take_over().await?;
            return Ok(server);
        }
        let server = self.writer().start(&[]).await?;
        if !self.wants_standby {
            self.go_alone().await?;
        }
        Ok(server)
    }

    /// The server of the node that may write does write, and waits for nobody.
    async fn take_over(&mut self) -> io::Result<()> {
        promote(self.writer()).await?;
        self.go_alone().await
    }

    /// The writer waits for nobody from now on, and nobody may take its place.
    async fn go_alone(&mut self) -> io::Result<()> {
        // Written down first: once the writer waits for nobody, the other node's copy is worth nothing.
        self.set_roles(Roles { copy: Copy::Behind, ..self.roles })?;
        make_alone(self.writer()).await?;
        self.writer_may_wait = false;
        Ok(())
    }

    /// Waits for the first standby, when one is wanted, so that a shop that is ready is a shop with two copies.
    pub(super) async fn first_standby(&mut self) -> io::Result<Option<Server>> {
        if !self.wants_standby {
            return Ok(None);
        }
        let server = attach(self.writer().clone(), self.standby().clone()).await?;
        self.synchronise().await?;
        Ok(Some(server))
    }

    async fn synchronise(&mut self) -> io::Result<()> {
        self.writer_may_wait = true;
        make_synchronous(self.writer(), self.standby()).await?;
        self.set_roles(Roles { copy: Copy::Synchronous, ..self.roles })
    }

    /// Until told to stop; then both are stopped in order.
    pub(super) async fn watch(mut self, server: Server, first: Option<Server>, stop: CancellationToken) {
        let mut writer = Writer { server, session: None, missed: 0, back_off: BackOff::default() };
        let mut standby = match first {
            Some(server) => Standby::There(server),
            None => Standby::Unwanted,
        };
        let mut retries = BackOff::default();
        let mut ticks = interval(PROBE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.publish(&writer, &standby);
            let lost = tokio::select! {
                () = stop.cancelled() => return self.stop(writer, standby).await,
                _ = writer.server.end() => Some("its server ended".to_owned()),
                news = standby.news() => {
                    standby = self.hear(news, standby, &mut retries).await;
                    None
                }
                _ = ticks.tick() => self.look(&mut writer, &standby).await,
            };
            if let Some(why) = lost {
                (writer, standby) = tokio::select! {
                    // A stop in the middle is a kill in the middle: the next start finishes it.
                    () = stop.cancelled() => return,
                    next = self.replace(writer, standby, &why) => next,
                };
            }
        }
    }

    /// Asks the writer, and through it after the standby. Answers why the writer is lost, when it is.
    async fn look(&mut self, writer: &mut Writer, standby: &Standby) -> Option<String> {
        match ask(&mut writer.session, self.writer(), self.standby()).await {
            Ok(standby_quiet) => {
                writer.missed = 0;
                if self.wants_standby {
                    self.mind_the_standby(standby_quiet).await;
                }
                None
            }
            Err(silence) => {
                writer.session = None;
                writer.missed += 1;
                let most = match standby {
                    Standby::There(_) if self.roles.copy == Copy::Synchronous => PROBES_MISSED_MAX,
                    _ => PROBES_MISSED_MAX_ALONE,
                };
                (writer.missed >= most).then(|| silence.to_string())
            }
        }
    }

    /// Lets writes go on without a standby that is away too long, and counts on it when it is there again.
    async fn mind_the_standby(&mut self, quiet: Option<Duration>) {
        if quiet.is_none_or(|quiet| quiet >= STANDBY_QUIET_MAX) {
            let now = Instant::now();
            let last = now.checked_sub(quiet.unwrap_or_default()).unwrap_or(now);
            let since = *self.away_since.get_or_insert(last);
            if self.writer_may_wait && since.elapsed() >= STANDBY_AWAY_MAX {
                self.degrade().await;
            }
            return;
        }
        self.away_since = None;
        if self.roles.copy == Copy::Behind {
            match self.synchronise().await {
                Ok(()) => self.tell("standby_back", "every write is on two nodes again".to_owned()),
                Err(error) => tracing::warn!(%error, "the standby is not synchronous yet"),
            }
        }
    }

    async fn degrade(&mut self) {
        match self.go_alone().await {
            Ok(()) => {
                let away_s = STANDBY_AWAY_MAX.as_secs();
                self.alert(
                    "standby_lost",
                    format!("the standby is away for {away_s} s: writes go on with one copy, and no failover is possible"),
                );
            }
            Err(error) => {
                self.alert("degrade_failed", format!("the writer still waits for the standby: {error}"));
            }
        }
    }

    /// The other node came, went, or may be tried again.
    async fn hear(&mut self, news: StandbyNews, standby: Standby, retries: &mut BackOff) -> Standby {
        match news {
            StandbyNews::Came(server) => {
                retries.after(Duration::MAX);
                Standby::There(server)
            }
            StandbyNews::MayTryAgain => self.bring_standby(),
            StandbyNews::Failed(error) => {
                tracing::warn!(%error, "the standby could not be started");
                let wait = retries.after(Duration::ZERO).max(Duration::from_secs(1));
                Standby::Resting { until: Instant::now() + wait }
            }
            StandbyNews::Ended => {
                if let Standby::There(server) = standby {
                    server.kill(self.standby()).await.ok();
                }
                tracing::warn!(why = self.standby().last_words(), "the standby ended");
                self.bring_standby()
            }
        }
    }

    fn bring_standby(&self) -> Standby {
        Standby::Coming(tokio::spawn(attach(self.writer().clone(), self.standby().clone())))
    }

    /// There is no writer: makes one.
    async fn replace(&mut self, writer: Writer, standby: Standby, why: &str) -> (Writer, Standby) {
        let name = self.writer().name;
        self.alert("primary_lost", format!("the primary, node {name}, is lost: {why}"));
        match standby {
            Standby::There(server) if self.roles.copy == Copy::Synchronous => {
                self.fail_over(writer, server).await
            }
            standby => (self.revive(writer).await, standby),
        }
    }

    /// Fence, write down, promote, in this order.
    async fn fail_over(&mut self, writer: Writer, server: Server) -> (Writer, Standby) {
        let (old, new) = (self.writer().clone(), self.standby().clone());
        let mut pause = BackOff::default();
        // Until the old one is surely gone nobody else may write, however long that takes.
        while let Err(error) = old.fence().await {
            self.alert("fence_failed", format!("node {} cannot be fenced: {error}", old.name));
            sleep(pause.after(Duration::ZERO)).await;
        }
        writer.server.kill(&old).await.ok();
        let next =
            Roles { epoch: self.roles.epoch + 1, writer: self.roles.writer.other(), copy: Copy::Behind };
        while let Err(error) = self.set_roles(next) {
            self.alert("epoch_failed", format!("the new epoch cannot be written: {error}"));
            sleep(pause.after(Duration::ZERO)).await;
        }
        let mut writer = Writer { server, session: None, missed: 0, back_off: BackOff::default() };
        if let Err(error) = self.take_over().await {
            self.alert("promote_failed", format!("node {} is not promoted yet: {error}", new.name));
            writer = self.revive(writer).await;
        }
        self.alert("promoted", format!("node {} writes now, in epoch {}", new.name, next.epoch));
        self.away_since = None;
        (writer, self.bring_standby())
    }

    /// With nobody to take its place, the same one starts again: its log has all that was acknowledged.
    async fn revive(&mut self, mut writer: Writer) -> Writer {
        let began = Instant::now();
        let node = self.writer().clone();
        writer.server.kill(&node).await.ok();
        // It will write without its standby, whose copy is worth nothing from then on.
        let alone = Roles { copy: Copy::Behind, ..self.roles };
        let mut pause = BackOff::default();
        while let Err(error) = self.set_roles(alone) {
            self.alert("copy_failed", format!("that the copy is behind cannot be written: {error}"));
            sleep(pause.after(Duration::ZERO)).await;
        }
        self.away_since = None;
        loop {
            sleep(writer.back_off.after(began.elapsed())).await;
            let settings =
                if is_marked(&node) { settings(self.standby(), &node).to_vec() } else { Vec::new() };
            let started = async {
                let server = node.start(&settings).await?;
                match self.take_over().await {
                    Ok(()) => Ok(server),
                    Err(error) => server.kill(&node).await.and(Err(error)),
                }
            };
            match started.await {
                Ok(server) => {
                    self.tell("primary_back", format!("node {} writes again", node.name));
                    return Writer { server, session: None, missed: 0, back_off: writer.back_off };
                }
                Err(error) => self.alert("start_failed", error.to_string()),
            }
        }
    }

    async fn stop(self, writer: Writer, standby: Standby) {
        // The writer first, so that the standby gets all of it.
        if let Err(error) = writer.server.stop(self.writer()).await {
            self.alert("stop_failed", format!("node {} could not be stopped: {error}", self.writer().name));
        }
        match standby {
            Standby::There(server) => drop(server.stop(self.standby()).await),
            Standby::Coming(coming) => {
                coming.abort();
                self.standby().fence().await.ok();
            }
            Standby::Unwanted | Standby::Resting { .. } => {}
        }
    }

    fn publish(&self, writer: &Writer, standby: &Standby) {
        let word = match standby {
            Standby::Unwanted => "none",
            Standby::There(_) if self.roles.copy == Copy::Synchronous => "synchronous",
            Standby::There(_) | Standby::Coming(_) | Standby::Resting { .. } => "away",
        };
        let standby_pid = match standby {
            Standby::There(server) => server.pid(),
            _ => None,
        };
        let facts = DatabaseFacts {
            writer: self.writer().name.to_owned(),
            epoch: self.roles.epoch,
            writer_pid: writer.server.pid(),
            standby: word.to_owned(),
            standby_pid,
        };
        self.facts.send_if_modified(|known| {
            let is_new = *known != facts;
            *known = facts;
            is_new
        });
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

impl Standby {
    /// What happens next. May be dropped and asked again.
    async fn news(&mut self) -> StandbyNews {
        match self {
            Self::Unwanted => std::future::pending().await,
            Self::Coming(coming) => match coming.await {
                Ok(Ok(server)) => StandbyNews::Came(server),
                Ok(Err(error)) => StandbyNews::Failed(error),
                Err(error) => StandbyNews::Failed(io::Error::other(error)),
            },
            Self::There(server) => {
                server.end().await.ok();
                StandbyNews::Ended
            }
            Self::Resting { until } => {
                sleep_until(*until).await;
                StandbyNews::MayTryAgain
            }
        }
    }
}

/// Asks the writer whether it can write, and how long ago it heard of its standby.
async fn ask(
    session: &mut Option<Session>,
    writer: &Node,
    standby: &Node,
) -> Result<Option<Duration>, Silence> {
    let session = match session {
        Some(session) => session,
        None => session.insert(writer.session(PROBE_PATIENCE).await?),
    };
    if session.value("SELECT 1 WHERE NOT pg_is_in_recovery()").await?.is_none() {
        return Err(Silence::Refused("it may only be read".to_owned()));
    }
    last_word(session, standby).await
}

/// Makes `node` one that may be written; nothing to do when it does.
async fn promote(node: &Node) -> io::Result<()> {
    let session = node.session(PROBE_PATIENCE).await.map_err(io::Error::other)?;
    let sql = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_promote(true, 60) ELSE true END";
    let rows = session.ask_within(sql, PROMOTE_MAX).await.map_err(io::Error::other)?;
    match rows.first().and_then(|row| row.first()) {
        Some(Some(word)) if word == "t" => Ok(()),
        _ => Err(io::Error::other(format!("it took longer than {} s", PROMOTE_MAX.as_secs()))),
    }
}
