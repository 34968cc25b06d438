//! Claims, volumes and storage classes, as far as they decide where a pod can be.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kinit_demand::Resources;

use crate::node::NodeFacts;
use crate::selector::{Labels, selects, term_selects};

/// Annotation of a claim with the node that its volume is to be made for.
pub const SELECTED: &str = "volume.kubernetes.io/selected-node";
/// Provisioner of classes whose volumes people make.
const NOBODY: &str = "kubernetes.io/no-provisioner";

/// A claim.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claim {
    /// Which of the claims that had its name it is.
    pub uid: String,
    /// The volume that it has, or is to have.
    pub volume: Option<String>,
    /// Whether it has it.
    pub bound: bool,
    /// Its class.
    pub class: String,
    /// The node that its volume is made for.
    pub selected: Option<String>,
    size: i64,
    modes: Vec<String>,
    block: bool,
    selector: Option<LabelSelector>,
}

/// A volume.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Volume {
    /// The claim that it is held for, by key.
    pub held: Option<String>,
    class: String,
    size: i64,
    modes: Vec<String>,
    block: bool,
    labels: Labels,
    terms: Option<Vec<NodeSelectorTerm>>,
    going: bool,
}

/// A class.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Class {
    /// Whether volumes are bound only when a pod needs them.
    pub waits: bool,
    /// Whether volumes are made for claims.
    pub provisions: bool,
}

/// All of them, by key.
#[derive(Debug, Clone, Default)]
pub struct Storage {
    /// Claims.
    pub claims: BTreeMap<String, Claim>,
    /// Volumes.
    pub volumes: BTreeMap<String, Volume>,
    /// Classes.
    pub classes: BTreeMap<String, Class>,
}

/// What is known anew of one of them; `None` when it is gone.
#[derive(Debug)]
pub enum News {
    /// Of a claim.
    Claim(String, Option<Box<Claim>>),
    /// Of a volume.
    Volume(String, Option<Box<Volume>>),
    /// Of a class.
    Class(String, Option<Class>),
}

impl Storage {
    /// Takes news in; says whether they change anything.
    pub fn apply(&mut self, news: News) -> bool {
        fn put<V: PartialEq>(all: &mut BTreeMap<String, V>, key: String, value: Option<V>) -> bool {
            if all.get(&key) == value.as_ref() {
                return false;
            }
            match value {
                Some(value) => all.insert(key, value),
                None => all.remove(&key),
            };
            true
        }
        match news {
            News::Claim(key, claim) => put(&mut self.claims, key, claim.map(|claim| *claim)),
            News::Volume(key, volume) => put(&mut self.volumes, key, volume.map(|volume| *volume)),
            News::Class(key, class) => put(&mut self.classes, key, class),
        }
    }
}

impl Claim {
    /// Reads a claim of the API.
    pub fn of(claim: PersistentVolumeClaim) -> Self {
        let annotation = |name: &str| claim.metadata.annotations.as_ref().and_then(|all| all.get(name)).cloned();
        let spec = claim.spec.clone().unwrap_or_default();
        let volume = spec.volume_name.filter(|name| !name.is_empty());
        let requests = spec.resources.and_then(|all| all.requests);
        Self {
            uid: claim.metadata.uid.clone().unwrap_or_default(),
            bound: volume.is_some() && annotation("pv.kubernetes.io/bind-completed").is_some(),
            volume,
            class: spec.storage_class_name.unwrap_or_default(),
            selected: annotation(SELECTED),
            size: requests.as_ref().map(Resources::of).unwrap_or_default().get("storage"),
            modes: spec.access_modes.unwrap_or_default(),
            block: spec.volume_mode.as_deref() == Some("Block"),
            selector: spec.selector,
        }
    }
}

impl Volume {
    /// Reads a volume of the API.
    pub fn of(volume: PersistentVolume) -> Self {
        let spec = volume.spec.unwrap_or_default();
        let held = spec
            .claim_ref
            .map(|held| format!("{}/{}", held.namespace.unwrap_or_default(), held.name.unwrap_or_default()));
        Self {
            held,
            class: spec.storage_class_name.unwrap_or_default(),
            size: spec.capacity.as_ref().map(Resources::of).unwrap_or_default().get("storage"),
            modes: spec.access_modes.unwrap_or_default(),
            block: spec.volume_mode.as_deref() == Some("Block"),
            labels: volume.metadata.labels.unwrap_or_default(),
            terms: spec.node_affinity.and_then(|affinity| affinity.required).map(|one| one.node_selector_terms),
            going: volume.metadata.deletion_timestamp.is_some(),
        }
    }

    /// Whether it can be used from a node.
    pub fn reaches(&self, node: &NodeFacts) -> bool {
        let terms = self.terms.as_ref();
        terms.is_none_or(|terms| terms.iter().any(|term| term_selects(term, &node.labels, &node.name)))
    }

    /// Whether it has what a claim of this key asks for, and nobody else has it.
    pub fn suits(&self, key: &str, claim: &Claim) -> bool {
        let free = self.held.as_ref().is_none_or(|held| held == key);
        free && !self.going
            && self.class == claim.class
            && self.size >= claim.size
            && self.block == claim.block
            && claim.modes.iter().all(|mode| self.modes.contains(mode))
            && claim.selector.as_ref().is_none_or(|selector| selects(Some(selector), &self.labels))
    }

    /// How large it is.
    pub fn size(&self) -> i64 {
        self.size
    }
}

impl Class {
    /// Reads a class of the API.
    pub fn of(class: StorageClass) -> Self {
        Self {
            waits: class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
            provisions: class.provisioner != NOBODY,
        }
    }
}
