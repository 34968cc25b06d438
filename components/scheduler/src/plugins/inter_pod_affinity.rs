//! Pods that must or would be near to other pods, or apart from them.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{PodAffinityTerm, WeightedPodAffinityTerm};

use super::{Plugin, Verdict};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::profile::Args;
use crate::selector::selects;
use crate::snapshot::Snapshot;

type Domain<'a> = (&'a str, &'a str);

struct InterPodAffinity<'a> {
    pod: &'a PodInfo,
    /// Domains from which pods that are there keep this one away.
    refused: HashMap<Domain<'a>, i64>,
    /// By term of the pod: pods that it is about, by domain.
    near: Vec<HashMap<Domain<'a>, i64>>,
    apart: Vec<HashMap<Domain<'a>, i64>>,
    /// The first of a group of pods that want to be together may go anywhere.
    first: bool,
    scores: HashMap<Domain<'a>, i64>,
}

pub(super) fn build<'a>(pod: &'a PodInfo, snapshot: &'a Snapshot, args: &'a Args) -> Option<Box<dyn Plugin + 'a>> {
    let mut plugin = InterPodAffinity {
        pod,
        refused: HashMap::new(),
        near: vec![HashMap::new(); pod.near.len()],
        apart: vec![HashMap::new(); pod.apart.len()],
        first: false,
        scores: HashMap::new(),
    };
    let about = |term: &PodAffinityTerm, other: &PodInfo| is_about(term, other, snapshot);
    for node in &snapshot.nodes {
        let domain = |term: &'a PodAffinityTerm| domain_of(term, node);
        for other in node.pods.iter().filter(|other| other.uid != pod.uid) {
            plugin.count_wishes(pod, other, &domain, &about);
            for term in &other.apart {
                if let Some(domain) = domain_of(term, node).filter(|_| about(term, pod)) {
                    *plugin.refused.entry(domain).or_default() += 1;
                }
            }
            let wish = |one: &'a WeightedPodAffinityTerm, sign| (&one.pod_affinity_term, sign * i64::from(one.weight));
            let near = other.preferred_near.iter().map(|one| wish(one, 1));
            let wishes = near.chain(other.preferred_apart.iter().map(|one| wish(one, -1)));
            let theirs = other.near.iter().map(|term| (term, args.hard_weight));
            for (term, weight) in theirs.chain(wishes.filter(|_| !args.ignore_preferred)) {
                if weight == 0 {
                    continue;
                }
                if let Some(domain) = domain_of(term, node).filter(|_| about(term, pod)) {
                    *plugin.scores.entry(domain).or_default() += weight;
                }
            }
        }
    }
    let nobody = plugin.near.iter().all(HashMap::is_empty);
    plugin.first = !pod.near.is_empty() && nobody && pod.near.iter().all(|term| about(term, pod));
    let silent = plugin.refused.is_empty() && plugin.scores.is_empty() && pod.near.is_empty() && pod.apart.is_empty();
    (!silent).then(|| Box::new(plugin) as Box<dyn Plugin + 'a>)
}

impl<'a> InterPodAffinity<'a> {
    /// Counts another pod for the terms of this one.
    fn count_wishes(
        &mut self,
        pod: &'a PodInfo,
        other: &PodInfo,
        domain: &dyn Fn(&'a PodAffinityTerm) -> Option<Domain<'a>>,
        about: &dyn Fn(&PodAffinityTerm, &PodInfo) -> bool,
    ) {
        // All terms of an affinity must be about the same pod for it to count.
        if pod.near.iter().all(|term| about(term, other)) {
            for (term, counts) in pod.near.iter().zip(&mut self.near) {
                if let Some(domain) = domain(term) {
                    *counts.entry(domain).or_default() += 1;
                }
            }
        }
        for (term, counts) in pod.apart.iter().zip(&mut self.apart) {
            if let Some(domain) = domain(term).filter(|_| about(term, other)) {
                *counts.entry(domain).or_default() += 1;
            }
        }
        let wishes = pod.preferred_near.iter().map(|one| (one, i64::from(one.weight)));
        for (wish, weight) in wishes.chain(pod.preferred_apart.iter().map(|one| (one, -i64::from(one.weight)))) {
            if let Some(domain) = domain(&wish.pod_affinity_term).filter(|_| about(&wish.pod_affinity_term, other)) {
                *self.scores.entry(domain).or_default() += weight;
            }
        }
    }
}

fn domain_of<'a>(term: &'a PodAffinityTerm, node: &'a NodeInfo) -> Option<Domain<'a>> {
    node.facts.labels.get(&term.topology_key).map(|value| (term.topology_key.as_str(), value.as_str()))
}

fn is_about(term: &PodAffinityTerm, pod: &PodInfo, snapshot: &Snapshot) -> bool {
    let named = term.namespaces.iter().flatten().any(|name| *name == pod.namespace);
    let in_namespace = named
        || term.namespace_selector.is_some()
            && match snapshot.namespaces.get(&pod.namespace) {
                Some(labels) => selects(term.namespace_selector.as_ref(), labels),
                None => term.namespace_selector == Some(Default::default()),
            };
    in_namespace && selects(term.label_selector.as_ref(), &pod.labels)
}

impl Plugin for InterPodAffinity<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        let labels = &node.facts.labels;
        let mut unmet = false;
        for (term, counts) in self.pod.near.iter().zip(&self.near) {
            let Some(value) = labels.get(&term.topology_key) else {
                return Verdict::Never("node(s) didn't match pod affinity rules");
            };
            unmet |= !counts.contains_key(&(term.topology_key.as_str(), value.as_str()));
        }
        if unmet && !self.first {
            return Verdict::Never("node(s) didn't match pod affinity rules");
        }
        for (term, counts) in self.pod.apart.iter().zip(&self.apart) {
            let Some(value) = labels.get(&term.topology_key) else { continue };
            if counts.contains_key(&(term.topology_key.as_str(), value.as_str())) {
                return Verdict::Not(vec!["node(s) didn't match pod anti-affinity rules".into()]);
            }
        }
        if self.refused.keys().any(|(key, value)| labels.get(*key).is_some_and(|own| own == value)) {
            return Verdict::Not(vec!["node(s) didn't satisfy existing pods anti-affinity rules".into()]);
        }
        Verdict::Fits
    }

    fn score(&self, node: &NodeInfo) -> i64 {
        let labels = &node.facts.labels;
        let here = self.scores.iter().filter(|((key, value), _)| labels.get(*key).is_some_and(|own| own == value));
        here.map(|(_, score)| score).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        let (least, most) =
            (scores.iter().copied().min().unwrap_or_default(), scores.iter().copied().max().unwrap_or_default());
        for score in scores {
            *score = if most == least { 0 } else { 100 * (*score - least) / (most - least) };
        }
    }
}
