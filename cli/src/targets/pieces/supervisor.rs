//! The one who keeps all seats filled: hears what happens in each, tells the pieces who answers, and tells the outside
//! how they are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use platform::vocabulary::Env;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::charter::{Charter, Directory, Fault};
use super::facts::{self, DatabaseFacts, Facts, ProcessFacts, State};
use super::keeping::{Leave, News, keep};
use super::roster::{ROUNDS, Seat};
use crate::failure::{Exit, Failure};

/// How long all processes may take to end in order.
const DRAIN_MAX: Duration = Duration::from_secs(25);

/// All processes of a shop in pieces.
pub(super) struct Supervisor {
    env: Env,
    data_dir: PathBuf,
    members: Vec<Member>,
    database: Option<DatabaseFacts>,
    directory: watch::Sender<Directory>,
    news: UnboundedReceiver<(Seat, News)>,
    sender: UnboundedSender<(Seat, News)>,
    rounds: [CancellationToken; ROUNDS],
    at_once: CancellationToken,
    keepers: JoinSet<()>,
}

/// A seat, and who sits there.
struct Member {
    seat: Seat,
    facts: ProcessFacts,
    /// The sandbox provider's door for the shop.
    own_url: Option<String>,
    /// The version of the directory that it knows.
    knows: u64,
}

/// Something that happened to a process, for whoever watches.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) now: ProcessFacts,
    /// How the one before ended, when that is what happened.
    pub(super) how: Option<String>,
    /// Why it could not start.
    pub(super) fault: Option<(u64, Fault)>,
    /// How long until the next one starts.
    pub(super) wait: Duration,
}

impl Supervisor {
    /// Nobody works yet.
    pub(super) fn new(env: Env, data_dir: PathBuf) -> Self {
        let (sender, news) = unbounded_channel();
        Self {
            env,
            data_dir,
            members: Vec::new(),
            database: None,
            directory: watch::channel(Directory::default()).0,
            news,
            sender,
            rounds: std::array::from_fn(|_| CancellationToken::new()),
            at_once: CancellationToken::new(),
            keepers: JoinSet::new(),
        }
    }

    /// Fills `seat` from now on with processes that `charter` describes.
    pub(super) fn fill(&mut self, seat: Seat, charter: Charter) {
        let facts = ProcessFacts {
            name: seat.to_string(),
            role: seat.role.to_string(),
            state: State::Starting,
            pid: None,
            url: None,
            restarts: 0,
            since: self.env.now(),
            last_end: None,
        };
        self.members.push(Member { seat, facts, own_url: None, knows: 0 });
        let leave =
            Leave { in_order: self.rounds[seat.leaves_in_round()].clone(), at_once: self.at_once.clone() };
        self.keepers.spawn(keep(seat, charter, self.directory.subscribe(), leave, self.sender.clone()));
    }

    /// Where the process of `seat` answers, when it does.
    pub(super) fn url(&self, seat: Seat) -> Option<&str> {
        self.members.iter().find(|member| member.seat == seat).and_then(|member| member.facts.url.as_deref())
    }

    /// Where the sandbox provider of `seat` answers the shop alone.
    pub(super) fn own_url(&self, seat: Seat) -> Option<&str> {
        self.members.iter().find(|member| member.seat == seat).and_then(|member| member.own_url.as_deref())
    }

    /// Whether every seat that was filled so far has a process that answers and knows the others.
    pub(super) fn are_all_ready(&self) -> bool {
        let version = self.directory.borrow().version;
        self.members.iter().all(|member| member.facts.state == State::Ready && member.knows == version)
    }

    /// Notes how the database under them is.
    pub(super) fn note_database(&mut self, facts: DatabaseFacts) {
        self.database = Some(facts);
        self.write_facts();
    }

    /// How all of them are.
    pub(super) fn facts(&self) -> Facts {
        let processes = self.members.iter().map(|member| member.facts.clone()).collect();
        Facts { supervisor_pid: std::process::id(), processes, database: self.database.clone() }
    }

    /// The next thing that happens to a process. May be dropped and asked again.
    pub(super) async fn next(&mut self) -> Change {
        loop {
            if let Some(change) = self.step().await {
                return change;
            }
        }
    }

    /// Takes note of the next thing of any kind, and tells those whom it concerns.
    pub(super) async fn step(&mut self) -> Option<Change> {
        // This holds a sender itself, so there is always a next one.
        let Some((seat, news)) = self.news.recv().await else { return std::future::pending().await };
        self.note(seat, news)
    }

    fn note(&mut self, seat: Seat, news: News) -> Option<Change> {
        let now = self.env.now();
        let member = self.members.iter_mut().find(|member| member.seat == seat)?;
        let facts = &mut member.facts;
        let mut change = Change { now: facts.clone(), how: None, fault: None, wait: Duration::ZERO };
        match news {
            News::Knows { version } => {
                member.knows = version;
                return None;
            }
            News::Started { pid } => {
                facts.state = State::Starting;
                facts.pid = Some(pid);
                member.knows = 0;
            }
            News::Ready { url, own_url } => {
                facts.state = State::Ready;
                facts.url = Some(url);
                member.own_url = own_url;
            }
            News::Ended { how, fault, wait, is_loop } => {
                facts.state = if is_loop { State::CrashLoop } else { State::Waiting };
                (facts.pid, facts.url) = (None, None);
                facts.restarts += 1;
                facts.last_end = Some(how.clone());
                (change.how, change.fault, change.wait) = (Some(how), fault, wait);
            }
            News::Left => {
                facts.state = State::Ended;
                (facts.pid, facts.url) = (None, None);
            }
        }
        facts.since = now;
        change.now = facts.clone();
        self.publish();
        Some(change)
    }

    fn publish(&self) {
        let mut peers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for Member { facts, .. } in &self.members {
            let urls = peers.entry(facts.role.clone()).or_default();
            urls.extend(facts.url.clone().filter(|_| facts.state == State::Ready));
        }
        self.directory.send_if_modified(|known| {
            let is_new = known.peers != peers;
            if is_new {
                *known = Directory { version: known.version + 1, peers };
            }
            is_new
        });
        self.write_facts();
    }

    fn write_facts(&self) {
        if let Err(error) = self.facts().write(&self.data_dir) {
            tracing::warn!(%error, "how the processes are could not be written");
        }
    }

    /// Ends all of them, in rounds: the public face first, so that nothing new comes in while the rest is finished.
    /// Answers whether all of it ended in time; what did not was killed.
    pub(super) async fn drain(&mut self) -> bool {
        let deadline = Instant::now() + DRAIN_MAX;
        let mut in_time = true;
        for round in 0..ROUNDS {
            self.rounds[round].cancel();
            while in_time
                && self.members.iter().any(|member| {
                    member.seat.leaves_in_round() == round && member.facts.state != State::Ended
                })
            {
                in_time = timeout_at(deadline, self.next()).await.is_ok();
            }
        }
        if !in_time {
            self.kill();
        }
        while self.keepers.join_next().await.is_some() {}
        facts::forget(&self.data_dir);
        in_time
    }

    /// Ends all of them at once.
    pub(super) fn kill(&self) {
        self.rounds.iter().for_each(CancellationToken::cancel);
        self.at_once.cancel();
    }
}

/// A start that failed, as the piece told it.
pub(super) fn failed(change: &Change) -> Failure {
    let name = &change.now.name;
    match &change.fault {
        Some((exit, fault)) => {
            let exit = Exit::from_code(*exit).unwrap_or(Exit::Internal);
            let failure = Failure::new(exit, "E-PIECE", fault.message.clone()).object(name);
            match &fault.hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        }
        None => {
            let how = change.how.as_deref().unwrap_or("it ended");
            Failure::new(Exit::Internal, "E-PIECE", format!("{name} did not start: {how}"))
                .object(name)
                .hint("`shopctl logs` has what led to it, and pieces.stderr in the data folder what it said")
        }
    }
}
