//! Which pods of lower priority would make room.
//!
//! For each node that might fit, all pods of lower priority are taken away in thought; if the pod fits then, they are
//! put back one by one, the most important first, as long as it still fits. What stays away are the victims. The node
//! whose victims matter least is chosen: the lowest highest priority, then the lowest sum, then the fewest.

use std::sync::Arc;

use crate::cycle::{FitError, fits};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

/// Where room can be made, and by evicting whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Eviction {
    /// The node.
    pub node: String,
    /// The pods that must go.
    pub victims: Vec<Arc<PodInfo>>,
}

/// Finds room; the error is the end of the message that says why the pod waits.
pub fn preempt(pod: &PodInfo, snapshot: &Snapshot, error: &FitError) -> Result<Eviction, String> {
    if !pod.preempts {
        return Err("preemption: not eligible due to preemptionPolicy=Never.".into());
    }
    let leaving = |node: &Arc<NodeInfo>| {
        node.name() == pod.nominated && node.pods.iter().any(|one| one.terminating && one.priority < pod.priority)
    };
    if !pod.nominated.is_empty() && snapshot.nodes.iter().any(leaving) {
        return Err("preemption: not eligible due to terminating pod on the nominated node.".into());
    }
    let candidates = error.resolvable.iter().filter_map(|index| on_node(pod, snapshot, &snapshot.nodes[*index]));
    let cost = |eviction: &Eviction| {
        let most = eviction.victims.iter().map(|pod| pod.priority).max();
        (most, eviction.victims.iter().map(|pod| i64::from(pod.priority)).sum::<i64>(), eviction.victims.len())
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
        format!("preemption: 0/{all} nodes are available: {}.", reasons.join(", "))
    })
}

fn on_node(pod: &PodInfo, snapshot: &Snapshot, node: &Arc<NodeInfo>) -> Option<Eviction> {
    let (mut lower, mut kept): (Vec<_>, Vec<_>) =
        node.pods.iter().cloned().partition(|other| other.priority < pod.priority);
    if lower.is_empty() {
        return None;
    }
    let fits_with =
        |pods: Vec<Arc<PodInfo>>| fits(pod, &snapshot.with(NodeInfo::new(node.facts.clone(), pods)), node.name());
    if !fits_with(kept.clone()) {
        return None;
    }
    lower.sort_by_key(|other| -other.priority);
    let mut victims = Vec::new();
    for other in lower {
        kept.push(other.clone());
        if !fits_with(kept.clone()) {
            kept.pop();
            victims.push(other);
        }
    }
    Some(Eviction { node: node.name().to_owned(), victims })
}
