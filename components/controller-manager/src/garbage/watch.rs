//! Having all objects of the cluster in the graph: kinds that other controllers watch too come from their caches, all
//! others are watched here, by their metadata alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use kinit_runtime::{Change, Informer, Queue};
use kube::api::{ApiResource, DynamicObject};
use kube::core::PartialObjectMeta;
use kube::discovery::{Discovery, Scope, verbs};
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Resource};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::graph::{Graph, Kind, Node};
use crate::context::{Actor, Context};

/// How often it is looked which kinds there are.
const PACE: Duration = Duration::from_secs(30);
const RECONNECT: Duration = Duration::from_secs(1);

/// The graph, and the uids of objects that are to be looked at.
#[derive(Clone)]
pub struct Monitors {
    /// The graph.
    pub graph: Arc<Mutex<Graph>>,
    /// What is to be looked at.
    pub queue: Arc<Queue<String>>,
    /// Kinds that were not listed yet.
    unlisted: Arc<AtomicUsize>,
}

impl Default for Monitors {
    fn default() -> Self {
        // Until the first look at the kinds is over, nothing is known of those that are watched here.
        Self { graph: Arc::default(), queue: Queue::new(), unlisted: Arc::new(AtomicUsize::new(1)) }
    }
}

impl Monitors {
    /// Whether all objects were seen once: before that nobody knows who owns nothing.
    pub fn complete(&self) -> bool {
        self.unlisted.load(Ordering::Acquire) == 0
    }

    fn tell(&self, act: impl FnOnce(&mut Graph) -> Vec<String>) {
        let todo = act(&mut self.graph.lock());
        for uid in todo {
            self.queue.add(uid);
        }
    }

    /// Takes a cache's objects in.
    fn share<K>(&self, cache: &Informer<K>, kinds: &mut Vec<ApiResource>, namespaced: bool)
    where
        K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
    {
        let resource = ApiResource::erase::<K>(&());
        kinds.push(resource.clone());
        let (own, kind) = (self.clone(), Arc::new(Kind { resource, namespaced }));
        cache.handle(move |change, object| {
            let Some((uid, node)) = Node::of(&kind, object.meta()) else { return };
            match change {
                Change::Deleted => own.tell(|graph| graph.remove(&uid)),
                Change::Added | Change::Updated => own.tell(|graph| graph.apply(uid, node)),
            }
        });
    }

    /// Takes the caches in; gives the kinds that need no other watch.
    pub async fn share_caches(&self, context: &Context) -> Vec<ApiResource> {
        let all = &context.caches;
        let mut kinds = Vec::new();
        macro_rules! share {
            ($namespaced:literal: $($cache:ident)*) => {$(
                all.$cache.synced().await;
                self.share(&all.$cache, &mut kinds, $namespaced);
            )*};
        }
        share!(true: pods leases services endpoints slices config_maps secrets accounts replica_sets deployments
            daemon_sets jobs cron_jobs stateful_sets revisions replication_controllers claims quotas budgets scalers);
        share!(false: nodes namespaces requests volumes attributes_classes storage_classes cluster_roles);
        kinds
    }

    /// Watches the kinds that are not in `known`, as they come and go, until shutdown.
    pub async fn follow(self, context: Arc<Context>, actor: Actor, known: Vec<ApiResource>) {
        let mut watched: HashMap<String, (Arc<Kind>, CancellationToken)> = HashMap::new();
        let mut first = true;
        loop {
            match deletable(&actor).await {
                Ok(kinds) => {
                    let same = |one: &ApiResource, other: &ApiResource| {
                        (&one.group, &one.plural) == (&other.group, &other.plural)
                    };
                    let wanted: HashMap<String, Kind> = kinds
                        .into_iter()
                        .filter(|kind| !known.iter().any(|one| same(one, &kind.resource)))
                        .map(|kind| (format!("{}/{}", kind.resource.api_version, kind.resource.plural), kind))
                        .collect();
                    watched.retain(|name, (kind, token)| {
                        let stays = wanted.contains_key(name);
                        if !stays {
                            token.cancel();
                            self.graph.lock().forget(kind);
                        }
                        stays
                    });
                    for (name, kind) in wanted {
                        if watched.contains_key(&name) {
                            continue;
                        }
                        let (kind, token) = (Arc::new(kind), context.shutdown.child_token());
                        watched.insert(name, (kind.clone(), token.clone()));
                        self.unlisted.fetch_add(1, Ordering::AcqRel);
                        tokio::spawn(self.clone().watch(actor.client(), kind, token));
                    }
                }
                Err(error) => tracing::debug!(%error, "the kinds that there are cannot be read"),
            }
            if std::mem::take(&mut first) {
                self.unlisted.fetch_sub(1, Ordering::AcqRel);
            }
            tokio::select! {
                () = tokio::time::sleep(PACE) => {}
                () = context.shutdown.cancelled() => return,
            }
        }
    }

    async fn watch(self, client: kube::Client, kind: Arc<Kind>, token: CancellationToken) {
        let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &kind.resource);
        let mut events = watcher(api, Config::default()).boxed();
        let mut unseen = std::collections::HashSet::new();
        let mut listed = false;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = token.cancelled() => break,
            };
            let Some(event) = event else { break };
            let mut settled = false;
            match event {
                Ok(Event::Init) => unseen = self.graph.lock().of_kind(&kind),
                Ok(Event::InitApply(object) | Event::Apply(object)) => {
                    if let Some((uid, node)) = Node::of(&kind, &object.metadata) {
                        unseen.remove(&uid);
                        self.tell(|graph| graph.apply(uid, node));
                    }
                }
                Ok(Event::InitDone) => {
                    for uid in unseen.drain() {
                        self.tell(|graph| graph.remove(&uid));
                    }
                    settled = true;
                }
                Ok(Event::Delete(object)) => {
                    if let Some(uid) = object.metadata.uid {
                        self.tell(|graph| graph.remove(&uid));
                    }
                }
                Err(error) => {
                    tracing::debug!(kind = kind.resource.kind, %error, "a watch broke");
                    // What cannot be listed must not keep all else from being deleted.
                    settled = true;
                    tokio::time::sleep(RECONNECT).await;
                }
            }
            if settled && !std::mem::replace(&mut listed, true) {
                self.unlisted.fetch_sub(1, Ordering::AcqRel);
            }
        }
        if !listed {
            self.unlisted.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// The kinds whose objects can be listed, watched and deleted.
async fn deletable(actor: &Actor) -> Result<Vec<Kind>, kube::Error> {
    let discovery = Discovery::new(actor.client()).run_aggregated().await?;
    let all = discovery.groups().flat_map(|group| group.recommended_resources());
    let usable = all.filter(|(resource, capabilities)| {
        let can = |verb| capabilities.supports_operation(verb);
        // Events own nothing, are owned by nobody, and are too many.
        can(verbs::LIST) && can(verbs::WATCH) && can(verbs::DELETE) && resource.kind != "Event"
    });
    Ok(usable
        .map(|(resource, capabilities)| Kind { namespaced: capabilities.scope == Scope::Namespaced, resource })
        .collect())
}
