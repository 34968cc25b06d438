//! Nodes whose resources, usually processor and memory, are used in like parts are better than lopsided ones.

use super::Plugin;
use crate::config::Resource;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::profile::Args;
use crate::snapshot::Snapshot;

struct Balanced<'a> {
    pod: &'a PodInfo,
    resources: &'a [Resource],
}

pub(super) fn build<'a>(pod: &'a PodInfo, _: &'a Snapshot, args: &'a Args) -> Option<Box<dyn Plugin + 'a>> {
    // A pod that asks for nothing cannot bring a node out of balance.
    let resources = &args.balanced;
    let asks = resources.iter().any(|one| pod.requests.get(&one.name) > 0);
    asks.then(|| Box::new(Balanced { pod, resources }) as Box<dyn Plugin + 'a>)
}

impl Balanced<'_> {
    /// How far apart the parts used are: their standard deviation, 0 to 0.5.
    fn spread(&self, node: &NodeInfo, pod: Option<&PodInfo>) -> f64 {
        let part = |name: &str| {
            let used = node.requested.get(name) + pod.map_or(0, |pod| pod.requests.get(name));
            (used as f64 / node.facts.allocatable.get(name).max(1) as f64).min(1.0)
        };
        // An extended resource counts for pods that ask for it alone.
        let counts = |name: &str| !name.contains('/') || self.pod.requests.get(name) > 0;
        let parts: Vec<f64> =
            self.resources.iter().filter(|one| counts(&one.name)).map(|one| part(&one.name)).collect();
        let count = parts.len().max(1) as f64;
        let mean = parts.iter().sum::<f64>() / count;
        (parts.iter().map(|part| (part - mean).powi(2)).sum::<f64>() / count).sqrt()
    }
}

impl Plugin for Balanced<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        // What counts is whether the pod makes it better or worse.
        let (with, without) = (self.spread(node, Some(self.pod)), self.spread(node, None));
        (50.0 + (without - with) * 50.0 + 0.5) as i64
    }
}
