//! Where the replicas of a service answer, and whose turn it is.
//!
//! The list may change while calls are under way: whoever runs the replicas tells of one that came or went. A replica
//! that did not answer rests for a moment, so that the next callers do not stumble over it too.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::vocabulary::{Env, clock};

/// How long a replica that did not answer is asked last.
const REST: Duration = Duration::from_secs(1);

/// The replicas of one service. Cheap to clone; clones share the list.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    replicas: RwLock<Arc<[Arc<Replica>]>>,
    turn: AtomicUsize,
}

/// One process that answers for the service.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) base_url: Arc<str>,
    /// Microseconds since the epoch until which it is asked last; 0 when it is well.
    rests_until_us: AtomicI64,
}

impl Replica {
    /// It did not answer: the others come first for a moment.
    pub(super) fn rest(&self, env: &Env) {
        self.rests_until_us.store(env.after(REST).as_microsecond(), Ordering::Relaxed);
    }

    fn is_awake(&self, env: &Env) -> bool {
        match self.rests_until_us.load(Ordering::Relaxed) {
            0 => true,
            // A clock that was set back must not make a rest of years out of one of a second.
            until => {
                let now = env.now().as_microsecond();
                until <= now || until > clock::add(env.now(), REST).as_microsecond()
            }
        }
    }
}

impl Addresses {
    /// The base URLs in `text`, which commas separate.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::of(text.split(',').map(str::trim).filter(|url| !url.is_empty()))
    }

    /// These base URLs (`http://product:8082`).
    pub fn of<'a>(urls: impl IntoIterator<Item = &'a str>) -> Self {
        let addresses = Self::default();
        addresses.set(urls);
        addresses
    }

    /// From now on these. A replica that stays keeps its standing.
    pub fn set<'a>(&self, urls: impl IntoIterator<Item = &'a str>) {
        let mut replicas = self.inner.replicas.write().unwrap_or_else(PoisonError::into_inner);
        let known = Arc::clone(&replicas);
        let replica = |url: &str| {
            let url = url.trim_end_matches('/');
            let same = known.iter().find(|replica| &*replica.base_url == url);
            let fresh = || Arc::new(Replica { base_url: url.into(), rests_until_us: AtomicI64::new(0) });
            same.map_or_else(fresh, Arc::clone)
        };
        *replicas = urls.into_iter().map(replica).collect();
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list().len()
    }

    fn list(&self) -> Arc<[Arc<Replica>]> {
        Arc::clone(&self.inner.replicas.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every replica once, in the order in which this call should try them: in turn, and those that rest last.
    pub(super) fn in_turn(&self, env: &Env) -> impl Iterator<Item = Arc<Replica>> + use<> {
        let list = self.list();
        let start = if list.len() > 1 { self.inner.turn.fetch_add(1, Ordering::Relaxed) } else { 0 };
        let rounds: &[bool] =
            if list.iter().all(|replica| replica.is_awake(env)) { &[true] } else { &[true, false] };
        let awake: Vec<bool> = if rounds.len() == 1 {
            Vec::new()
        } else {
            list.iter().map(|replica| replica.is_awake(env)).collect()
        };
        let count = list.len();
        let places = rounds.iter().flat_map(move |round| (0..count).map(move |step| (*round, step)));
        places.filter_map(move |(round, step)| {
            let at = start.wrapping_add(step) % count;
            (awake.get(at).copied().unwrap_or(true) == round).then(|| Arc::clone(&list[at]))
        })
    }
}

impl From<&str> for Addresses {
    fn from(url: &str) -> Self {
        Self::parse(url)
    }
}

impl From<&String> for Addresses {
    fn from(url: &String) -> Self {
        Self::parse(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::{Clock, Timestamp};

    fn asked(addresses: &Addresses, env: &Env) -> Vec<String> {
        addresses.in_turn(env).map(|replica| replica.base_url.to_string()).collect()
    }

    #[test]
    fn replicas_are_asked_in_turn_and_each_call_knows_them_all() {
        let env = Env::system();
        let addresses = Addresses::parse("http://a/, http://b");
        assert_eq!(asked(&addresses, &env), ["http://a", "http://b"]);
        assert_eq!(asked(&addresses, &env), ["http://b", "http://a"]);
        assert_eq!(asked(&addresses, &env), ["http://a", "http://b"]);
    }

    #[test]
    fn a_replica_that_did_not_answer_is_asked_last_for_a_moment() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(100));
        let env = Env::seeded(clock.clone(), 1);
        let addresses = Addresses::parse("http://a,http://b");
        addresses.list()[0].rest(&env);
        for _ in 0..4 {
            assert_eq!(asked(&addresses, &env), ["http://b", "http://a"]);
        }
        clock.advance(REST);
        let firsts: Vec<_> = (0..2).map(|_| asked(&addresses, &env).remove(0)).collect();
        assert_eq!(firsts, ["http://a", "http://b"]);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_rest_longer() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(100));
        let env = Env::seeded(clock.clone(), 1);
        let addresses = Addresses::parse("http://a,http://b");
        addresses.list()[0].rest(&env);
        clock.skew(-50_000_000);
        assert_eq!(asked(&addresses, &env), ["http://a", "http://b"]);
    }

    #[test]
    fn the_list_changes_while_it_is_used_and_who_stays_keeps_its_standing() {
        let env = Env::system();
        let addresses = Addresses::of(["http://a", "http://b"]);
        addresses.list()[1].rest(&env);
        let clone = addresses.clone();
        clone.set(["http://b", "http://c"]);
        assert_eq!(asked(&addresses, &env).last().map(String::as_str), Some("http://b"));
        addresses.set([]);
        assert_eq!(clone.count(), 0);
        assert!(asked(&addresses, &env).is_empty());
    }
}
