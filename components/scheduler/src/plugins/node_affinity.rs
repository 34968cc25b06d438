//! Node selectors and node affinity.

use k8s_openapi::api::core::v1::{NodeSelectorTerm, PreferredSchedulingTerm};

use super::{Plugin, Verdict, scale};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::profile::Args;
use crate::selector::term_selects;
use crate::snapshot::Snapshot;

struct NodeAffinity<'a> {
    pod: &'a PodInfo,
    /// What the configuration demands and prefers for every pod.
    required: Option<&'a [NodeSelectorTerm]>,
    preferred: &'a [PreferredSchedulingTerm],
}

pub(super) fn build<'a>(pod: &'a PodInfo, _: &'a Snapshot, args: &'a Args) -> Option<Box<dyn Plugin + 'a>> {
    let added = args.added_affinity.as_ref();
    let required = added.and_then(|one| one.required_during_scheduling_ignored_during_execution.as_ref());
    let preferred = added.and_then(|one| one.preferred_during_scheduling_ignored_during_execution.as_deref());
    let plain = pod.node_selector.is_empty() && pod.node_terms.is_none() && pod.preferred_nodes.is_empty();
    let plugin = NodeAffinity {
        pod,
        required: required.map(|one| one.node_selector_terms.as_slice()),
        preferred: preferred.unwrap_or_default(),
    };
    (!plain || added.is_some()).then(|| Box::new(plugin) as Box<dyn Plugin + 'a>)
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
        let facts = &node.facts;
        if let Some(terms) = self.required
            && !terms.iter().any(|term| term_selects(term, &facts.labels, &facts.name))
        {
            return Verdict::Never("node(s) didn't match scheduler-enforced node affinity");
        }
        if matches(self.pod, node) {
            return Verdict::Fits;
        }
        Verdict::Never("node(s) didn't match Pod's node affinity/selector")
    }

    fn score(&self, node: &NodeInfo) -> i64 {
        let facts = &node.facts;
        let wished = self.pod.preferred_nodes.iter().chain(self.preferred);
        wished
            .filter(|wish| term_selects(&wish.preference, &facts.labels, &facts.name))
            .map(|wish| i64::from(wish.weight))
            .sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        scale(scores, false);
    }
}
