//! Caches: answers that are read often and change rarely, kept where they are quick to get.
//!
//! [`Cache`] is read-through: a miss loads, and everybody who misses the same key meanwhile waits for that one load.
//! An answer is tagged with what it was made of; [`Cache::invalidate`] makes everything with a tag stale at once,
//! also what is being loaded at that moment. So whoever has heard that a write is done never reads what was before
//! it from this process's cache; other processes are bounded by the life that the loader gives.
//!
//! # Adding one
//! A cache is one file that implements [`CacheStore`] and one line in [`CACHES`]. The store only keeps entries;
//! lives, tags, the single flight and the counting are here, the same for all.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderValue;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use sha2::{Digest, Sha256};

use crate::telemetry::Telemetry;
use crate::telemetry::meters::CacheMeter;
use crate::vocabulary::{Env, Timestamp};

pub mod memory;

/// A kind of cache.
#[derive(Clone, Copy, Debug)]
pub struct CacheKind {
    /// What the configuration calls it.
    pub name: &'static str,
    /// Where it keeps things, in one line.
    pub about: &'static str,
    /// Opens one that keeps at most so many bytes.
    pub open: fn(bytes_max: u64) -> Arc<dyn CacheStore>,
}

/// Every kind of cache.
pub const CACHES: &[CacheKind] = &[CacheKind {
    name: "memory",
    about: "in this process",
    open: |bytes| Arc::new(memory::Memory::new(bytes)),
}];

/// What every kind of cache does: it keeps entries, and may forget any of them at any time.
pub trait CacheStore: Send + Sync + 'static {
    /// The entry under `key`, if it is still kept.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Option<Arc<Entry>>>;
    /// The same, where the answer needs no wait. A store that cannot tell at once answers none.
    fn peek(&self, key: &str) -> Option<Arc<Entry>>;
    /// Keeps `entry` under `key`.
    fn put(&self, key: String, entry: Arc<Entry>) -> BoxFuture<'_, ()>;
}

/// How many tags are told apart; two that share a place make each other stale needlessly, nothing worse.
const PLACES: usize = 4_096;
/// How often a caller joins the load of another before it loads by itself.
const JOINS_MAX: u32 = 3;

/// What an answer was made of. Made from a kind and a name: `Tag::new("stock", "TEE-M")`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(u16);

impl Tag {
    /// The tag of `name` among those of `kind`.
    #[must_use]
    pub fn new(kind: &'static str, name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (kind, name).hash(&mut hasher);
        Self(u16::try_from(hasher.finish() % PLACES as u64).unwrap_or(0))
    }
}

/// What a loader brings.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The answer.
    pub body: Bytes,
    /// What it was made of.
    pub tags: Vec<Tag>,
}

/// An answer that is kept.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The answer.
    pub body: Bytes,
    /// A strong validator of it, quoted, for `ETag`.
    pub etag: HeaderValue,
    tags: Box<[Tag]>,
    /// Where [`Stale::now`] stood before it was loaded.
    as_of: u64,
    expires_at: Timestamp,
}

impl Entry {
    /// About how much memory it takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.body.len() + self.tags.len() * size_of::<Tag>() + 200
    }
}

/// When each tag last became stale, on a clock that only counts.
struct Stale {
    now: AtomicU64,
    since: Box<[AtomicU64]>,
}

impl Stale {
    fn new() -> Self {
        Self { now: AtomicU64::new(0), since: (0..PLACES).map(|_| AtomicU64::new(0)).collect() }
    }

    fn mark(&self, tag: Tag) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.since[usize::from(tag.0)].fetch_max(now, Ordering::SeqCst);
    }

    fn is_fresh(&self, entry: &Entry) -> bool {
        entry.tags.iter().all(|tag| self.since[usize::from(tag.0)].load(Ordering::SeqCst) <= entry.as_of)
    }
}

type Flight<E> = Shared<BoxFuture<'static, Result<Arc<Entry>, E>>>;

struct Inner<E> {
    name: &'static str,
    store: Arc<dyn CacheStore>,
    env: Env,
    meter: CacheMeter,
    stale: Stale,
    /// Loads that are under way, each with a number of its own.
    flights: Mutex<HashMap<String, (u64, Flight<E>)>>,
    flights_started: AtomicU64,
}

/// A read-through cache whose loads fail with `E`. Cheap to clone; clones share everything.
pub struct Cache<E> {
    inner: Arc<Inner<E>>,
}

impl<E> Clone for Cache<E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<E> std::fmt::Debug for Cache<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cache({})", self.inner.name)
    }
}

impl<E: Clone + Send + Sync + 'static> Cache<E> {
    /// A cache over `store`; hits and misses are counted under `name`.
    #[must_use]
    pub fn new(name: &'static str, store: Arc<dyn CacheStore>, env: &Env, telemetry: &Telemetry) -> Self {
        Self {
            inner: Arc::new(Inner {
                name,
                store,
                env: env.clone(),
                meter: telemetry.meters().cache(name),
                stale: Stale::new(),
                flights: Mutex::default(),
                flights_started: AtomicU64::new(0),
            }),
        }
    }

    /// What is kept under `key`, unless it is stale or its life is over.
    pub async fn get(&self, key: &str) -> Option<Arc<Entry>> {
        let entry = self.inner.store.get(key).await?;
        self.inner.is_good(&entry).then_some(entry)
    }

    /// What is kept under `key` and good, if that can be told without a wait: a hit. Whoever gets none here goes on to
    /// [`Cache::get_or_load`], which counts the miss.
    #[must_use]
    pub fn peek(&self, key: &str) -> Option<Arc<Entry>> {
        let entry = self.inner.store.peek(key).filter(|entry| self.inner.is_good(entry))?;
        self.inner.meter.hit();
        Some(entry)
    }

    /// What is kept under `key`, or what `load` brings, kept for `life` from then on. Of all who ask at the same
    /// time one loads; a failure is not kept and goes to all of them.
    pub async fn get_or_load<F>(
        &self,
        key: &str,
        life: Duration,
        load: impl Fn() -> F + Send + Sync,
    ) -> Result<Arc<Entry>, E>
    where
        F: Future<Output = Result<Loaded, E>> + Send + 'static,
    {
        let mut joined = 0;
        loop {
            if let Some(entry) = self.get(key).await {
                // Waiting for somebody else's load is a miss that was counted when the wait began.
                if joined == 0 {
                    self.inner.meter.hit();
                }
                return Ok(entry);
            }
            if joined == 0 {
                self.inner.meter.miss();
            }
            let (flight, own) = self.join(key, life, joined < JOINS_MAX, &load);
            let entry = flight.await?;
            // One's own load began after the question, so it is good even if it is stale by now.
            if own || self.inner.stale.is_fresh(&entry) {
                return Ok(entry);
            }
            joined += 1;
        }
    }

    /// What was loaded, as an entry that is not kept.
    #[must_use]
    pub fn pass(&self, loaded: Loaded) -> Arc<Entry> {
        Arc::new(self.inner.entry(loaded, 0, Duration::ZERO))
    }

    /// Makes everything with any of `tags` stale. Call it after the write is done.
    pub fn invalidate(&self, tags: impl IntoIterator<Item = Tag>) {
        for tag in tags {
            self.inner.stale.mark(tag);
        }
    }

    /// The load of `key` that is under way (when `may_join`), or a new one, and whether it is new.
    fn join<F>(&self, key: &str, life: Duration, may_join: bool, load: impl Fn() -> F) -> (Flight<E>, bool)
    where
        F: Future<Output = Result<Loaded, E>> + Send + 'static,
    {
        let mut flights = self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if may_join && let Some((_, flight)) = flights.get(key) {
            return (flight.clone(), false);
        }
        let number = self.inner.flights_started.fetch_add(1, Ordering::Relaxed);
        let as_of = self.inner.stale.now.load(Ordering::SeqCst);
        let (inner, key, loading) = (Arc::clone(&self.inner), key.to_owned(), load());
        let place = key.clone();
        let flight = async move {
            let outcome = loading.await;
            let answer = match outcome {
                Ok(loaded) => {
                    let entry = Arc::new(inner.entry(loaded, as_of, life));
                    inner.store.put(key.clone(), Arc::clone(&entry)).await;
                    Ok(entry)
                }
                Err(error) => Err(error),
            };
            let mut flights = inner.flights.lock().unwrap_or_else(PoisonError::into_inner);
            if flights.get(&key).is_some_and(|(other, _)| *other == number) {
                flights.remove(&key);
            }
            answer
        };
        let flight = flight.boxed().shared();
        flights.insert(place, (number, flight.clone()));
        (flight, true)
    }
}

impl<E> Inner<E> {
    /// Whether an entry is neither stale nor over.
    fn is_good(&self, entry: &Entry) -> bool {
        entry.expires_at > self.env.now() && self.stale.is_fresh(entry)
    }

    fn entry(&self, loaded: Loaded, as_of: u64, life: Duration) -> Entry {
        Entry {
            etag: etag(&loaded.body),
            body: loaded.body,
            tags: loaded.tags.into_boxed_slice(),
            as_of,
            expires_at: self.env.after(life),
        }
    }
}

/// A strong validator of `body`, quoted.
#[must_use]
pub fn etag(body: &[u8]) -> HeaderValue {
    let mut text = String::with_capacity(34);
    text.push('"');
    for byte in &Sha256::digest(body)[..12] {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push('"');
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::vocabulary::Clock;

    const LIFE: Duration = Duration::from_secs(30);

    fn cache() -> (Cache<String>, Clock) {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let env = Env::seeded(clock.clone(), 1);
        (Cache::new("test", (CACHES[0].open)(1 << 20), &env, &Telemetry::new()), clock)
    }

    fn loaded(text: &str) -> Loaded {
        Loaded { body: Bytes::copy_from_slice(text.as_bytes()), tags: vec![Tag::new("product", "tee")] }
    }

    async fn read(cache: &Cache<String>, text: &'static str) -> Bytes {
        cache.get_or_load("key", LIFE, || async move { Ok(loaded(text)) }).await.unwrap().body.clone()
    }

    #[tokio::test]
    async fn an_answer_is_kept_until_its_life_is_over() {
        let (cache, clock) = cache();
        assert_eq!(read(&cache, "one").await, "one");
        assert_eq!(read(&cache, "two").await, "one");
        clock.advance(LIFE);
        assert_eq!(read(&cache, "three").await, "three");
    }

    #[tokio::test]
    async fn a_tag_makes_stale_what_was_made_of_it() {
        let (cache, _) = cache();
        read(&cache, "one").await;
        let other =
            (0..).map(|n| Tag::new("product", &n.to_string())).find(|tag| *tag != Tag::new("product", "tee"));
        cache.invalidate(other);
        assert_eq!(read(&cache, "two").await, "one");
        cache.invalidate([Tag::new("product", "tee")]);
        assert_eq!(read(&cache, "three").await, "three");
    }

    #[tokio::test]
    async fn of_many_who_ask_at_once_one_loads() {
        let (cache, _) = cache();
        let (loads, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let ask = || {
            let (cache, loads, gate) = (cache.clone(), Arc::clone(&loads), Arc::clone(&gate));
            tokio::spawn(async move {
                let load = || {
                    let (loads, gate) = (Arc::clone(&loads), Arc::clone(&gate));
                    async move {
                        loads.fetch_add(1, Ordering::SeqCst);
                        gate.acquire().await.expect("open").forget();
                        Ok(loaded("once"))
                    }
                };
                cache.get_or_load("key", LIFE, load).await.unwrap().body.clone()
            })
        };
        let asked: Vec<_> = (0..50).map(|_| ask()).collect();
        gate.add_permits(1);
        for answer in asked {
            assert_eq!(answer.await.unwrap(), "once");
        }
        assert_eq!(loads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn nobody_reads_what_was_before_a_write_from_a_load_that_began_before_it() {
        let (cache, _) = cache();
        let gate = Arc::new(Semaphore::new(0));
        let slow = {
            let (cache, gate) = (cache.clone(), Arc::clone(&gate));
            tokio::spawn(async move {
                let load = || {
                    let gate = Arc::clone(&gate);
                    async move {
                        gate.acquire().await.expect("open").forget();
                        Ok(loaded("before"))
                    }
                };
                cache.get_or_load("key", LIFE, load).await.unwrap().body.clone()
            })
        };
        while cache.inner.flights.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        // The write is done here; a reader that comes now joins the load that began before.
        cache.invalidate([Tag::new("product", "tee")]);
        let reader = {
            let cache = cache.clone();
            tokio::spawn(async move { read(&cache, "after").await })
        };
        tokio::task::yield_now().await;
        gate.add_permits(1);
        assert_eq!(slow.await.unwrap(), "before");
        assert_eq!(reader.await.unwrap(), "after");
        assert_eq!(read(&cache, "later").await, "after");
    }

    #[tokio::test]
    async fn a_peek_sees_what_is_good_and_nothing_else() {
        let (cache, clock) = cache();
        let peek = |key: &str| cache.peek(key).map(|entry| entry.body.clone());
        assert_eq!(peek("key"), None);
        read(&cache, "one").await;
        assert_eq!(peek("key").as_deref(), Some(b"one".as_slice()));
        cache.invalidate([Tag::new("product", "tee")]);
        assert_eq!(peek("key"), None, "it is stale");
        read(&cache, "two").await;
        clock.advance(LIFE);
        assert_eq!(peek("key"), None, "its life is over");
        // More keys than there are places at the front, and answers that are too large for one.
        let large = "x".repeat(20_000);
        let text = |number: u32| if number.is_multiple_of(10) { large.as_str() } else { "small" };
        for number in 0..200 {
            let load = || std::future::ready(Ok(loaded(text(number))));
            cache.get_or_load(&format!("key {number}"), LIFE, load).await.unwrap();
        }
        for number in 0..200 {
            assert_eq!(
                peek(&format!("key {number}")).as_deref(),
                Some(text(number).as_bytes()),
                "key {number}"
            );
        }
    }

    #[tokio::test]
    async fn a_failure_goes_to_all_and_is_not_kept() {
        let (cache, _) = cache();
        let failed = cache.get_or_load("key", LIFE, || async { Err::<Loaded, _>("away".to_owned()) }).await;
        assert_eq!(failed.unwrap_err(), "away");
        assert_eq!(read(&cache, "back").await, "back");
    }

    #[tokio::test]
    async fn a_load_whose_asker_went_away_is_finished_by_the_next() {
        let (cache, _) = cache();
        let gate = Arc::new(Semaphore::new(0));
        let load = || {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.expect("open").forget();
                Ok(loaded("done"))
            }
        };
        {
            let mut asking = Box::pin(cache.get_or_load("key", LIFE, load));
            assert!(futures_util::poll!(asking.as_mut()).is_pending());
        }
        gate.add_permits(1);
        assert_eq!(read(&cache, "another").await, "done");
    }

    #[test]
    fn an_etag_follows_the_body() {
        assert_eq!(etag(b"a"), etag(b"a"));
        assert_ne!(etag(b"a"), etag(b"b"));
    }
}
