//! How long things took: a histogram from a microsecond to a minute, three digits, mergeable.
//!
//! On disk it is HdrHistogram's V2 format in base64, as every HDR tool reads it, with the usual percentiles in
//! plain sight beside it.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize};

/// The longest time that is told apart; what took longer counts as this.
pub const LONGEST: Duration = Duration::from_micros(LONGEST_US);
const LONGEST_US: u64 = 60_000_000;
/// The digits that are kept of each time: an error of at most one in a thousand.
pub const DIGITS: u8 = 3;

/// Many lengths of time. Memory does not grow with their number.
#[derive(Clone, Debug, PartialEq)]
pub struct Latencies {
    us: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// None yet.
    ///
    /// # Panics
    /// Never: the bounds are constants that the library accepts.
    #[must_use]
    pub fn new() -> Self {
        let us = Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("constant bounds that hold");
        Self { us }
    }

    /// Adds one. Less than a microsecond counts as one, more than [`LONGEST`] as [`LONGEST`].
    #[inline]
    pub fn record(&mut self, took: Duration) {
        let us = took.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(took.subsec_micros()));
        self.us.saturating_record(us.clamp(1, LONGEST_US));
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        // Both have the same bounds, which is all that could keep them from being added.
        self.us.add(&other.us).ok();
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.us.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.us.is_empty()
    }

    /// The time that the fraction `quantile` (0 to 1) of all is at or under; zero when there are none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        if self.is_empty() {
            return Duration::ZERO;
        }
        Duration::from_micros(self.us.value_at_quantile(quantile))
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.us.max())
    }

    /// The middle of all, by weight.
    #[must_use]
    pub fn mean(&self) -> Duration {
        if self.is_empty() { Duration::ZERO } else { Duration::from_secs_f64(self.us.mean() / 1e6) }
    }

    /// How many took at most `limit`.
    #[must_use]
    pub fn at_most(&self, limit: Duration) -> u64 {
        let us = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        self.us.count_between(0, us)
    }

    /// Each bucket that holds any: the longest time in it, and how many.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.us.iter_recorded().map(|bucket| {
            (Duration::from_micros(bucket.value_iterated_to()), bucket.count_since_last_iteration())
        })
    }
}

/// The shape on disk. Only `hdr` is read back; the rest is for people and small scripts.
#[derive(Serialize, Deserialize)]
struct OnDisk {
    #[serde(default)]
    count: u64,
    #[serde(default)]
    mean_us: u64,
    #[serde(default)]
    p50_us: u64,
    #[serde(default)]
    p90_us: u64,
    #[serde(default)]
    p99_us: u64,
    #[serde(default)]
    p999_us: u64,
    #[serde(default)]
    max_us: u64,
    /// HdrHistogram V2, base64; the unit is the microsecond.
    hdr: String,
}

impl Serialize for Latencies {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&self.us, &mut bytes).map_err(S::Error::custom)?;
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        OnDisk {
            count: self.count(),
            mean_us: us(self.mean()),
            p50_us: us(self.quantile(0.5)),
            p90_us: us(self.quantile(0.9)),
            p99_us: us(self.quantile(0.99)),
            p999_us: us(self.quantile(0.999)),
            max_us: us(self.max()),
            hdr: BASE64_STANDARD.encode(bytes),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let on_disk = OnDisk::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD.decode(on_disk.hdr).map_err(D::Error::custom)?;
        let read: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| D::Error::custom(format!("not a V2 histogram: {error}")))?;
        let mut all = Self::new();
        all.us.add(&read).map_err(|error| D::Error::custom(format!("other bounds: {error}")))?;
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(all: &[u64]) -> Latencies {
        let mut latencies = Latencies::new();
        all.iter().for_each(|us| latencies.record(Duration::from_micros(*us)));
        latencies
    }

    /// The value of the sorted vector that stands where `quantile` points: the smallest that at least that
    /// fraction of all is at or under.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few hundred values"
    )]
    fn of_vector(all: &[u64], quantile: f64) -> u64 {
        let mut sorted = all.to_vec();
        sorted.sort_unstable();
        let rank = (quantile * sorted.len() as f64).ceil().max(1.0) as usize;
        sorted[rank - 1]
    }

    proptest! {
        #[test]
        fn every_quantile_is_that_of_the_sorted_vector_within_a_thousandth(
            all in prop::collection::vec(prop_oneof![1_u64..2000, 1_u64..100_000, 1_u64..60_000_000], 1..400),
        ) {
            let latencies = of(&all);
            for quantile in [0.0, 0.5, 0.9, 0.99, 0.999, 1.0] {
                let exact = of_vector(&all, quantile);
                let told = u64::try_from(latencies.quantile(quantile).as_micros()).unwrap();
                prop_assert!(
                    told.abs_diff(exact) <= 1 + exact / 1000,
                    "p{quantile}: {told} told, {exact} exact, of {} values", all.len()
                );
            }
            prop_assert_eq!(latencies.count(), all.len() as u64);
        }

        #[test]
        fn merged_parts_are_the_whole(
            one in prop::collection::vec(1_u64..60_000_000, 0..100),
            two in prop::collection::vec(1_u64..60_000_000, 0..100),
        ) {
            let mut merged = of(&one);
            merged.merge(&of(&two));
            prop_assert_eq!(merged, of(&[one, two].concat()));
        }

        #[test]
        fn what_was_written_is_read_back(all in prop::collection::vec(1_u64..60_000_000, 0..100)) {
            let latencies = of(&all);
            let text = serde_json::to_string(&latencies).unwrap();
            prop_assert_eq!(serde_json::from_str::<Latencies>(&text).unwrap(), latencies);
        }
    }

    #[test]
    fn what_took_longer_than_a_minute_counts_as_a_minute() {
        let latencies = of(&[90_000_000]);
        assert_eq!(latencies, of(&[LONGEST_US]));
        assert!(latencies.max() >= LONGEST && latencies.max() < LONGEST.mul_f64(1.001));
    }

    #[test]
    fn nothing_has_no_percentiles() {
        assert_eq!(Latencies::new().quantile(0.99), Duration::ZERO);
        assert_eq!(Latencies::new().mean(), Duration::ZERO);
    }
}
