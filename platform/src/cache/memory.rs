//! A cache in this process: bounded by bytes, keeping what is asked for most.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use moka::future::Cache as Moka;

use super::{CacheStore, Entry};

/// Places at the front.
const PLACES: usize = 64;
/// What is larger has no place at the front, so that the bound in bytes is about kept.
const PLACE_BYTES_MAX: usize = 16 * 1024;

/// A place at the front: what was asked for last of the keys that share it.
type Place = RwLock<Option<(String, Arc<Entry>)>>;

/// Keeps entries in memory.
pub struct Memory {
    entries: Moka<String, Arc<Entry>>,
    /// Before the entries, since few keys are most of what is asked, and a look at a place costs a fraction of one into a
    /// cache that takes note of who is asked for.
    front: Box<[Place]>,
    hasher: RandomState,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Memory({} entries)", self.entries.entry_count())
    }
}

impl Memory {
    /// A cache of at most about `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let weigh =
            |key: &String, entry: &Arc<Entry>| u32::try_from(key.len() + entry.weight()).unwrap_or(u32::MAX);
        Self {
            entries: Moka::builder().max_capacity(bytes_max).weigher(weigh).build(),
            front: (0..PLACES).map(|_| Place::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    fn place(&self, key: &str) -> &Place {
        let place = self.hasher.hash_one(key) % PLACES as u64;
        &self.front[usize::try_from(place).unwrap_or(0)]
    }

    /// What stands at the front under `key`.
    fn at_the_front(&self, key: &str) -> Option<Arc<Entry>> {
        let place = self.place(key).read().unwrap_or_else(PoisonError::into_inner);
        place.as_ref().filter(|(other, _)| other == key).map(|(_, entry)| Arc::clone(entry))
    }

    fn put_at_the_front(&self, key: &str, entry: &Arc<Entry>) {
        if entry.weight() <= PLACE_BYTES_MAX {
            let mut place = self.place(key).write().unwrap_or_else(PoisonError::into_inner);
            *place = Some((key.to_owned(), Arc::clone(entry)));
        }
    }
}

impl CacheStore for Memory {
    /// The entries decide. What stood at the front and was no good is put right.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Option<Arc<Entry>>> {
        Box::pin(async move {
            let entry = self.entries.get(key).await?;
            if !self.at_the_front(key).is_some_and(|front| Arc::ptr_eq(&front, &entry)) {
                self.put_at_the_front(key, &entry);
            }
            Some(entry)
        })
    }

    fn peek(&self, key: &str) -> Option<Arc<Entry>> {
        self.at_the_front(key).or_else(|| self.get(key).now_or_never().flatten())
    }

    fn put(&self, key: String, entry: Arc<Entry>) -> BoxFuture<'_, ()> {
        self.put_at_the_front(&key, &entry);
        Box::pin(self.entries.insert(key, entry))
    }
}
