//! The watch cache: every object's encoded bytes and what selectors look at, kept fresh by one etcd watch.
//!
//! A list takes an immutable snapshot of a resource's map, so it holds no lock while it answers. A watcher gets the events
//! that it missed out of a ring and the rest from a broadcast; one that falls behind the broadcast is closed, and its
//! client lists again, as the API's contract says.

mod entry;
mod figures;
mod follower;
mod frames;
mod message;
mod ring;
mod words;

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinit_api::status::Status;
use parking_lot::RwLock;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use entry::{Entry, Form};
pub(crate) use figures::Figures;
pub use figures::{Scope, Watched};
pub use frames::Frames;
pub use words::Labels;

use crate::registry::{self, RESOURCES, Registry};
use crate::storage::{Etcd, Stored};
use figures::{AllWatched, Counts};
use follower::Follower;
use ring::Ring;

/// Events that a watcher may be behind before it is closed.
const BACKLOG: usize = 1024;
/// Why a state can't be read that etcd was told to forget, in etcd's own words.
pub const COMPACTED: &str = "The resourceVersion for the provided list is too old.";
/// How long a consistent read waits for the cache to reach etcd's revision.
const CONSISTENCY_WAIT: Duration = Duration::from_secs(3);

/// The key of an object among those of its resource: `namespace/name`, or `name`.
fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// One change of one object. `new` is absent for a deletion, `old` for a creation.
#[derive(Clone, Debug)]
pub struct Change {
    pub revision: i64,
    /// The object's key in the map.
    pub key: Arc<str>,
    pub old: Option<Arc<Entry>>,
    pub new: Option<Arc<Entry>>,
    /// What watchers send of it; only while it is on its way to them.
    pub frames: Option<Arc<Frames>>,
}

/// Objects by `namespace/name` or `name`.
pub type Map = imbl::OrdMap<Arc<str>, Arc<Entry>>;

/// Those of the objects that lie in a namespace.
pub fn within<'m>(objects: &'m Map, namespace: &str) -> impl Iterator<Item = (&'m Arc<str>, &'m Arc<Entry>)> {
    let (from, to) = (format!("{namespace}/"), format!("{namespace}0"));
    objects.range::<_, str>((Bound::Included(from.as_str()), Bound::Excluded(to.as_str())))
}

#[derive(Default)]
struct Resource {
    state: RwLock<State>,
    counts: Counts,
}

#[derive(Default)]
struct State {
    objects: Map,
    ring: Ring,
    /// Made for the first watcher, because its buffer is larger than most resources ever are.
    sender: Option<broadcast::Sender<Change>>,
}

impl State {
    /// The objects as they were at a revision; `None` where the ring does not go back so far.
    fn at(&self, revision: i64) -> Option<Map> {
        self.ring.undone(&self.objects, revision)
    }

    /// How far the objects have come, which the cache tells a moment after its changes.
    fn reached(&self, told: i64) -> i64 {
        self.ring.newest().map_or(told, |newest| newest.max(told))
    }

    fn subscribe(&mut self) -> broadcast::Receiver<Change> {
        self.sender.get_or_insert_with(|| broadcast::channel(BACKLOG).0).subscribe()
    }
}

/// All resources' caches. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    resources: Arc<Vec<Arc<Resource>>>,
    /// Those of definitions, by the numbers of their stores.
    custom: Arc<RwLock<HashMap<usize, Arc<Resource>>>>,
    registry: watch::Receiver<Arc<Registry>>,
    revision: watch::Receiver<i64>,
    /// Revisions below this one are forgotten.
    forgotten: watch::Sender<i64>,
    progress: mpsc::Sender<()>,
    etcd: Etcd,
    watched: AllWatched,
}

impl Cache {
    /// An empty cache and the task that fills it and keeps it fresh until `shutdown`.
    pub fn new(etcd: Etcd, shutdown: CancellationToken) -> (Self, impl Future<Output = ()> + Send) {
        let (revision_sender, revision) = watch::channel(0);
        // One request for progress at a time is enough: those that come while it is on its way are answered with it.
        let (progress, progress_wanted) = mpsc::channel(1);
        let (registry_sender, registry) = watch::channel(Arc::default());
        let forgotten = watch::Sender::new(0);
        let resources = RESOURCES.iter().map(|_| Arc::default()).collect();
        let cache = Self {
            resources: Arc::new(resources),
            custom: Arc::default(),
            registry,
            revision,
            forgotten,
            progress,
            etcd,
            watched: AllWatched::default(),
        };
        let follower =
            Follower { cache: cache.clone(), registry: registry_sender, revision: revision_sender, progress_wanted };
        (cache, follower.run(shutdown))
    }

    /// What is served as far as the cache has come.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.borrow().clone()
    }

    /// Tells when what is served changes.
    pub fn registry_changes(&self) -> watch::Receiver<Arc<Registry>> {
        self.registry.clone()
    }

    /// A store by its number; one of a definition may be gone.
    fn resource(&self, index: usize) -> Option<Arc<Resource>> {
        self.resources.get(index).cloned().or_else(|| self.custom.read().get(&index).cloned())
    }

    /// Whether the cache has been filled once.
    pub fn synced(&self) -> bool {
        *self.revision.borrow() > 0
    }

    /// Waits until the cache has been filled once.
    pub async fn wait_until_synced(&self) {
        // An error means that the server is ending, and then nobody is left to wait.
        let _ = self.revision.clone().wait_for(|revision| *revision > 0).await;
    }

    /// A resource's objects by `namespace/name` or `name`, not older than etcd is at this moment, and their revision.
    pub async fn list_consistent(&self, index: usize) -> Result<(Map, i64), Status> {
        let found = match self.registry().stored_as(index) {
            Some(spec) => self.etcd.revision_for(&spec).await,
            None => self.etcd.revision().await,
        };
        let reached = match found {
            Ok(wanted) => self.reach_for(index, wanted).await,
            Err(error) => Err(error),
        };
        if let Some(resource) = self.resource(index) {
            resource.counts.consistent[usize::from(reached.is_err())].one();
        }
        reached.map(|()| self.list(index))
    }

    /// [`Cache::reach`] for a read of a resource, which is counted as one.
    pub async fn reach_for(&self, index: usize, wanted: i64) -> Result<(), Status> {
        let began = Instant::now();
        let reached = self.reach(wanted).await;
        if let Some(resource) = self.resource(index).filter(|_| wanted > 0) {
            resource.counts.waits.took(began.elapsed());
        }
        reached
    }

    /// Waits until the cache has come to a revision; one that does not come is too large.
    pub async fn reach(&self, wanted: i64) -> Result<(), Status> {
        let mut revision = self.revision.clone();
        if *revision.borrow() >= wanted {
            return Ok(());
        }
        // The revision may be of a key outside the registry, so that no event ever brings it.
        let _ = self.progress.try_send(());
        let reached = tokio::time::timeout(CONSISTENCY_WAIT, revision.wait_for(|now| *now >= wanted)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Status::unavailable("the server is shutting down")),
            Err(_) => Err(Status::too_large_version(wanted, self.revision())),
        }
    }

    /// A resource's objects as they were at a revision that the cache has come to: out of the ring of changes or, where
    /// that is too short, out of etcd. What etcd was told to forget is expired in both.
    pub async fn list_at(&self, index: usize, revision: i64) -> Result<Map, Status> {
        if revision < *self.forgotten.borrow() {
            return Err(Status::expired(COMPACTED));
        }
        let resource = self.resource(index).ok_or_else(Status::no_such_path)?;
        let at_hand = resource.state.read().at(revision);
        if let Some(objects) = at_hand {
            return Ok(objects);
        }
        let registry = self.registry();
        let spec = registry.stored_as(index).ok_or_else(Status::no_such_path)?;
        let mut objects = Map::new();
        let each = |page: Vec<Stored>| {
            for stored in page {
                let key = self.etcd.row(&registry, &stored.key).map(|(_, key)| key.to_owned());
                if let (Some(key), Some(entry)) = (key, Entry::new(&spec, &stored.value, stored.revision)) {
                    objects.insert(entry.shared_key(&key), Arc::new(entry));
                }
            }
        };
        self.etcd.load(self.etcd.range_of(&spec), revision, each).await?;
        resource.counts.lists_of_before.note(objects.len(), objects.len());
        Ok(objects)
    }

    /// Where it is told up to which revision etcd has forgotten what was.
    pub fn forget(&self) -> &watch::Sender<i64> {
        &self.forgotten
    }

    /// A resource's objects as far as the cache has come, and that revision.
    pub fn list(&self, index: usize) -> (Map, i64) {
        let Some(resource) = self.resource(index) else { return (Map::new(), self.revision()) };
        let state = resource.state.read();
        // Changes are there a moment before their revision is told; who lists and then watches must not get them twice.
        let revision = self.revision();
        (state.at(revision).unwrap_or_else(|| state.objects.clone()), revision)
    }

    /// One object as far as the cache has come; `namespace` is empty for a cluster-scoped resource.
    pub fn find(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        self.find_in(registry::position(group, resource)?, namespace, name)
    }

    /// [`Cache::find`] in a store.
    pub fn find_in(&self, index: usize, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        let resource = self.resource(index)?;
        let state = resource.state.read();
        state.objects.get(key(namespace, name).as_str()).cloned()
    }

    /// All objects of a resource as far as the cache has come, cheap to take: the map is shared.
    pub fn all(&self, group: &str, resource: &str) -> Map {
        registry::position(group, resource).map(|index| self.list(index).0).unwrap_or_default()
    }

    /// The changes after `revision` and all that follow; `revision` 0 starts now.
    pub fn subscribe(&self, index: usize, revision: i64) -> Result<(Vec<Change>, broadcast::Receiver<Change>), Status> {
        let resource = self.resource(index).ok_or_else(Status::no_such_path)?;
        let mut state = resource.state.write();
        if revision > 0 && revision < state.ring.start() {
            let message = format!("too old resource version: {revision} ({})", state.ring.start());
            return Err(Status::expired(message));
        }
        let missed = match revision {
            0 => Vec::new(),
            _ => state.ring.after(revision).cloned().collect(),
        };
        Ok((missed, state.subscribe()))
    }

    /// The initial events of a watch together with the watch, without a gap between them.
    pub fn list_and_subscribe(&self, index: usize) -> (Map, i64, broadcast::Receiver<Change>) {
        // Whoever watches what is gone learns that nothing comes any more.
        let Some(resource) = self.resource(index) else {
            return (Map::new(), *self.revision.borrow(), broadcast::channel(1).1);
        };
        let mut state = resource.state.write();
        (state.objects.clone(), state.reached(self.revision()), state.subscribe())
    }

    /// A list looked at so many objects and gave so many of them.
    pub fn listed(&self, index: usize, fetched: usize, returned: usize) {
        if let Some(resource) = self.resource(index) {
            resource.counts.lists.note(fetched, returned);
        }
    }

    /// A watch began with so many objects or changes.
    pub fn began(&self, index: usize, initial: usize) {
        if let Some(resource) = self.resource(index) {
            resource.counts.initial.add(initial);
        }
    }

    /// A watcher was closed because it was too slow.
    pub fn terminated(&self, index: usize) {
        if let Some(resource) = self.resource(index) {
            resource.counts.terminated.one();
        }
    }

    /// Where what a resource's watchers are sent is counted; to be asked once for each of them.
    pub fn watched(&self, spec: &registry::ResourceSpec) -> Arc<Watched> {
        self.watched.of(spec)
    }

    /// The revision that bookmarks may speak of.
    pub fn revision(&self) -> i64 {
        *self.revision.borrow()
    }
}

impl Resource {
    /// Takes up a change; one that it has already is told to nobody again.
    fn apply(&self, key: &str, revision: i64, new: Option<Arc<Entry>>) {
        self.counts.received.one();
        let mut state = self.state.write();
        if state.ring.has(key, revision) {
            return;
        }
        self.counts.dispatched.one();
        let old = match &new {
            Some(entry) => state.objects.insert(entry.shared_key(key), entry.clone()),
            None => state.objects.remove(key),
        };
        let Some(key) = new.as_ref().or(old.as_ref()).map(|entry| entry.shared_key(key)) else { return };
        let change = Change { revision, key, old, new, frames: None };
        state.ring.push(change.clone(), Instant::now());
        if let Some(sender) = &state.sender {
            // No receiver is no error: nobody watches any more.
            let _ = sender.send(Change { frames: Some(Arc::default()), ..change });
        }
    }

    /// Starts over from a fresh map. Watchers are closed, because what lies between is not known.
    fn reset(&self, objects: Map, revision: i64) {
        self.counts.filled.one();
        let mut state = self.state.write();
        *state = State { objects, ring: Ring::beginning(revision), sender: None };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_state_of_before_is_read_out_of_the_ring() {
        let spec = registry::find("", "v1", "configmaps").unwrap().1;
        let entry = |name: &str, revision: i64| {
            let object = json!({"metadata": {"namespace": "n", "name": name}});
            Some(Arc::new(Entry::new(spec, object.to_string().as_bytes(), revision).unwrap()))
        };
        let resource = Resource::default();
        resource.reset(Map::new(), 3);
        resource.apply("n/a", 4, entry("a", 4));
        resource.apply("n/b", 5, entry("b", 5));
        resource.apply("n/a", 6, entry("a", 6));
        resource.apply("n/b", 7, None);
        let at = |revision: i64| {
            let objects = resource.state.read().at(revision)?;
            Some(objects.iter().map(|(key, entry)| format!("{key}@{}", entry.revision)).collect::<Vec<_>>().join(" "))
        };
        let states = [(2, None), (3, Some("")), (4, Some("n/a@4")), (5, Some("n/a@4 n/b@5")), (6, Some("n/a@6 n/b@5"))];
        for (revision, wanted) in states {
            assert_eq!(at(revision).as_deref(), wanted, "{revision}");
        }
        assert_eq!(at(7).as_deref(), Some("n/a@6"));
        // As a watch brings them that begins again in the midst of a message.
        resource.apply("n/a", 3, None);
        resource.apply("n/a", 6, entry("a", 6));
        resource.apply("n/b", 7, None);
        assert_eq!(resource.state.read().ring.after(0).count(), 4);
        assert_eq!(at(7).as_deref(), Some("n/a@6"));
        // One transaction changes several objects at one revision.
        resource.apply("n/c", 7, entry("c", 7));
        assert_eq!(at(7).as_deref(), Some("n/a@6 n/c@7"));
        let reached = |told: i64| resource.state.read().reached(told);
        assert_eq!([reached(6), reached(7), reached(9)], [7, 7, 9]);
    }
}
