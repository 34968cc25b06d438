//! Caches that follow the API.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Resource};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Pause after a watch broke, before it is made again.
const RECONNECT: Duration = Duration::from_millis(300);
/// Somebody who cannot list says so this often.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was not there before.
    Added,
    /// It is another than before.
    Updated,
    /// It is gone.
    Deleted,
}

type Handler<K> = Box<dyn Fn(Change, &Arc<K>) + Send + Sync>;

/// A cache of all objects of one kind. Reads never wait; what they see may be a moment old.
pub struct Informer<K> {
    objects: RwLock<HashMap<String, Arc<K>>>,
    handlers: RwLock<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
}

/// `namespace/name`, or the name alone.
pub fn key_of<K: Resource>(object: &K) -> String {
    let name = object.meta().name.as_deref().unwrap_or_default();
    match object.meta().namespace.as_deref() {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

impl<K> Default for Informer<K> {
    fn default() -> Self {
        Self { objects: RwLock::default(), handlers: RwLock::default(), synced: watch::Sender::new(false) }
    }
}

impl<K> Informer<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// Starts following all objects of the kind.
    pub fn start(client: kube::Client, shutdown: &CancellationToken) -> Arc<Self> {
        Self::start_with(Api::all(client), Config::default(), shutdown)
    }

    /// Starts following the objects that `config` selects.
    pub fn start_with(api: Api<K>, config: Config, shutdown: &CancellationToken) -> Arc<Self> {
        let informer = Arc::new(Self::default());
        let (follower, shutdown) = (informer.clone(), shutdown.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = follower.follow(api, config) => {}
                () = shutdown.cancelled() => {}
            }
        });
        informer
    }

    async fn follow(&self, api: Api<K>, config: Config) {
        let mut events = watcher(api, config).boxed();
        let mut listed: HashSet<String> = HashSet::new();
        let mut told: Option<Instant> = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => {
                    listed.insert(key_of(&object));
                    self.apply(object);
                }
                Ok(Event::InitDone) => {
                    let gone: Vec<String> =
                        self.objects.read().keys().filter(|key| !listed.contains(*key)).cloned().collect();
                    for key in gone {
                        self.remove(&key);
                    }
                    self.synced.send_replace(true);
                }
                Ok(Event::Apply(object)) => self.apply(object),
                Ok(Event::Delete(object)) => self.remove(&key_of(&object)),
                Err(error) => {
                    // Watches break whenever a server goes; that nothing can be listed is what somebody has to look at.
                    let lists = matches!(error, watcher::Error::InitialListFailed(_));
                    if lists && told.is_none_or(|told| told.elapsed() > TELL_EVERY) {
                        told = Some(Instant::now());
                        tracing::warn!(kind = %K::kind(&()), %error, "cannot list, and tries again");
                    } else {
                        tracing::debug!(kind = %K::kind(&()), %error, "a watch broke");
                    }
                    tokio::time::sleep(RECONNECT).await;
                }
            }
        }
    }

    /// Puts an object into the cache.
    pub fn apply(&self, object: K) {
        let object = Arc::new(object);
        let old = self.objects.write().insert(key_of(object.as_ref()), object.clone());
        let same = |old: &Arc<K>| {
            old.meta().resource_version.is_some() && old.meta().resource_version == object.meta().resource_version
        };
        match &old {
            Some(old) if same(old) => {}
            Some(_) => self.tell(Change::Updated, &object),
            None => self.tell(Change::Added, &object),
        }
    }

    fn remove(&self, key: &str) {
        let old = self.objects.write().remove(key);
        if let Some(old) = old {
            self.tell(Change::Deleted, &old);
        }
    }

    fn tell(&self, change: Change, object: &Arc<K>) {
        for handler in self.handlers.read().iter() {
            handler(change, object);
        }
    }

    /// Has every event from now on handled; what is in the cache already counts as added.
    pub fn handle(&self, handler: impl Fn(Change, &Arc<K>) + Send + Sync + 'static) {
        self.handlers.write().push(Box::new(handler));
        let handlers = self.handlers.read();
        if let Some(handler) = handlers.last() {
            for object in self.objects.read().values() {
                handler(Change::Added, object);
            }
        }
    }

    /// The object of a key, `namespace/name`.
    pub fn get(&self, key: &str) -> Option<Arc<K>> {
        self.objects.read().get(key).cloned()
    }

    /// All objects.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.objects.read().values().cloned().collect()
    }

    /// All objects of a namespace.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let objects = self.objects.read();
        objects.values().filter(|object| object.meta().namespace.as_deref() == Some(namespace)).cloned().collect()
    }

    /// Waits until all objects that were there were listed.
    pub async fn synced(&self) {
        // The sender lives as long as this does, so waiting cannot fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }
}
