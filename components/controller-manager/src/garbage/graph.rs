//! Who owns whom. Pure: objects come in as watches tell of them, and out comes which of them are to be looked at.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ApiResource, ObjectMeta};

/// Finalizers by which deletions say what becomes of what an object owns.
pub const ORPHAN: &str = "orphan";
/// See [`ORPHAN`].
pub const FOREGROUND: &str = "foregroundDeletion";
/// Objects that are gone and remembered, so that the API is not asked for each that they owned.
const REMEMBERED: usize = 1000;

/// What an object is one of.
#[derive(Debug, PartialEq)]
pub struct Kind {
    /// How the API names it.
    pub resource: ApiResource,
    /// Whether objects of it are in namespaces.
    pub namespaced: bool,
}

/// An object as it matters here.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub kind: Arc<Kind>,
    /// Its namespace, if it is in one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// Who owns it.
    pub owners: Vec<OwnerReference>,
    /// Whether its deletion has begun.
    pub deleting: bool,
    /// Its finalizers, while its deletion has begun.
    pub finalizers: Vec<String>,
}

impl Node {
    /// Reads the metadata of an object; one without a uid is none.
    pub fn of(kind: &Arc<Kind>, metadata: &ObjectMeta) -> Option<(String, Self)> {
        let deleting = metadata.deletion_timestamp.is_some();
        let node = Self {
            kind: kind.clone(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone().unwrap_or_default(),
            version: metadata.resource_version.clone(),
            owners: metadata.owner_references.clone().unwrap_or_default(),
            deleting,
            finalizers: if deleting { metadata.finalizers.clone().unwrap_or_default() } else { Vec::new() },
        };
        Some((metadata.uid.clone()?, node))
    }

    /// Whether it waits for what a finalizer asks for.
    pub fn waits_for(&self, finalizer: &str) -> bool {
        self.deleting && self.finalizers.iter().any(|one| one == finalizer)
    }

    /// Whether it may own another: owners are of the same namespace, or of none.
    pub fn may_own(&self, other: &Self) -> bool {
        !self.kind.namespaced || self.namespace == other.namespace
    }

    /// Whether an owner has to wait until this is gone.
    pub fn blocks(&self, owner: &str) -> bool {
        self.owners.iter().any(|one| one.uid == owner && one.block_owner_deletion == Some(true))
    }

    /// Whether any owner has to.
    pub fn blocks_any(&self) -> bool {
        self.owners.iter().any(|one| one.block_owner_deletion == Some(true))
    }

    fn place(&self) -> Place {
        (self.kind.resource.plural.clone(), self.kind.resource.group.clone(), self.namespace.clone(), self.name.clone())
    }
}

type Place = (String, String, Option<String>, String);

/// What an owner is to an object that it owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// It stays.
    Solid,
    /// It goes when those that it owns are gone.
    Waiting,
    /// It is gone.
    Absent,
}

/// What becomes of an object.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Keep,
    /// It loses the references to owners that do not stay.
    Cut,
    /// It is deleted.
    Delete,
}

/// What becomes of an object with these owners.
pub fn fate(owners: &[Owner]) -> Fate {
    let solid = owners.contains(&Owner::Solid);
    match () {
        () if owners.is_empty() => Fate::Keep,
        () if !solid => Fate::Delete,
        () if owners.iter().all(|one| *one == Owner::Solid) => Fate::Keep,
        () => Fate::Cut,
    }
}

/// All objects, by uid.
#[derive(Default)]
pub struct Graph {
    nodes: HashMap<String, Node>,
    owned: HashMap<String, HashSet<String>>,
    places: HashMap<Place, String>,
    gone: HashSet<String>,
    oldest: VecDeque<String>,
}

impl Graph {
    /// An object.
    pub fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// Whether an object was there and is gone.
    pub fn is_gone(&self, uid: &str) -> bool {
        self.gone.contains(uid)
    }

    /// Those that an object owns, with their uids.
    pub fn owned_by(&self, uid: &str) -> Vec<(String, Node)> {
        let Some(owner) = self.nodes.get(uid) else { return Vec::new() };
        let all = self.owned.get(uid).into_iter().flatten();
        all.filter_map(|uid| self.nodes.get(uid).map(|node| (uid.clone(), node.clone())))
            .filter(|(_, node)| owner.may_own(node))
            .collect()
    }

    /// Uids of all objects of a kind.
    pub fn of_kind(&self, kind: &Kind) -> HashSet<String> {
        self.nodes.iter().filter(|(_, node)| *node.kind == *kind).map(|(uid, _)| uid.clone()).collect()
    }

    /// Notes that an object is gone which was never seen.
    pub fn note_gone(&mut self, uid: &str) {
        if self.gone.insert(uid.to_owned()) {
            self.oldest.push_back(uid.to_owned());
            if self.oldest.len() > REMEMBERED
                && let Some(oldest) = self.oldest.pop_front()
            {
                self.gone.remove(&oldest);
            }
        }
    }

    /// Takes the present state of an object in; gives the uids that are to be looked at.
    pub fn apply(&mut self, uid: String, node: Node) -> Vec<String> {
        let mut todo = Vec::new();
        // One of the same name took the place of one whose end was not seen.
        if let Some(before) = self.places.insert(node.place(), uid.clone()).filter(|before| *before != uid) {
            todo.extend(self.remove(&before));
            self.places.insert(node.place(), uid.clone());
        }
        let old = self.nodes.insert(uid.clone(), node);
        let Some(node) = self.nodes.get(&uid) else { return todo };
        let owners = |node: &Node| node.owners.iter().map(|one| one.uid.clone()).collect::<HashSet<_>>();
        let (before, after) = (old.as_ref().map(owners).unwrap_or_default(), owners(node));
        for owner in before.difference(&after) {
            if let Some(all) = self.owned.get_mut(owner) {
                all.remove(&uid);
            }
            // Who waits for those that it owns has one less.
            todo.push(owner.clone());
        }
        if let Some(old) = &old {
            todo.extend(after.iter().filter(|owner| old.blocks(owner) && !node.blocks(owner)).cloned());
        }
        for owner in after.difference(&before) {
            self.owned.entry(owner.clone()).or_default().insert(uid.clone());
        }
        let ending = |node: &Node| (node.deleting, node.finalizers.clone());
        let changed = old.as_ref().is_none_or(|old| ending(old) != ending(node) || old.owners != node.owners);
        if changed && (!node.owners.is_empty() || node.deleting) {
            todo.push(uid.clone());
        }
        if changed && node.waits_for(FOREGROUND) {
            todo.extend(self.owned.get(&uid).into_iter().flatten().cloned());
        }
        todo
    }

    /// Takes an object out that is gone; gives the uids that are to be looked at.
    pub fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        if self.places.get(&node.place()).is_some_and(|other| other == uid) {
            self.places.remove(&node.place());
        }
        self.note_gone(uid);
        let mut todo: Vec<String> = self.owned.remove(uid).into_iter().flatten().collect();
        for owner in node.owners {
            if let Some(all) = self.owned.get_mut(&owner.uid) {
                all.remove(uid);
            }
            todo.push(owner.uid);
        }
        todo
    }

    /// Takes all objects of a kind out that is not served any more; that says nothing of those that they own.
    pub fn forget(&mut self, kind: &Kind) {
        for uid in self.of_kind(kind) {
            let Some(node) = self.nodes.remove(&uid) else { continue };
            self.places.remove(&node.place());
            for owner in node.owners {
                if let Some(all) = self.owned.get_mut(&owner.uid) {
                    all.remove(&uid);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn one_owner_that_stays_is_enough() {
        use Owner::{Absent, Solid, Waiting};
        for (owners, wanted) in [
            (vec![], Fate::Keep),
            (vec![Solid], Fate::Keep),
            (vec![Absent], Fate::Delete),
            (vec![Waiting], Fate::Delete),
            (vec![Absent, Waiting], Fate::Delete),
            (vec![Solid, Absent], Fate::Cut),
            (vec![Waiting, Solid], Fate::Cut),
        ] {
            assert_eq!(fate(&owners), wanted, "{owners:?}");
        }
    }

    fn kind() -> Arc<Kind> {
        Arc::new(Kind { resource: ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&()), namespaced: true })
    }

    fn put(graph: &mut Graph, uid: &str, fields: Value) -> Vec<String> {
        let mut metadata = json!({"name": uid, "namespace": "n", "uid": uid});
        json_patch::merge(&mut metadata, &fields);
        let (uid, node) = Node::of(&kind(), &serde_json::from_value(metadata).unwrap()).unwrap();
        let mut todo = graph.apply(uid, node);
        todo.sort();
        todo
    }

    fn owner(uid: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "name": uid, "uid": uid, "blockOwnerDeletion": true})
    }

    #[test]
    fn what_changes_for_others_is_looked_at() {
        let mut graph = Graph::default();
        assert!(put(&mut graph, "a", json!({})).is_empty());
        let child = json!({"ownerReferences": [owner("a")]});
        assert_eq!(put(&mut graph, "b", child.clone()), ["b"]);
        assert!(put(&mut graph, "b", child).is_empty());
        let names = |all: Vec<(String, Node)>| all.into_iter().map(|(uid, _)| uid).collect::<Vec<_>>();
        assert_eq!(names(graph.owned_by("a")), ["b"]);
        let ends = json!({"deletionTimestamp": "2027-01-01T00:00:00Z", "finalizers": [FOREGROUND]});
        assert_eq!(put(&mut graph, "a", ends), ["a", "b"]);
        let mut free = owner("a");
        free["blockOwnerDeletion"] = json!(false);
        assert_eq!(put(&mut graph, "b", json!({"ownerReferences": [free]})), ["a", "b"]);
        assert_eq!(graph.remove("b"), ["a"]);
        assert!(graph.is_gone("b") && graph.owned_by("a").is_empty());
        assert!(graph.remove("b").is_empty());
    }

    #[test]
    fn owners_that_go_leave_those_that_they_own_to_be_looked_at() {
        let mut graph = Graph::default();
        put(&mut graph, "a", json!({}));
        put(&mut graph, "b", json!({"ownerReferences": [owner("a")]}));
        assert_eq!(graph.remove("a"), ["b"]);
        put(&mut graph, "c", json!({"name": "same", "ownerReferences": [owner("x")]}));
        put(&mut graph, "d", json!({"ownerReferences": [owner("c")]}));
        // Another in the place of one is its end.
        assert_eq!(put(&mut graph, "e", json!({"name": "same"})), ["d", "x"]);
        assert!(graph.is_gone("c"));
    }
}
