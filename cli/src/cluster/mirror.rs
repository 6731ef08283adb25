//! What the cluster holds, kept up to date by watches: who waits for something is told of each change, instead of asking
//! again and again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::api::{Api, ApiError, Change};
use super::object::{Key, Object};

/// The kinds that a deploy looks at.
pub const KINDS: &[(&str, &str)] = &[
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "Event"),
    ("batch/v1", "Job"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
];

/// How often a list is asked for where watches are not allowed, and how long a watch that failed is left alone.
const LIST_EVERY: Duration = Duration::from_secs(2);

/// The objects of one namespace, as they are now.
pub struct Mirror {
    shared: Arc<Shared>,
    changes: watch::Receiver<u64>,
    /// Ends with the mirror.
    _watchers: JoinSet<()>,
}

struct Shared {
    objects: Mutex<BTreeMap<Key, Object>>,
    changed: watch::Sender<u64>,
}

impl Mirror {
    /// The objects of `kinds` in `namespace`: complete from the start.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer.
    pub async fn of(
        api: &Arc<Api>,
        namespace: &str,
        kinds: &[(&'static str, &'static str)],
    ) -> Result<Self, ApiError> {
        let (changed, changes) = watch::channel(0);
        let shared = Arc::new(Shared { objects: Mutex::default(), changed });
        let mut watchers = JoinSet::new();
        for kind in kinds {
            shared.reset(*kind, api.list(*kind, namespace, "").await?);
            watchers.spawn(follow(Arc::clone(api), Arc::clone(&shared), *kind, namespace.to_owned()));
        }
        Ok(Self { shared, changes, _watchers: watchers })
    }

    /// All of them, as they are now.
    #[must_use]
    pub fn objects(&self) -> Vec<Object> {
        self.shared.lock().values().cloned().collect()
    }

    /// What `look` sees in them.
    pub fn look<T>(&self, look: impl FnOnce(&BTreeMap<Key, Object>) -> T) -> T {
        look(&self.shared.lock())
    }

    /// Waits until something has changed since the last call, or `at_most` has passed: some of what a caller waits for is
    /// only the passing of time.
    pub async fn changed(&mut self, at_most: Duration) {
        // The sender lives as long as this: there is no error to be had.
        let _ = tokio::time::timeout(at_most, self.changes.changed()).await;
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Object>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Puts `objects` in the place of all of their kind.
    fn reset(&self, (version, kind): (&str, &str), objects: Vec<Object>) {
        let group = version.rsplit_once('/').map_or("", |(group, _)| group);
        let mut all = self.lock();
        all.retain(|key, _| key.kind != kind || key.group != group);
        all.extend(objects.into_iter().map(|object| (object.key().clone(), object)));
        drop(all);
        self.tell();
    }

    fn take(&self, change: Change) {
        match change {
            Change::Is(object) => drop(self.lock().insert(object.key().clone(), object)),
            Change::Went(key) => drop(self.lock().remove(&key)),
        }
        self.tell();
    }
}

/// Follows one kind for ever: a watch that ends is begun anew, and where none is allowed the list is asked for.
async fn follow(api: Arc<Api>, shared: Arc<Shared>, kind: (&'static str, &'static str), namespace: String) {
    loop {
        match api.watch(kind, &namespace, "").await {
            Ok((objects, changes)) => {
                shared.reset(kind, objects);
                let mut changes = std::pin::pin!(changes);
                while let Some(Ok(change)) = changes.next().await {
                    shared.take(change);
                }
            }
            Err(error) => {
                tracing::debug!(%error, kind = kind.1, "watch");
                if error.code() == Some(403)
                    && let Ok(objects) = api.list(kind, &namespace, "").await
                {
                    shared.reset(kind, objects);
                }
                tokio::time::sleep(LIST_EVERY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, version: &str) -> Object {
        let metadata = json!({"namespace": "shop", "name": name, "resourceVersion": version});
        Object::new(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})).unwrap()
    }

    #[test]
    fn changes_are_taken_and_a_new_list_forgets_what_is_not_on_it() {
        let (changed, changes) = watch::channel(0);
        let shared = Shared { objects: Mutex::default(), changed };
        shared.reset(("v1", "Pod"), vec![pod("a", "1"), pod("b", "1")]);
        shared.take(Change::Is(pod("a", "2")));
        shared.take(Change::Went(pod("b", "1").key().clone()));
        let held: Vec<_> = shared
            .lock()
            .values()
            .map(|pod| (pod.name().to_owned(), pod.text("/metadata/resourceVersion").map(str::to_owned)))
            .collect();
        assert_eq!(held, [("a".to_owned(), Some("2".to_owned()))]);
        shared.reset(("v1", "Pod"), vec![pod("c", "3")]);
        assert_eq!(shared.lock().len(), 1);
        shared.reset(("apps/v1", "Deployment"), Vec::new());
        assert_eq!(shared.lock().len(), 1, "another kind is none of its business");
        assert_eq!(*changes.borrow(), 5);
    }
}
