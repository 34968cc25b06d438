//! Nodes with their pods, as the watches and the scheduler's own decisions say.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::node::{NodeFacts, NodeInfo};
use crate::pod::PodInfo;
use crate::preemption::Budget;
use crate::selector::Labels;
use crate::snapshot::Snapshot;
use crate::volumes::{News, Storage};

/// A node's place. Its pods may be known before the node is.
#[derive(Default)]
struct Place {
    facts: Option<Arc<NodeFacts>>,
    pods: BTreeMap<String, Arc<PodInfo>>,
    /// The picture that is still true, if any.
    picture: Option<Arc<NodeInfo>>,
}

/// The cache. A pod is assumed from the decision until the watch shows it bound.
#[derive(Default)]
pub struct Cache {
    places: BTreeMap<String, Place>,
    node_of: HashMap<String, String>,
    assumed: HashSet<String>,
    namespaces: Arc<BTreeMap<String, Labels>>,
    budgets: Arc<BTreeMap<String, Budget>>,
    storage: Arc<Storage>,
}

impl Cache {
    /// Puts a node in; says whether that changes anything for decisions.
    pub fn apply_node(&mut self, facts: NodeFacts) -> bool {
        let place = self.places.entry(facts.name.clone()).or_default();
        if place.facts.as_deref() == Some(&facts) {
            return false;
        }
        place.facts = Some(Arc::new(facts));
        place.picture = None;
        true
    }

    /// Takes a node out; its pods stay known until they are deleted.
    pub fn remove_node(&mut self, name: &str) {
        let Some(place) = self.places.get_mut(name) else { return };
        (place.facts, place.picture) = (None, None);
        if place.pods.is_empty() {
            self.places.remove(name);
        }
    }

    /// Names of the nodes.
    pub fn nodes(&self) -> Vec<String> {
        self.places.iter().filter(|(_, place)| place.facts.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// Puts a bound pod in.
    pub fn apply_pod(&mut self, pod: Arc<PodInfo>) {
        self.assumed.remove(&pod.key);
        self.put(pod);
    }

    /// Counts a pod for a node before the API does.
    pub fn assume(&mut self, pod: &PodInfo, node: &str) {
        self.assumed.insert(pod.key.clone());
        self.put(Arc::new(PodInfo { node: node.to_owned(), ..pod.clone() }));
    }

    /// Whether a pod is only assumed.
    pub fn is_assumed(&self, key: &str) -> bool {
        self.assumed.contains(key)
    }

    /// The pod of a key, bound or assumed.
    pub fn pod(&self, key: &str) -> Option<&Arc<PodInfo>> {
        self.places.get(self.node_of.get(key)?)?.pods.get(key)
    }

    /// Keys of all pods that are there.
    pub fn pods(&self) -> Vec<String> {
        self.node_of.keys().cloned().collect()
    }

    fn put(&mut self, pod: Arc<PodInfo>) {
        if self.node_of.get(&pod.key).is_some_and(|node| *node != pod.node) {
            self.remove_pod(&pod.key);
        }
        self.node_of.insert(pod.key.clone(), pod.node.clone());
        let place = self.places.entry(pod.node.clone()).or_default();
        place.pods.insert(pod.key.clone(), pod);
        place.picture = None;
    }

    /// Takes a pod out; says whether it was there.
    pub fn remove_pod(&mut self, key: &str) -> bool {
        self.assumed.remove(key);
        let Some(node) = self.node_of.remove(key) else { return false };
        if let Some(place) = self.places.get_mut(&node) {
            place.pods.remove(key);
            place.picture = None;
            if place.pods.is_empty() && place.facts.is_none() {
                self.places.remove(&node);
            }
        }
        true
    }

    /// Sets a namespace's labels.
    pub fn apply_namespace(&mut self, name: String, labels: Labels) {
        if self.namespaces.get(&name) != Some(&labels) {
            Arc::make_mut(&mut self.namespaces).insert(name, labels);
        }
    }

    /// Forgets a namespace.
    pub fn remove_namespace(&mut self, name: &str) {
        if self.namespaces.contains_key(name) {
            Arc::make_mut(&mut self.namespaces).remove(name);
        }
    }

    /// Sets what may be evicted of a selection, or forgets it.
    pub fn apply_budget(&mut self, key: String, budget: Option<Budget>) {
        let all = Arc::make_mut(&mut self.budgets);
        match budget {
            Some(budget) => all.insert(key, budget),
            None => all.remove(&key),
        };
    }

    /// Takes news of claims, volumes or classes in; says whether they change anything.
    pub fn apply_storage(&mut self, news: News) -> bool {
        Arc::make_mut(&mut self.storage).apply(news)
    }

    /// A picture of everything; only nodes that changed since the last one are built anew.
    pub fn snapshot(&mut self) -> Snapshot {
        let picture = |place: &mut Place| {
            let facts = place.facts.clone()?;
            let pods = &place.pods;
            let build = || Arc::new(NodeInfo::new(facts, pods.values().cloned().collect()));
            Some(place.picture.get_or_insert_with(build).clone())
        };
        Snapshot {
            nodes: self.places.values_mut().filter_map(picture).collect(),
            namespaces: self.namespaces.clone(),
            budgets: self.budgets.clone(),
            storage: self.storage.clone(),
        }
    }
}
