//! Node selectors and node affinity.

use super::{Plugin, Verdict, scale};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::selector::term_selects;
use crate::snapshot::Snapshot;

struct NodeAffinity<'a>(&'a PodInfo);

pub(super) fn build<'a>(pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Plugin + 'a>> {
    let silent = pod.node_selector.is_empty() && pod.node_terms.is_none() && pod.preferred_nodes.is_empty();
    (!silent).then(|| Box::new(NodeAffinity(pod)) as Box<dyn Plugin + 'a>)
}

/// Whether a node has what a pod demands of its labels and name.
pub(super) fn matches(pod: &PodInfo, node: &NodeInfo) -> bool {
    let facts = &node.facts;
    let labels = pod.node_selector.iter().all(|(key, value)| facts.labels.get(key) == Some(value));
    let terms = pod.node_terms.as_ref();
    labels && terms.is_none_or(|terms| terms.iter().any(|term| term_selects(term, &facts.labels, &facts.name)))
}

impl Plugin for NodeAffinity<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        if matches(self.0, node) {
            return Verdict::Fits;
        }
        Verdict::Never("node(s) didn't match Pod's node affinity/selector")
    }

    fn score(&self, node: &NodeInfo) -> i64 {
        let facts = &node.facts;
        let wished = self.0.preferred_nodes.iter();
        wished
            .filter(|wish| term_selects(&wish.preference, &facts.labels, &facts.name))
            .map(|wish| i64::from(wish.weight))
            .sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        scale(scores, false);
    }
}
