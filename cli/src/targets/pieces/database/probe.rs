//! Asks the writer again and again whether it lives, and how it and its standby are.
//!
//! It is lost when it has answered nothing for a while, on whatever connection: an answer that comes late is an answer,
//! and a single session that hangs says nothing of the others.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::node::Node;
use super::session::{Session, Silence};

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(250);
/// When an answer takes longer, a second session is tried beside the first.
const SLOW_AFTER: Duration = Duration::from_secs(1);
/// How long any one answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the writer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// How long ago it heard of its standby; none when that does not receive what is written.
    pub(super) standby_quiet: Option<Duration>,
    /// Whether it waits for its standby before it answers a client.
    pub(super) waits: bool,
}

type Asked = (Option<Session>, Result<Word, Silence>);

/// A writer that is watched.
pub(super) struct Probe {
    writer: Node,
    standby: Node,
    heard_at: Instant,
    refusal: Option<String>,
    asking: BoxFuture<'static, Asked>,
}

impl Probe {
    /// Watches `writer`, which lives at this moment.
    pub(super) fn new(writer: &Node, standby: &Node) -> Self {
        let (writer, standby) = (writer.clone(), standby.clone());
        let asking = Box::pin(ask(Duration::ZERO, None, writer.clone(), standby.clone()));
        Self { writer, standby, heard_at: Instant::now(), refusal: None, asking }
    }

    /// When it was heard last.
    pub(super) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// The next answer; why it is lost when there was none for `silence_max`. May be dropped and asked again.
    pub(super) async fn next(&mut self, silence_max: Duration) -> Result<Word, String> {
        loop {
            let (session, outcome) = tokio::select! {
                biased;
                asked = &mut self.asking => asked,
                () = sleep_until(self.heard_at + silence_max) => {
                    let silence = format!("no answer for {:.1} s", silence_max.as_secs_f64());
                    let refusal = self.refusal.as_ref().map_or_else(String::new, |word| format!(": {word}"));
                    return Err(silence + &refusal);
                }
            };
            self.asking = Box::pin(ask(EVERY, session, self.writer.clone(), self.standby.clone()));
            match outcome {
                Ok(word) => {
                    (self.heard_at, self.refusal) = (Instant::now(), None);
                    return Ok(word);
                }
                Err(silence) => self.refusal = Some(silence.to_string()),
            }
        }
    }
}

/// One question after a pause, on `session` if that still answers.
async fn ask(pause: Duration, session: Option<Session>, writer: Node, standby: Node) -> Asked {
    sleep(pause).await;
    if let Some(session) = session {
        let heard = {
            let mut kept = std::pin::pin!(word(&session, &standby));
            match timeout(SLOW_AFTER, &mut kept).await {
                Ok(outcome) => outcome.ok(),
                Err(_) => tokio::select! {
                    Ok(word) = &mut kept => Some(word),
                    asked = anew(&writer, &standby) => return asked,
                },
            }
        };
        if let Some(word) = heard {
            return (Some(session), Ok(word));
        }
    }
    anew(&writer, &standby).await
}

async fn anew(writer: &Node, standby: &Node) -> Asked {
    match writer.session(PATIENCE).await {
        Ok(session) => {
            let word = word(&session, standby).await;
            (word.is_ok().then_some(session), word)
        }
        Err(silence) => (None, Err(silence)),
    }
}

async fn word(session: &Session, standby: &Node) -> Result<Word, Silence> {
    let sql = format!(
        "SELECT current_setting('synchronous_standby_names') <> '',
                (SELECT greatest(0, extract(epoch FROM clock_timestamp() - reply_time)) FROM pg_stat_replication
                 WHERE application_name = '{}' AND state = 'streaming' AND reply_time IS NOT NULL LIMIT 1)
         WHERE NOT pg_is_in_recovery()",
        standby.name
    );
    let rows = session.ask(&sql).await?;
    let Some([waits, quiet]) = rows.first().map(Vec::as_slice) else {
        return Err(Silence::Refused("it may only be read".to_owned()));
    };
    Ok(Word {
        waits: waits.as_deref() == Some("t"),
        standby_quiet: quiet.as_ref().and_then(|text| text.parse().ok()).map(Duration::from_secs_f64),
    })
}
