//! The lines of many logs in the order of time. One line of each is in memory, however long the logs are.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use platform::vocabulary::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::line::Line;

/// Lines, one after the other.
type Lines = Pin<Box<dyn Stream<Item = Line> + Send>>;

/// The lines of many logs.
pub struct Merge {
    /// The next line of each log that has one.
    heads: BTreeMap<(Timestamp, u64), (Line, Lines)>,
    /// The logs whose next line is waited for.
    pending: FuturesUnordered<BoxFuture<'static, (u64, Option<Line>, Lines)>>,
    /// Since when.
    waiting: BTreeMap<u64, Instant>,
    /// How long a log that is silent holds up the others; none where each log comes to its end.
    patience: Option<Duration>,
    next_id: u64,
}

impl Merge {
    /// No log yet. Without `patience` the order is exact, and a log that stays silent holds up the others; with it, a line
    /// that comes later than that is shown when it comes.
    #[must_use]
    pub fn new(patience: Option<Duration>) -> Self {
        Self {
            heads: BTreeMap::new(),
            pending: FuturesUnordered::new(),
            waiting: BTreeMap::new(),
            patience,
            next_id: 0,
        }
    }

    /// One more log.
    pub fn add(&mut self, lines: impl Stream<Item = Line> + Send + 'static) {
        let id = self.next_id;
        self.next_id += 1;
        self.wait_for(id, Box::pin(lines));
    }

    /// Whether all logs have come to their end.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty() && self.pending.is_empty()
    }

    fn wait_for(&mut self, id: u64, mut lines: Lines) {
        self.waiting.insert(id, Instant::now());
        self.pending.push(
            async move {
                let line = lines.next().await;
                (id, line, lines)
            }
            .boxed(),
        );
    }

    /// The next line; none when all logs have come to their end. May be dropped and asked again.
    pub async fn next(&mut self) -> Option<Line> {
        loop {
            let held_up_until = self.held_up_until();
            let is_due = held_up_until.is_none_or(|until| until.is_some_and(|until| until <= Instant::now()));
            if is_due && let Some(((_, id), (line, lines))) = self.heads.pop_first() {
                self.wait_for(id, lines);
                return Some(line);
            }
            let until = held_up_until.flatten().filter(|_| !self.heads.is_empty());
            tokio::select! {
                answer = self.pending.next() => {
                    let (id, line, lines) = answer?;
                    self.waiting.remove(&id);
                    if let Some(line) = line {
                        self.heads.insert((line.at, id), (line, lines));
                    }
                }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
            }
        }
    }

    /// None when no log is waited for; else until when, if there is an end to it.
    fn held_up_until(&self) -> Option<Option<Instant>> {
        let last = self.waiting.values().max()?;
        Some(self.patience.map(|patience| *last + patience))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn line(pod: &str, second: i64) -> Line {
        Line {
            at: Timestamp::from_second(second).unwrap(),
            pod: pod.to_owned(),
            container: "shopd".to_owned(),
            text: second.to_string(),
        }
    }

    async fn told(merge: &mut Merge, count: usize) -> Vec<String> {
        let mut found = Vec::new();
        while found.len() < count
            && let Some(line) = merge.next().await
        {
            found.push(format!("{}{}", line.pod, line.text));
        }
        found
    }

    #[tokio::test]
    async fn lines_come_in_the_order_of_time_and_then_end() {
        let mut merge = Merge::new(None);
        merge.add(stream::iter([line("a", 1), line("a", 4), line("a", 5)]));
        merge.add(stream::iter([line("b", 2), line("b", 3), line("b", 6)]));
        merge.add(stream::iter([]));
        assert_eq!(told(&mut merge, 9).await, ["a1", "b2", "b3", "a4", "a5", "b6"]);
        assert!(merge.is_empty());
    }

    #[tokio::test]
    async fn a_log_that_is_silent_holds_up_the_others_for_a_moment_only() {
        let mut merge = Merge::new(Some(Duration::from_millis(20)));
        merge.add(stream::iter([line("a", 1), line("a", 2)]).chain(stream::pending()));
        merge.add(stream::pending());
        assert_eq!(told(&mut merge, 2).await, ["a1", "a2"]);
    }
}
