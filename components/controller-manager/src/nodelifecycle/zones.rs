//! How fast the nodes of a zone may lose their pods: where many are not ready at once, it is more likely the network or this
//! side that is ill, and taking their pods away would do harm. The rules and numbers are upstream's. Pure.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use tokio::time::Instant;

/// What is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nodes a second in a zone that is well, or all of which is not while others are.
    pub rate: f64,
    /// The same in a large zone much of which is not ready; in a small one it is none.
    pub secondary: f64,
    /// Zones of more nodes are large.
    pub large: usize,
    /// The part of a zone's nodes from which on much of it is not ready.
    pub threshold: f64,
}

/// How many nodes of a zone are ready, and how many are not.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    ready: usize,
    other: usize,
}

impl Count {
    fn is_down(self) -> bool {
        self.ready == 0 && self.other > 0
    }

    /// Nodes a second that may lose their pods.
    fn rate(self, limits: Limits) -> f64 {
        let all = self.ready + self.other;
        let much = self.other > 2 && self.other as f64 / all as f64 >= limits.threshold;
        match (self.is_down() || !much, all > limits.large) {
            (true, _) => limits.rate,
            (false, true) => limits.secondary,
            (false, false) => 0.0,
        }
    }
}

/// The zones of a cluster.
pub struct Zones {
    limits: Limits,
    counts: HashMap<String, Count>,
    /// When the last node of a zone lost its pods.
    last: HashMap<String, Instant>,
    stopped: bool,
}

impl Zones {
    pub fn new(limits: Limits) -> Self {
        Self { limits, counts: HashMap::new(), last: HashMap::new(), stopped: false }
    }

    /// Takes in each node's zone and whether it is ready. Says whether some node is ready again after none was.
    pub fn look(&mut self, nodes: impl Iterator<Item = (String, bool)>) -> bool {
        self.counts.clear();
        for (zone, ready) in nodes {
            let count = self.counts.entry(zone).or_default();
            if ready { count.ready += 1 } else { count.other += 1 }
        }
        self.last.retain(|zone, _| self.counts.contains_key(zone));
        let was = std::mem::replace(&mut self.stopped, self.counts.values().all(|count| count.is_down()));
        // Without any node there is nothing to stop.
        self.stopped &= !self.counts.is_empty();
        was && !self.stopped
    }

    /// Whether no node at all is ready: then no node loses its pods.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Whether a node of the zone may lose its pods now, which counts as done.
    pub fn permits(&mut self, zone: &str, now: Instant) -> bool {
        let rate = self.counts.get(zone).copied().unwrap_or_default().rate(self.limits);
        if self.stopped || rate <= 0.0 {
            return false;
        }
        let pause = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX);
        let due = self.last.get(zone).is_none_or(|last| now.duration_since(*last) >= pause);
        if due {
            self.last.insert(zone.to_owned(), now);
        }
        due
    }
}

/// The region and the zone of a node as one.
pub fn zone_of(node: &Node) -> String {
    let label = |name: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
    let of = |now: &str, before: &str| label(now).or_else(|| label(before)).unwrap_or_default().to_owned();
    let region = of("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region");
    let zone = of("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone");
    if region.is_empty() && zone.is_empty() { String::new() } else { format!("{region}:{zone}") }
}

/// Whether the node does not count when zones are judged.
pub fn is_left_out(node: &Node) -> bool {
    node.metadata.labels.as_ref().is_some_and(|all| all.contains_key("node.kubernetes.io/exclude-disruption"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { rate: 0.1, secondary: 0.01, large: 50, threshold: 0.55 };

    fn zones(nodes: &[(&str, usize, usize)]) -> Zones {
        let mut zones = Zones::new(LIMITS);
        zones.look(counted(nodes));
        zones
    }

    fn counted(nodes: &[(&str, usize, usize)]) -> impl Iterator<Item = (String, bool)> {
        nodes.iter().copied().flat_map(|(zone, ready, other)| {
            (0..ready + other).map(move |at| (zone.to_owned(), at < ready)).collect::<Vec<_>>()
        })
    }

    #[test]
    fn a_zone_loses_pods_at_its_rate() {
        let table = [
            // ready, not ready, seconds between two nodes
            (2, 1, Some(10)),
            (1, 2, Some(10)),
            (3, 3, Some(10)),
            (2, 3, None),
            (20, 30, None),
            (20, 31, Some(100)),
        ];
        for (ready, other, pause) in table {
            let mut zones = zones(&[("a", ready, other), ("b", 1, 0)]);
            let now = Instant::now();
            assert_eq!(zones.permits("a", now), pause.is_some(), "{ready} {other}");
            let Some(pause) = pause else { continue };
            assert!(!zones.permits("a", now + Duration::from_secs(pause) - Duration::from_millis(1)));
            assert!(zones.permits("a", now + Duration::from_secs(pause)));
        }
    }

    #[test]
    fn a_zone_that_is_down_is_emptied_while_another_is_not() {
        assert!(zones(&[("a", 0, 5), ("b", 1, 0)]).permits("a", Instant::now()));
        let mut all_down = zones(&[("a", 0, 5), ("b", 0, 1)]);
        assert!(all_down.stopped() && !all_down.permits("a", Instant::now()));
        assert!(all_down.look(counted(&[("a", 1, 4), ("b", 0, 1)])), "one is back");
        assert!(!all_down.stopped() && !all_down.look(counted(&[("a", 1, 4), ("b", 0, 1)])));
        assert!(!zones(&[]).stopped());
    }
}
