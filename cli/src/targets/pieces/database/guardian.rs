//! Watches the writer and its standby, and sees to it that there is one writer, never two.
//!
//! A writer that is lost is first *fenced*: every process that works in its folder is killed and seen to be gone. Only
//! then is the next epoch written down, and only then the standby promoted, and only when nothing can have been
//! acknowledged that it lacks. Whoever dies in between leaves either the old epoch (the old writer starts again) or
//! the new one (its promotion is finished at the next start).

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::decision::{self, Attention, Duty, STANDBY_AWAY_MAX, Step};
use super::node::{Node, Server};
use super::probe::{Probe, Word};
use super::roles::{Copy, Name, Roles, RolesFile};
use super::standby::{attach, is_marked, make_alone, make_synchronous, settings};
use super::{DatabaseFacts, Notice};
use crate::targets::pieces::back_off::BackOff;

/// A writer that answered nothing for so long is lost: a frozen server accepts connections and answers nothing, so
/// somebody has to stop waiting.
const SILENCE_MAX: Duration = Duration::from_millis(2_500);
/// With nobody to promote, more patience: a restart is the slower remedy.
const SILENCE_MAX_ALONE: Duration = Duration::from_secs(10);
/// How long the lost node rests before it is made a standby: bringing it back reads and writes much, and the buyers who
/// waited come first.
const REST_OF_THE_LOST: Duration = Duration::from_secs(3);
/// How long a promotion may take.
const PROMOTE_MAX: Duration = Duration::from_secs(60);
/// How long the new writer may take to answer before that.
const PROMOTE_PATIENCE: Duration = Duration::from_secs(5);

/// The one who watches.
pub(super) struct Guardian {
    nodes: [Node; 2],
    file: RolesFile,
    roles: Roles,
    wants_standby: bool,
    attention: Attention,
    /// Makes the writer wait for its standby, while that takes.
    binding: Option<JoinHandle<io::Result<()>>>,
    notices: UnboundedSender<Notice>,
    facts: watch::Sender<DatabaseFacts>,
}

/// The writer as it is watched.
struct Writer {
    server: Server,
    probe: Probe,
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
        let attention = Attention::default();
        Ok(Self { nodes, file, roles, wants_standby, attention, binding: None, notices, facts })
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

    fn watched(&self, server: Server, back_off: BackOff) -> Writer {
        Writer { server, probe: Probe::new(self.writer(), self.standby()), back_off }
    }

    /// Does what was decided. Answers the server that it started, if it is that.
    async fn act(&mut self, step: Step) -> io::Result<Option<Server>> {
        match step {
            Step::Fence(name) => self.node(name).fence().await.map(|_| None),
            Step::Note(roles) if roles == self.roles => Ok(None),
            Step::Note(roles) => {
                self.file.write(roles)?;
                self.roles = roles;
                Ok(None)
            }
            Step::Start(name) => {
                let (node, other) = (self.node(name), self.node(name.other()));
                let follows = if is_marked(node) { settings(other, node).to_vec() } else { Vec::new() };
                node.start(&follows).await.map(Some)
            }
            Step::Promote(name) => promote(self.node(name)).await.map(|()| None),
            Step::LetAlone(name) => make_alone(self.node(name)).await.map(|()| None),
            Step::Bind(name) => {
                make_synchronous(self.node(name), self.node(name.other())).await.map(|()| None)
            }
        }
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
        let mut server = None;
        for step in decision::start(self.roles, is_marked(self.writer()), self.wants_standby) {
            server = self.act(step).await?.or(server);
        }
        server.ok_or_else(|| io::Error::other("nothing was started"))
    }

    /// Waits for the first standby, when one is wanted, so that a shop that is ready is a shop with two copies.
    pub(super) async fn first_standby(&mut self) -> io::Result<Option<Server>> {
        if !self.wants_standby {
            return Ok(None);
        }
        let server = attach(self.writer().clone(), self.standby().clone()).await?;
        for step in decision::bind(self.roles) {
            self.act(step).await?;
        }
        Ok(Some(server))
    }

    /// Until told to stop; then both are stopped in order.
    pub(super) async fn watch(mut self, server: Server, first: Option<Server>, stop: CancellationToken) {
        let mut writer = self.watched(server, BackOff::default());
        let mut standby = match first {
            Some(server) => Standby::There(server),
            None => Standby::Unwanted,
        };
        let mut retries = BackOff::default();
        loop {
            self.publish(&writer, &standby);
            let silence_max = match standby {
                Standby::There(_) if self.roles.copy == Copy::Synchronous => SILENCE_MAX,
                _ => SILENCE_MAX_ALONE,
            };
            let lost = tokio::select! {
                () = stop.cancelled() => return self.stop(writer, standby).await,
                _ = writer.server.end() => Some("its server ended".to_owned()),
                heard = writer.probe.next(silence_max) => match heard {
                    Ok(word) => {
                        let is_there = matches!(standby, Standby::There(_));
                        self.mind(word, is_there).await;
                        None
                    }
                    Err(silence) => Some(silence),
                },
                bound = end_of(&mut self.binding) => {
                    self.binding = None;
                    self.count_on_the_standby(bound).await;
                    None
                }
                news = standby.news() => {
                    standby = self.hear(news, standby, &mut retries).await;
                    None
                }
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

    /// What an answer of the writer asks for.
    async fn mind(&mut self, word: Word, standby_is_there: bool) {
        if !self.wants_standby {
            return;
        }
        let may_bind = standby_is_there && self.binding.is_none();
        match self.attention.hear(word, self.roles.copy, may_bind, Instant::now()) {
            Duty::Nothing => {}
            Duty::GoAlone => self.degrade().await,
            Duty::Bind => {
                // It takes checkpoints, and nobody must miss the writer's end meanwhile.
                let (writer, standby) = (self.writer().clone(), self.standby().clone());
                self.binding = Some(tokio::spawn(async move { make_synchronous(&writer, &standby).await }));
            }
        }
    }

    /// The writer waits for the standby: that is written down.
    async fn count_on_the_standby(&mut self, bound: io::Result<()>) {
        let [_, note] = decision::bind(self.roles);
        let noted = match bound {
            Ok(()) => self.act(note).await.map(drop),
            Err(error) => Err(error),
        };
        match noted {
            Ok(()) => self.tell("standby_back", "every write is on two nodes again".to_owned()),
            Err(error) => tracing::warn!(%error, "the standby is not synchronous yet"),
        }
    }

    /// Whatever makes the writer wait ends. What it said last may still reach the server: then the writer itself says
    /// that it waits.
    async fn stop_binding(&mut self) {
        if let Some(binding) = self.binding.take() {
            binding.abort();
            binding.await.ok();
        }
    }

    /// Lets writes go on without a standby that is away too long.
    async fn degrade(&mut self) {
        self.stop_binding().await;
        let mut outcome = Ok(());
        for step in decision::go_alone(self.roles) {
            if outcome.is_ok() {
                outcome = self.act(step).await.map(drop);
            }
        }
        match outcome {
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
        let silent = ("silent", writer.probe.heard_at().elapsed());
        self.notice("primary_lost", format!("the primary, node {name}, is lost: {why}"), true, &[silent]);
        self.stop_binding().await;
        match standby {
            Standby::There(server) if self.roles.copy == Copy::Synchronous => {
                self.fail_over(writer, server).await
            }
            standby => (self.revive(writer).await, standby),
        }
    }

    /// Fence, write down, promote, in this order.
    async fn fail_over(&mut self, lost: Writer, server: Server) -> (Writer, Standby) {
        let old = self.writer().clone();
        let steps = decision::replace(self.roles, true, false);
        let mut took = Vec::new();
        let mut is_promoted = true;
        for step in steps {
            let (what, problem) = match step {
                // Until the old one is surely gone nobody else may write, however long that takes.
                Step::Fence(_) => ("fence", "fence_failed"),
                Step::Note(_) => ("note", "epoch_failed"),
                Step::Promote(_) => ("promote", "promote_failed"),
                _ => continue,
            };
            let began = Instant::now();
            if matches!(step, Step::Promote(_)) {
                if let Err(error) = self.act(step).await {
                    let told = format!("node {} is not promoted yet: {error}", self.writer().name);
                    self.alert(problem, told);
                    is_promoted = false;
                }
            } else {
                self.insist(step, problem).await;
            }
            took.push((what, began.elapsed()));
        }
        let mut writer = self.watched(server, BackOff::default());
        if !is_promoted {
            writer = self.revive(writer).await;
        }
        let told = format!("node {} writes now, in epoch {}", self.writer().name, self.roles.epoch);
        self.notice("promoted", told, true, &took);
        self.let_alone().await;
        // Dead already: its number is given back, and whoever minds it goes.
        lost.server.kill(&old).await.ok();
        self.attention.forget();
        (writer, Standby::Resting { until: Instant::now() + REST_OF_THE_LOST })
    }

    /// Does what must not fail, until it is done.
    async fn insist(&mut self, step: Step, problem: &'static str) {
        let mut pause = BackOff::default();
        while let Err(error) = self.act(step).await {
            self.alert(
                problem,
                format!("{} is not done yet, and nothing else is before: {error}", told(step)),
            );
            sleep(pause.after(Duration::ZERO)).await;
        }
    }

    /// A new writer waits for nobody. Should this fail it says so itself, and is let go later.
    async fn let_alone(&mut self) {
        if let Err(error) = self.act(Step::LetAlone(self.roles.writer)).await {
            self.alert("degrade_failed", format!("the writer still waits for the standby: {error}"));
        }
    }

    /// With nobody to take its place, the same one starts again: its log has all that was acknowledged.
    async fn revive(&mut self, mut writer: Writer) -> Writer {
        let began = Instant::now();
        let node = self.writer().clone();
        writer.server.kill(&node).await.ok();
        self.attention.forget();
        loop {
            sleep(writer.back_off.after(began.elapsed())).await;
            match self.start_again().await {
                Ok(server) => {
                    self.let_alone().await;
                    self.tell("primary_back", format!("node {} writes again", node.name));
                    return self.watched(server, writer.back_off);
                }
                Err(error) => self.alert("start_failed", error.to_string()),
            }
        }
    }

    async fn start_again(&mut self) -> io::Result<Server> {
        let mut server = None;
        for step in decision::replace(self.roles, false, is_marked(self.writer())) {
            match step {
                Step::Fence(_) => self.insist(step, "fence_failed").await,
                Step::Note(_) => self.insist(step, "copy_failed").await,
                Step::LetAlone(_) => {}
                step => match self.act(step).await {
                    Ok(started) => server = started.or(server),
                    Err(error) => {
                        if let Some(server) = server {
                            server.kill(self.writer()).await.ok();
                        }
                        return Err(error);
                    }
                },
            }
        }
        server.ok_or_else(|| io::Error::other("nothing was started"))
    }

    async fn stop(mut self, writer: Writer, standby: Standby) {
        self.stop_binding().await;
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
        self.notice(what, told, true, &[]);
    }

    fn tell(&self, what: &'static str, told: String) {
        self.notice(what, told, false, &[]);
    }

    fn notice(&self, what: &'static str, told: String, is_alert: bool, took: &[(&'static str, Duration)]) {
        let took: BTreeMap<_, _> = took
            .iter()
            .map(|(step, took)| (format!("{step}_ms"), u64::try_from(took.as_millis()).unwrap_or(u64::MAX)))
            .collect();
        if is_alert {
            tracing::error!(what, ?took, "{told}");
        } else {
            tracing::info!(what, "{told}");
        }
        self.notices.send(Notice { what, told, is_alert, took }).ok();
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

/// What comes of `binding`, once it ends.
async fn end_of(binding: &mut Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    match binding {
        Some(binding) => binding.await.unwrap_or_else(|error| Err(io::Error::other(error))),
        None => std::future::pending().await,
    }
}

fn told(step: Step) -> String {
    match step {
        Step::Fence(name) => format!("the fencing of node {}", name.word()),
        Step::Note(roles) => {
            format!("the note that node {} writes in epoch {}", roles.writer.word(), roles.epoch)
        }
        Step::Start(name) => format!("the start of node {}", name.word()),
        Step::Promote(name) => format!("the promotion of node {}", name.word()),
        Step::LetAlone(name) | Step::Bind(name) => format!("the setting of node {}", name.word()),
    }
}

/// Makes `node` one that may be written; nothing to do when it does.
async fn promote(node: &Node) -> io::Result<()> {
    let session = node.session(PROMOTE_PATIENCE).await.map_err(io::Error::other)?;
    // The server's own wait looks ten times a second; a client waits for each of these looks.
    let sql = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_promote(false) ELSE true END";
    if session.value(sql).await.map_err(io::Error::other)?.as_deref() != Some("t") {
        return Err(io::Error::other("it refused"));
    }
    let deadline = Instant::now() + PROMOTE_MAX;
    while session.value("SELECT pg_is_in_recovery()").await.map_err(io::Error::other)?.as_deref() != Some("f")
    {
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("it took longer than {} s", PROMOTE_MAX.as_secs())));
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
