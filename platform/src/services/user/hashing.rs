//! bcrypt on threads of its own number: a storm of sign-ins waits here, in a queue with an end, and never holds a
//! thread that serves requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::model::PASSWORD_BYTES_MAX;
use crate::config::UserConfig;
use crate::http::{Code, Problem};
use crate::telemetry::Telemetry;

/// So many may wait per thread; whoever comes later is told to come back.
const WAITING_PER_THREAD: usize = 32;

/// Hashes and verifies passwords. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hashing {
    cost: u32,
    threads: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    waiting_max: usize,
    telemetry: Option<Telemetry>,
}

/// A thread to hash on, held until it is dropped.
#[derive(Debug)]
pub struct HashingThread {
    cost: u32,
    _permit: OwnedSemaphorePermit,
}

/// Counts one who waits, also when the waiting is given up.
struct Waiting<'a>(&'a Hashing);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hashing {
    /// As many threads and the cost that `config` names.
    #[must_use]
    pub fn new(config: &UserConfig, telemetry: &Telemetry) -> Self {
        Self { telemetry: Some(telemetry.clone()), ..Self::unmeasured(config) }
    }

    /// The same, without metrics: for a command that hashes one password and ends.
    #[must_use]
    pub fn unmeasured(config: &UserConfig) -> Self {
        let threads = config.bcrypt_threads.max(1);
        Self {
            cost: config.bcrypt_cost,
            threads: Arc::new(Semaphore::new(threads)),
            waiting: Arc::default(),
            waiting_max: threads * WAITING_PER_THREAD,
            telemetry: None,
        }
    }

    /// Waits for a thread. 503 `overloaded` when too many wait already.
    pub async fn thread(&self) -> Result<HashingThread, Problem> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.waiting_max {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Problem::new(Code::Overloaded, "too many sign-ins at once, try again in a moment")
                .retry_after(Duration::from_secs(2)));
        }
        let waiting = Waiting(self);
        let since = Instant::now();
        let permit = Arc::clone(&self.threads).acquire_owned().await;
        drop(waiting);
        if let Some(telemetry) = &self.telemetry {
            telemetry.meters().bcrypt_queue(since.elapsed());
        }
        match permit {
            Ok(permit) => Ok(HashingThread { cost: self.cost, _permit: permit }),
            Err(closed) => Err(Problem::internal(&closed)),
        }
    }

    /// Whether `hash` was made with another cost than is configured now.
    #[must_use]
    pub fn is_outdated(&self, hash: &str) -> bool {
        hash.parse::<bcrypt::HashParts>().is_ok_and(|parts| parts.get_cost() != self.cost)
    }
}

impl HashingThread {
    /// The hash of a new password, which [`super::model::check_password`] let pass.
    pub async fn hash(&self, password: &str) -> Result<String, Problem> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(Problem::invalid(
                "/password",
                format!("a password has at most {PASSWORD_BYTES_MAX} bytes"),
            ));
        }
        let (password, cost) = (password.to_owned(), self.cost);
        let hashed = tokio::task::spawn_blocking(move || bcrypt::hash(password, cost)).await;
        match hashed {
            Ok(Ok(hash)) => Ok(hash),
            Ok(Err(error)) => Err(Problem::internal(&error)),
            Err(error) => Err(Problem::internal(&error)),
        }
    }

    /// Whether `password` made `hash`. Without a hash (no such account) the answer is no, after the same work.
    pub async fn verify(&self, password: &str, hash: Option<&str>) -> Result<bool, Problem> {
        let could_match = hash.is_some() && password.len() <= PASSWORD_BYTES_MAX;
        let hash = hash.map_or_else(|| nobodys_hash(self.cost), str::to_owned);
        let password = password.to_owned();
        let verified = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash)).await;
        match verified {
            Ok(Ok(same)) => Ok(same && could_match),
            Ok(Err(error)) => Err(Problem::internal(&error)),
            Err(error) => Err(Problem::internal(&error)),
        }
    }
}

/// A hash that no known password has, and that costs as much to compare with as a real one. It is written down, not
/// computed, so it costs nothing at start.
fn nobodys_hash(cost: u32) -> String {
    format!("$2b${cost:02}$......................{}", ".".repeat(31))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ShopConfig;

    fn hashing(threads: usize) -> Hashing {
        let mut config = ShopConfig::local("/nowhere".into()).user;
        config.bcrypt_cost = 4;
        config.bcrypt_threads = threads;
        Hashing::new(&config, &Telemetry::default())
    }

    #[tokio::test]
    async fn a_password_is_known_again_and_nobodys_never_is() {
        let thread = hashing(1).thread().await.expect("a thread");
        let hash = thread.hash("correct horse").await.expect("a hash");
        assert!(thread.verify("correct horse", Some(&hash)).await.expect("verified"));
        assert!(!thread.verify("wrong horse", Some(&hash)).await.expect("verified"));
        assert!(!thread.verify("", None).await.expect("the same work without an account"));
    }

    #[tokio::test]
    async fn what_bcrypt_would_cut_off_is_not_ignored() {
        let thread = hashing(1).thread().await.expect("a thread");
        let longest = "x".repeat(72);
        let hash = thread.hash(&longest).await.expect("a hash");
        assert!(thread.verify(&longest, Some(&hash)).await.expect("verified"));
        assert!(!thread.verify(&format!("{longest}y"), Some(&hash)).await.expect("verified"));
        assert!(thread.hash(&format!("{longest}y")).await.is_err());
    }

    #[tokio::test]
    async fn the_queue_has_an_end_and_forgets_who_gave_up() {
        let hashing = hashing(1);
        let held = hashing.thread().await.expect("a thread");
        let waiters: Vec<_> = (0..WAITING_PER_THREAD)
            .map(|_| {
                let hashing = hashing.clone();
                tokio::spawn(async move { hashing.thread().await.map(drop) })
            })
            .collect();
        while hashing.waiting.load(Ordering::Relaxed) < WAITING_PER_THREAD {
            tokio::task::yield_now().await;
        }
        let refused = hashing.thread().await.expect_err("the queue is full");
        assert_eq!((refused.code, refused.retry_after), (Code::Overloaded, Some(2)));
        waiters[0].abort();
        while hashing.waiting.load(Ordering::Relaxed) == WAITING_PER_THREAD {
            tokio::task::yield_now().await;
        }
        drop(held);
        for waiter in waiters.into_iter().skip(1) {
            waiter.await.expect("not aborted").expect("a thread");
        }
        assert_eq!(hashing.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_hash_of_another_cost_is_outdated() {
        let hashing = hashing(1);
        assert!(!hashing.is_outdated(&nobodys_hash(4)));
        assert!(hashing.is_outdated(&nobodys_hash(5)));
    }
}
