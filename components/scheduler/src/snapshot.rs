//! An immutable picture of the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::node::NodeInfo;
use crate::selector::Labels;

/// All nodes and the labels of all namespaces at one moment. Cheap to clone but for the vector of nodes.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The nodes, by name.
    pub nodes: Vec<Arc<NodeInfo>>,
    /// Labels of the namespaces.
    pub namespaces: Arc<BTreeMap<String, Labels>>,
}

impl Snapshot {
    /// The same picture with one node replaced.
    pub fn with(&self, node: NodeInfo) -> Self {
        let node = Arc::new(node);
        let replace = |old: &Arc<NodeInfo>| if old.name() == node.name() { node.clone() } else { old.clone() };
        Self { nodes: self.nodes.iter().map(replace).collect(), namespaces: self.namespaces.clone() }
    }
}
