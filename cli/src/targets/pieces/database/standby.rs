//! Makes one node the synchronous standby of the other: by what it has when that suffices, by a rewind when it had been
//! the primary, by a fresh copy when nothing else helps.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command as AsyncCommand;
use tokio::time::{Instant, sleep};

use super::node::{Node, Server, sync_folder};
use super::session::{Session, Silence};

/// How long a word to the primary may take here: nothing of this is urgent.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a standby may take until it receives what the primary writes.
const STREAM_MAX: Duration = Duration::from_secs(30);
/// How long it may take until it has replayed what was written before it came.
const REPLAY_MAX: Duration = Duration::from_secs(120);
/// How long a checkpoint may take, which writes all that is not written yet.
const CHECKPOINT_MAX: Duration = Duration::from_secs(30);
/// How long until the primary counts it as synchronous.
const SYNC_MAX: Duration = Duration::from_secs(10);

/// Makes `standby` follow `primary` and answers its server once it receives all that is written.
pub(super) async fn attach(primary: Node, standby: Node) -> io::Result<Server> {
    standby.fence().await?;
    reserve_log(&primary, &standby).await?;
    if standby.exists() && !is_torn(&standby) {
        match follow(&primary, &standby).await {
            Ok(server) => return Ok(server),
            Err(error) => {
                tracing::warn!(node = standby.name, %error, "the standby's data is of no use: it is copied anew");
                standby.fence().await?;
            }
        }
    }
    standby.discard()?;
    copy(&primary, &standby).await?;
    follow(&primary, &standby).await
}

/// The primary keeps the log that the standby has not read yet.
async fn reserve_log(primary: &Node, standby: &Node) -> io::Result<()> {
    let slot = slot(standby);
    let session = primary.session(PATIENCE).await.map_err(io::Error::other)?;
    let known = format!("SELECT 1 FROM pg_replication_slots WHERE slot_name = '{slot}'");
    if session.value(&known).await.map_err(io::Error::other)?.is_none() {
        let make = format!("SELECT pg_create_physical_replication_slot('{slot}', true)");
        session.ask(&make).await.map_err(io::Error::other)?;
    }
    Ok(())
}

/// Starts `standby` on the data that it has.
async fn follow(primary: &Node, standby: &Node) -> io::Result<Server> {
    if !is_marked(standby) {
        // It was the primary once: what it wrote and nobody else has is undone. Where the histories part is known from
        // the new primary's first checkpoint on.
        let session = primary.session(PATIENCE).await.map_err(io::Error::other)?;
        session.ask_within("CHECKPOINT", CHECKPOINT_MAX).await.map_err(io::Error::other)?;
        // One that is cut off leaves files of both histories, and nothing in the folder says so.
        File::create(torn(standby))?.sync_all()?;
        sync_folder(standby.folder())?;
        run(standby
            .program("pg_rewind")
            .arg("--target-pgdata")
            .arg(standby.data())
            .args(["--source-server", &format!("{} dbname=postgres", primary.conninfo(standby.name))]))
        .await?;
        mark(standby, &standby.data())?;
        forget_torn(standby)?;
    }
    let server = standby.start(&settings(primary, standby)).await?;
    forget_life_as_primary(standby).await?;
    match until_streaming(primary, standby).await {
        Ok(()) => Ok(server),
        Err(error) => {
            server.kill(standby).await?;
            Err(error)
        }
    }
}

/// What a node is started with that follows `primary`.
pub(super) fn settings(primary: &Node, standby: &Node) -> [(&'static str, String); 3] {
    [
        ("primary_conninfo", primary.conninfo(standby.name)),
        ("primary_slot_name", slot(standby)),
        ("wal_receiver_status_interval", "1s".to_owned()),
    ]
}

async fn copy(primary: &Node, standby: &Node) -> io::Result<()> {
    let partial = standby.make_partial()?;
    let mut copy = standby.program("pg_basebackup");
    copy.current_dir(standby.partial()).arg("-D").arg(&partial).args([
        "-X",
        "stream",
        "-c",
        "fast",
        "-S",
        &slot(standby),
    ]);
    // Under a name of its own: a copy that is being made is nobody to wait for.
    run(copy.args(["-d", &primary.conninfo(&format!("{}_copy", standby.name))])).await?;
    mark(standby, &partial)?;
    standby.keep_partial()?;
    forget_torn(standby)
}

/// Slots of its own life as a primary would keep its log for ever; and once it writes it waits for nobody.
async fn forget_life_as_primary(standby: &Node) -> io::Result<()> {
    let session = standby.session(PATIENCE).await.map_err(io::Error::other)?;
    let alone = "ALTER SYSTEM RESET synchronous_standby_names";
    session.ask(alone).await.map_err(io::Error::other)?;
    session.ask("SELECT pg_reload_conf()").await.map_err(io::Error::other)?;
    let forget = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots";
    session.ask(forget).await.map(drop).map_err(io::Error::other)
}

/// Until `standby` receives what is written, and has replayed all that was written before.
async fn until_streaming(primary: &Node, standby: &Node) -> io::Result<()> {
    let session = primary.session(PATIENCE).await.map_err(io::Error::other)?;
    let written = written(&session).await?;
    let replayed = format!(
        "SELECT 1 FROM pg_stat_replication
         WHERE application_name = '{}' AND state = 'streaming' AND replay_lsn >= '{written}'",
        standby.name
    );
    let began = Instant::now();
    loop {
        let streams = last_word(&session, standby).await.map_err(io::Error::other)?.is_some();
        if streams && session.value(&replayed).await.map_err(io::Error::other)?.is_some() {
            return Ok(());
        }
        if began.elapsed() > if streams { REPLAY_MAX } else { STREAM_MAX } {
            let why = format!("node {} does not follow: {}", standby.name, standby.last_words());
            return Err(io::Error::other(why));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// How long ago `standby` last said that it receives what the primary of `session` writes; none when it does not
/// receive it. One that is frozen stays connected and says nothing.
pub(super) async fn last_word(session: &Session, standby: &Node) -> Result<Option<Duration>, Silence> {
    let sql = format!(
        "SELECT greatest(0, extract(epoch FROM clock_timestamp() - reply_time)) FROM pg_stat_replication
         WHERE application_name = '{}' AND state = 'streaming' AND reply_time IS NOT NULL",
        standby.name
    );
    let seconds = session.value(&sql).await?;
    Ok(seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs_f64))
}

/// From when this answers, the primary acknowledges nothing that `standby` does not have on its disk.
pub(super) async fn make_synchronous(primary: &Node, standby: &Node) -> io::Result<()> {
    let session = primary.session(PATIENCE).await.map_err(io::Error::other)?;
    let name = standby.name;
    let set = format!("ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 ({name})'");
    session.ask(&set).await.map_err(io::Error::other)?;
    session.ask("SELECT pg_reload_conf()").await.map_err(io::Error::other)?;
    // Nobody waits before the checkpointer has read the setting, and it reads before it begins a checkpoint. A session
    // that is opened now is one that the server made after it had passed the news on; the first checkpoint may have
    // begun to begin before, the second not.
    let session = primary.session(PATIENCE).await.map_err(io::Error::other)?;
    for _ in 0..2 {
        session.ask_within("CHECKPOINT", CHECKPOINT_MAX).await.map_err(io::Error::other)?;
    }
    // Who did not wait has been answered by now; all of it has to be there as well.
    let written = written(&session).await?;
    let sql = format!(
        "SELECT 1 FROM pg_stat_replication
         WHERE application_name = '{name}' AND sync_state = 'sync' AND flush_lsn >= '{written}'"
    );
    let deadline = Instant::now() + SYNC_MAX;
    while session.value(&sql).await.map_err(io::Error::other)?.is_none() {
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("node {name} does not become synchronous")));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Up to where the primary of `session` has its log on its disk.
async fn written(session: &Session) -> io::Result<String> {
    let place = session.value("SELECT pg_current_wal_flush_lsn()").await.map_err(io::Error::other)?;
    place.ok_or_else(|| io::Error::other("the primary does not say how far it has written"))
}

/// From when this answers, the primary waits for nobody; who waited is let go.
pub(super) async fn make_alone(primary: &Node) -> io::Result<()> {
    let session = primary.session(PATIENCE).await.map_err(io::Error::other)?;
    session.ask("ALTER SYSTEM RESET synchronous_standby_names").await.map_err(io::Error::other)?;
    session.ask("SELECT pg_reload_conf()").await.map(drop).map_err(io::Error::other)
}

fn slot(standby: &Node) -> String {
    format!("standby_{}", standby.name)
}

/// Whether the node's data says that it follows another.
pub(super) fn is_marked(node: &Node) -> bool {
    node.data().join("standby.signal").exists()
}

fn mark(node: &Node, data: &Path) -> io::Result<()> {
    let path = data.join("standby.signal");
    File::create(&path)?.sync_all()?;
    node.give(&path)?;
    sync_folder(data)
}

/// Stands beside the data of `node` for as long as a rewind may have left it in pieces.
fn torn(node: &Node) -> PathBuf {
    node.folder().join(format!("{}.rewinding", node.name))
}

fn is_torn(node: &Node) -> bool {
    torn(node).exists()
}

fn forget_torn(node: &Node) -> io::Result<()> {
    match fs::remove_file(torn(node)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_folder(node.folder()),
    }
}

async fn run(command: &mut std::process::Command) -> io::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let command = std::mem::replace(command, std::process::Command::new("true"));
    let output = AsyncCommand::from(command).kill_on_drop(true).output().await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} failed: {}", said.lines().last().unwrap_or_default())))
}
