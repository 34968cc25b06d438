//! A node must have what the pod asks for; the emptier it stays, the better.

use std::borrow::Cow;

use super::{Plugin, Verdict};
use crate::config::{Resource, Strategy};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::profile::Args;
use crate::snapshot::Snapshot;

struct Fit<'a> {
    pod: &'a PodInfo,
    args: &'a Args,
}

pub(super) fn build<'a>(pod: &'a PodInfo, _: &'a Snapshot, args: &'a Args) -> Option<Box<dyn Plugin + 'a>> {
    Some(Box::new(Fit { pod, args }))
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
        for (name, wanted) in &self.pod.requests.0 {
            if *wanted > 0 && !self.ignores(name) && *wanted > allocatable.get(name) - node.requested.get(name) {
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
        let (resources, score): (_, &dyn Fn(i64, i64) -> i64) = match &self.args.strategy {
            Strategy::LeastAllocated(resources) => (resources, &|used, all| match used > all {
                true => 0,
                false => part(all - used, all),
            }),
            Strategy::MostAllocated(resources) => (resources, &|used, all| part(used.min(all), all)),
            Strategy::Ratio(resources, shape) => (resources, &|used, all| on_shape(shape, part(used.min(all), all))),
        };
        let (mut sum, mut weights) = (0, 0);
        for Resource { name, weight } in resources {
            let all = node.facts.allocatable.get(name);
            let own = self.pod.scoring_requests.get(name);
            // An extended resource counts for pods that ask for it alone.
            if all <= 0 || own == 0 && name.contains('/') {
                continue;
            }
            sum += score(node.scoring_requested.get(name).saturating_add(own), all) * weight;
            weights += weight;
        }
        if weights == 0 { 0 } else { sum / weights }
    }
}

impl Fit<'_> {
    /// Whether a resource need not be there: an extended one that is named, or is of a group that is.
    fn ignores(&self, name: &str) -> bool {
        let Some((group, _)) = name.split_once('/') else { return false };
        let Args { ignored_resources, ignored_groups, .. } = self.args;
        ignored_resources.iter().any(|one| one == name) || ignored_groups.iter().any(|one| one == group)
    }
}

/// In percent, rounded down.
fn part(some: i64, all: i64) -> i64 {
    (some as f64 * 100.0 / all as f64) as i64
}

/// The score, of a hundred, of a used part in percent.
fn on_shape(shape: &[(i64, i64)], used: i64) -> i64 {
    let mut before: Option<(i64, i64)> = None;
    for &(at, score) in shape {
        if used <= at {
            return match before {
                None => score * 10,
                Some((from, low)) => low * 10 + (score - low) * 10 * (used - from) / (at - from),
            };
        }
        before = Some((at, score));
    }
    before.map_or(0, |(_, score)| score * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_points_are_straight_lines() {
        let shape = [(20, 0), (60, 10), (100, 5)];
        for (used, wanted) in [(0, 0), (20, 0), (40, 50), (60, 100), (80, 75), (100, 50)] {
            assert_eq!(on_shape(&shape, used), wanted, "{used}");
        }
        assert_eq!(on_shape(&[(0, 10), (50, 0)], 70), 0);
    }
}
