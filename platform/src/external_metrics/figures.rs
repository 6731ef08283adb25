//! The newest figures of the shop, read when somebody asks and kept for a moment.
//!
//! All of them are counted in the shared database: sagas every two seconds by each process of their service, queues every
//! five seconds by every process. Replicas differ only in when they last looked, so one answer is enough; of several the
//! highest counts, since a process that has just started may not have looked yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::peers::{self, Peer};
use super::selector::Selector;
use super::series::Series;
use crate::http::HttpClient;
use crate::vocabulary::{Env, Timestamp};

/// How long a look at the shop is good for.
const LIFE: Duration = Duration::from_secs(3);

/// What the shop tells of itself.
pub struct Figures {
    series: Vec<Series>,
    peers: Vec<Peer>,
    http: HttpClient,
    env: Env,
    /// Held while somebody looks, so that whoever comes meanwhile waits for that look instead of taking one.
    last: Mutex<Option<(Instant, Arc<Look>)>>,
}

/// One look at all processes.
struct Look {
    at: Timestamp,
    /// The value of each series, in their order.
    values: Vec<Option<f64>>,
    troubles: Vec<Trouble>,
}

/// Who did not answer, and why.
struct Trouble {
    service: String,
    why: String,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.service, self.why)
    }
}

type Labels = BTreeMap<&'static str, &'static str>;

/// A figure as it is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    /// The labels that all selected series have in common.
    pub(super) labels: Labels,
    pub(super) at: Timestamp,
    pub(super) value: f64,
}

/// Why there is no figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    NoSuchMetric,
    /// Nobody who knows it answered; who was asked, and what came back.
    Silence(String),
}

impl Figures {
    /// The figures of `series`, told by `peers`.
    #[must_use]
    pub fn new(series: Vec<Series>, peers: Vec<Peer>, env: Env) -> Self {
        let http = HttpClient::new(peers::CONNECT_MAX);
        Self { series, peers, http, env, last: Mutex::new(None) }
    }

    /// The names of the metrics, each once.
    pub(super) fn metrics(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.series.iter().map(|series| series.metric).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The figure of `metric` over the series that `selector` selects: the highest of them, as one value, since an
    /// autoscaler adds several up and ages are not to be added. None when no series is selected.
    pub(super) async fn read(&self, metric: &str, selector: &Selector) -> Result<Option<Reading>, Unread> {
        if !self.series.iter().any(|series| series.metric == metric) {
            return Err(Unread::NoSuchMetric);
        }
        let is_meant = |series: &Series| series.metric == metric && selector.matches(&series.labels());
        let meant: Vec<_> = self.series.iter().enumerate().filter(|(_, series)| is_meant(series)).collect();
        let Some(labels) = meant.iter().map(|(_, series)| series.labels()).reduce(shared) else {
            return Ok(None);
        };
        let look = self.newest().await;
        let mut value = f64::NEG_INFINITY;
        for (at, series) in meant {
            value = value.max(look.values[at].ok_or_else(|| self.silence(series, &look))?);
        }
        Ok(Some(Reading { labels, at: look.at, value }))
    }

    fn silence(&self, series: &Series, look: &Look) -> Unread {
        let knows = |service: &str| series.is_told_by(service);
        let mut troubles = look.troubles.iter().filter(|trouble| knows(&trouble.service)).peekable();
        if troubles.peek().is_some() {
            return Unread::Silence(troubles.map(ToString::to_string).collect::<Vec<_>>().join("; "));
        }
        let asked = self.peers.iter().map(|peer| peer.service.as_str()).filter(|service| knows(service));
        let asked = asked.collect::<Vec<_>>().join(", ");
        Unread::Silence(format!("the processes of {asked} answer and do not tell it"))
    }

    async fn newest(&self) -> Arc<Look> {
        let mut last = self.last.lock().await;
        if let Some((at, look)) = &*last
            && at.elapsed() < LIFE
        {
            return Arc::clone(look);
        }
        let look = Arc::new(self.look().await);
        for trouble in &look.troubles {
            tracing::warn!(%trouble, "a process of the shop did not tell its metrics");
        }
        *last = Some((Instant::now(), Arc::clone(&look)));
        look
    }

    async fn look(&self) -> Look {
        let at = self.env.now();
        let answers = join_all(self.peers.iter().map(|peer| peer.ask(&self.http))).await;
        let mut told = Vec::new();
        let mut troubles = Vec::new();
        for (peer, answers) in self.peers.iter().zip(answers) {
            for answer in answers {
                match answer {
                    Ok(text) => told.push((peer.service.as_str(), text)),
                    Err(why) => troubles.push(Trouble { service: peer.service.clone(), why }),
                }
            }
        }
        let value = |series: &Series| {
            let texts = told.iter().filter(|(service, _)| series.is_told_by(service));
            texts
                .filter_map(|(_, text)| series.value_in(text))
                .filter(|value| !value.is_nan())
                .reduce(f64::max)
        };
        Look { at, values: self.series.iter().map(value).collect(), troubles }
    }
}

/// What two sets of labels have in common.
fn shared(mut labels: Labels, others: Labels) -> Labels {
    labels.retain(|name, value| others.get(name) == Some(value));
    labels
}
