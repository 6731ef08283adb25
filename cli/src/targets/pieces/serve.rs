//! Runs a shop in pieces, from the lock on its data to the last process ended.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context as _;
use platform::app::{self, EngineConfig, PrepareOptions, Prepared, Role};
use platform::vocabulary::Env;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

use super::charter::Charter;
use super::database::{Database, Notice};
use super::facts::{DatabaseFacts, State};
use super::process::clear_talk;
use super::roster::{Replicas, Seat};
use super::supervisor::{Change, Supervisor, failed};
use crate::config::{Limits, Settings};
use crate::failure::Exit;
use crate::output::{Printer, Progress};
use crate::targets::local::lock::{Holder, Lock};
use crate::targets::local::serve::{Wish, explained, shop_config, show, tell_ready};
use crate::targets::local::signals::{Signals, Stop};
use crate::targets::local::welcome::{Admin, Fakepay, Promotion, Welcome};

/// Connections to PostgreSQL that all processes share: a server takes a hundred unless it is told otherwise.
const CONNECTIONS_IN_ALL: usize = 80;
/// No process holds more: more only make it wait on itself.
const CONNECTIONS_MAX: usize = 16;
/// The gateway asks the database for its own health only.
const CONNECTIONS_OF_GATEWAY: usize = 2;

/// What a shop in pieces is asked for beyond its settings.
#[derive(Clone, Debug)]
pub struct Pieces {
    /// How many processes each service has.
    pub replicas: Replicas,
    /// Whether its own PostgreSQL has a synchronous standby.
    pub standby: bool,
}

/// Runs the shop until it is told to stop.
///
/// # Errors
/// When its data is held by another, or it does not start.
pub fn serve(
    settings: &Settings,
    wish: &Wish,
    pieces: &Pieces,
    env: &Env,
    printer: &Printer,
) -> anyhow::Result<Exit> {
    let lock = Lock::acquire(&settings.data_dir)?;
    let holder = Holder::new(settings.engine, shop_config(settings, wish).telemetry.log_file, env);
    lock.publish(&holder).context("could not write into the data folder")?;
    clear_talk(&settings.data_dir).context("could not write into the data folder")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shop = Shop { settings, wish, pieces, env, printer };
    runtime.block_on(shop.live(&lock, holder))
}

struct Shop<'a> {
    settings: &'a Settings,
    wish: &'a Wish,
    pieces: &'a Pieces,
    env: &'a Env,
    printer: &'a Printer,
}

/// The database of the shop: its own, or one that was named.
struct Ground {
    own: Option<Own>,
    url: String,
}

/// The shop's own database, and what it tells.
struct Own {
    database: Database,
    notices: UnboundedReceiver<Notice>,
    facts: watch::Receiver<DatabaseFacts>,
}

impl Shop<'_> {
    async fn live(&self, lock: &Lock, mut holder: Holder) -> anyhow::Result<Exit> {
        let mut signals = Signals::listen()?;
        let mut progress = Progress::new(self.printer);
        let ground = tokio::select! {
            ground = self.ground(&mut progress) => ground?,
            stop = signals.next() => return Ok(stop.exit()),
        };
        let mut crew = Supervisor::new(self.env.clone(), self.settings.data_dir.clone());
        let started = tokio::select! {
            started = self.start(&ground.url, &mut crew, &mut progress) => started,
            stop = signals.next() => {
                crew.kill();
                crew.drain().await;
                ground.end().await;
                return Ok(stop.exit());
            }
        };
        let welcome = match started {
            Ok(welcome) => welcome,
            Err(error) => {
                crew.kill();
                crew.drain().await;
                ground.end().await;
                return Err(error);
            }
        };
        progress.clear();
        holder.url = Some(welcome.url.clone());
        holder.fakepay_url = welcome.fakepay.as_ref().map(|fakepay| fakepay.url.clone());
        holder.database_url = ground.own.as_ref().map(|own| own.database.url().to_owned());
        lock.publish(&holder).context("could not write into the data folder")?;
        tracing::info!(url = welcome.url, pid = holder.pid, "the shop is ready");
        tell_ready(&welcome, self.printer)?;
        let mut ground = ground;
        let stop = self.watch(&mut crew, &mut ground, &mut signals, &mut progress).await;
        progress.clear();
        self.drain(crew, ground, stop, &mut signals).await
    }

    async fn ground(&self, progress: &mut Progress<'_>) -> anyhow::Result<Ground> {
        if let Some(url) = &self.settings.database_url {
            return Ok(Ground { own: None, url: url.reveal().to_owned() });
        }
        let phase =
            if self.pieces.standby { "starting PostgreSQL and its standby" } else { "starting PostgreSQL" };
        progress.step(phase, 0, 0);
        let (database, notices) = Database::start(&self.settings.data_dir, self.pieces.standby).await?;
        let url = database.url().to_owned();
        let mut facts = database.facts();
        facts.mark_changed();
        Ok(Ground { own: Some(Own { database, notices, facts }), url })
    }

    /// Furnishes the data, then fills the seats: first those whose addresses the others must know.
    async fn start(
        &self,
        database_url: &str,
        crew: &mut Supervisor,
        progress: &mut Progress<'_>,
    ) -> anyhow::Result<Welcome> {
        let prepared = self.prepare(database_url, progress).await?;
        let seats = self.pieces.replicas.seats();
        let total = u64::try_from(seats.len()).unwrap_or(0);
        let mut charters = Charters::new(self, database_url, &seats);
        let alone = |role| Seat { role, number: 1 };
        for (done, role) in [Role::Gateway, Role::Fakepay].into_iter().enumerate() {
            progress.step("starting the processes", u64::try_from(done).unwrap_or(0), total);
            crew.fill(alone(role), charters.of(alone(role)));
            until_ready(crew).await?;
            let url = crew.url(alone(role)).unwrap_or_default().to_owned();
            charters.learn(role, url, crew.own_url(alone(role)));
        }
        for seat in seats.into_iter().filter(|seat| matches!(seat.role, Role::Service(_))) {
            crew.fill(seat, charters.of(seat));
        }
        progress.step("starting the processes", 2, total);
        until_ready(crew).await?;
        Ok(self.welcome(&prepared, &charters, crew))
    }

    async fn prepare(&self, database_url: &str, progress: &mut Progress<'_>) -> anyhow::Result<Prepared> {
        let mut config = shop_config(self.settings, self.wish);
        config.telemetry.process = Some("supervisor-1".to_owned());
        config.engine =
            EngineConfig::Postgres { url: database_url.to_owned(), connections_max: CONNECTIONS_MAX };
        let (sender, mut steps) = unbounded_channel();
        let options = PrepareOptions { reset_admin: self.wish.reset_admin, ..PrepareOptions::default() };
        let preparing = app::prepare(config, options, move |step| drop(sender.send(step)));
        tokio::pin!(preparing);
        loop {
            tokio::select! {
                biased;
                Some(step) = steps.recv() => show(&step, progress),
                prepared = &mut preparing => {
                    return prepared.map_err(|error| explained(error, &self.settings.data_dir));
                }
            }
        }
    }

    fn welcome(&self, prepared: &Prepared, charters: &Charters<'_>, crew: &Supervisor) -> Welcome {
        let sandbox = prepared.sandbox(charters.fakepay_url.as_deref().unwrap_or_default());
        Welcome {
            url: charters.shop_url.clone().unwrap_or_default(),
            pid: std::process::id(),
            data_dir: self.settings.data_dir.display().to_string(),
            admin: prepared
                .admin
                .as_ref()
                .map(|admin| Admin { email: admin.email.clone(), password: admin.password.clone() }),
            fakepay: Some(Fakepay {
                url: sandbox.url,
                api_key: sandbox.api_key,
                webhook_secret: sandbox.webhook_secret,
                control_token: sandbox.control_token,
            }),
            promotions: prepared
                .promotions
                .iter()
                .map(|(code, about)| Promotion { code: code.clone(), about: about.clone() })
                .collect(),
            processes: crew.facts().processes,
        }
    }

    /// Tells what happens until the first signal.
    async fn watch(
        &self,
        crew: &mut Supervisor,
        ground: &mut Ground,
        signals: &mut Signals,
        progress: &mut Progress<'_>,
    ) -> Stop {
        loop {
            progress.line(&line(crew));
            tokio::select! {
                stop = signals.next() => return stop,
                change = crew.next() => {
                    progress.clear();
                    self.tell(&change);
                }
                word = ground.next() => match word {
                    Word::Notice(notice) => {
                        progress.clear();
                        self.pass_on(&notice);
                    }
                    Word::Facts(facts) => crew.note_database(facts),
                }
            }
        }
    }

    fn tell(&self, change: &Change) {
        let now = &change.now;
        let event = json!({
            "event": "process", "name": now.name, "role": now.role, "state": now.state, "pid": now.pid,
            "url": now.url, "restarts": now.restarts, "how": change.how,
        });
        // A script that stopped reading does not stop the shop.
        self.printer.event(&event).ok();
        let wait = change.wait.as_secs_f64();
        match (&change.how, now.state) {
            (Some(how), State::CrashLoop) => {
                tracing::error!(name = now.name, how, wait_s = wait, "a process ends again and again");
                self.printer
                    .warn(&format!("{} ends again and again ({how}); the next try is in {wait} s", now.name));
            }
            (Some(how), _) => {
                tracing::warn!(name = now.name, how, wait_s = wait, "a process ended and is started again");
                self.printer.warn(&format!("{}: {how}; it is started again", now.name));
            }
            (None, State::Ready) if now.restarts > 0 => {
                tracing::info!(name = now.name, pid = now.pid, "a process is back");
                self.printer.say(&format!("{} is back, as process {}", now.name, now.pid.unwrap_or(0)));
            }
            (None, _) => {}
        }
    }

    fn pass_on(&self, notice: &Notice) {
        let level = if notice.is_alert { "alert" } else { "info" };
        let mut event =
            json!({"event": "database", "what": notice.what, "level": level, "message": notice.told});
        if !notice.took.is_empty() {
            event["took"] = json!(notice.took);
        }
        self.printer.event(&event).ok();
        if notice.is_alert {
            self.printer.warn(&notice.told);
        } else {
            self.printer.say(&notice.told);
        }
    }

    /// Ends in order, or at once when a second signal comes.
    async fn drain(
        &self,
        mut crew: Supervisor,
        ground: Ground,
        stop: Stop,
        signals: &mut Signals,
    ) -> anyhow::Result<Exit> {
        tracing::info!(signal = stop.name(), "the shop stops");
        self.printer.event(&json!({"event": "stopping", "signal": stop.name()}))?;
        self.printer.say("stopping: what is in flight is finished first; once more stops at once");
        let in_order = async {
            let is_clean = crew.drain().await;
            ground.end().await;
            is_clean
        };
        let second = tokio::select! {
            is_clean = in_order => {
                self.printer.event(&json!({"event": "stopped", "clean": is_clean}))?;
                if !is_clean {
                    self.printer.warn("not everything was finished in time; the next start takes it up");
                }
                return Ok(stop.exit());
            }
            second = signals.next() => second,
        };
        // Dropping them has closed their pipes and killed them: nobody outlives this process.
        self.printer.event(&json!({"event": "stopped", "clean": false}))?;
        self.printer.say("stopped at once; the next start takes up what was in flight");
        Ok(second.exit())
    }
}

/// What the database tells.
enum Word {
    Notice(Notice),
    Facts(DatabaseFacts),
}

impl Ground {
    /// The next thing that the database tells. May be dropped and asked again.
    async fn next(&mut self) -> Word {
        let Some(own) = &mut self.own else { return std::future::pending().await };
        tokio::select! {
            Some(notice) = own.notices.recv() => Word::Notice(notice),
            Ok(()) = own.facts.changed() => Word::Facts(own.facts.borrow_and_update().clone()),
            else => std::future::pending().await,
        }
    }

    async fn end(self) {
        if let Some(own) = self.own {
            own.database.stop().await;
        }
    }
}

/// The living line.
fn line(crew: &Supervisor) -> String {
    let facts = crew.facts().processes;
    let ready = facts.iter().filter(|process| process.state == State::Ready).count();
    let restarts: u32 = facts.iter().map(|process| process.restarts).sum();
    format!("{ready} of {} processes ready · restarts {restarts}", facts.len())
}

/// Waits until every seat has a process that answers and knows the others.
async fn until_ready(crew: &mut Supervisor) -> anyhow::Result<()> {
    while !crew.are_all_ready() {
        if let Some(change) = crew.step().await.filter(|change| change.how.is_some()) {
            return Err(failed(&change).into());
        }
    }
    Ok(())
}

/// Writes the charters, and learns the addresses that belong into them.
struct Charters<'a> {
    shop: &'a Shop<'a>,
    database_url: &'a str,
    connections: usize,
    seats: Vec<Seat>,
    shop_url: Option<String>,
    fakepay_url: Option<String>,
    /// Where the services call the provider: nobody listens there while it refuses.
    provider_url: Option<String>,
}

impl<'a> Charters<'a> {
    fn new(shop: &'a Shop<'a>, database_url: &'a str, seats: &[Seat]) -> Self {
        let services = seats.iter().filter(|seat| matches!(seat.role, Role::Service(_))).count();
        let connections = (CONNECTIONS_IN_ALL / services.max(1)).clamp(4, CONNECTIONS_MAX);
        Self {
            shop,
            database_url,
            connections,
            seats: seats.to_vec(),
            shop_url: None,
            fakepay_url: None,
            provider_url: None,
        }
    }

    fn learn(&mut self, role: Role, url: String, own_url: Option<&str>) {
        match role {
            Role::Gateway => self.shop_url = Some(url),
            _ => {
                self.provider_url = Some(own_url.map_or_else(|| url.clone(), str::to_owned));
                self.fakepay_url = Some(url);
            }
        }
    }

    fn of(&self, seat: Seat) -> Charter {
        let settings = self.shop.settings;
        let port = if seat.role == Role::Gateway { settings.port } else { 0 };
        Charter {
            role: seat.role.to_string(),
            number: seat.number,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            environment: self.shop.wish.environment.clone(),
            data_dir: absolute(&settings.data_dir),
            database_url: seat.needs_database().then(|| self.database_url.to_owned()),
            connections_max: match seat.role {
                Role::Gateway => CONNECTIONS_OF_GATEWAY,
                _ => self.connections,
            },
            limits: settings.limits != Limits::None,
            allow_faults: settings.allow_faults,
            has_twins: self.seats.iter().any(|other| other.role == seat.role && other.number > 1),
            provider_url: self.provider_url.clone(),
            control_url: self.fakepay_url.clone(),
            own_port: 0,
            webhook_url: self.shop_url.as_deref().map(app::webhook_url),
            shop_url: self.shop_url.clone(),
        }
    }
}

fn absolute(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
