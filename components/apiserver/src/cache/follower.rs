//! What keeps the cache fresh: one load of the registry, then one watch over all of it.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_crd::definition::Definition;
use kinit_etcd_api::mvcc::event::EventType;
use kinit_etcd_api::rpc::WatchResponse;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Cache, Entry, Map, Resource};
use crate::registry::{self, Registry, Store};
use crate::storage::{Stored, progress_request};

/// Fewer objects than this are decoded sooner than a thread for them begins.
const WORTH_A_THREAD: usize = 100;

/// How long until a watch that broke is begun again, at first.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);

pub(super) struct Follower {
    pub cache: Cache,
    pub registry: watch::Sender<Arc<Registry>>,
    pub revision: watch::Sender<i64>,
    pub progress_wanted: mpsc::Receiver<()>,
}

impl Follower {
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut wait = SHORTEST_WAIT;
        loop {
            let ended = tokio::select! {
                () = shutdown.cancelled() => return,
                ended = self.follow(&mut wait) => ended,
            };
            let Err(error) = ended;
            if !self.cache.synced() || wait > Duration::from_secs(1) {
                tracing::warn!(%error, "cannot follow etcd; trying again");
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(Duration::from_secs(2));
        }
    }

    /// Loads what is there if nothing was loaded yet, then follows the watch until it breaks. After a break the watch goes
    /// on where it ended; only when etcd has compacted that away is everything loaded again. Whatever is taken up sets `wait`
    /// back.
    async fn follow(&mut self, wait: &mut Duration) -> Result<std::convert::Infallible, Status> {
        if !self.cache.synced() {
            self.load().await?;
        }
        let (requests, outgoing) = mpsc::channel(4);
        let start = self.cache.revision() + 1;
        let mut stream = self.cache.etcd.watch(start, requests.clone(), outgoing).await?;
        loop {
            let message = tokio::select! {
                message = stream.message() => message,
                Some(()) = self.progress_wanted.recv() => {
                    let _ = requests.try_send(progress_request());
                    continue;
                }
            };
            let message = message
                .map_err(|error| Status::unavailable(format!("watch: {}", error.message())))?
                .ok_or_else(|| Status::unavailable("etcd ended the watch"))?;
            if message.canceled {
                if message.compact_revision > 0 {
                    self.load().await?;
                }
                return Err(Status::unavailable(format!("etcd cancelled the watch: {}", message.cancel_reason)));
            }
            if message.created {
                continue;
            }
            self.apply(message).await?;
            *wait = SHORTEST_WAIT;
        }
    }

    async fn load(&mut self) -> Result<(), Status> {
        let mut maps: HashMap<usize, Map> = HashMap::new();
        let mut rest = Vec::new();
        let mut registry = self.cache.registry().emptied();
        let definitions = definitions();
        let etcd = &self.cache.etcd;
        let range = etcd.whole_range();
        let revision = etcd
            .load(range, 0, |page| {
                let decoded = decode_page(&self.cache, &registry, &page);
                for (stored, decoded) in page.into_iter().zip(decoded) {
                    // It may be of a definition that comes later.
                    let Some((index, key, entry)) = decoded else {
                        rest.push(stored);
                        continue;
                    };
                    if index == definitions
                        && let Some(object) = entry.object()
                    {
                        registry = registry.with(Definition::read(&object));
                    }
                    maps.entry(index).or_default().insert(entry.shared_key(&key), Arc::new(entry));
                }
            })
            .await?;
        for stored in rest {
            if let Some((index, key, entry)) = decode(&self.cache, &registry, &stored) {
                maps.entry(index).or_default().insert(entry.shared_key(&key), Arc::new(entry));
            }
        }
        for (index, resource) in self.cache.resources.iter().enumerate() {
            resource.reset(maps.remove(&index).unwrap_or_default(), revision);
        }
        let custom = registry.stores().map(|store| {
            let resource = Arc::<Resource>::default();
            resource.reset(maps.remove(&store.index).unwrap_or_default(), revision);
            (store.index, resource)
        });
        let custom = custom.collect();
        *self.cache.custom.write() = custom;
        self.registry.send_replace(Arc::new(registry));
        self.revision.send_replace(revision);
        Ok(())
    }

    async fn apply(&self, message: WatchResponse) -> Result<(), Status> {
        let definitions = definitions();
        let mut reached = message.header.unwrap_or_default().revision;
        for event in message.events {
            let deleted = event.r#type() == EventType::Delete;
            let Some(kv) = event.kv else { continue };
            reached = kv.mod_revision;
            let registry = self.cache.registry();
            // A deletion has no value.
            let stored = if deleted { Stored::without_value(kv) } else { self.cache.etcd.opened(kv).await? };
            let Some((index, key)) = self.cache.etcd.row(&registry, &stored.key) else { continue };
            let entry = if deleted { None } else { entry(&registry, index, &stored).map(Arc::new) };
            if entry.is_none() && !deleted {
                if let Some(resource) = self.cache.resource(index) {
                    resource.counts.garbled.one();
                }
                continue;
            }
            if index == definitions {
                self.define(key, entry.as_ref().and_then(|entry| entry.object()), stored.revision).await?;
            }
            if let Some(resource) = self.cache.resource(index) {
                resource.apply(key, stored.revision, entry);
            }
        }
        self.revision.send_if_modified(|revision| {
            let forward = reached > *revision;
            *revision = reached.max(*revision);
            forward
        });
        Ok(())
    }

    /// Brings what is served up to a definition's new state. Objects are read again where they now look otherwise, and
    /// their watchers are closed.
    async fn define(&self, name: &str, object: Option<Object>, revision: i64) -> Result<(), Status> {
        let before = self.cache.registry();
        let old = before.store(name);
        let Some(object) = object else {
            if let Some(old) = old {
                self.cache.custom.write().remove(&old.index);
                self.registry.send_replace(Arc::new(before.without(name)));
            }
            return Ok(());
        };
        let after = Arc::new(before.with(Definition::read(&object)));
        let Some(new) = after.store(name) else { return Ok(()) };
        if old.is_none_or(|old| old.index != new.index || old.differs(new)) {
            let resource = self.cache.resource(new.index).unwrap_or_default();
            resource.reset(self.read(&after, new, revision).await?, revision);
            let mut custom = self.cache.custom.write();
            if let Some(old) = old.filter(|old| old.index != new.index) {
                custom.remove(&old.index);
            }
            custom.insert(new.index, resource);
        }
        self.registry.send_replace(after);
        Ok(())
    }

    /// All objects of a definition as they were at a revision.
    async fn read(&self, registry: &Registry, store: &Store, revision: i64) -> Result<Map, Status> {
        let mut objects = Map::new();
        let range = self.cache.etcd.range_of(&store.spec);
        let read = self.cache.etcd.load(range, revision, |page| {
            for (_, key, entry) in decode_page(&self.cache, registry, &page).into_iter().flatten() {
                objects.insert(entry.shared_key(&key), Arc::new(entry));
            }
        });
        read.await?;
        Ok(objects)
    }
}

/// The number of the definitions' own store.
fn definitions() -> usize {
    registry::position("apiextensions.k8s.io", "customresourcedefinitions").expect("definitions have a row")
}

/// The number of a store, an object's key there, and what the cache keeps of it.
type Decoded = (usize, String, Entry);

/// Decodes many, on all processors: a server that starts has nothing else to do.
fn decode_page(cache: &Cache, registry: &Registry, page: &[Stored]) -> Vec<Option<Decoded>> {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let part = page.len().div_ceil(processors).max(WORTH_A_THREAD);
    let decode_part = |part: &[Stored]| part.iter().map(|stored| decode(cache, registry, stored)).collect::<Vec<_>>();
    let (first, others) = page.split_at(part.min(page.len()));
    std::thread::scope(|scope| {
        let others: Vec<_> = others.chunks(part).map(|part| scope.spawn(move || decode_part(part))).collect();
        let mut decoded = decode_part(first);
        for other in others {
            decoded.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        decoded
    })
}

fn decode(cache: &Cache, registry: &Registry, stored: &Stored) -> Option<Decoded> {
    let (index, key) = cache.etcd.row(registry, &stored.key)?;
    Some((index, key.to_owned(), entry(registry, index, stored)?))
}

fn entry(registry: &Registry, index: usize, stored: &Stored) -> Option<Entry> {
    let spec = registry.stored_as(index)?;
    let entry = Entry::new(&spec, &stored.value, stored.revision);
    if entry.is_none() {
        tracing::warn!(key = stored.key, "not a JSON object; it is not served");
    }
    entry
}
