//! What the scheduler keeps of a node, with its pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};

use crate::pod::PodInfo;
use crate::selector::Labels;
use kinit_demand::Resources;

/// A node as the API describes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Whether it takes no new pods.
    pub unschedulable: bool,
    /// What it can give.
    pub allocatable: Resources,
    /// Sizes of the images it has, by name.
    pub images: BTreeMap<String, i64>,
}

impl NodeFacts {
    /// Reads a node of the API.
    pub fn of(node: Node) -> Self {
        let (spec, status) = (node.spec.unwrap_or_default(), node.status.unwrap_or_default());
        Self {
            name: node.metadata.name.unwrap_or_default(),
            labels: node.metadata.labels.unwrap_or_default(),
            taints: spec.taints.unwrap_or_default(),
            unschedulable: spec.unschedulable.unwrap_or_default(),
            allocatable: status.allocatable.as_ref().map(Resources::of).unwrap_or_default(),
            images: status
                .images
                .into_iter()
                .flatten()
                .flat_map(|image| {
                    let size = image.size_bytes.unwrap_or_default();
                    image.names.into_iter().flatten().map(move |name| (name, size))
                })
                .collect(),
        }
    }
}

/// A node with the pods that are on it or assumed to be soon.
#[derive(Debug, Clone, Default)]
pub struct NodeInfo {
    /// The node.
    pub facts: Arc<NodeFacts>,
    /// Its pods.
    pub pods: Vec<Arc<PodInfo>>,
    /// What its pods ask for.
    pub requested: Resources,
    /// What they count for in scores.
    pub scoring_requested: Resources,
}

impl NodeInfo {
    /// A node with pods.
    pub fn new(facts: Arc<NodeFacts>, pods: Vec<Arc<PodInfo>>) -> Self {
        let mut node = Self { facts, ..Self::default() };
        for pod in pods {
            node.add(pod);
        }
        node
    }

    /// Adds a pod.
    pub fn add(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.scoring_requested.add(&pod.scoring_requests);
        self.pods.push(pod);
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.facts.name
    }
}
