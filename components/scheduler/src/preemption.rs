//! Which pods of lower priority would make room.
//!
//! For each node that might fit, all pods of lower priority are taken away in thought; if the pod fits then, they are
//! put back one by one, those that a disruption budget protects first and then the most important, as long as it still
//! fits. What stays away are the victims. The node whose victims matter least is chosen: the fewest against a budget, then
//! the lowest highest priority, then the lowest sum, then the fewest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::cycle::{FitError, fits};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::profile::Profile;
use crate::selector::selects;
use crate::snapshot::Snapshot;

/// How many pods of a selection may be evicted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Budget {
    namespace: String,
    selector: Option<LabelSelector>,
    allowed: i32,
    /// Names of pods whose eviction is counted already.
    counted: BTreeSet<String>,
}

impl Budget {
    /// Reads a budget of the API.
    pub fn of(budget: PodDisruptionBudget) -> Self {
        let status = budget.status.unwrap_or_default();
        Self {
            namespace: budget.metadata.namespace.unwrap_or_default(),
            selector: budget.spec.and_then(|spec| spec.selector),
            allowed: status.disruptions_allowed.unwrap_or_default(),
            counted: status.disrupted_pods.unwrap_or_default().into_keys().collect(),
        }
    }

    fn protects(&self, pod: &PodInfo) -> bool {
        self.namespace == pod.namespace
            && selects(self.selector.as_ref(), &pod.labels)
            && !self.counted.contains(&pod.name)
    }
}

/// Where room can be made, and by evicting whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Eviction {
    /// The node.
    pub node: String,
    /// The pods that must go.
    pub victims: Vec<Arc<PodInfo>>,
    /// How many of them a budget protects.
    pub protected: usize,
}

/// Why nobody is evicted for a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The end of the message that says why the pod waits.
    pub reason: String,
    /// Whether room is being made for the pod already.
    pub waits: bool,
}

/// Finds room.
pub fn preempt(profile: &Profile, pod: &PodInfo, snapshot: &Snapshot, error: &FitError) -> Result<Eviction, Refused> {
    if !pod.preempts {
        let reason = "preemption: not eligible due to preemptionPolicy=Never.".into();
        return Err(Refused { reason, waits: false });
    }
    let leaving = |node: &Arc<NodeInfo>| {
        node.name() == pod.nominated && node.pods.iter().any(|one| one.terminating && one.priority < pod.priority)
    };
    if !pod.nominated.is_empty() && snapshot.nodes.iter().any(leaving) {
        let reason = "preemption: not eligible due to terminating pod on the nominated node.".into();
        return Err(Refused { reason, waits: true });
    }
    let candidates =
        error.resolvable.iter().filter_map(|index| on_node(profile, pod, snapshot, &snapshot.nodes[*index]));
    let cost = |eviction: &Eviction| {
        let most = eviction.victims.iter().map(|pod| pod.priority).max();
        (
            eviction.protected,
            most,
            eviction.victims.iter().map(|pod| i64::from(pod.priority)).sum::<i64>(),
            eviction.victims.len(),
        )
    };
    candidates.min_by_key(cost).ok_or_else(|| {
        let (all, helpless) = (error.nodes, error.nodes - error.resolvable.len());
        let mut reasons = Vec::new();
        if !error.resolvable.is_empty() {
            reasons.push(format!("{} No preemption victims found for incoming pod", error.resolvable.len()));
        }
        if helpless > 0 {
            reasons.push(format!("{helpless} Preemption is not helpful for scheduling"));
        }
        reasons.sort();
        let reason = format!("preemption: 0/{all} nodes are available: {}.", reasons.join(", "));
        Refused { reason, waits: false }
    })
}

fn on_node(profile: &Profile, pod: &PodInfo, snapshot: &Snapshot, node: &Arc<NodeInfo>) -> Option<Eviction> {
    let (mut lower, mut kept): (Vec<_>, Vec<_>) =
        node.pods.iter().cloned().partition(|other| other.priority < pod.priority);
    if lower.is_empty() {
        return None;
    }
    let fits_with = |pods: Vec<Arc<PodInfo>>| {
        fits(profile, pod, &snapshot.with(NodeInfo::new(node.facts.clone(), pods)), node.name())
    };
    if !fits_with(kept.clone()) {
        return None;
    }
    lower.sort_by_key(|other| -other.priority);
    let (protected, free) = by_budget(lower, &snapshot.budgets);
    let mut eviction = Eviction { node: node.name().to_owned(), victims: Vec::new(), protected: 0 };
    for (others, counts) in [(protected, 1), (free, 0)] {
        for other in others {
            kept.push(other.clone());
            if !fits_with(kept.clone()) {
                kept.pop();
                eviction.victims.push(other);
                eviction.protected += counts;
            }
        }
    }
    Some(eviction)
}

/// Parts pods, the most important first, into those that a budget would not let go and the others.
fn by_budget(pods: Vec<Arc<PodInfo>>, budgets: &BTreeMap<String, Budget>) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut left: Vec<(&Budget, i32)> = budgets.values().map(|budget| (budget, budget.allowed)).collect();
    pods.into_iter().partition(|pod| {
        let mut against = false;
        for (_, allowed) in left.iter_mut().filter(|(budget, _)| budget.protects(pod)) {
            *allowed -= 1;
            against |= *allowed < 0;
        }
        against
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod_with;
    use serde_json::json;

    #[test]
    fn a_budget_lets_only_so_many_go() {
        let budget = |allowed: i32, counted: serde_json::Value| {
            Budget::of(
                serde_json::from_value(json!({"metadata": {"namespace": "default"},
                    "spec": {"selector": {"matchLabels": {"app": "x"}}},
                    "status": {"disruptionsAllowed": allowed, "disruptedPods": counted, "currentHealthy": 0,
                        "desiredHealthy": 0, "expectedPods": 0}}))
                .unwrap(),
            )
        };
        let pods = || ["a", "b", "c"].map(|name| Arc::new(pod_with(name, json!({})))).to_vec();
        for (budget, wanted) in [
            (budget(0, json!({})), vec!["a", "b", "c"]),
            (budget(2, json!({})), vec!["c"]),
            (budget(1, json!({"a": "2027-01-01T00:00:00Z"})), vec!["c"]),
            (Budget { namespace: "other".into(), ..budget(0, json!({})) }, vec![]),
        ] {
            let (protected, _) = by_budget(pods(), &BTreeMap::from([("b".to_owned(), budget)]));
            assert_eq!(protected.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), wanted);
        }
    }
}
