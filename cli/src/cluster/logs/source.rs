//! The log of one container, read on where it broke off.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use platform::vocabulary::Timestamp;

use super::line::{Line, Rest};
use super::{Life, goes_on};
use crate::cluster::api::{Api, ApiError, LogWish};

/// The wait before a log that broke off is asked for again.
const PAUSE: Duration = Duration::from_secs(1);
/// So often a log that is not followed is asked for again when it breaks off.
const TRIES: u32 = 3;

/// Where to begin, and where to end.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// Only lines since.
    pub since: Option<Timestamp>,
    /// Only so many of the last.
    pub lines: Option<usize>,
    /// The log of the life before this one.
    pub is_previous: bool,
    /// Until the container has ended, and not only what there is now.
    pub follows: bool,
}

/// The log of one container.
pub struct Source {
    api: Arc<Api>,
    namespace: String,
    life: Life,
    begin: Begin,
    bytes: Option<Bytestream>,
    rest: Rest,
    ready: VecDeque<Line>,
    place: Place,
    tries: u32,
    is_over: bool,
}

type Bytestream = Pin<Box<dyn Stream<Item = Result<Bytes, ApiError>> + Send>>;

/// How far the log was read: a log is asked for to the second, so some of its lines come again.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// The moment of the last line, and how many had it.
    last: Option<(Timestamp, u32)>,
    /// How many lines of that moment came again.
    again: u32,
    /// Whether lines are coming again.
    is_again: bool,
}

impl Place {
    /// The log is asked for again.
    fn begin_again(&mut self) {
        (self.again, self.is_again) = (0, self.last.is_some());
    }

    /// Whether a line of the moment `at` is one that was not seen.
    fn is_new(&mut self, at: Timestamp) -> bool {
        let Some((last, count)) = self.last else {
            self.last = Some((at, 1));
            return true;
        };
        if self.is_again {
            if at < last {
                return false;
            }
            if at == last && self.again < count {
                self.again += 1;
                return false;
            }
            self.is_again = false;
        }
        self.last = Some(if at == last { (at, count + 1) } else { (at, 1) });
        true
    }
}

impl Source {
    /// The log of `life`.
    #[must_use]
    pub fn new(api: Arc<Api>, namespace: &str, life: Life, begin: Begin) -> Self {
        Self {
            api,
            namespace: namespace.to_owned(),
            life,
            begin,
            bytes: None,
            rest: Rest::default(),
            ready: VecDeque::new(),
            place: Place::default(),
            tries: 0,
            is_over: false,
        }
    }

    /// Its lines, one after the other.
    pub fn lines(self) -> impl Stream<Item = Line> + Send + 'static {
        stream::unfold(self, async |mut source| source.next().await.map(|line| (line, source)))
    }

    async fn next(&mut self) -> Option<Line> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.is_over {
                return None;
            }
            match &mut self.bytes {
                None => self.open().await,
                Some(bytes) => match bytes.next().await {
                    Some(Ok(bytes)) => self.take(&bytes),
                    ended => {
                        self.bytes = None;
                        self.end();
                        self.go_on(ended.is_some()).await;
                    }
                },
            }
        }
    }

    async fn open(&mut self) {
        let since = self.place.last.map(|(at, _)| at).or(self.begin.since);
        let wish = LogWish {
            pod: &self.life.pod,
            container: &self.life.container,
            is_previous: self.begin.is_previous,
            follows: self.begin.follows,
            since,
            lines: self.begin.lines.filter(|_| self.place.last.is_none()),
        };
        self.place.begin_again();
        match self.api.log_stream(&self.namespace, &wish).await {
            Ok(bytes) => self.bytes = Some(Box::pin(bytes)),
            // The pod is gone, or its container has not begun: there is nothing to read.
            Err(error) if matches!(error.code(), Some(400 | 404)) => self.is_over = true,
            Err(error) => {
                tracing::debug!(%error, pod = self.life.pod, "log");
                self.go_on(true).await;
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let Self { rest, ready, place, life, begin, .. } = self;
        rest.take(bytes, |at, text| keep(at, text, ready, place, life, begin));
    }

    fn end(&mut self) {
        let Self { rest, ready, place, life, begin, .. } = self;
        rest.end(&mut |at, text| keep(at, text, ready, place, life, begin));
    }

    /// The log has ended, or broke off.
    async fn go_on(&mut self, is_broken: bool) {
        if !self.begin.follows {
            self.tries += 1;
            self.is_over = !is_broken || self.tries >= TRIES;
        } else if !goes_on(&self.api, &self.namespace, &self.life).await {
            // What it wrote last may have been cut off with the connection.
            self.begin.follows = false;
            self.is_over = !is_broken;
        }
        if !self.is_over {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn keep(
    at: Timestamp,
    text: String,
    ready: &mut VecDeque<Line>,
    place: &mut Place,
    life: &Life,
    begin: &Begin,
) {
    if place.is_new(at) && begin.since.is_none_or(|since| at >= since) {
        ready.push_back(Line { at, pod: life.pod.clone(), container: life.container.clone(), text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millisecond: i64) -> Timestamp {
        Timestamp::from_millisecond(millisecond).unwrap()
    }

    #[test]
    fn lines_that_come_again_are_not_shown_twice() {
        let mut place = Place::default();
        assert!([1, 2, 2].into_iter().all(|moment| place.is_new(at(moment))));
        place.begin_again();
        let seen: Vec<bool> = [1, 2, 2, 2, 3].into_iter().map(|moment| place.is_new(at(moment))).collect();
        assert_eq!(seen, [false, false, false, true, true]);
        place.begin_again();
        let seen: Vec<bool> = [2, 3, 4].into_iter().map(|moment| place.is_new(at(moment))).collect();
        assert_eq!(seen, [false, false, true]);
    }
}
