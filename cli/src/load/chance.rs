//! Chance that a seed repeats: the same seed gives the same journeys with the same contents, on any machine and
//! with any number of workers.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng as _, SeedableRng as _};

/// What a stream of numbers is for. Streams of one seed have nothing in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// When journeys arrive.
    Arrivals = 1,
    /// What one journey does: numbered by the journey.
    Journey = 2,
    /// What one user does: numbered by the user.
    User = 3,
}

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(super) struct Chance(Xoshiro256PlusPlus);

impl Chance {
    /// The stream number `number` of its kind under `seed`.
    pub(super) fn new(seed: u64, stream: Stream, number: u64) -> Self {
        // Two rounds of mixing, so that neighbours of a number or a seed are strangers.
        let mixed = mix(mix(seed) ^ mix(number.wrapping_mul(4).wrapping_add(stream as u64)));
        Self(Xoshiro256PlusPlus::seed_from_u64(mixed))
    }

    /// From 0 up to, not including, 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a fraction holds")]
    pub(super) fn fraction(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A place in a list of `length`; 0 for an empty one.
    pub(super) fn place(&mut self, length: usize) -> usize {
        let length = length as u64;
        // The high part of the product: as even as 64 bits allow.
        usize::try_from((u128::from(self.0.next_u64()) * u128::from(length)) >> 64).unwrap_or(0)
    }

    /// A place in a list of `length` whose first members are the popular ones.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fraction of a list's length"
    )]
    pub(super) fn popular_place(&mut self, length: usize) -> usize {
        let fraction = self.fraction();
        ((fraction * fraction * length as f64) as usize).min(length.saturating_sub(1))
    }

    /// One of `all`.
    pub(super) fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.place(all.len()))
    }

    /// Waiting times between events that come at random, in units of their mean.
    pub(super) fn exponential(&mut self) -> f64 {
        -(1.0 - self.fraction()).ln()
    }

    /// A length of time around `mean`, which some would be ten times.
    pub(super) fn exponential_time(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(self.exponential().min(10.0))
    }

    /// Evenly from half of `mean` to half more.
    pub(super) fn uniform_time(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(0.5 + self.fraction())
    }
}

/// `SplitMix64`: every bit of the input reaches every bit of the output.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(chance: &mut Chance) -> Vec<usize> {
        (0..20).map(|_| chance.place(1000)).collect()
    }

    #[test]
    fn a_seed_repeats_and_streams_differ() {
        let of = |seed, stream, number| numbers(&mut Chance::new(seed, stream, number));
        assert_eq!(of(1, Stream::Journey, 7), of(1, Stream::Journey, 7));
        let all = [
            of(1, Stream::Journey, 7),
            of(2, Stream::Journey, 7),
            of(1, Stream::Journey, 8),
            of(1, Stream::User, 7),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|two| one != two));
        }
    }

    #[test]
    fn means_are_what_they_are_called() {
        let mut chance = Chance::new(42, Stream::User, 0);
        let rounds = 100_000;
        let mean = |mut draw: Box<dyn FnMut(&mut Chance) -> f64>, chance: &mut Chance| {
            (0..rounds).map(|_| draw(chance)).sum::<f64>() / f64::from(rounds)
        };
        let second = Duration::from_secs(1);
        let exponential = mean(Box::new(Chance::exponential), &mut chance);
        let uniform = mean(Box::new(move |chance| chance.uniform_time(second).as_secs_f64()), &mut chance);
        let fraction = mean(Box::new(Chance::fraction), &mut chance);
        assert!((exponential - 1.0).abs() < 0.02, "{exponential}");
        assert!((uniform - 1.0).abs() < 0.02, "{uniform}");
        assert!((fraction - 0.5).abs() < 0.01, "{fraction}");
    }
}
