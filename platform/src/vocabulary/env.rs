//! Time, randomness, ids and the hour of death, handed down instead of reached for. This is the only file that asks the
//! system for randomness.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use uuid::Uuid;

use super::{Clock, Fate, Id, Timestamp, Verdict};

/// What a part of the shop may know of the outside world: the time, and chance. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Env {
    clock: Clock,
    /// A seeded source for tests and simulation; the thread's own generator otherwise.
    seeded: Option<Arc<Mutex<StdRng>>>,
    /// Decides where the process dies, in tests and drills; nobody does otherwise.
    fate: Option<Fate>,
}

impl Env {
    /// The system's clock and randomness.
    #[must_use]
    pub fn system() -> Self {
        Self { clock: Clock::system(), seeded: None, fate: None }
    }

    /// A clock of the caller's and randomness that repeats for the same `seed`.
    #[must_use]
    pub fn seeded(clock: Clock, seed: u64) -> Self {
        Self { clock, seeded: Some(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))), fate: None }
    }

    /// The same, with `fate` deciding where the process dies.
    #[must_use]
    pub fn with_fate(self, fate: Fate) -> Self {
        Self { fate: Some(fate), ..self }
    }

    /// Who decides where the process dies, when somebody does.
    #[must_use]
    pub fn fate(&self) -> Option<&Fate> {
        self.fate.as_ref()
    }

    /// Passes a point at which the process may die, named by `point`. Answers whether what was told there is lost; that
    /// it is, only a fate can say ([`Env::with_fate`]).
    pub async fn reach(&self, point: impl FnOnce() -> String) -> bool {
        let Some(fate) = &self.fate else { return false };
        match fate.at(&point()) {
            Verdict::GoOn => false,
            Verdict::Lost => true,
            Verdict::Never => std::future::pending().await,
        }
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The time `by` from now.
    #[must_use]
    pub fn after(&self, by: Duration) -> Timestamp {
        self.clock.after(by)
    }

    /// A fresh id that sorts by the time it was made (UUIDv7).
    #[must_use]
    pub fn id<K>(&self) -> Id<K> {
        let ms = u64::try_from(self.now().as_millisecond()).unwrap_or(0);
        let random: [u8; 10] = self.bytes();
        Id::from_uuid(uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid())
    }

    /// A fresh id that nobody can guess and that tells nothing (UUIDv4).
    #[must_use]
    pub fn secret_id<K>(&self) -> Id<K> {
        Id::from_uuid(uuid::Builder::from_random_bytes(self.bytes()).into_uuid())
    }

    /// A fresh bare UUIDv7, for rows that have no kind of their own.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.id::<()>().uuid()
    }

    /// `N` random bytes, fit for keys and tokens when the environment is the system's.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &self.seeded {
            Some(rng) => rng.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes),
            #[expect(clippy::disallowed_methods, reason = "the one place that asks for randomness")]
            None => rand::rng().fill_bytes(&mut bytes),
        }
        bytes
    }

    /// A number drawn evenly from `0.0..1.0`: for jitter and sampling.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        match &self.seeded {
            Some(rng) => rng.lock().unwrap_or_else(PoisonError::into_inner).random(),
            #[expect(clippy::disallowed_methods, reason = "the one place that asks for randomness")]
            None => rand::rng().random(),
        }
    }

    /// A duration drawn evenly from zero to `cap`: full jitter.
    #[must_use]
    pub fn jitter(&self, cap: Duration) -> Duration {
        cap.mul_f64(self.fraction())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let env = || Env::seeded(Clock::manual(Timestamp::UNIX_EPOCH), 7);
        let (one, two) = (env(), env());
        let ids = |env: &Env| -> Vec<Id<()>> { (0..8).map(|_| env.id()).collect() };
        assert_eq!(ids(&one), ids(&two));
    }

    #[test]
    fn ids_sort_by_the_time_they_were_made() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let env = Env::seeded(clock.clone(), 7);
        let first: Id<()> = env.id();
        clock.advance(Duration::from_millis(1));
        assert!(first < env.id());
    }
}
