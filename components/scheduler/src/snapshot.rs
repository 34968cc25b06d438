//! An immutable picture of the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::preemption::Budget;
use crate::selector::Labels;
use crate::volumes::Storage;

/// All nodes and the labels of all namespaces at one moment. Cheap to clone but for the vector of nodes.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The nodes, by name.
    pub nodes: Vec<Arc<NodeInfo>>,
    /// Labels of the namespaces.
    pub namespaces: Arc<BTreeMap<String, Labels>>,
    /// How many pods of a selection may be evicted, by key.
    pub budgets: Arc<BTreeMap<String, Budget>>,
    /// Claims, volumes and storage classes.
    pub storage: Arc<Storage>,
}

impl Snapshot {
    /// The same picture with one node replaced.
    pub fn with(&self, node: NodeInfo) -> Self {
        let node = Arc::new(node);
        let replace = |old: &Arc<NodeInfo>| if old.name() == node.name() { node.clone() } else { old.clone() };
        Self { nodes: self.nodes.iter().map(replace).collect(), ..self.clone() }
    }

    /// The same picture with these pods on the nodes where room is made for them; `None` if there is none of them.
    pub fn reserving<'a>(&self, pods: impl Iterator<Item = &'a Arc<PodInfo>>) -> Option<Self> {
        let mut made: Option<Self> = None;
        for pod in pods {
            let picture = made.as_ref().unwrap_or(self);
            if let Some(node) = picture.nodes.iter().find(|node| node.name() == pod.nominated) {
                let mut node = NodeInfo::clone(node);
                node.add(Arc::new(PodInfo { node: pod.nominated.clone(), ..PodInfo::clone(pod) }));
                made = Some(picture.with(node));
            }
        }
        made
    }
}
