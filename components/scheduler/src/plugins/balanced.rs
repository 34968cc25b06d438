//! Nodes whose processor and memory are used in like parts are better than lopsided ones.

use super::Plugin;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

struct Balanced<'a>(&'a PodInfo);

pub(super) fn build<'a>(pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Plugin + 'a>> {
    // A pod that asks for nothing cannot bring a node out of balance.
    let asks = pod.requests.get("cpu") > 0 || pod.requests.get("memory") > 0;
    asks.then(|| Box::new(Balanced(pod)) as Box<dyn Plugin + 'a>)
}

impl Balanced<'_> {
    /// How far apart the parts used are, 0 to 0.5.
    fn spread(node: &NodeInfo, pod: Option<&PodInfo>) -> f64 {
        let part = |name: &str| {
            let used = node.requested.get(name) + pod.map_or(0, |pod| pod.requests.get(name));
            (used as f64 / node.facts.allocatable.get(name).max(1) as f64).min(1.0)
        };
        (part("cpu") - part("memory")).abs() / 2.0
    }
}

impl Plugin for Balanced<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        // What counts is whether the pod makes it better or worse.
        let (with, without) = (Self::spread(node, Some(self.0)), Self::spread(node, None));
        (50.0 + (without - with) * 50.0 + 0.5) as i64
    }
}
