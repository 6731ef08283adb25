//! A cache in this process: bounded by bytes, keeping what is asked for most.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use moka::future::Cache as Moka;

use super::{CacheStore, Entry};

/// Keeps entries in memory.
#[derive(Debug)]
pub struct Memory {
    entries: Moka<String, Arc<Entry>>,
}

impl Memory {
    /// A cache of at most about `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let weigh =
            |key: &String, entry: &Arc<Entry>| u32::try_from(key.len() + entry.weight()).unwrap_or(u32::MAX);
        Self { entries: Moka::builder().max_capacity(bytes_max).weigher(weigh).build() }
    }
}

impl CacheStore for Memory {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Option<Arc<Entry>>> {
        Box::pin(self.entries.get(key))
    }

    fn put(&self, key: String, entry: Arc<Entry>) -> BoxFuture<'_, ()> {
        Box::pin(self.entries.insert(key, entry))
    }
}
