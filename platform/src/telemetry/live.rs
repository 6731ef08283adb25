//! The live chart's numbers: for each of the last 300 seconds how many orders, requests and errors, and how long
//! requests took. About 100 KiB when all seconds were busy.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::vocabulary::Timestamp;

/// How many seconds are remembered.
const SECONDS: usize = 300;
/// The upper bound of the first latency bucket.
const FIRST_US: f64 = 50.0;
/// Buckets per doubling: the error of a percentile is at most 9 %.
const PER_DOUBLING: f64 = 8.0;
/// Enough buckets for 50 µs to 50 s.
const BUCKETS: usize = 160;

/// One second of the chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LivePoint {
    /// The second's beginning, seconds since the epoch.
    pub at_s: i64,
    /// Orders confirmed.
    pub orders: u64,
    /// Requests answered at the edge.
    pub requests: u64,
    /// Of these, with a status of 500 or more.
    pub errors: u64,
    /// Half of the requests took at most this long; none when there was no request.
    pub p50_ms: Option<f64>,
    /// 95 of 100 took at most this long.
    pub p95_ms: Option<f64>,
    /// 99 of 100 took at most this long.
    pub p99_ms: Option<f64>,
}

/// The last five minutes.
#[derive(Debug, Default)]
pub struct LiveSeries {
    /// Oldest first; seconds without anything have no entry.
    seconds: Mutex<VecDeque<Second>>,
}

#[derive(Debug)]
struct Second {
    at_s: i64,
    orders: u64,
    requests: u64,
    errors: u64,
    /// How many requests per bucket; empty while there is no request.
    took: Vec<u32>,
}

impl LiveSeries {
    /// Counts a request that was answered at the edge.
    pub(super) fn request(&self, at: Timestamp, took: Duration, is_error: bool) {
        self.count(at, |second| {
            second.requests += 1;
            second.errors += u64::from(is_error);
            if second.took.is_empty() {
                second.took = vec![0; BUCKETS];
            }
            second.took[bucket(took)] += 1;
        });
    }

    /// Counts an order that was confirmed.
    pub(super) fn order(&self, at: Timestamp) {
        self.count(at, |second| second.orders += 1);
    }

    fn count(&self, at: Timestamp, count: impl FnOnce(&mut Second)) {
        let at_s = at.as_second();
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back counts into the newest second, so that the order of the entries holds.
        if seconds.back().is_none_or(|newest| newest.at_s < at_s) {
            seconds.push_back(Second { at_s, orders: 0, requests: 0, errors: 0, took: Vec::new() });
            if seconds.len() > SECONDS {
                seconds.pop_front();
            }
        }
        if let Some(newest) = seconds.back_mut() {
            count(newest);
        }
    }

    /// The newest second that had a request or an order, in seconds since the epoch; none when there never was one.
    #[must_use]
    pub fn newest(&self) -> Option<i64> {
        let seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        seconds.back().map(|second| second.at_s)
    }

    /// The whole seconds of the last five minutes before `now`, oldest first, gaps filled with zeros.
    #[must_use]
    pub fn points(&self, now: Timestamp) -> Vec<LivePoint> {
        let end = now.as_second();
        let begin = end - i64::try_from(SECONDS).unwrap_or(0);
        let seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = seconds.iter().skip_while(|second| second.at_s < begin).peekable();
        (begin..end)
            .map(|at_s| match known.next_if(|second| second.at_s == at_s) {
                Some(second) => second.point(),
                None => LivePoint {
                    at_s,
                    orders: 0,
                    requests: 0,
                    errors: 0,
                    p50_ms: None,
                    p95_ms: None,
                    p99_ms: None,
                },
            })
            .collect()
    }
}

impl Second {
    fn point(&self) -> LivePoint {
        LivePoint {
            at_s: self.at_s,
            orders: self.orders,
            requests: self.requests,
            errors: self.errors,
            p50_ms: self.percentile_ms(0.50),
            p95_ms: self.percentile_ms(0.95),
            p99_ms: self.percentile_ms(0.99),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of one second are far below 2^52")]
    fn percentile_ms(&self, share: f64) -> Option<f64> {
        let wanted = (self.requests as f64 * share).ceil();
        let mut seen = 0.0;
        self.took.iter().enumerate().find_map(|(at, count)| {
            seen += f64::from(*count);
            let upper_us = FIRST_US * 2f64.powf(at as f64 / PER_DOUBLING);
            (*count > 0 && seen >= wanted).then(|| (upper_us / 10.0).round() / 100.0)
        })
    }
}

/// The first bucket whose upper bound is not below `took`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the buckets first")]
fn bucket(took: Duration) -> usize {
    let us = took.as_secs_f64() * 1e6;
    let place = ((us / FIRST_US).max(1.0).log2() * PER_DOUBLING).ceil();
    place.min((BUCKETS - 1) as f64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn a_second_tells_its_orders_and_percentiles() {
        let live = LiveSeries::default();
        for ms in 1..=100 {
            live.request(at(1000), Duration::from_millis(ms), ms > 98);
        }
        live.order(at(1000));
        let points = live.points(at(1001));
        assert_eq!(points.len(), SECONDS);
        let last = points.last().expect("a point");
        assert_eq!((last.at_s, last.orders, last.requests, last.errors), (1000, 1, 100, 2));
        let near = |value: Option<f64>, wanted: f64| {
            let value = value.expect("a percentile");
            assert!((value / wanted - 1.0).abs() < 0.1, "{value} is not within 10 % of {wanted}");
        };
        near(last.p50_ms, 50.0);
        near(last.p95_ms, 95.0);
        near(last.p99_ms, 99.0);
        assert_eq!(points[0].p50_ms, None);
    }

    #[test]
    fn it_remembers_five_minutes_and_a_clock_set_back_breaks_nothing() {
        let live = LiveSeries::default();
        for second in 0..1000 {
            live.order(at(second));
        }
        live.order(at(3));
        assert_eq!(live.seconds.lock().expect("unpoisoned").len(), SECONDS);
        let points = live.points(at(1000));
        assert_eq!(points.iter().map(|point| point.orders).sum::<u64>(), 301);
        live.request(at(1000), Duration::from_secs(3600), false);
        live.request(at(1000), Duration::ZERO, false);
        assert_eq!(live.points(at(1001)).last().expect("a point").requests, 2);
    }
}
