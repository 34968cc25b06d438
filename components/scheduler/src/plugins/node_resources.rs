//! A node must have what the pod asks for; the emptier it stays, the better.

use std::borrow::Cow;

use super::{Plugin, Verdict};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

struct Fit<'a>(&'a PodInfo);

pub(super) fn build<'a>(pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Plugin + 'a>> {
    Some(Box::new(Fit(pod)))
}

impl Plugin for Fit<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        let allocatable = &node.facts.allocatable;
        let mut missing: Vec<Cow<'static, str>> = Vec::new();
        // More than the whole node has: no eviction would make room.
        let mut never = false;
        if node.pods.len() as i64 + 1 > allocatable.get("pods") {
            missing.push("Too many pods".into());
        }
        for (name, wanted) in &self.0.requests.0 {
            if *wanted > 0 && *wanted > allocatable.get(name) - node.requested.get(name) {
                missing.push(format!("Insufficient {name}").into());
                never |= *wanted > allocatable.get(name);
            }
        }
        match missing.is_empty() {
            true => Verdict::Fits,
            false if never => Verdict::NeverFor(missing),
            false => Verdict::Not(missing),
        }
    }

    fn score(&self, node: &NodeInfo) -> i64 {
        let free = |name: &str| {
            let all = node.facts.allocatable.get(name);
            let used = node.scoring_requested.get(name).saturating_add(self.0.scoring_requests.get(name));
            if all <= 0 || used > all { 0 } else { ((all - used) as f64 * 100.0 / all as f64) as i64 }
        };
        (free("cpu") + free("memory")) / 2
    }
}
