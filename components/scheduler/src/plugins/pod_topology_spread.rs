//! Like pods spread over zones and nodes.
//!
//! A pod that says nothing of its own spreads with the other pods of its controller: softly over zones, a little less
//! softly over nodes (upstream's system defaults).

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::TopologySpreadConstraint;

use super::taint_toleration::tolerates;
use super::{Plugin, Verdict, node_affinity};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::profile::Args;
use crate::selector::selects;
use crate::snapshot::Snapshot;

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// One constraint with what was counted for it.
struct Spread {
    key: String,
    max_skew: i64,
    min_domains: i64,
    hard: bool,
    own: bool,
    /// Pods that count, by domain; every domain that can be used is there.
    counts: HashMap<String, i64>,
    /// Pods that count, by node; only for spreading over nodes.
    weight: f64,
}

struct PodTopologySpread {
    spreads: Vec<Spread>,
}

pub(super) fn build<'a>(pod: &'a PodInfo, snapshot: &'a Snapshot, args: &'a Args) -> Option<Box<dyn Plugin + 'a>> {
    let spreads: Vec<Spread> = if pod.spread.is_empty() {
        let controller = pod.controller.as_ref()?;
        let like = |other: &PodInfo| other.controller.as_ref() == Some(controller);
        let usual = || {
            let soft = [(HOSTNAME, 3), (ZONE, 5)].map(|(key, skew)| TopologySpreadConstraint {
                topology_key: key.into(),
                max_skew: skew,
                when_unsatisfiable: "ScheduleAnyway".into(),
                ..TopologySpreadConstraint::default()
            });
            soft.to_vec()
        };
        args.default_spread
            .clone()
            .unwrap_or_else(usual)
            .iter()
            .map(|constraint| count(constraint, pod, snapshot, &like))
            // Without zones there is nothing to spread over.
            .filter(|spread| !spread.counts.is_empty())
            .collect()
    } else {
        let one = |constraint: &TopologySpreadConstraint| {
            let like = |other: &PodInfo| {
                other.namespace == pod.namespace && selects(constraint.label_selector.as_ref(), &other.labels)
            };
            count(constraint, pod, snapshot, &like)
        };
        pod.spread.iter().map(one).collect()
    };
    (!spreads.is_empty()).then(|| Box::new(PodTopologySpread { spreads }) as Box<dyn Plugin + 'a>)
}

fn count(
    constraint: &TopologySpreadConstraint,
    pod: &PodInfo,
    snapshot: &Snapshot,
    like: &dyn Fn(&PodInfo) -> bool,
) -> Spread {
    let honors = |policy: &Option<String>, default: bool| policy.as_deref().map_or(default, |policy| policy == "Honor");
    let (affinity, taints) =
        (honors(&constraint.node_affinity_policy, true), honors(&constraint.node_taints_policy, false));
    let mut counts: HashMap<String, i64> = HashMap::new();
    for node in &snapshot.nodes {
        let Some(domain) = node.facts.labels.get(&constraint.topology_key) else { continue };
        if (affinity && !node_affinity::matches(pod, node)) || (taints && !bears_taints(pod, node)) {
            continue;
        }
        let here = node.pods.iter().filter(|other| !other.terminating && other.uid != pod.uid && like(other)).count();
        *counts.entry(domain.clone()).or_default() += here as i64;
    }
    Spread {
        key: constraint.topology_key.clone(),
        max_skew: i64::from(constraint.max_skew),
        min_domains: i64::from(constraint.min_domains.unwrap_or(1)),
        hard: constraint.when_unsatisfiable == "DoNotSchedule",
        own: like(pod),
        // The more domains there are, the more one pod less in a domain is worth.
        weight: ((counts.len() + 2) as f64).ln(),
        counts,
    }
}

fn bears_taints(pod: &PodInfo, node: &NodeInfo) -> bool {
    node.facts
        .taints
        .iter()
        .filter(|taint| taint.effect != "PreferNoSchedule")
        .all(|taint| pod.tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

impl Plugin for PodTopologySpread {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        let labels: &BTreeMap<String, String> = &node.facts.labels;
        for spread in self.spreads.iter().filter(|spread| spread.hard) {
            let Some(domain) = labels.get(&spread.key) else {
                return Verdict::Never("node(s) didn't match pod topology spread constraints (missing required label)");
            };
            // With fewer domains than demanded, the least counts as zero.
            let enough = spread.counts.len() as i64 >= spread.min_domains;
            let least = if enough { spread.counts.values().copied().min().unwrap_or_default() } else { 0 };
            let here = spread.counts.get(domain).copied().unwrap_or_default() + i64::from(spread.own);
            if here - least > spread.max_skew {
                return Verdict::Not(vec!["node(s) didn't match pod topology spread constraints".into()]);
            }
        }
        Verdict::Fits
    }

    fn score(&self, node: &NodeInfo) -> i64 {
        let mut sum = 0.0;
        for spread in self.spreads.iter().filter(|spread| !spread.hard) {
            let Some(domain) = node.facts.labels.get(&spread.key) else {
                // Outside of all domains: worse than every node in one.
                return i64::MAX;
            };
            let count = spread.counts.get(domain).copied().unwrap_or_default();
            sum += count as f64 * spread.weight + (spread.max_skew - 1) as f64;
        }
        sum.round() as i64
    }

    fn normalize(&self, scores: &mut [i64]) {
        let inside = || scores.iter().copied().filter(|score| *score != i64::MAX);
        let (least, most) = (inside().min().unwrap_or_default(), inside().max().unwrap_or_default());
        for score in scores {
            *score = match *score {
                i64::MAX => 0,
                _ if most == 0 => 100,
                score => 100 * (most + least - score) / most,
            };
        }
    }
}
